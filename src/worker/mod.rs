//! One pinned thread per core: the only caller of [`Kernel`], the only place where protocol meets
//! it. [`Worker::turn`] is the whole loop: completions become events, events become decisions,
//! decisions become batches and ops. The clock is read outside.
//!
//! **Invariant:** a worker never waits: not for a disk, a lock, another core or the control
//! thread. What crosses cores is a message ([`mailbox`]) or an atomic cell.

pub mod admission;
mod closing;
mod connection;
pub mod counters;
pub mod crew;
mod data;
mod fetching;
mod greeting;
pub mod histogram;
pub mod limits;
pub mod mailbox;
pub mod migration;
mod onward;
pub mod parking;
mod receiving;
mod resuming;
mod seeder;
mod sending;
mod shares;
pub mod slots;
pub mod tables;
pub mod thread;
mod token;
pub mod turns;
mod vain;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use ringseed_meta::{Instant, PeerId, TorrentId};
use ringseed_ring::{
    Completion, Failure, File, Kernel, KernelError, Op, Outcome, Socket, Token, Verb, Wait,
};
use ringseed_sched::choke::Slots;
use ringseed_sched::fair::Fair;

use admission::Admission;
use connection::Connection;
use counters::Counters;
use crew::Crew;
use mailbox::{Command, ConnectionId, Mailbox, Report};
use token::Errand;

use crate::store::catalog::Catalog;
use crate::store::fetch::{AskAgain, Fetches, Step};
use crate::store::files::{FileKey, OpenFiles};
use crate::store::flights::Flights;
use crate::store::waiters::Waiter;

/// How often the worker looks at files, slots and memory while it has connections.
const TICK: Duration = Duration::from_millis(250);

/// How long accepting pauses after it failed (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What one worker is told when it starts.
#[derive(Clone)]
pub struct Options {
    /// Its place among the workers, from 0, and how many there are.
    pub place: usize,
    pub workers: usize,
    pub peer_id: PeerId,
    /// The port told in extended handshakes (0: none).
    pub listen_port: u16,
    pub slots: Slots,
    /// The verb for plaintext TCP.
    pub verb: Verb,
    /// Bytes that this worker's peers may leave unacknowledged together.
    pub unacknowledged_bytes_max: u64,
    /// Tests only: see [`AskAgain`].
    pub ask_again: AskAgain,
    /// Where randomness starts.
    pub seed: u64,
}

/// What workers share.
pub struct Shared {
    pub admission: Arc<Admission>,
    /// What any of them is fetching.
    pub flights: Arc<Flights>,
    /// Interested peers of each torrent at each worker, for `--slots N`.
    pub interest: slots::Interest,
    pub mailbox: Arc<Mailbox>,
    /// All workers, this one among them.
    pub crew: Arc<Crew>,
    pub counters: Arc<Counters>,
    /// Tells the control thread that reports are waiting.
    pub notify: Arc<dyn Fn() + Send + Sync>,
}

/// A place for a connection; its generation grows with every connection that leaves it.
#[derive(Default)]
struct Place {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// A listener, and when to accept again if it failed.
struct Listener {
    socket: Socket,
    again_at: Option<Instant>,
    failing: bool,
}

/// How far stopping has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stopping {
    No,
    Draining,
    Stopped,
}

/// One core's share of the seeder.
pub struct Worker<K: Kernel> {
    kernel: K,
    options: Options,
    shared: Shared,
    catalog: Arc<Catalog>,
    listeners: Vec<Listener>,
    places: Vec<Place>,
    free: Vec<u32>,
    contents: HashMap<TorrentId, data::Loaded>,
    files: OpenFiles,
    /// Files being opened, by the place in their token.
    opens: Vec<Option<FileKey>>,
    /// Files of distant mounts being looked at, by the place in their token.
    looks: Vec<Option<File>>,
    /// Connections whose file could not be opened or looked at for a reason that passes: they try again
    /// at the next tick.
    for_next_tick: Vec<Waiter>,
    fetches: Fetches,
    asking: fetching::Asking,
    fair: Fair,
    deadlines: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    next_tick: Instant,
    next_round: Instant,
    /// Ops that the kernel had no room for.
    deferred: VecDeque<(Op, Token)>,
    /// Reports that the mailbox had no room for.
    unreported: VecDeque<Report>,
    unacknowledged_bytes: u64,
    pressure: shares::Pressure,
    /// Connections that hold their share of that, and when they are asked again.
    held_back: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    /// The place whose unacknowledged bytes are asked for next.
    next_asked: usize,
    share: migration::Share,
    stopping: Stopping,
    random: u64,
    scratch: Scratch,
}

/// Memory that is used again in each turn.
#[derive(Default)]
struct Scratch {
    events: Vec<ringseed_wire::Event>,
    steps: Vec<Step>,
    plan: sending::Plan,
    /// Where a fetch reads a byte.
    ends: Vec<u64>,
}

impl<K: Kernel> Worker<K> {
    /// A worker that accepts on `listeners` from its first turn on.
    pub fn new(kernel: K, listeners: Vec<Socket>, options: Options, shared: Shared) -> Worker<K> {
        let ask_again = options.ask_again;
        let flights = shared.flights.clone();
        let random = options.seed | 1;
        shared.mailbox.set_bell(kernel.bell());
        Worker {
            kernel,
            options,
            shared,
            catalog: Arc::new(Catalog::default()),
            listeners: listeners
                .into_iter()
                .map(|socket| Listener { socket, again_at: Some(Instant::ZERO), failing: false })
                .collect(),
            places: Vec::new(),
            free: Vec::new(),
            contents: HashMap::new(),
            files: OpenFiles::default(),
            opens: Vec::new(),
            looks: Vec::new(),
            for_next_tick: Vec::new(),
            fetches: Fetches::new(ask_again, flights),
            asking: fetching::Asking::default(),
            fair: Fair::new(limits::QUANTUM_BYTES),
            deadlines: BinaryHeap::new(),
            next_tick: Instant::ZERO,
            next_round: Instant::ZERO,
            deferred: VecDeque::new(),
            unreported: VecDeque::new(),
            unacknowledged_bytes: 0,
            pressure: shares::Pressure::default(),
            held_back: BinaryHeap::new(),
            next_asked: 0,
            share: migration::Share::default(),
            stopping: Stopping::No,
            random,
            scratch: Scratch::default(),
        }
    }

    /// The kernel, for tests.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Enters the kernel, for the outer loop. Whoever has something for this worker rings it while it
    /// waits there, and only then.
    pub fn enter(&mut self, wait: Wait) -> Result<(), KernelError> {
        let wait = self.lie_down(wait);
        let entered = self.kernel.enter(wait);
        self.get_up();
        entered
    }

    /// Before a wait: how long it may be, since something may have come in the last moment.
    pub fn lie_down(&mut self, wait: Wait) -> Wait {
        if wait == Wait::No {
            return wait;
        }
        let mailbox = &self.shared.mailbox;
        mailbox.parking.park();
        if mailbox.is_empty() { wait } else { Wait::No }
    }

    /// After a wait.
    pub fn get_up(&mut self) {
        self.shared.mailbox.parking.unpark();
    }

    /// What it shares with the other threads.
    fn shared(&self) -> &Shared {
        &self.shared
    }

    /// All is closed and reported; the thread may end.
    pub fn is_stopped(&self) -> bool {
        let nothing_left = self.unreported.is_empty() && self.deferred.is_empty();
        self.stopping == Stopping::Stopped && nothing_left
    }

    /// One turn: takes what completed, decides, sends. Returns how long `enter` may wait.
    pub fn turn(&mut self, now: Instant) -> Wait {
        self.shared.counters.turns.add(1);
        self.retry_deferred();
        self.start_accepting(now);
        self.ask_again(now);
        self.read_commands(now);
        self.read_arrivals(now);
        let mut completions = self.take_completions(now);
        self.meet_deadlines(now);
        self.tick(now);
        self.mind_memory(now);
        self.ask_held_back(now);
        self.send_to_ready(now);
        // Most sends have ended by now: their peers need not wait for the ring.
        completions = completions.max(self.take_completions(now));
        self.flush_reports();
        self.wait_after(now, completions)
    }

    /// Answers what completed, up to a turn's worth. Returns how much that was.
    fn take_completions(&mut self, now: Instant) -> usize {
        let mut completions = 0;
        while completions < limits::COMPLETIONS_PER_TURN {
            let Some(completion) = self.kernel.next() else { break };
            self.on_completion(completion, now);
            completions += 1;
        }
        completions
    }

    fn on_completion(&mut self, completion: Completion, now: Instant) {
        let Completion { token, outcome, more, .. } = completion;
        match Errand::of(token) {
            Errand::Wake | Errand::Nothing => {}
            Errand::Accept(place) => self.on_accept(place, outcome, more, now),
            Errand::Receive(id) => self.on_receive(id, outcome, now),
            Errand::Send(id) => self.on_sent(id, outcome, now),
            Errand::Writable(id) => self.on_writable(id, outcome, now),
            Errand::Close(id) => self.on_closed(id, now),
            Errand::Detach(id) => self.on_detached(id, outcome, now),
            Errand::Open(place) => self.on_opened(place, outcome, now),
            Errand::Look(place) => self.on_looked(place, outcome, now),
            Errand::ReadAhead(fetch) | Errand::ReadByte(fetch) | Errand::ReadDiscard(fetch) => {
                self.on_fetch_step(fetch, outcome, now);
            }
        }
    }

    fn wait_after(&self, now: Instant, completions: usize) -> Wait {
        let busy = !self.fair.is_empty()
            || completions == limits::COMPLETIONS_PER_TURN
            || !self.deferred.is_empty()
            || !self.asking.is_done();
        if busy {
            return Wait::No;
        }
        if self.occupied() == 0 {
            // Until somebody comes there is no tick.
            self.publish();
        }
        let accept = match self.stopping {
            Stopping::No => self.listeners.iter().filter_map(|listener| listener.again_at).min(),
            Stopping::Draining | Stopping::Stopped => None,
        };
        let deadline = self.deadlines.peek().map(|Reverse((at, ..))| *at);
        let looks = self.occupied() > 0 || self.share.permille > 0;
        let tick = (looks || !self.unreported.is_empty()).then_some(self.next_tick);
        let held_back = self.held_back.peek().map(|Reverse((at, ..))| *at);
        let next = [accept, deadline, tick, held_back].into_iter().flatten().min();
        Wait::AtMost(next.map_or(Duration::from_secs(60), |at| at.since(now)))
    }

    /// Copies what the kernel counted to where other threads may read it.
    pub fn publish(&self) {
        self.shared.counters.take_over(&self.kernel.counters());
        self.shared.counters.unacknowledged_bytes.set(self.unacknowledged_bytes);
        self.shared.counters.held_back.set(self.held_back.len() as u64);
    }

    /// Pushes an op; one that the kernel has no room for waits for the next turn. A close goes at
    /// once, since it makes room, and ends what waits for the same socket.
    fn push(&mut self, op: Op, errand: Errand) {
        let token = errand.token();
        if let Op::Close { socket, .. } = op {
            self.deferred.retain(|(waiting, _)| socket_of(waiting) != Some(socket));
        }
        let is_urgent = matches!(op, Op::Close { .. } | Op::Send { .. });
        if self.deferred.is_empty() || is_urgent {
            if let Err(op) = self.kernel.push(op, token) {
                self.deferred.push_back((op, token));
            }
        } else {
            self.deferred.push_back((op, token));
        }
    }

    fn retry_deferred(&mut self) {
        while let Some((op, token)) = self.deferred.pop_front() {
            if let Err(op) = self.kernel.push(op, token) {
                self.deferred.push_front((op, token));
                return;
            }
        }
    }

    fn start_accepting(&mut self, now: Instant) {
        if self.stopping != Stopping::No {
            return;
        }
        for place in 0..self.listeners.len() {
            let listener = &mut self.listeners[place];
            if listener.again_at.is_some_and(|at| at <= now) {
                listener.again_at = None;
                let listener = listener.socket;
                self.push(Op::Accept { listener }, Errand::Accept(place as u32));
            }
        }
    }

    fn on_accept(&mut self, place: u32, outcome: Outcome, more: bool, now: Instant) {
        let place = place as usize;
        match outcome {
            Outcome::Accepted { socket, peer } => {
                self.admit(socket, peer, now);
                self.listeners[place].failing = false;
            }
            Outcome::Failed(failure) => self.on_accept_failed(place, failure, now),
            _ => {}
        }
        if !more && self.stopping == Stopping::No && self.listeners[place].again_at.is_none() {
            self.listeners[place].again_at = Some(now);
        }
    }

    fn on_accept_failed(&mut self, place: usize, failure: Failure, now: Instant) {
        if failure == Failure::Cancelled {
            return;
        }
        self.close_idle_files();
        let listener = &mut self.listeners[place];
        listener.again_at = Some(now.after(ACCEPT_PAUSE));
        if !std::mem::replace(&mut listener.failing, true) {
            self.report(Report::AcceptFailed(format!(
                "cannot accept connections: {failure}; raise the limit of open files (ulimit -n, \
                 LimitNOFILE=) or lower --connections; trying again every second"
            )));
        }
    }

    fn read_commands(&mut self, now: Instant) {
        while let Some(command) = self.shared.mailbox.next_command() {
            match command {
                Command::Catalog(catalog) => self.catalog = catalog,
                Command::Content(torrent, content) => self.on_content(torrent, content, now),
                Command::Hashes { connection, request, hashes } => {
                    self.on_hashes(connection, &request, hashes.as_deref());
                }
                Command::Give { to, connections } => self.give_some(to, connections),
                Command::Stop { drain } => self.stop(drain, now),
            }
        }
    }

    fn report(&mut self, report: Report) {
        self.unreported.push_back(report);
    }

    fn flush_reports(&mut self) {
        let mut notify = false;
        while let Some(report) = self.unreported.pop_front() {
            match self.shared.mailbox.report(report) {
                Ok(first) => notify |= first,
                Err(report) => {
                    self.unreported.push_front(report);
                    break;
                }
            }
        }
        if notify {
            (self.shared.notify)();
        }
    }

    fn occupied(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The connection that a completion or command speaks of, if it is still the same one.
    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let place = self.places.get_mut(id.slot as usize)?;
        if place.generation != id.generation {
            return None;
        }
        place.connection.as_deref_mut()
    }

    /// Takes a connection out of its place, to work on it beside the worker; [`Worker::put`] it
    /// back.
    fn take(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let place = self.places.get_mut(id.slot as usize)?;
        if place.generation != id.generation {
            return None;
        }
        place.connection.take()
    }

    /// Puts a connection back, and into the line of those to be served if it can be.
    fn put(&mut self, mut connection: Box<Connection>) {
        if connection.bound_for.is_some() {
            self.leave_if_bound(&mut connection);
        }
        if connection.is_ready() {
            self.fair.ready(connection.id.slot, connection.asks());
        }
        let slot = connection.id.slot as usize;
        self.places[slot].connection = Some(connection);
    }

    /// The next of a sequence of numbers that looks random and follows from the seed (xorshift).
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// The socket that an op is for.
fn socket_of(op: &Op) -> Option<Socket> {
    match *op {
        Op::Receive { socket }
        | Op::Send { socket, .. }
        | Op::PollWritable { socket }
        | Op::PollReadable { socket }
        | Op::Detach { socket }
        | Op::Close { socket, .. } => Some(socket),
        _ => None,
    }
}
