//! The kernels that talk to this machine: one op table, with one of two engines behind it.
//!
//! An op that its engine works on has a slot in the op table; the name of its work is generation,
//! index and the number of a part. It is finished by an event without `more`, whatever its result
//! says. Ops that are done at once (a spliced batch, a close) finish within `push` and only queue
//! their completion.

mod any;
mod complete;
mod copy;
mod direct;
mod ops;
mod options;
mod scratch;
mod shutdown;
mod sockets;

use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use crate::engine::Engine;
use crate::epoll::EpollEngine;
use crate::files::OpenFile;
use crate::gather::Gather;
use crate::memory::Mapping;
use crate::plan::{Host, Probe, StartError, VerbPlan, ZeroCopy, explain, verb_plan};
use crate::slab::Slab;
use crate::sockstat::Sockstat;
use crate::uring::UringEngine;
use crate::{
    Batch, Bell, Completion, Counters, Detached, Failure, File, FileStat, Kernel, KernelError, Op,
    OpId, Outcome, Residency, Run, Socket, Token, Verb, Wait, Waker, limits, sys,
};

pub use any::AnyKernel;
pub use options::KernelOptions;

use ops::{Task, Working};
use scratch::Scratch;
use sockets::OwnedSocket;

/// [`Kernel`] by the system itself. Made on the thread that uses it; not `Send`.
///
/// Beyond the contract: a `Send` that waits for scratch memory or a disk may be cancelled, and its
/// batch is then dropped. `Accept` ends as `Failed` when the process has no descriptor left
/// (EMFILE, ENFILE): close something and push it again.
pub struct NativeKernel<E: Engine> {
    engine: ManuallyDrop<E>,
    ops: ManuallyDrop<Slab<Working>>,
    sockets: Slab<OwnedSocket>,
    files: Slab<OpenFile>,
    /// Receives that found no buffer; started again when some came home.
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
    /// Where reads go whose bytes nobody wants. Never read.
    sink: ManuallyDrop<Mapping>,
    sockstat: Sockstat,
    /// Numbers for ops that have no slot, so that each has an id of its own.
    done_at_once: u32,
    counters: Counters,
}

/// [`Kernel`] by io_uring.
pub type UringKernel = NativeKernel<UringEngine>;

/// [`Kernel`] without io_uring: readiness by epoll, and a few threads for what waits for a disk.
pub type EpollKernel = NativeKernel<EpollEngine>;

/// Indexes take 24 bits of a name.
const OPS_LIMIT: u32 = (1 << 24) - 1;

/// The name of a part (0 for most) of an op's work.
fn name_of(op: OpId, part: u8) -> u64 {
    u64::from(op.generation) << 32 | u64::from(op.index) << 8 | u64::from(part)
}

/// The op of a name.
fn op_of(name: u64) -> OpId {
    OpId { index: (name >> 8) as u32 & 0xff_ffff, generation: (name >> 32) as u32 }
}

impl<E: Engine> NativeKernel<E> {
    /// Sets its engine up. Errors name cause and cure.
    pub fn new(options: &KernelOptions) -> Result<NativeKernel<E>, StartError> {
        NativeKernel::on(E::new(options)?, options)
    }

    /// The rest, once its engine stands.
    fn on(engine: E, options: &KernelOptions) -> Result<NativeKernel<E>, StartError> {
        let (gather, plan) = plan_verb(options)?;
        let sink = Mapping::new(limits::DISCARD_STEP_BYTES as usize).map_err(no_memory)?;
        let scratch = Scratch::new(options.scratch_count, options.scratch_bytes);
        Ok(NativeKernel {
            engine: ManuallyDrop::new(engine),
            ops: ManuallyDrop::new(Slab::new(options.ops_max.min(OPS_LIMIT))),
            sockets: Slab::new(OPS_LIMIT),
            files: Slab::new(OPS_LIMIT),
            starved: VecDeque::new(),
            ready: VecDeque::new(),
            spare: Vec::new(),
            gather,
            plan,
            scratch: ManuallyDrop::new(scratch),
            sink: ManuallyDrop::new(sink),
            sockstat: Sockstat::open(),
            done_at_once: 0,
            counters: Counters::default(),
        })
    }

    /// How batches are sent, and why: the verb to push sends with.
    pub fn plan(&self) -> &VerbPlan {
        &self.plan
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
        let verb = if batch.is_enciphered() { Verb::Copy } else { verb };
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
        // Reads that are under way keep the descriptor.
        let result = match self.files.remove(file.index, file.generation) {
            Some(file) => {
                self.drop_file(file);
                Ok(())
            }
            None => Err(Failure::Os(libc::EBADF)),
        };
        self.done_or_failed(token, result)
    }

    /// Receives that starved are started again, as many as there are buffers for.
    fn feed(&mut self) {
        let mut fed = self.engine.feed();
        while fed > 0 {
            let Some(op) = self.starved.pop_front() else { return };
            fed -= 1;
            self.start_again(op);
        }
    }
}

/// By these tests see that nothing is lost or left.
#[cfg(test)]
impl<E: Engine> NativeKernel<E> {
    fn ops_in_flight(&self) -> usize {
        self.ops.len()
    }

    fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn files(&self) -> usize {
        self.files.len()
    }
}

impl<E: Engine> Kernel for NativeKernel<E> {
    fn push(&mut self, op: Op, token: Token) -> Result<OpId, Op> {
        if self.ops.is_full() || self.ready.len() >= limits::OPS_MAX as usize {
            // What ends ops must get through, or a full table would stay full.
            match op {
                Op::Cancel { op } => return Ok(self.push_cancel(op)),
                Op::Close { socket, reset } => return Ok(self.push_close(socket, reset, token)),
                Op::Detach { socket } => return Ok(self.push_detach(socket, token)),
                op => {
                    self.counters.ops_refused += 1;
                    return Err(op);
                }
            }
        }
        Ok(match op {
            Op::Send { socket, batch, verb } => self.push_send(socket, batch, verb, token),
            Op::Receive { socket } => self.push_on_socket(socket, Task::Receive, token),
            Op::PollWritable { socket } => {
                self.push_on_socket(socket, Task::Poll(libc::POLLOUT as u32), token)
            }
            Op::PollReadable { socket } => {
                let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
                self.push_on_socket(socket, Task::Poll(events), token)
            }
            Op::Accept { listener } => self.push_on_socket(listener, Task::Accept, token),
            Op::ReceiveDatagram { socket } => {
                self.push_on_socket(socket, Task::ReceiveDatagram, token)
            }
            Op::SendDatagram { socket, to, bytes } => {
                self.push_send_datagram(socket, to, &bytes, token)
            }
            Op::SendDatagrams { socket, datagrams } => {
                self.push_send_datagrams(socket, datagrams, token)
            }
            Op::Connect { to, from } => self.push_connect(to, from, token),
            Op::Close { socket, reset } => self.push_close(socket, reset, token),
            Op::Detach { socket } => self.push_detach(socket, token),
            Op::Open { root, path } => self.push_open(root, &path, token),
            Op::CloseFile { file } => self.push_close_file(file, token),
            Op::ReadAhead { run, aside } => self.push_read_ahead(run, aside, token),
            Op::Stat { file } => self.push_stat(file, token),
            Op::ReadByte { file, offset } => self.push_read_byte(file, offset, token),
            Op::ReadDiscard { run } => self.push_read_discard(run, token),
            Op::Cancel { op } => self.push_cancel(op),
        })
    }

    fn enter(&mut self, wait: Wait) -> Result<(), KernelError> {
        self.feed();
        let wait = match wait {
            Wait::AtMost(time) if self.ready.is_empty() => Some(time),
            _ => None,
        };
        self.engine.enter(wait)
    }

    fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.ready.pop_front() {
                return Some(completion);
            }
            let event = self.engine.next()?;
            self.counters.completions += 1;
            if let Some(completion) = self.on_event(event) {
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

    fn attach(&mut self, socket: Detached) -> Result<Socket, Failure> {
        self.take_over(socket)
    }

    fn residency(&mut self, run: Run) -> Residency {
        match self.files.get(run.file.index, run.file.generation) {
            Some(file) => file.residency(run),
            None => Residency::Unknown,
        }
    }

    fn missing(&mut self, run: Run, ends: &mut Vec<u64>) -> Residency {
        match self.files.get(run.file.index, run.file.generation) {
            Some(file) => file.missing(run, ends),
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

    fn tcp_bytes(&mut self) -> Option<u64> {
        self.sockstat.tcp_bytes()
    }

    fn counters(&self) -> Counters {
        let mut counters = self.counters;
        self.engine.count(&mut counters);
        counters
    }

    fn waker(&self) -> Waker {
        self.engine.waker()
    }

    fn bell(&self) -> Bell {
        self.engine.bell()
    }

    fn ring(&mut self, bell: &Bell) {
        self.counters.rings += 1;
        self.engine.ring(bell);
    }
}

/// The pipe and what goes with it, if batches are to go by reference; and the reason.
fn plan_verb(options: &KernelOptions) -> Result<(Option<Gather>, VerbPlan), StartError> {
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

fn no_memory(errno: i32) -> StartError {
    explain(errno, &Host::of_system())
}

/// A test of each function with either engine.
#[cfg(test)]
macro_rules! on_both_engines {
    ($($test:ident),* $(,)?) => {
        mod io_uring {
            $(#[test] fn $test() { super::$test::<crate::uring::UringEngine>(); })*
        }
        mod epoll {
            $(#[test] fn $test() { super::$test::<crate::epoll::EpollEngine>(); })*
        }
    };
}

#[cfg(test)]
mod distant_tests;
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
