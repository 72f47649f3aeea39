//! Scheduling policies as plain functions and plain state: which peer sends next ([`fair`]), who
//! is unchoked ([`choke`]), what a socket may hold ([`share`]), how fast somebody is or may be ([`rate`]), which worker gives connections
//! to which ([`balance`]), which torrent announces next and where ([`announce`]).
//!
//! A policy sees values and returns values. It has no socket, no clock and no source of
//! randomness: `now` and `random` are arguments, so that every decision can be replayed.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod announce;
pub mod balance;
pub mod choke;
pub mod fair;
pub mod rate;
pub mod share;
mod shuffle;

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

    /// Bytes of a block with its header, and the least that a connection may hold unacknowledged.
    pub const FRAME_BYTES: u64 = BLOCK_BYTES as u64 + 13;

    /// Bytes, and the most: the kernel counts those of a socket in 31 bits.
    pub const SHARE_BYTES_MAX: u64 = 1 << 30;

    /// The part of what is free below the cap that a connection may hold: eight that take all they may
    /// leave half of the cap to others.
    pub const PROVEN_PART: u64 = 8;

    /// The part that it may hold before its peer has shown that it reads: all four blocks of a first batch
    /// while 8 MiB are free, which is a third of the smallest worker's part on a host of 2 GiB.
    pub const UNPROVEN_PART: u64 = 128;

    /// Bytes; and the most of that: a new peer's first batch, four times what TCP sends before it is
    /// acknowledged.
    pub const UNPROVEN_BYTES: u64 = BATCH_BLOCKS_NEW as u64 * FRAME_BYTES;

    /// Bytes that have to be acknowledged before they count: less lies in the peer's receive buffer while
    /// nobody reads there.
    pub const PROVEN_FROM_BYTES: u64 = 256 * 1024;

    /// How long a connection that holds its share waits at least until it is asked again.
    pub const ASKED_AGAIN_MIN: Duration = Duration::from_millis(1);

    /// And at most: 6,000 that are stalled cost 4 % of a core.
    pub const ASKED_AGAIN_MAX: Duration = Duration::from_secs(1);

    /// Bytes. Who asks for no more than this need not wait for a round of those who ask for much:
    /// four blocks, what an interactive reader has outstanding.
    pub const LITTLE_BYTES: u32 = 4 * BLOCK_BYTES;

    /// Peers in line from which on one of them is given batch after batch. With fewer, a peer that
    /// got all it asked for comes back late, and in the end nobody is ready. Measured with 10, 20
    /// and 30 peers of 64 requests each.
    pub const STAY_READY_MIN: usize = 12;

    /// Bytes of credit or debt that a peer carries from one turn to its next: the largest
    /// request that is served (128 KiB), so that a peer with large requests can save up for one.
    pub const CARRY_BYTES_MAX: u32 = 128 * 1024;

    /// Between two looks at how busy the workers are: four to a second.
    pub const LOOK: Duration = Duration::from_millis(250);

    /// Thousandths of a core by which two workers may differ: less is noise, and moving connections
    /// for it would cost more than it gains.
    pub const UNEVEN_PERMILLE: u32 = 150;

    /// How long they must differ by more before connections move: a burst is over by then.
    pub const UNEVEN_FOR: Duration = Duration::from_secs(1);

    /// How long after a gift the next one is thought of: loads are of the last second, and peers need
    /// a moment to use what they are given.
    pub const SETTLE: Duration = Duration::from_millis(2_500);

    /// Connections that move at a time.
    pub const MOVES_AT_ONCE: usize = 128;

    /// How long a peer keeps a slot that others wait for. A little under a round, so that a
    /// round that comes early by scheduling noise still rotates.
    pub const SLOT_HOLD: Duration = Duration::from_millis(9_500);

    /// Trackers in the tiers of one torrent. Lists of a hundred are seen; more is noise, and each
    /// is tried in turn while none answers.
    pub const TRACKERS_MAX: u16 = 256;

    /// Tracker hosts known at a time, each about 100 bytes for each family. The world has a few
    /// thousand; the bound is against torrents that each name a host of their own.
    pub const HOSTS_MAX: u32 = 1 << 16;

    /// The shortest time between two regular announces of one entry, whatever a tracker says:
    /// against an interval of zero.
    pub const INTERVAL_MIN: Duration = Duration::from_secs(60);

    /// The longest: against one that would never come back.
    pub const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

    /// A host or torrent that failed is asked again after this long. For UDP it goes on where
    /// the two transmissions of an announce (15 s, 30 s) end: BEP 15 asks for 15 * 2^n seconds.
    pub const RETRY_FIRST: Duration = Duration::from_secs(60);

    /// And at most after this long: 15 * 2^8 s, the last step that BEP 15 names.
    pub const RETRY_MOST: Duration = Duration::from_secs(3840);

    /// A host without an address of a family is asked again after this long: names get IPv6
    /// addresses seldom.
    pub const ABSENT_RETRY: Duration = Duration::from_secs(1800);

    /// So many announces without an answer in a row, and a host counts as down.
    pub const DOWN_AFTER_SILENT: u8 = 3;

    /// At shutdown so many times the usual window is used: seconds are left, and a tracker
    /// rather hears of a leaving seed than keeps a dead one in its list.
    pub const STOP_WINDOW_FACTOR: u32 = 4;
}
