//! What announces and scrapes have in common over HTTP and UDP.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ringseed_meta::{InfoHash, PeerId};

/// Why a peer announces (BEP 3 "event", BEP 15).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AnnounceEvent {
    /// It is time again.
    #[default]
    None,
    /// The download has become complete.
    Completed,
    /// The first announce.
    Started,
    /// The last announce.
    Stopped,
    /// It lacks something and wants none of it: a partial seed (BEP 21), which says so each time.
    Paused,
}

/// An announce: who, what, and how far. [`Default`] leaves out all that is optional.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceRequest {
    /// The swarm.
    pub info_hash: InfoHash,
    /// How the peer calls itself.
    pub peer_id: PeerId,
    /// TCP port it listens on.
    pub port: u16,
    /// Bytes uploaded since `started`.
    pub uploaded: u64,
    /// Bytes downloaded since `started`.
    pub downloaded: u64,
    /// Bytes it still lacks.
    pub left: u64,
    /// Why now.
    pub event: AnnounceEvent,
    /// Tells the peer again when its address has changed (BEP 7, BEP 15).
    pub key: Option<u32>,
    /// Peers wished for; `None` leaves it to the tracker.
    pub numwant: Option<u32>,
    /// Where it says that it is; only to be believed of peers on the tracker's own network
    /// (BEP 3 "ip", BEP 15 "IP address", which is IPv4).
    pub ip: Option<IpAddr>,
    /// What the tracker gave to be sent back; empty when it gave none. HTTP only.
    pub tracker_id: Vec<u8>,
    /// It prefers compact peers (BEP 23). HTTP only.
    pub wants_compact: bool,
    /// Dictionaries of peers need no peer ids. HTTP only.
    pub no_peer_id: bool,
}

impl AnnounceRequest {
    /// An announce of a peer that has uploaded and downloaded nothing and lacks nothing.
    pub fn new(info_hash: InfoHash, peer_id: PeerId, port: u16) -> AnnounceRequest {
        AnnounceRequest {
            info_hash,
            peer_id,
            port,
            uploaded: 0,
            downloaded: 0,
            left: 0,
            event: AnnounceEvent::None,
            key: None,
            numwant: None,
            ip: None,
            tracker_id: Vec::new(),
            wants_compact: true,
            no_peer_id: true,
        }
    }
}

/// Counts of a swarm, by their names in BEP 15; BEP 48 says complete, downloaded, incomplete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScrapeStats {
    /// Peers that have all.
    pub seeders: u32,
    /// Downloads completed ever.
    pub completed: u32,
    /// Peers that lack something.
    pub leechers: u32,
    /// Those of the leechers that want nothing more (BEP 21 tells the others as `downloaders`).
    /// HTTP only.
    pub partial_seeds: u32,
}

/// Peers packed as address and port: 6 bytes each (BEP 23) or 18 (BEP 7).
pub mod compact {
    use super::*;

    /// Bytes of an IPv4 peer.
    pub const V4_BYTES: usize = 6;
    /// Bytes of an IPv6 peer.
    pub const V6_BYTES: usize = 18;

    /// The peers packed in `bytes`; an incomplete last one is dropped.
    pub fn v4(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> {
        bytes.as_chunks::<V4_BYTES>().0.iter().map(|[a, b, c, d, high, low]| {
            let ip = Ipv4Addr::new(*a, *b, *c, *d);
            SocketAddr::from((ip, u16::from_be_bytes([*high, *low])))
        })
    }

    /// The peers packed in `bytes`; an incomplete last one is dropped.
    pub fn v6(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> {
        bytes.as_chunks::<V6_BYTES>().0.iter().map(|peer| {
            let [ip @ .., high, low] = *peer;
            SocketAddr::from((Ipv6Addr::from(ip), u16::from_be_bytes([high, low])))
        })
    }

    /// Appends a peer in the form of its address family.
    pub fn push(out: &mut Vec<u8>, peer: SocketAddr) {
        match peer.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
        out.extend_from_slice(&peer.port().to_be_bytes());
    }
}
