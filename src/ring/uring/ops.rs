//! Ops with a slot in the table: starting, arming again, ending them.

use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use crate::address::RawAddress;
use crate::limits::DISCARD_STEP_BYTES;
use crate::{Completion, Directory, Failure, File, OpId, Outcome, Run, Socket, Token, sys};

use super::copy::CopyJob;
use super::provided::GROUP;
use super::{UringKernel, cancel_entry, user_data};

/// An op that the ring, or a queue of ours, is working on.
pub(super) struct Working {
    pub(super) token: Token,
    pub(super) socket: Option<Socket>,
    /// Its end is wanted: it is not armed again, and ends as cancelled.
    pub(super) cancelled: bool,
    /// Entries in the kernel. 0: starved of buffers or scratch, in a queue of ours.
    pub(super) in_kernel: u16,
    pub(super) work: Work,
}

/// What it does, and the memory that the kernel needs for it.
pub(super) enum Work {
    Accept,
    Receive,
    ReceiveDatagram,
    /// The events polled for.
    Poll(u32),
    Connect(Box<Connecting>),
    Open(Box<Opening>),
    ReadByte {
        file: File,
        offset: u64,
    },
    ReadDiscard {
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
    how: types::OpenHow,
    /// Keeps the directory's descriptor open.
    root: Arc<Directory>,
}

/// Connections leave their port to connect(2), so that many may share one (man 7 ip).
const IP_BIND_ADDRESS_NO_PORT: i32 = 24;

impl UringKernel {
    /// Starts an op on a socket.
    pub(super) fn push_on_socket(&mut self, socket: Socket, work: Work, token: Token) -> OpId {
        let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) else {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBADF)));
        };
        if let Err(failure) = owned.takes_op() {
            return self.done_now(token, Outcome::Failed(failure));
        }
        let Some(op) = self.insert(Some(socket), work, token) else {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EAGAIN)));
        };
        if let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) {
            owned.attach(op.index);
        }
        self.arm(op);
        op
    }

    /// Starts a read of a file.
    pub(super) fn push_on_file(&mut self, file: File, work: Work, token: Token) -> OpId {
        if self.file(file).is_err() {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBADF)));
        }
        self.push_free(work, token)
    }

    /// Starts an op that belongs to no socket.
    fn push_free(&mut self, work: Work, token: Token) -> OpId {
        match self.insert(None, work, token) {
            Some(op) => {
                self.arm(op);
                op
            }
            None => self.done_now(token, Outcome::Failed(Failure::Os(libc::EAGAIN))),
        }
    }

    /// Takes a slot for an op. `None`: the table is full (`push` has asked before).
    pub(super) fn insert(
        &mut self,
        socket: Option<Socket>,
        work: Work,
        token: Token,
    ) -> Option<OpId> {
        let working = Working { token, socket, cancelled: false, in_kernel: 0, work };
        let (index, generation) = self.ops.insert(working).ok()?;
        Some(OpId { index, generation })
    }

    pub(super) fn push_connect(
        &mut self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        token: Token,
    ) -> OpId {
        use std::os::fd::AsFd;
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
                let work = Work::Connect(Box::new(Connecting { fd, to: RawAddress::from(to) }));
                self.push_free(work, token)
            }
            Err(errno) => self.done_now(token, Outcome::Failed(Failure::Os(errno))),
        }
    }

    pub(super) fn push_open(&mut self, root: Arc<Directory>, path: &Path, token: Token) -> OpId {
        let opening = root.descriptor().map(drop).and_then(|()| {
            let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
            // Not blocking: the open of a FIFO would wait for a writer.
            let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
            let how = types::OpenHow::new().flags(flags as u64).resolve(libc::RESOLVE_BENEATH);
            Ok((path, how))
        });
        match opening {
            Ok((path, how)) => {
                self.push_free(Work::Open(Box::new(Opening { path, how, root })), token)
            }
            Err(errno) => self.done_now(token, Outcome::Failed(Failure::Os(errno))),
        }
    }

    /// Hands the op's entry to the ring (for a multishot op: again).
    pub(super) fn arm(&mut self, op: OpId) {
        let Some(working) = self.ops.get_mut(op.index, op.generation) else { return };
        let fd = match working.socket {
            Some(socket) => {
                let owned = self.sockets.get(socket.index, socket.generation);
                owned.map_or(-1, |owned| owned.fd().as_raw_fd())
            }
            None => -1,
        };
        let entry = match &mut working.work {
            Work::Accept => accept_entry(fd),
            Work::Receive => opcode::RecvMulti::new(types::Fd(fd), GROUP).build(),
            Work::ReceiveDatagram => {
                let form: *const libc::msghdr = &*self.datagram_form;
                opcode::RecvMsgMulti::new(types::Fd(fd), form, GROUP).build()
            }
            Work::Poll(events) => opcode::PollAdd::new(types::Fd(fd), *events).build(),
            Work::Connect(connecting) => {
                let fd = types::Fd(connecting.fd.as_raw_fd());
                opcode::Connect::new(fd, connecting.to.as_ptr(), connecting.to.len()).build()
            }
            Work::Open(opening) => {
                let root = opening.root.descriptor().map_or(-1, |root| root.as_raw_fd());
                let root = types::Fd(root);
                opcode::OpenAt2::new(root, opening.path.as_ptr(), &opening.how).build()
            }
            Work::ReadByte { file, offset } => {
                let file = self.files.get(file.index, file.generation);
                let fd = types::Fd(file.map_or(-1, |file| file.fd().as_raw_fd()));
                opcode::Read::new(fd, self.sink.as_ptr(), 1).offset(*offset).build()
            }
            Work::ReadDiscard { run, done } => {
                let file = self.files.get(run.file.index, run.file.generation);
                let fd = types::Fd(file.map_or(-1, |file| file.fd().as_raw_fd()));
                let step = (run.length - *done).min(DISCARD_STEP_BYTES);
                let offset = run.offset + u64::from(*done);
                opcode::Read::new(fd, self.sink.as_ptr(), step).offset(offset).build()
            }
            Work::Copy(_) => return,
        };
        working.in_kernel += 1;
        // SAFETY: addresses, paths and the message form live in boxes until the op's last
        // completion; reads go to the sink, which lives as long as the kernel.
        unsafe { self.ring.push(entry.user_data(user_data(op.index, op.generation, 0))) };
    }

    /// Arms a multishot op again, unless its end is wanted.
    pub(super) fn rearm(&mut self, op: OpId) {
        let ends = self.ops.get(op.index, op.generation).map(|working| working.cancelled);
        if ends == Some(false) {
            self.arm(op);
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
        if working.in_kernel == 0 {
            self.finish(op, Outcome::Failed(Failure::Cancelled));
            return;
        }
        let parts = match &working.work {
            Work::Copy(job) => job.parts(),
            _ => 0..1,
        };
        for part in parts {
            let entry = cancel_entry(user_data(op.index, op.generation, part as u8));
            // SAFETY: a cancellation names an op by number and points to nothing.
            unsafe { self.ring.push(entry) };
        }
    }

    /// Frees the op's slot and queues its last completion. A socket that waited for its last op
    /// is closed, which queues `Closed` behind it.
    pub(super) fn finish(&mut self, op: OpId, outcome: Outcome) {
        let Some(working) = self.ops.remove(op.index, op.generation) else { return };
        let token = working.token;
        self.ready.push_back(Completion { token, op, outcome, more: false });
        if let Work::Copy(job) = working.work {
            self.drop_copy(*job);
        }
        if let Some(socket) = working.socket {
            self.detach(socket, op.index);
        }
    }
}

fn accept_entry(fd: i32) -> squeue::Entry {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    opcode::AcceptMulti::new(types::Fd(fd)).flags(flags).build()
}
