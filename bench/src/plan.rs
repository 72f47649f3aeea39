//! What a run consists of: phases one after another, in each of them loads side by side. Plain
//! data, made by the command line or a scenario file, carried out by `run`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringseed_meta::{InfoHash, Metainfo};

use crate::order::Order;
use crate::target::Pieces;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names the run in reports: the target's program, unless told otherwise.
    pub title: String,
    /// Whom peers load.
    pub seeder: Option<Seeder>,
    /// Whom announces load.
    pub tracker: Option<Tracker>,
    /// The target's process: its CPU time, memory and descriptors are told apart.
    pub pid: Option<u32>,
    /// Where connections come from: the address of the first, and the step to the next one's.
    /// None: the system's choice.
    pub from: Option<(IpAddr, u32)>,
    /// Where threads run; one thread for each at least.
    pub places: Vec<Place>,
    /// One after another.
    pub phases: Vec<Phase>,
}

/// The address of connection `number`, counted from the first of `from` by its step; wraps within its
/// family.
pub(crate) fn source(from: (IpAddr, u32), number: u32) -> IpAddr {
    match from {
        (IpAddr::V4(first), step) => {
            IpAddr::V4(u32::from(first).wrapping_add(number.wrapping_mul(step)).into())
        }
        (IpAddr::V6(first), step) => {
            let places = u128::from(number) * u128::from(step);
            IpAddr::V6(u128::from(first).wrapping_add(places).into())
        }
    }
}

/// A seeder and the torrent that is asked for.
#[derive(Clone, Debug)]
pub struct Seeder {
    /// Where it listens.
    pub address: SocketAddr,
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its pieces.
    pub pieces: Pieces,
    /// All of it, where there is a file: what `verify` needs.
    pub metainfo: Option<Arc<Metainfo>>,
}

/// A tracker's announce URLs; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tracker {
    /// `http://ADDR:PORT/announce`
    pub http: Option<String>,
    /// Where UDP announces go (BEP 15).
    pub udp: Option<SocketAddr>,
}

/// Where a thread runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The core it is pinned to. None: wherever the system likes.
    pub core: Option<usize>,
    /// The network namespace its sockets are made in, as a file (`/run/netns/NAME`). None: ours.
    pub namespace: Option<PathBuf>,
}

/// A stretch of a run with the same loads.
#[derive(Clone, PartialEq, Debug)]
pub struct Phase {
    /// As reports call it; differs from the other phases'.
    pub name: String,
    /// How long the target may take until all loads are ready (all connections unchoked).
    pub opening: Duration,
    /// Load that does not count.
    pub warm_up: Duration,
    /// Load that counts.
    pub length: Duration,
    /// Side by side.
    pub loads: Vec<Load>,
}

/// Leechers or announcers of one kind.
#[derive(Clone, PartialEq, Debug)]
pub struct Load {
    /// As reports call it; differs from the other loads' of its phase.
    pub name: String,
    /// What they do.
    pub kind: Kind,
}

/// A load against a tracker.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Announces {
    pub transport: Transport,
    pub demand: Demand,
    /// Infohashes.
    pub torrents: u32,
    /// Peers of all torrents, spread over them by Zipf's law. 0: one of each source in each torrent.
    pub peers: u32,
    /// Share of scrapes, 0 to 1.
    pub scrapes: f64,
    /// Each peer announces once before the load begins.
    pub fill: bool,
}

/// How much a tracker is asked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Demand {
    /// Open loop: requests a second, whatever has been answered.
    Rate(f64),
    /// Closed loop: requests without an answer, of all threads.
    AtOnce(u32),
}

/// What a load does.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// Closed loop: each connection keeps `depth` requests outstanding. With `verify` each piece is
    /// hashed; else payloads are dropped unseen.
    Flood { connections: u32, depth: u32, order: Order, verify: bool },
    /// Open loop: requests at fixed times whatever has been answered, spread over the connections.
    Latency { connections: u32, rate: Rate, order: Order },
    /// Connects, waits for the unchoke, fetches `blocks`, leaves; `rate` times a second.
    Churn { rate: f64, blocks: u32 },
    /// Connections that say hello and nothing more.
    Idle { connections: u32 },
    /// A closed loop that reads `bytes_per_s` on each connection, and no more.
    Slow { connections: u32, depth: u32, bytes_per_s: u32 },
    /// Announces and scrapes to a tracker.
    Announce(Announces),
    /// Hostile peers, one kind after another; `only` these, or all when empty.
    Abuse { only: Vec<String> },
}

impl Kind {
    /// Connections that it holds open as long as the phase lasts.
    pub fn connections(&self) -> u32 {
        match self {
            Kind::Flood { connections, .. }
            | Kind::Latency { connections, .. }
            | Kind::Idle { connections }
            | Kind::Slow { connections, .. } => *connections,
            Kind::Churn { .. } | Kind::Announce(_) | Kind::Abuse { .. } => 0,
        }
    }
}

/// How an announce travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// BEP 3, 23, 48.
    Http,
    /// BEP 15.
    Udp,
}

/// Requests a second of an open loop.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rate {
    /// So many.
    PerSecond(f64),
    /// A share (0 to 1) of the most blocks a second that a flood of this run has received.
    OfPeak(f64),
}
