//! How sockets leave a kernel: closed, or open for another kernel of the same world.

use super::faults::Break;
use super::state::{Endpoint, State};
use crate::op::Loose;
use crate::{Detached, Failure, OpId, Outcome, Socket, Token};

impl State {
    pub(crate) fn push_detach(&mut self, socket: Socket, token: Token) -> OpId {
        let op = self.start("detach", token, Some(socket));
        let Some(connection) = self.stream(op, socket) else { return op };
        let send = self.connections[connection].send;
        if send.is_some_and(|send| self.ops.get(send).is_some()) {
            self.fail(op, Failure::Os(libc::EBUSY));
            return op;
        }
        if self.options.broken == Some(Break::BytesLostAtDetach)
            && let Some(receive) = self.connections[connection].receive
        {
            self.ops.forget_received(receive);
            self.connections[connection].receive(1);
        }
        for other in self.ops.unfinished_of(socket) {
            if other != op {
                self.cancel(other);
            }
        }
        if let Some(entry) = self.entry(socket) {
            entry.closing = Some(op);
        }
        self.leave_when_alone(socket);
        op
    }

    /// `Closed` or `Detached` comes last: when no other op of the socket is in flight.
    pub(crate) fn leave_when_alone(&mut self, socket: Socket) {
        let Some(entry) = self.entry(socket) else { return };
        let (leaves, endpoint) = (entry.closing, &entry.endpoint);
        let connection = match endpoint {
            Endpoint::Stream { connection } => Some(*connection),
            Endpoint::Listener { .. } | Endpoint::Datagram(_) => None,
        };
        let Some(leave) = leaves else { return };
        let Some(live) = self.ops.get(leave).filter(|live| !live.finished) else { return };
        let is_detach = live.kind == "detach";
        if self.ops.has_others(socket, leave) {
            return;
        }
        if self.options.broken != Some(Break::SocketLeaked) {
            self.sockets.remove(socket.index, socket.generation);
        }
        let outcome = match connection.filter(|_| is_detach) {
            Some(connection) => {
                self.detached += 1;
                Outcome::Detached { socket: Detached(Loose::Simulated(connection)) }
            }
            None => Outcome::Closed,
        };
        self.post(leave, outcome, false);
    }

    pub(crate) fn attach(&mut self, socket: Detached) -> Result<Socket, Failure> {
        let Loose::Simulated(connection) = socket.0 else {
            return Err(Failure::Os(libc::EBADF));
        };
        self.detached -= 1;
        let socket = self.add_socket(Endpoint::Stream { connection }, self.current);
        socket.ok_or(Failure::Os(libc::EMFILE))
    }
}
