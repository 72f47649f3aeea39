//! The system calls of the bare seeders.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

fn check(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

fn own(fd: usize) -> OwnedFd {
    // SAFETY: a system call just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

pub(crate) fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) as isize }).map(own)
}

/// Watches for bytes, an end, and room to write; tells of each change once.
pub(crate) fn epoll_add(poll: &OwnedFd, fd: RawFd, key: u64) -> io::Result<()> {
    let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
    let mut event = libc::epoll_event { events, u64: key };
    let (poll, add) = (poll.as_raw_fd(), libc::EPOLL_CTL_ADD);
    // SAFETY: the event is readable for the call.
    check(unsafe { libc::epoll_ctl(poll, add, fd, &mut event) as isize }).map(drop)
}

pub(crate) fn epoll_wait(poll: &OwnedFd, events: &mut [libc::epoll_event]) -> io::Result<usize> {
    loop {
        let (at, count) = (events.as_mut_ptr(), events.len() as i32);
        // SAFETY: `count` events are writable for the call.
        let ready = check(unsafe { libc::epoll_wait(poll.as_raw_fd(), at, count, -1) as isize });
        match ready {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

pub(crate) fn accept(listener: RawFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let none = std::ptr::null_mut();
    // SAFETY: no address is asked for.
    check(unsafe { libc::accept4(listener, none, std::ptr::null_mut(), flags) as isize }).map(own)
}

pub(crate) fn set_tcp(socket: RawFd, name: i32, value: i32) -> io::Result<()> {
    let (at, length): (*const i32, _) = (&value, size_of::<i32>() as u32);
    // SAFETY: the value is readable for its size.
    let result = unsafe { libc::setsockopt(socket, libc::IPPROTO_TCP, name, at.cast(), length) };
    check(result as isize).map(drop)
}

/// `None`: nothing has arrived. 0: the end.
pub(crate) fn receive(socket: RawFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: the slice is writable for the call.
    let result = unsafe { libc::recv(socket, into.as_mut_ptr().cast(), into.len(), 0) };
    none_if_blocked(check(result))
}

/// How many bytes the socket took.
pub(crate) fn send(socket: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: the slice is readable for the call.
    let result = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
    none_if_blocked(check(result)).map(|bytes| bytes.unwrap_or(0))
}

/// A call that found the socket empty or full.
pub(crate) fn none_if_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
