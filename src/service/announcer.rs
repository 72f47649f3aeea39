//! Tells trackers about our torrents: performs what [`ringseed_sched::announce`] decides, over
//! HTTP, HTTPS and UDP (BEP 3, 7, 12, 15, 23, 27, 31, 41).
//!
//! One task ([`Announcer::run`]) with one timer; torrents are rows in the schedule and cost nothing
//! while they wait. It runs on any tokio runtime, so also inside the one that tokio-uring drives.
//! Names are looked up once for all, connections are kept while a burst lasts, and every tracker
//! host has a queue with bounded concurrency.
//!
//! What it prints is a matter of the owner: it hands over [`Notice`]s, one for each host and
//! change and never one for each torrent, and none with the path of a URL, which may be secret.

mod flights;
mod health;
mod http;
pub mod limits;
mod names;
mod reply;
mod state;
mod udp;
mod url;

pub use health::{HostStatus, Notice};
pub use url::{Scheme, TrackerUrl, UrlError};

use flights::Flights;
use health::Health;
use http::{HttpOptions, HttpTrackers};
use limits::STOP_GRACE;
use names::Names;
use reply::Reply;
use ringseed_meta::{InfoHash, PeerId, TorrentId};
use ringseed_sched::announce::{self, Event, Family};
use ringseed_wire::tracker::{AnnounceEvent, AnnounceRequest};
use rustls::pki_types::CertificateDer;
use smallvec::SmallVec;
use state::State;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use udp::UdpTrackers;

/// The ports that we listen on, which may differ by family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// Of IPv4.
    pub v4: u16,
    /// Of IPv6.
    pub v6: u16,
}

impl From<u16> for Ports {
    fn from(port: u16) -> Ports {
        Ports { v4: port, v6: port }
    }
}

impl Ports {
    fn of(self, family: Family) -> u16 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// What all announces have in common.
#[derive(Clone, Debug)]
pub struct AnnouncerOptions {
    /// As in handshakes.
    pub peer_id: PeerId,
    /// TCP ports that peers reach us at.
    pub ports: Ports,
    /// HTTP "User-Agent".
    pub user_agent: String,
    /// Peers to ask for. A seeder needs none: it is found.
    pub numwant: u32,
    /// The families we listen on; each is announced by itself.
    pub families: Vec<Family>,
    /// How many announces at a time.
    pub pacing: announce::Options,
    /// Certificates (DER) trusted beside the system's, for trackers with an authority of their
    /// own.
    pub ca_certificates: Vec<Vec<u8>>,
}

impl AnnouncerOptions {
    /// The usual: both families, no peers wanted.
    pub fn new(
        peer_id: PeerId,
        ports: impl Into<Ports>,
        user_agent: impl Into<String>,
    ) -> AnnouncerOptions {
        AnnouncerOptions {
            peer_id,
            ports: ports.into(),
            user_agent: user_agent.into(),
            numwant: 0,
            families: vec![Family::V4, Family::V6],
            pacing: announce::Options::default(),
            ca_certificates: Vec::new(),
        }
    }
}

/// A torrent to announce.
#[derive(Clone, Debug)]
pub struct Subject<'t> {
    /// Ours.
    pub torrent: TorrentId,
    /// Its infohashes: one, or for a hybrid torrent two (BEP 52), each a swarm of its own.
    pub swarms: SmallVec<[InfoHash; 2]>,
    /// The URLs of its trackers in tiers (BEP 12). Equal lists are kept once for all torrents.
    pub tiers: &'t [Vec<String>],
}

/// What an announce tells of a torrent, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Sent to peers since the torrent was added.
    pub uploaded_bytes: u64,
    /// Received from peers since then.
    pub downloaded_bytes: u64,
    /// Lacking.
    pub left_bytes: u64,
}

/// What the announcer asks and tells the service. Called from the announcer's thread; must not
/// block, nor call its [`AnnouncerHandle`].
pub trait Owner: Send + Sync {
    /// The torrent's totals at this moment. Asked also for a torrent that was just removed, whose
    /// "stopped" is on its way.
    fn totals(&self, torrent: TorrentId) -> Totals;

    /// Something changed that people should read.
    fn notice(&self, notice: Notice);

    /// Peers that a tracker knows of, when `numwant` asked for any.
    fn peers(&self, torrent: TorrentId, info_hash: InfoHash, peers: Vec<SocketAddr>) {
        let _ = (torrent, info_hash, peers);
    }
}

/// Counters and states at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// Swarms and families that announce: a hybrid torrent on two families counts four.
    pub entries: usize,
    /// Of those, how many stand in the queue of a host.
    pub queued: usize,
    /// And how many are under way.
    pub in_flight: usize,
    /// Announces that a tracker took, ever.
    pub announced: u64,
    /// Those that failed, ever.
    pub failed: u64,
    /// Questions to the system's resolver, ever.
    pub name_lookups: u64,
    /// Every tracker host that was ever named.
    pub hosts: Vec<HostStatus>,
}

/// How the stop went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StopSummary {
    /// "stopped" announces that trackers took.
    pub told: u64,
    /// Those that were not delivered: no answer, or the time was over.
    pub given_up: u64,
}

struct Shared {
    state: Mutex<State>,
    owner: Arc<dyn Owner>,
    names: Arc<Names>,
    families: Vec<Family>,
    /// The zero of the schedule's time.
    start: Instant,
    /// Something is to be looked at.
    changed: Notify,
    /// The last entry has left.
    emptied: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> ringseed_meta::Instant {
        let elapsed = self.start.elapsed().as_micros();
        ringseed_meta::Instant::from_us(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn at(&self, at: ringseed_meta::Instant) -> Instant {
        self.start + Duration::from_micros(at.as_us())
    }
}

/// The task that announces.
pub struct Announcer {
    shared: Arc<Shared>,
    tools: Arc<Tools>,
}

/// By which torrents are added and removed, from any thread.
#[derive(Clone)]
pub struct AnnouncerHandle {
    shared: Arc<Shared>,
}

/// What performs announces.
struct Tools {
    http: HttpTrackers,
    udp: UdpTrackers,
    peer_id: PeerId,
    ports: Ports,
    numwant: u32,
    /// Tells trackers that our announces from two families are one peer's (BEP 7, BEP 15).
    key: u32,
}

impl Announcer {
    /// An announcer without torrents; nothing is done until [`Announcer::run`].
    pub fn new(options: AnnouncerOptions, owner: Arc<dyn Owner>) -> (Announcer, AnnouncerHandle) {
        let names = Arc::new(Names::new());
        let state = State::new(options.pacing);
        let http = HttpOptions {
            user_agent: options.user_agent,
            connections_per_host: (options.pacing.concurrency_per_host
                * ringseed_sched::limits::STOP_WINDOW_FACTOR)
                as usize,
            ca_certificates: options
                .ca_certificates
                .into_iter()
                .map(CertificateDer::from)
                .collect(),
        };
        let tools = Arc::new(Tools {
            http: HttpTrackers::new(http, Arc::clone(&names)),
            udp: UdpTrackers::new(Arc::clone(&names)),
            peer_id: options.peer_id,
            ports: options.ports,
            numwant: options.numwant,
            key: state.key(),
        });
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            owner,
            names,
            families: options.families,
            start: Instant::now(),
            changed: Notify::new(),
            emptied: Notify::new(),
        });
        (Announcer { shared: Arc::clone(&shared), tools }, AnnouncerHandle { shared })
    }

    /// Announces until all torrents have left after [`AnnouncerHandle::stop_all`].
    pub async fn run(self) {
        let mut flights = Flights::default();
        let mut grace = Grace::NotAsked;
        loop {
            let (next, stopping_since) = self.begin(&mut flights);
            if let (Grace::NotAsked, Some(since)) = (grace, stopping_since) {
                grace = Grace::Until(self.shared.at(since) + STOP_GRACE);
            }
            if stopping_since.is_some() && self.shared.state().is_done() {
                self.shared.emptied.notify_waiters();
                return;
            }
            let next = next.map(|at| self.shared.at(at));
            let wake = match grace {
                Grace::Until(until) => Some(next.map_or(until, |next| next.min(until))),
                Grace::NotAsked | Grace::Over => next,
            };
            tokio::select! {
                Some((announce, reply)) = flights.next(), if !flights.is_empty() => {
                    self.shared.end(&announce, reply);
                }
                () = sleep_until(wake.unwrap_or(self.shared.start)), if wake.is_some() => {}
                () = self.shared.changed.notified() => {}
            }
            if let Grace::Until(until) = grace
                && until <= Instant::now()
            {
                flights.break_off();
                grace = Grace::Over;
            }
        }
    }

    /// Begins all announces that may begin now. Returns when the next may, and since when we are
    /// stopping.
    fn begin(
        &self,
        flights: &mut Flights,
    ) -> (Option<ringseed_meta::Instant>, Option<ringseed_meta::Instant>) {
        loop {
            let mut state = self.shared.state();
            let Some(announce) = state.schedule.poll(self.shared.now()) else {
                return (state.schedule.deadline(), state.stopping_since());
            };
            let tracker_id = state.tracker_id(&announce);
            drop(state);
            let totals = self.shared.owner.totals(announce.torrent);
            let request = self.tools.request(&announce, totals, tracker_id);
            let (tools, url) = (Arc::clone(&self.tools), Arc::clone(&announce.tracker().url));
            let family = announce.family;
            flights.begin(announce, async move { tools.perform(&url, family, &request).await });
        }
    }
}

/// At shutdown: how long announces under way that are no last words may go on.
#[derive(Clone, Copy)]
enum Grace {
    NotAsked,
    Until(Instant),
    Over,
}

impl Shared {
    fn end(&self, announce: &state::Announce, reply: Reply) {
        let (notice, peers) = self.state().end(announce, reply, self.now());
        if let Some(notice) = notice {
            self.owner.notice(notice);
        }
        if !peers.is_empty() {
            self.owner.peers(announce.torrent, announce.info_hash, peers);
        }
    }
}

impl AnnouncerHandle {
    /// Announces a torrent from now on. URLs that cannot be used are left out, with a notice.
    pub fn add(&self, subject: &Subject<'_>) {
        let mut notices = Vec::new();
        let mut state = self.shared.state();
        let now = self.shared.now();
        let tiers = state.tiers(subject.tiers, now, &mut notices);
        for info_hash in &subject.swarms {
            for family in &self.shared.families {
                let tiers = Arc::clone(&tiers);
                state.schedule.add(subject.torrent, *info_hash, *family, tiers, now);
            }
        }
        drop(state);
        self.shared.changed.notify_one();
        notices.into_iter().for_each(|notice| self.shared.owner.notice(notice));
    }

    /// The torrent is no longer announced; trackers that know of it get a "stopped".
    pub fn remove(&self, torrent: TorrentId) {
        self.shared.state().schedule.remove(torrent, self.shared.now());
        self.shared.changed.notify_one();
    }

    /// The torrent's download has become complete.
    pub fn completed(&self, torrent: TorrentId) {
        self.shared.state().schedule.completed(torrent, self.shared.now());
        self.shared.changed.notify_one();
    }

    /// Removes all torrents and waits until their trackers know it, at most for `deadline`.
    /// [`Announcer::run`] must be running; it ends when nothing is left.
    pub async fn stop_all(&self, deadline: Duration) -> StopSummary {
        self.shared.state().stop_all(self.shared.now());
        self.shared.changed.notify_one();
        // Time over or not, the summary says what came of it.
        let _ = timeout(deadline, async {
            loop {
                let emptied = self.shared.emptied.notified();
                if self.shared.state().is_done() {
                    return;
                }
                emptied.await;
            }
        })
        .await;
        self.shared.state().stop_summary()
    }

    /// What goes on.
    pub fn status(&self) -> Status {
        self.shared.state().status(self.shared.names.lookups())
    }
}

impl Tools {
    fn request(
        &self,
        announce: &state::Announce,
        totals: Totals,
        tracker_id: Vec<u8>,
    ) -> AnnounceRequest {
        let event = match announce.event {
            Event::Regular => AnnounceEvent::None,
            Event::Started => AnnounceEvent::Started,
            Event::Completed => AnnounceEvent::Completed,
            Event::Stopped => AnnounceEvent::Stopped,
        };
        let numwant = if announce.event == Event::Stopped { 0 } else { self.numwant };
        AnnounceRequest {
            uploaded: totals.uploaded_bytes,
            downloaded: totals.downloaded_bytes,
            left: totals.left_bytes,
            event,
            key: Some(self.key),
            numwant: Some(numwant),
            tracker_id,
            ..AnnounceRequest::new(announce.info_hash, self.peer_id, self.ports.of(announce.family))
        }
    }

    async fn perform(&self, url: &TrackerUrl, family: Family, request: &AnnounceRequest) -> Reply {
        match url.scheme {
            Scheme::Http | Scheme::Https => self.http.announce(url, family, request).await,
            Scheme::Udp => self.udp.announce(url, family, request).await,
        }
    }
}
