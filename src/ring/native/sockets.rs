//! Sockets of a kernel: their ops, and the order of closing and detaching.
//!
//! A socket with a receive armed would survive close(2) and send no FIN. So: cancel its ops, wait
//! for their last completions, shut it down, close it, say `Closed`.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::datagrams::send_together;
use crate::engine::Engine;
use crate::limits::OPS_A_SOCKET;
use crate::op::Loose;
use crate::{Completion, Datagrams, Detached, Failure, OpId, Outcome, Socket, Token, sys};

use super::NativeKernel;

/// A socket and the ops on it.
pub(super) struct OwnedSocket {
    fd: OwnedFd,
    ops: [u32; OPS_A_SOCKET],
    count: usize,
    /// A batch is being copied.
    pub(super) copying: bool,
    closing: Option<Closing>,
}

#[derive(Clone, Copy)]
struct Closing {
    op: OpId,
    token: Token,
    how: How,
}

/// How a socket leaves its kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Shutdown,
    Reset,
    /// Open, for another kernel.
    Detached,
}

impl OwnedSocket {
    pub(super) fn new(fd: OwnedFd) -> OwnedSocket {
        OwnedSocket { fd, ops: [0; OPS_A_SOCKET], count: 0, copying: false, closing: None }
    }

    #[inline]
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// It is being closed, or a batch is on its way.
    pub(super) fn refuses_send(&self) -> bool {
        self.copying || self.closing.is_some()
    }

    /// It is being closed or detached.
    fn is_leaving(&self) -> bool {
        self.closing.is_some()
    }

    /// Nobody will want what it still receives.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some_and(|closing| closing.how != How::Detached)
    }

    /// Whether one more op may start.
    pub(super) fn takes_op(&self) -> Result<(), Failure> {
        match (self.closing, self.count < OPS_A_SOCKET) {
            (Some(_), _) => Err(Failure::Os(libc::EBADF)),
            (None, false) => Err(Failure::Os(libc::EBUSY)),
            (None, true) => Ok(()),
        }
    }

    pub(super) fn attach(&mut self, op: u32) {
        if let Some(slot) = self.ops.get_mut(self.count) {
            *slot = op;
            self.count += 1;
        }
    }

    fn detach(&mut self, op: u32) {
        let attached = &self.ops[..self.count];
        if let Some(at) = attached.iter().position(|attached| *attached == op) {
            self.count -= 1;
            self.ops[at] = self.ops[self.count];
        }
    }
}

impl<E: Engine> NativeKernel<E> {
    /// Takes over a socket (a listener, a UDP socket) that the caller made, for example with
    /// socket2. It is made non-blocking.
    pub fn adopt(&mut self, fd: OwnedFd) -> Result<Socket, Failure> {
        sys::set_nonblocking(fd.as_fd()).map_err(Failure::Os)?;
        self.own_socket(fd).ok_or(Failure::Os(libc::EMFILE))
    }

    pub(super) fn own_socket(&mut self, fd: OwnedFd) -> Option<Socket> {
        let (index, generation) = self.sockets.insert(OwnedSocket::new(fd)).ok()?;
        Some(Socket { index, generation })
    }

    /// [`crate::Op::Close`].
    pub(super) fn push_close(&mut self, socket: Socket, reset: bool, token: Token) -> OpId {
        self.leave(socket, if reset { How::Reset } else { How::Shutdown }, token)
    }

    /// [`crate::Op::Detach`].
    pub(super) fn push_detach(&mut self, socket: Socket, token: Token) -> OpId {
        self.leave(socket, How::Detached, token)
    }

    /// Ends the socket's ops; behind the last one it leaves.
    fn leave(&mut self, socket: Socket, how: How, token: Token) -> OpId {
        let id = self.passing_id();
        let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) else {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBADF)));
        };
        if owned.is_leaving() {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBADF)));
        }
        if owned.copying && how == How::Detached {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBUSY)));
        }
        owned.closing = Some(Closing { op: id, token, how });
        if owned.count == 0 {
            self.leave_now(socket);
            return id;
        }
        let (ops, count) = (owned.ops, owned.count);
        for index in &ops[..count] {
            if let Some((generation, _)) = self.ops.at(*index) {
                self.cancel(OpId { index: *index, generation });
            }
        }
        id
    }

    /// An op of the socket ended; the last one lets it leave, if it waits for that.
    pub(super) fn detach(&mut self, socket: Socket, op: u32) {
        let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) else { return };
        owned.detach(op);
        if owned.count == 0 && owned.is_leaving() {
            self.leave_now(socket);
        }
    }

    fn leave_now(&mut self, socket: Socket) {
        let Some(owned) = self.sockets.remove(socket.index, socket.generation) else { return };
        let Some(Closing { op, token, how }) = owned.closing else { return };
        match how {
            // It fails on sockets that are no connection; closing them is all there is to do.
            How::Reset => drop(sys::linger_zero(owned.fd())),
            // The same; and a peer that has gone already makes it ENOTCONN.
            How::Shutdown => drop(sys::shutdown(owned.fd())),
            How::Detached => self.engine.forget(owned.fd()),
        }
        self.engine.release(owned.fd());
        let outcome = match how {
            How::Detached => Outcome::Detached { socket: Detached(Loose::Descriptor(owned.fd)) },
            How::Reset | How::Shutdown => {
                drop(owned);
                Outcome::Closed
            }
        };
        self.ready.push_back(Completion { token, op, outcome, more: false });
    }

    /// [`crate::Kernel::attach`]: it is non-blocking, as every socket of a kernel.
    pub(super) fn take_over(&mut self, socket: Detached) -> Result<Socket, Failure> {
        match socket.0 {
            Loose::Descriptor(fd) => self.own_socket(fd).ok_or(Failure::Os(libc::EMFILE)),
            #[cfg(feature = "sim")]
            Loose::Simulated(_) => Err(Failure::Os(libc::EBADF)),
        }
    }

    pub(super) fn push_send_datagram(
        &mut self,
        socket: Socket,
        to: SocketAddr,
        bytes: &[u8],
        token: Token,
    ) -> OpId {
        let result = match self.sockets.get(socket.index, socket.generation) {
            Some(owned) if !owned.is_leaving() => match sys::send_to(owned.fd(), bytes, to) {
                // A full socket loses datagrams, as networks do.
                Ok(_) | Err(libc::EAGAIN) => Ok(()),
                Err(errno) => Err(Failure::Os(errno)),
            },
            _ => Err(Failure::Os(libc::EBADF)),
        };
        self.done_or_failed(token, result)
    }

    /// [`Op::SendDatagrams`](crate::Op::SendDatagrams).
    pub(super) fn push_send_datagrams(
        &mut self,
        socket: Socket,
        mut datagrams: Box<Datagrams>,
        token: Token,
    ) -> OpId {
        let owned = self.sockets.get(socket.index, socket.generation);
        let Some(owned) = owned.filter(|owned| !owned.is_leaving()) else {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBADF)));
        };
        let (mut tried, mut lost) = (0, 0);
        while tried < datagrams.len() {
            match send_together(owned.fd(), datagrams.iter_from(tried)) {
                Ok(sent) => tried += sent,
                Err(libc::EINTR) => {}
                // As networks do.
                Err(libc::EAGAIN) => {
                    lost += (datagrams.len() - tried) as u32;
                    break;
                }
                // This one cannot be sent: nobody routes to its address, or a filter says no.
                Err(_) => (tried, lost) = (tried + 1, lost + 1),
            }
        }
        datagrams.clear();
        self.done_now(token, Outcome::DatagramsSent { datagrams, lost })
    }
}
