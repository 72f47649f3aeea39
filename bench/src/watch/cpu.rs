//! Busy time of all cores, from `/proc/stat`.

use std::time::Duration;

use super::{WatchError, read};

/// Ticks a second of the times in /proc. A kernel constant (`USER_HZ`) of 100 on every
/// architecture that Linux gives to user space here (x86-64, arm64, riscv64).
const TICKS_PER_S: u64 = 100;

const PATH: &str = "/proc/stat";

/// Time that all cores together have spent since the system started, by kind. Ticks (10 ms).
///
/// Idle time is kept exactly. The kinds of busy time are sampled on many kernels, by what a core
/// does when its timer ticks: they tell kinds apart, but miss much of programs that run for
/// microseconds between sleeps (a third, with one request outstanding on one connection).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CoreTicks {
    /// Cores that are online.
    pub cores: u32,
    /// Programs, niced ones included.
    pub user: u64,
    /// System calls.
    pub system: u64,
    /// Hard interrupts.
    pub irq: u64,
    /// Soft interrupts: most of what TCP does on loopback.
    pub softirq: u64,
    /// Nothing to do, waiting for a disk included.
    pub idle: u64,
    /// Taken by the hypervisor for others: not ours, but the run is worth less when it is much.
    pub steal: u64,
}

impl CoreTicks {
    /// Reads `/proc/stat`: its first line, and how many cores have one.
    pub fn parse(text: &str) -> Result<CoreTicks, WatchError> {
        let form = |what| WatchError::Form { path: PATH.into(), what };
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default();
        let cores = lines.take_while(|line| line.starts_with("cpu")).count() as u32;
        let mut fields =
            line.strip_prefix("cpu ").ok_or(form("the line 'cpu'"))?.split_whitespace();
        let mut ticks =
            |what| fields.next().and_then(|field| field.parse::<u64>().ok()).ok_or(form(what));
        let (user, nice) = (ticks("user")?, ticks("nice")?);
        let (system, idle, iowait) = (ticks("system")?, ticks("idle")?, ticks("iowait")?);
        let (irq, softirq, steal) = (ticks("irq")?, ticks("softirq")?, ticks("steal")?);
        let user = user + nice;
        Ok(CoreTicks { cores, user, system, irq, softirq, idle: idle + iowait, steal })
    }

    /// As it is now.
    pub fn read() -> Result<CoreTicks, WatchError> {
        CoreTicks::parse(&read(PATH)?)
    }

    /// What was spent since `earlier`. (Idle time may run backwards by a tick; that counts as none.)
    pub fn since(&self, earlier: &CoreTicks) -> CoreTicks {
        CoreTicks {
            cores: self.cores,
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            irq: self.irq.saturating_sub(earlier.irq),
            softirq: self.softirq.saturating_sub(earlier.softirq),
            idle: self.idle.saturating_sub(earlier.idle),
            steal: self.steal.saturating_sub(earlier.steal),
        }
    }

    /// What all cores did in `elapsed` but idle, wait for disks, and lose to the hypervisor.
    pub fn busy(&self, elapsed: Duration) -> Duration {
        (elapsed * self.cores).saturating_sub(time_of(self.idle + self.steal))
    }

    /// Busy time as it was sampled.
    pub fn sampled(&self) -> Duration {
        time_of(self.user + self.system + self.irq + self.softirq)
    }
}

/// A number of ticks as time.
pub fn time_of(ticks: u64) -> Duration {
    Duration::from_millis(ticks * (1000 / TICKS_PER_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_is_what_idle_iowait_and_steal_leave() {
        let cores = "cpu0 1 1\ncpu1 1 1\nintr 5";
        let before =
            CoreTicks::parse(&format!("cpu  100 10 50 1000 20 1 2 3 0 0\n{cores}")).unwrap();
        let after =
            CoreTicks::parse(&format!("cpu  150 20 90 1900 70 2 42 9 0 0\n{cores}")).unwrap();
        let spent = after.since(&before);
        assert_eq!((spent.cores, spent.idle, spent.steal), (2, 950, 6));
        assert_eq!(spent.busy(Duration::from_secs(6)), Duration::from_millis(12_000 - 9_560));
        assert_eq!(spent.sampled(), Duration::from_millis((60 + 40 + 1 + 40) * 10));
        assert_eq!(spent.busy(Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn a_stat_file_without_its_first_line_is_an_error_that_names_it() {
        let error = CoreTicks::parse("cpu0 1 2 3").unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot understand /proc/stat: the line 'cpu' is missing or not a number"
        );
        assert!(CoreTicks::parse("cpu  1 2 3 4 5 6 x 8").is_err());
    }

    #[test]
    fn the_running_kernel_is_understood() {
        let cores = CoreTicks::read().unwrap();
        assert!(cores.idle > 0 && cores.cores > 0);
    }
}
