//! When each torrent announces next, and to which tracker: tiers (BEP 12), intervals, events
//! (BEP 3), backing off, and a queue for each tracker host, so that 10,000 torrents that start at
//! once are no storm and 100,000 idle ones cost a heap and nothing else.
//!
//! An *entry* is what announces: one infohash of one torrent from one address family (a hybrid
//! torrent on a box with IPv4 and IPv6 has four). It is always in one of four places: waiting for
//! its time in the one heap, standing in the queue of a host, in flight, or retired. Whoever
//! performs announces drives [`Schedule`]:
//!
//! ```text
//! loop { while let Some(announce) = schedule.poll(now) { perform it, then schedule.finished(..) }
//!        sleep until schedule.deadline(), a finished announce or a command }
//! ```
//!
//! A host that does not answer is backed off as a whole: its entries pass on to the next tracker
//! of their tiers, or wait in its queue while one of them at a time asks again. A tracker that
//! answers and refuses concerns only the torrent that it refused.

mod host;
mod moves;
mod schedule;
mod tiers;

pub use schedule::Schedule;
pub use tiers::{Tiers, Tracker};

use alloc::sync::Arc;
use core::time::Duration;
use ringseed_meta::{InfoHash, TorrentId};

/// The address family an announce is sent from. Trackers tell swarms of the two apart (BEP 7,
/// BEP 15), so each is announced by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A tracker's host and port, as the schedule numbers them: all its URLs share one queue for
/// each family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub u32);

/// Names an announce in flight, until it is finished.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(u32);

/// What an announce tells beside the totals (BEP 3 "event").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A regular announce: no event.
    Regular,
    /// The first one to this tracker.
    Started,
    /// The download has just become complete.
    Completed,
    /// The last one.
    Stopped,
}

/// An announce to perform now. Answer with [`Schedule::finished`].
#[derive(Clone, Debug)]
pub struct Announce<U> {
    /// Its name for [`Schedule::finished`].
    pub key: Key,
    /// Whose totals to tell.
    pub torrent: TorrentId,
    /// The swarm.
    pub info_hash: InfoHash,
    /// From which family to announce.
    pub family: Family,
    /// What happened.
    pub event: Event,
    tiers: Arc<Tiers<U>>,
    at: u16,
}

impl<U> Announce<U> {
    /// Where to announce.
    pub fn tracker(&self) -> &Tracker<U> {
        self.tiers.at(self.at)
    }
}

/// How an announce ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The tracker took it.
    Answered {
        /// The tracker's "interval".
        interval: Duration,
        /// Its "min interval", where it gives one.
        min_interval: Option<Duration>,
    },
    /// The tracker is there and does not want this torrent: a failure reason, nonsense.
    Refused(Retry),
    /// No answer, no connection, no address found, or one that says "overloaded": it concerns
    /// all that announce to this host.
    Silent,
    /// The host has no address of this family, or this box no way there. Not an error.
    Absent,
    /// We did not wait for the answer: it says nothing about the host, and the tracker may know
    /// of us or not.
    BrokenOff,
}

/// When a tracker that refused may be asked again (BEP 31 "retry in").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// It did not say.
    Usual,
    /// After so much time.
    After(Duration),
    /// "never".
    Never,
}

/// How many announces may be under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// At once to one host and family.
    pub concurrency_per_host: u32,
    /// At once in all: each may hold a socket.
    pub concurrency: u32,
    /// Begun in a second at one host and family.
    pub starts_per_host_per_s: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { concurrency_per_host: 8, concurrency: 256, starts_per_host_per_s: 200 }
    }
}

/// `base` and up to an eighth more, so that what started together does not stay together.
fn jittered(base: Duration, random: u64) -> Duration {
    base.saturating_add(base.saturating_mul((random & 0xffff) as u32) / (8 * 0x1_0000))
}

/// `base` doubled `times` times, at most `most`.
fn doubled(base: Duration, times: u8, most: Duration) -> Duration {
    base.saturating_mul(1 << times.min(16)).min(most)
}

#[cfg(test)]
mod tests {
    mod storm;
    mod tiers;
    mod world;
}
