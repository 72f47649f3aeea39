//! The HTTP side: connections on a kernel's loop, keep-alive and pipelining included. Requests
//! are few hundred bytes and answers little more, so each is answered the moment it is complete;
//! answers to pipelined requests leave together.

mod answer;
mod connection;
mod exchange;
mod hosts;
mod proxy;
mod request;

use ringseed_meta::Instant;
use ringseed_ring::{Batch, Completion, Failure, Kernel, Op, OpId, Outcome, Socket, Verb};

use crate::desk::Desk;
use crate::limits;
use crate::outbox::Outbox;
use crate::source::Source;
use crate::token::Tag;
use connection::{Connection, Manner, Reading, Sending, Stage, Step};
use exchange::Next;
use hosts::Hosts;

pub use proxy::{Prefix, PrefixError, Proxies};

/// All HTTP listeners and connections of a loop.
pub(crate) struct Http {
    listeners: Vec<Source>,
    /// By place; a place is free again when its connection's close has completed.
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    hosts: Hosts,
    next_sweep: Instant,
}

impl Http {
    /// Begins to accept on sockets that listen already.
    pub(crate) fn new<K: Kernel>(
        kernel: &mut K,
        outbox: &mut Outbox,
        listeners: &[Socket],
    ) -> Http {
        let listeners: Vec<_> = listeners.iter().map(|socket| Source::running(*socket)).collect();
        for (place, listener) in listeners.iter().enumerate() {
            let op = Op::Accept { listener: listener.socket };
            outbox.push(kernel, op, Tag::HttpAccept(place as u32));
        }
        Http {
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            hosts: Hosts::default(),
            next_sweep: Instant::ZERO,
        }
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len() - self.free.len()
    }

    /// When [`Http::sweep`] next has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let idle = self.connections() == 0 && self.listeners.iter().all(Source::is_running);
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
            Tag::ListenerClose(listener) => return self.on_listener_closed(listener),
            Tag::UdpReceive(_) | Tag::UdpSend(_) | Tag::UdpClose(_) | Tag::Ignored => return,
        };
        if let Tag::HttpClose(_) = tag {
            self.on_closed(hall.desk, place);
            hall.desk.connections = self.connections();
            return;
        }
        let Some(Some(connection)) = self.connections.get_mut(place as usize) else { return };
        match completion.outcome {
            Outcome::Received { buffer } => {
                hall.receive(connection, &buffer);
                drop(buffer);
                connection.reading =
                    if completion.more { connection.reading } else { Reading::Off };
            }
            Outcome::EndOfStream => connection.ended(),
            Outcome::Sent { batch, .. } if batch.is_empty() => {
                put_back(hall.kernel, batch);
                connection.sent(hall.now);
            }
            Outcome::Sent { batch, .. } => hall.wait_for_room(connection, place, batch),
            Outcome::Done => hall.send_rest(connection, place),
            Outcome::Failed(Failure::Cancelled) if connection.reading == Reading::Stopping => {
                connection.reading = Reading::Off;
            }
            Outcome::Failed(_) => hall.close(connection, place, Manner::Reset),
            _ => {}
        }
        hall.go_on(connection, place, completion.op);
        hall.count(connection, place);
    }

    fn on_accept<K: Kernel>(
        &mut self,
        hall: &mut Hall<'_, K>,
        listener: u32,
        completion: Completion,
    ) {
        let Some(listener) = self.listeners.get_mut(listener as usize) else { return };
        if !completion.more && listener.ended() {
            self.next_sweep = self.next_sweep.max(hall.now.after(limits::SWEEP));
        }
        let serves = listener.is_open();
        let Outcome::Accepted { socket, peer } = completion.outcome else { return };
        let most = hall.desk.rules.connections_max;
        // A proxy brings connections of all clients.
        let is_proxy = hall.desk.rules.proxies.include(peer.ip());
        let in_excess =
            hall.desk.is_crowded() && !is_proxy && self.hosts.has_its_share(peer.ip(), most);
        if self.connections() >= most || in_excess || !serves {
            hall.desk.counters.refused_connections += 1;
            hall.outbox.push(hall.kernel, Op::Close { socket, reset: true }, Tag::Ignored);
            return;
        }
        if self.connections() == 0 {
            self.next_sweep = hall.now.after(limits::SWEEP);
        }
        self.hosts.opened(peer.ip());
        let place = self.take_in(Connection::new(socket, peer.ip(), is_proxy, hall.now));
        hall.desk.connections = self.connections();
        hall.desk.counters.accepted_connections += 1;
        hall.outbox.push(hall.kernel, Op::Receive { socket }, Tag::HttpReceive(place));
    }

    fn on_closed(&mut self, desk: &mut Desk, place: u32) {
        if let Some(slot) = self.connections.get_mut(place as usize)
            && let Some(connection) = slot.take()
        {
            self.hosts.closed(connection.peer);
            desk.http_bytes -= connection.counted;
            self.free.push(place);
        }
    }

    fn on_listener_closed(&mut self, listener: u32) {
        if let Some(listener) = self.listeners.get_mut(listener as usize) {
            listener.closed();
        }
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
            if listener.begin_again() {
                let op = Op::Accept { listener: listener.socket };
                hall.outbox.push(hall.kernel, op, Tag::HttpAccept(place as u32));
            }
        }
        let idle_max = match hall.desk.is_crowded() {
            true => limits::IDLE_TIMEOUT_CROWDED,
            false => limits::IDLE_TIMEOUT,
        };
        for (place, connection) in self.connections.iter_mut().enumerate() {
            if let Some(connection) = connection
                && connection.is_overdue(hall.now, idle_max)
            {
                let manner = match connection.stage {
                    Stage::Lingering(_) => Manner::Orderly,
                    _ => Manner::Reset,
                };
                hall.desk.counters.overdue_connections += u64::from(manner == Manner::Reset);
                hall.close(connection, place as u32, manner);
            }
        }
    }

    /// Closes all listeners, and each connection as soon as the answers under way on it have gone.
    /// Requests that were held back are not answered any more.
    pub(crate) fn close<K: Kernel>(&mut self, hall: &mut Hall<'_, K>) {
        for (place, listener) in self.listeners.iter_mut().enumerate() {
            if listener.close() {
                let op = Op::Close { socket: listener.socket, reset: false };
                hall.outbox.push(hall.kernel, op, Tag::ListenerClose(place as u32));
            }
        }
        for (place, connection) in self.connections.iter_mut().enumerate() {
            match connection {
                Some(connection) if connection.is_awaited() => connection.answer_no_more(),
                Some(connection) => hall.close(connection, place as u32, Manner::Orderly),
                None => {}
            }
        }
    }

    /// All listeners and connections are closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.connections() == 0 && self.listeners.iter().all(Source::is_closed)
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
    /// Answers the requests that `bytes` complete, as far as there is room for the answers.
    fn receive(&mut self, connection: &mut Connection, bytes: &[u8]) {
        if connection.stage != Stage::Open {
            return;
        }
        if connection.holds() {
            return connection.exchange.hold(bytes);
        }
        self.answer(connection, bytes);
    }

    fn answer(&mut self, connection: &mut Connection, bytes: &[u8]) {
        let peer = connection.peer;
        let (desk, kernel, now) = (&mut *self.desk, &mut *self.kernel, self.now);
        let answers = connection.answers.get_or_insert_with(|| take_batch(kernel));
        let mut body = std::mem::take(&mut desk.body);
        let progress = connection.exchange.receive(bytes, |request| {
            body.clear();
            let (reply, next) = match request {
                Ok(request) => answer::to(desk, now, peer, &request, &mut body),
                Err(refusal) => (answer::refuse(desk, refusal, &mut body), Next::Nothing),
            };
            answer::write_head(answers, reply, body.len(), next);
            answers.push_bytes(&body);
            match next {
                Next::Request if !Connection::has_room(answers) => Next::Room,
                next => next,
            }
        });
        desk.body = body;
        // Who sends a request in pieces holds no batch meanwhile.
        if let Some(batch) = connection.answers.take_if(|batch| batch.is_empty()) {
            put_back(kernel, batch);
        }
        connection.received(now, progress);
    }

    /// Does what is due on a connection after something has changed.
    fn go_on(&mut self, connection: &mut Connection, place: u32, op: OpId) {
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
                Step::Resume => self.answer(connection, &[]),
                Step::Close(manner) => self.close(connection, place, manner),
            }
        }
    }

    /// Counts what waits here, and closes on who has too much of it when all together have.
    fn count(&mut self, connection: &mut Connection, place: u32) {
        let bytes = self.measure(connection);
        let is_full = self.desk.http_bytes > self.desk.rules.http_bytes_max;
        let closes = is_full && bytes > limits::HTTP_BYTES_SHARE;
        if closes && connection.stage != Stage::Closing {
            self.desk.counters.overfull_connections += 1;
            self.close(connection, place, Manner::Reset);
            // Or others would be closed on for what this one holds no more.
            self.measure(connection);
        }
    }

    fn measure(&mut self, connection: &mut Connection) -> usize {
        let bytes = connection.memory();
        let others = self.desk.http_bytes - connection.counted;
        (self.desk.http_bytes, connection.counted) = (others + bytes, bytes);
        bytes
    }

    fn send(&mut self, connection: &mut Connection, place: u32) {
        let Some(batch) = connection.answers.take() else { return };
        connection.sending = Sending::Batch {
            bytes: batch.len(),
            memory: batch.memory(),
            since: self.now,
            rest: None,
        };
        let op = Op::Send { socket: connection.socket, batch, verb: Verb::Copy };
        self.outbox.push(self.kernel, op, Tag::HttpSend(place));
    }

    /// The socket took less than all: the rest waits until it takes more.
    fn wait_for_room(&mut self, connection: &mut Connection, place: u32, batch: Box<Batch>) {
        if connection.stage == Stage::Closing {
            return put_back(self.kernel, batch);
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

    fn close(&mut self, connection: &mut Connection, place: u32, manner: Manner) {
        if connection.stage == Stage::Closing {
            return;
        }
        connection.close();
        let op = Op::Close { socket: connection.socket, reset: manner == Manner::Reset };
        self.outbox.push(self.kernel, op, Tag::HttpClose(place));
    }
}

/// A batch for answers, with little memory of others.
fn take_batch<K: Kernel>(kernel: &mut K) -> Box<Batch> {
    let batch = kernel.batch();
    if batch.memory() > limits::BATCH_BYTES_KEPT { Box::default() } else { batch }
}

/// Keeps a batch for other answers unless it has grown large.
fn put_back<K: Kernel>(kernel: &mut K, batch: Box<Batch>) {
    if batch.memory() <= limits::BATCH_BYTES_KEPT {
        kernel.recycle(batch);
    }
}
