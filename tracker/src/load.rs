//! How busy the thread is, and what clients are asked for it: they come back later. Pure.

use std::time::Duration;

use ringseed_meta::Instant;

use crate::limits;

/// The share of a core that was used, looked at once in [`limits::LOAD_WINDOW`].
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// The last look: when, and the CPU time until then.
    looked: Option<(Instant, Duration)>,
    /// By how many quarters of itself the interval is longer.
    quarters: u32,
}

impl Load {
    /// Whether it is time to look again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.looked.is_none_or(|(before, _)| now >= before.after(limits::LOAD_WINDOW))
    }

    /// The thread has used so much CPU time since it began.
    pub(crate) fn look(&mut self, now: Instant, cpu: Duration) {
        let Some((before, cpu_before)) = self.looked.replace((now, cpu)) else { return };
        let (passed, used) = (now.since(before), cpu.saturating_sub(cpu_before));
        if used >= passed.mul_f64(limits::LOAD_HIGH) {
            self.quarters = (self.quarters + 1).min(limits::STRETCH_QUARTERS_MAX);
        } else if used < passed.mul_f64(limits::LOAD_LOW) {
            self.quarters = self.quarters.saturating_sub(1);
        }
    }

    /// What clients are told instead of an interval of so many seconds.
    pub(crate) fn stretch(&self, interval_s: u32) -> u32 {
        let quarters = u64::from(interval_s) * u64::from(4 + self.quarters);
        u32::try_from(quarters / 4).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks after windows in which these shares of a core were used; the intervals told then.
    fn told(load: &mut Load, shares: &[f64]) -> Vec<u32> {
        let (mut now, mut cpu) = load.looked.unwrap_or((Instant::ZERO, Duration::ZERO));
        if load.looked.is_none() {
            assert!(load.is_due(now));
            load.look(now, cpu);
        }
        let one = |share: &f64| {
            let second_before = limits::LOAD_WINDOW - Duration::from_secs(1);
            assert!(!load.is_due(now.after(second_before)));
            now = now.after(limits::LOAD_WINDOW);
            assert!(load.is_due(now));
            cpu += limits::LOAD_WINDOW.mul_f64(*share);
            load.look(now, cpu);
            load.stretch(1800)
        };
        shares.iter().map(one).collect()
    }

    #[test]
    fn the_interval_grows_while_the_thread_is_busy_and_shrinks_when_it_is_not() {
        let mut load = Load::default();
        assert_eq!(load.stretch(1800), 1800);
        assert_eq!(told(&mut load, &[0.3, 0.85, 0.95, 1.0]), [1800, 1800, 2250, 2700]);
        assert_eq!(told(&mut load, &[0.7, 0.95, 0.95, 0.95]), [2700, 3150, 3600, 3600]);
        assert_eq!(
            told(&mut load, &[0.4, 0.6, 0.1, 0.0, 0.0, 0.0]),
            [3150, 3150, 2700, 2250, 1800, 1800]
        );
        assert_eq!(load.stretch(u32::MAX), u32::MAX);
    }

    #[test]
    fn a_peer_that_was_told_the_longest_interval_is_still_there_when_it_comes_back() {
        let mut load = Load::default();
        told(&mut load, &[1.0; 20]);
        for interval in [limits::INTERVAL_MIN, Duration::from_secs(1800), limits::INTERVAL_MAX] {
            let rules = crate::Rules::every(interval, limits::INTERVAL_MIN);
            let told = Duration::from_secs(u64::from(load.stretch(rules.interval_s())));
            assert!(told + limits::SILENT_MARGIN <= rules.bounds.silent_max, "{told:?}");
        }
    }
}
