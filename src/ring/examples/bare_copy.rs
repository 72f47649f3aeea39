//! The copying limit: for sixteen blocks an io_uring READ of each of their runs and one SENDMSG,
//! linked, so that a batch is one io_uring_enter(2).
//! `cargo run --release --example bare_copy -- FILE ADDR:PORT PIECE_LENGTH`

mod bare;

use std::io;
use std::os::fd::RawFd;

use bare::{BATCH_BLOCKS, Block, HEADER_BYTES, Sender};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode, squeue, types};

/// A READ for each block at the most, and the SENDMSG.
const ENTRIES: u32 = 2 * BATCH_BLOCKS as u32;
/// `user_data` of the SENDMSG; that of READs is 0.
const SENDMSG: u64 = 1;

/// The memory of one batch, used again for the next: it stays in the core's cache.
struct Copy {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    /// The blocks' bytes, without gaps, so that neighbours in the file are one READ.
    memory: Vec<u8>,
    headers: [[u8; HEADER_BYTES]; BATCH_BLOCKS],
    parts: Vec<libc::iovec>,
}

/// Neighbouring bytes of the file, and where they go in memory.
struct Run {
    offset: u64,
    length: usize,
    at: usize,
}

impl Copy {
    fn new() -> io::Result<Copy> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .build(ENTRIES)?;
        let (mut submitter, submissions, completions) = Box::leak(Box::new(ring)).split();
        // Saves a look-up of the descriptor an enter.
        submitter.register_ring_fd()?;
        let memory = vec![0; BATCH_BLOCKS * (16 << 10)];
        let headers = [[0; HEADER_BYTES]; BATCH_BLOCKS];
        let parts = Vec::with_capacity(2 * BATCH_BLOCKS);
        Ok(Copy { submitter, submissions, completions, memory, headers, parts })
    }

    /// Lays the batch out: what is to be read to where, and the parts of the message.
    fn lay_out(&mut self, blocks: &[Block], mut skip: usize) -> Vec<Run> {
        let whole = blocks.iter().map(|block| block.length as usize).sum();
        if self.memory.len() < whole {
            self.memory.resize(whole, 0);
        }
        self.parts.clear();
        let (mut runs, mut at): (Vec<Run>, usize) = (Vec::with_capacity(BATCH_BLOCKS), 0);
        for (header, block) in self.headers.iter_mut().zip(blocks) {
            *header = block.header();
            if let Some(rest @ [_, ..]) = header.get_mut(skip..) {
                self.parts.push(part(rest));
            }
            let begun = skip.saturating_sub(HEADER_BYTES);
            let (offset, length) = (block.offset + begun as u64, block.length as usize - begun);
            self.parts.push(part(&mut self.memory[at..at + length]));
            match runs.last_mut() {
                Some(last) if last.offset + last.length as u64 == offset => last.length += length,
                _ => runs.push(Run { offset, length, at }),
            }
            at += length;
            skip = 0;
        }
        runs
    }

    /// READ, READ ... SENDMSG: each begins when the one before it is done. How much was sent.
    fn submit(&mut self, socket: RawFd, file: RawFd, runs: &[Run]) -> io::Result<i32> {
        // SAFETY: all-zero is a valid msghdr.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (self.parts.as_mut_ptr(), self.parts.len());
        for run in runs {
            let into = &mut self.memory[run.at..run.at + run.length];
            let read = opcode::Read::new(types::Fd(file), into.as_mut_ptr(), run.length as u32)
                .offset(run.offset)
                .build()
                .flags(squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS);
            // SAFETY: the memory is ours until the last completion below.
            unsafe { self.submissions.push(&read) }.map_err(io::Error::other)?;
        }
        let send = opcode::SendMsg::new(types::Fd(socket), &raw const message)
            .flags(libc::MSG_NOSIGNAL as u32)
            .build()
            .user_data(SENDMSG);
        // SAFETY: message, parts, headers and memory are ours until the completion below.
        unsafe { self.submissions.push(&send) }.map_err(io::Error::other)?;
        self.submissions.sync();
        let mut cut = None;
        loop {
            match self.submitter.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => result.map(drop)?,
            }
            self.submissions.sync();
            self.completions.sync();
            for done in &mut self.completions {
                match (done.user_data(), done.result()) {
                    (SENDMSG, result) => return cut.map_or(Ok(result), Err),
                    // What comes after the READ that failed is cancelled.
                    (_, result) if result == -libc::ECANCELED => {}
                    (_, error @ ..0) => cut = Some(io::Error::from_raw_os_error(-error)),
                    _ => cut = Some(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        }
    }
}

fn part(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

impl Sender for Copy {
    fn send(
        &mut self,
        socket: RawFd,
        file: RawFd,
        blocks: &[Block],
        skip: usize,
    ) -> io::Result<usize> {
        let runs = self.lay_out(blocks, skip);
        match self.submit(socket, file, &runs)? {
            sent @ 0.. => Ok(sent as usize),
            error => {
                let error = Err(io::Error::from_raw_os_error(-error));
                bare::calls::none_if_blocked(error).map(|bytes| bytes.unwrap_or(0))
            }
        }
    }
}

fn main() -> io::Result<()> {
    bare::serve(Copy::new()?)
}
