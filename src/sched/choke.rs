//! Who is unchoked: the first form, for a seed. N slots go round among the interested peers;
//! who waited longest is served first.
//!
//! Workers publish [`Snapshot`]s; [`round`] turns a batch of them into the set of the unchoked;
//! each worker applies the difference. Nothing a peer claims plays a part except its interest.

use crate::limits::SLOT_HOLD;
use crate::shuffle::mix;
use alloc::vec::Vec;
use core::time::Duration;
use ringseed_meta::Instant;

/// Time between two rounds. BEP 3 asks to change who is unchoked only every ten seconds, which
/// is long enough for a new TCP connection to reach its speed.
pub const ROUND: Duration = Duration::from_secs(10);

/// How many peers may be unchoked at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slots {
    /// Everybody is unchoked, interested or not: nobody waits a round trip for it.
    Unlimited,
    /// So many interested peers.
    Limited(u32),
}

/// What a round knows of one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The connection, in the caller's numbering.
    pub key: u32,
    /// Its last word was "interested".
    pub interested: bool,
    /// Our last word was "unchoke".
    pub unchoked: bool,
    /// Since when `unchoked` is what it is; for a choked peer that became interested later, since
    /// when it is interested, so that nobody gains by waiting without wanting anything.
    pub since: Instant,
}

/// One round: fills `out` with the keys of all who are unchoked from now on, in no particular
/// order; the others are choked. Call it every [`ROUND`], and in between when a peer becomes
/// interested while a slot is free: peers that hold a slot for less than a round keep it, so an
/// early call rotates nobody.
///
/// With fewer slots than interested peers: first keep those whose turn is not over, then come
/// the waiting, longest first, then those whose turn is over, shortest first. Ties fall by
/// `random`.
pub fn round(peers: &[Snapshot], slots: Slots, now: Instant, random: u64, out: &mut Vec<u32>) {
    out.clear();
    let slots = match slots {
        Slots::Unlimited => {
            out.extend(peers.iter().map(|peer| peer.key));
            return;
        }
        Slots::Limited(slots) => slots as usize,
    };
    let interested = peers.iter().filter(|peer| peer.interested);
    let mut line: Vec<Claim> = interested.map(|peer| Claim::of(peer, now, random)).collect();
    if line.len() > slots {
        // Only who is inside matters, not the order: linear, also with 100,000 peers.
        if slots > 0 {
            line.select_nth_unstable(slots - 1);
        }
        line.truncate(slots);
    }
    out.extend(line.iter().map(|claim| claim.key));
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    InTurn,
    Waiting,
    TurnOver,
}

/// A peer's place in line: the smaller comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    rank: Rank,
    order_us: u64,
    tie: u64,
    key: u32,
}

impl Claim {
    fn of(peer: &Snapshot, now: Instant, random: u64) -> Claim {
        let held_us = now.since(peer.since);
        let (rank, order_us) = match peer.unchoked {
            true if held_us < SLOT_HOLD => (Rank::InTurn, peer.since.as_us()),
            true => (Rank::TurnOver, u64::MAX - peer.since.as_us()),
            false => (Rank::Waiting, peer.since.as_us()),
        };
        Claim { rank, order_us, tie: mix(random ^ u64::from(peer.key)), key: peer.key }
    }
}

/// The part of `total` slots that worker `mine` fills, when the workers have
/// `interested_by_worker` interested peers: in proportion, by largest remainders, and computed
/// alike by all, so the parts sum to `total`. With slots for everybody, the spare ones are split
/// evenly, so that a new peer finds a free one on any worker.
pub fn share(total: u32, interested_by_worker: &[u32], mine: usize) -> u32 {
    let Some(interested) = interested_by_worker.get(mine).copied().map(u64::from) else { return 0 };
    let all: u64 = interested_by_worker.iter().copied().map(u64::from).sum();
    let whole = u64::from(total);
    let part = if whole >= all {
        let workers = interested_by_worker.len() as u64;
        let (each, odd) = ((whole - all) / workers, (whole - all) % workers);
        interested + each + u64::from((mine as u64) < odd)
    } else {
        let remainder = |of: u64| whole * of % all;
        let floors: u64 = interested_by_worker.iter().map(|of| whole * u64::from(*of) / all).sum();
        let before_mine = |(at, of): (usize, &u32)| {
            let theirs = remainder(u64::from(*of));
            theirs > remainder(interested) || (theirs == remainder(interested) && at < mine)
        };
        let ahead = interested_by_worker.iter().enumerate().filter(|other| before_mine(*other));
        whole * interested / all + u64::from((ahead.count() as u64) < whole - floors)
    };
    u32::try_from(part).unwrap_or(total)
}

#[cfg(test)]
mod tests;
