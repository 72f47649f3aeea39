//! The state of a simulated world and its clock: events happen in the order of virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::connection::Connection;
use super::disk::{Disk, Extent, WaitsBecause};
use super::faults::{Break, Coverage, Fault};
use super::gifts::Gifts;
use super::ops::{Live, Ops};
use super::options::Options;
use super::random::{Random, mix};
use super::reads::PendingRead;
use super::sends::ScratchSend;
use crate::slab::Slab;
use crate::{
    Batch, BufferPool, Completion, Counters, Failure, OpId, Outcome, Run, Socket, Token, Wait,
};

/// Something that happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// A completion that came late.
    Complete(Completion),
    /// Bytes of a connection reach the remote.
    Deliver(usize),
    /// What the remote sent reaches us.
    Arrive(usize),
    /// The device has read pages.
    Read(Extent),
    /// A socket looks whether its peer still acknowledges.
    TimeOut(usize),
    /// A file is looked at.
    Look { op: OpId, inode: usize },
    /// Pages are asked for aside.
    Ask { op: OpId, inode: usize, run: Run, took_us: u64 },
    /// A file is opened.
    Open { op: OpId, path: PathBuf },
    /// A connection is made to a remote listener.
    Connect { op: OpId, to: SocketAddr },
    /// Pages are evicted.
    Evict { inode: usize, pages: (u64, u64) },
    /// Pages of any file are evicted, and again some time later.
    EvictAny,
    /// The ring of a kernel's waker arrives.
    Wake(usize),
}

/// What a socket is.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Listener { at: SocketAddr, backlog: VecDeque<usize>, accept: Option<OpId> },
    Stream { connection: usize },
    Datagram(Datagrams),
}

/// A UDP socket.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    pub(crate) receive: Option<OpId>,
    pub(crate) arrived: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(crate) sent: Vec<(SocketAddr, Vec<u8>)>,
}

/// Whose bytes wait for a receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Starved {
    Connection(usize),
    Datagrams(Socket),
}

/// A socket the kernel owns.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) endpoint: Endpoint,
    /// Whose it is.
    pub(crate) kernel: usize,
    /// The close or detach in progress.
    pub(crate) closing: Option<OpId>,
}

/// One of the world's kernels: what is its own.
#[derive(Default)]
pub(crate) struct Desk {
    /// Its waker was rung.
    pub(crate) rung: Arc<AtomicBool>,
    wake_scheduled: bool,
}

/// Sends that waited for the disk on the caller's thread, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Blocked {
    /// Nobody had asked for the pages, or the answer was no. Must be 0.
    pub not_asked: u64,
    /// The pages were evicted after the question.
    pub evicted_after_question: u64,
    /// The pages were still being read, which the answer cannot tell.
    pub in_flight: u64,
    /// The file's residency is unknown; the pages had been asked for within the last second.
    pub residency_unknown: u64,
    /// Readahead waited: the device had no room for more.
    pub asks: u64,
}

/// Everything that is.
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) now_us: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    pub(crate) random: Random,
    pub(crate) coverage: Coverage,
    pub(crate) ops: Ops,
    pub(crate) disk: Disk,
    pub(crate) gifts: Gifts,
    pub(crate) sockets: Slab<Entry>,
    pub(crate) connections: Vec<Connection>,
    /// Where remote ends wait for connections, and the ones that came.
    pub(crate) remote_listeners: BTreeMap<SocketAddr, VecDeque<usize>>,
    pub(crate) reads: Vec<PendingRead>,
    /// Sends of the copying verb whose files are being read.
    pub(crate) scratch: Vec<ScratchSend>,
    pub(crate) pool: Rc<BufferPool>,
    /// What waits for a receive buffer.
    pub(crate) starved: VecDeque<Starved>,
    /// Completions with a receive buffer that come late.
    late_buffers: usize,
    #[expect(clippy::vec_box, reason = "they come and go as boxes")]
    pub(crate) batches: Vec<Box<Batch>>,
    pub(crate) desks: Vec<Desk>,
    /// The kernel that is being called.
    pub(crate) current: usize,
    /// Connections between two kernels.
    pub(crate) detached: usize,
    /// When the test wants to act.
    alarm_us: Option<u64>,
    /// Something happened that the test may want to act on.
    pub(crate) interrupted: bool,
    pub(crate) blocked: Blocked,
    pub(crate) counters: Counters,
    pub(crate) violations: Vec<String>,
    /// A number that two runs of one seed have in common.
    pub(crate) fingerprint: u64,
}

impl State {
    pub(crate) fn new(options: Options) -> State {
        let mut state = State {
            now_us: 1,
            order: 0,
            events: BTreeMap::new(),
            random: Random::new(options.seed),
            coverage: Coverage::default(),
            ops: Ops::new(options.ops_max),
            disk: Disk::new(options.disk),
            gifts: Gifts::new(options.chunk_pages, options.broken),
            sockets: Slab::new(crate::limits::OPS_MAX),
            connections: Vec::new(),
            remote_listeners: BTreeMap::new(),
            reads: Vec::new(),
            scratch: Vec::new(),
            pool: BufferPool::new(options.buffers, options.buffer_bytes),
            starved: VecDeque::new(),
            late_buffers: 0,
            batches: Vec::new(),
            desks: Vec::new(),
            current: 0,
            detached: 0,
            alarm_us: None,
            interrupted: false,
            blocked: Blocked::default(),
            counters: Counters::default(),
            violations: Vec::new(),
            fingerprint: options.seed,
            options,
        };
        if state.options.faults.per_mille(Fault::Evicted) > 0 {
            state.schedule_eviction();
        }
        state
    }

    /// Whether a fault happens here and now. Counted as met where it takes effect.
    pub(crate) fn hits(&mut self, fault: Fault) -> bool {
        let per_mille = self.options.faults.per_mille(fault);
        self.random.hits(per_mille)
    }

    /// As [`State::hits`], and met by that alone.
    pub(crate) fn meets(&mut self, fault: Fault) -> bool {
        let hit = self.hits(fault);
        if hit {
            self.coverage.meet(fault);
        }
        hit
    }

    pub(crate) fn violated(&mut self, rule: String) {
        self.trace(|| format!("VIOLATION {rule}"));
        self.violations.push(format!("at {} us: {rule}", self.now_us));
    }

    pub(crate) fn trace(&self, text: impl FnOnce() -> String) {
        if self.options.trace {
            eprintln!("{:>10} us  {}", self.now_us, text());
        }
    }

    /// Mixes a happening into the fingerprint.
    pub(crate) fn note(&mut self, what: u64) {
        self.fingerprint = mix(self.fingerprint ^ mix(what ^ (self.now_us << 20)));
    }

    pub(crate) fn after(&mut self, wait_us: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now_us + wait_us, self.order), event);
    }

    /// Ends a wait at that moment; the earliest alarm counts.
    pub(crate) fn alarm_at(&mut self, at_us: u64) {
        self.alarm_us = Some(self.alarm_us.map_or(at_us, |earlier| earlier.min(at_us)));
    }

    /// Starts an op: its id.
    pub(crate) fn start(
        &mut self,
        kind: &'static str,
        token: Token,
        socket: Option<Socket>,
    ) -> OpId {
        let kernel = self.current;
        let live = Live { kernel, token, kind, socket, finished: false, posted_us: 0, late: 0 };
        let started = self.ops.start(live);
        started.unwrap_or_else(Ops::nameless)
    }

    /// A completion of an op: ready now, or late.
    pub(crate) fn post(&mut self, op: OpId, outcome: Outcome, more: bool) {
        let late_us = if self.hits(Fault::Delayed) { self.random.between(1, 20_000) } else { 0 };
        let now_us = self.now_us;
        let Some(live) = self.ops.get(op) else {
            return self.violated(format!("{op:?} completed ({outcome:?}) and is not in flight"));
        };
        live.finished |= !more;
        let (token, kernel) = (live.token, live.kernel);
        let completion = Completion { token, op, outcome, more };
        if late_us == 0 && live.late == 0 {
            return self.ready(kernel, completion);
        }
        live.late += 1;
        live.posted_us = live.posted_us.max(now_us + late_us);
        let wait_us = live.posted_us - now_us;
        self.coverage.meet(Fault::Delayed);
        self.late_buffers += usize::from(holds_buffer(&completion.outcome));
        self.after(wait_us, Event::Complete(completion));
    }

    fn ready(&mut self, kernel: usize, completion: Completion) {
        let (op, token) = (completion.op, completion.token);
        let broken = self.options.broken;
        if !completion.more && broken == Some(Break::CompletionLost) && self.random.hits(20) {
            return;
        }
        let twice = !completion.more && broken == Some(Break::CompletedTwice);
        self.ops.make_ready(kernel, completion);
        if twice && self.random.hits(20) {
            let again = Completion { token, op, outcome: Outcome::Done, more: false };
            self.ops.make_ready(kernel, again);
        }
    }

    pub(crate) fn fail(&mut self, op: OpId, failure: Failure) {
        self.post(op, Outcome::Failed(failure), false);
    }

    /// Waits as the contract says; virtual time passes. What is ready for another kernel ends the
    /// wait as well: its thread runs then, which the test plays.
    pub(crate) fn enter(&mut self, wait: Wait) {
        self.disk.enters += 1;
        self.check_buffers();
        self.interrupted = false;
        self.now_us += self.random.between(1, 4);
        self.look_at_wakers();
        self.feed_starved();
        self.happen();
        let until_us = match wait {
            Wait::No => return,
            Wait::AtMost(duration) => self.now_us.saturating_add(micros(duration)),
        };
        if self.meets(Fault::EnterInterrupted) {
            return;
        }
        let alarm_us = self.alarm_us.take_if(|at_us| *at_us <= until_us);
        let until_us = alarm_us.unwrap_or(until_us).max(self.now_us);
        while !self.ops.any_ready() && !self.interrupted {
            match self.events.first_key_value() {
                Some((&(at_us, _), _)) if at_us <= until_us => {
                    self.now_us = self.now_us.max(at_us);
                    self.happen();
                }
                _ => {
                    self.now_us = until_us;
                    break;
                }
            }
        }
    }

    /// The next completion the caller takes.
    pub(crate) fn next(&mut self) -> Option<Completion> {
        let reorder = self.hits(Fault::Reordered);
        let random = if reorder { Some(&mut self.random) } else { None };
        let taken = self.ops.take(self.current, random)?;
        let completion = taken.completion;
        self.counters.completions += 1;
        if taken.out_of_turn {
            self.coverage.meet(Fault::Reordered);
        }
        self.note(completion.token.0.rotate_left(32) ^ u64::from(completion.more));
        self.trace(|| format!("  -> {:?} {:?}", completion.token, completion.outcome));
        if let Some(socket) = taken.socket {
            self.leave_when_alone(socket);
        }
        Some(completion)
    }

    /// Lets everything happen that is due.
    fn happen(&mut self) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > self.now_us {
                break;
            }
            let event = entry.remove();
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Complete(completion) => {
                self.late_buffers -= usize::from(holds_buffer(&completion.outcome));
                let Some(live) = self.ops.get(completion.op) else { return };
                live.late -= 1;
                let kernel = live.kernel;
                self.ready(kernel, completion);
            }
            Event::Deliver(connection) => self.on_deliver(connection),
            Event::Arrive(connection) => self.on_arrive(connection),
            Event::Read(extent) => self.on_read(extent),
            Event::TimeOut(connection) => self.on_time_out(connection),
            Event::Look { op, inode } => self.on_look(op, inode),
            Event::Ask { op, inode, run, took_us } => self.on_ask(op, inode, run, took_us),
            Event::Open { op, path } => self.on_open(op, &path),
            Event::Connect { op, to } => self.on_connect(op, to),
            Event::Evict { inode, pages } => {
                if self.disk.evict(inode, pages, self.now_us) > 0 {
                    self.coverage.meet(Fault::EvictedAfterQuestion);
                }
            }
            Event::EvictAny => self.on_evict_any(),
            Event::Wake(kernel) => {
                self.desks[kernel].wake_scheduled = false;
                let op = Ops::nameless();
                let token = Token::WAKE;
                let completion = Completion { token, op, outcome: Outcome::Woken, more: false };
                self.ops.make_ready(kernel, completion);
            }
        }
    }

    /// The pages of a file vanish by memory pressure, now and then.
    fn on_evict_any(&mut self) {
        let pages = self.disk.some_pages(&mut self.random);
        if pages.is_some_and(|(inode, pages)| self.disk.evict(inode, pages, self.now_us) > 0) {
            self.coverage.meet(Fault::Evicted);
        }
        self.schedule_eviction();
    }

    fn schedule_eviction(&mut self) {
        let per_mille = u64::from(self.options.faults.per_mille(Fault::Evicted)).max(1);
        let wait_us = self.random.between(1_000, 1_000 + 10_000_000 / per_mille);
        self.after(wait_us, Event::EvictAny);
    }

    fn look_at_wakers(&mut self) {
        for kernel in 0..self.desks.len() {
            let desk = &mut self.desks[kernel];
            let rung = desk.rung.swap(false, Ordering::AcqRel);
            if !rung || desk.wake_scheduled || self.options.broken == Some(Break::WakeUpLost) {
                continue;
            }
            desk.wake_scheduled = true;
            let late = self.meets(Fault::WokenLate);
            let wait_us = if late { self.random.between(1, 50_000) } else { 0 };
            self.after(wait_us, Event::Wake(kernel));
        }
    }

    /// A receive buffer is for the turn it was given in.
    fn check_buffers(&mut self) {
        let kept = self.pool.lent().saturating_sub(self.ops.buffers_ready() + self.late_buffers);
        if kept > 0 {
            self.violated(format!("{kept} receive buffers were kept over the end of a turn"));
        }
    }

    /// Counts a send that waited for the disk.
    pub(crate) fn count_blocked(&mut self, why: WaitsBecause) {
        let counter = match why {
            WaitsBecause::NotAsked => &mut self.blocked.not_asked,
            WaitsBecause::EvictedAfterQuestion => &mut self.blocked.evicted_after_question,
            WaitsBecause::InFlight => &mut self.blocked.in_flight,
            WaitsBecause::ResidencyUnknown => &mut self.blocked.residency_unknown,
        };
        *counter += 1;
    }
}

fn holds_buffer(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Received { .. } | Outcome::Datagram { .. })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
