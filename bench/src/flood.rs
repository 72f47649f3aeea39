//! One thread of the load: its ring, its connections, one turn after another.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringseed_meta::{InfoHash, Instant, Metainfo, PeerId};
use ringseed_ring::{
    Completion, Failure, Kernel, Op, Outcome, Socket, Token, UringKernel, UringOptions, Wait,
    system,
};
use socket2::SockRef;

use crate::clock::{Clock, Schedule, Stage};
use crate::fault::Fault;
use crate::frames;
use crate::leecher::{Leecher, Need};
use crate::limits::{CONNECTING_MAX, OPS_A_CONNECTION, SCRATCH_BYTES, TURN_WAIT_MS};
use crate::order::{Blocks, Order};
use crate::tally::{self, Tally};
use crate::target::Pieces;
use crate::verify::Verifier;

/// What is asked of whom.
#[derive(Clone, Debug)]
pub struct Load {
    /// The seeder.
    pub target: SocketAddr,
    /// Where connections come from: the address of the first, and the step to the next one's.
    /// None: the system's choice.
    pub from: Option<(IpAddr, u32)>,
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its pieces.
    pub pieces: Pieces,
    /// In which order they are asked for.
    pub order: Order,
    /// Connections of all threads.
    pub connections: u32,
    /// Requests that each keeps outstanding.
    pub depth: u32,
    /// Hash what comes, and compare with this torrent; else payloads are dropped unseen.
    pub verify: Option<Arc<Metainfo>>,
}

/// Why a thread's run ended early.
#[derive(Debug, thiserror::Error)]
pub enum FloodError {
    /// The seeder said something that does not fit.
    #[error("connection {connection}, at byte {offset} of its stream: {fault}")]
    Fault { connection: u32, offset: u64, fault: Fault },
    /// The ring holds as many ops as it can.
    #[error("the ring's op table is full at {0}: fewer --connections, or more --core")]
    Full(String),
    /// No such core, or not allowed to us.
    #[error("cannot run on core {core}: {source}")]
    Pin { core: usize, source: std::io::Error },
    /// The ring failed.
    #[error(transparent)]
    Kernel(#[from] ringseed_ring::KernelError),
    /// The ring could not be set up.
    #[error(transparent)]
    Start(#[from] ringseed_ring::StartError),
}

/// What a thread has to tell at its end.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// What was counted within the time that counts.
    pub tally: Tally,
    /// Connections that were unchoked at least once.
    pub unchoked: u32,
    /// Connections that failed or ended before the run did.
    pub lost: u32,
    /// From the call of connect(2) to the unchoke. Microseconds.
    pub to_unchoke_us: Histogram<u64>,
}

/// What a thread tells the main one.
#[derive(Debug)]
pub enum Note {
    /// A connection may ask.
    Unchoked,
    /// A connection failed or ended, for this reason.
    Lost(String),
    /// The thread is at its end.
    Ended(Box<Result<Outcomes, FloodError>>),
}

struct Connection {
    number: u32,
    leecher: Leecher,
    state: State,
    /// When connect(2) was called.
    opened: Instant,
    /// Requests that the socket has not taken.
    unsent: Vec<u8>,
    /// A poll for room in the socket is on its way.
    waits_to_send: bool,
    /// The unchoke was counted.
    counted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not connected yet.
    Begun,
    Open(Socket),
    Lost,
}

/// Which of a connection's ops a completion ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Connect,
    Readable,
    Writable,
    Close,
}

/// A thread of the flood.
pub struct Flood {
    kernel: UringKernel,
    load: Arc<Load>,
    clock: Clock,
    connections: Vec<Connection>,
    connecting: u32,
    /// The first connection not begun.
    next: usize,
    scratch: Box<[u8; SCRATCH_BYTES]>,
    outcomes: Outcomes,
    stage: Stage,
    tell: Sender<Note>,
}

impl Flood {
    /// A thread that runs the connections `numbers` of the load.
    pub fn new(
        core: Option<usize>,
        load: Arc<Load>,
        numbers: impl ExactSizeIterator<Item = u32>,
        clock: Clock,
        tell: Sender<Note>,
    ) -> Result<Flood, FloodError> {
        let kernel = kernel_on(core, numbers.len() as u32)?;
        let connection = |number| {
            let blocks = Blocks::new(load.pieces.clone(), load.order, number, load.connections);
            let depth = load.depth as usize;
            let verifier = load.verify.clone().map(Verifier::new);
            let piece_count = load.pieces.count();
            Connection {
                number,
                leecher: Leecher::new(load.info_hash, piece_count, blocks, depth, verifier),
                state: State::Begun,
                opened: Instant::ZERO,
                unsent: Vec::new(),
                waits_to_send: false,
                counted: false,
            }
        };
        let connections = numbers.map(connection).collect();
        Ok(Flood {
            kernel,
            clock,
            connections,
            connecting: 0,
            next: 0,
            scratch: Box::new([0; SCRATCH_BYTES]),
            outcomes: Outcomes {
                tally: Tally::new(),
                unchoked: 0,
                lost: 0,
                to_unchoke_us: tally::new_histogram(),
            },
            stage: Stage::Opening,
            tell,
            load,
        })
    }

    /// Runs until the schedule is over.
    pub fn run(mut self, schedule: &Schedule) -> Result<Outcomes, FloodError> {
        while self.stage != Stage::Over {
            self.connect_more()?;
            self.kernel.enter(Wait::AtMost(Duration::from_millis(TURN_WAIT_MS)))?;
            while let Some(completion) = self.kernel.next() {
                let now = self.clock.now();
                self.on_stage(schedule.stage(now), now)?;
                self.on_completion(completion, now)?;
            }
            let now = self.clock.now();
            self.on_stage(schedule.stage(now), now)?;
        }
        Ok(self.outcomes)
    }

    fn on_stage(&mut self, stage: Stage, now: Instant) -> Result<(), FloodError> {
        if stage == self.stage {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.stage, stage);
        if before == Stage::Opening {
            for index in 0..self.connections.len() {
                self.ask(index, now)?;
            }
        }
        if stage == Stage::Counting {
            self.outcomes.tally.restart();
        }
        Ok(())
    }

    fn connect_more(&mut self) -> Result<(), FloodError> {
        while self.connecting < CONNECTING_MAX && self.next < self.connections.len() {
            let index = self.next;
            let connection = &mut self.connections[index];
            connection.opened = self.clock.now();
            let from = self.load.from.map(|(first, step)| {
                SocketAddr::new(nth_address(first, connection.number.wrapping_mul(step)), 0)
            });
            let to = self.load.target;
            self.push(Op::Connect { to, from }, index, Purpose::Connect)?;
            self.connecting += 1;
            self.next += 1;
        }
        Ok(())
    }

    fn note(&self, note: Note) {
        // The main thread has gone only when the run has failed.
        let _ = self.tell.send(note);
    }

    fn push(&mut self, op: Op, index: usize, purpose: Purpose) -> Result<(), FloodError> {
        let token = Token((index as u64) << 2 | purpose as u64);
        match self.kernel.push(op, token) {
            Ok(_) => Ok(()),
            Err(op) => Err(FloodError::Full(format!("{op:?}"))),
        }
    }

    fn on_completion(&mut self, completion: Completion, now: Instant) -> Result<(), FloodError> {
        let index = (completion.token.0 >> 2) as usize;
        let purpose = completion.token.0 & 3;
        if purpose == Purpose::Connect as u64 {
            self.connecting -= 1;
        }
        match completion.outcome {
            Outcome::Connected { socket } => self.on_connected(index, socket),
            Outcome::Done if purpose == Purpose::Readable as u64 => self.on_readable(index, now),
            Outcome::Done => {
                self.connections[index].waits_to_send = false;
                self.send(index)
            }
            Outcome::Failed(why) => self.on_lost(index, &why.to_string()),
            _ => Ok(()),
        }
    }

    fn on_connected(&mut self, index: usize, socket: Socket) -> Result<(), FloodError> {
        if let Some(descriptor) = self.kernel.descriptor(socket) {
            // Nagle's algorithm would hold a request back until the one before is acknowledged.
            // It fails only on a connection that has failed already, which the send tells.
            let _ = SockRef::from(&descriptor).set_tcp_nodelay(true);
        }
        let connection = &mut self.connections[index];
        connection.state = State::Open(socket);
        let peer_id = peer_id_of(connection.number);
        connection.unsent.extend(frames::handshake(self.load.info_hash, peer_id));
        self.send(index)?;
        self.wait_for_bytes(index)
    }

    /// Polls the socket, unless the connection has been lost meanwhile.
    fn wait_for_bytes(&mut self, index: usize) -> Result<(), FloodError> {
        match self.connections[index].state {
            State::Open(socket) => self.push(Op::PollReadable { socket }, index, Purpose::Readable),
            State::Begun | State::Lost => Ok(()),
        }
    }

    /// Reads all that the socket has, then asks for as much again.
    fn on_readable(&mut self, index: usize, now: Instant) -> Result<(), FloodError> {
        let State::Open(socket) = self.connections[index].state else { return Ok(()) };
        match self.drain(index, socket, now)? {
            Drained::Open => {}
            Drained::Ended(why) => return self.on_lost(index, &why),
        }
        let connection = &mut self.connections[index];
        if !connection.counted
            && let Some(at) = connection.leecher.unchoked_at()
        {
            connection.counted = true;
            let waited = at.since(connection.opened).as_micros() as u64;
            self.outcomes.to_unchoke_us.saturating_record(waited);
            self.outcomes.unchoked += 1;
            self.note(Note::Unchoked);
        }
        self.ask(index, self.clock.now())?;
        self.wait_for_bytes(index)
    }

    /// Ends when the socket is empty, or nothing more is expected.
    #[inline]
    fn drain(
        &mut self,
        index: usize,
        socket: Socket,
        mut now: Instant,
    ) -> Result<Drained, FloodError> {
        let Flood { kernel, connections, scratch, outcomes, clock, .. } = self;
        let connection = &mut connections[index];
        let leecher = &mut connection.leecher;
        loop {
            let (wanted, read) = match leecher.need() {
                Need::Read(wanted) => {
                    let into = scratch.get_mut(..wanted).unwrap_or_default();
                    (wanted, kernel.receive_now(socket, into))
                }
                Need::Discard(wanted) => (wanted, kernel.discard_now(socket, wanted)),
            };
            let length = match read {
                Ok(0) => return Ok(Drained::Ended("the seeder closed the connection".into())),
                Ok(length) => length,
                Err(Failure::Os(EAGAIN)) => return Ok(Drained::Open),
                Err(why) => return Ok(Drained::Ended(why.to_string())),
            };
            if leecher.is_in_block() {
                now = clock.now();
            }
            match leecher.need() {
                Need::Read(_) => leecher
                    .received(scratch.get(..length).unwrap_or_default(), now, &mut outcomes.tally)
                    .map_err(|fault| FloodError::Fault {
                        connection: connection.number,
                        offset: leecher.frame_at(),
                        fault,
                    })?,
                Need::Discard(_) => leecher.discarded(length as u32, now, &mut outcomes.tally),
            }
            if length < wanted || leecher.is_idle() {
                return Ok(Drained::Open);
            }
        }
    }

    /// Says what is due: the greeting, and requests once the load is on.
    fn ask(&mut self, index: usize, now: Instant) -> Result<(), FloodError> {
        let connection = &mut self.connections[index];
        connection.leecher.greet(&mut connection.unsent);
        if self.stage != Stage::Opening {
            connection.leecher.ask(now, &mut connection.unsent);
        }
        self.send(index)
    }

    fn send(&mut self, index: usize) -> Result<(), FloodError> {
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
            Err(why) => return self.on_lost(index, &why.to_string()),
        }
        let connection = &mut self.connections[index];
        if connection.unsent.is_empty() || connection.waits_to_send {
            return Ok(());
        }
        connection.waits_to_send = true;
        self.push(Op::PollWritable { socket }, index, Purpose::Writable)
    }

    /// A connection failed or ended. The run goes on with the others.
    fn on_lost(&mut self, index: usize, why: &str) -> Result<(), FloodError> {
        let connection = &mut self.connections[index];
        let before = std::mem::replace(&mut connection.state, State::Lost);
        if before == State::Lost {
            return Ok(());
        }
        self.outcomes.lost += 1;
        self.outcomes.unchoked -= u32::from(connection.counted);
        self.note(Note::Lost(why.into()));
        if let State::Open(socket) = before {
            self.push(Op::Close { socket, reset: true }, index, Purpose::Close)?;
        }
        Ok(())
    }
}

/// The ring of a thread with so many connections, after pinning the thread.
fn kernel_on(core: Option<usize>, connections: u32) -> Result<UringKernel, FloodError> {
    if let Some(core) = core {
        system::pin_thread(core).map_err(|source| FloodError::Pin { core, source })?;
    }
    // As large as the connections need; nothing is spliced, nor received into provided buffers.
    let ops_max = (connections * OPS_A_CONNECTION).next_power_of_two();
    let options = UringOptions {
        sq_entries: ops_max.min(ringseed_ring::limits::SQ_ENTRIES),
        cq_entries: 2 * ops_max,
        ops_max,
        pipe_bytes: 0,
        scratch_count: 1,
        receive_buffers: 1,
        ..UringOptions::default()
    };
    Ok(UringKernel::new(&options)?)
}

/// How reading all that there was ended.
enum Drained {
    Open,
    Ended(String),
}

/// EAGAIN: the socket has nothing, or takes nothing, now.
const EAGAIN: i32 = 11;

/// The address `number` places after `first`; wraps within its family.
fn nth_address(first: IpAddr, number: u32) -> IpAddr {
    match first {
        IpAddr::V4(first) => IpAddr::V4(u32::from(first).wrapping_add(number).into()),
        IpAddr::V6(first) => IpAddr::V6(u128::from(first).wrapping_add(number.into()).into()),
    }
}

/// A peer id for each connection (BEP 20 form): some seeders drop a second connection of one id.
fn peer_id_of(number: u32) -> PeerId {
    let text = format!("-RW0001-{number:012}");
    let mut id = [b'0'; 20];
    id.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    PeerId(id)
}
