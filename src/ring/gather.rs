//! The splice verb: a batch goes into the worker's pipe by reference, and from there to the socket
//! with one splice(2) for each pipe-full.
//!
//! Bytes and short runs go by vmsplice from write-once memory, runs by splice from their file, zeros
//! from one shared page. What the socket does not take is dropped from the pipe; the batch's cursor
//! knows where to go on, and its headers are then written anew.
//!
//! A run whose file ends early or cannot be read fails the batch: the pipe is emptied, nothing more
//! is sent, and the connection must be closed, since earlier pipe-fulls may have cut a frame.

use std::os::fd::BorrowedFd;

use crate::arena::{Arena, Slot, ZeroPage};
use crate::files::OpenFile;
use crate::limits::{PAGE_BYTES, SMALL_RUN_BYTES};
use crate::pipe::{Pipe, iovec};
use crate::slab::Slab;
use crate::sys::{self, Errno, More, Patience};
use crate::{Batch, Counters, Failure, Part, Run};

/// Bytes up to this length stand with the headers; longer ones have chunks of their own, so that a
/// stalled bitfield does not pin the pages of everyone's headers.
const HEADER_BYTES: usize = 16;

/// What a batch is put together with. One a worker.
pub(crate) struct Gather {
    pipe: Pipe,
    headers: Arena,
    frames: Arena,
    zeros: ZeroPage,
    /// Written, not yet in the pipe.
    waiting: Vec<libc::iovec>,
    waiting_bytes: usize,
}

/// How far the filling of the pipe came.
enum Filled {
    /// All that is left of the batch is in the pipe.
    All,
    /// The pipe is full.
    Pipe,
}

impl Gather {
    pub(crate) fn new(pipe_bytes: usize) -> Result<Gather, Errno> {
        let pipe = Pipe::new(pipe_bytes)?;
        let waiting = Vec::with_capacity(pipe.slots());
        let (headers, frames, zeros) = (Arena::new()?, Arena::new()?, ZeroPage::new()?);
        Ok(Gather { pipe, headers, frames, zeros, waiting, waiting_bytes: 0 })
    }

    /// For trying calls out before the first batch; it must be left empty.
    pub(crate) fn pipe(&mut self) -> &mut Pipe {
        &mut self.pipe
    }

    /// Sends what the socket takes; moves the batch's cursor over it. `Ok` with how many bytes.
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        batch: &mut Batch,
        files: &Slab<OpenFile>,
        counters: &mut Counters,
    ) -> Result<u32, Failure> {
        if self.pipe.held() > 0 {
            // It could not be emptied before: without that nothing may be put in.
            self.pipe.empty().map_err(Failure::Os)?;
        }
        let mut sent = 0u64;
        while !batch.is_empty() {
            let filled = match self.fill(batch, files, counters) {
                Ok(filled) => filled,
                Err(failure) => {
                    self.drop_held();
                    return Err(failure);
                }
            };
            let more = if matches!(filled, Filled::All) { More::Ends } else { More::Follows };
            let held = self.pipe.held();
            if held == 0 {
                // Nothing could be put into an empty pipe: it would be tried for ever.
                return Err(Failure::Os(libc::EIO));
            }
            counters.socket_splices += 1;
            let took = match self.pipe.splice_out(socket, more) {
                Ok(took) => took,
                Err(libc::EAGAIN | libc::EINTR) => 0,
                Err(errno) => {
                    self.drop_held();
                    return Err(Failure::Os(errno));
                }
            };
            batch.advance(took as u64);
            sent += took as u64;
            if took < held {
                self.drop_held();
                break;
            }
        }
        Ok(sent as u32)
    }

    fn drop_held(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.settle();
        // Without a pipe nothing can be gathered: the next fill fails and says why.
        let _ = self.pipe.empty();
    }

    fn settle(&mut self) {
        self.headers.settle();
        self.frames.settle();
    }

    /// Puts as much of the batch into the pipe as it holds.
    fn fill(
        &mut self,
        batch: &Batch,
        files: &Slab<OpenFile>,
        counters: &mut Counters,
    ) -> Result<Filled, Failure> {
        let mut slots = self.pipe.slots();
        for part in batch.remaining() {
            let whole = match part {
                Part::Bytes { start, length } => {
                    self.put_bytes(batch.bytes_of(start, length), &mut slots)?
                }
                Part::Zeros(length) => self.put_zeros(length as usize, &mut slots),
                Part::Run(run) => self.put_run(run, files, &mut slots, counters)?,
            };
            if !whole {
                self.flush()?;
                return Ok(Filled::Pipe);
            }
        }
        if self.flush()? { Ok(Filled::All) } else { Ok(Filled::Pipe) }
    }

    fn wait(&mut self, slot: Slot) {
        self.waiting.push(iovec(slot));
        self.waiting_bytes += slot.length;
    }

    /// Writes bytes of the batch into write-once memory. `false`: the pipe has no slot for all.
    fn put_bytes(&mut self, bytes: &[u8], slots: &mut usize) -> Result<bool, Failure> {
        for piece in bytes.chunks(PAGE_BYTES) {
            if *slots == 0 {
                return Ok(false);
            }
            let arena =
                if bytes.len() <= HEADER_BYTES { &mut self.headers } else { &mut self.frames };
            let slot = arena
                .write(piece.len(), |to| {
                    to.copy_from_slice(piece);
                    Ok(piece.len())
                })
                .map_err(Failure::Os)?;
            self.wait(slot);
            *slots -= 1;
        }
        Ok(true)
    }

    fn put_zeros(&mut self, mut length: usize, slots: &mut usize) -> bool {
        while length > 0 {
            if *slots == 0 {
                return false;
            }
            let slot = self.zeros.slot(length);
            length -= slot.length;
            self.wait(slot);
            *slots -= 1;
        }
        true
    }

    fn put_run(
        &mut self,
        run: Run,
        files: &Slab<OpenFile>,
        slots: &mut usize,
        counters: &mut Counters,
    ) -> Result<bool, Failure> {
        let file = files
            .get(run.file.index, run.file.generation)
            .ok_or(Failure::Run { run, errno: libc::EBADF })?;
        if run.length < SMALL_RUN_BYTES || file.refuses_splice() {
            return self.put_copied(run, file, slots, counters);
        }
        if !self.flush()? {
            return Ok(false);
        }
        let failed = |errno, left| Failure::Run { run: run.from(run.length - left as u32), errno };
        let (mut offset, mut left) = (run.offset, run.length as usize);
        while left > 0 {
            let in_page = offset as usize % PAGE_BYTES;
            let room = (*slots * PAGE_BYTES).saturating_sub(in_page);
            if room == 0 {
                return Ok(false);
            }
            counters.file_splices += 1;
            match self.pipe.splice_in(file.fd(), offset, left.min(room)) {
                Ok(0) => return Err(failed(0, left)),
                Ok(bytes) => {
                    *slots -= (in_page + bytes).div_ceil(PAGE_BYTES).min(*slots);
                    offset += bytes as u64;
                    left -= bytes;
                }
                Err(libc::EINTR) => {}
                // More slots taken than counted: what is in goes out, the rest next time.
                Err(libc::EAGAIN) if self.pipe.held() > 0 => return Ok(false),
                Err(libc::EINVAL) => {
                    file.refuse_splice();
                    counters.splice_refusals += 1;
                    let rest = Run { offset, length: left as u32, ..run };
                    return self.put_copied(rest, file, slots, counters);
                }
                Err(errno) => return Err(failed(errno, left)),
            }
        }
        Ok(true)
    }

    /// Reads a run into write-once memory: short ones, and files that cannot splice.
    fn put_copied(
        &mut self,
        run: Run,
        file: &OpenFile,
        slots: &mut usize,
        counters: &mut Counters,
    ) -> Result<bool, Failure> {
        let failed = |errno, left| Failure::Run { run: run.from(run.length - left as u32), errno };
        let (mut offset, mut left) = (run.offset, run.length as usize);
        while left > 0 {
            if *slots == 0 {
                return Ok(false);
            }
            let length = left.min(PAGE_BYTES);
            let slot = self
                .frames
                .write(length, |to| read_now(file.fd(), to, offset))
                .map_err(|errno| failed(errno, left))?;
            if slot.length == 0 {
                return Err(failed(0, left));
            }
            counters.bytes_read += slot.length as u64;
            offset += slot.length as u64;
            left -= slot.length;
            self.wait(slot);
            *slots -= 1;
        }
        Ok(true)
    }

    /// What was written goes into the pipe. `false`: not all of it, the pipe is full; the cursor
    /// has the rest written anew, so nothing waits afterwards.
    fn flush(&mut self) -> Result<bool, Failure> {
        if self.waiting.is_empty() {
            return Ok(true);
        }
        let result = loop {
            match self.pipe.vmsplice_in(&self.waiting) {
                Err(libc::EINTR) => {}
                result => break result,
            }
        };
        let wanted = std::mem::take(&mut self.waiting_bytes);
        self.waiting.clear();
        self.settle();
        match result {
            Ok(bytes) => Ok(bytes == wanted),
            Err(libc::EAGAIN) if self.pipe.held() > 0 => Ok(false),
            Err(errno) => Err(Failure::Os(errno)),
        }
    }
}

/// Reads what is there, at once if the page cache has it, else waiting. Fewer bytes: the end.
fn read_now(file: BorrowedFd<'_>, to: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut at = 0;
    let mut patience = Patience::NoWait;
    while at < to.len() {
        match sys::pread(file, &mut to[at..], offset + at as u64, patience) {
            Ok(0) => break,
            Ok(bytes) => at += bytes,
            Err(libc::EINTR) => {}
            Err(libc::EAGAIN | libc::EOPNOTSUPP) if patience == Patience::NoWait => {
                patience = Patience::Waits;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(at)
}
