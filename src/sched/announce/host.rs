//! A tracker host's queue and how much may be under way there: a window that grows with answers
//! and shrinks with silence, a pace, and a pause when the host is down.

use super::{Options, doubled, jittered};
use crate::limits::{ABSENT_RETRY, DOWN_AFTER_SILENT, RETRY_FIRST, RETRY_MOST, STOP_WINDOW_FACTOR};
use crate::rate::{Bucket, Taken};
use ringseed_meta::Instant;

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// Entries in line, linked through the entries themselves.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) len: u32,
}

impl Line {
    pub(super) const EMPTY: Line = Line { first: NONE, last: NONE, len: 0 };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Up,
    /// Backing off for the n-th time, until then; afterwards one entry at a time asks again.
    Down {
        times: u8,
        until: Instant,
    },
}

/// May another announce begin?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    Now,
    /// Ask again then.
    NotBefore(Instant),
    /// When something in flight has finished.
    Later,
}

/// One host and family.
pub(super) struct Host {
    pub(super) line: Line,
    /// Stands in the ring of hosts that may begin something.
    pub(super) listed: bool,
    /// The earliest time for which the heap will wake this host.
    pub(super) timer: Option<Instant>,
    in_flight: u32,
    window: u32,
    silent_in_row: u8,
    health: Health,
    pace: Bucket,
}

impl Host {
    pub(super) fn new(options: &Options, now: Instant) -> Host {
        let window = options.concurrency_per_host.max(1);
        let per_s = u64::from(options.starts_per_host_per_s);
        Host {
            line: Line::EMPTY,
            listed: false,
            timer: None,
            in_flight: 0,
            window,
            silent_in_row: 0,
            health: Health::Up,
            pace: Bucket::new(per_s, u64::from(window), now),
        }
    }

    /// When this host may be asked again: `None` when it is not backed off.
    pub(super) fn down_until(&self, now: Instant) -> Option<Instant> {
        match self.health {
            Health::Up => None,
            // Due for a question, and nobody asks yet: as good as up for the next entry.
            Health::Down { until, .. } if until <= now && self.in_flight == 0 => None,
            Health::Down { until, .. } => Some(until),
        }
    }

    /// Begins an announce if it may. `stopping`: at shutdown, time is short, the pace falls away.
    pub(super) fn start(&mut self, stopping: bool, now: Instant) -> Start {
        match self.health {
            Health::Down { until, .. } if until > now => return Start::NotBefore(until),
            Health::Down { .. } if self.in_flight > 0 => return Start::Later,
            Health::Down { .. } => {}
            Health::Up => {
                let window = self.window * if stopping { STOP_WINDOW_FACTOR } else { 1 };
                if self.in_flight >= window {
                    return Start::Later;
                }
            }
        }
        if !stopping && let Taken::NotBefore(then) = self.pace.take(1, now) {
            return Start::NotBefore(then);
        }
        self.in_flight += 1;
        Start::Now
    }

    /// The host gave any answer.
    pub(super) fn answered(&mut self, options: &Options) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.silent_in_row = 0;
        self.window = (self.window + 1).min(options.concurrency_per_host.max(1));
        self.health = Health::Up;
    }

    /// Nobody waited for its answer.
    pub(super) fn broken_off(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The host gave none. Is it down now, by this?
    pub(super) fn silent(&mut self, now: Instant, random: u64) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.silent_in_row = self.silent_in_row.saturating_add(1);
        self.window = (self.window / 2).max(1);
        let times = match self.health {
            Health::Up if self.in_flight > 0 && self.silent_in_row < DOWN_AFTER_SILENT => {
                return false;
            }
            Health::Up => 0,
            // What was under way when it went down says nothing new.
            Health::Down { until, .. } if until > now => return false,
            Health::Down { times, .. } => times.saturating_add(1),
        };
        let wait = doubled(RETRY_FIRST, times, RETRY_MOST);
        self.health = Health::Down { times, until: now.after(jittered(wait, random)) };
        true
    }

    /// The host has no address of this family, or there is no way to it.
    pub(super) fn absent(&mut self, now: Instant, random: u64) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let until = now.after(jittered(ABSENT_RETRY, random));
        let news = self.down_until(now).is_none();
        self.health = Health::Down { times: 0, until };
        news
    }
}
