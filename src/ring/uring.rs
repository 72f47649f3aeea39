//! The kernel in production: io_uring for everything but the splices.
//!
//! An op that needs the ring has a slot in the op table; `user_data` is generation, index and the
//! number of a part. It is finished by a completion without F_MORE, whatever its result says. Ops
//! that are done at once (a spliced batch, readahead) finish within `push` and only queue their
//! completion.

mod complete;
mod copy;
mod direct;
mod ops;
mod provided;
mod ring;
mod shutdown;
mod sockets;

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use crate::files::OpenFile;
use crate::gather::Gather;
use crate::memory::Mapping;
use crate::plan::{Probe, StartError, VerbPlan, ZeroCopy, verb_plan};
use crate::slab::Slab;
use crate::{
    Batch, Completion, Counters, Failure, File, FileStat, Kernel, KernelError, Op, OpId, Outcome,
    Residency, Run, Socket, Token, Verb, Wait, Waker, limits, sys,
};

use copy::Scratch;
use ops::{Work, Working};
use provided::ProvidedBuffers;
use ring::Ring;

pub(crate) use ring::try_set_up;
use sockets::OwnedSocket;

/// Sizes of a kernel; each has a default in [`limits`].
#[derive(Clone, Debug)]
pub struct UringOptions {
    /// Submission entries.
    pub sq_entries: u32,
    /// Completion entries; at least twice `ops_max`, or multishot ops are stopped by overflows.
    pub cq_entries: u32,
    /// Ops in flight.
    pub ops_max: u32,
    /// Provided receive buffers, a power of two of at most 32,768.
    pub receive_buffers: u16,
    /// Bytes of each.
    pub receive_buffer_bytes: u32,
    /// Whether batches go by reference.
    pub zero_copy: ZeroCopy,
    /// Bytes of the pipe.
    pub pipe_bytes: usize,
    /// Buffers of the copying verb: batches that read at once.
    pub scratch_count: usize,
    /// Bytes of each: the most that one send of the copying verb carries.
    pub scratch_bytes: usize,
}

impl Default for UringOptions {
    fn default() -> UringOptions {
        UringOptions {
            sq_entries: limits::SQ_ENTRIES,
            cq_entries: limits::CQ_ENTRIES,
            ops_max: limits::OPS_MAX,
            receive_buffers: limits::RECEIVE_BUFFERS,
            receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
            zero_copy: ZeroCopy::Auto,
            pipe_bytes: limits::PIPE_BYTES,
            scratch_count: limits::SCRATCH_COUNT,
            scratch_bytes: limits::SCRATCH_BYTES,
        }
    }
}

/// [`Kernel`] by io_uring. Made on the thread that uses it; not `Send`.
///
/// Beyond the contract: a `Send` that waits for scratch memory or a disk may be cancelled, and its
/// batch is then dropped. `Accept` ends as `Failed` when the process has no descriptor left
/// (EMFILE, ENFILE): close something and push it again.
pub struct UringKernel {
    ring: Ring,
    ops: ManuallyDrop<Slab<Working>>,
    sockets: Slab<OwnedSocket>,
    files: Slab<OpenFile>,
    provided: ManuallyDrop<ProvidedBuffers>,
    /// Receives that found no buffer; armed again when some came home.
    starved: VecDeque<OpId>,
    ready: VecDeque<Completion>,
    #[expect(
        clippy::vec_box,
        reason = "batches come and go boxed: their boxes are kept with them"
    )]
    spare: Vec<Box<Batch>>,
    gather: Option<Gather>,
    plan: VerbPlan,
    scratch: ManuallyDrop<Scratch>,
    /// Closed once the queue holds no entry that names their numbers.
    closing_fds: Vec<OwnedFd>,
    /// Where reads go whose bytes nobody wants. Never read.
    sink: ManuallyDrop<Mapping>,
    datagram_form: Box<libc::msghdr>,
    wake_fd: Arc<OwnedFd>,
    /// Numbers for ops that have no slot, so that each has an id of its own.
    done_at_once: u32,
    counters: Counters,
}

/// `user_data` of the waker's read.
const WAKE: u64 = u64::MAX;
/// `user_data` of cancellations; their own results say nothing that the ops' results do not.
const CANCEL: u64 = u64::MAX - 1;
/// Indexes take 24 bits of `user_data`.
const OPS_LIMIT: u32 = (1 << 24) - 1;

/// `user_data` of a part (0 for most) of an op.
fn user_data(index: u32, generation: u32, part: u8) -> u64 {
    u64::from(generation) << 32 | u64::from(index) << 8 | u64::from(part)
}

impl UringKernel {
    /// Sets the ring up. Errors name cause and cure.
    pub fn new(options: &UringOptions) -> Result<UringKernel, StartError> {
        let mut ring = Ring::new(options)?;
        let provided = ProvidedBuffers::new(
            ring.submitter(),
            options.receive_buffers,
            options.receive_buffer_bytes,
        )?;
        ring.enable()?;
        let (gather, plan) = plan_verb(options)?;
        // SAFETY: all-zero is a valid msghdr.
        let mut datagram_form: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        datagram_form.msg_namelen = crate::address::ADDRESS_BYTES as libc::socklen_t;
        let wake_fd = sys::eventfd().map_err(errno_at_start)?;
        let scratch = Scratch::new(options.scratch_count, options.scratch_bytes);
        let sink = Mapping::new(limits::DISCARD_STEP_BYTES as usize);
        let sink = sink.map_err(errno_at_start)?;
        let ops_max = options.ops_max.min(OPS_LIMIT);
        let mut kernel = UringKernel {
            ring,
            ops: ManuallyDrop::new(Slab::new(ops_max)),
            sockets: Slab::new(OPS_LIMIT),
            files: Slab::new(OPS_LIMIT),
            provided: ManuallyDrop::new(provided),
            starved: VecDeque::new(),
            ready: VecDeque::new(),
            spare: Vec::new(),
            gather,
            plan,
            scratch: ManuallyDrop::new(scratch),
            closing_fds: Vec::new(),
            sink: ManuallyDrop::new(sink),
            datagram_form,
            wake_fd: Arc::new(wake_fd),
            done_at_once: 0,
            counters: Counters::default(),
        };
        kernel.arm_waker();
        Ok(kernel)
    }

    /// How batches are sent, and why: the verb to push sends with.
    pub fn plan(&self) -> &VerbPlan {
        &self.plan
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        counters.enters = self.ring.enters;
        counters
    }

    /// Ops in flight.
    pub fn ops_in_flight(&self) -> usize {
        self.ops.len()
    }

    /// Sockets it owns.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Files it owns.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    fn arm_waker(&mut self) {
        use std::os::fd::AsRawFd;
        let fd = types::Fd(self.wake_fd.as_raw_fd());
        let entry = opcode::Read::new(fd, self.sink.as_ptr(), 8).build().user_data(WAKE);
        // SAFETY: the sink lives until the ring is drained.
        unsafe { self.ring.push(entry) };
    }

    /// An id for an op that is finished within `push`.
    fn passing_id(&mut self) -> OpId {
        self.done_at_once = self.done_at_once.wrapping_add(1);
        OpId { index: u32::MAX, generation: self.done_at_once }
    }

    /// Queues the one completion of an op that is finished within `push`.
    fn done_now(&mut self, token: Token, outcome: Outcome) -> OpId {
        let op = self.passing_id();
        self.ready.push_back(Completion { token, op, outcome, more: false });
        op
    }

    fn done_or_failed(&mut self, token: Token, result: Result<(), Failure>) -> OpId {
        let outcome = match result {
            Ok(()) => Outcome::Done,
            Err(failure) => Outcome::Failed(failure),
        };
        self.done_now(token, outcome)
    }

    fn push_send(
        &mut self,
        socket: Socket,
        mut batch: Box<Batch>,
        verb: Verb,
        token: Token,
    ) -> OpId {
        let Some(owned) = self.sockets.get(socket.index, socket.generation) else {
            self.recycle(batch);
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBADF)));
        };
        if owned.refuses_send() {
            self.recycle(batch);
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBUSY)));
        }
        let fd = owned.fd();
        let plain = batch.as_plain_bytes().map(|bytes| sys::send(fd, bytes));
        let result = match (plain, verb, self.gather.as_mut()) {
            (Some(Ok(bytes)), _, _) => {
                batch.advance(bytes as u64);
                Ok(bytes as u32)
            }
            (Some(Err(libc::EAGAIN | libc::EINTR)), _, _) => Ok(0),
            (Some(Err(errno)), _, _) => Err(Failure::Os(errno)),
            (None, Verb::Splice, Some(gather)) => {
                let sent = gather.send(fd, &mut batch, &self.files, &mut self.counters);
                self.counters.bytes_spliced += sent.as_ref().map_or(0, |bytes| u64::from(*bytes));
                sent
            }
            (None, _, _) => return self.push_copy(socket, batch, token),
        };
        let outcome = self.sent(batch, result);
        self.done_now(token, outcome)
    }

    /// The outcome of a send, and its accounting.
    fn sent(&mut self, batch: Box<Batch>, result: Result<u32, Failure>) -> Outcome {
        match result {
            Ok(bytes) => {
                self.counters.batches += 1;
                self.counters.bytes_sent += u64::from(bytes);
                if !batch.is_empty() {
                    self.counters.partial_sends += 1;
                }
                Outcome::Sent { bytes, batch }
            }
            Err(failure) => {
                self.recycle(batch);
                Outcome::Failed(failure)
            }
        }
    }

    fn file(&self, file: File) -> Result<&OpenFile, Failure> {
        self.files.get(file.index, file.generation).ok_or(Failure::Os(libc::EBADF))
    }

    fn push_close_file(&mut self, file: File, token: Token) -> OpId {
        let closed = self.files.remove(file.index, file.generation);
        let result = match closed {
            Some(file) => {
                self.closing_fds.push(file.into_fd());
                Ok(())
            }
            None => Err(Failure::Os(libc::EBADF)),
        };
        self.done_or_failed(token, result)
    }

    fn push_read_ahead(&mut self, run: Run, token: Token) -> OpId {
        let result = self
            .file(run.file)
            .and_then(|file| file.read_ahead(run).map_err(|errno| Failure::Run { run, errno }));
        self.done_or_failed(token, result)
    }

    /// Receives that starved are armed again, as many as there are buffers for.
    fn feed(&mut self) {
        let mut fed = self.provided.provide();
        while fed > 0 {
            let Some(op) = self.starved.pop_front() else { return };
            fed -= 1;
            self.rearm(op);
        }
    }
}

impl Kernel for UringKernel {
    fn push(&mut self, op: Op, token: Token) -> Result<OpId, Op> {
        if self.ops.is_full() || self.ready.len() >= limits::OPS_MAX as usize {
            // What ends ops must get through, or a full table would stay full.
            match op {
                Op::Cancel { op } => return Ok(self.push_cancel(op)),
                Op::Close { socket, reset } => return Ok(self.push_close(socket, reset, token)),
                op => {
                    self.counters.ops_refused += 1;
                    return Err(op);
                }
            }
        }
        Ok(match op {
            Op::Send { socket, batch, verb } => self.push_send(socket, batch, verb, token),
            Op::Receive { socket } => self.push_on_socket(socket, Work::Receive, token),
            Op::PollWritable { socket } => {
                self.push_on_socket(socket, Work::Poll(libc::POLLOUT as u32), token)
            }
            Op::PollReadable { socket } => {
                let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
                self.push_on_socket(socket, Work::Poll(events), token)
            }
            Op::Accept { listener } => self.push_on_socket(listener, Work::Accept, token),
            Op::ReceiveDatagram { socket } => {
                self.push_on_socket(socket, Work::ReceiveDatagram, token)
            }
            Op::SendDatagram { socket, to, bytes } => {
                self.push_send_datagram(socket, to, &bytes, token)
            }
            Op::Connect { to, from } => self.push_connect(to, from, token),
            Op::Close { socket, reset } => self.push_close(socket, reset, token),
            Op::Open { root, path } => self.push_open(root, &path, token),
            Op::CloseFile { file } => self.push_close_file(file, token),
            Op::ReadAhead { run } => self.push_read_ahead(run, token),
            Op::ReadByte { file, offset } => {
                self.push_on_file(file, Work::ReadByte { file, offset }, token)
            }
            Op::ReadDiscard { run } => {
                self.push_on_file(run.file, Work::ReadDiscard { run, done: 0 }, token)
            }
            Op::Cancel { op } => self.push_cancel(op),
        })
    }

    fn enter(&mut self, wait: Wait) -> Result<(), KernelError> {
        self.feed();
        let wait = match wait {
            Wait::AtMost(time) if self.ready.is_empty() => Some(time),
            _ => None,
        };
        self.ring.enter(wait)?;
        if !self.closing_fds.is_empty() && self.ring.all_handed_over() {
            self.closing_fds.clear();
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.ready.pop_front() {
                return Some(completion);
            }
            let entry = self.ring.next()?;
            self.counters.completions += 1;
            if let Some(completion) = self.complete(&entry) {
                return Some(completion);
            }
        }
    }

    fn batch(&mut self) -> Box<Batch> {
        self.spare.pop().unwrap_or_default()
    }

    fn recycle(&mut self, mut batch: Box<Batch>) {
        if self.spare.len() < limits::BATCHES_KEPT {
            batch.clear();
            self.spare.push(batch);
        }
    }

    fn residency(&mut self, run: Run) -> Residency {
        match self.files.get(run.file.index, run.file.generation) {
            Some(file) => file.residency(run),
            None => Residency::Unknown,
        }
    }

    fn stat(&mut self, file: File) -> Result<FileStat, Failure> {
        self.file(file)?.stat().map_err(Failure::Os)
    }

    fn unacknowledged_bytes(&mut self, socket: Socket) -> u32 {
        let socket = self.sockets.get(socket.index, socket.generation);
        socket.and_then(|socket| sys::unacknowledged(socket.fd()).ok()).unwrap_or(0)
    }

    fn waker(&self) -> Waker {
        let fd = Arc::clone(&self.wake_fd);
        Waker::new(move || {
            // It fails only when 2^64 - 1 rings wait: then a wake-up is due anyway.
            let _ = sys::write(fd.as_fd(), &1u64.to_ne_bytes());
        })
    }
}

fn errno_at_start(errno: i32) -> StartError {
    ring::set_up_error(&std::io::Error::from_raw_os_error(errno))
}

/// The pipe and what goes with it, if batches are to go by reference; and the reason.
fn plan_verb(options: &UringOptions) -> Result<(Option<Gather>, VerbPlan), StartError> {
    let mut gather = match options.zero_copy {
        // The plan does not look at a pipe that nobody asked for.
        ZeroCopy::Off => Err(0),
        ZeroCopy::Auto | ZeroCopy::Splice => Gather::new(options.pipe_bytes),
    };
    let probe = Probe::of_pipe(gather.as_mut().map(Gather::pipe).map_err(|errno| *errno));
    let plan = verb_plan(options.zero_copy, &probe)?;
    let gather = if plan.verb == Verb::Splice { gather.ok() } else { None };
    Ok((gather, plan))
}

/// A cancellation that answers only when it found nothing.
fn cancel_entry(user_data: u64) -> squeue::Entry {
    opcode::AsyncCancel::new(user_data).build().flags(squeue::Flags::SKIP_SUCCESS).user_data(CANCEL)
}

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod send_tests;
#[cfg(test)]
mod soak_tests;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod tests;
