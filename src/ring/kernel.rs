//! The seam: what a worker may ask of the system.

use std::time::Duration;

use crate::{
    Batch, Bell, Completion, Counters, Detached, File, FileStat, Op, OpId, Residency, Run, Socket,
    Token, Waker,
};

/// How long [`Kernel::enter`] may wait for a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Hand over what was pushed, take what is ready, come back at once.
    No,
    /// Until something completes, the waker is rung, or this much time has passed.
    AtMost(Duration),
}

/// The kernel cannot go on (not: an op failed). The text names cause and cure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KernelError(pub String);

/// What one pinned thread asks of the system: by [`io_uring`](crate::UringKernel) in production, by
/// [`epoll`](crate::EpollKernel) where that is denied, and of a seeded simulation in tests. The same
/// contract tests run against each.
///
/// # Contract
/// * Every pushed op is finished by exactly one completion without `more`; `more` ones may come
///   before it. A completion's `token` is the one given at the push.
/// * Completions of one op come in order; of different ops in any order.
/// * `push` never waits for the network or a disk. It may do the work at once (a batch whose
///   pages are resident is gathered there and then); the completion still comes by `next`.
/// * After [`Op::Close`] or [`Op::Detach`] nothing else may be pushed for that socket. Its other ops finish first
///   (as `Failed(Cancelled)` unless they had finished), `Closed` or `Detached` comes last.
/// * What a receive took from a socket is delivered, unless the socket is being closed.
pub trait Kernel {
    /// Starts an operation. `Err` gives the op back when the op table is full
    /// ([`limits::OPS_MAX`](crate::limits)): try again after the next `enter`.
    fn push(&mut self, op: Op, token: Token) -> Result<OpId, Op>;

    /// Hands over what was pushed and waits for completions, at most as `wait` says.
    fn enter(&mut self, wait: Wait) -> Result<(), KernelError>;

    /// The next completion, until there is none: then `enter` again.
    fn next(&mut self) -> Option<Completion>;

    /// An empty batch (recycled from one that was sent, where there is one).
    fn batch(&mut self) -> Box<Batch>;

    /// Gives back a batch that will not be sent (again).
    fn recycle(&mut self, batch: Box<Batch>);

    /// Takes over a socket that another kernel gave up by [`Op::Detach`]. When it cannot (EMFILE: no
    /// place for it), the socket is closed.
    fn attach(&mut self, socket: Detached) -> Result<Socket, crate::Failure>;

    /// Whether every page of `run` is in the page cache (`cachestat`); never waits for a disk.
    fn residency(&mut self, run: Run) -> Residency;

    /// As [`Kernel::residency`], but pages that are still being read count as missing (`mincore`), and `ends`
    /// gets more entries: a byte of the last page of each stretch that is missing. Costs some microseconds,
    /// `residency` less than one. Where the system tells only what `residency` says, no entries.
    fn missing(&mut self, run: Run, ends: &mut Vec<u64>) -> Residency;

    /// What the file is like now (`fstat`); [`Op::Open`] gave it once before. Of a file whose
    /// [`Mount`](crate::Mount) is distant it may wait: [`Op::Stat`].
    fn stat(&mut self, file: File) -> Result<FileStat, crate::Failure>;

    /// Bytes handed to the socket and not yet acknowledged by the peer (`SIOCOUTQ`).
    fn unacknowledged_bytes(&mut self, socket: Socket) -> u32;

    /// Bytes that TCP holds for all sockets of the machine, sent or received: never less than what
    /// peers have not acknowledged to any of them. `None`: the system does not say.
    fn tcp_bytes(&mut self) -> Option<u64>;

    /// What was counted since it was made. Cheap: a copy of some numbers.
    fn counters(&self) -> Counters;

    /// A handle by which another thread ends the wait of `enter`: a completion
    /// [`Outcome::Woken`](crate::Outcome::Woken) with [`Token::WAKE`] follows.
    fn waker(&self) -> Waker;

    /// What other kernels ring.
    fn bell(&self) -> Bell;

    /// As [`Waker::wake`] of the kernel that the bell is of, for a thread that has a kernel itself: at
    /// the latest with its next `enter`, and without a system call where both have rings. Each ring is
    /// a wake-up, so ring only those that wait.
    fn ring(&mut self, bell: &Bell);
}
