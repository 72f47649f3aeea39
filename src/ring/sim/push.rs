//! Starting ops: what each does, and the rules of the contract that its caller must keep.

use std::net::SocketAddr;
use std::path::Path;

use super::connection::{Connection, RemoteState};
use super::faults::Fault;
use super::ops::Ops;
use super::reads::{PendingRead, Purpose, Stretch};
use super::state::{Endpoint, Entry, Event, State};
use crate::{
    Batch, Datagrams, Directory, Failure, File, Op, OpId, Outcome, Run, Socket, Token, Verb,
};

impl State {
    /// `Err` gives the op back: the table is full.
    pub(crate) fn push(&mut self, op: Op, token: Token) -> Result<OpId, Op> {
        if self.ops.is_full() || self.meets(Fault::TableFull) {
            self.coverage.meet(Fault::TableFull);
            self.counters.ops_refused += 1;
            return Err(op);
        }
        self.trace(|| format!("push {token:?} {op:?}"));
        self.note(token.0);
        Ok(match op {
            Op::Accept { listener } => self.push_accept(listener, token),
            Op::Receive { socket } => self.push_receive(socket, token),
            Op::ReceiveDatagram { socket } => self.push_receive_datagram(socket, token),
            Op::SendDatagram { socket, to, bytes } => {
                self.push_send_datagram(socket, to, bytes.into_vec(), token)
            }
            Op::SendDatagrams { socket, datagrams } => {
                self.push_send_datagrams(socket, datagrams, token)
            }
            Op::Connect { to, from: _ } => {
                let op = self.start("connect", token, None);
                let wait_us =
                    self.random.between(self.options.latency_us.0, self.options.latency_us.1);
                self.after(wait_us, Event::Connect { op, to });
                op
            }
            Op::Send { socket, batch, verb } => self.push_send(socket, batch, verb, token),
            Op::PollWritable { socket } => self.push_poll(socket, token, "poll writable"),
            Op::PollReadable { socket } => self.push_poll(socket, token, "poll readable"),
            Op::Close { socket, reset } => self.push_close(socket, reset, token),
            Op::Detach { socket } => self.push_detach(socket, token),
            Op::Open { root, path } => self.push_open(&root, &path, token),
            Op::CloseFile { file } => {
                let op = self.start("close file", token, None);
                if self.disk.close(file) {
                    self.post(op, Outcome::Done, false);
                } else {
                    self.violated(format!("{file:?} closed twice"));
                    self.fail(op, Failure::Os(libc::EBADF));
                }
                op
            }
            Op::Stat { file } => {
                let op = self.start("stat", token, None);
                if let Some(inode) = self.inode_of(op, file) {
                    let wait_us = self.random.between(10, 50_000);
                    self.after(wait_us, Event::Look { op, inode });
                }
                op
            }
            Op::ReadAhead { run, aside } => {
                let op = self.start("read ahead", token, None);
                if let Some(inode) = self.inode_of(op, run.file) {
                    self.ask_for(op, inode, run, aside);
                }
                op
            }
            Op::ReadByte { file, offset } => {
                let op = self.start("read byte", token, None);
                if let Some(inode) = self.inode_of(op, file) {
                    self.read_byte(op, inode, file, offset);
                }
                op
            }
            Op::ReadDiscard { run } => self.push_discard(run, token),
            Op::Cancel { op } => {
                self.cancel(op);
                Ops::nameless()
            }
        })
    }

    /// The socket's entry. Of a socket that is closed or closing the op fails, and the rule that
    /// nothing is pushed for it is broken; as that of a socket which another kernel has.
    pub(crate) fn usable(&mut self, op: OpId, socket: Socket) -> Option<&mut Entry> {
        let current = self.current;
        let is_ours = |entry: &Entry| entry.closing.is_none() && entry.kernel == current;
        let usable = self.entry(socket).is_some_and(|entry| is_ours(entry));
        if !usable {
            let kind = self.ops.get(op).map_or("", |live| live.kind);
            self.violated(format!(
                "{kind} pushed for {socket:?}, which is closed or closing or another's"
            ));
            self.fail(op, Failure::Os(libc::EBADF));
            return None;
        }
        self.entry(socket)
    }

    /// The connection of a socket that must be a stream.
    pub(crate) fn stream(&mut self, op: OpId, socket: Socket) -> Option<usize> {
        if let Endpoint::Stream { connection } = self.usable(op, socket)?.endpoint {
            return Some(connection);
        }
        self.misused(op, "an op of streams on another kind of socket");
        None
    }

    fn misused(&mut self, op: OpId, how: &str) -> OpId {
        self.violated(how.to_owned());
        self.fail(op, Failure::Os(libc::EINVAL));
        op
    }

    /// The inode of an open file. Of a closed one the op fails, and a rule is broken.
    fn inode_of(&mut self, op: OpId, file: File) -> Option<usize> {
        let inode = self.disk.opened(file);
        if inode.is_none() {
            let kind = self.ops.get(op).map_or("", |live| live.kind);
            self.violated(format!("{kind} pushed for {file:?}, which is closed"));
            self.fail(op, Failure::Os(libc::EBADF));
        }
        inode
    }

    fn push_accept(&mut self, listener: Socket, token: Token) -> OpId {
        let op = self.start("accept", token, Some(listener));
        let Some(entry) = self.usable(op, listener) else { return op };
        let Endpoint::Listener { accept, .. } = &mut entry.endpoint else {
            return self.misused(op, "an accept on a socket that does not listen");
        };
        if accept.replace(op).is_some() {
            self.violated(format!("two accepts at once on {listener:?}"));
        }
        self.pump_accept(listener);
        op
    }

    fn push_receive(&mut self, socket: Socket, token: Token) -> OpId {
        let op = self.start("receive", token, Some(socket));
        let Some(connection) = self.stream(op, socket) else { return op };
        if self.connections[connection].receive.replace(op).is_some() {
            self.violated(format!("two receives at once on {socket:?}"));
        }
        self.pump_receive(connection);
        op
    }

    fn push_receive_datagram(&mut self, socket: Socket, token: Token) -> OpId {
        let op = self.start("receive datagram", token, Some(socket));
        let Some(entry) = self.usable(op, socket) else { return op };
        let Endpoint::Datagram(of) = &mut entry.endpoint else {
            return self.misused(op, "a datagram on another kind of socket");
        };
        of.receive = Some(op);
        self.pump_datagrams(socket);
        op
    }

    fn push_send_datagram(
        &mut self,
        socket: Socket,
        to: SocketAddr,
        bytes: Vec<u8>,
        token: Token,
    ) -> OpId {
        let op = self.start("send datagram", token, Some(socket));
        let Some(entry) = self.usable(op, socket) else { return op };
        let Endpoint::Datagram(of) = &mut entry.endpoint else {
            return self.misused(op, "a datagram on another kind of socket");
        };
        of.sent.push((to, bytes));
        self.interrupted = true;
        self.post(op, Outcome::Done, false);
        op
    }

    fn push_send_datagrams(
        &mut self,
        socket: Socket,
        mut datagrams: Box<Datagrams>,
        token: Token,
    ) -> OpId {
        let op = self.start("send datagrams", token, Some(socket));
        // Those behind it find no room.
        let full = self.hits(Fault::SocketFull);
        let room =
            if full { self.random.below(datagrams.len() as u64) as usize } else { usize::MAX };
        let Some(entry) = self.usable(op, socket) else { return op };
        let Endpoint::Datagram(of) = &mut entry.endpoint else {
            return self.misused(op, "datagrams on another kind of socket");
        };
        let sent = datagrams.iter_from(0).take(room);
        of.sent.extend(sent.map(|(to, bytes)| (to, bytes.to_vec())));
        let lost = datagrams.len().saturating_sub(room) as u32;
        if lost > 0 {
            self.coverage.meet(Fault::SocketFull);
        }
        self.interrupted = true;
        datagrams.clear();
        self.post(op, Outcome::DatagramsSent { datagrams, lost }, false);
        op
    }

    fn push_send(&mut self, socket: Socket, batch: Box<Batch>, verb: Verb, token: Token) -> OpId {
        let op = self.start("send", token, Some(socket));
        let Some(connection) = self.stream(op, socket) else {
            self.recycle(batch);
            return op;
        };
        let before = self.connections[connection].send.replace(op);
        if before.is_some_and(|before| self.ops.get(before).is_some()) {
            self.violated(format!("two sends at once on {socket:?}"));
        }
        self.send(op, connection, batch, verb);
        op
    }

    fn push_poll(&mut self, socket: Socket, token: Token, kind: &'static str) -> OpId {
        let op = self.start(kind, token, Some(socket));
        let Some(connection) = self.stream(op, socket) else { return op };
        let of: &mut Connection = &mut self.connections[connection];
        let polls = match kind {
            "poll writable" => &mut of.polls_writable,
            _ => &mut of.polls_readable,
        };
        polls.push(op);
        self.pump_polls(connection);
        op
    }

    fn push_open(&mut self, root: &Directory, path: &Path, token: Token) -> OpId {
        let op = self.start("open", token, None);
        let late = self.meets(Fault::OpenDelayed);
        let wait_us = if late { self.random.between(1_000, 300_000) } else { 10 };
        self.after(wait_us, Event::Open { op, path: root.path().join(path) });
        op
    }

    fn push_discard(&mut self, run: Run, token: Token) -> OpId {
        let op = self.start("read discard", token, None);
        if let Some(inode) = self.inode_of(op, run.file) {
            let stretches = vec![Stretch { inode, run }];
            self.start_read(PendingRead::new(op, Purpose::Count, stretches));
        }
        op
    }

    /// Ends an op early, unless its last completion was quicker.
    pub(crate) fn cancel(&mut self, op: OpId) {
        match self.ops.get(op) {
            Some(live) if !live.finished && !matches!(live.kind, "close" | "detach") => {}
            _ => return,
        }
        self.reads.retain(|read| read.op != op);
        if let Some(send) = self.take_scratch(op) {
            self.recycle(send.batch);
        }
        for connection in &mut self.connections {
            connection.receive.take_if(|receive| *receive == op);
            connection.polls_writable.retain(|poll| *poll != op);
            connection.polls_readable.retain(|poll| *poll != op);
        }
        if let Some(socket) = self.ops.get(op).and_then(|live| live.socket) {
            match self.entry(socket).map(|entry| &mut entry.endpoint) {
                Some(Endpoint::Listener { accept, .. }) => *accept = None,
                Some(Endpoint::Datagram(of)) => of.receive = None,
                _ => {}
            }
        }
        self.fail(op, Failure::Cancelled);
    }

    fn push_close(&mut self, socket: Socket, reset: bool, token: Token) -> OpId {
        let op = self.start("close", token, Some(socket));
        if self.usable(op, socket).is_none() {
            return op;
        }
        for other in self.ops.unfinished_of(socket) {
            if other != op {
                self.cancel(other);
            }
        }
        let Some(entry) = self.entry(socket) else { return op };
        entry.closing = Some(op);
        match &mut entry.endpoint {
            Endpoint::Stream { connection } => {
                let connection = *connection;
                self.close_stream(connection, reset);
            }
            Endpoint::Listener { backlog, .. } => {
                // Connections nobody accepted are reset.
                for connection in std::mem::take(backlog) {
                    self.close_stream(connection, true);
                }
            }
            Endpoint::Datagram(_) => {}
        }
        self.leave_when_alone(socket);
        op
    }

    fn close_stream(&mut self, connection: usize, reset: bool) {
        let of = &mut self.connections[connection];
        of.local_closed = true;
        // Linux resets when bytes were received that nobody read.
        if reset || !of.inbound.is_empty() {
            of.lose(libc::ECONNRESET);
            self.interrupted = true;
        } else if of.remote == RemoteState::Open {
            of.finish();
            self.kick(connection);
        }
    }
}
