//! How workers share the work: which of them gives connections to which, and where a new one goes.
//!
//! What is evened out is busy time, not connections: one peer may cost as much as a thousand, and a
//! core may be kept from its worker by another program. The busiest worker gives to the least busy
//! one, at most half of what lies between them, so that the two never change places; and only what
//! stays uneven for a while counts, so that a burst moves nobody. Of a new connection nothing is
//! known but that it is one: those are evened out by count.

use crate::limits::{MOVES_AT_ONCE, SETTLE, UNEVEN_FOR, UNEVEN_PERMILLE};
use alloc::vec::Vec;
use ringseed_meta::Instant;

/// One worker, as it is told to the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Thousandths of the last second in which it worked, or waited for a core to work on.
    pub busy_permille: u32,
    /// Connections that it has, or that are on their way to it.
    pub connections: u32,
}

/// What a worker is to give away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gift {
    /// The place of the worker that gets it.
    pub to: usize,
    /// At most so many thousandths of a core.
    pub permille: u32,
}

/// What one worker remembers between two looks at all loads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Balance {
    uneven_since: Option<Instant>,
    /// What was given last shows in the loads from then on.
    settled_at: Instant,
}

impl Balance {
    /// Whether the worker at place `me` gives something away now.
    pub fn look(&mut self, me: usize, loads: &[Load], now: Instant) -> Option<Gift> {
        let busy = |place: &usize| loads.get(*place).map_or(0, |load| load.busy_permille);
        // The first of equals, in both: so that all workers see the same pair.
        let least = (0..loads.len()).min_by_key(busy)?;
        let busiest = (0..loads.len()).rev().max_by_key(busy)?;
        let between = busy(&busiest).saturating_sub(busy(&least));
        if busiest != me || between <= UNEVEN_PERMILLE {
            self.uneven_since = None;
            return None;
        }
        let since = *self.uneven_since.get_or_insert(now);
        if now.since(since) < UNEVEN_FOR || now < self.settled_at {
            return None;
        }
        self.uneven_since = None;
        self.settled_at = now.after(SETTLE);
        Some(Gift { to: least, permille: between / 2 })
    }
}

/// Which connections make up a gift of `permille`, for a worker that is busy for `busy_permille`:
/// each costs by its share of all bytes. The largest that fit come first, since each move costs;
/// those that move nothing stay. `rates` are keys and bytes per second, and are put in order.
pub fn choose(permille: u32, busy_permille: u32, rates: &mut [(u32, u64)]) -> Vec<u32> {
    let all: u128 = rates.iter().map(|(_, rate)| u128::from(*rate)).sum();
    if all == 0 {
        return Vec::new();
    }
    rates.sort_unstable_by_key(|(key, rate)| (core::cmp::Reverse(*rate), *key));
    // In bytes per second: what the gift is worth.
    let mut left = all * u128::from(permille) / u128::from(busy_permille.max(1));
    let mut chosen = Vec::new();
    for (key, rate) in rates.iter().map(|(key, rate)| (*key, u128::from(*rate))) {
        if chosen.len() == MOVES_AT_ONCE || rate == 0 {
            break;
        }
        if rate <= left {
            left -= rate;
            chosen.push(key);
        }
    }
    chosen
}

/// Where a connection goes that the worker at place `me` has accepted.
pub fn place_new(me: usize, loads: &[Load]) -> usize {
    let Some(mine) = loads.get(me) else { return me };
    let places = || loads.iter().enumerate();
    let quietest = places().min_by_key(|(_, load)| (load.busy_permille, load.connections));
    if let Some((place, load)) = quietest
        && load.busy_permille + UNEVEN_PERMILLE < mine.busy_permille
        // How busy the newest keep it does not show yet.
        && load.connections <= mine.connections.saturating_mul(2).saturating_add(8)
    {
        return place;
    }
    let is_free = |load: &Load| load.busy_permille <= mine.busy_permille + UNEVEN_PERMILLE;
    let fewest =
        places().filter(|(_, load)| is_free(load)).min_by_key(|(_, load)| load.connections);
    match fewest {
        // Handing over costs: of many, chance evens out most.
        Some((place, load)) if load.connections + mine.connections / 8 < mine.connections => place,
        _ => me,
    }
}

#[cfg(test)]
mod tests;
