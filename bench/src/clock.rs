//! The one clock of a run, and when the time of a phase counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ringseed_meta::Instant;

/// Tells the time since the run began, the same in all threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// Begins now.
    #[allow(clippy::disallowed_methods, reason = "the one place of this program that reads it")]
    pub fn start() -> Clock {
        Clock(std::time::Instant::now())
    }

    /// Now.
    #[inline]
    pub fn now(&self) -> Instant {
        Instant::from_us(self.0.elapsed().as_micros() as u64)
    }
}

/// Where a phase stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Connections are made; nothing is asked for.
    Opening,
    /// The load is on; nothing counts yet.
    WarmingUp,
    /// What happens counts.
    Counting,
    /// Nothing more is asked for. Connections stay, so that what the target holds for them can be
    /// read.
    Over,
    /// Connections are closed, and threads end.
    Closing,
}

/// The times that divide a phase, set by the main thread and read by all.
#[derive(Debug)]
pub struct Schedule {
    ask_from: AtomicU64,
    count_from: AtomicU64,
    until: AtomicU64,
    interval_us: AtomicU64,
    closing: AtomicBool,
}

impl Schedule {
    /// Opening, until told otherwise.
    pub fn new() -> Schedule {
        let never = || AtomicU64::new(u64::MAX);
        Schedule {
            ask_from: never(),
            count_from: never(),
            until: never(),
            interval_us: never(),
            closing: AtomicBool::new(false),
        }
    }

    /// Sets the times: the load begins now. Returns when counting begins and when it ends.
    pub fn begin(
        &self,
        now: Instant,
        warm_up: Duration,
        length: Duration,
        interval: Duration,
    ) -> (Instant, Instant) {
        let count_from = now.after(warm_up);
        let until = count_from.after(length);
        self.interval_us.store(interval.as_micros().max(1) as u64, Ordering::Relaxed);
        self.until.store(until.as_us(), Ordering::Relaxed);
        self.count_from.store(count_from.as_us(), Ordering::Relaxed);
        // What was stored before is seen by whoever sees that the load is on.
        self.ask_from.store(now.as_us(), Ordering::Release);
        (count_from, until)
    }

    /// Over at once, however far it came; connections are closed.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// When the load begins. The end of time while that is not known.
    pub fn ask_from(&self) -> Instant {
        Instant::from_us(self.ask_from.load(Ordering::Acquire))
    }

    /// When counting begins. The end of time while that is not known.
    pub fn count_from(&self) -> Instant {
        Instant::from_us(self.count_from.load(Ordering::Relaxed))
    }

    /// When counting ends. The end of time while that is not known.
    pub fn until(&self) -> Instant {
        Instant::from_us(self.until.load(Ordering::Relaxed))
    }

    /// The length of an interval; the first one begins when counting does.
    pub fn interval(&self) -> Duration {
        Duration::from_micros(self.interval_us.load(Ordering::Relaxed))
    }

    /// Where the phase stands at `now`.
    #[inline]
    pub fn stage(&self, now: Instant) -> Stage {
        if self.closing.load(Ordering::Relaxed) {
            Stage::Closing
        } else if now < self.ask_from() {
            Stage::Opening
        } else if now < self.count_from() {
            Stage::WarmingUp
        } else if now < self.until() {
            Stage::Counting
        } else {
            Stage::Over
        }
    }
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_goes_through_its_stages_in_order() {
        let schedule = Schedule::new();
        assert_eq!(schedule.stage(Instant::from_us(1 << 40)), Stage::Opening);
        let s = Duration::from_secs;
        let (from, until) = schedule.begin(Instant::from_us(5_000_000), s(1), s(10), s(1));
        assert_eq!((from.as_us(), until.as_us()), (6_000_000, 16_000_000));
        let stages = [4_999_999, 5_000_000, 6_000_000, 15_999_999, 16_000_000]
            .map(|us| schedule.stage(Instant::from_us(us)));
        use Stage::*;
        assert_eq!(stages, [Opening, WarmingUp, Counting, Counting, Over]);
        schedule.close();
        assert_eq!(schedule.stage(Instant::ZERO), Closing);
    }
}
