//! The load generator: many leechers in few threads, which ask for blocks, check the frame of every
//! answer and let the kernel drop the payload, so that they cost less than any seeder they measure.
//!
//! It shares the codec and the ring with the seeder, and none of its policies, stores and workers:
//! common code would mean common bugs.
#![forbid(unsafe_code)]

pub mod cpu;
pub mod fault;
pub mod frames;
pub mod leecher;
pub mod order;
pub mod tally;
pub mod target;

/// Bounds of this room.
pub mod limits {
    /// Bytes of a block: what clients ask for, and what seeders are sure to serve
    ///
    pub const BLOCK_BYTES: u32 = 1 << 14;
    /// Bytes of a frame other than a piece: the bitfield of 8 million pieces. Longer means that the
    /// stream is out of step.
    pub const FRAME_BYTES_MAX: u32 = 1 << 20;
    /// Bytes of control frames read at once: a page.
    pub const SCRATCH_BYTES: usize = 4096;
    /// Microseconds of latency that are told apart: 100 s. Longer ones count as this.
    pub const LATENCY_US_MAX: u64 = 100_000_000;
}
