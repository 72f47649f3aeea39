//! The load generator: many leechers in few threads, which ask for blocks, check the frame of every
//! answer and let the kernel drop the payload, so that they cost less than any seeder they measure.
//!
//! It shares the codec and the ring with the seeder, and none of its policies, stores and workers:
//! common code would mean common bugs.
#![forbid(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod fault;
pub mod flood;
pub mod frames;
pub mod leecher;
pub mod note;
pub mod observer;
pub mod order;
pub mod plan;
pub mod report;
pub mod results;
pub mod run;
pub mod tally;
pub mod target;
pub mod verify;
pub mod watch;

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
    /// Connections of a run. The ring has a bounded op table, and a source port a number of 16 bits.
    pub const CONNECTIONS_MAX: u32 = 10_000;
    const _: () = assert!(CONNECTIONS_MAX * OPS_A_CONNECTION <= ringseed_ring::limits::OPS_MAX);
    /// Descriptors beside the connections': rings, pipes, /proc and the standard streams.
    pub const DESCRIPTORS_BESIDE: u64 = 64;
    /// Requests outstanding on a connection: a 1 GiB/s path of 32 ms.
    pub const DEPTH_MAX: u32 = 2_048;
    /// Connections of a thread that are being made at once: below the shortest listen backlog (5 to
    /// 128 in programs of old) times a few, so that no SYN waits a second to be sent again.
    pub const CONNECTING_MAX: u32 = 32;
    /// Milliseconds that a thread waits before it looks at the schedule again.
    pub const TURN_WAIT_MS: u64 = 10;
    /// Microseconds of latency that are told apart: 100 s. Longer ones count as this.
    pub const LATENCY_US_MAX: u64 = 100_000_000;
    /// Kinds of errors that a result tells; rarer ones are summed up in the last.
    pub const ERRORS_TOLD_MAX: usize = 20;
    /// Threads of the target that are told apart; others are summed up in one line. More than a
    /// program has that runs one for each core.
    pub const THREADS_TOLD_MAX: usize = 32;
}
