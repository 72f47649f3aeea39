//! The control loop: starts everything, answers the workers, counts, and stops in order.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use ringseed_meta::{PeerId, TorrentId};
use ringseed_ring::sandbox::SandboxPlan;
use ringseed_ring::{Directory, KernelPlan};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use super::fleet::Fleet;
use super::jobs::{Done, Job, JobThread, Jobs};
use super::library::Known;
use super::origin;
use super::runtime::Runtime;
use super::starting::{
    choose_cores, fleet_options, listen_all, new_peer_id, raise_descriptors, reads,
};
use super::state::StateFolder;
use super::tracking::Tracking;
use super::verifying::{Verdict, Verifier};
use super::{Ending, Event, Options, Rate, ServiceError, TorrentReady, limits};
use crate::store::catalog::{Catalog, Entry, TorrentState};
use crate::store::content::Content;
use crate::store::hashing::Reads;
use crate::worker::mailbox::{Command, Report};

/// How long stopping may take: what was begun is sent and trackers are told; then all is cut.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long after that workers may take to close.
const CUT_PATIENCE: Duration = Duration::from_secs(2);

/// How long "ready" waits for the embedded tracker to know of us, and between two looks.
const READY_PATIENCE: Duration = Duration::from_secs(2);
const READY_LOOK: Duration = Duration::from_millis(20);

/// Between two errors about a shortage of descriptors or memory.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(10);

/// Answers of job threads that wait to be read.
const DONE_MAX: usize = 1024;

/// Seeds until SIGTERM or SIGINT.
pub fn run(options: &Options, on_event: &mut dyn FnMut(Event)) -> Result<Ending, ServiceError> {
    // Before any data is hashed: what was demanded may not be had.
    let kernel = KernelPlan::of_system(options.kernel)?.kernel;
    let cores = choose_cores(options.cores)?;
    let connections_max = raise_descriptors(options.connections_max, cores.len(), on_event)?;
    let state_dir = match &options.state_dir {
        Some(folder) => folder.clone(),
        None => super::state::default_folder()?,
    };
    let state = Arc::new(StateFolder::open(state_dir)?);
    let listeners = listen_all(options, cores.len(), on_event)?;
    let mut left_out = 0;
    let mut counting = |event: Event| {
        left_out += u64::from(matches!(event, Event::Error { .. }));
        on_event(event);
    };
    let sources = origin::find(options, &mut counting);
    let needs_tracker = origin::needs_tracker(&sources, options);
    let tracking = Tracking::prepare(options, &listeners, needs_tracker)?;
    let known = origin::gather(sources, options, &state, tracking.announce_url(), &mut counting)?;
    if known.is_empty() {
        return Err(ServiceError::NothingToSeed);
    }
    let (done, mut answers) = mpsc::channel(DONE_MAX);
    let runtime = Runtime::new(kernel).map_err(|source| ServiceError::System {
        what: "cannot start the control thread",
        source,
    })?;
    runtime.block_on(async {
        let notify = Arc::new(Notify::new());
        let ring_the_bell = {
            let notify = notify.clone();
            Arc::new(move || notify.notify_one())
        };
        let addresses: Vec<_> = listeners.iter().map(|listeners| listeners.address).collect();
        let peer_id = new_peer_id();
        let fleet = Fleet::start(
            &fleet_options(options, cores, connections_max, peer_id, known.len()),
            listeners,
            ring_the_bell,
        )?;
        let start = |name: &str, jobs_max| {
            let done = done.clone();
            JobThread::start(name, jobs_max, move |answer| drop(done.blocking_send(answer)))
                .map_err(|source| ServiceError::System { what: "cannot start a thread", source })
        };
        let jobs = Jobs {
            loads: start("load", limits::LOADS_MAX)?,
            hashes: start("hash", limits::HASH_JOBS_MAX)?,
            waiting: VecDeque::new(),
            trust: options.trust,
            looks: options.trust.then(|| start("look", limits::LOOKS_MAX)).transpose()?,
        };
        let plan = fleet.plan().to_owned();
        let (name, kernel_reason) = fleet.kernel();
        let kernel_reason = kernel_reason.to_owned();
        let mut control = Control::new(fleet, jobs, state, known, tracking, peer_id);
        control.count_left_out(left_out);
        let verifier = control.start_verifying(reads(options.kernel))?;
        // Everything stands, and every ring that will be: no more of them.
        let sandbox = SandboxPlan::enter(options.sandbox);
        let trackers = control.tracking.announce_url().map(str::to_owned).into_iter().collect();
        on_event(Event::Listening {
            addresses,
            trackers,
            kernel: name,
            kernel_reason,
            plan,
            sandbox,
        });
        control.run(&notify, &mut answers, verifier, on_event).await
    })
}

/// The control thread's knowledge.
struct Control {
    fleet: Fleet,
    jobs: Jobs,
    state: Arc<StateFolder>,
    known: Vec<Known>,
    catalog: Arc<Catalog>,
    contents: HashMap<TorrentId, Weak<Content>>,
    tracking: Tracking,
    verified: u64,
    failed: u64,
    /// Of those, what was left out before anything was known of it.
    left_out: u64,
    is_ready: bool,
    /// "Ready" is to be said by then.
    ready_by: Option<tokio::time::Instant>,
    has_faults: bool,
    last_sent_bytes: u64,
    /// When a shortage was last told of.
    shortage_told: Option<tokio::time::Instant>,
}

impl Control {
    fn new(
        fleet: Fleet,
        jobs: Jobs,
        state: Arc<StateFolder>,
        known: Vec<Known>,
        mut tracking: Tracking,
        peer_id: PeerId,
    ) -> Control {
        let mut roots: HashMap<std::path::PathBuf, Arc<Directory>> = HashMap::new();
        let entries = known.iter().enumerate().map(|(index, torrent)| {
            let root = roots
                .entry_ref(&torrent.root)
                .or_insert_with(|| Directory::new(torrent.root.clone()))
                .clone();
            let id = TorrentId(index as u32);
            let file = torrent.torrent_file.clone().into_boxed_path();
            Arc::new(Entry::new(id, torrent.swarms(), file, root))
        });
        let catalog = Arc::new(Catalog::new(entries.collect()));
        tracking.start(peer_id, catalog.clone());
        let mut control = Control {
            fleet,
            jobs,
            state,
            known,
            catalog: catalog.clone(),
            contents: HashMap::new(),
            tracking,
            verified: 0,
            failed: 0,
            left_out: 0,
            is_ready: false,
            ready_by: None,
            has_faults: false,
            last_sent_bytes: 0,
            shortage_told: None,
        };
        control.fleet.tell_all(|| Command::Catalog(catalog.clone()));
        control
    }

    async fn run(
        &mut self,
        notify: &Notify,
        answers: &mut mpsc::Receiver<Done>,
        mut verifier: Verifier,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Ending, ServiceError> {
        let signals = |source| ServiceError::System { what: "cannot wait for signals", source };
        let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
        let mut asked = signal(SignalKind::user_defined1()).map_err(signals)?;
        self.seed_verified(on_event);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while !self.has_nothing_to_seed() {
            tokio::select! {
                () = notify.notified() => self.read_reports(notify, on_event)?,
                Some(done) = answers.recv() => self.on_done(done),
                Some(verdict) = verifier.next() => self.on_verdict(verdict, on_event),
                () = tokio::time::sleep(READY_LOOK), if self.ready_by.is_some() => {
                    self.tell_ready(on_event);
                }
                _ = second.tick() => self.on_second(on_event),
                _ = asked.recv() => self.tell_counters(true, on_event),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        verifier.cancel();
        self.stop(notify, answers, &mut interrupt, on_event).await
    }

    /// Torrents whose record does not fit are verified one after the other.
    fn start_verifying(&self, reads: Reads) -> Result<Verifier, ServiceError> {
        let unverified = self.known.iter().enumerate().filter(|(_, known)| !known.is_verified);
        let unverified = unverified.map(|(index, known)| (index, known.clone())).collect();
        Ok(Verifier::start(unverified, self.state.clone(), reads)?)
    }

    /// Torrents whose record fits seed at once.
    fn seed_verified(&mut self, on_event: &mut dyn FnMut(Event)) {
        for index in 0..self.known.len() {
            if self.known[index].is_verified {
                self.seed(index, on_event);
            }
        }
        self.note_ready(on_event);
    }

    fn seed(&mut self, index: usize, on_event: &mut dyn FnMut(Event)) {
        let torrent = &self.known[index];
        if let Some(entry) = self.catalog.entry(TorrentId(index as u32)) {
            entry.start_seeding();
        }
        self.verified += 1;
        self.tracking.add(TorrentId(index as u32), torrent);
        let tiers = self.tracking.tiers(torrent);
        let trackers = tiers.iter().flatten().map(String::as_str);
        on_event(Event::Torrent(TorrentReady {
            name: torrent.name.to_string(),
            info_hash_v1: torrent.info_hash_v1,
            info_hash_v2: torrent.info_hash_v2,
            magnet: super::library::magnet(torrent, trackers),
            torrent_file: torrent.torrent_file.clone(),
        }));
    }

    fn on_verdict(&mut self, verdict: Verdict, on_event: &mut dyn FnMut(Event)) {
        match verdict {
            Verdict::Progress { what, progress } => {
                on_event(Event::Hashing { what, progress });
            }
            Verdict::Good(index) => {
                self.seed(index, on_event);
                self.note_ready(on_event);
            }
            Verdict::Bad { index, file, message } => {
                self.failed += 1;
                self.has_faults = true;
                if let Some(entry) = self.catalog.entry(TorrentId(index as u32)) {
                    entry.become_state(TorrentState::Paused);
                }
                let torrent = Some(self.known[index].name.to_string());
                on_event(Event::Error { torrent, file, message });
                self.note_ready(on_event);
            }
        }
    }

    fn note_ready(&mut self, on_event: &mut dyn FnMut(Event)) {
        if !self.is_ready && self.verified + self.failed == self.known.len() as u64 + self.left_out
        {
            self.is_ready = true;
            self.ready_by = Some(tokio::time::Instant::now() + READY_PATIENCE);
            self.tell_ready(on_event);
        }
    }

    /// Says "ready" once the embedded tracker knows of us, so that whoever starts a client at this
    /// word finds a peer; a tracker that does not answer delays it only so long.
    fn tell_ready(&mut self, on_event: &mut dyn FnMut(Event)) {
        let is_late = self.ready_by.is_some_and(|by| tokio::time::Instant::now() >= by);
        if self.ready_by.is_some() && (is_late || self.tracking.is_settled()) {
            self.ready_by = None;
            on_event(Event::Ready { seeding: self.verified, failed: self.failed });
        }
    }

    /// No torrent passed its verification: a seeder that waits would hide it.
    fn has_nothing_to_seed(&self) -> bool {
        self.is_ready && self.verified == 0
    }

    fn read_reports(
        &mut self,
        notify: &Notify,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), ServiceError> {
        for _ in 0..limits::REPORTS_AT_ONCE {
            let Some((worker, report)) = self.fleet.next_report() else { return Ok(()) };
            match report {
                Report::NeedContent(torrent) => self.need_content(torrent, worker),
                Report::NeedHashes { connection, torrent, request } => {
                    let content = self.contents.get(&torrent).and_then(Weak::upgrade);
                    let job =
                        content.map(|content| Job::Hashes { content, request, worker, connection });
                    if job.is_none_or(|job| self.jobs.hashes.push(job).is_err()) {
                        // Too many are waiting, or nobody has the torrent: rejected.
                        let answer = Command::Hashes { connection, request, hashes: None };
                        self.fleet.tell(worker, answer);
                    }
                }
                Report::DataFault { torrent, file, fault } => {
                    self.has_faults = true;
                    self.tracking.remove(torrent);
                    on_event(self.fault_event(torrent, file, &fault));
                }
                Report::AcceptFailed(message) => self.tell_shortage(message, on_event),
                Report::PeerFault { peer, fault } => on_event(Event::PeerFault { peer, fault }),
                Report::Stopped => {}
                Report::Died(error) => return Err(ServiceError::WorkerDied(error)),
            }
        }
        // Signals and answers get their turn before the rest.
        notify.notify_one();
        Ok(())
    }

    /// Shortages come by the hundred: one is told of, then none for a while.
    fn tell_shortage(&mut self, message: String, on_event: &mut dyn FnMut(Event)) {
        let now = tokio::time::Instant::now();
        if self.shortage_told.is_none_or(|told| now - told >= SHORTAGE_PAUSE) {
            self.shortage_told = Some(now);
            on_event(Event::Error { torrent: None, file: None, message });
        }
    }

    fn fault_event(
        &self,
        torrent: TorrentId,
        file: ringseed_meta::FileIndex,
        fault: &str,
    ) -> Event {
        let known = self.known.get(torrent.0 as usize);
        let content = self.contents.get(&torrent).and_then(Weak::upgrade);
        let path = content.zip(known).map(|(content, known)| known.root.join(content.path(file)));
        let named = path.as_ref().map(|path| format!("'{}' ", path.display()));
        Event::Error {
            torrent: known.map(|known| known.name.to_string()),
            file: path,
            message: format!(
                "{}{fault}; the torrent is paused: put the file right and start again",
                named.unwrap_or_default()
            ),
        }
    }

    fn need_content(&mut self, torrent: TorrentId, worker: usize) {
        if let Some(content) = self.contents.get(&torrent).and_then(Weak::upgrade) {
            return self.fleet.tell(worker, Command::Content(torrent, Ok(content)));
        }
        let Some(entry) = self.catalog.entry(torrent).cloned() else { return };
        let (state, trust) = (self.state.clone(), self.jobs.trust);
        self.jobs.load(Job::Load { entry, state, trust, worker });
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Loaded { entry, content, worker } => {
                // Two workers may have asked at once: all of them share what came first.
                let known = self.contents.get(&entry.id).and_then(Weak::upgrade);
                let content = content.map(|content| known.unwrap_or(content));
                if let Ok(content) = &content {
                    self.jobs.see(&entry, content);
                    self.contents.insert(entry.id, Arc::downgrade(content));
                }
                self.fleet.tell(worker, Command::Content(entry.id, content));
            }
            Done::Seen => {}
            Done::Hashes { request, hashes, worker, connection } => {
                self.fleet.tell(worker, Command::Hashes { connection, request, hashes });
            }
        }
        self.jobs.retry();
    }

    /// What was left out at the start counts as failed.
    fn count_left_out(&mut self, left_out: u64) {
        self.left_out = left_out;
        self.failed += left_out;
        self.has_faults |= left_out > 0;
    }

    fn on_second(&mut self, on_event: &mut dyn FnMut(Event)) {
        self.fleet.flush();
        let totals = self.fleet.totals();
        let bytes_per_s = totals.block_bytes - self.last_sent_bytes;
        self.last_sent_bytes = totals.block_bytes;
        self.contents.retain(|_, content| content.strong_count() > 0);
        for message in self.tracking.messages() {
            on_event(Event::Note(message));
        }
        on_event(Event::Rate(Rate {
            connections: totals.connections,
            peers: totals.peers,
            bytes_per_s,
            sent_bytes: totals.block_bytes,
            torrents: self.verified,
            disk_waits: totals.voluntary_switches,
        }));
    }

    fn tell_counters(&self, was_asked: bool, on_event: &mut dyn FnMut(Event)) {
        on_event(Event::Counters { snapshot: Box::new(self.fleet.snapshot()), was_asked });
    }

    /// Stops in order: blocks that were begun go out and trackers are told, both at once and for
    /// ten seconds at most; then connections are cut.
    async fn stop(
        &mut self,
        notify: &Notify,
        answers: &mut mpsc::Receiver<Done>,
        interrupt: &mut tokio::signal::unix::Signal,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Ending, ServiceError> {
        self.fleet.tell_all(|| Command::Stop { drain: true });
        let deadline = tokio::time::Instant::now() + STOP_PATIENCE;
        let trackers = self.tracking.stop(STOP_PATIENCE);
        tokio::pin!(trackers);
        let mut given_up = None;
        while !self.fleet.has_stopped() || given_up.is_none() {
            tokio::select! {
                () = notify.notified() => self.read_reports(notify, on_event)?,
                Some(_) = answers.recv() => {}
                left = &mut trackers, if given_up.is_none() => given_up = Some(left),
                () = tokio::time::sleep_until(deadline) => break,
                _ = interrupt.recv() => break,
            }
        }
        self.fleet.tell_all(|| Command::Stop { drain: false });
        let deadline = tokio::time::Instant::now() + CUT_PATIENCE;
        while !self.fleet.has_stopped() {
            tokio::select! {
                () = notify.notified() => self.read_reports(notify, on_event)?,
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        if self.fleet.has_stopped() {
            self.fleet.join();
        }
        self.tell_counters(false, on_event);
        let sent_bytes = self.fleet.totals().block_bytes;
        let announces_given_up = given_up.unwrap_or(0);
        on_event(Event::Stopped { sent_bytes, announces_given_up });
        Ok(if self.has_faults { Ending::DataFaults } else { Ending::Clean })
    }
}
