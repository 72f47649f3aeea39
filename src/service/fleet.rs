//! The workers as the control thread sees them: started together, told things, listened to.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use ringseed_meta::PeerId;
use ringseed_ring::{KernelChoice, KernelKind, KernelOptions, KernelPlan, Verb, Waker};
use ringseed_sched::choke::Slots;

use super::figures::{DeviceFigures, Snapshot};
use super::listen::{ListenError, Listeners};
use crate::store::fetch::AskAgain;
use crate::store::flights::Flights;
use crate::worker::admission::Admission;
use crate::worker::counters::Counters;
use crate::worker::crew::Crew;
use crate::worker::histogram::Distribution;
use crate::worker::mailbox::{Command, Mailbox, Report};
use crate::worker::slots::Interest;
use crate::worker::thread::{self, Started};
use crate::worker::{Options, Shared};

/// What all workers are started with.
pub(super) struct FleetOptions {
    /// The cores to pin a worker each to.
    pub(super) cores: Vec<usize>,
    pub(super) peer_id: PeerId,
    pub(super) slots: Slots,
    /// Which kernel, and its sizes.
    pub(super) kernel: KernelChoice,
    pub(super) sizes: KernelOptions,
    pub(super) connections_max: u32,
    pub(super) connections_per_address_max: u32,
    /// Bytes that peers may leave unacknowledged, over all workers.
    pub(super) unacknowledged_bytes_max: u64,
    /// Torrents, for the table of interest.
    pub(super) torrent_count: usize,
}

/// Why the workers did not start.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot start a worker: {0}")]
    Start(String),
}

/// One worker.
struct Member {
    mailbox: Arc<Mailbox>,
    core: usize,
    counters: Arc<Counters>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    /// Commands that its mailbox had no room for.
    backlog: VecDeque<Command>,
    has_stopped: bool,
}

/// Sums over all workers.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Totals {
    pub(super) connections: u64,
    pub(super) peers: u64,
    pub(super) sent_bytes: u64,
    pub(super) block_bytes: u64,
    pub(super) voluntary_switches: u64,
}

/// All workers.
pub(super) struct Fleet {
    members: Vec<Member>,
    flights: Arc<Flights>,
    /// The kernel in use and why.
    kernel: Option<KernelPlan>,
    /// One line: the verb in use and why.
    plan: String,
}

impl Fleet {
    /// Starts a worker on each core. `notify` is called, from any worker's thread, when there are
    /// reports to be read.
    pub(super) fn start(
        options: &FleetOptions,
        listeners: Vec<Listeners>,
        notify: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Fleet, FleetError> {
        let workers = options.cores.len();
        let port = listeners.first().map_or(0, |listeners| listeners.address.port());
        let admission =
            Arc::new(Admission::new(options.connections_max, options.connections_per_address_max));
        let interest = match options.slots {
            Slots::Unlimited => Interest::default(),
            Slots::Limited(_) => Interest::new(options.torrent_count, workers),
        };
        let flights = Arc::<Flights>::default();
        let mailboxes: Vec<Arc<Mailbox>> = (0..workers).map(|_| Mailbox::new()).collect();
        let crew = Crew::new(mailboxes.iter().cloned());
        let mut shares = share_out(listeners, workers);
        let mut fleet = Fleet {
            members: Vec::new(),
            flights: flights.clone(),
            kernel: None,
            plan: String::new(),
        };
        for (place, core) in options.cores.iter().enumerate() {
            let mailbox = mailboxes[place].clone();
            let counters = Arc::new(Counters::default());
            let shared = Shared {
                admission: admission.clone(),
                flights: flights.clone(),
                interest: interest.clone(),
                mailbox: mailbox.clone(),
                crew: crew.clone(),
                counters: counters.clone(),
                notify: notify.clone(),
            };
            let worker = worker_options(options, place, port);
            let share = std::mem::take(&mut shares[place]);
            let kernel = (options.kernel, options.sizes.clone());
            let (started, thread) = spawn(*core, kernel, share, worker, shared)?;
            fleet.tell_of(started.kernel, started.plan);
            fleet.members.push(Member {
                mailbox,
                core: *core,
                counters,
                waker: started.waker,
                thread: Some(thread),
                backlog: VecDeque::new(),
                has_stopped: false,
            });
        }
        Ok(fleet)
    }

    /// One more worker's plans: where one had to make do with less, that is what is told.
    fn tell_of(&mut self, kernel: KernelPlan, plan: String) {
        self.plan = plan;
        let is_less = kernel.kernel == KernelKind::Epoll;
        if self.kernel.is_none() || is_less {
            self.kernel = Some(kernel);
        }
    }

    /// The kernel in use and why: its name, and one line.
    pub(super) fn kernel(&self) -> (&'static str, &str) {
        self.kernel.as_ref().map_or(("", ""), |plan| (plan.kernel.name(), &plan.reason))
    }

    /// The verb in use and why.
    pub(super) fn plan(&self) -> &str {
        &self.plan
    }

    /// To one worker. What does not fit its mailbox waits here.
    pub(super) fn tell(&mut self, worker: usize, command: Command) {
        if let Some(member) = self.members.get_mut(worker) {
            member.backlog.push_back(command);
            member.flush();
        }
    }

    /// To all workers.
    pub(super) fn tell_all(&mut self, command: impl Fn() -> Command) {
        for worker in 0..self.members.len() {
            self.tell(worker, command());
        }
    }

    /// Hands over what did not fit a mailbox before.
    pub(super) fn flush(&mut self) {
        self.members.iter_mut().for_each(Member::flush);
    }

    /// The next report of any worker.
    pub(super) fn next_report(&mut self) -> Option<(usize, Report)> {
        for (worker, member) in self.members.iter_mut().enumerate() {
            member.flush();
            if let Some(report) = member.mailbox.next_report() {
                member.has_stopped |= matches!(report, Report::Stopped | Report::Died(_));
                // It may hold reports that did not fit.
                member.mailbox.wake_if_parked(&member.waker);
                return Some((worker, report));
            }
        }
        None
    }

    /// Every worker has stopped or died.
    pub(super) fn has_stopped(&self) -> bool {
        self.members.iter().all(|member| member.has_stopped)
    }

    /// Waits for the threads; call when [`Fleet::has_stopped`].
    pub(super) fn join(&mut self) {
        for member in &mut self.members {
            if let Some(thread) = member.thread.take() {
                let _ = thread.join();
            }
        }
    }

    /// Sums over all workers, now.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for member in &self.members {
            let counters = &member.counters;
            totals.connections += counters.connections.read();
            totals.peers += counters.peers.read();
            totals.sent_bytes += counters.sent_bytes.read();
            totals.block_bytes += counters.block_bytes.read();
            totals.voluntary_switches += counters.voluntary_switches.read();
        }
        totals
    }
}

impl Fleet {
    /// All that was counted, now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let workers = self.members.iter();
        let workers = workers.map(|member| (member.core, member.counters.read())).collect();
        let devices = self.flights.devices().stats().into_iter().map(|stats| {
            let mut fetch = Distribution::default();
            for member in &self.members {
                fetch.add(&member.counters.fetch_from(stats.place));
            }
            DeviceFigures { stats, fetch }
        });
        Snapshot::of(workers, devices.collect())
    }
}

impl Member {
    fn flush(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            if let Err(command) = self.mailbox.command(command, &self.waker) {
                self.backlog.push_front(command);
                return;
            }
        }
    }
}

/// Each worker's listeners: one of every address.
fn share_out(listeners: Vec<Listeners>, workers: usize) -> Vec<Vec<OwnedFd>> {
    let mut shares: Vec<Vec<OwnedFd>> = (0..workers).map(|_| Vec::new()).collect();
    for listeners in listeners {
        for (share, socket) in shares.iter_mut().zip(listeners.sockets) {
            share.push(socket);
        }
    }
    shares
}

fn worker_options(options: &FleetOptions, place: usize, listen_port: u16) -> Options {
    Options {
        place,
        workers: options.cores.len(),
        peer_id: options.peer_id,
        listen_port,
        slots: options.slots,
        // The kernel's plan decides once it stands.
        verb: Verb::Copy,
        unacknowledged_bytes_max: options.unacknowledged_bytes_max / options.cores.len() as u64,
        ask_again: AskAgain::Always,
        seed: seed_of(&options.peer_id, place),
    }
}

/// Each worker's randomness starts elsewhere; the peer id is random.
fn seed_of(peer_id: &PeerId, place: usize) -> u64 {
    let start = peer_id.0.iter().rev().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    start ^ (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn spawn(
    core: usize,
    (wanted, sizes): (KernelChoice, KernelOptions),
    listeners: Vec<OwnedFd>,
    options: Options,
    shared: Shared,
) -> Result<(Started, JoinHandle<()>), FleetError> {
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(format!("worker-{core}"))
        .spawn(move || {
            thread::run(Some(core), (wanted, &sizes), listeners, options, shared, |outcome| {
                let _ = started.send(outcome);
            });
        })
        .map_err(|error| FleetError::Start(format!("the system gives no thread: {error}")))?;
    match start.recv() {
        Ok(Ok(started)) => Ok((started, thread)),
        Ok(Err(error)) => Err(FleetError::Start(error)),
        Err(_) => Err(FleetError::Start("it ended at once".into())),
    }
}
