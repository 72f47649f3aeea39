//! A stage for one seed: a simulated machine, a worker on it, the control thread's part played by
//! the test, leechers, and mishaps of the data.

use std::sync::Arc;
use std::time::Duration;

use ringseed::store::catalog::{Catalog, Entry, TorrentState};
use ringseed::store::fetch::AskAgain;
use ringseed::worker::admission::Admission;
use ringseed::worker::counters::{Cell, Counters};
use ringseed::worker::crew::Crew;
use ringseed::worker::mailbox::{Command, Mailbox, Report};
use ringseed::worker::slots::Interest;
use ringseed::worker::{Options, Shared};
use ringseed_meta::{FileIndex, PeerId, TorrentId};
use ringseed_ring::sim::{self, Coverage, Fault, Random, World};
use ringseed_ring::{Kernel, Verb, Wait};
use ringseed_sched::choke::Slots;

use super::hand::Hand;
use super::leecher::{HASHES_SENT, Leecher};
use super::torrent::ModelTorrent;

/// Virtual time after which the show is over, whatever is under way.
const CURTAIN_US: u64 = 100_000_000;
/// Virtual time for which leechers that want nothing any more, or take nothing, are kept.
const STALL_US: u64 = 3_000_000;
/// Virtual time for draining, and then for closing.
const DRAIN_US: u64 = 10_000_000;
const CLOSE_US: u64 = 10_000_000;
/// A change is to be noticed within this, from the first use of the file after it.
const NOTICED_US: u64 = 1_000_000;
/// Turns of the worker in one show: more is a loop that never ends.
const TURNS_MAX: u64 = 2_000_000;

/// Connections are told to move no more often than that: each has time for a block or two.
const MOVES_EVERY_AT_LEAST_US: u64 = 5_000;

/// Connections that may be admitted at a time.
const CONNECTIONS_MAX: u32 = 1000;

/// What a seed is played with, besides what the seed draws.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    pub(crate) broken: Option<sim::Break>,
    pub(crate) ask_again: AskAgain,
    pub(crate) trace: bool,
}

/// What a seed showed.
pub(crate) struct Played {
    pub(crate) wrong: Vec<String>,
    pub(crate) coverage: Coverage,
    pub(crate) fingerprint: u64,
    pub(crate) blocks: u64,
    /// Connections that went from one worker to another.
    pub(crate) moves: u64,
    /// Connections that were reset to free memory.
    pub(crate) resets: u64,
    pub(crate) paused: u64,
}

/// A report of bad data, and when it was read.
struct Paused {
    torrent: TorrentId,
    file: FileIndex,
    fault: String,
    at_us: u64,
}

struct Stage {
    world: World,
    random: Random,
    hands: Vec<Hand>,
    crew: Arc<Crew>,
    admission: Arc<Admission>,
    entries: Vec<Arc<Entry>>,
    torrents: Vec<ModelTorrent>,
    leechers: Vec<Leecher>,
    /// Commands on their way, each with the time it arrives and the worker it is for.
    commands: Vec<(u64, usize, Command)>,
    /// When connections are next told to move, and how often.
    move_us: Option<u64>,
    moves_every_us: u64,
    /// When the next mishap comes.
    mishap_us: Option<u64>,
    paused: Vec<Paused>,
    /// Many leechers want the same few slots.
    crowd: bool,
    trace: bool,
    turns: u64,
    wrong: Vec<String>,
}

pub(crate) fn play(seed: u64, script: Script) -> Played {
    let mut options =
        if seed.is_multiple_of(16) { sim::Options::calm(seed) } else { sim::Options::swarm(seed) };
    options.broken = script.broken;
    options.trace = script.trace;
    let mut stage = Stage::new(World::new(options), seed, script);
    stage.show();
    stage.look_at_leechers();
    stage.stop();
    stage.judge();
    stage.end()
}

impl Stage {
    fn new(world: World, seed: u64, script: Script) -> Stage {
        let mut random = Random::new(seed ^ 0x73_7461_6765);
        let listen = std::net::SocketAddr::from(([10, 0, 0, 1], 6881));
        let torrents: Vec<ModelTorrent> = (0..random.between(1, 3) as u32)
            .map(|id| ModelTorrent::new(&world, &mut random, TorrentId(id)))
            .collect();
        let entries: Vec<Arc<Entry>> =
            torrents.iter().map(|torrent| Arc::new(torrent.entry())).collect();
        let workers = if random.hits(500) { 2 } else { 1 };
        let slots = if random.hits(250) {
            Slots::Limited(random.between(1, 3) as u32)
        } else {
            Slots::Unlimited
        };
        let options = Options {
            place: 0,
            workers,
            peer_id: PeerId(*b"-RS0001-simulatedsim"),
            listen_port: 6881,
            slots,
            verb: if random.hits(250) { Verb::Copy } else { Verb::Splice },
            unacknowledged_bytes_max: if random.hits(250) {
                random.of_any_size(4 << 20)
            } else {
                1 << 30
            },
            ask_again: script.ask_again,
            seed,
        };
        let mailboxes: Vec<Arc<Mailbox>> = (0..workers).map(|_| Mailbox::new()).collect();
        let crew = Crew::new(mailboxes.iter().cloned());
        let admission = Arc::new(Admission::new(CONNECTIONS_MAX, 0));
        let (flights, interest) = (Arc::default(), Interest::new(torrents.len(), workers));
        let hire = |(place, mailbox): (usize, Arc<Mailbox>)| {
            let shared = Shared {
                flights: Arc::clone(&flights),
                admission: Arc::clone(&admission),
                interest: interest.clone(),
                mailbox,
                crew: Arc::clone(&crew),
                counters: Arc::default(),
                notify: Arc::new(|| ()),
            };
            Hand::new(&world, listen, Options { place, ..options.clone() }, shared)
        };
        let hands: Vec<Hand> = mailboxes.into_iter().enumerate().map(hire).collect();
        let moves_every_us = MOVES_EVERY_AT_LEAST_US + random.of_any_size(400_000);
        let mut stage = Stage {
            hands,
            crew,
            admission,
            entries,
            torrents,
            leechers: Vec::new(),
            commands: Vec::new(),
            move_us: (workers > 1).then_some(moves_every_us),
            moves_every_us,
            mishap_us: random.hits(500).then(|| random.of_any_size(1_500_000)),
            paused: Vec::new(),
            crowd: slots != Slots::Unlimited && seed.is_multiple_of(2),
            trace: script.trace,
            turns: 0,
            wrong: Vec::new(),
            random,
            world,
        };
        stage.set(listen);
        stage
    }

    /// The catalog is published, files are cold or warm or hidden, leechers connect.
    fn set(&mut self, listen: std::net::SocketAddr) {
        let catalog = Arc::new(Catalog::new(self.entries.clone()));
        for hand in &self.hands {
            let command = Command::Catalog(Arc::clone(&catalog));
            hand.mailbox.command(command, &hand.waker).unwrap();
        }
        for file in self.torrents.iter().flat_map(|torrent| &torrent.files) {
            match self.random.below(10) {
                0..=3 => self.world.warm(&file.path),
                4 => self.world.hide_residency(&file.path),
                5 => self.world.make_distant(&file.path),
                _ => {}
            }
        }
        if self.random.hits(60) {
            self.mishap();
        }
        let crowd = self.crowd;
        for number in 0..self.random.between(if crowd { 4 } else { 1 }, 6) as usize {
            let torrent = self.random.below(self.torrents.len() as u64) as usize;
            let torrent = if crowd { 0 } else { torrent };
            let from = std::net::SocketAddr::from(([10, 0, 1, 1], 1000 + number as u16));
            let remote = self.world.connect(from, listen).unwrap();
            let model = &self.torrents[torrent];
            let leecher = Leecher::new(
                &self.world,
                remote,
                (number, torrent, crowd),
                model,
                &mut self.random,
            );
            self.leechers.push(leecher);
        }
    }

    fn show(&mut self) {
        let stays = |leecher: &Leecher, now_us| {
            leecher.waits() || leecher.lingers(now_us) || !leecher.done && now_us < STALL_US
        };
        while self.world.now_us() < CURTAIN_US
            && self.leechers.iter().any(|leecher| stays(leecher, self.world.now_us()))
        {
            if !self.turn() {
                return;
            }
        }
    }

    /// One round: the control thread, the leechers, the workers, the kernel. False: it has stopped.
    fn turn(&mut self) -> bool {
        let now_us = self.world.now_us();
        self.serve(now_us);
        if self.mishap_us.is_some_and(|at_us| at_us <= now_us) {
            self.mishap_us = None;
            self.mishap();
        }
        if self.move_us.is_some_and(|at_us| at_us <= now_us) {
            self.move_us = Some(now_us + self.moves_every_us);
            let from = self.random.below(self.hands.len() as u64) as usize;
            let (to, connections) = (1 - from, self.random.between(1, 3) as u32);
            self.commands.push((now_us, from, Command::Give { to, connections }));
        }
        for leecher in &mut self.leechers {
            let torrent = leecher.torrent;
            leecher.step(now_us, &self.torrents[torrent], &mut self.wrong);
        }
        let acts = self.leechers.iter().filter(|leecher| !leecher.done);
        let acts = acts.map(|leecher| leecher.alarm_us().max(now_us + 1));
        let arrivals = self.commands.iter().map(|(at_us, ..)| *at_us);
        let next = acts.chain(arrivals).chain(self.mishap_us).chain(self.move_us);
        if let Some(next_us) = next.min() {
            self.world.alarm_at(next_us);
        }
        for place in 0..self.hands.len() {
            // Another program may have the core for a while.
            let is_kept = self.hands.len() > 1 && self.random.hits(100);
            let hand = &mut self.hands[place];
            if !is_kept && (hand.until_us <= now_us || self.world.has_something_for(place)) {
                hand.turn(now_us, &mut self.random);
            }
        }
        self.turns += 1;
        if self.turns > TURNS_MAX {
            self.wrong.push(format!("{TURNS_MAX} turns and no end"));
            return false;
        }
        let until_us = self.hands.iter().map(|hand| hand.until_us).min().unwrap_or(0);
        let wait = match until_us.saturating_sub(now_us) {
            0 => Wait::No,
            wait_us => Wait::AtMost(Duration::from_micros(wait_us)),
        };
        self.hands[0].worker.kernel().enter(wait).is_ok()
    }

    /// The control thread: answers what the workers ask for, after a while.
    fn serve(&mut self, now_us: u64) {
        for place in 0..self.hands.len() {
            while let Some(report) = self.hands[place].mailbox.next_report() {
                let arrives_us = now_us + self.random.of_any_size(300_000);
                match report {
                    Report::NeedContent(torrent) => {
                        let content = Arc::clone(&self.torrents[torrent.0 as usize].content);
                        let command = Command::Content(torrent, Ok(content));
                        self.commands.push((arrives_us, place, command));
                    }
                    Report::NeedHashes { connection, request, .. } => {
                        let hashes = self.random.hits(700).then(|| vec![[9; 32]; HASHES_SENT]);
                        let answer = Command::Hashes { connection, request, hashes };
                        self.commands.push((arrives_us, place, answer));
                    }
                    Report::DataFault { torrent, file, fault } => {
                        self.paused.push(Paused { torrent, file, fault, at_us: now_us });
                    }
                    Report::AcceptFailed(_) | Report::PeerFault { .. } => {}
                    Report::Stopped => self.hands[place].stopped = true,
                    Report::Died(why) => self.wrong.push(format!("the worker died: {why}")),
                }
            }
        }
        for (arrives_us, place, command) in std::mem::take(&mut self.commands) {
            let hand = &self.hands[place];
            if arrives_us > now_us {
                self.commands.push((arrives_us, place, command));
            } else if let Err(command) = hand.mailbox.command(command, &hand.waker) {
                self.commands.push((now_us + 1000, place, command));
            }
        }
    }

    /// Something happens to a file.
    fn mishap(&mut self) {
        let now_us = self.world.now_us();
        let torrent = self.random.below(self.torrents.len() as u64) as usize;
        let stamped = self.torrents[torrent].stamped;
        let files = &mut self.torrents[torrent].files;
        let file = self.random.below(files.len() as u64) as usize;
        let file = &mut files[file];
        let (world, path, length) = (&self.world, &file.path, file.length);
        if length == 0 {
            return;
        }
        let kind = self.random.below(7);
        if self.trace {
            eprintln!("{now_us:>10} us  MISHAP {kind} to {}", path.display());
        }
        match kind {
            0 => world.truncate(path, self.random.below(length)),
            1 => world.add_file(path, sim::Content::Noise(1 << 60), length),
            2 => world.remove_file(path),
            3 => world.modify(path, sim::Content::Noise(1 << 61)),
            4 => world.forbid(path),
            _ => return world.break_page(path, self.random.below(length)),
        }
        file.changed_us = Some(now_us);
        file.unnoticed = !stamped && file.watched.sends().last_us.is_none();
    }

    /// While the worker still serves: nobody was dropped or forgotten.
    fn look_at_leechers(&mut self) {
        let now_us = self.world.now_us();
        for leecher in &self.leechers {
            if self.is_paused(leecher.torrent) {
                continue;
            }
            if leecher.was_dropped() {
                self.wrong.push(format!("{} was dropped", leecher.name));
            }
            self.wrong.extend(leecher.neglected(now_us));
        }
    }

    /// Stops the worker as the program does: drains, then gives the rest up.
    fn stop(&mut self) {
        let drain = self.random.hits(500);
        self.move_us = None;
        let now_us = self.world.now_us();
        let until_us = now_us + if drain { DRAIN_US } else { 0 };
        for place in 0..self.hands.len() {
            let late_us = if place > 0 { self.random.of_any_size(50_000) } else { 0 };
            self.commands.push((now_us + late_us, place, Command::Stop { drain }));
        }
        while !self.has_stopped() && self.world.now_us() < until_us {
            if !self.turn() {
                return;
            }
        }
        for place in 0..self.hands.len() {
            self.commands.push((0, place, Command::Stop { drain: false }));
        }
        let until_us = self.world.now_us() + CLOSE_US;
        while self.world.now_us() < until_us && !(self.has_stopped() && self.world.live_ops() == 0)
        {
            if !self.turn() {
                return;
            }
        }
        self.serve(self.world.now_us());
        if !self.has_stopped() || !self.hands.iter().all(|hand| hand.stopped) {
            self.wrong.push("a worker did not stop".to_owned());
        }
        self.count_again();
    }

    fn has_stopped(&self) -> bool {
        self.hands.iter().all(|hand| hand.worker.is_stopped())
    }

    /// Everybody has gone: nobody may be counted any more.
    fn count_again(&mut self) {
        if self.crew.loads().any(|load| load.connections != 0) {
            self.wrong.push("connections are counted that are gone".to_owned());
        }
        let nobody = std::net::IpAddr::from([10, 0, 0, 9]);
        if (0..CONNECTIONS_MAX).any(|_| self.admission.admit(nobody).is_err()) {
            self.wrong.push("connections are admitted that are gone".to_owned());
        }
        let sum = |of: fn(&Counters) -> &Cell| -> u64 {
            self.hands.iter().map(|hand| of(&hand.counters).read()).sum()
        };
        let (away, here) =
            (sum(|counters| &counters.moved_away), sum(|counters| &counters.moved_here));
        if away != here || sum(|counters| &counters.peers) != 0 {
            self.wrong.push(format!("{away} connections went to another worker, {here} came"));
        }
    }

    fn is_paused(&self, torrent: usize) -> bool {
        self.entries[torrent].state() == TorrentState::Paused
    }

    fn judge(&mut self) {
        let mut wrong = Vec::new();
        let coverage = self.world.coverage();
        for torrent in &self.torrents {
            let index = torrent.id.0 as usize;
            let paused = self.paused.iter().find(|paused| paused.torrent == torrent.id);
            if self.is_paused(index) != paused.is_some() {
                wrong.push(format!("torrent {index} was paused without a report"));
            }
            for file in &torrent.files {
                let sends = file.watched.sends();
                let noticed_us = paused.map_or(u64::MAX, |paused| paused.at_us);
                if let Some(first_us) = sends.first_stale_us
                    && !file.unnoticed
                    && noticed_us > first_us + NOTICED_US
                    && sends.last_us > Some(first_us + NOTICED_US)
                {
                    wrong.push(format!("{} was sent long after it changed", file.path.display()));
                }
                if sends.last_us.is_some_and(|last_us| last_us > noticed_us) {
                    wrong.push(format!("{} was sent after the pause", file.path.display()));
                }
            }
            let Some(paused) = paused else { continue };
            let named = torrent.files.iter().find(|file| file.index == paused.file);
            let met = [Fault::BadPage, Fault::ReadFailedOnce];
            let excused = met.iter().any(|&fault| coverage.met(fault) > 0);
            if named.is_none_or(|file| file.changed_us.is_none()) && !excused {
                wrong.push(format!("torrent {index} was paused for nothing: {}", paused.fault));
            }
        }
        // Of pages in flight the worker knows by its own fetches, unless parts of a read overtake
        // each other, or a batch beside it is being copied. A fetch of a file that was cut off ends where the file
        // does, at once.
        let in_flight = self.world.blocked().in_flight;
        let copies: u64 = self.hands.iter().map(|hand| hand.counters.copied_batches.read()).sum();
        let met = [Fault::DiskReordered, Fault::FileTruncated];
        let excused = copies > 0 || met.iter().any(|&fault| coverage.met(fault) > 0);
        if in_flight > 0 && !excused {
            wrong.push(format!("{in_flight} sends waited for pages in flight"));
        }
        self.wrong.extend(wrong);
    }

    fn end(mut self) -> Played {
        self.leechers.iter_mut().for_each(Leecher::hang_up);
        let blocks = self.leechers.iter().map(|leecher| leecher.blocks).sum();
        let moves = self.hands.iter().map(|hand| hand.counters.moved_here.read()).sum();
        let resets = self.hands.iter().map(|hand| hand.counters.resets_for_memory.read()).sum();
        drop(self.hands);
        let mut wrong = self.wrong;
        wrong.extend(self.world.violations_at_rest());
        Played {
            wrong,
            coverage: self.world.coverage(),
            fingerprint: self.world.fingerprint(),
            blocks,
            moves,
            resets,
            paused: self.paused.len() as u64,
        }
    }
}
