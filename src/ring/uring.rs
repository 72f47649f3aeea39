//! The engine in production: io_uring.

mod provided;
mod ring;

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::{cqueue, opcode, squeue, types};

use crate::address::{ADDRESS_BYTES, RawAddress};
use crate::engine::{Engine, Event, Known, Work};
use crate::limits::BELLS_MAX;
use crate::memory::Mapping;
use crate::native::KernelOptions;
use crate::plan::StartError;
use crate::threads::{Call, Lane, Threads};
use crate::{Bell, Counters, KernelError, RecvBuffer, Run, Waker, sys};

use provided::{GROUP, ProvidedBuffers};
use ring::{Ring, errno_at_start};

pub(crate) use ring::try_set_up;

/// `user_data` of the waker's read.
const WAKE: u64 = u64::MAX;
/// `user_data` of cancellations; their own results say nothing that the work's results do not.
const CANCEL: u64 = u64::MAX - 1;

/// `user_data` of another ring's message.
const RUNG: u64 = u64::MAX - 2;
/// `user_data` of the read that the threads end.
const THREADS: u64 = u64::MAX - 3;
/// `user_data` of messages of our own, less the place of the bell that they ring: they complete only
/// when they fail. No name of work is as high: an index is never all ones.
const MESSAGE: u64 = u64::MAX - 4;
const MESSAGE_LAST: u64 = MESSAGE - (BELLS_MAX as u64 - 1);

/// struct io_uring_recvmsg_out: what stands before name and payload of a datagram.
const RECVMSG_OUT_BYTES: usize = 16;

/// A ring, its provided buffers, and the read that the waker ends.
pub struct UringEngine {
    ring: Ring,
    provided: ManuallyDrop<ProvidedBuffers>,
    datagram_form: ManuallyDrop<Box<libc::msghdr>>,
    wake_fd: Arc<OwnedFd>,
    /// What these reads write. Never read.
    rings: ManuallyDrop<Mapping>,
    /// Bells that were rung by message: their rings stay open, and one that takes no message is rung by
    /// its waker.
    bells: Vec<Bell>,
    /// The waker's read is in the ring.
    waker_waits: bool,
    /// The same of the threads', once there was work for one.
    threads_wait: bool,
    threads: Threads,
    /// Told by the threads, or by us.
    done: VecDeque<Event>,
    shuts_down: bool,
}

impl UringEngine {
    fn arm_waker(&mut self) {
        if self.shuts_down {
            self.waker_waits = false;
            return;
        }
        self.read_event(self.wake_fd.as_raw_fd(), WAKE);
    }

    fn arm_threads(&mut self) {
        if self.shuts_down {
            self.threads_wait = false;
            return;
        }
        self.read_event(self.threads.bell().as_raw_fd(), THREADS);
    }

    /// Ends when somebody writes to the eventfd.
    fn read_event(&mut self, fd: RawFd, user_data: u64) {
        let (fd, length) = (types::Fd(fd), size_of::<u64>());
        let into = self.rings.as_ptr().wrapping_add(if user_data == THREADS { length } else { 0 });
        let entry = opcode::Read::new(fd, into, length as u32).build().user_data(user_data);
        // SAFETY: the mapping has room for both, and lives until the read has ended, or is leaked.
        unsafe { self.ring.push(entry) };
    }
}

impl UringEngine {
    /// The bell's place in the list, and its ring. `None`: it is rung by its waker.
    fn place_of(&mut self, bell: &Bell) -> Option<(usize, RawFd)> {
        let ring = bell.ring.as_ref()?;
        let is_same = |of: &Bell| of.ring.as_ref().is_some_and(|of| Arc::ptr_eq(of, ring));
        if let Some(place) = self.bells.iter().position(is_same) {
            return Some((place, ring.as_raw_fd()));
        }
        if self.bells.len() == BELLS_MAX {
            return None;
        }
        self.bells.push(bell.clone());
        Some((self.bells.len() - 1, ring.as_raw_fd()))
    }

    /// The other ring's thread is gone (EOWNERDEAD), its queue is full (EOVERFLOW), or memory is short.
    fn message_failed(&mut self, place: usize) {
        if let Some(bell) = self.bells.get(place) {
            bell.waker.wake();
        }
    }

    /// As [`Engine::enter`], but waits until so many events are there. What threads have told of is one,
    /// however much it is: their bell rings once for all that was done since it was heard.
    pub(crate) fn enter_for(
        &mut self,
        events: u32,
        wait: Option<Duration>,
    ) -> Result<(), KernelError> {
        let wait = wait.filter(|_| self.done.is_empty());
        self.ring.enter_for(events.max(1) as usize, wait)
    }
}

impl Engine for UringEngine {
    fn new(options: &KernelOptions) -> Result<UringEngine, StartError> {
        let mut ring = Ring::new(options)?;
        let provided = ProvidedBuffers::new(
            ring.submitter(),
            options.receive_buffers,
            options.receive_buffer_bytes,
        )?;
        ring.enable()?;
        // SAFETY: all-zero is a valid msghdr.
        let mut datagram_form: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        datagram_form.msg_namelen = ADDRESS_BYTES as libc::socklen_t;
        let wake_fd = sys::eventfd().map_err(errno_at_start)?;
        let rings = Mapping::new(2 * size_of::<u64>()).map_err(errno_at_start)?;
        let threads = Threads::new().map_err(errno_at_start)?;
        let mut engine = UringEngine {
            ring,
            provided: ManuallyDrop::new(provided),
            datagram_form: ManuallyDrop::new(datagram_form),
            wake_fd: Arc::new(wake_fd),
            rings: ManuallyDrop::new(rings),
            bells: Vec::new(),
            waker_waits: true,
            threads_wait: false,
            threads,
            done: VecDeque::new(),
            shuts_down: false,
        };
        engine.arm_waker();
        Ok(engine)
    }

    unsafe fn start(&mut self, name: u64, work: Work<'_>) {
        let entry = match work {
            Work::Accept(fd) => {
                let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
                opcode::AcceptMulti::new(types::Fd(fd)).flags(flags).build()
            }
            Work::Receive(fd) => opcode::RecvMulti::new(types::Fd(fd), GROUP).build(),
            Work::ReceiveDatagram(fd) => {
                let form: *const libc::msghdr = &**self.datagram_form;
                opcode::RecvMsgMulti::new(types::Fd(fd), form, GROUP).build()
            }
            Work::Poll(fd, events) => opcode::PollAdd::new(types::Fd(fd), events).build(),
            Work::Connect(fd, to) => {
                opcode::Connect::new(types::Fd(fd), to.as_ptr(), to.len()).build()
            }
            Work::Read { file, into, length, offset, .. } => {
                opcode::Read::new(types::Fd(file.as_raw_fd()), into, length).offset(offset).build()
            }
        };
        // SAFETY: by this function's own contract; the form of datagrams lives like the ring.
        unsafe { self.ring.push(entry.user_data(name)) };
    }

    unsafe fn aside(&mut self, name: u64, call: Call, lane: Lane) {
        if !std::mem::replace(&mut self.threads_wait, true) {
            self.arm_threads();
        }
        // SAFETY: by this function's own contract.
        unsafe { self.threads.push(name, call, lane) };
    }

    fn close(&mut self, file: Arc<OwnedFd>, lane: Lane) {
        self.threads.close(file, lane);
    }

    fn asks_here(&mut self, _: BorrowedFd<'_>, _: Run, _: Known) -> bool {
        true
    }

    fn cancel(&mut self, name: u64, of: Option<RawFd>) {
        // What is on no socket may wait for a thread.
        if of.is_none() && self.threads.cancel(name) {
            let result = -libc::ECANCELED;
            self.done.push_back(Event::Of { name, result, buffer: None, more: false });
            return;
        }
        // SAFETY: a cancellation names work by number and points to nothing.
        unsafe { self.ring.push(cancel_entry(name)) };
    }

    fn forget(&mut self, _: BorrowedFd<'_>) {}

    fn release(&mut self, _: BorrowedFd<'_>) {}

    fn enter(&mut self, wait: Option<Duration>) -> Result<(), KernelError> {
        let wait = wait.filter(|_| self.done.is_empty());
        self.ring.enter(wait)?;
        if self.shuts_down {
            // Nobody listens for the bell any longer.
            self.threads.take_done(&mut self.done);
        }
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.done.pop_front() {
                return Some(event);
            }
            let entry = self.ring.next()?;
            let (name, result, flags) = (entry.user_data(), entry.result(), entry.flags());
            match name {
                CANCEL => {}
                WAKE => {
                    self.arm_waker();
                    return Some(Event::Woken);
                }
                RUNG => return Some(Event::Woken),
                THREADS => {
                    self.threads.take_done(&mut self.done);
                    self.arm_threads();
                }
                MESSAGE_LAST..=MESSAGE => self.message_failed((MESSAGE - name) as usize),
                _ => {
                    let filled = result.max(0) as usize;
                    let buffer = cqueue::buffer_select(flags);
                    let buffer = buffer.and_then(|id| self.provided.lend(id, 0, filled));
                    return Some(Event::Of { name, result, buffer, more: cqueue::more(flags) });
                }
            }
        }
    }

    fn feed(&mut self) -> usize {
        self.provided.provide()
    }

    fn datagram(mut buffer: RecvBuffer) -> Option<(RecvBuffer, SocketAddr)> {
        let header = buffer.get(..RECVMSG_OUT_BYTES + ADDRESS_BYTES)?;
        let name_bytes = u32::from_ne_bytes(header.get(..4)?.try_into().ok()?) as usize;
        let name = header.get(RECVMSG_OUT_BYTES..)?;
        let from = RawAddress::from_bytes(name.get(..name_bytes)?).parse()?;
        buffer.skip(RECVMSG_OUT_BYTES + ADDRESS_BYTES);
        Some((buffer, from))
    }

    fn waker(&self) -> Waker {
        Waker::of_eventfd(&self.wake_fd)
    }

    fn bell(&self) -> Bell {
        Bell { waker: self.waker(), ring: self.ring.descriptor() }
    }

    fn ring(&mut self, bell: &Bell) {
        let Some((place, ring)) = self.place_of(bell) else { return bell.waker.wake() };
        let entry = opcode::MsgRingData::new(types::Fd(ring), 0, RUNG, None).build();
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(MESSAGE - place as u64);
        // SAFETY: a message points to nothing, and its ring stays open in the list of bells.
        unsafe { self.ring.push(entry) };
    }

    fn count(&self, counters: &mut Counters) {
        counters.enters = self.ring.enters;
        counters.submissions_full = self.ring.submissions_full;
        counters.completions_full = self.ring.completions_full;
    }

    fn shut_down(&mut self) {
        self.shuts_down = true;
        for user_data in [WAKE, THREADS] {
            // SAFETY: a cancellation names work by number and points to nothing.
            unsafe { self.ring.push(cancel_entry(user_data)) };
        }
    }

    fn is_quiet(&self) -> bool {
        !self.waker_waits && !self.threads_wait
    }

    fn abandon(mut self) {
        // The waker's read may be under way.
        self.waker_waits = true;
    }
}

impl Drop for UringEngine {
    fn drop(&mut self) {
        // Closing the ring does not wait for its work (the kernel does that later, on its own): what
        // it may write is left to it.
        if self.waker_waits || self.threads_wait {
            return;
        }
        // SAFETY: each is dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.provided) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.datagram_form) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.rings) };
    }
}

/// A cancellation that answers only when it found nothing.
fn cancel_entry(user_data: u64) -> squeue::Entry {
    opcode::AsyncCancel::new(user_data).build().flags(squeue::Flags::SKIP_SUCCESS).user_data(CANCEL)
}
