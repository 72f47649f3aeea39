//! Trackers: the embedded one, when it is needed, and announcing to all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringseed_meta::{PeerId, TorrentId};
use ringseed_sched::announce::Family;

use super::announcer::{
    Announcer, AnnouncerHandle, AnnouncerOptions, Notice, Owner, Ports, Subject, Totals,
};
use super::library::Known;
use super::listen::Listeners;
use super::{Options, ServiceError, limits};
use crate::store::catalog::Catalog;

/// The trackers of this run.
pub(super) struct Tracking {
    server: Option<ringseed_tracker::Server>,
    announce_url: Option<String>,
    /// Named by `--tracker`.
    named: Vec<String>,
    /// The first port of each family that peers are accepted on.
    ports: Ports,
    families: Vec<Family>,
    announcer: Option<AnnouncerHandle>,
    notices: Arc<Notices>,
}

/// What the announcer had to say and nobody has read yet.
#[derive(Default)]
struct Notices(Mutex<Vec<String>>);

impl Notices {
    fn push(&self, notice: String) {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.len() < limits::NOTICES_MAX {
            notices.push(notice);
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Answers the announcer from the catalog.
struct Books {
    catalog: Arc<Catalog>,
    notices: Arc<Notices>,
}

impl Owner for Books {
    fn totals(&self, torrent: TorrentId) -> Totals {
        let uploaded_bytes = self.catalog.entry(torrent).map_or(0, |entry| entry.sent_bytes());
        Totals { uploaded_bytes, downloaded_bytes: 0, left_bytes: 0 }
    }

    fn notice(&self, notice: Notice) {
        self.notices.push(notice.to_string());
    }
}

impl Tracking {
    /// Starts the embedded tracker, if it is needed: somebody has to name torrents' peers where
    /// no tracker is named.
    pub(super) fn prepare(
        options: &Options,
        listeners: &[Listeners],
        needs_tracker: bool,
    ) -> Result<Tracking, ServiceError> {
        let addresses = || listeners.iter().map(|listeners| listeners.address);
        let mut families = Vec::new();
        if addresses().any(|address| address.is_ipv4()) {
            families.push(Family::V4);
        }
        if addresses().any(|address| address.is_ipv6()) {
            families.push(Family::V6);
        }
        let mut tracking = Tracking {
            server: None,
            announce_url: None,
            named: options.trackers.clone(),
            ports: Ports {
                v4: port_of(addresses(), SocketAddr::is_ipv4),
                v6: port_of(addresses(), SocketAddr::is_ipv6),
            },
            families,
            announcer: None,
            notices: Arc::default(),
        };
        if needs_tracker {
            tracking.serve(options)?;
        }
        Ok(tracking)
    }

    fn serve(&mut self, options: &Options) -> Result<(), ServiceError> {
        let start = |http: Vec<SocketAddr>| {
            let mut rules = ringseed_tracker::Rules::every(limits::INTERVAL, limits::MIN_INTERVAL);
            // The seeder itself may have been told to listen below 1024.
            rules.port_min = 1;
            let kernel = options.kernel;
            ringseed_tracker::Server::start(ringseed_tracker::Options {
                http,
                rules,
                kernel,
                ..Default::default()
            })
        };
        let port = limits::TRACKER_PORT;
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let server = match options.tracker_listen {
            Some(address) => start(vec![address])?,
            // A host without IPv6 is no reason not to start.
            None => start(vec![v4, v6]).or_else(|_| start(vec![v4]))?,
        };
        if let Some(address) = server.http_addrs().first() {
            let host = options.announce_host.unwrap_or_else(|| public_host(*address));
            let address = SocketAddr::new(host, address.port());
            self.announce_url = Some(format!("http://{address}/announce"));
        }
        self.server = Some(server);
        Ok(())
    }

    /// The announce URL of the embedded tracker, if it runs.
    pub(super) fn announce_url(&self) -> Option<&str> {
        self.announce_url.as_deref()
    }

    /// The tiers to announce a torrent to: those it names, then those of the command line (never
    /// for a private torrent that names its own, BEP 27), else the embedded tracker.
    pub(super) fn tiers(&self, torrent: &Known) -> Vec<Vec<String>> {
        let own = torrent.tiers.iter().map(|tier| tier.iter().map(|url| url.to_string()).collect());
        let mut tiers: Vec<Vec<String>> = own.collect();
        if tiers.is_empty() || !torrent.is_private {
            for url in &self.named {
                if !tiers.iter().flatten().any(|known| known == url) {
                    tiers.push(vec![url.clone()]);
                }
            }
        }
        if tiers.is_empty() {
            tiers.extend(self.announce_url.clone().map(|url| vec![url]));
        }
        tiers
    }

    /// Begins to announce; must be called within the control thread's runtime.
    pub(super) fn start(&mut self, peer_id: PeerId, catalog: Arc<Catalog>) {
        let user_agent = concat!("ringseed/", env!("CARGO_PKG_VERSION"));
        let mut options = AnnouncerOptions::new(peer_id, self.ports, user_agent);
        options.families.clone_from(&self.families);
        let books = Books { catalog, notices: self.notices.clone() };
        let (announcer, handle) = Announcer::new(options, Arc::new(books));
        tokio::task::spawn_local(announcer.run());
        self.announcer = Some(handle);
    }

    pub(super) fn add(&self, id: TorrentId, torrent: &Known) {
        let tiers = self.tiers(torrent);
        if let Some(announcer) = &self.announcer
            && !tiers.is_empty()
        {
            announcer.add(&Subject { torrent: id, swarms: torrent.swarms(), tiers: &tiers });
        }
    }

    pub(super) fn remove(&self, id: TorrentId) {
        if let Some(announcer) = &self.announcer {
            announcer.remove(id);
        }
    }

    /// The embedded tracker knows of us, or there is none: who asks it now finds a peer.
    pub(super) fn is_settled(&self) -> bool {
        let Some(announcer) = self.announcer.as_ref().filter(|_| self.server.is_some()) else {
            return true;
        };
        let status = announcer.status();
        status.queued + status.in_flight == 0 && status.announced + status.failed > 0
    }

    /// What was worth telling since the last call.
    pub(super) fn messages(&self) -> Vec<String> {
        self.notices.take()
    }

    /// Tells all trackers that we stop, for `patience` at most, then stops the embedded one.
    /// Returns the announces given up.
    pub(super) fn stop(&mut self, patience: Duration) -> impl Future<Output = u64> + use<> {
        let (server, announcer) = (self.server.take(), self.announcer.take());
        async move {
            let given_up = match announcer {
                Some(announcer) => announcer.stop_all(patience).await.given_up,
                None => 0,
            };
            if let Some(server) = server {
                let _ = server.stop();
            }
            given_up
        }
    }
}

fn port_of(
    mut addresses: impl Iterator<Item = SocketAddr>,
    is_family: fn(&SocketAddr) -> bool,
) -> u16 {
    addresses.find(is_family).map_or(0, |address| address.port())
}

/// The host by which others reach a tracker that listens on `address`: that address, or when it
/// listens on all, the source address of the default route.
fn public_host(address: SocketAddr) -> IpAddr {
    if !address.ip().is_unspecified() {
        return address.ip();
    }
    // Connecting a UDP socket sends nothing; the addresses are of documentation nets (RFC 5737,
    // RFC 3849).
    let route = |from: IpAddr, to: IpAddr| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    let far_v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let v6 = || route(Ipv6Addr::UNSPECIFIED.into(), far_v6.into());
    let v4 = || route(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    let found = if address.is_ipv6() { v6() } else { v4().or_else(v6) };
    found.unwrap_or(match address {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    })
}
