//! What a run has shown: the content of `result.json`, in the order in which it stands there. The
//! schema is described for its readers in docs/reports.md.

pub mod distribution;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use distribution::Distribution;

/// The form of `result.json`. The number changes whenever a reader of the old form would be misled.
pub const SCHEMA: &str = "ringseed-swarm/1";

/// A whole run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// Name and version of this program.
    pub program: String,
    /// What the run is called beside others.
    pub title: String,
    /// The exact command.
    pub command: Vec<String>,
    /// When it began, milliseconds since 1970 (UTC).
    pub started_unix_ms: u64,
    /// How long it took, seconds.
    pub elapsed_s: f64,
    /// On what.
    pub machine: Machine,
    /// Against whom.
    pub target: Target,
    /// One after another.
    pub phases: Vec<PhaseResult>,
    /// What makes the run a failure: wrong bytes, failed checks, leaks. Empty: it passed.
    pub failures: Vec<String>,
}

/// The machine, as far as it bears on the figures. What could not be read is absent.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub kernel: Option<String>,
    pub processor: Option<String>,
    pub cores: usize,
    pub memory_bytes: Option<u64>,
    /// That of a connection to the target as it is made here.
    pub congestion_control: Option<String>,
    /// Of the interface by which the target is reached.
    pub qdisc: Option<String>,
    /// Of core 0.
    pub governor: Option<String>,
    /// Cores of this program's threads.
    pub swarm_cores: Vec<usize>,
    /// Cores that the target may use.
    pub target_cores: Vec<usize>,
    /// Network namespaces that connections come from.
    pub namespaces: usize,
}

/// Whom the load went to.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    pub address: Option<String>,
    pub info_hash: Option<String>,
    pub total_bytes: u64,
    pub piece_bytes: u32,
    pub tracker: Vec<String>,
    pub pid: Option<u32>,
    /// Command line of that process.
    pub command: Option<String>,
}

/// A stretch with the same loads.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PhaseResult {
    pub name: String,
    /// Since the run began.
    pub started_s: f64,
    /// When its counted time began, since the run began: what times within the phase add to.
    pub counted_from_s: f64,
    pub warm_up_s: f64,
    /// The time that counted.
    pub seconds: f64,
    pub loads: Vec<LoadResult>,
    pub cost: Cost,
    /// CPU time of each thread of the target within that time.
    pub target_threads: Vec<ThreadTime>,
    /// What the target holds before the first connection of the phase, and when its counted time is
    /// over.
    pub memory_before: Memory,
    pub memory_after: Memory,
    /// As time passed.
    pub series: Vec<Sample>,
    /// What a reader must know before believing the figures.
    pub remarks: Vec<String>,
}

/// What one load saw.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LoadResult {
    pub name: String,
    /// `flood`, `latency`, `verify`, `churn`, `idle`, `slow`, `announce`, `abuse`.
    pub mode: String,
    /// As it was asked for: `connections`, `depth`, `rate_per_s` and so on.
    pub parameters: BTreeMap<String, Value>,
    pub counts: Counts,
    /// Microseconds, by what they measure: `request_to_piece`; from the call of connect(2), in a
    /// churn from when the leecher was due, to `connected`, `handshake`, `bitfield` and `unchoke`; `late`
    /// (how long after its due time the load had got to a request);
    /// `announce`, `scrape`.
    pub latencies: BTreeMap<String, Distribution>,
    /// What went wrong, with how often; the most frequent first, at most
    /// [`ERRORS_TOLD_MAX`](crate::limits::ERRORS_TOLD_MAX).
    pub errors: Vec<ErrorCount>,
    /// Questions with a yes or no (hostile peers, leaks).
    pub checks: Vec<Check>,
}

/// What was counted, within the time that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Connections that were begun, since the phase began.
    pub connections: u64,
    /// Of these unchoked at least once.
    pub unchoked: u64,
    /// Of these failed or ended by the target, at any time of the phase.
    pub lost: u64,
    /// Requests sent (blocks, announces, scrapes).
    pub requests: u64,
    /// Blocks or answers received within the counted time; those of an open loop that come later are in
    /// its latencies alone.
    pub answers: u64,
    /// Bytes of blocks, headers not counted.
    pub payload_bytes: u64,
    pub rejects: u64,
    pub chokes: u64,
    /// Answers that were errors, or never came.
    pub errors: u64,
    pub pieces_verified: u64,
    /// Pieces that could not be hashed, since the target refused blocks of them.
    pub pieces_broken_off: u64,
    /// Bytes of the verified pieces, each counted once.
    pub distinct_bytes: u64,
}

/// CPU time within the time that counts, in seconds, and bytes by it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Over what time it was taken.
    pub elapsed_s: f64,
    /// All cores: all but idle, iowait and steal.
    pub busy_s: f64,
    /// The same as the kernel sampled it.
    pub busy_sampled_s: f64,
    pub user_s: f64,
    pub system_s: f64,
    pub irq_s: f64,
    pub softirq_s: f64,
    pub steal_s: f64,
    /// The target's process.
    pub target_s: Option<f64>,
    /// This program.
    pub own_s: f64,
    /// 10^9 bytes of blocks a second of time.
    pub gb_per_s: f64,
    /// The same a second of CPU time: over all cores, of the target's process, of this program's.
    /// Absent where nothing was spent or received.
    pub gb_per_cpu_s: Option<f64>,
    pub gb_per_target_cpu_s: Option<f64>,
    pub gb_per_own_cpu_s: Option<f64>,
}

/// CPU time of a thread.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ThreadTime {
    pub name: String,
    pub cpu_s: f64,
}

/// What the target holds. Absent: not to be had.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Anonymous resident memory of the process (RssAnon), bytes.
    pub anonymous_bytes: Option<u64>,
    /// Memory of its cgroup less file pages: kernel memory and sockets count, the page cache does
    /// not. Absent when it has no cgroup of its own. Bytes.
    pub cgroup_less_file_bytes: Option<u64>,
    pub descriptors: Option<u64>,
    /// Connections at its port, whoever made them. Only between phases: absent in the series.
    pub connections: Option<u64>,
}

/// A point of the time series.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Its end, since the counted time of the phase began.
    pub at_s: f64,
    /// The time it covers.
    pub length_s: f64,
    pub gb_per_s: f64,
    pub answers_per_s: f64,
    /// Cores busy in all, by the target, and by this program (1.0: one core).
    pub busy_cores: f64,
    pub target_cores: Option<f64>,
    pub own_cores: f64,
    /// Connections open.
    pub connections: u64,
    pub errors: u64,
    pub memory: Memory,
}

/// A kind of error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorCount {
    pub what: String,
    pub times: u64,
}

/// A question with a yes or no.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    /// What was seen, in a sentence.
    pub saw: String,
}
