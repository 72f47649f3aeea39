//! What works behind the op table of a [`NativeKernel`](crate::NativeKernel): io_uring, or epoll
//! with a few threads. An engine knows descriptors and memory, not ops: each piece of work has a
//! name, and its events carry it.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use crate::address::RawAddress;
use crate::native::KernelOptions;
use crate::plan::StartError;
use crate::threads::{Call, Done, Lane};
use crate::{Bell, Counters, KernelError, RecvBuffer, Run, Waker};

/// A piece of work. The first four go on until they are cancelled or fail.
#[derive(Clone, Copy)]
pub enum Work<'a> {
    /// Each event's result is a descriptor: non-blocking, close-on-exec.
    Accept(RawFd),
    /// Each event has a buffer, filled with `result` bytes; 0 is the end. ENOBUFS: none was at home.
    Receive(RawFd),
    /// Each event has a buffer for [`Engine::datagram`].
    ReceiveDatagram(RawFd),
    /// Once: one of the events (POLLIN ...), an error or a hang-up shows.
    Poll(RawFd, u32),
    /// Once: the connection stands.
    Connect(RawFd, &'a RawAddress),
    /// Once: read(2) of `length` bytes at `offset`, which may wait for a disk.
    Read { file: &'a Arc<OwnedFd>, lane: Lane, into: *mut u8, length: u32, offset: u64 },
}

/// What happened to a piece of work.
pub enum Event {
    /// The waker was rung.
    Woken,
    /// Something of the work `name`: as system calls tell it, an errno is negative.
    Of { name: u64, result: i32, buffer: Option<RecvBuffer>, more: bool },
    /// The only event of a call made aside, of a read apart.
    Done { name: u64, done: Done },
}

/// What is known of a run that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Pages of it are missing.
    Missing,
    /// The system does not say, so runs that are there are asked for too.
    Nothing,
}

/// See the head of this file.
pub trait Engine: Sized {
    /// Sets it up, on the thread that uses it.
    fn new(options: &KernelOptions) -> Result<Self, StartError>;

    /// Starts a piece of work.
    ///
    /// # Safety
    /// What it points to stays valid until its last event, and so does the memory that it has
    /// written. Its descriptor stays open until then, or until [`Engine::release`].
    unsafe fn start(&mut self, name: u64, work: Work<'_>);

    /// Makes a call on a thread, where it may wait for as long as it takes.
    ///
    /// # Safety
    /// As for [`Engine::start`].
    unsafe fn aside(&mut self, name: u64, call: Call, lane: Lane);

    /// Lets go of a file. Where it had no other owner a thread closes it, which may wait for a server;
    /// no event tells of that.
    fn close(&mut self, file: Arc<OwnedFd>, lane: Lane);

    /// Whether readahead(2) of a run is the caller's own to make. It may wait when the device has no
    /// tag left.
    fn asks_here(&mut self, file: BorrowedFd<'_>, run: Run, known: Known) -> bool;

    /// Asks for the end of a piece of work (on the socket `of`, if it is on one). Its last event
    /// says ECANCELED unless it was quicker.
    fn cancel(&mut self, name: u64, of: Option<RawFd>);

    /// A socket on which no work is left stays open, but is this engine's no more. Its release
    /// follows.
    fn forget(&mut self, socket: BorrowedFd<'_>);

    /// The number of a socket on which no work is left may be another's from now on.
    fn release(&mut self, socket: BorrowedFd<'_>);

    /// Hands over what was started, and waits for an event at most `wait` (`None`: not at all).
    fn enter(&mut self, wait: Option<Duration>) -> Result<(), KernelError>;

    /// The next event that is there.
    fn next(&mut self) -> Option<Event>;

    /// Takes note of receive buffers that came home: how many there are for receives that found none.
    fn feed(&mut self) -> usize;

    /// The bytes of a datagram and who sent it. `None`: not from an internet address.
    fn datagram(buffer: RecvBuffer) -> Option<(RecvBuffer, SocketAddr)>;

    /// Ends another thread's wait in [`Engine::enter`].
    fn waker(&self) -> Waker;

    /// The same for threads with an engine themselves: see [`Engine::ring`].
    fn bell(&self) -> Bell;

    /// Ends another engine's wait, at the latest with the next [`Engine::enter`].
    fn ring(&mut self, bell: &Bell);

    /// Fills in what it counts: enters, and queues that were full.
    fn count(&self, counters: &mut Counters);

    /// Prepares for the end, after all work was cancelled.
    fn shut_down(&mut self);

    /// Nothing but the work that was started is under way: after [`Engine::shut_down`], the engine
    /// may be dropped once that has ended.
    fn is_quiet(&self) -> bool;

    /// Drops it before it is quiet, and leaks what may still be written.
    fn abandon(self);
}
