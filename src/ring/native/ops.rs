//! Ops with a slot in the table: starting, starting again, ending them.

use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::address::RawAddress;
use crate::engine::{Engine, Known, Work};
use crate::files::OpenFile;
use crate::limits::DISCARD_STEP_BYTES;
use crate::threads::{Call, Lane, Pointer};
use crate::{Completion, Directory, Failure, File, OpId, Outcome, Run, Socket, Token, files, sys};

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
    /// Opens a file, or looks at one.
    Look,
    ReadAhead {
        from: Origin,
        run: Run,
        known: Known,
        aside: bool,
    },
    ReadByte {
        from: Origin,
        offset: u64,
    },
    ReadDiscard {
        from: Origin,
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

/// The file that is read, and whose queue that stands in.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) file: Arc<OwnedFd>,
    pub(super) lane: Lane,
}

impl Origin {
    pub(super) fn of(file: &OpenFile) -> Origin {
        Origin { file: file.descriptor(), lane: file.lane() }
    }
}

impl<E: Engine> NativeKernel<E> {
    /// Lets go of what was read. Close(2) of a distant file waits for its server: not here.
    pub(super) fn let_go(&mut self, Origin { file, lane }: Origin) {
        if lane.is_distant() {
            self.engine.close(file, lane);
        }
    }

    /// The same of a file that has no place in the table, or no longer.
    pub(super) fn drop_file(&mut self, file: OpenFile) {
        let origin = Origin::of(&file);
        drop(file);
        self.let_go(origin);
    }
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
    pub(super) fn push_read_ahead(&mut self, run: Run, aside: bool, token: Token) -> OpId {
        match self.file(run.file).map(|file| (Origin::of(file), file.known())) {
            Ok((from, known)) => self.push_free(Task::ReadAhead { from, run, known, aside }, token),
            Err(failure) => self.done_now(token, Outcome::Failed(failure)),
        }
    }

    /// [`crate::Op::ReadByte`].
    pub(super) fn push_read_byte(&mut self, file: File, offset: u64, token: Token) -> OpId {
        match self.file(file).map(Origin::of) {
            Ok(from) => self.push_free(Task::ReadByte { from, offset }, token),
            Err(failure) => self.done_now(token, Outcome::Failed(failure)),
        }
    }

    /// [`crate::Op::ReadDiscard`].
    pub(super) fn push_read_discard(&mut self, run: Run, token: Token) -> OpId {
        match self.file(run.file).map(Origin::of) {
            Ok(from) => self.push_free(Task::ReadDiscard { from, run, done: 0 }, token),
            Err(failure) => self.done_now(token, Outcome::Failed(failure)),
        }
    }

    /// [`crate::Op::Stat`].
    pub(super) fn push_stat(&mut self, file: File, token: Token) -> OpId {
        match self.file(file).map(Origin::of) {
            Ok(Origin { file, lane }) => self.push_look(Call::Stat { file }, lane, token),
            Err(failure) => self.done_now(token, Outcome::Failed(failure)),
        }
    }

    /// [`crate::Op::Open`]. On a thread with all that is to be asked about the file: a ring would open
    /// what the system has in its cache of names at once, and wait there for the server of a distant one.
    pub(super) fn push_open(&mut self, root: Arc<Directory>, path: &Path, token: Token) -> OpId {
        let lane = root.lane_of(path);
        match CString::new(path.as_os_str().as_bytes()) {
            Ok(path) => self.push_look(Call::Open { root, path }, lane, token),
            Err(_) => self.done_now(token, Outcome::Failed(Failure::Os(libc::EINVAL))),
        }
    }

    fn push_look(&mut self, call: Call, lane: Lane, token: Token) -> OpId {
        let Some(op) = self.insert(None, Task::Look, token) else {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EAGAIN)));
        };
        self.start_aside(op, call, lane);
        op
    }

    /// Hands a call that writes no memory of ours to a thread.
    fn start_aside(&mut self, op: OpId, call: Call, lane: Lane) {
        // SAFETY: it writes no memory of ours.
        unsafe { self.engine.aside(name_of(op, 0), call, lane) };
        self.count_under_way(op);
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
            Task::ReadAhead { from, run, known, aside } => {
                let (from, run, known, aside) = (from.clone(), *run, *known, *aside);
                return self.start_read_ahead(op, from, run, known, aside);
            }
            Task::ReadByte { from, offset } => {
                let (from, offset) = (from.clone(), *offset);
                return self.start_read(op, &from, 1, offset);
            }
            Task::ReadDiscard { from, run, done } => {
                let length = (run.length - *done).min(DISCARD_STEP_BYTES);
                let (from, offset) = (from.clone(), run.offset + u64::from(*done));
                return self.start_read(op, &from, length, offset);
            }
            Task::Copy(_) | Task::Look => return,
        };
        // SAFETY: addresses live in boxes until the op's last event.
        unsafe { self.engine.start(name_of(op, 0), work) };
        self.count_under_way(op);
    }

    /// A read of bytes that nobody wants.
    fn start_read(&mut self, op: OpId, from: &Origin, length: u32, offset: u64) {
        let into = self.sink.as_ptr();
        // SAFETY: the sink lives as long as the engine, and is as long as the longest of these reads.
        unsafe { self.read(name_of(op, 0), from, into, length, offset) };
        self.count_under_way(op);
    }

    /// Reads of distant files go to threads of their own: a ring would lend them the few that it has
    /// for all, and wait itself where the server is asked before anything is read.
    ///
    /// # Safety
    /// As for [`Engine::start`].
    pub(super) unsafe fn read(
        &mut self,
        name: u64,
        Origin { file, lane }: &Origin,
        into: *mut u8,
        length: u32,
        offset: u64,
    ) {
        if lane.is_distant() {
            let call = Call::Read { file: Arc::clone(file), into: Pointer(into), length, offset };
            // SAFETY: by this function's own contract.
            unsafe { self.engine.aside(name, call, *lane) };
        } else {
            let work = Work::Read { file, lane: *lane, into, length, offset };
            // SAFETY: by this function's own contract.
            unsafe { self.engine.start(name, work) };
        }
    }

    fn start_read_ahead(&mut self, op: OpId, from: Origin, run: Run, known: Known, aside: bool) {
        let Origin { file, lane } = from;
        let is_here = !aside && !lane.is_distant();
        if !is_here || !self.engine.asks_here(file.as_fd(), run, known) {
            let call = Call::ReadAhead { file, offset: run.offset, length: run.length };
            return self.start_aside(op, call, lane);
        }
        let (asked, took) = sys::waited(|| files::read_ahead(file.as_fd(), run.offset, run.length));
        self.finish(op, asked_for(run, asked, took));
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
            Task::ReadAhead { from, .. }
            | Task::ReadByte { from, .. }
            | Task::ReadDiscard { from, .. } => self.let_go(from),
            _ => {}
        }
        if let Some(socket) = working.socket {
            self.detach(socket, op.index);
        }
    }
}

/// The outcome of readahead.
pub(super) fn asked_for(run: Run, asked: Result<(), i32>, took: Duration) -> Outcome {
    match asked {
        Ok(()) => Outcome::Asked { took },
        Err(errno) => Outcome::Failed(Failure::Run { run, errno }),
    }
}
