//! Sockets of a kernel: their ops, and the order of closing.
//!
//! A socket with a receive armed would survive close(2) and send no FIN. So: cancel its ops, wait
//! for their last completions, shut it down, close it, say `Closed`.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::engine::Engine;
use crate::limits::OPS_A_SOCKET;
use crate::{Completion, Failure, OpId, Outcome, Socket, Token, sys};

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
    reset: bool,
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

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
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
        let id = self.passing_id();
        let closing = Closing { op: id, token, reset };
        let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) else {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBADF)));
        };
        if owned.is_closing() {
            return self.done_now(token, Outcome::Failed(Failure::Os(libc::EBADF)));
        }
        owned.closing = Some(closing);
        if owned.count == 0 {
            self.close_now(socket);
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

    /// An op of the socket ended; the last one lets a waiting close go on.
    pub(super) fn detach(&mut self, socket: Socket, op: u32) {
        let Some(owned) = self.sockets.get_mut(socket.index, socket.generation) else { return };
        owned.detach(op);
        if owned.count == 0 && owned.is_closing() {
            self.close_now(socket);
        }
    }

    fn close_now(&mut self, socket: Socket) {
        let Some(owned) = self.sockets.remove(socket.index, socket.generation) else { return };
        let Some(Closing { op, token, reset }) = owned.closing else { return };
        if reset {
            // It fails on sockets that are no connection; closing them is all there is to do.
            let _ = sys::linger_zero(owned.fd());
        } else {
            // The same; and a peer that has gone already makes it ENOTCONN.
            let _ = sys::shutdown(owned.fd());
        }
        self.engine.release(owned.fd());
        drop(owned);
        self.ready.push_back(Completion { token, op, outcome: Outcome::Closed, more: false });
    }

    pub(super) fn push_send_datagram(
        &mut self,
        socket: Socket,
        to: SocketAddr,
        bytes: &[u8],
        token: Token,
    ) -> OpId {
        let result = match self.sockets.get(socket.index, socket.generation) {
            Some(owned) if !owned.is_closing() => match sys::send_to(owned.fd(), bytes, to) {
                // A full socket loses datagrams, as networks do.
                Ok(_) | Err(libc::EAGAIN) => Ok(()),
                Err(errno) => Err(Failure::Os(errno)),
            },
            _ => Err(Failure::Os(libc::EBADF)),
        };
        self.done_or_failed(token, result)
    }
}
