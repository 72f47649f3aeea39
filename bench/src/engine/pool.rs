//! What connections of every kind do: connect, greet, read what comes, send what is due, close.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use ringseed_meta::{InfoHash, Instant};
use ringseed_ring::{
    Completion, Failure, Kernel, KernelOptions, Op, Outcome, Socket, Token, UringKernel, Wait,
};
use socket2::SockRef;

use super::connection::{Connection, State, peer_id_of};
use super::{EngineError, Peers, Share, address_of};
use crate::context::Context;
use crate::frames;
use crate::leecher::{Leecher, Milestones, Need};
use crate::limits::{CONNECTING_MAX, GATHER_FROM, OPS_A_CONNECTION, SCRATCH_BYTES};
use crate::note::Event;
use crate::tally::{Tally, record};

/// A thread's ring, and its connections by their place in it.
pub(super) struct Pool {
    pub(super) context: Context,
    pub(super) tally: Tally,
    /// Connections that came to an end, for the mode to learn of.
    pub(super) ended: Vec<(usize, End)>,
    kernel: UringKernel,
    peers: Peers,
    share: Share,
    target: SocketAddr,
    info_hash: InfoHash,
    connections: Vec<Connection>,
    connecting: u32,
    open: u64,
    /// Places whose connection is to be begun, in order.
    to_begin: VecDeque<usize>,
    scratch: Box<[u8; SCRATCH_BYTES]>,
    /// Bytes that a seeder may have on their way to each connection. 0: as the system likes.
    pub(super) window: u32,
    /// Blocks that come within so many reads of a drain are given one time.
    pub(super) reads_a_clock: u32,
    /// Completions since the last wait.
    came: u32,
    is_closing: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It failed, or the seeder ended it.
    Lost,
    /// Its place is free.
    Gone,
}

/// Which of a connection's ops a completion ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Connect,
    Readable,
    Writable,
    Close,
}

/// EAGAIN: the socket has nothing, or takes nothing, now.
const EAGAIN: i32 = 11;

impl Pool {
    /// A ring for so many connections.
    pub(super) fn new(
        context: Context,
        peers: Peers,
        share: Share,
        connections: u32,
    ) -> Result<Pool, EngineError> {
        // As large as the connections need; nothing is spliced, nor received into provided buffers.
        let ops_max = (connections * OPS_A_CONNECTION).next_power_of_two();
        let options = KernelOptions {
            sq_entries: ops_max.min(ringseed_ring::limits::SQ_ENTRIES),
            cq_entries: 2 * ops_max,
            ops_max,
            pipe_bytes: 0,
            scratch_count: 1,
            receive_buffers: 1,
            ..KernelOptions::default()
        };
        Ok(Pool {
            kernel: UringKernel::new(&options)?,
            tally: Tally::new(peers.distinct.clone()),
            ended: Vec::new(),
            target: peers.seeder.address,
            info_hash: peers.seeder.info_hash,
            context,
            peers,
            share,
            connections: Vec::with_capacity(connections as usize),
            connecting: 0,
            open: 0,
            to_begin: VecDeque::new(),
            scratch: Box::new([0; SCRATCH_BYTES]),
            window: 0,
            reads_a_clock: 1,
            came: 0,
            is_closing: false,
        })
    }

    /// A connection in a place of its own. It is begun when few others are being made.
    pub(super) fn add(&mut self, number: u32, leecher: Leecher) {
        self.to_begin.push_back(self.connections.len());
        self.connections.push(Connection::new(number, leecher));
    }

    /// A connection in a place that was left free.
    pub(super) fn add_at(&mut self, index: usize, number: u32, leecher: Leecher) {
        self.connections[index] = Connection::new(number, leecher);
        self.to_begin.push_back(index);
    }

    /// Places, free ones included.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    /// Nothing is open, nor on its way.
    pub(super) fn is_empty(&self) -> bool {
        let holds_none =
            |connection: &Connection| matches!(connection.state, State::New | State::Gone);
        self.connections.iter().all(holds_none)
    }

    pub(super) fn connection(&mut self, index: usize) -> &mut Connection {
        &mut self.connections[index]
    }

    /// Hands over what was pushed, and waits for a completion; where the last wait brought several, for
    /// one of each connection, but no longer than `patience` says.
    pub(super) fn enter(&mut self, wait: Duration, patience: Duration) -> Result<(), EngineError> {
        let came = std::mem::take(&mut self.came);
        if came >= GATHER_FROM && !patience.is_zero() {
            return Ok(self.kernel.enter_for(self.open as u32, patience.min(wait))?);
        }
        Ok(self.kernel.enter(Wait::AtMost(wait))?)
    }

    pub(super) fn next_completion(&mut self) -> Option<Completion> {
        let completion = self.kernel.next();
        self.came += u32::from(completion.is_some());
        completion
    }

    /// Begins connections, as long as few are being made.
    pub(super) fn connect_more(&mut self, now: Instant) -> Result<(), EngineError> {
        while self.connecting < CONNECTING_MAX && !self.is_closing {
            let Some(index) = self.to_begin.pop_front() else { break };
            let connection = &mut self.connections[index];
            connection.opened = connection.due.unwrap_or(now);
            // By the place, not the number: in a churn the addresses stay as few as the places.
            let place = index as u32 * self.share.places + self.share.place;
            let from = address_of(self.peers.from, self.peers.addresses_before + place);
            let to = self.target;
            let token = token_of(index, Purpose::Connect);
            match self.kernel.push(Op::Connect { to, from }, token) {
                Ok(op) => self.connections[index].state = State::Connecting(op),
                Err(op) => return Err(EngineError::Full(format!("{op:?}"))),
            }
            self.connecting += 1;
            self.tally.counts.connections += 1;
        }
        Ok(())
    }

    fn push(&mut self, op: Op, index: usize, purpose: Purpose) -> Result<(), EngineError> {
        match self.kernel.push(op, token_of(index, purpose)) {
            Ok(_) => Ok(()),
            Err(op) => Err(EngineError::Full(format!("{op:?}"))),
        }
    }

    /// Does what a completion asks for. The connection, when bytes came on it.
    pub(super) fn on_completion(
        &mut self,
        completion: Completion,
        now: Instant,
    ) -> Result<Option<usize>, EngineError> {
        let index = (completion.token.0 >> 2) as usize;
        let purpose = completion.token.0 & 3;
        if purpose == Purpose::Connect as u64 {
            self.connecting -= 1;
        }
        match completion.outcome {
            Outcome::Connected { socket } => self.on_connected(index, socket, now)?,
            Outcome::Done if purpose == Purpose::Readable as u64 => {
                return Ok(self.drain(index, now)?.then_some(index));
            }
            Outcome::Done => {
                self.connections[index].waits_to_send = false;
                self.send(index)?;
            }
            Outcome::Closed => self.on_gone(index),
            // An op of a connection that is being closed.
            Outcome::Failed(_) if self.connections[index].state == State::Closing => {}
            Outcome::Failed(why) => self.lose(index, &why.to_string())?,
            _ => {}
        }
        Ok(None)
    }

    fn on_gone(&mut self, index: usize) {
        self.connections[index].state = State::Gone;
        self.ended.push((index, End::Gone));
    }

    fn on_connected(
        &mut self,
        index: usize,
        socket: Socket,
        now: Instant,
    ) -> Result<(), EngineError> {
        if let Some(descriptor) = self.kernel.descriptor(socket) {
            // Nagle's algorithm would hold a request back until the one before is acknowledged.
            // It fails only on a connection that has failed already, which the send tells.
            let _ = SockRef::from(&descriptor).set_tcp_nodelay(true);
        }
        if self.window > 0 {
            // Where it fails, the seeder is held up by our window, as it would be without.
            let _ = self.kernel.widen_window(socket, self.window);
        }
        let connection = &mut self.connections[index];
        connection.state = State::Open(socket);
        self.open += 1;
        if self.is_closing {
            return self.close(index, Farewell::Reset);
        }
        if connection.opened >= self.tally.openings_from {
            record(&mut self.tally.latencies.connected, now.since(connection.opened));
        }
        let peer_id = peer_id_of(connection.number);
        connection.unsent.extend(frames::handshake(self.info_hash, peer_id));
        self.send(index)?;
        self.wait_for_bytes(index)
    }

    /// Polls the socket, unless the connection has been lost meanwhile, or reads by the clock.
    fn wait_for_bytes(&mut self, index: usize) -> Result<(), EngineError> {
        let connection = &self.connections[index];
        match connection.state {
            State::Open(socket) if connection.trickle.is_none() => {
                self.push(Op::PollReadable { socket }, index, Purpose::Readable)
            }
            _ => Ok(()),
        }
    }

    /// Reads what the socket has and we may take. False: the connection is no longer open.
    #[inline]
    pub(super) fn drain(&mut self, index: usize, mut now: Instant) -> Result<bool, EngineError> {
        let Pool { kernel, connections, scratch, tally, context, reads_a_clock, .. } = self;
        let connection = &mut connections[index];
        let State::Open(socket) = connection.state else { return Ok(false) };
        let leecher = &mut connection.leecher;
        let allowed =
            connection.trickle.as_mut().map_or(usize::MAX, |trickle| trickle.allowed(now));
        let (mut budget, mut reads) = (allowed, 0);
        let why = loop {
            if budget == 0 || leecher.is_idle() && budget < allowed {
                break None;
            }
            let (wanted, read) = match leecher.need() {
                Need::Read(wanted) => {
                    let wanted = wanted.min(budget);
                    let into = scratch.get_mut(..wanted).unwrap_or_default();
                    (wanted, kernel.receive_now(socket, into))
                }
                Need::Discard(wanted) => {
                    let wanted = wanted.min(budget);
                    (wanted, kernel.discard_now(socket, wanted))
                }
            };
            let length = match read {
                Ok(0) => break Some("the seeder closed the connection".into()),
                Ok(length) => length,
                Err(Failure::Os(EAGAIN)) => break None,
                Err(why) => break Some(why.to_string()),
            };
            if leecher.is_in_block() {
                if reads == 0 {
                    now = context.clock.now();
                    reads = *reads_a_clock;
                }
                reads -= 1;
            }
            match leecher.need() {
                Need::Read(_) => {
                    let bytes = scratch.get(..length).unwrap_or_default();
                    leecher.received(bytes, now, tally).map_err(|fault| EngineError::Fault {
                        connection: connection.number,
                        offset: leecher.frame_at(),
                        fault,
                    })?;
                }
                Need::Discard(_) => leecher.discarded(length as u32, now, tally),
            }
            budget -= length;
            if length < wanted {
                break None;
            }
        };
        if let Some(trickle) = &mut connection.trickle {
            trickle.took(allowed - budget);
        }
        let Some(why) = why else { return Ok(true) };
        self.lose(index, &why)?;
        Ok(false)
    }

    /// Records what the seeder said for the first time; tells when the connection is ready.
    #[inline]
    pub(super) fn note_milestones(&mut self, index: usize, is_ready: impl Fn(Milestones) -> bool) {
        let connection = &mut self.connections[index];
        let (said, recorded) = (connection.leecher.milestones(), connection.recorded);
        if said == recorded {
            return;
        }
        let latencies = &mut self.tally.latencies;
        for (said, recorded, histogram) in [
            (said.handshake, recorded.handshake, &mut latencies.handshake),
            (said.bitfield, recorded.bitfield, &mut latencies.bitfield),
            (said.unchoke, recorded.unchoke, &mut latencies.unchoke),
        ] {
            if let (Some(at), None) = (said, recorded)
                && connection.opened >= self.tally.openings_from
            {
                record(histogram, at.since(connection.opened));
            }
        }
        if said.unchoke.is_some() && recorded.unchoke.is_none() {
            self.tally.counts.unchoked += 1;
        }
        connection.recorded = said;
        if !connection.is_ready && is_ready(said) {
            connection.is_ready = true;
            self.context.tell(Event::Ready);
        }
    }

    /// What follows a drain: the greeting, and the next poll.
    pub(super) fn after_drain(&mut self, index: usize) -> Result<(), EngineError> {
        let connection = &mut self.connections[index];
        connection.leecher.greet(&mut connection.unsent);
        self.send(index)?;
        self.wait_for_bytes(index)
    }

    /// Makes the requests that may be made.
    pub(super) fn ask(&mut self, index: usize) -> Result<(), EngineError> {
        let connection = &mut self.connections[index];
        if !connection.is_open() {
            return Ok(());
        }
        let now = self.context.clock.now();
        connection.leecher.greet(&mut connection.unsent);
        self.tally.counts.requests += connection.leecher.ask(now, &mut connection.unsent);
        self.send(index)
    }

    /// The same, but for a connection whose earlier requests are not in the socket yet.
    pub(super) fn ask_due(&mut self, index: usize) -> Result<(), EngineError> {
        if !self.connections[index].unsent.is_empty() {
            return Ok(());
        }
        self.ask(index)
    }

    /// Sends what is due, as far as the socket takes it.
    fn send(&mut self, index: usize) -> Result<(), EngineError> {
        let connection = &mut self.connections[index];
        let State::Open(socket) = connection.state else { return Ok(()) };
        if connection.unsent.is_empty() {
            return Ok(());
        }
        match self.kernel.send_now(socket, &connection.unsent) {
            Ok(sent) => {
                connection.unsent.drain(..sent);
            }
            Err(Failure::Os(EAGAIN)) => {}
            Err(why) => return self.lose(index, &why.to_string()),
        }
        if connection.unsent.is_empty() || connection.waits_to_send {
            return Ok(());
        }
        connection.waits_to_send = true;
        self.push(Op::PollWritable { socket }, index, Purpose::Writable)
    }

    /// Appends to what is sent with the next bytes, and sends it.
    pub(super) fn say(&mut self, index: usize, bytes: &[u8]) -> Result<(), EngineError> {
        self.connections[index].unsent.extend_from_slice(bytes);
        self.send(index)
    }

    /// A connection failed or ended. The run goes on with the others.
    fn lose(&mut self, index: usize, why: &str) -> Result<(), EngineError> {
        let state = self.connections[index].state;
        match state {
            State::Connecting(_) => self.on_gone(index),
            State::Open(_) => {}
            State::New | State::Closing | State::Gone => return Ok(()),
        }
        if !self.is_closing {
            self.tally.counts.lost += 1;
            self.context.tell(Event::Lost(why.into()));
            // Before `Gone`: it is taken from the end.
            self.ended.push((index, End::Lost));
        }
        self.close(index, Farewell::Reset)
    }

    /// Closes a connection. Its place is free when it is told as gone.
    pub(super) fn close(&mut self, index: usize, farewell: Farewell) -> Result<(), EngineError> {
        let State::Open(socket) = self.connections[index].state else { return Ok(()) };
        self.connections[index].state = State::Closing;
        self.open -= 1;
        let reset = farewell == Farewell::Reset;
        self.push(Op::Close { socket, reset }, index, Purpose::Close)
    }

    /// Closes all connections, and begins no more. By reset: no connection of an earlier phase
    /// then lingers in TIME_WAIT, where ten thousand would keep the next phase from its ports.
    pub(super) fn close_all(&mut self) -> Result<(), EngineError> {
        self.is_closing = true;
        for index in 0..self.connections.len() {
            if let State::Connecting(op) = self.connections[index].state {
                // It completes as cancelled, unless it was quicker.
                let _ = self.kernel.push(Op::Cancel { op }, Token(0));
            }
            self.close(index, Farewell::Reset)?;
        }
        Ok(())
    }
}

/// How a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Farewell {
    /// By FIN.
    Finish,
    /// By RST.
    Reset,
}

fn token_of(index: usize, purpose: Purpose) -> Token {
    Token((index as u64) << 2 | purpose as u64)
}
