//! The intervals of a phase's counted time. Pure.

use std::time::Duration;

use ringseed_meta::Instant;

use crate::limits::INTERVALS_MAX;

/// Intervals of a second; in short phases of a quarter, so that a series is a series.
const INTERVAL: Duration = Duration::from_secs(1);
const SHORT_INTERVAL: Duration = Duration::from_millis(250);
const SHORT_PHASE: Duration = Duration::from_secs(5);

/// The length of an interval in a phase of this length, which it divides.
pub(super) fn interval_of(length: Duration) -> Duration {
    let aim = if length < SHORT_PHASE { SHORT_INTERVAL } else { INTERVAL };
    let count = length.as_micros().div_ceil(aim.as_micros()).clamp(1, INTERVALS_MAX.into());
    (length / count as u32).max(Duration::from_micros(1))
}

/// Counted time as it is divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) interval: Duration,
}

impl Timeline {
    /// Intervals in all.
    pub(super) fn count(&self) -> usize {
        let length = self.until.since(self.from).as_micros();
        length.div_ceil(self.interval.as_micros().max(1)) as usize
    }

    /// Intervals that are over at `now`.
    pub(super) fn over_at(&self, now: Instant) -> usize {
        if now >= self.until {
            return self.count();
        }
        (now.since(self.from).as_micros() / self.interval.as_micros().max(1)) as usize
    }

    /// The end of interval `index`.
    pub(super) fn end_of(&self, index: usize) -> Instant {
        self.from.after(self.interval * (index as u32 + 1)).min(self.until)
    }

    /// The interval that ends at or before `until`: what a thread saw until then belongs to it.
    pub(super) fn index_until(&self, until: Instant) -> usize {
        self.over_at(until).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_divide_a_phase_and_are_not_too_many() {
        let cases = [(10_000, 1_000), (7_500, 937), (4_000, 250), (100, 100), (3_600_000, 6_000)];
        for (length, interval) in cases {
            let got = interval_of(Duration::from_millis(length));
            assert_eq!(got.as_millis(), interval, "{length} ms");
        }
    }

    #[test]
    fn every_moment_of_counted_time_has_its_interval() {
        let at = Instant::from_us;
        let line =
            Timeline { from: at(1_000), until: at(2_000), interval: Duration::from_micros(333) };
        assert_eq!(line.count(), 4);
        assert_eq!(line.end_of(0), at(1_333));
        assert_eq!(line.end_of(3), at(2_000));
        assert_eq!(
            [1_000, 1_332, 1_333, 1_999, 2_000, 9_999].map(|us| line.over_at(at(us))),
            [0, 0, 1, 3, 4, 4]
        );
        assert_eq!(
            [900, 1_333, 1_666, 2_000, 9_999].map(|us| line.index_until(at(us))),
            [0, 0, 1, 3, 3]
        );
    }
}
