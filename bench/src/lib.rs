//! The load generator: many leechers in few threads, which ask for blocks, check the frame of every
//! answer and let the kernel drop the payload, so that they cost less than any seeder they measure.
//!
//! It shares the codec and the ring with the seeder, and none of its policies, stores and workers:
//! common code would mean common bugs.
#![forbid(unsafe_code)]

pub mod abuse;
pub mod announce;
pub mod beside;
pub mod cli;
pub mod clock;
pub mod context;
mod engine;
pub mod fault;
pub mod frames;
pub mod leecher;
pub mod modes;
pub mod note;
pub mod observer;
pub mod order;
pub mod output;
pub mod pace;
pub mod plan;
pub mod requests;
pub mod results;
pub mod run;
pub mod scenario;
pub mod tally;
pub mod target;
pub mod trickle;
pub mod verify;
pub mod watch;
mod zipf;

/// Bounds of this room.
pub mod limits {
    /// Bytes kept of a frame whose head is split: a handshake is the longest.
    pub const HEAD_BYTES_MAX: usize = ringseed_wire::handshake::HANDSHAKE_BYTES;
    /// Bytes of a frame other than a piece: the bitfield of 8 million pieces. Longer means that the
    /// stream is out of step.
    pub const FRAME_BYTES_MAX: u32 = 1 << 20;
    /// Ops of a connection in flight: a poll for bytes, one for room, a close.
    pub const OPS_A_CONNECTION: u32 = 3;
    /// Bytes read at once where they are looked at: a block.
    pub const SCRATCH_BYTES: usize = 16 << 10;
    /// Connections of a load. A source address has 65,535 ports, and by default some 28,000 to give.
    pub const CONNECTIONS_MAX: u32 = 60_000;
    /// Connections of a thread: its ring has a bounded op table. More get further threads.
    pub const RING_CONNECTIONS_MAX: u32 = 10_000;
    const _: () =
        assert!(RING_CONNECTIONS_MAX * OPS_A_CONNECTION <= ringseed_ring::limits::OPS_MAX);
    /// Connections of a thread's churn that are open at once. A seeder that serves a thousand peers a
    /// second within two seconds keeps below it.
    pub const CHURN_OPEN_MAX: u32 = 2_000;
    /// Blocks of a verified connection that are kept until those in front of them have come: so many
    /// times its depth. A seeder may answer in any order, but must not let one request lie for good.
    pub const AHEAD_DEPTHS: u32 = 8;
    /// At least so many: 4 MiB.
    pub const AHEAD_BLOCKS_MIN: u32 = 256;
    /// Requests of an open loop outstanding on a connection: what seeders accept (250 in libtorrent)
    /// by a safe margin. More wait with us.
    pub const OPEN_LOOP_DEPTH: u64 = 128;
    /// Requests of a thread that are due and wait with us: seconds of the highest rates. More stay in
    /// the pace, at their own times.
    pub const ARRIVALS_WAITING_MAX: usize = 1 << 18;
    /// Seconds between keep-alives of an idle connection. BEP 3 has two minutes.
    pub const KEEP_ALIVE_S: u64 = 100;
    /// Milliseconds of allowance that a slow reader may save up: two of its reads.
    pub const TRICKLE_BURST_MS: u64 = 200;
    /// Slow readers of a thread read by turns: so many parts of them, one each step.
    pub const TRICKLE_STEPS: usize = 10;
    /// Milliseconds of a step.
    pub const TRICKLE_STEP_MS: u64 = 10;
    /// Milliseconds after the counted time in which answers to an open loop are waited for. What is
    /// not answered by then is an error.
    pub const LAST_ANSWERS_MS: u64 = 1_000;
    /// Intervals of a phase: points of its time series.
    pub const INTERVALS_MAX: u32 = 600;
    /// Kinds of errors that are kept apart while a phase runs; later ones are counted together.
    pub const ERROR_KINDS_MAX: usize = 200;
    /// Milliseconds between two phases, in which the target lets go of the first one's connections.
    pub const SETTLE_MS: u64 = 200;
    /// Descriptors of a thread beside its connections': ring, waker, pipe.
    pub const DESCRIPTORS_A_THREAD: u64 = 8;
    /// Descriptors beside all these: /proc, results, the standard streams.
    pub const DESCRIPTORS_BESIDE: u64 = 64;
    /// Requests outstanding on a connection: a 1 GiB/s path of 32 ms.
    pub const DEPTH_MAX: u32 = 2_048;
    /// Connections of a thread that are being made at once: below the shortest listen backlog (5 to
    /// 128 in programs of old) times a few, so that no SYN waits a second to be sent again.
    pub const CONNECTING_MAX: u32 = 32;
    /// Completions of a turn from which on a flood waits for several at once.
    pub const GATHER_FROM: u32 = 2;
    /// Bytes a second of a seeder that no thread of a flood could keep up with.
    pub const GATHER_BYTES_PER_S: u64 = 8_000_000_000;
    /// The patience of a flood is one part in so many of the time in which such a seeder would answer
    /// all that is outstanding.
    pub const GATHER_SHARE: u64 = 8;
    /// Microseconds of it at most: a few batches of a seeder.
    pub const GATHER_US_MAX: u64 = 500;
    /// Microseconds below which waiting costs more than it saves.
    pub const GATHER_US_MIN: u64 = 30;
    /// Bytes of the windows of all connections of a flood: what their sockets may hold unread. Less
    /// than half of what TCP has on a machine of 4 GiB before it begins to save.
    pub const WINDOWS_BYTES_MAX: u64 = 128 << 20;
    /// A window below this is none that needs widening.
    pub const WINDOW_BYTES_MIN: u64 = 256 << 10;
    /// Reads within blocks that share one look at the clock in a flood: the blocks of a batch. They
    /// take some microseconds, of latencies that are milliseconds.
    pub const FLOOD_READS_A_CLOCK: u32 = 16;
    /// Milliseconds that a thread waits before it looks at the schedule again.
    pub const TURN_WAIT_MS: u64 = 10;
    /// Microseconds of latency that are told apart: 100 s. Longer ones count as this.
    pub const LATENCY_US_MAX: u64 = 100_000_000;
    /// Kinds of errors that a result tells; rarer ones are summed up in the last.
    pub const ERRORS_TOLD_MAX: usize = 20;
    /// Threads of the target that are told apart; others are summed up in one line. More than a
    /// program has that runs one for each core.
    pub const THREADS_TOLD_MAX: usize = 32;
    /// Bytes of a `result.json` that is read: hours of intervals of ten loads, and a bound for memory.
    pub const RESULT_BYTES_MAX: u64 = 256 << 20;
    /// Runs put side by side: ten programs in six repetitions; a page of more is not read by anybody.
    pub const REPORT_RUNS_MAX: usize = 60;
    /// Columns of a heat map: two pixels each at the least; longer runs put intervals together.
    pub const PLOT_COLUMNS_MAX: usize = 220;
    /// Points of a line over time: more than pixels; longer runs put samples together.
    pub const PLOT_POINTS_MAX: usize = 600;
    /// Requests, connections or announces a second of one load: more than a core can send.
    pub const RATE_MAX: f64 = 1e6;
    /// Bytes a second of a slow reader: past 1 GiB nothing is slow about it.
    pub const BYTES_PER_S_MAX: u32 = 1 << 30;
    /// Blocks that a leecher which comes and goes fetches: 16 MiB.
    pub const CHURN_BLOCKS_MAX: u32 = 1_024;
    /// Infohashes that are announced: what a busy public tracker knows.
    pub const TORRENTS_MAX: u32 = 1_000_000;
    /// Peers of all torrents that announce: those of one source have a port each, and the fewest
    /// sources are 32.
    pub const PEERS_MAX: u32 = 2_000_000;
    /// Requests that a closed loop of announces keeps without an answer: what the sockets of a tracker
    /// hold, and more than any needs to be busy.
    pub const AT_ONCE_MAX: u32 = 16_384;
    /// Connections of all loads of a phase: more than two source addresses have ports for.
    pub const PHASE_CONNECTIONS_MAX: u32 = 100_000;
    /// Loads side by side: more than there are modes.
    pub const LOADS_MAX: usize = 16;
    /// Phases of a run, all rounds counted: a report with more shows nothing.
    pub const PHASES_MAX: usize = 10_000;
    /// Rounds of a soak: a month of rounds of a quarter of an hour.
    pub const ROUNDS_MAX: u32 = 3_000;
    /// Seconds of a phase that are no rounding error: one tick of the CPU times in /proc.
    pub const PHASE_SECONDS_MIN: f64 = 0.01;
    /// Seconds of a phase: a week. Longer soaks repeat phases.
    pub const PHASE_SECONDS_MAX: f64 = 604_800.0;
    /// Bytes of the name of a phase, a load or a run: with a round and a suffix it still names a file.
    pub const NAME_BYTES_MAX: usize = 100;
    /// Bytes of a scenario file: ten thousand phases of a hundred bytes.
    pub const SCENARIO_BYTES_MAX: u64 = 1 << 20;
    /// Rounds of a soak from which leaks can be told: two of warm-up, and three times two.
    pub const LEAK_ROUNDS_MIN: usize = 8;
    /// Rounds of which all pairs are compared; of more each nth is taken, since pairs grow with the
    /// square.
    pub const LEAK_PAIRS_ROUNDS_MAX: usize = 500;
    /// Bytes by which memory must rise over a soak to be a leak: allocators keep that much in hand.
    pub const LEAK_BYTES_MIN: f64 = 2.0 * 1024.0 * 1024.0;
    /// Descriptors or connections by which a soak must end higher: a few may be on their way out.
    pub const LEAK_COUNT_MIN: f64 = 8.0;
    /// Threads of a run: more than a machine has cores to spare for load.
    pub const THREADS_MAX: usize = 256;
}
