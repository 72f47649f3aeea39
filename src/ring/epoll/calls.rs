//! System calls of this engine, as safe functions where they can be. Errors are errnos.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::Run;
use crate::address::{ADDRESS_BYTES, RawAddress};
use crate::limits::{CACHED_LOOK_BYTES, EPOLL_EVENTS};
use crate::sys::{Errno, errno, own};

fn check(result: isize) -> Result<usize, Errno> {
    if result < 0 { Err(errno()) } else { Ok(result as usize) }
}

/// An epoll descriptor.
pub(super) struct Epoll {
    fd: OwnedFd,
    /// epoll_pwait2(2), since Linux 5.11; without it waits are in whole milliseconds.
    has_nanoseconds: bool,
}

impl Epoll {
    pub(super) fn new() -> Result<Epoll, Errno> {
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) as isize })?;
        Ok(Epoll { fd: own(fd as i32), has_nanoseconds: true })
    }

    /// EPOLL_CTL_ADD, or MOD where a copy of the descriptor kept it known.
    pub(super) fn add(&self, fd: RawFd, events: u32, word: u64) -> Result<(), Errno> {
        match self.control(libc::EPOLL_CTL_ADD, fd, events, word) {
            Err(libc::EEXIST) => self.control(libc::EPOLL_CTL_MOD, fd, events, word),
            result => result,
        }
    }

    /// EPOLL_CTL_DEL: another thread's epoll may watch the socket from now on.
    pub(super) fn remove(&self, fd: RawFd) {
        // It fails on descriptors that were never added: then there is nothing to remove.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    fn control(&self, change: i32, fd: RawFd, events: u32, word: u64) -> Result<(), Errno> {
        let mut event = libc::epoll_event { events, u64: word };
        // SAFETY: `event` is readable for the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), change, fd, &mut event) as isize })
            .map(drop)
    }

    /// Appends what shows within `wait`, at most [`EPOLL_EVENTS`], to the empty `events`.
    pub(super) fn wait(
        &mut self,
        events: &mut Vec<libc::epoll_event>,
        wait: Duration,
    ) -> Result<(), Errno> {
        debug_assert!(events.is_empty() && events.capacity() >= EPOLL_EVENTS);
        let most = events.capacity().min(EPOLL_EVENTS) as i32;
        let count = match self.wait_exactly(events.as_mut_ptr(), most, wait) {
            // Before 5.11, or a seccomp filter that does not know it.
            Err(libc::ENOSYS | libc::EPERM) => {
                self.has_nanoseconds = false;
                self.wait_exactly(events.as_mut_ptr(), most, wait)?
            }
            result => result?,
        };
        // SAFETY: the call wrote so many events at the beginning of the capacity.
        unsafe { events.set_len(count.min(most as usize)) };
        Ok(())
    }

    fn wait_exactly(
        &self,
        into: *mut libc::epoll_event,
        most: i32,
        wait: Duration,
    ) -> Result<usize, Errno> {
        let fd = self.fd.as_raw_fd();
        if !self.has_nanoseconds || wait.is_zero() {
            // Up, or a wait of less than a millisecond would be a loop.
            let ms = wait.as_nanos().div_ceil(1_000_000);
            let ms = i32::try_from(ms).unwrap_or(i32::MAX);
            // SAFETY: `wait` gives room for `most` events.
            return check(unsafe { libc::epoll_wait(fd, into, most, ms) as isize });
        }
        let timeout = libc::timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let (timeout, mask): (*const _, *const libc::sigset_t) = (&timeout, std::ptr::null());
        // SAFETY: `wait` gives room for `most` events; the timeout is readable for the call.
        check(unsafe {
            libc::syscall(libc::SYS_epoll_pwait2, fd, into, most, timeout, mask, 0usize) as isize
        })
    }
}

/// poll(2) of one descriptor, without waiting: which of the events (or an error, a hang-up) show.
pub(super) fn poll_now(fd: BorrowedFd<'_>, events: u32) -> Result<u32, Errno> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: events as i16, revents: 0 };
    // SAFETY: `poll` is one pollfd, writable for the call.
    check(unsafe { libc::poll(&mut poll, 1, 0) as isize })?;
    Ok(u32::from(poll.revents as u16))
}

/// accept4(2): non-blocking, close-on-exec. The descriptor, as engines tell it.
pub(super) fn accept(listener: BorrowedFd<'_>) -> Result<i32, Errno> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: no address is asked for.
    check(unsafe { libc::accept4(listener.as_raw_fd(), address, length, flags) as isize })
        .map(|fd| fd as i32)
}

/// connect(2).
pub(super) fn connect(socket: BorrowedFd<'_>, to: &RawAddress) -> Result<(), Errno> {
    // SAFETY: the address is readable for its length.
    check(unsafe { libc::connect(socket.as_raw_fd(), to.as_ptr(), to.len()) as isize }).map(drop)
}

/// SO_ERROR of a socket that was connecting: 0 or a negative errno.
pub(super) fn outcome(socket: BorrowedFd<'_>) -> i32 {
    let (mut error, mut length) = (0i32, size_of::<i32>() as libc::socklen_t);
    let into: *mut i32 = &mut error;
    // SAFETY: `error` is an int, writable for the call.
    let asked = check(unsafe {
        let (fd, level, name) = (socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR);
        libc::getsockopt(fd, level, name, into.cast(), &mut length) as isize
    });
    -asked.map_or_else(|errno| errno, |_| error)
}

/// recvfrom(2), never waiting: the sender's address into `name` (of [`ADDRESS_BYTES`]), and how
/// many bytes; what does not fit is lost.
pub(super) fn receive_from(
    socket: BorrowedFd<'_>,
    name: &mut [u8],
    into: &mut [u8],
) -> Result<usize, Errno> {
    // A sender without an address leaves no family behind that could be taken for one.
    name.fill(0);
    let mut length = name.len().min(ADDRESS_BYTES) as libc::socklen_t;
    let (at, room) = (into.as_mut_ptr().cast(), into.len());
    // SAFETY: both slices are writable for the call.
    check(unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            at,
            room,
            libc::MSG_DONTWAIT,
            name.as_mut_ptr().cast(),
            &mut length,
        )
    })
}

/// preadv2(2) with RWF_NOWAIT: only what the page cache has.
///
/// # Safety
/// `length` bytes at `into` may be written.
pub(super) unsafe fn read_cached(
    file: BorrowedFd<'_>,
    into: *mut u8,
    length: u32,
    offset: u64,
) -> Result<usize, Errno> {
    let iov = libc::iovec { iov_base: into.cast(), iov_len: length as usize };
    // SAFETY: the caller vouches for the memory that the iovec names.
    check(unsafe { libc::preadv2(file.as_raw_fd(), &iov, 1, offset as i64, libc::RWF_NOWAIT) })
}

/// Whether bytes here and there of a run can be had without waiting. It says nothing of the pages
/// between, and stops at the first that is not there.
pub(super) fn seems_cached(file: BorrowedFd<'_>, run: Run) -> bool {
    let end = run.offset + u64::from(run.length);
    let mut at = run.offset;
    while at < end {
        let mut byte = 0u8;
        let last = (at + CACHED_LOOK_BYTES).min(end) - 1;
        // SAFETY: a byte is read into a byte.
        if !matches!(unsafe { read_cached(file, &mut byte, 1, last) }, Ok(1)) {
            return false;
        }
        at = last + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys;

    const EDGE: u32 = (libc::EPOLLIN | libc::EPOLLET) as u32;

    #[expect(clippy::disallowed_methods, reason = "the wait itself is what is tested")]
    fn waited(epoll: &mut Epoll, wait: Duration) -> (usize, Duration) {
        let mut events = Vec::with_capacity(EPOLL_EVENTS);
        let start = std::time::Instant::now();
        epoll.wait(&mut events, wait).unwrap();
        (events.len(), start.elapsed())
    }

    #[test]
    fn a_wait_is_as_long_as_it_should_be_with_and_without_nanoseconds() {
        let wait = Duration::from_micros(2_300);
        let mut epoll = Epoll::new().unwrap();
        let (events, time) = waited(&mut epoll, wait);
        assert!(epoll.has_nanoseconds && events == 0 && time >= wait, "{time:?}");
        // Older kernels, and filters that do not know the call. It holds for this thread.
        let denied = std::thread::spawn(move || {
            crate::system::deny(libc::SYS_epoll_pwait2 as u32).unwrap();
            let mut epoll = Epoll::new().unwrap();
            for _ in 0..2 {
                let (events, time) = waited(&mut epoll, wait);
                assert!(!epoll.has_nanoseconds && events == 0 && time >= wait, "{time:?}");
            }
        });
        denied.join().unwrap();
    }

    #[test]
    fn every_write_to_an_event_that_nobody_reads_is_an_edge() {
        let mut epoll = Epoll::new().unwrap();
        let bell = sys::eventfd().unwrap();
        epoll.add(bell.as_raw_fd(), EDGE, 7).unwrap();
        for _ in 0..3 {
            for _ in 0..2 {
                sys::write(bell.as_fd(), &1u64.to_ne_bytes()).unwrap();
            }
            assert_eq!(waited(&mut epoll, Duration::from_secs(10)).0, 1);
            assert_eq!(waited(&mut epoll, Duration::ZERO).0, 0, "it was told once");
        }
    }

    #[test]
    fn a_descriptor_that_is_known_already_gets_its_new_word() {
        let mut epoll = Epoll::new().unwrap();
        let bell = sys::eventfd().unwrap();
        epoll.add(bell.as_raw_fd(), EDGE, 7).unwrap();
        epoll.add(bell.as_raw_fd(), EDGE, 8).unwrap();
        sys::write(bell.as_fd(), &1u64.to_ne_bytes()).unwrap();
        let mut events = Vec::with_capacity(EPOLL_EVENTS);
        epoll.wait(&mut events, Duration::from_secs(10)).unwrap();
        assert_eq!(events.iter().map(|event| event.u64).collect::<Vec<_>>(), [8]);
    }
}
