//! The one clock of a run, and when its time counts.

use std::sync::atomic::{AtomicU64, Ordering};
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

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Connections are made; nothing is asked for.
    Opening,
    /// The load is on; nothing counts yet.
    WarmingUp,
    /// What happens counts.
    Counting,
    /// Threads end.
    Over,
}

/// The times that divide a run, set once by the main thread and read by all.
#[derive(Debug)]
pub struct Schedule {
    ask_from: AtomicU64,
    count_from: AtomicU64,
    until: AtomicU64,
}

impl Schedule {
    /// Opening, until told otherwise.
    pub fn new() -> Schedule {
        let never = || AtomicU64::new(u64::MAX);
        Schedule { ask_from: never(), count_from: never(), until: never() }
    }

    /// Sets the times. Returns when counting begins and when it ends.
    pub fn begin(&self, now: Instant, warm_up: Duration, length: Duration) -> (Instant, Instant) {
        let count_from = now.after(warm_up);
        let until = count_from.after(length);
        self.until.store(until.as_us(), Ordering::Relaxed);
        self.count_from.store(count_from.as_us(), Ordering::Relaxed);
        self.ask_from.store(now.as_us(), Ordering::Relaxed);
        (count_from, until)
    }

    /// Over at once, however far it came.
    pub fn end(&self) {
        for time in [&self.until, &self.count_from, &self.ask_from] {
            time.store(0, Ordering::Relaxed);
        }
    }

    /// Where the run stands at `now`.
    #[inline]
    pub fn stage(&self, now: Instant) -> Stage {
        let now = now.as_us();
        if now < self.ask_from.load(Ordering::Relaxed) {
            Stage::Opening
        } else if now < self.count_from.load(Ordering::Relaxed) {
            Stage::WarmingUp
        } else if now < self.until.load(Ordering::Relaxed) {
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
    fn a_run_goes_through_its_stages_in_order() {
        let schedule = Schedule::new();
        assert_eq!(schedule.stage(Instant::from_us(1 << 40)), Stage::Opening);
        let s = Duration::from_secs;
        let (from, until) = schedule.begin(Instant::from_us(5_000_000), s(1), s(10));
        assert_eq!((from.as_us(), until.as_us()), (6_000_000, 16_000_000));
        let stages = [4_999_999, 5_000_000, 6_000_000, 15_999_999, 16_000_000]
            .map(|us| schedule.stage(Instant::from_us(us)));
        use Stage::*;
        assert_eq!(stages, [Opening, WarmingUp, Counting, Counting, Over]);
        schedule.end();
        assert_eq!(schedule.stage(Instant::ZERO), Over);
    }
}
