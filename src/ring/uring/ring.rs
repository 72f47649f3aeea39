//! The ring itself: set-up, handing over, waiting. Knows entries and completions, not ops.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};

use crate::limits::{CQ_ENTRIES_MIN, IO_WORKERS};
use crate::native::KernelOptions;
use crate::plan::{Host, RingRung, StartError, explain};
use crate::{KernelError, sys};

/// An io_uring used by the one thread that made it.
///
/// The halves are taken from the ring once and kept: a registered ring descriptor is remembered by
/// the [`Submitter`] that registered it, and every other one would enter by the plain descriptor.
pub(crate) struct Ring {
    submitter: ManuallyDrop<Submitter<'static>>,
    sq: ManuallyDrop<SubmissionQueue<'static>>,
    cq: ManuallyDrop<CompletionQueue<'static>>,
    /// What the halves borrow from; freed after them.
    ring: *mut IoUring,
    /// The same ring, for as long as others know it.
    descriptor: Option<Arc<OwnedFd>>,
    /// Entries that found the queue full while the kernel would take none. Bounded by the ops.
    backlog: VecDeque<squeue::Entry>,
    pub(crate) enters: u64,
    /// See [`Counters`](crate::Counters).
    pub(crate) submissions_full: u64,
    pub(crate) completions_full: u64,
}

impl Ring {
    /// The ring with all flags of the plan, or with fewer on older kernels.
    pub(crate) fn new(options: &KernelOptions) -> Result<Ring, StartError> {
        let ring = build(options).map_err(|error| set_up_error(&error))?;
        let descriptor = sys::duplicate(ring.as_raw_fd()).ok().map(Arc::new);
        let ring = Box::into_raw(Box::new(ring));
        // SAFETY: the pointer is from Box::into_raw, borrowed once, here, and freed in Drop after
        // the halves are gone.
        let (submitter, sq, cq) = unsafe { &mut *ring }.split();
        Ok(Ring {
            submitter: ManuallyDrop::new(submitter),
            sq: ManuallyDrop::new(sq),
            cq: ManuallyDrop::new(cq),
            ring,
            descriptor,
            backlog: VecDeque::new(),
            enters: 0,
            submissions_full: 0,
            completions_full: 0,
        })
    }

    /// For registrations before [`Ring::enable`].
    pub(crate) fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    /// By which other rings send messages to this one. `None`: there was no descriptor left.
    pub(crate) fn descriptor(&self) -> Option<Arc<OwnedFd>> {
        self.descriptor.clone()
    }

    /// Bounds the system's threads, restricts the ring to the ops in use, and opens it.
    pub(crate) fn enable(&mut self) -> Result<(), StartError> {
        let mut workers = IO_WORKERS;
        // Since 5.15; without it the bound is the process limit.
        let _ = self.submitter.register_iowq_max_workers(&mut workers);
        let codes = [
            opcode::AcceptMulti::CODE,
            opcode::Connect::CODE,
            opcode::RecvMulti::CODE,
            opcode::RecvMsgMulti::CODE,
            opcode::PollAdd::CODE,
            opcode::AsyncCancel::CODE,
            opcode::Read::CODE,
            opcode::MsgRingData::CODE,
        ];
        let flags = squeue::Flags::BUFFER_SELECT | squeue::Flags::SKIP_SUCCESS;
        let mut restrictions: Vec<Restriction> =
            codes.iter().map(|code| Restriction::sqe_op(*code)).collect();
        restrictions.push(Restriction::sqe_flags_allowed(flags.bits()));
        for register in [REGISTER_ENABLE_RINGS, REGISTER_RING_FDS, UNREGISTER_RING_FDS] {
            restrictions.push(Restriction::register_op(register));
        }
        // Hardening only: a kernel that will not restrict still serves.
        let _ = self.submitter.register_restrictions(&mut restrictions);
        self.submitter.register_enable_rings().map_err(|error| set_up_error(&error))?;
        // Saves a descriptor look-up an enter; since 5.18.
        let _ = self.submitter.register_ring_fd();
        Ok(())
    }

    /// Queues an entry. A full queue is handed over first; if the kernel takes none, it waits here.
    ///
    /// # Safety
    /// What the entry points to stays valid until it has been handed over, and what it lets the
    /// kernel write until its last completion.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: by this function's own contract.
            if unsafe { self.sq.push(&entry) }.is_ok() {
                return;
            }
            self.submissions_full += 1;
            self.submit();
            // SAFETY: by this function's own contract.
            if unsafe { self.sq.push(&entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    /// Hands over without waiting; errors show again at the next [`Ring::enter`].
    fn submit(&mut self) {
        self.sq.sync();
        self.enters += 1;
        let _ = self.submitter.submit();
        self.sq.sync();
    }

    fn take_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if self.sq.is_full() {
                self.submissions_full += 1;
                self.submit();
            }
            // SAFETY: by the contract of `push`, under which it was queued.
            if unsafe { self.sq.push(&entry) }.is_err() {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    /// Everything that was pushed has been handed over.
    #[cfg(test)]
    fn all_handed_over(&self) -> bool {
        self.sq.is_empty() && self.backlog.is_empty()
    }

    /// The next completion that is visible.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<cqueue::Entry> {
        self.cq.next()
    }

    /// Hands over and waits for a completion at most `wait`; `None`: does not wait.
    pub(crate) fn enter(&mut self, wait: Option<Duration>) -> Result<(), KernelError> {
        self.enter_for(1, wait)
    }

    /// Hands over and waits until `count` completions are there, at most `wait`.
    pub(crate) fn enter_for(
        &mut self,
        count: usize,
        wait: Option<Duration>,
    ) -> Result<(), KernelError> {
        self.take_backlog();
        self.sq.sync();
        self.cq.sync();
        self.completions_full += u64::from(self.sq.cq_overflow());
        let wait = if self.cq.len() < count { wait } else { None };
        let result = match wait {
            None => {
                let idle = self.sq.is_empty() && !self.sq.taskrun() && !self.sq.cq_overflow();
                if idle {
                    return Ok(());
                }
                self.enters += 1;
                self.submitter.submit()
            }
            Some(wait) => {
                self.enters += 1;
                let timeout = Timespec::from(wait);
                self.submitter.submit_with_args(count, &SubmitArgs::new().timespec(&timeout))
            }
        };
        self.sq.sync();
        self.cq.sync();
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The time has passed; a signal; the completion queue is full or memory is short:
                // what has completed is taken first, and the rest is handed over the next time.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(KernelError(format!("io_uring_enter failed: {error}"))),
            },
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.submitter) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.sq) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.cq) };
        // SAFETY: from Box::into_raw in `new`; the halves that borrowed from it are gone.
        drop(unsafe { Box::from_raw(self.ring) });
    }
}

/// enum io_uring_register_op of the kernel's header.
const REGISTER_ENABLE_RINGS: u8 = 12;
const REGISTER_RING_FDS: u8 = 20;
const UNREGISTER_RING_FDS: u8 = 21;

/// With all flags and the whole completion queue, or with what the system gives. The kernel wants
/// the queue's memory in one stretch, which a machine whose memory is full of page cache (a
/// seeder's always is) cannot have at every moment: then half of it, and half again.
fn build(options: &KernelOptions) -> std::io::Result<IoUring> {
    let mut cq_entries = options.cq_entries;
    loop {
        match build_on_a_rung(options, cq_entries) {
            Err(error)
                if error.raw_os_error() == Some(libc::ENOMEM) && cq_entries > CQ_ENTRIES_MIN =>
            {
                cq_entries /= 2;
            }
            result => return result.map(|(ring, _)| ring),
        }
    }
}

/// By the best set-up that the system takes.
fn build_on_a_rung(
    options: &KernelOptions,
    cq_entries: u32,
) -> std::io::Result<(IoUring, RingRung)> {
    let mut refused = std::io::Error::from_raw_os_error(libc::EINVAL);
    for rung in RingRung::ALL {
        match build_with(options, cq_entries, rung) {
            Ok(ring) => return Ok((ring, rung)),
            Err(error) => refused = error,
        }
        // A flag that it does not know is EINVAL; what else is wrong is so on each rung.
        if refused.raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    Err(refused)
}

fn build_with(
    options: &KernelOptions,
    cq_entries: u32,
    rung: RingRung,
) -> std::io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(cq_entries)
        .setup_r_disabled()
        .dontfork();
    if rung == RingRung::WithoutIndexArray {
        builder.setup_no_sqarray();
    }
    builder.build(options.sq_entries)
}

/// The best set-up of a ring that this system takes.
pub(crate) fn try_set_up() -> Result<RingRung, i32> {
    let options = KernelOptions { sq_entries: 8, cq_entries: 16, ..KernelOptions::default() };
    build_on_a_rung(&options, options.cq_entries)
        .map(|(_, rung)| rung)
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}

/// A failed set-up step, with cause and cure.
pub(super) fn set_up_error(error: &std::io::Error) -> StartError {
    explain(error.raw_os_error().unwrap_or(libc::EIO), &Host::of_system())
}

/// The same of a system call of ours.
pub(super) fn errno_at_start(errno: i32) -> StartError {
    explain(errno, &Host::of_system())
}

#[cfg(test)]
mod tests {
    use io_uring::types;

    use super::*;

    #[test]
    fn entries_that_the_kernel_will_not_take_yet_are_kept_in_order() {
        let options = KernelOptions { sq_entries: 4, cq_entries: 64, ..KernelOptions::default() };
        let mut ring = Ring::new(&options).unwrap();
        let (_read, write) = crate::sys::pipe().unwrap();
        // Until it is enabled, the ring refuses every enter.
        for number in 0..20 {
            let fd = types::Fd(write.as_raw_fd());
            let poll = opcode::PollAdd::new(fd, libc::POLLOUT as u32).build();
            // SAFETY: a poll points to nothing.
            unsafe { ring.push(poll.user_data(number)) };
        }
        assert!(!ring.all_handed_over());
        assert_eq!(ring.submissions_full, 1, "from then on they wait in line");
        ring.enable().unwrap();
        let mut done = Vec::new();
        for _ in 0..100 {
            ring.enter(Some(Duration::from_millis(10))).unwrap();
            while let Some(entry) = ring.next() {
                done.push(entry.user_data());
            }
        }
        assert_eq!(done, (0..20).collect::<Vec<_>>());
        assert!(ring.all_handed_over());
    }

    /// The result of one entry on a ring that is open.
    fn result_of(ring: &mut Ring, entry: squeue::Entry) -> i32 {
        // SAFETY: what the entries of these tests point to is static, or nothing.
        unsafe { ring.push(entry.user_data(7)) };
        ring.enter(Some(Duration::from_secs(5))).unwrap();
        let done = ring.next().unwrap();
        assert_eq!(done.user_data(), 7);
        done.result()
    }

    #[test]
    fn an_open_ring_refuses_all_but_the_ops_and_registrations_in_use() {
        static BYTES: [u8; 1] = [0];
        let options = KernelOptions { sq_entries: 4, cq_entries: 64, ..KernelOptions::default() };
        let mut ring = Ring::new(&options).unwrap();
        ring.enable().unwrap();
        let (read, write) = crate::sys::pipe().unwrap();
        let fd = types::Fd(write.as_raw_fd());
        let refused = [
            opcode::Nop::new().build(),
            opcode::Write::new(fd, BYTES.as_ptr(), 1).build(),
            opcode::Send::new(fd, BYTES.as_ptr(), 1).build(),
            opcode::Close::new(fd).build(),
            opcode::Splice::new(types::Fd(read.as_raw_fd()), -1, fd, -1, 1).build(),
            opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build(),
            opcode::UnlinkAt::new(types::Fd(-1), c"nothing".as_ptr()).build(),
            // An op in use, with a flag that is not.
            opcode::PollAdd::new(fd, libc::POLLOUT as u32).build().flags(squeue::Flags::IO_DRAIN),
        ];
        for entry in refused {
            let code = format!("{entry:?}");
            assert_eq!(result_of(&mut ring, entry), -libc::EACCES, "{code}");
        }
        let poll = opcode::PollAdd::new(fd, libc::POLLOUT as u32).build();
        assert!(result_of(&mut ring, poll) > 0, "what is in use works");
        let refused = ring.submitter().register_files(&[write.as_raw_fd()]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
        let mut workers = [1, 1];
        let refused = ring.submitter().register_iowq_max_workers(&mut workers).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    }
}
