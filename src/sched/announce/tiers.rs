//! A torrent's trackers in tiers, and the order in which an entry tries them (BEP 12).

use super::HostId;
use crate::limits::TRACKERS_MAX;
use crate::shuffle::mix;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One tracker of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tracker<U> {
    /// Whose queue it stands in.
    pub host: HostId,
    /// What the performer needs to reach it: an URL.
    pub url: U,
}

/// The trackers of a torrent, tier by tier. Shared by all torrents with the same list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tiers<U> {
    trackers: Box<[Tracker<U>]>,
    /// Where each tier ends in `trackers`.
    ends: Box<[u16]>,
}

impl<U> Tiers<U> {
    /// A list of tiers, each tried as a whole before the next; empty tiers are left out, and
    /// trackers beyond [`TRACKERS_MAX`].
    pub fn new(tiers: impl IntoIterator<Item = Vec<Tracker<U>>>) -> Tiers<U> {
        let (mut trackers, mut ends) = (Vec::new(), Vec::new());
        for tier in tiers {
            let room = usize::from(TRACKERS_MAX) - trackers.len();
            let before = trackers.len();
            trackers.extend(tier.into_iter().take(room));
            if trackers.len() > before {
                ends.push(u16::try_from(trackers.len()).unwrap_or(TRACKERS_MAX));
            }
        }
        Tiers { trackers: trackers.into(), ends: ends.into() }
    }

    /// All trackers, first tier first.
    pub fn trackers(&self) -> &[Tracker<U>] {
        &self.trackers
    }

    /// Names no tracker.
    pub fn is_empty(&self) -> bool {
        self.trackers.is_empty()
    }

    pub(super) fn len(&self) -> u16 {
        self.ends.last().copied().unwrap_or(0)
    }

    pub(super) fn at(&self, position: u16) -> &Tracker<U> {
        &self.trackers[usize::from(position)]
    }

    /// Which position to try as number `step`, from 0. BEP 12: tiers in order; within one,
    /// shuffled (by `salt`), and the one that worked last (`front`) first.
    pub(super) fn position(&self, step: u16, front: Option<u16>, salt: u64) -> Option<u16> {
        let tier = self.ends.iter().position(|end| step < *end)?;
        let end = self.ends[tier];
        let start = tier.checked_sub(1).map_or(0, |before| self.ends[before]);
        if end - start == 1 {
            return Some(start);
        }
        let mut order: Vec<u16> = (start..end).collect();
        order.sort_unstable_by_key(|at| (Some(*at) != front, mix(salt ^ u64::from(*at)), *at));
        order.get(usize::from(step - start)).copied()
    }
}

impl<U: Clone> Tiers<U> {
    /// The same list with one tracker less.
    pub(super) fn without(&self, position: u16) -> Tiers<U> {
        let mut start = 0;
        Tiers::new(self.ends.iter().map(|end| {
            let tier = start..*end;
            start = *end;
            tier.filter(|at| *at != position).map(|at| self.at(at).clone()).collect()
        }))
    }
}
