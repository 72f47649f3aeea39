//! The worker's pipe: where a batch is put together before one splice hands it to a socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::arena::Slot;
use crate::limits::PAGE_BYTES;
use crate::sys::{self, Errno, More};

/// A pipe that is empty between batches.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    null: OwnedFd,
    slots: usize,
    bytes_wanted: usize,
    held: usize,
}

impl Pipe {
    /// A pipe of `bytes`, or of fewer: the system says nothing when a user's pipes have used up
    /// fs.pipe-user-pages-soft. Ask [`Pipe::slots`].
    pub(crate) fn new(bytes: usize) -> Result<Pipe, Errno> {
        let (read, write) = sys::pipe()?;
        // A refusal (EPERM) leaves the pipe at its size; what counts is what it has.
        let _ = sys::set_pipe_bytes(write.as_fd(), bytes);
        let slots = sys::pipe_bytes(write.as_fd())? / PAGE_BYTES;
        Ok(Pipe { read, write, null: sys::open_null()?, slots, bytes_wanted: bytes, held: 0 })
    }

    /// Pages that it holds at most.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes in it.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Puts references to a file's pages in: how many bytes; 0 at the end of the file.
    pub(crate) fn splice_in(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        bytes: usize,
    ) -> Result<usize, Errno> {
        let bytes = sys::splice_file(file, offset, self.write.as_fd(), bytes)?;
        self.held += bytes;
        Ok(bytes)
    }

    /// Puts references to write-once memory in: how many bytes, which may be fewer than there are.
    pub(crate) fn vmsplice_in(&mut self, slots: &[libc::iovec]) -> Result<usize, Errno> {
        let bytes = sys::vmsplice(self.write.as_fd(), slots)?;
        self.held += bytes;
        Ok(bytes)
    }

    /// Moves what it holds to a socket: how many bytes the socket took.
    pub(crate) fn splice_out(&mut self, to: BorrowedFd<'_>, more: More) -> Result<usize, Errno> {
        let bytes = sys::splice_out(self.read.as_fd(), to, self.held, more)?;
        self.held -= bytes.min(self.held);
        Ok(bytes)
    }

    /// Drops what it holds. A pipe that cannot be emptied is replaced, so that no byte of one
    /// peer's batch ever reaches another.
    pub(crate) fn empty(&mut self) -> Result<(), Errno> {
        while self.held > 0 {
            match sys::splice_out(self.read.as_fd(), self.null.as_fd(), self.held, More::Ends) {
                Ok(bytes) if bytes > 0 => self.held -= bytes.min(self.held),
                Err(libc::EINTR) => {}
                _ => {
                    *self = Pipe::new(self.bytes_wanted)?;
                }
            }
        }
        Ok(())
    }
}

/// A slot of write-once memory in the form of vmsplice(2).
pub(crate) fn iovec(slot: Slot) -> libc::iovec {
    libc::iovec { iov_base: slot.at.as_ptr().cast(), iov_len: slot.length }
}
