//! What happens on the network: deliveries, arrivals, resets, and the ops that wait for them.

use std::net::SocketAddr;

use super::connection::{Arrival, Connection, Link, RemoteState};
use super::faults::Fault;
use super::state::{Endpoint, Entry, Event, Starved, State};
use crate::{Failure, OpId, Outcome, Socket};

/// Bytes that reach the remote together.
const DELIVERY_BYTES: u64 = 256 << 10;

impl State {
    /// A new connection with a remote end at `peer`, not yet owned by a socket.
    pub(crate) fn new_connection(&mut self, peer: SocketAddr) -> usize {
        let options = &self.options;
        let random = &mut self.random;
        let mut within = |(from, to): (u64, u64)| random.between(from, to);
        let link = Link {
            latency_us: within(options.latency_us),
            send_bytes: within(options.send_bytes),
            receive_bytes: within(options.receive_bytes) as usize,
            window_bytes: within(options.window_bytes) as usize,
        };
        let mut connection = Connection::new(peer, link, self.now_us);
        if self.hits(Fault::Reset) {
            connection.reset_after = Some(self.random.of_any_size(4 << 20) - 1);
        }
        self.connections.push(connection);
        self.connections.len() - 1
    }

    pub(crate) fn entry(&mut self, socket: Socket) -> Option<&mut Entry> {
        self.sockets.get_mut(socket.index, socket.generation)
    }

    /// The sockets that listen at an address.
    pub(crate) fn listeners_at(&self, address: SocketAddr) -> Vec<Socket> {
        let listens = |entry: &Entry| {
            entry.closing.is_none()
                && matches!(entry.endpoint, Endpoint::Listener { at, .. } if at == address)
        };
        let listeners = self.sockets.iter().filter(|(_, _, entry)| listens(entry));
        listeners.map(|(index, generation, _)| Socket { index, generation }).collect()
    }

    /// SIOCOUTQ.
    pub(crate) fn unacknowledged_bytes(&mut self, socket: Socket) -> u32 {
        match self.entry(socket) {
            Some(Entry { endpoint: Endpoint::Stream { connection }, .. }) => {
                let connection = *connection;
                u32::try_from(self.connections[connection].queued).unwrap_or(u32::MAX)
            }
            // Closed, and its completion not taken yet.
            _ => 0,
        }
    }

    /// What all sockets hold that is not acknowledged.
    pub(crate) fn tcp_bytes(&self) -> Option<u64> {
        let held = || self.connections.iter().map(|connection| connection.queued).sum();
        self.options.tells_tcp_bytes.then(held)
    }

    pub(crate) fn add_socket(&mut self, endpoint: Endpoint, kernel: usize) -> Option<Socket> {
        let entry = Entry { endpoint, kernel, closing: None };
        let (index, generation) = self.sockets.insert(entry).ok()?;
        Some(Socket { index, generation })
    }

    /// Gives connections that wait to the accept that is armed.
    pub(crate) fn pump_accept(&mut self, listener: Socket) {
        loop {
            let failed = self.hits(Fault::AcceptFailed);
            let errno = if self.random.hits(500) { libc::EMFILE } else { libc::ECONNABORTED };
            let Some(entry) = self.entry(listener) else { return };
            let kernel = entry.kernel;
            let Endpoint::Listener { backlog, accept, .. } = &mut entry.endpoint else { return };
            let Some(op) = *accept else { return };
            let Some(&connection) = backlog.front() else { return };
            if failed {
                *accept = None;
                self.coverage.meet(Fault::AcceptFailed);
                return self.fail(op, Failure::Os(errno));
            }
            backlog.pop_front();
            let peer = self.connections[connection].peer;
            if let Some(socket) = self.add_socket(Endpoint::Stream { connection }, kernel) {
                self.post(op, Outcome::Accepted { socket, peer }, true);
            }
        }
    }

    /// Hands received bytes to the receive that is armed, as far as there are buffers.
    pub(crate) fn pump_receive(&mut self, connection: usize) {
        loop {
            let from = &self.connections[connection];
            let Some(op) = from.receive else { return };
            if from.inbound.is_empty() {
                let ended = from.ended;
                let lost = from.lost;
                if ended || lost.is_some() {
                    self.connections[connection].receive = None;
                }
                return match (ended, lost) {
                    (true, _) => self.post(op, Outcome::EndOfStream, false),
                    (false, Some(errno)) => self.fail(op, Failure::Os(errno)),
                    (false, None) => {}
                };
            }
            let seems_dry = self.hits(Fault::BuffersDry);
            let id = if seems_dry { None } else { self.pool.take_home() };
            let Some(id) = id else {
                return self.starve(Starved::Connection(connection));
            };
            let mut most = self.pool.buffer_bytes();
            if self.meets(Fault::ReceivedInPieces) {
                most = self.random.between(1, 64.min(most as u64)) as usize;
            }
            let bytes = self.connections[connection].receive(most);
            let length = self.pool.fill(id, &bytes);
            if let Some(buffer) = self.pool.lend(id, 0, length) {
                self.counters.bytes_received += length as u64;
                self.post(op, Outcome::Received { buffer }, true);
            }
        }
    }

    /// Receives that found no buffer are armed again: once buffers came home, never in a loop.
    pub(crate) fn feed_starved(&mut self) {
        for _ in 0..self.starved.len() {
            match self.starved.pop_front() {
                Some(Starved::Connection(connection)) => self.pump_receive(connection),
                Some(Starved::Datagrams(socket)) => self.pump_datagrams(socket),
                None => {}
            }
        }
        if !self.starved.is_empty() {
            // A buffer comes home by being dropped, which is no event: look again soon.
            self.alarm_at(self.now_us + 100);
        }
    }

    fn starve(&mut self, who: Starved) {
        self.coverage.meet(Fault::BuffersDry);
        if !self.starved.contains(&who) {
            self.counters.buffers_short += 1;
            self.starved.push_back(who);
        }
    }

    /// Finishes polls whose condition holds.
    pub(crate) fn pump_polls(&mut self, connection: usize) {
        let of = &mut self.connections[connection];
        let mut ready: Vec<OpId> = Vec::new();
        if of.is_writable() {
            ready.append(&mut of.polls_writable);
        }
        if of.is_readable() {
            ready.append(&mut of.polls_readable);
        }
        for op in ready {
            self.post(op, Outcome::Done, false);
        }
    }

    /// Starts a delivery when there is something to deliver and room for it.
    pub(crate) fn kick(&mut self, connection: usize) {
        let of = &mut self.connections[connection];
        let due = of.queued > 0 && of.window_room() > 0 || of.fin_is_due();
        if due && !of.delivering {
            of.delivering = true;
            let latency_us = of.latency_us;
            self.after(latency_us, Event::Deliver(connection));
        }
        let of = &mut self.connections[connection];
        if of.queued > 0 && !of.timing {
            of.timing = true;
            of.progress_us = self.now_us;
            self.after(self.options.user_timeout_us, Event::TimeOut(connection));
        }
    }

    pub(crate) fn on_deliver(&mut self, connection: usize) {
        self.connections[connection].delivering = false;
        if self.connections[connection].lost.is_some() {
            return;
        }
        let files: Vec<usize> = self.connections[connection].files_in_flight().collect();
        for inode in files {
            self.meet_changes(inode);
        }
        let of = &mut self.connections[connection];
        let mut most = DELIVERY_BYTES.min(of.window_room());
        if let Some(reset_after) = of.reset_after {
            most = most.min(reset_after.saturating_sub(of.delivered));
        }
        let delivered = of.deliver(most, &self.disk);
        if delivered > 0 {
            of.progress_us = self.now_us;
            self.interrupted = true;
        }
        if of.reset_after.is_some_and(|reset_after| of.delivered >= reset_after) {
            self.coverage.meet(Fault::Reset);
            of.lost_to_network = true;
            return self.lose(connection, libc::ECONNRESET);
        }
        if of.remote_closed && delivered > 0 {
            return self.lose(connection, libc::EPIPE);
        }
        if of.fin_is_due() {
            of.remote = RemoteState::Ended;
            self.interrupted = true;
        }
        self.kick(connection);
        self.pump_polls(connection);
    }

    pub(crate) fn on_time_out(&mut self, connection: usize) {
        let of = &mut self.connections[connection];
        of.timing = false;
        if of.queued == 0 || of.lost.is_some() {
            return;
        }
        let stalled_us = self.now_us.saturating_sub(of.progress_us);
        let timeout_us = self.options.user_timeout_us;
        if stalled_us >= timeout_us {
            self.coverage.meet(Fault::TimedOut);
            of.lost_to_network = true;
            return self.lose(connection, libc::ETIMEDOUT);
        }
        of.timing = true;
        self.after(timeout_us - stalled_us, Event::TimeOut(connection));
    }

    pub(crate) fn on_arrive(&mut self, connection: usize) {
        loop {
            let of = &mut self.connections[connection];
            if of.arriving.front().is_none_or(|(at_us, _)| *at_us > self.now_us) {
                break;
            }
            let Some((_, arrival)) = of.arriving.pop_front() else { break };
            match arrival {
                // Bytes for a socket that is closed are answered by a reset.
                Arrival::Bytes(_) if of.local_closed => self.lose(connection, libc::ECONNRESET),
                Arrival::Bytes(bytes) => of.inbound.extend(bytes),
                Arrival::End => of.ended = true,
                Arrival::Reset => self.lose(connection, libc::ECONNRESET),
            }
        }
        self.pump_receive(connection);
        self.pump_polls(connection);
    }

    /// The connection is lost: both sides learn it.
    pub(crate) fn lose(&mut self, connection: usize, errno: i32) {
        self.connections[connection].lose(errno);
        self.interrupted = true;
        self.pump_receive(connection);
        self.pump_polls(connection);
    }

    /// What the remote end sends, on its way to us.
    pub(crate) fn arrive(&mut self, connection: usize, arrival: Arrival) {
        let at_us = self.arrival_us(connection);
        self.connections[connection].arriving.push_back((at_us, arrival));
        self.after(at_us - self.now_us, Event::Arrive(connection));
    }

    /// When something sent now arrives: never before what was sent earlier.
    pub(crate) fn arrival_us(&self, connection: usize) -> u64 {
        let of = &self.connections[connection];
        let last_us = of.arriving.back().map_or(0, |(at_us, _)| *at_us);
        last_us.max(self.now_us + of.latency_us)
    }

    pub(crate) fn on_connect(&mut self, op: OpId, to: SocketAddr) {
        let Some(live) = self.ops.get(op).filter(|live| !live.finished) else { return };
        let kernel = live.kernel;
        if !self.remote_listeners.contains_key(&to) {
            return self.fail(op, Failure::Os(libc::ECONNREFUSED));
        }
        let connection = self.new_connection(to);
        if let Some(waiting) = self.remote_listeners.get_mut(&to) {
            waiting.push_back(connection);
        }
        if let Some(socket) = self.add_socket(Endpoint::Stream { connection }, kernel) {
            self.post(op, Outcome::Connected { socket }, false);
        }
        self.interrupted = true;
    }

    /// Hands datagrams to the receive that is armed.
    pub(crate) fn pump_datagrams(&mut self, socket: Socket) {
        loop {
            let Some(Entry { endpoint: Endpoint::Datagram(of), .. }) = self.entry(socket) else {
                return;
            };
            let Some(op) = of.receive else { return };
            if of.arrived.is_empty() {
                return;
            }
            let Some(id) = self.pool.take_home() else {
                return self.starve(Starved::Datagrams(socket));
            };
            let taken = match self.entry(socket) {
                Some(Entry { endpoint: Endpoint::Datagram(of), .. }) => of.arrived.pop_front(),
                _ => None,
            };
            let Some((from, bytes)) = taken else { return self.pool.put_home(id) };
            let length = self.pool.fill(id, &bytes);
            if let Some(buffer) = self.pool.lend(id, 0, length) {
                self.post(op, Outcome::Datagram { buffer, from }, true);
            }
        }
    }
}
