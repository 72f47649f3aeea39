//! The copying limit: pread(2) of each block and one send(2) for sixteen.
//! `cargo run --release --example bare_copy -- FILE PORT PIECE_LENGTH`

mod bare;

use std::io;
use std::os::fd::RawFd;

use bare::{BATCH_BLOCKS, Block, HEADER_BYTES, Sender};

struct Copy {
    memory: Vec<u8>,
}

impl Sender for Copy {
    fn send(
        &mut self,
        socket: RawFd,
        file: RawFd,
        blocks: &[Block],
        skip: usize,
    ) -> io::Result<usize> {
        let mut at = 0;
        for block in blocks {
            let end = at + block.message_bytes();
            self.memory.resize(self.memory.len().max(end), 0);
            self.memory[at..at + HEADER_BYTES].copy_from_slice(&block.header());
            read(file, &mut self.memory[at + HEADER_BYTES..end], block.offset)?;
            at = end;
        }
        bare::calls::send(socket, &self.memory[skip..at])
    }
}

fn read(file: RawFd, into: &mut [u8], offset: u64) -> io::Result<()> {
    let (at, length) = (into.as_mut_ptr().cast(), into.len());
    // SAFETY: the slice is writable for the call.
    match unsafe { libc::pread(file, at, length, offset as i64) } {
        bytes if bytes == length as isize => Ok(()),
        0.. => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn main() -> io::Result<()> {
    bare::serve(Copy { memory: vec![0; BATCH_BLOCKS * (HEADER_BYTES + (16 << 10))] })
}
