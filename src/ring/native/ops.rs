//! Ops with a slot in the table: starting, starting again, ending them.

use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::address::RawAddress;
use crate::engine::{Engine, Known, Work};
use crate::files::OpenFile;
use crate::limits::DISCARD_STEP_BYTES;
use crate::{Completion, Directory, Failure, File, OpId, Outcome, Run, Socket, Token, sys};

use super::copy::CopyJob;
use super::{NativeKernel, name_of};

/// An op that the engine, or a queue of ours, is working on.
pub(super) struct Working {
    pub(super) token: Token,
    pub(super) socket: Option<Socket>,
    /// Its end is wanted: it is not started again, and ends as cancelled.
    pub(super) cancelled: bool,
    /// Pieces of work that the engine has. 0: starved of buffers or scratch, in a queue of ours.
    pub(super) under_way: u16,
    pub(super) task: Task,
}

/// What it does, and what must stay where it is meanwhile.
pub(super) enum Task {
    Accept,
    Receive,
    ReceiveDatagram,
    /// The events polled for.
    Poll(u32),
    Connect(Box<Connecting>),
    Open(Box<Opening>),
    ReadAhead {
        file: Arc<OwnedFd>,
        run: Run,
        known: Known,
    },
    ReadByte {
        file: Arc<OwnedFd>,
        offset: u64,
    },
    ReadDiscard {
        file: Arc<OwnedFd>,
        run: Run,
        done: u32,
    },
    Copy(Box<CopyJob>),
}

/// A socket on its way, and where to.
pub(super) struct Connecting {
    pub(super) fd: OwnedFd,
    to: RawAddress,
}

/// What openat2(2) reads.
pub(super) struct Opening {
    path: CString,
    how: libc::open_how,
    /// Keeps the directory's descriptor open.
    root: Arc<Directory>,
}

/// Connections leave their port to connect(2), so that many may share one (man 7 ip).
const IP_BIND_ADDRESS_NO_PORT: i32 = 24;

impl<E: Engine> NativeKernel<E> {
    /// Starts an op on a socket.
    pub(super) fn push_on_socket(&mut self, socket: Socket, task: Task, token: Token) -> OpId {
        let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) else {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBADF)));
        };
        if let Err(failure) = owned.takes_op() {
            return self.done_now(token, Outcome::Failed(failure));
        }
        let Some(op) = self.insert(Some(socket), task, token) else {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EAGAIN)));
        };
        if let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) {
            owned.attach(op.index);
        }
        self.start(op);
        op
    }

    /// [`crate::Op::ReadAhead`].
    pub(super) fn push_read_ahead(&mut self, run: Run, token: Token) -> OpId {
        match self.file(run.file).map(|file| (file.descriptor(), file.known())) {
            Ok((file, known)) => self.push_free(Task::ReadAhead { file, run, known }, token),
            Err(failure) => self.done_now(token, Outcome::Failed(failure)),
        }
    }

    /// [`crate::Op::ReadByte`].
    pub(super) fn push_read_byte(&mut self, file: File, offset: u64, token: Token) -> OpId {
        match self.file(file).map(OpenFile::descriptor) {
            Ok(file) => self.push_free(Task::ReadByte { file, offset }, token),
            Err(failure) => self.done_now(token, Outcome::Failed(failure)),
        }
    }

    /// [`crate::Op::ReadDiscard`].
    pub(super) fn push_read_discard(&mut self, run: Run, token: Token) -> OpId {
        match self.file(run.file).map(OpenFile::descriptor) {
            Ok(file) => self.push_free(Task::ReadDiscard { file, run, done: 0 }, token),
            Err(failure) => self.done_now(token, Outcome::Failed(failure)),
        }
    }

    /// Starts an op that belongs to no socket.
    pub(super) fn push_free(&mut self, task: Task, token: Token) -> OpId {
        match self.insert(None, task, token) {
            Some(op) => {
                self.start(op);
                op
            }
            None => self.done_now(token, Outcome::Failed(Failure::Os(libc::EAGAIN))),
        }
    }

    /// Takes a slot for an op. `None`: the table is full (`push` has asked before).
    pub(super) fn insert(
        &mut self,
        socket: Option<Socket>,
        task: Task,
        token: Token,
    ) -> Option<OpId> {
        let working = Working { token, socket, cancelled: false, under_way: 0, task };
        let (index, generation) = self.ops.insert(working).ok()?;
        Some(OpId { index, generation })
    }

    pub(super) fn push_connect(
        &mut self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        token: Token,
    ) -> OpId {
        let fd = sys::stream_socket(to).and_then(|fd| {
            if let Some(from) = from {
                // Only a convenience: without it bind(2) takes a port of its own.
                let _ = sys::set_option(fd.as_fd(), libc::SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1i32);
                sys::bind(fd.as_fd(), from)?;
            }
            Ok(fd)
        });
        match fd {
            Ok(fd) => {
                let task = Task::Connect(Box::new(Connecting { fd, to: RawAddress::from(to) }));
                self.push_free(task, token)
            }
            Err(errno) => self.done_now(token, Outcome::Failed(Failure::Os(errno))),
        }
    }

    pub(super) fn push_open(&mut self, root: Arc<Directory>, path: &Path, token: Token) -> OpId {
        let opening = root.descriptor().map(drop).and_then(|()| {
            let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
            // Not blocking: the open of a FIFO would wait for a writer.
            let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
            Ok((path, sys::open_how(flags, libc::RESOLVE_BENEATH)))
        });
        match opening {
            Ok((path, how)) => {
                self.push_free(Task::Open(Box::new(Opening { path, how, root })), token)
            }
            Err(errno) => self.done_now(token, Outcome::Failed(Failure::Os(errno))),
        }
    }

    /// The descriptor of an op's socket.
    fn socket_fd(&self, socket: Option<Socket>) -> Option<RawFd> {
        let socket = socket?;
        let owned = self.sockets.get(socket.index, socket.generation)?;
        Some(owned.fd().as_raw_fd())
    }

    /// Hands the op's work to the engine (for a multishot op: again).
    pub(super) fn start(&mut self, op: OpId) {
        let Some(working) = self.ops.get(op.index, op.generation) else { return };
        let fd = self.socket_fd(working.socket).unwrap_or(-1);
        let work = match &working.task {
            Task::Accept => Work::Accept(fd),
            Task::Receive => Work::Receive(fd),
            Task::ReceiveDatagram => Work::ReceiveDatagram(fd),
            Task::Poll(events) => Work::Poll(fd, *events),
            Task::Connect(connecting) => Work::Connect(connecting.fd.as_raw_fd(), &connecting.to),
            Task::Open(opening) => {
                let root = opening.root.descriptor().map_or(-1, |root| root.as_raw_fd());
                Work::Open(root, &opening.path, &opening.how)
            }
            Task::ReadAhead { file, run, known } => {
                match self.engine.read_ahead(name_of(op, 0), file, *run, *known) {
                    None => self.count_under_way(op),
                    Some(Ok(())) => self.finish(op, Outcome::Done),
                    Some(Err(errno)) => {
                        let failure = Failure::Run { run: *run, errno };
                        self.finish(op, Outcome::Failed(failure));
                    }
                }
                return;
            }
            Task::ReadByte { file, offset } => {
                Work::Read { file, into: self.sink.as_ptr(), length: 1, offset: *offset }
            }
            Task::ReadDiscard { file, run, done } => {
                let length = (run.length - *done).min(DISCARD_STEP_BYTES);
                let offset = run.offset + u64::from(*done);
                Work::Read { file, into: self.sink.as_ptr(), length, offset }
            }
            Task::Copy(_) => return,
        };
        // SAFETY: addresses and paths live in boxes until the op's last event; reads go to the
        // sink, which lives as long as the engine and is as long as the longest of them.
        unsafe { self.engine.start(name_of(op, 0), work) };
        self.count_under_way(op);
    }

    fn count_under_way(&mut self, op: OpId) {
        if let Some(working) = self.ops.get_mut(op.index, op.generation) {
            working.under_way += 1;
        }
    }

    /// Starts a multishot op again, unless its end is wanted.
    pub(super) fn start_again(&mut self, op: OpId) {
        let ends = self.ops.get(op.index, op.generation).map(|working| working.cancelled);
        if ends == Some(false) {
            self.start(op);
        }
    }

    /// [`crate::Op::Cancel`].
    pub(super) fn push_cancel(&mut self, op: OpId) -> OpId {
        self.cancel(op);
        self.passing_id()
    }

    /// Ends an op early: at once when it only waits in a queue of ours.
    pub(super) fn cancel(&mut self, op: OpId) {
        let Some(working) = self.ops.get_mut(op.index, op.generation) else { return };
        if std::mem::replace(&mut working.cancelled, true) {
            return;
        }
        if working.under_way == 0 {
            self.finish(op, Outcome::Failed(Failure::Cancelled));
            return;
        }
        let (parts, of) = match &working.task {
            Task::Copy(job) => (job.parts(), None),
            Task::Connect(connecting) => (0..1, Some(connecting.fd.as_raw_fd())),
            _ => {
                let socket = working.socket;
                (0..1, self.socket_fd(socket))
            }
        };
        for part in parts {
            self.engine.cancel(name_of(op, part as u8), of);
        }
    }

    /// Frees the op's slot and queues its last completion. A socket that waited for its last op
    /// is closed, which queues `Closed` behind it.
    pub(super) fn finish(&mut self, op: OpId, outcome: Outcome) {
        let Some(working) = self.ops.remove(op.index, op.generation) else { return };
        let token = working.token;
        self.ready.push_back(Completion { token, op, outcome, more: false });
        match working.task {
            Task::Copy(job) => self.drop_copy(*job),
            Task::Connect(connecting) => self.engine.release(connecting.fd.as_fd()),
            _ => {}
        }
        if let Some(socket) = working.socket {
            self.detach(socket, op.index);
        }
    }
}
