//! The copying verb: a batch's runs are read into scratch memory that is laid out as the byte
//! stream itself, and one send(2) takes it.
//!
//! What the page cache has is read at once (RWF_NOWAIT), while it is hot; the rest is read by the
//! engine, so that this thread waits for no disk. Scratch is held while reads are on their way and
//! never by a peer that does not read: a short send gives the batch back, and its bytes are read again.
//! A run that cannot be read fails the batch with nothing of this stretch sent.

use std::ops::Range;

use crate::engine::Engine;
use crate::files::OpenFile;
use crate::limits::READS_A_BATCH;
use crate::memory::Mapping;
use crate::slab::Slab;
use crate::sys::{self, Patience};
use crate::threads::Lane;
use crate::{Batch, Failure, Kernel, OpId, Outcome, Part, Run, Socket, Token};

use super::ops::{Origin, Task};
use super::{NativeKernel, name_of};

/// A batch that waits for scratch, or for its reads.
pub(super) struct CopyJob {
    socket: Socket,
    batch: Option<Box<Batch>>,
    /// The distant mount that its first such run is of: who answers for its scratch.
    mount: Option<Lane>,
    /// Where it stands in line for some.
    place: Option<u64>,
    scratch: Option<Mapping>,
    /// Bytes of the batch that the scratch holds once the reads are done.
    laid_bytes: usize,
    reads: Vec<PendingRead>,
    failure: Option<Failure>,
}

impl CopyJob {
    /// The numbers of its reads.
    pub(super) fn parts(&self) -> Range<usize> {
        0..self.reads.len()
    }
}

/// What is still to be read of a run, and where to.
struct PendingRead {
    from: Origin,
    run: Run,
    at: usize,
}

impl<E: Engine> NativeKernel<E> {
    /// Sends by copying: at once when all is in the page cache.
    pub(super) fn push_copy(&mut self, socket: Socket, batch: Box<Batch>, token: Token) -> OpId {
        let mount = self.mount_of(&batch);
        let mut job = CopyJob {
            socket,
            batch: Some(batch),
            mount,
            place: None,
            scratch: None,
            laid_bytes: 0,
            reads: Vec::new(),
            failure: None,
        };
        let laid = self.lay(&mut job);
        if laid.is_ok() && (job.scratch.is_none() || !job.reads.is_empty()) {
            return self.push_copy_job(job, token);
        }
        let outcome = self.send_laid(&mut job, laid);
        self.drop_copy(job);
        self.done_now(token, outcome)
    }

    /// The batch waits: for scratch, or for the disk.
    fn push_copy_job(&mut self, job: CopyJob, token: Token) -> OpId {
        let socket = job.socket;
        let (has_scratch, mount) = (job.scratch.is_some(), job.mount);
        let Some(op) = self.insert(Some(socket), Task::Copy(Box::new(job)), token) else {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EAGAIN)));
        };
        if let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) {
            owned.attach(op.index);
            owned.copying = true;
        }
        if has_scratch {
            self.start_reads(op);
        } else {
            self.counters.scratch_waits += 1;
            let place = self.scratch.wait(op, mount);
            if let Some(Task::Copy(job)) = self.task_mut(op) {
                job.place = Some(place);
            }
        }
        op
    }

    /// Takes scratch for the job, if there is some, and lays its batch out in it.
    fn lay(&mut self, job: &mut CopyJob) -> Result<(), Failure> {
        let Some(scratch) = self.scratch.take(job.mount)? else { return Ok(()) };
        let Some(batch) = job.batch.as_deref() else { return Ok(()) };
        // SAFETY: the mapping is this job's alone, and no read of it is on its way.
        let memory = unsafe { std::slice::from_raw_parts_mut(scratch.as_ptr(), scratch.len()) };
        let laid = lay_out(batch, memory, &self.files, &mut job.reads);
        job.scratch = Some(scratch);
        job.laid_bytes = laid?;
        Ok(())
    }

    fn task_mut(&mut self, op: OpId) -> Option<&mut Task> {
        Some(&mut self.ops.get_mut(op.index, op.generation)?.task)
    }

    fn mount_of(&self, batch: &Batch) -> Option<Lane> {
        batch.remaining().find_map(|part| match part {
            Part::Run(Run { file, .. }) => {
                let file = self.files.get(file.index, file.generation)?;
                Some(file.lane()).filter(|lane| lane.is_distant())
            }
            _ => None,
        })
    }

    fn start_reads(&mut self, op: OpId) {
        let parts = match self.ops.get(op.index, op.generation).map(|working| &working.task) {
            Some(Task::Copy(job)) => job.parts(),
            _ => 0..0,
        };
        for part in parts {
            self.push_read(op, part);
        }
    }

    fn push_read(&mut self, op: OpId, part: usize) {
        let Some(working) = self.ops.get_mut(op.index, op.generation) else { return };
        let Task::Copy(job) = &mut working.task else { return };
        let (Some(read), Some(scratch)) = (job.reads.get(part), &job.scratch) else { return };
        working.under_way += 1;
        self.counters.scratch_reads += 1;
        let into = scratch.as_ptr().wrapping_add(read.at);
        let (from, Run { length, offset, .. }) = (read.from.clone(), read.run);
        // SAFETY: `lay_out` saw to it that the read ends within the scratch, which the job holds
        // until its last read has ended.
        unsafe { self.read(name_of(op, part as u8), &from, into, length, offset) };
    }

    /// A read of a job completed.
    pub(super) fn complete_copy(&mut self, op: OpId, part: u8, result: i32) {
        let Some(working) = self.ops.get_mut(op.index, op.generation) else { return };
        let (under_way, ends) = (working.under_way, working.cancelled);
        let Task::Copy(job) = &mut working.task else { return };
        let Some(read) = job.reads.get_mut(usize::from(part)) else { return };
        match result {
            0 => job.failure = Some(Failure::Run { run: read.run, errno: 0 }),
            _ if result > 0 => {
                let bytes = (result as u32).min(read.run.length);
                read.run.offset += u64::from(bytes);
                read.run.length -= bytes;
                read.at += bytes as usize;
            }
            _ if result == -libc::EINTR => {}
            _ => job.failure = Some(Failure::Run { run: read.run, errno: -result }),
        }
        if read.run.length > 0 && job.failure.is_none() && !ends {
            self.push_read(op, usize::from(part));
        } else if under_way == 0 {
            self.finish_copy(op);
        }
    }

    /// All reads of a job are done: one send.
    fn finish_copy(&mut self, op: OpId) {
        let Some(working) = self.ops.get_mut(op.index, op.generation) else { return };
        if working.cancelled {
            self.finish(op, Outcome::Failed(Failure::Cancelled));
            return;
        }
        let Task::Copy(mut job) = std::mem::replace(&mut working.task, Task::Accept) else {
            return;
        };
        let laid = job.failure.map_or(Ok(()), Err);
        let outcome = self.send_laid(&mut job, laid);
        self.drop_copy(*job);
        self.finish(op, outcome);
    }

    /// Sends what the scratch holds, once.
    fn send_laid(&mut self, job: &mut CopyJob, laid: Result<(), Failure>) -> Outcome {
        let Some(mut batch) = job.batch.take() else {
            return Outcome::Failed(Failure::Cancelled);
        };
        let result = laid.and_then(|()| {
            let owned = self.sockets.get(job.socket.index, job.socket.generation);
            let (Some(owned), Some(scratch)) = (owned, &job.scratch) else {
                return Err(Failure::Os(libc::EBADF));
            };
            // SAFETY: `lay_out` has filled laid_bytes of the mapping, which is this job's alone, and no
            // read is on its way.
            let bytes = unsafe { std::slice::from_raw_parts_mut(scratch.as_ptr(), job.laid_bytes) };
            batch.encipher(bytes);
            self.counters.bytes_read += bytes.len() as u64;
            match sys::send(owned.fd(), bytes) {
                Ok(bytes) => {
                    batch.advance(bytes as u64);
                    self.counters.bytes_copied += bytes as u64;
                    Ok(bytes as u32)
                }
                Err(libc::EAGAIN | libc::EINTR) => Ok(0),
                Err(errno) => Err(Failure::Os(errno)),
            }
        });
        self.sent(batch, result)
    }

    /// Gives back what a job holds; the next who waits for scratch goes on.
    pub(super) fn drop_copy(&mut self, mut job: CopyJob) {
        if let Some(batch) = job.batch.take() {
            self.recycle(batch);
        }
        if let Some(place) = job.place.take() {
            self.scratch.leave(place, job.mount);
        }
        for read in job.reads.drain(..) {
            self.let_go(read.from);
        }
        let socket = job.socket;
        if let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) {
            owned.copying = false;
        }
        if let Some(scratch) = job.scratch.take() {
            self.scratch.give_back(scratch, job.mount);
            self.start_waiting();
        }
    }

    /// Whoever waits for scratch goes on while there is some. Jobs that end at once give theirs
    /// back within this loop, not by recursion.
    fn start_waiting(&mut self) {
        if std::mem::replace(&mut self.scratch.starting, true) {
            return;
        }
        while let Some(op) = self.scratch.next_waiting() {
            self.start_copy(op);
        }
        self.scratch.starting = false;
    }

    /// A job that waited lays its batch out.
    fn start_copy(&mut self, op: OpId) {
        let Some(working) = self.ops.get_mut(op.index, op.generation) else { return };
        let Task::Copy(mut job) = std::mem::replace(&mut working.task, Task::Accept) else {
            return;
        };
        job.place = None;
        let laid = self.lay(&mut job);
        let waits = laid.is_ok() && !job.reads.is_empty();
        job.failure = laid.err();
        if let Some(working) = self.ops.get_mut(op.index, op.generation) {
            working.task = Task::Copy(job);
        }
        if waits { self.start_reads(op) } else { self.finish_copy(op) }
    }
}

/// Lays the batch out as its byte stream, as much as fits: own bytes copied, runs read if they are
/// in the page cache. What is not there goes to `reads`. How many bytes the layout has.
fn lay_out(
    batch: &Batch,
    memory: &mut [u8],
    files: &Slab<OpenFile>,
    reads: &mut Vec<PendingRead>,
) -> Result<usize, Failure> {
    let mut at = 0;
    for part in batch.remaining() {
        let room = memory.len() - at;
        let wanted = match part {
            Part::Bytes { length, .. } | Part::Zeros(length) => length as usize,
            Part::Run(run) => run.length as usize,
        };
        let length = wanted.min(room);
        let into = &mut memory[at..at + length];
        match part {
            Part::Bytes { start, .. } => {
                into.copy_from_slice(batch.bytes_of(start, length as u32));
            }
            Part::Zeros(_) => into.fill(0),
            Part::Run(run) => {
                let run = Run { length: length as u32, ..run };
                let file = files.get(run.file.index, run.file.generation);
                let file = file.ok_or(Failure::Run { run, errno: libc::EBADF })?;
                // Even a read that is not to wait asks a server first whether the file has changed.
                let there = match file.lane().is_distant() {
                    true => 0,
                    false => read_resident(run, into, file)?,
                };
                if there < length {
                    if reads.len() == READS_A_BATCH {
                        return Ok(at);
                    }
                    let offset = run.offset + there as u64;
                    let run = Run { offset, length: (length - there) as u32, ..run };
                    reads.push(PendingRead { from: Origin::of(file), run, at: at + there });
                }
            }
        }
        at += length;
        if length < wanted {
            break;
        }
    }
    Ok(at)
}

/// Reads what the page cache has of a run's beginning.
fn read_resident(run: Run, into: &mut [u8], file: &OpenFile) -> Result<usize, Failure> {
    let mut at = 0;
    while at < into.len() {
        let offset = run.offset + at as u64;
        match sys::pread(file.fd(), &mut into[at..], offset, Patience::NoWait) {
            Ok(0) => return Err(Failure::Run { run: run.from(at as u32), errno: 0 }),
            Ok(bytes) => at += bytes,
            Err(libc::EINTR) => {}
            // Not there, or a filesystem that knows no such read: the engine's.
            Err(libc::EAGAIN | libc::EOPNOTSUPP) => break,
            Err(errno) => return Err(Failure::Run { run: run.from(at as u32), errno }),
        }
    }
    Ok(at)
}
