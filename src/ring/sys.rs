//! System calls under their own names, as safe functions. Errors are errnos.

use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::FileStat;
use crate::address::RawAddress;

pub(crate) type Errno = i32;

/// cachestat(2), since Linux 6.5: the same number on every architecture.
pub(crate) const SYS_CACHESTAT: libc::c_long = 451;

pub(crate) fn errno() -> Errno {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[inline]
fn check(result: isize) -> Result<usize, Errno> {
    if result < 0 { Err(errno()) } else { Ok(result as usize) }
}

/// Owns a descriptor that a system call just made.
pub(crate) fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for us in the call that returned it; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// One more descriptor of the same thing, close-on-exec.
pub(crate) fn duplicate(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) as isize }).map(|fd| own(fd as i32))
}

/// send(2), never waiting, never a signal. Without the C library's wrapper, as [`splice`].
#[inline]
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (fd, at, length) = (socket.as_raw_fd(), bytes.as_ptr(), bytes.len());
    // SAFETY: the slice is readable for the call; no address is given.
    check(unsafe {
        libc::syscall(libc::SYS_sendto, fd, at, length, flags, NO_ADDRESS, 0usize) as isize
    })
}

/// No address, for calls that may take one.
const NO_ADDRESS: *const libc::sockaddr = std::ptr::null();

/// sendto(2), never waiting.
pub(crate) fn send_to(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    to: SocketAddr,
) -> Result<usize, Errno> {
    let to = RawAddress::from(to);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: slice and address are readable for the call.
    check(unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
            to.as_ptr(),
            to.len(),
        )
    })
}

/// recv(2), never waiting; 0 is the end.
#[inline]
pub(crate) fn recv(socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the slice is writable for the call.
    unsafe { recv_raw(socket, into.as_mut_ptr(), into.len(), libc::MSG_DONTWAIT) }
}

/// recv(2) with MSG_TRUNC on TCP: takes bytes from the socket without copying them.
#[inline]
pub(crate) fn recv_discard(socket: BorrowedFd<'_>, bytes: usize) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: with MSG_TRUNC TCP writes nothing to the (absent) buffer.
    unsafe { recv_raw(socket, std::ptr::null_mut(), bytes, flags) }
}

/// recv(2) without the C library's wrapper, as [`splice`]: a load generator does little else.
///
/// # Safety
/// `into` is writable for `bytes`, or the flags keep the kernel from writing.
#[inline]
unsafe fn recv_raw(
    socket: BorrowedFd<'_>,
    into: *mut u8,
    bytes: usize,
    flags: i32,
) -> Result<usize, Errno> {
    let fd = socket.as_raw_fd();
    // SAFETY: the caller vouches for the buffer; no address is asked for.
    check(unsafe {
        libc::syscall(libc::SYS_recvfrom, fd, into, bytes, flags, NO_ADDRESS, NO_ADDRESS) as isize
    })
}

/// getpeername(2).
pub(crate) fn peer_name(socket: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    // SAFETY: RawAddress::fill gives a writable address and its length.
    RawAddress::fill(|at, len| unsafe { libc::getpeername(socket.as_raw_fd(), at, len) })
}

/// getsockname(2).
pub(crate) fn socket_name(socket: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    // SAFETY: RawAddress::fill gives a writable address and its length.
    RawAddress::fill(|at, len| unsafe { libc::getsockname(socket.as_raw_fd(), at, len) })
}

/// setsockopt(2) of a plain value.
pub(crate) fn set_option<T: Copy>(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: T,
) -> Result<(), Errno> {
    let value: *const T = &value;
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is readable for its own size.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, value.cast(), length) as isize
    })
    .map(drop)
}

/// A socket for streams to an address of this family: non-blocking, close-on-exec.
pub(crate) fn stream_socket(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    check(unsafe { libc::socket(family, kind, 0) as isize }).map(|fd| own(fd as i32))
}

/// bind(2).
pub(crate) fn bind(socket: BorrowedFd<'_>, to: SocketAddr) -> Result<(), Errno> {
    let to = RawAddress::from(to);
    // SAFETY: the address is readable for its length.
    check(unsafe { libc::bind(socket.as_raw_fd(), to.as_ptr(), to.len()) as isize }).map(drop)
}

/// shutdown(2) both ways: FIN goes out whoever else still refers to the socket.
pub(crate) fn shutdown(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) as isize }).map(drop)
}

/// SO_LINGER {1, 0}: the next close(2) resets.
pub(crate) fn linger_zero(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, linger)
}

/// O_NONBLOCK on.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) as isize })? as i32;
    let flags = flags | libc::O_NONBLOCK;
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) as isize }).map(drop)
}

/// All status flags off (O_NONBLOCK, which opening needed).
pub(crate) fn clear_status_flags(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, 0) as isize }).map(drop)
}

/// SIOCOUTQ: bytes in the socket that the peer has not acknowledged.
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) as isize })?;
    Ok(bytes.max(0) as u32)
}

/// eventfd(2).
pub(crate) fn eventfd() -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) as isize }).map(|fd| own(fd as i32))
}

/// write(2).
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the slice is readable for the call.
    check(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// pipe2(2), non-blocking: read end, write end.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [-1; 2];
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: pipe2 writes two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) as isize })?;
    Ok((own(ends[0]), own(ends[1])))
}

/// F_SETPIPE_SZ.
pub(crate) fn set_pipe_bytes(pipe: BorrowedFd<'_>, bytes: usize) -> Result<usize, Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as i32) as isize })
}

/// F_GETPIPE_SZ.
pub(crate) fn pipe_bytes(pipe: BorrowedFd<'_>) -> Result<usize, Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_GETPIPE_SZ) as isize })
}

/// splice(2) from a file at `offset` into a pipe.
#[inline]
pub(crate) fn splice_file(
    file: BorrowedFd<'_>,
    offset: u64,
    pipe: BorrowedFd<'_>,
    bytes: usize,
) -> Result<usize, Errno> {
    let mut offset = offset as i64;
    let (from, to) = (file.as_raw_fd(), pipe.as_raw_fd());
    // SAFETY: the offset is read and written by the call only.
    check(unsafe { splice(from, &mut offset, to, bytes, libc::SPLICE_F_NONBLOCK) })
}

/// splice(2) without the C library's wrapper, which opens a cancellation point around it: that was
/// one instruction in twenty-five of a busy worker.
///
/// # Safety
/// `from_offset` is null or may be read and written for the call.
#[inline]
unsafe fn splice(from: i32, from_offset: *mut i64, to: i32, bytes: usize, flags: u32) -> isize {
    let none = std::ptr::null_mut::<i64>();
    // SAFETY: the caller vouches for the offset; nothing else is memory.
    unsafe { libc::syscall(libc::SYS_splice, from, from_offset, to, none, bytes, flags) as isize }
}

/// splice(2) from a pipe to a socket or device.
#[inline]
pub(crate) fn splice_out(
    pipe: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    bytes: usize,
    more: More,
) -> Result<usize, Errno> {
    let (from, to) = (pipe.as_raw_fd(), to.as_raw_fd());
    let none = std::ptr::null_mut();
    let flags =
        libc::SPLICE_F_NONBLOCK | if more == More::Follows { libc::SPLICE_F_MORE } else { 0 };
    // SAFETY: no memory is passed.
    check(unsafe { splice(from, none, to, bytes, flags) })
}

/// Whether more of the same batch follows at once (SPLICE_F_MORE: do not send a short segment yet).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    Follows,
    Ends,
}

/// preadv2(2) of one buffer, with RWF_NOWAIT (only what is in the page cache) or waiting.
#[inline]
pub(crate) fn pread(
    file: BorrowedFd<'_>,
    into: &mut [u8],
    offset: u64,
    patience: Patience,
) -> Result<usize, Errno> {
    let iov = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let flags = if patience == Patience::NoWait { libc::RWF_NOWAIT } else { 0 };
    // SAFETY: the iovec names the slice, which is writable for the call.
    check(unsafe { libc::preadv2(file.as_raw_fd(), &iov, 1, offset as i64, flags) })
}

/// pread(2) into memory that others know by its address: waits.
///
/// # Safety
/// `length` bytes at `into` may be written.
pub(crate) unsafe fn pread_at(
    file: BorrowedFd<'_>,
    into: *mut u8,
    length: u32,
    offset: u64,
) -> Result<usize, Errno> {
    // SAFETY: the caller vouches for the memory.
    check(unsafe { libc::pread(file.as_raw_fd(), into.cast(), length as usize, offset as i64) })
}

/// openat2(2): waits. The descriptor's number.
///
/// # Safety
/// `path` is a string that ends with a NUL.
pub(crate) unsafe fn open_at(
    root: i32,
    path: *const libc::c_char,
    how: &libc::open_how,
) -> Result<i32, Errno> {
    let (how, bytes): (*const libc::open_how, _) = (how, size_of::<libc::open_how>());
    // SAFETY: the caller vouches for the path; the structure is readable for its size.
    check(unsafe { libc::syscall(libc::SYS_openat2, root, path, how, bytes) as isize })
        .map(|fd| fd as i32)
}

/// What a call gave, and how long it took.
#[expect(
    clippy::disallowed_methods,
    reason = "a call that makes its caller wait is told by its time"
)]
pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> (T, std::time::Duration) {
    let begun = std::time::Instant::now();
    let result = call();
    (result, begun.elapsed())
}

/// What a call gave, and how long it took if it waited at all: it gave the core away by itself. What was taken
/// from it, and what it worked, is no wait.
pub(crate) fn waited<T>(call: impl FnOnce() -> T) -> (T, std::time::Duration) {
    let waits = || crate::system::thread_switches().map_or(0, |(voluntary, _)| voluntary);
    let before = waits();
    let (result, took) = timed(call);
    (result, if waits() > before { took } else { std::time::Duration::ZERO })
}

/// geteuid(2).
pub(crate) fn effective_user() -> u32 {
    // SAFETY: no memory is passed.
    unsafe { libc::geteuid() }
}

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    NoWait,
    Waits,
}

#[repr(C)]
struct CachestatRange {
    offset: u64,
    length: u64,
}

#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// cachestat(2): pages of the stretch that are in the page cache (or on their way).
#[inline]
pub(crate) fn cached_pages(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<u64, Errno> {
    let range = CachestatRange { offset, length };
    let mut stat = Cachestat::default();
    let (range, into): (*const _, *mut _) = (&range, &mut stat);
    // SAFETY: the range is readable, the result writable for the call; both have the UAPI layout.
    check(unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range, into, 0u32) as isize })?;
    Ok(stat.cache)
}

/// readahead(2).
pub(crate) fn readahead(file: BorrowedFd<'_>, offset: u64, bytes: usize) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::readahead(file.as_raw_fd(), offset as i64, bytes) }).map(drop)
}

/// posix_fadvise(2) on the whole file.
pub(crate) fn advise(file: BorrowedFd<'_>, advice: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, advice) } {
        0 => Ok(()),
        errno => Err(errno),
    }
}

/// fstat(2), as the system gives it.
fn raw_stat(file: BorrowedFd<'_>) -> Result<libc::stat, Errno> {
    // SAFETY: all-zero is a valid stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is writable for the call.
    check(unsafe { libc::fstat(file.as_raw_fd(), &mut stat) as isize })?;
    Ok(stat)
}

/// fstat(2): whose file it is.
pub(crate) fn owner(file: BorrowedFd<'_>) -> Result<u32, Errno> {
    raw_stat(file).map(|stat| stat.st_uid)
}

/// fstat(2): what tells that a file changed, and its type bits.
pub(crate) fn stat(file: BorrowedFd<'_>) -> Result<(FileStat, u32), Errno> {
    let stat = raw_stat(file)?;
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    let known = FileStat {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size.max(0) as u64,
        mtime_ns: ns(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: ns(stat.st_ctime, stat.st_ctime_nsec),
        links: stat.st_nlink,
    };
    Ok((known, stat.st_mode & libc::S_IFMT))
}

/// fstatfs(2): the filesystem's magic number.
pub(crate) fn filesystem(file: BorrowedFd<'_>) -> Result<i64, Errno> {
    // SAFETY: all-zero is a valid statfs.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is writable for the call.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), &mut stat) as isize })?;
    Ok(stat.f_type)
}

/// A directory to open files below (O_PATH).
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map(OwnedFd::from)
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}

/// /dev/null, to drop what a pipe holds.
pub(crate) fn open_null() -> Result<OwnedFd, Errno> {
    OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .map(OwnedFd::from)
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}

/// vmsplice(2): references to the pages of `slots`, which must be write-once memory: the caller
/// (gather) makes them of nothing else. Reading never-rewritten mappings is all the kernel does.
#[inline]
pub(crate) fn vmsplice(pipe: BorrowedFd<'_>, slots: &[libc::iovec]) -> Result<usize, Errno> {
    let (at, count) = (slots.as_ptr(), slots.len());
    // SAFETY: the array is readable for the call; a bad address in it is EFAULT, not a fault.
    check(unsafe {
        let flags = libc::SPLICE_F_NONBLOCK;
        libc::syscall(libc::SYS_vmsplice, pipe.as_raw_fd(), at, count, flags) as isize
    })
}

/// memfd_create(2).
pub(crate) fn memory_file(name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: the name ends with a NUL.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    check(fd as isize).map(|fd| own(fd as i32))
}

/// sysconf(_SC_PAGESIZE).
pub(crate) fn page_bytes() -> usize {
    // SAFETY: no memory is passed.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0)
}

/// What openat2(2) is asked for.
pub(crate) fn open_how(flags: i32, resolve: u64) -> libc::open_how {
    // SAFETY: all-zero is a valid open_how.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = flags as u64;
    how.resolve = resolve;
    how
}
