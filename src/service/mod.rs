//! The control thread: which torrents there are, announces, jobs, and what the operator is told.
//! May wait and fail; never makes a worker wait. Knows the workers' mailboxes, not their kernel.

pub mod announcer;
mod control;
pub mod figures;
mod fleet;
mod jobs;
pub mod library;
pub mod listen;
mod making;
mod memory;
mod origin;
mod runtime;
mod starting;
pub mod state;
mod tracking;
mod verifying;

pub mod limits {
    //! Defaults and bounds of the service.

    use std::time::Duration;

    /// Port that peers are accepted on, unless `--listen` says otherwise: BitTorrent's of old.
    pub const LISTEN_PORT: u16 = 6881;
    /// Port of the embedded tracker, unless `--tracker-listen` says otherwise.
    pub const TRACKER_PORT: u16 = 6969;
    /// How often clients ask the embedded tracker: a swarm of one's own is small, and peers change.
    pub const INTERVAL: Duration = Duration::from_secs(10 * 60);
    /// How soon those may ask it again that found nobody: a swarm of one's own begins at once.
    pub const MIN_INTERVAL: Duration = Duration::from_secs(15);
    /// Connections in all, unless `--connections` says otherwise. Each idle one costs about a
    /// kilobyte of ours and some of the kernel's.
    pub const CONNECTIONS_MAX: u32 = 100_000;
    /// Connections of one address (an IPv6 /64), unless `--connections-per-address` says
    /// otherwise: enough for the clients behind one household's router.
    pub const CONNECTIONS_PER_ADDRESS_MAX: u32 = 256;
    /// Notices of trackers that wait to be told; more are dropped until the next second.
    pub const NOTICES_MAX: usize = 256;
    /// Ops of a worker beside two for each connection: fetches, opens, accepts.
    pub const SPARE_OPS: u32 = 16 * 1024;
    /// Loads of content that wait for their thread; more wait in order before it.
    pub const LOADS_MAX: usize = 4096;
    /// Torrents whose data waits to be looked at (`--trust`).
    pub const LOOKS_MAX: usize = 256;
    /// Hash requests that wait for their thread, up to 64 MiB of hashing each; more are rejected.
    pub const HASH_JOBS_MAX: usize = 128;
    /// Reports of workers that are read before signals and answers get their turn.
    pub const REPORTS_AT_ONCE: usize = 256;
    /// Answers to hash requests that are kept: leechers of one torrent ask for the same hashes.
    pub const HASH_ANSWERS_MAX: usize = 64;
    /// Leaves (16 KiB each) read for one hash request: 64 MiB. Clients ask for the leaves of one
    /// piece, or for nothing below the piece layer; a request that would read gigabytes is rejected.
    pub const LEAVES_MAX: u64 = 4096;
}

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ringseed_meta::{InfoHash, InfoHashV2};
use ringseed_ring::sandbox::{SandboxChoice, SandboxPlan};
use ringseed_ring::{KernelChoice, ZeroCopy};
use ringseed_sched::choke::Slots;

pub use control::run;
pub use fleet::FleetError;

/// What `ringseed seed` is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// .torrent files, folders of them, or plain data.
    pub paths: Vec<PathBuf>,
    /// Where the data of .torrent files is, if not beside them.
    pub data: Option<PathBuf>,
    /// Addresses to accept peers on; empty: port 6881 of all.
    pub listen: Vec<SocketAddr>,
    /// Workers; `None`: one for each core of the affinity mask.
    pub cores: Option<usize>,
    pub slots: Slots,
    /// Seed without verifying the data.
    pub trust: bool,
    /// Trackers beside those that .torrent files name.
    pub trackers: Vec<String>,
    pub state_dir: Option<PathBuf>,
    pub kernel: KernelChoice,
    pub zero_copy: ZeroCopy,
    pub sandbox: SandboxChoice,
    /// TCP congestion control; `None`: the system's.
    pub congestion: Option<String>,
    pub connections_max: u32,
    /// 0: no limit.
    pub connections_per_address_max: u32,
    /// Where the embedded tracker listens; `None`: port 6969 of all addresses, and only if plain
    /// data is seeded without a tracker named.
    pub tracker_listen: Option<SocketAddr>,
    /// The host in announce URLs of the embedded tracker.
    pub announce_host: Option<IpAddr>,
}

/// A torrent that is seeded.
#[derive(Clone, Debug)]
pub struct TorrentReady {
    pub name: String,
    pub info_hash_v1: Option<InfoHash>,
    pub info_hash_v2: Option<InfoHashV2>,
    pub magnet: String,
    pub torrent_file: PathBuf,
}

/// How it goes, once a second.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Rate {
    pub connections: u64,
    pub peers: u64,
    pub bytes_per_s: u64,
    /// Bytes of blocks sent since the start.
    pub sent_bytes: u64,
    pub torrents: u64,
    /// Times that workers waited for something but the ring, since the start: a disk or a lock.
    pub disk_waits: u64,
}

/// How far hashing has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hashing {
    pub done_bytes: u64,
    pub total_bytes: u64,
}

/// What the operator is told, as it happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// Accepting peers, and how.
    Listening {
        addresses: Vec<SocketAddr>,
        trackers: Vec<String>,
        /// The kernel in use, and why it is that one.
        kernel: &'static str,
        kernel_reason: String,
        /// The verb in use and why.
        plan: String,
        /// Whether it has denied itself what it needs no longer, and what that is.
        sandbox: SandboxPlan,
    },
    /// Data is being hashed: to make a torrent, or to verify one.
    Hashing {
        what: String,
        progress: Hashing,
    },
    /// A torrent is seeded from now on.
    Torrent(TorrentReady),
    /// All that could be verified was; everything that will be seeded is.
    Ready {
        seeding: u64,
        failed: u64,
    },
    Rate(Rate),
    /// All that was counted.
    Counters {
        snapshot: Box<figures::Snapshot>,
        /// By SIGUSR1; else it is the end.
        was_asked: bool,
    },
    /// Something failed; the rest goes on.
    Error {
        torrent: Option<String>,
        file: Option<PathBuf>,
        message: String,
    },
    /// A connection was closed for a fault of the peer's.
    PeerFault {
        peer: SocketAddr,
        fault: String,
    },
    /// Worth knowing, no fault.
    Note(String),
    /// The end: all that was sent.
    Stopped {
        sent_bytes: u64,
        announces_given_up: u64,
    },
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Stopped as asked, nothing was wrong.
    Clean,
    /// Stopped as asked; some data was bad, missing or changed.
    DataFaults,
}

/// Why seeding did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    State(#[from] state::StateError),
    #[error(transparent)]
    Listen(#[from] listen::ListenError),
    #[error(transparent)]
    Source(#[from] library::SourceError),
    #[error(transparent)]
    Fleet(#[from] fleet::FleetError),
    #[error(transparent)]
    Kernel(#[from] ringseed_ring::StartError),
    #[error(transparent)]
    Tracker(#[from] ringseed_tracker::StartError),
    #[error("cannot make a torrent of '{}': {message}", path.display())]
    Create { path: PathBuf, message: String },
    #[error(
        "--cores {wanted}: this process may run on {allowed} cores (taskset, cpuset); ask for 1 to {allowed}"
    )]
    Cores { wanted: usize, allowed: usize },
    #[error("cannot start verifying: {0}")]
    Verifying(#[from] crate::store::hashing::HashingError),
    #[error("nothing to seed: every path failed, see above")]
    NothingToSeed,
    #[error("a worker died: {0}")]
    WorkerDied(String),
    #[error("{what}: {source}")]
    System { what: &'static str, source: std::io::Error },
}
