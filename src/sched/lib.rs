//! Scheduling policies as plain functions and plain state: which peer sends next ([`fair`]), who
//! is unchoked ([`choke`]), how fast somebody is or may be ([`rate`]).
//!
//! A policy sees values and returns values. It has no socket, no clock and no source of
//! randomness: `now` and `random` are arguments, so that every decision can be replayed.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod choke;
pub mod fair;
pub mod rate;

/// Named bounds of this room: each with its unit and its reason.
pub mod limits {
    use core::time::Duration;

    /// Bytes of a block, the unit in which batches are counted. 16 KiB is what every client
    /// requests (BEP 3).
    pub const BLOCK_BYTES: u32 = 16 * 1024;

    /// Blocks in the largest batch. From 16 blocks on the cost of a send is paid for; beyond 32
    /// a peer that stalls would pin too much of the page cache.
    pub const BATCH_BLOCKS_MAX: u32 = 32;

    /// Blocks in a batch for a peer whose rate is not known yet: more than a round trip of TCP's
    /// first window takes, little enough to be wasted on a peer that goes away.
    pub const BATCH_BLOCKS_NEW: u32 = 4;

    /// Bytes of credit or debt that a peer carries from one turn to its next: the largest
    /// request that is served (128 KiB), so that a peer with large requests can save up for one.
    pub const CARRY_BYTES_MAX: u32 = 128 * 1024;

    /// How long a peer keeps a slot that others wait for. A little under a round, so that a
    /// round that comes early by scheduling noise still rotates.
    pub const SLOT_HOLD: Duration = Duration::from_millis(9_500);
}
