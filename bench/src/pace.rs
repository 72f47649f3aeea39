//! An open loop: arrivals at fixed times, whatever becomes of them. Pure.

use ringseed_meta::Instant;

/// The arrivals of one thread out of several that make one rate together: evenly spaced, the threads
/// taking turns. Each time is computed from the start by its number, so that nothing adds up.
#[derive(Clone, Debug)]
pub struct Pace {
    start: Instant,
    per_second: f64,
    /// This thread's place among so many.
    place: u64,
    places: u64,
    /// Of the next arrival, within this thread.
    number: u64,
}

impl Pace {
    /// Arrivals `per_second` (over 0) times a second from `start` on, of which this is the part of
    /// thread `place` of `places`.
    pub fn new(start: Instant, per_second: f64, place: u32, places: u32) -> Pace {
        let (place, places) = (u64::from(place), u64::from(places.max(1)));
        Pace { start, per_second: per_second.max(f64::MIN_POSITIVE), place, places, number: 0 }
    }

    /// When the next arrival is due.
    pub fn next_at(&self) -> Instant {
        let number = self.number * self.places + self.place;
        // Microseconds of 285 years are exact in this type; the cast saturates past them.
        let after_us = (number as f64 * 1e6 / self.per_second) as u64;
        Instant::from_us(self.start.as_us().saturating_add(after_us))
    }

    /// Takes the next arrival, if it is due: the time it was due at, and its number.
    pub fn take_due(&mut self, now: Instant) -> Option<(Instant, u64)> {
        let (at, number) = (self.next_at(), self.number);
        (at <= now).then(|| {
            self.number += 1;
            (at, number)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Instant = Instant::from_us(7_000_000);

    fn all_until(pace: &mut Pace, end: Instant) -> Vec<u64> {
        std::iter::from_fn(|| pace.take_due(end)).map(|(at, _)| at.as_us()).collect()
    }

    proptest! {
        #[test]
        fn threads_together_keep_the_rate_without_drift_however_often_they_look(
            per_second in 0.5_f64..50_000.0, places in 1_u32..5, looks in prop::collection::vec(1_u64..30_000, 1..12),
        ) {
            let mut merged = Vec::new();
            let mut end = START;
            for place in 0..places {
                let mut pace = Pace::new(START, per_second, place, places);
                end = START;
                for look in &looks {
                    end = Instant::from_us(end.as_us() + look);
                    let due = all_until(&mut pace, end);
                    prop_assert!(due.is_sorted() && due.iter().all(|at| *at <= end.as_us()));
                    prop_assert!(pace.next_at() > end);
                    merged.extend(due);
                }
            }
            merged.sort_unstable();
            let elapsed_s = (end.as_us() - START.as_us()) as f64 / 1e6;
            let right = (elapsed_s * per_second).floor() as i64 + 1;
            // One more or less: the last arrival's time is cut to a microsecond.
            prop_assert!((merged.len() as i64 - right).abs() <= 1, "{} of {right}", merged.len());
            for (number, at) in merged.iter().enumerate() {
                let right = START.as_us() as f64 + number as f64 * 1e6 / per_second;
                prop_assert!((*at as f64 - right).abs() <= 1.0);
            }
        }
    }

    #[test]
    fn a_thread_that_comes_late_finds_every_arrival_at_its_own_time() {
        let mut pace = Pace::new(START, 1_000.0, 1, 2);
        assert_eq!(pace.take_due(START), None);
        let due = all_until(&mut pace, Instant::from_us(START.as_us() + 7_000));
        assert_eq!(
            due.iter().map(|at| at - START.as_us()).collect::<Vec<_>>(),
            [1_000, 3_000, 5_000, 7_000]
        );
    }
}
