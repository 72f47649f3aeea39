//! A reader that takes so many bytes a second, evenly, and no more. Pure.

use std::time::Duration;

use ringseed_meta::Instant;

use crate::limits::TRICKLE_BURST_MS;

/// What one slow reader may take.
#[derive(Clone, Copy, Debug)]
pub struct Trickle {
    bytes_per_s: u32,
    /// Up to when all allowance is spent or forgone.
    spent_until: Instant,
}

impl Trickle {
    /// `bytes_per_s` (at least 1) from `now` on.
    pub fn new(bytes_per_s: u32, now: Instant) -> Trickle {
        Trickle { bytes_per_s: bytes_per_s.max(1), spent_until: now }
    }

    /// Bytes that may be taken now. What was not taken for long is forgone: a burst would be no slow
    /// reader.
    pub fn allowed(&mut self, now: Instant) -> usize {
        let burst_from = now.as_us().saturating_sub(TRICKLE_BURST_MS * 1_000);
        self.spent_until = self.spent_until.max(Instant::from_us(burst_from));
        let since_us = now.since(self.spent_until).as_micros() as u64;
        (since_us * u64::from(self.bytes_per_s) / 1_000_000) as usize
    }

    /// So many were taken, at most those allowed.
    pub fn took(&mut self, bytes: usize) {
        let us = (bytes as u64 * 1_000_000).div_ceil(u64::from(self.bytes_per_s));
        self.spent_until = self.spent_until.after(Duration::from_micros(us));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_stretch_of_time_carries_more_than_its_bytes_and_one_burst(
            bytes_per_s in 1_u32..50_000_000, steps in prop::collection::vec((1_u64..400_000, 0.0_f64..=1.0), 1..60),
        ) {
            let mut now = Instant::from_us(9_000_000);
            let mut trickle = Trickle::new(bytes_per_s, now);
            let mut taken = Vec::new();
            for (step_us, share) in steps {
                now = Instant::from_us(now.as_us() + step_us);
                let allowed = trickle.allowed(now);
                let bytes = (allowed as f64 * share) as usize;
                trickle.took(bytes);
                taken.push((now, bytes as u64));
            }
            let burst = u64::from(bytes_per_s) * TRICKLE_BURST_MS / 1_000;
            for from in 0..taken.len() {
                let mut sum = 0;
                for (at, bytes) in &taken[from..] {
                    sum += bytes;
                    let elapsed_us = at.since(taken[from].0).as_micros() as u64;
                    let most = u64::from(bytes_per_s) * elapsed_us / 1_000_000 + burst + 1;
                    prop_assert!(sum <= most, "{sum} of {most}");
                }
            }
        }
    }

    #[test]
    fn a_reader_that_is_always_there_gets_its_rate() {
        let mut now = Instant::from_us(0);
        let mut trickle = Trickle::new(10_000, now);
        let mut sum = 0;
        for _ in 0..100 {
            now = now.after(Duration::from_millis(100));
            let allowed = trickle.allowed(now);
            trickle.took(allowed);
            sum += allowed;
        }
        assert_eq!(sum, 100_000);
    }
}
