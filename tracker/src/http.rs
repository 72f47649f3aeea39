//! The HTTP side: connections on a kernel's loop, keep-alive and pipelining included. Requests
//! are few hundred bytes and answers little more, so each is answered the moment it is complete;
//! answers to pipelined requests leave together.

mod answer;
mod connection;
mod exchange;
mod request;

use ringseed_meta::Instant;
use ringseed_ring::{Completion, Failure, Kernel, Op, Outcome, RecvBuffer, Socket, Verb};

use crate::desk::Desk;
use crate::limits;
use crate::outbox::Outbox;
use crate::token::Tag;
use connection::{Connection, Reading, Sending, Stage, Step};
use exchange::Next;

/// All HTTP listeners and connections of a loop.
pub(crate) struct Http {
    listeners: Vec<Listener>,
    /// By place; a place is free again when its connection's close has completed.
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    next_sweep: Instant,
    body: Vec<u8>,
}

struct Listener {
    socket: Socket,
    /// Accepting ended, as when file descriptors run out; the next sweep begins it again.
    accepting: bool,
}

impl Http {
    /// Begins to accept on sockets that listen already.
    pub(crate) fn new<K: Kernel>(
        kernel: &mut K,
        outbox: &mut Outbox,
        listeners: &[Socket],
    ) -> Http {
        let listeners: Vec<_> =
            listeners.iter().map(|socket| Listener { socket: *socket, accepting: true }).collect();
        for (place, listener) in listeners.iter().enumerate() {
            let op = Op::Accept { listener: listener.socket };
            outbox.push(kernel, op, Tag::HttpAccept(place as u32));
        }
        Http {
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            next_sweep: Instant::ZERO,
            body: Vec::new(),
        }
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len() - self.free.len()
    }

    /// When [`Http::sweep`] next has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let idle = self.connections() == 0 && self.listeners.iter().all(|one| one.accepting);
        (!idle).then_some(self.next_sweep)
    }

    /// Takes a completion whose tag is one of HTTP's.
    pub(crate) fn on_completion<K: Kernel>(
        &mut self,
        hall: &mut Hall<'_, K>,
        tag: Tag,
        completion: Completion,
    ) {
        let place = match tag {
            Tag::HttpAccept(listener) => return self.on_accept(hall, listener, completion),
            Tag::HttpReceive(place)
            | Tag::HttpSend(place)
            | Tag::HttpWritable(place)
            | Tag::HttpClose(place) => place,
            Tag::UdpReceive(_) | Tag::Ignored => return,
        };
        if let Tag::HttpClose(_) = tag {
            if let Some(connection) = self.connections.get_mut(place as usize)
                && connection.take().is_some()
            {
                self.free.push(place);
            }
            return;
        }
        let crowded = self.is_crowded();
        let Some(Some(connection)) = self.connections.get_mut(place as usize) else { return };
        match completion.outcome {
            Outcome::Received { buffer } => {
                hall.receive(connection, &mut self.body, &buffer, crowded);
                drop(buffer);
                connection.reading =
                    if completion.more { connection.reading } else { Reading::Off };
            }
            Outcome::EndOfStream => connection.ended(),
            Outcome::Sent { batch, .. } if batch.is_empty() => {
                hall.kernel.recycle(batch);
                connection.sent(hall.now);
            }
            Outcome::Sent { batch, .. } => hall.wait_for_room(connection, place, batch),
            Outcome::Done => hall.send_rest(connection, place),
            Outcome::Failed(Failure::Cancelled) if connection.reading == Reading::Stopping => {
                connection.reading = Reading::Off;
            }
            Outcome::Failed(_) => hall.close(connection, place, true),
            _ => {}
        }
        hall.go_on(connection, place, completion.op);
    }

    fn is_crowded(&self) -> bool {
        self.connections() > limits::CONNECTIONS_CROWDED
    }

    fn on_accept<K: Kernel>(
        &mut self,
        hall: &mut Hall<'_, K>,
        listener: u32,
        completion: Completion,
    ) {
        if !completion.more
            && let Some(listener) = self.listeners.get_mut(listener as usize)
        {
            listener.accepting = false;
            self.next_sweep = self.next_sweep.max(hall.now.after(limits::SWEEP));
        }
        let Outcome::Accepted { socket, peer } = completion.outcome else { return };
        if self.connections() >= limits::CONNECTIONS_MAX {
            hall.desk.counters.refused_connections += 1;
            hall.outbox.push(hall.kernel, Op::Close { socket, reset: true }, Tag::Ignored);
            return;
        }
        if self.connections() == 0 {
            self.next_sweep = hall.now.after(limits::SWEEP);
        }
        let place = self.take_in(Connection::new(socket, peer.ip(), hall.now));
        hall.outbox.push(hall.kernel, Op::Receive { socket }, Tag::HttpReceive(place));
    }

    fn take_in(&mut self, connection: Connection) -> u32 {
        if let Some(place) = self.free.pop()
            && let Some(slot) = self.connections.get_mut(place as usize)
        {
            *slot = Some(connection);
            return place;
        }
        self.connections.push(Some(connection));
        (self.connections.len() - 1) as u32
    }

    /// Closes connections whose time is over, and accepts again where that had ended.
    pub(crate) fn sweep<K: Kernel>(&mut self, hall: &mut Hall<'_, K>) {
        if self.deadline().is_none_or(|deadline| hall.now < deadline) {
            return;
        }
        self.next_sweep = hall.now.after(limits::SWEEP);
        for (place, listener) in self.listeners.iter_mut().enumerate() {
            if !std::mem::replace(&mut listener.accepting, true) {
                let op = Op::Accept { listener: listener.socket };
                hall.outbox.push(hall.kernel, op, Tag::HttpAccept(place as u32));
            }
        }
        let idle_max = match self.is_crowded() {
            true => limits::IDLE_TIMEOUT_CROWDED,
            false => limits::IDLE_TIMEOUT,
        };
        for (place, connection) in self.connections.iter_mut().enumerate() {
            if let Some(connection) = connection
                && connection.is_overdue(hall.now, idle_max)
            {
                let reset = !matches!(connection.stage, Stage::Lingering(_));
                hall.close(connection, place as u32, reset);
            }
        }
    }
}

/// What serving a connection needs besides it.
pub(crate) struct Hall<'a, K> {
    pub(crate) kernel: &'a mut K,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) desk: &'a mut Desk,
    pub(crate) now: Instant,
}

impl<K: Kernel> Hall<'_, K> {
    /// Answers the requests that `bytes` complete.
    fn receive(
        &mut self,
        connection: &mut Connection,
        body: &mut Vec<u8>,
        bytes: &RecvBuffer,
        crowded: bool,
    ) {
        if connection.stage != Stage::Open {
            return;
        }
        let peer = connection.peer;
        let (desk, kernel, now) = (&mut *self.desk, &mut *self.kernel, self.now);
        let answers = connection.answers.get_or_insert_with(|| kernel.batch());
        let progress = connection.exchange.receive(bytes, |request| {
            body.clear();
            let (status, next) = match request {
                Ok(request) => answer::to(desk, now, peer, &request, body, crowded),
                Err(refusal) => (answer::refuse(desk, refusal, body), Next::Nothing),
            };
            answer::write_head(answers, status, body.len(), next);
            answers.push_bytes(body);
            next
        });
        connection.received(now, progress);
    }

    /// Does what is due on a connection after something has changed.
    fn go_on(&mut self, connection: &mut Connection, place: u32, op: ringseed_ring::OpId) {
        loop {
            match connection.step(self.now) {
                Step::Nothing => return,
                Step::Send => self.send(connection, place),
                Step::StopReading => {
                    connection.reading = Reading::Stopping;
                    self.outbox.push(self.kernel, Op::Cancel { op }, Tag::Ignored);
                }
                Step::Read => {
                    connection.reading = Reading::On;
                    let op = Op::Receive { socket: connection.socket };
                    self.outbox.push(self.kernel, op, Tag::HttpReceive(place));
                }
                Step::Close => self.close(connection, place, false),
                Step::Reset => self.close(connection, place, true),
            }
        }
    }

    fn send(&mut self, connection: &mut Connection, place: u32) {
        let Some(batch) = connection.answers.take() else { return };
        connection.sending = Sending::Batch { bytes: batch.len(), since: self.now, rest: None };
        let op = Op::Send { socket: connection.socket, batch, verb: Verb::Copy };
        self.outbox.push(self.kernel, op, Tag::HttpSend(place));
    }

    /// The socket took less than all: the rest waits until it takes more.
    fn wait_for_room(
        &mut self,
        connection: &mut Connection,
        place: u32,
        batch: Box<ringseed_ring::Batch>,
    ) {
        if connection.stage == Stage::Closing {
            return self.kernel.recycle(batch);
        }
        if let Sending::Batch { bytes, rest, .. } = &mut connection.sending {
            *bytes = batch.len();
            *rest = Some(batch);
        }
        let op = Op::PollWritable { socket: connection.socket };
        self.outbox.push(self.kernel, op, Tag::HttpWritable(place));
    }

    fn send_rest(&mut self, connection: &mut Connection, place: u32) {
        if connection.stage == Stage::Closing {
            return;
        }
        if let Sending::Batch { rest, .. } = &mut connection.sending
            && let Some(batch) = rest.take()
        {
            let op = Op::Send { socket: connection.socket, batch, verb: Verb::Copy };
            self.outbox.push(self.kernel, op, Tag::HttpSend(place));
        }
    }

    fn close(&mut self, connection: &mut Connection, place: u32, reset: bool) {
        if connection.stage == Stage::Closing {
            return;
        }
        connection.stage = Stage::Closing;
        let op = Op::Close { socket: connection.socket, reset };
        self.outbox.push(self.kernel, op, Tag::HttpClose(place));
    }
}
