//! Operations, under their man-page names, and their outcomes. Plain data.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::threads::Lane;
use crate::{Batch, Datagrams, RecvBuffer, mount, sys};

/// The caller's own number for an op; comes back in each of its completions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

impl Token {
    /// Carried by completions that answer no op: the waker was rung.
    pub const WAKE: Token = Token(u64::MAX);
}

/// A pushed op, for [`Op::Cancel`]. Stale ids are recognised (index and generation).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OpId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A socket this kernel owns. Stale handles are recognised and fail with `Os(EBADF)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Socket {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// An open file this kernel owns. Stale handles are recognised and fail with `Os(EBADF)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct File {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A socket that no kernel owns, on its way from one to another. Dropped, it is closed.
#[derive(Debug)]
pub struct Detached(pub(crate) Loose);

/// What it really is.
#[derive(Debug)]
pub(crate) enum Loose {
    Descriptor(std::os::fd::OwnedFd),
    /// The number of a connection of the simulated world.
    #[cfg(feature = "sim")]
    Simulated(usize),
}

#[cfg(feature = "sim")]
impl Socket {
    /// A handle that no kernel knows, for tests of what only keeps handles.
    pub fn for_tests(index: u32) -> Socket {
        Socket { index, generation: u32::MAX }
    }
}

#[cfg(feature = "sim")]
impl File {
    /// A handle that no kernel knows, for tests of what only keeps handles.
    pub fn for_tests(index: u32) -> File {
        File { index, generation: u32::MAX }
    }
}

/// A stretch of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    pub file: File,
    /// First byte.
    pub offset: u64,
    /// Bytes; never 0.
    pub length: u32,
}

impl Run {
    /// What is left of it behind its first `bytes`.
    #[must_use]
    pub fn from(self, bytes: u32) -> Run {
        let bytes = bytes.min(self.length);
        Run { offset: self.offset + u64::from(bytes), length: self.length - bytes, ..self }
    }
}

/// Where data files live: paths below it are opened without leaving it (openat2 RESOLVE_BENEATH,
/// so a symbolic link may point elsewhere inside, never outside). Shared by all torrents and threads.
#[derive(Debug)]
pub struct Directory {
    pub(crate) path: PathBuf,
    fd: OnceLock<std::os::fd::OwnedFd>,
    /// No other has it.
    number: u64,
    /// Its device, known once it was opened.
    lane: OnceLock<Lane>,
}

/// The number of the next [`Directory`].
static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl Directory {
    /// Names a directory; it is opened when the first file below it is.
    pub fn new(path: PathBuf) -> Arc<Directory> {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Directory { path, fd: OnceLock::new(), number, lane: OnceLock::new() })
    }

    /// As it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose queue the open of a path below it stands in. What is mounted below a distant root shares
    /// its fate; below one of this machine something may be mounted at, or in, each folder of it.
    pub(crate) fn lane_of(&self, path: &Path) -> Lane {
        let root = self.number;
        match (self.lane.get(), first_folder(path)) {
            (None, _) => Lane::Unknown { root, folder: None },
            (Some(Lane::Here(_)), Some(folder)) => Lane::Unknown { root, folder: Some(folder) },
            (Some(lane), _) => *lane,
        }
    }

    /// Its descriptor, opened at the first use. That may wait.
    pub(crate) fn descriptor(&self) -> Result<std::os::fd::BorrowedFd<'_>, i32> {
        use std::os::fd::AsFd;
        if let Some(fd) = self.fd.get() {
            return Ok(fd.as_fd());
        }
        let fd = sys::open_directory(&self.path)?;
        let (stat, _) = sys::stat(fd.as_fd())?;
        let is_distant = mount::is_distant(sys::filesystem(fd.as_fd()).unwrap_or(0));
        self.lane.get_or_init(|| match is_distant {
            true => Lane::Distant(stat.device),
            false => Lane::Here(stat.device),
        });
        // Two threads may have opened it at once: the first stays.
        Ok(self.fd.get_or_init(|| fd).as_fd())
    }
}

/// The folder that a path begins with, as a number that two folders seldom share.
fn first_folder(path: &Path) -> Option<u64> {
    let mut parts = path.components();
    let (first, _) = (parts.next()?, parts.next()?);
    let mut hasher = DefaultHasher::new();
    first.hash(&mut hasher);
    Some(hasher.finish())
}

/// How a batch's file runs reach the socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// Page references through the worker's pipe: vmsplice, splice, splice. The caller has seen
    /// that the runs are resident, or the worker waits for the disk.
    Splice,
    /// READ into scratch memory on the ring (or a thread), then send: waits for a disk without blocking.
    Copy,
}

/// What the kernel is asked to do.
#[derive(Debug)]
pub enum Op {
    /// Multishot: `Accepted` for each connection (non-blocking, close-on-exec) until cancelled.
    /// Ends as `Failed` when no descriptor is left (EMFILE, ENFILE): close something, push it again.
    Accept { listener: Socket },
    /// A TCP connection, from the local address `from` when given. -> `Connected`.
    Connect { to: SocketAddr, from: Option<SocketAddr> },
    /// Multishot: `Received` with provided buffers, then `EndOfStream` or `Failed`. When the pool
    /// of buffers runs dry (ENOBUFS) the kernel re-arms by itself once buffers came home.
    Receive { socket: Socket },
    /// Multishot on a UDP socket: `Datagram` for each.
    ReceiveDatagram { socket: Socket },
    /// One datagram, at once and without waiting; lost when the socket is full. -> `Done`.
    SendDatagram { socket: Socket, to: SocketAddr, bytes: Box<[u8]> },
    /// As [`Op::SendDatagram`], of many at once, in their order: those that the socket has no room for are
    /// lost, as are single ones that cannot be sent. -> `DatagramsSent`.
    SendDatagrams { socket: Socket, datagrams: Box<Datagrams> },
    /// Sends what is left of the batch. -> `Sent`, with the batch: not empty when the socket took
    /// less (poll, ask residency again, send again). At most one for each socket at a time.
    /// `Failed(Run)`: nothing more of it is sent, and what was sent may end within a frame.
    Send { socket: Socket, batch: Box<Batch>, verb: Verb },
    /// -> `Done` when the socket takes bytes again (POLLOUT, which minds TCP_NOTSENT_LOWAT).
    PollWritable { socket: Socket },
    /// -> `Done` when the socket has bytes, an end or an error to tell (POLLIN, POLLRDHUP).
    PollReadable { socket: Socket },
    /// Cancels the socket's ops, shuts it down, closes it. -> `Closed`, last of all.
    /// `reset`: by RST (SO_LINGER {1, 0}), which drops what the socket still holds.
    Close { socket: Socket, reset: bool },
    /// Takes the socket out of this kernel, open as it is: cancels its ops, and hands out what was
    /// received before that took effect. -> `Detached`, last of all; what the peer sends from then
    /// on waits in the socket. Fails with `Os(EBUSY)` while a batch is on its way.
    Detach { socket: Socket },
    /// -> `Opened`. Read only, never a device, socket or pipe (`Failed(NotAFile)`).
    Open { root: Arc<Directory>, path: Arc<Path> },
    /// -> `Done`. Pages in flight stay referenced by the kernel.
    CloseFile { file: File },
    /// What the file is like now (fstat), where that may wait for a server. -> `Looked`.
    Stat { file: File },
    /// Asks for the run's pages (readahead in steps of at most 128 KiB); does not wait for them.
    /// -> `Asked`. `aside`: on a thread, since the device makes its callers wait; done so in any case of
    /// a file whose [`Mount`] is distant.
    ReadAhead { run: Run, aside: bool },
    /// Reads one byte at `offset`, waiting for its page. -> `Read { bytes }` (0: at or past the end).
    ReadByte { file: File, offset: u64 },
    /// Reads the whole run and drops it: the verdict on a run that will not become resident.
    /// -> `Read { bytes }` (fewer than asked: the file ends there) or `Failed(Run)`.
    ReadDiscard { run: Run },
    /// Ends an op early; it completes as `Failed(Cancelled)` unless it was quicker. What a receive
    /// got before is delivered first. No completion of its own.
    Cancel { op: OpId },
}

/// How an op, or a part of a multishot one, ended.
#[derive(Debug)]
pub enum Outcome {
    Accepted {
        socket: Socket,
        peer: SocketAddr,
    },
    Connected {
        socket: Socket,
    },
    Received {
        buffer: RecvBuffer,
    },
    Datagram {
        buffer: RecvBuffer,
        from: SocketAddr,
    },
    EndOfStream,
    /// `bytes` went into the socket. `batch` holds what is left; `batch.is_empty()` when all went.
    Sent {
        bytes: u32,
        batch: Box<Batch>,
    },
    /// So many of them were `lost`. They are cleared; their memory may be used again.
    DatagramsSent {
        datagrams: Box<Datagrams>,
        lost: u32,
    },
    Closed,
    /// For [`Kernel::attach`](crate::Kernel::attach) of another kernel.
    Detached {
        socket: Detached,
    },
    Opened {
        file: File,
        stat: FileStat,
        mount: Mount,
    },
    Looked {
        stat: FileStat,
    },
    /// Asking made its caller wait for so long, or a thread if it was done aside.
    Asked {
        took: Duration,
    },
    Read {
        bytes: u32,
    },
    Done,
    /// The waker was rung (token [`Token::WAKE`]).
    Woken,
    Failed(Failure),
}

/// Why an op failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The system's errno. Send: the connection is lost (EPIPE, ECONNRESET ...).
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Os(i32),
    /// Cancelled by [`Op::Cancel`], [`Op::Close`] or [`Op::Detach`].
    #[error("cancelled")]
    Cancelled,
    /// A run of the batch could not be had from its file: it ends before the run does
    /// (`errno` 0: the file was truncated) or reading failed. `run` begins with the first byte that
    /// could not be read. Of a send: the message is cut, close the connection.
    #[error("cannot read {run:?}: errno {errno}")]
    Run { run: Run, errno: i32 },
    /// [`Op::Open`] found something that is not a regular file.
    #[error("not a regular file")]
    NotAFile,
}

impl Failure {
    /// Out of descriptors or memory (EMFILE, ENFILE, ENOMEM, EAGAIN): the box's trouble, not the
    /// file's or the peer's. It may work in a moment.
    pub fn is_shortage(self) -> bool {
        matches!(self, Failure::Os(libc::EAGAIN | libc::ENOMEM | libc::ENFILE | libc::EMFILE))
    }

    /// As [`Failure::is_shortage`]; or a signal came, or another machine did not answer in time (EINTR,
    /// ETIMEDOUT). It says nothing about the file.
    pub fn is_passing(self) -> bool {
        self.is_shortage() || matches!(self, Failure::Os(libc::EINTR | libc::ETIMEDOUT))
    }
}

/// A completion: the op's token, what happened, and whether more of the same op will follow.
#[derive(Debug)]
pub struct Completion {
    pub token: Token,
    pub op: OpId,
    pub outcome: Outcome,
    pub more: bool,
}

/// Whether a run is in the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Residency {
    /// Every page is there, or on its way (a page being read counts).
    Resident,
    /// At least one page is not.
    Missing,
    /// The system will not say: no cachestat (before 6.5), a file we neither own nor may write
    /// (EPERM), or a filesystem that answers 0 (overlayfs).
    Unknown,
}

/// What stands below an open file, as far as it decides how the file is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mount {
    /// Another program, machine or mount answers for it (network, FUSE, overlay): any call on the
    /// file may wait for that.
    pub is_distant: bool,
    /// Requests that its block device takes before callers wait; 0: not known.
    pub tags: u32,
    /// Bytes of an extent of the file in the mean; 0: not known.
    pub extent_bytes: u64,
}

/// What tells that a file was changed or replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileStat {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mtime_ns: i128,
    pub ctime_ns: i128,
    pub links: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_stand_in_line_by_root_until_it_is_open_and_then_by_folder() {
        let folder = tempfile::tempdir().unwrap();
        let [root, other] = [(); 2].map(|()| Directory::new(folder.path().to_owned()));
        let lane = |path: &str| root.lane_of(Path::new(path));
        assert_eq!(lane("a/b"), lane("c"), "it may hang as a whole");
        assert_ne!(lane("a/b"), other.lane_of(Path::new("a/b")), "another may be well");
        root.descriptor().unwrap();
        let (stat, _) = sys::stat(root.descriptor().unwrap()).unwrap();
        let is_here = !mount::is_distant(sys::filesystem(root.descriptor().unwrap()).unwrap());
        if !is_here {
            return assert_eq!(lane("a/b"), Lane::Distant(stat.device));
        }
        assert_eq!(lane("c"), Lane::Here(stat.device));
        assert_eq!(lane("a/b"), lane("a/c/d"));
        assert_ne!(lane("a/b"), lane("b/b"));
        assert!(matches!(lane("a/b"), Lane::Unknown { folder: Some(_), .. }));
    }
}
