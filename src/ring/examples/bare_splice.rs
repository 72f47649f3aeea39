//! The splicing limit: vmsplice(2) and splice(2) for each block, one splice(2) for sixteen.
//! `cargo run --release --example bare_splice -- FILE ADDR:PORT PIECE_LENGTH`

mod bare;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bare::{Block, HEADER_BYTES, Sender};

const PIPE_BYTES: i32 = 1 << 20;
/// Write-once memory for headers: full, its pages are dropped and fresh ones come.
const CHUNK_BYTES: usize = 1 << 20;
/// Headers are aligned to this, so that none crosses a page.
const SLOT_BYTES: usize = 16;

struct Splice {
    read_end: OwnedFd,
    write_end: OwnedFd,
    null: OwnedFd,
    headers: *mut u8,
    used: usize,
}

fn check(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

impl Splice {
    fn new() -> io::Result<Splice> {
        let (read_end, write_end) = io::pipe()?;
        let (read_end, write_end) = (OwnedFd::from(read_end), OwnedFd::from(write_end));
        let set = libc::F_SETPIPE_SZ;
        // SAFETY: no memory is passed.
        check(unsafe { libc::fcntl(write_end.as_raw_fd(), set, PIPE_BYTES) as isize })?;
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?.into();
        let (protection, none) = (libc::PROT_READ | libc::PROT_WRITE, std::ptr::null_mut());
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping.
        let headers = unsafe { libc::mmap(none, CHUNK_BYTES, protection, flags, -1, 0) };
        if headers == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range is the mapping.
        unsafe { libc::madvise(headers, CHUNK_BYTES, libc::MADV_NOHUGEPAGE) };
        Ok(Splice { read_end, write_end, null, headers: headers.cast(), used: 0 })
    }

    fn put_header(&mut self, header: &[u8; HEADER_BYTES], skip: usize) -> io::Result<usize> {
        if self.used == CHUNK_BYTES {
            // SAFETY: the range is the mapping; every header in it is in a pipe or socket by now.
            unsafe { libc::madvise(self.headers.cast(), CHUNK_BYTES, libc::MADV_DONTNEED) };
            self.used = 0;
        }
        // SAFETY: the slot lies in the mapping.
        let slot = unsafe { self.headers.add(self.used) };
        self.used += SLOT_BYTES;
        let bytes = &header[skip..];
        // SAFETY: the slot has room, and was not written since its page was fresh.
        unsafe { slot.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        let iov = libc::iovec { iov_base: slot.cast(), iov_len: bytes.len() };
        // SAFETY: the iovec names the slot.
        check(unsafe { libc::vmsplice(self.write_end.as_raw_fd(), &iov, 1, 0) })
    }

    fn put_block(&mut self, file: RawFd, offset: u64, length: usize) -> io::Result<usize> {
        let mut offset = offset as i64;
        let (to, none) = (self.write_end.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: the offset is read and written by the call only.
        check(unsafe { libc::splice(file, &mut offset, to, none, length, 0) })
    }

    fn splice_out(&mut self, to: RawFd, bytes: usize) -> io::Result<usize> {
        let (from, none) = (self.read_end.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: no memory is passed.
        check(unsafe { libc::splice(from, none, to, none, bytes, 0) })
    }
}

impl Sender for Splice {
    fn send(
        &mut self,
        socket: RawFd,
        file: RawFd,
        blocks: &[Block],
        skip: usize,
    ) -> io::Result<usize> {
        let (mut held, mut skip) = (0, skip);
        for block in blocks {
            if skip < HEADER_BYTES {
                held += self.put_header(&block.header(), skip)?;
            }
            let begun = skip.saturating_sub(HEADER_BYTES);
            let length = block.length as usize - begun;
            let bytes = self.put_block(file, block.offset + begun as u64, length)?;
            if bytes < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            held += bytes;
            skip = 0;
        }
        let sent = bare::calls::none_if_blocked(self.splice_out(socket, held));
        let sent = sent.map(|bytes| bytes.unwrap_or(0));
        let mut rest = held - sent.as_ref().map_or(0, |bytes| *bytes);
        while rest > 0 {
            rest -= self.splice_out(self.null.as_raw_fd(), rest)?;
        }
        sent
    }
}

fn main() -> io::Result<()> {
    bare::serve(Splice::new()?)
}
