//! What is watched while a run goes: CPU time, memory and descriptors of the target, CPU time of
//! all cores and of this program, and the machine itself.

pub mod cgroup;
pub mod cpu;
pub mod leak;
pub mod machine;
pub mod process;
pub mod sockets;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use ringseed_meta::Instant;
use ringseed_ring::system;

use self::cpu::{CoreTicks, time_of};
use self::process::Thread;
use crate::limits::THREADS_TOLD_MAX;
use crate::results::{Cost, Memory, ThreadTime};

/// A file of the system that does not read as proc(5) says.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    /// The file is there, but not in its form.
    #[error("cannot understand {path}: {what} is missing or not a number")]
    Form { path: String, what: &'static str },
    /// The target is gone.
    #[error("process {0} (--pid) has ended")]
    Ended(u32),
}

/// The text of a file. Names in it need not be UTF-8.
fn read(path: &str) -> Result<String, WatchError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(source) => Err(WatchError::Read { path: path.into(), source }),
    }
}

/// All counters at one moment; figures are made of two.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// When it was taken.
    pub at: Instant,
    cores: CoreTicks,
    own: Duration,
    target: Option<TargetTimes>,
    /// What the target holds; all absent without one.
    pub memory: Memory,
}

#[derive(Clone, PartialEq, Debug)]
struct TargetTimes {
    /// Another process of the same number has another.
    started_ticks: u64,
    cpu: Duration,
    threads: BTreeMap<u32, Thread>,
}

impl Reading {
    /// Reads all counters; `pid` is the target's process, `at` the time now. A target that has ended
    /// is an error that says so.
    pub fn take(pid: Option<u32>, at: Instant) -> anyhow::Result<Reading> {
        let (user, system) = system::process_cpu().context("cannot read our own CPU time")?;
        let cores = CoreTicks::read()?;
        let target = pid.map(TargetTimes::read).transpose()?;
        let memory = pid.map(memory_of).transpose()?.unwrap_or_default();
        Ok(Reading { at, cores, own: user + system, target, memory })
    }

    /// What was spent since `earlier`, in which `payload_bytes` of blocks were received.
    pub fn cost_since(&self, earlier: &Reading, payload_bytes: u64) -> Cost {
        let elapsed = self.at.since(earlier.at);
        let cores = self.cores.since(&earlier.cores);
        let own = self.own.saturating_sub(earlier.own);
        let busy = cores.busy(elapsed);
        let target =
            self.same_target(earlier).map(|(now, before)| now.cpu.saturating_sub(before.cpu));
        let gb = payload_bytes as f64 / 1e9;
        let seconds = |ticks| time_of(ticks).as_secs_f64();
        let by =
            |time: Duration| (gb > 0.0 && time > Duration::ZERO).then(|| gb / time.as_secs_f64());
        Cost {
            elapsed_s: elapsed.as_secs_f64(),
            busy_s: busy.as_secs_f64(),
            busy_sampled_s: cores.sampled().as_secs_f64(),
            user_s: seconds(cores.user),
            system_s: seconds(cores.system),
            irq_s: seconds(cores.irq),
            softirq_s: seconds(cores.softirq),
            steal_s: seconds(cores.steal),
            target_s: target.map(|time| time.as_secs_f64()),
            own_s: own.as_secs_f64(),
            gb_per_s: by(elapsed).unwrap_or_default(),
            gb_per_cpu_s: by(busy),
            gb_per_target_cpu_s: target.and_then(by),
            gb_per_own_cpu_s: by(own),
        }
    }

    /// CPU time of each of the target's threads since `earlier`, the busiest first; idle ones are
    /// left out, and those past [`THREADS_TOLD_MAX`] summed up in the last.
    pub fn threads_since(&self, earlier: &Reading) -> Vec<ThreadTime> {
        let Some((now, before)) = self.same_target(earlier) else { return Vec::new() };
        let mut spent = spent_between(&before.threads, &now.threads);
        spent.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let others = spent.split_off(spent.len().min(THREADS_TOLD_MAX));
        let mut times: Vec<ThreadTime> =
            spent.into_iter().map(|(cpu, name)| time_told(name.into(), cpu)).collect();
        if !others.is_empty() {
            let sum = others.iter().map(|(cpu, _)| *cpu).sum();
            times.push(time_told(format!("{} other threads", others.len()), sum));
        }
        times
    }

    /// Both times of the target, if it is the same process.
    fn same_target<'a>(
        &'a self,
        earlier: &'a Reading,
    ) -> Option<(&'a TargetTimes, &'a TargetTimes)> {
        let both = self.target.as_ref().zip(earlier.target.as_ref());
        both.filter(|(now, before)| now.started_ticks == before.started_ticks)
    }
}

/// CPU time of each thread that is there now, but for those that spent none.
fn spent_between<'a>(
    before: &BTreeMap<u32, Thread>,
    now: &'a BTreeMap<u32, Thread>,
) -> Vec<(Duration, &'a str)> {
    let spent = now.iter().map(|(number, thread)| {
        let earlier = before.get(number).map_or(Duration::ZERO, |thread| thread.cpu);
        (thread.cpu.saturating_sub(earlier), thread.name.as_str())
    });
    spent.filter(|(cpu, _)| *cpu > Duration::ZERO).collect()
}

fn time_told(name: String, cpu: Duration) -> ThreadTime {
    ThreadTime { name, cpu_s: cpu.as_secs_f64() }
}

/// CPU times of this program's own threads until now. Empty where they cannot be read.
#[derive(Clone, Debug, Default)]
pub struct OwnThreads(BTreeMap<u32, Thread>);

impl OwnThreads {
    /// Reads them.
    pub fn read() -> OwnThreads {
        OwnThreads(process::threads(std::process::id()).unwrap_or_default())
    }

    /// What each of those that are there now has spent since `earlier`.
    pub fn since(&self, earlier: &OwnThreads) -> Vec<ThreadTime> {
        let spent = spent_between(&earlier.0, &self.0).into_iter();
        spent.map(|(cpu, name)| time_told(name.into(), cpu)).collect()
    }
}

impl TargetTimes {
    fn read(pid: u32) -> Result<TargetTimes, WatchError> {
        let stat = process::stat(pid)?;
        let threads = process::threads(pid)?;
        Ok(TargetTimes { started_ticks: stat.started_ticks, cpu: stat.cpu, threads })
    }
}

/// What process `pid` holds while nothing is asked of it, connections at its `port` among it: to be
/// called between phases. A target that has ended is an error that says so.
pub fn at_rest(pid: u32, port: Option<u16>) -> Result<Memory, WatchError> {
    let connections = port.and_then(|port| sockets::connections(pid, port));
    Ok(Memory { connections, ..memory_of(pid)? })
}

fn memory_of(pid: u32) -> Result<Memory, WatchError> {
    Ok(Memory {
        connections: None,
        anonymous_bytes: process::parse_anonymous(&process::status(pid)?),
        cgroup_less_file_bytes: cgroup::less_file_bytes(pid),
        descriptors: process::descriptors(pid),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at_s: u64, idle: u64, cpu_ms: u64, threads: &[(u32, &str, u64)]) -> Reading {
        let ms = Duration::from_millis;
        let threads = threads
            .iter()
            .map(|(number, name, cpu)| (*number, Thread { name: (*name).into(), cpu: ms(*cpu) }));
        Reading {
            at: Instant::from_us(at_s * 1_000_000),
            cores: CoreTicks { cores: 2, idle, ..CoreTicks::default() },
            own: ms(cpu_ms / 2),
            target: Some(TargetTimes {
                started_ticks: 7,
                cpu: ms(cpu_ms),
                threads: threads.collect(),
            }),
            memory: Memory::default(),
        }
    }

    #[test]
    fn bytes_are_divided_by_each_kind_of_time() {
        let (before, after) = (reading(10, 1000, 500, &[]), reading(12, 1100, 1000, &[]));
        let cost = after.cost_since(&before, 6_000_000_000);
        assert_eq!((cost.elapsed_s, cost.busy_s), (2.0, 3.0));
        assert_eq!((cost.target_s, cost.own_s), (Some(0.5), 0.25));
        assert_eq!((cost.gb_per_s, cost.gb_per_cpu_s), (3.0, Some(2.0)));
        assert_eq!((cost.gb_per_target_cpu_s, cost.gb_per_own_cpu_s), (Some(12.0), Some(24.0)));
    }

    #[test]
    fn nothing_received_or_spent_is_no_figure() {
        let (before, after) = (reading(10, 1000, 500, &[]), reading(12, 1100, 500, &[]));
        assert_eq!(after.cost_since(&before, 0).gb_per_cpu_s, None);
        let cost = after.cost_since(&before, 5);
        assert_eq!((cost.target_s, cost.gb_per_target_cpu_s), (Some(0.0), None));
    }

    #[test]
    fn another_process_of_the_same_number_is_not_compared() {
        let (before, mut after) =
            (reading(1, 0, 500, &[(1, "a", 0)]), reading(2, 0, 9, &[(1, "a", 9)]));
        if let Some(target) = &mut after.target {
            target.started_ticks = 8;
        }
        assert_eq!(after.cost_since(&before, 1).target_s, None);
        assert_eq!(after.threads_since(&before), []);
    }

    #[test]
    fn threads_are_told_apart_the_busiest_first() {
        let before = reading(1, 0, 0, &[(1, "main", 10), (2, "worker", 10), (3, "gone", 5)]);
        let after = reading(2, 0, 0, &[(1, "main", 10), (2, "worker", 40), (4, "worker", 100)]);
        let told: Vec<(String, f64)> =
            after.threads_since(&before).into_iter().map(|t| (t.name, t.cpu_s)).collect();
        assert_eq!(told, [("worker".into(), 0.1), ("worker".into(), 0.03)]);
    }

    #[test]
    fn many_threads_are_summed_up() {
        let many: Vec<(u32, &str, u64)> = (0..100).map(|number| (number, "t", 10)).collect();
        let told = reading(2, 0, 0, &many).threads_since(&reading(1, 0, 0, &[]));
        assert_eq!(told.len(), THREADS_TOLD_MAX + 1);
        let total: f64 = told.iter().map(|thread| thread.cpu_s).sum();
        assert!((total - 1.0).abs() < 1e-9, "{total}");
        let others = 100 - THREADS_TOLD_MAX;
        assert_eq!(told.last().unwrap().name, format!("{others} other threads"));
    }

    #[test]
    fn this_process_has_times_and_memory() {
        let pid = std::process::id();
        let before = Reading::take(Some(pid), Instant::from_us(0)).unwrap();
        // At least two ticks of work, so that each counter must move.
        while system::process_cpu().unwrap().0 < before.own + Duration::from_millis(50) {}
        let after = Reading::take(Some(pid), Instant::from_us(1_000_000)).unwrap();
        let cost = after.cost_since(&before, 1);
        assert!(cost.own_s >= 0.05 && cost.target_s.unwrap() > 0.0, "{cost:?}");
        assert!(!after.threads_since(&before).is_empty());
        let Memory { anonymous_bytes, descriptors, .. } = after.memory;
        assert!(anonymous_bytes.unwrap() > 0 && descriptors.unwrap() > 0);
        assert_eq!(Reading::take(None, Instant::ZERO).unwrap().memory, Memory::default());
    }

    #[test]
    fn a_target_that_ends_during_the_run_is_named() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        Reading::take(Some(pid), Instant::ZERO).unwrap();
        let memory = at_rest(pid, Some(1)).unwrap();
        assert!(memory.connections.is_some() && memory.descriptors.is_some(), "{memory:?}");
        drop(child.stdin.take());
        // Ended, and not waited for: a zombie, whose files are still there.
        let error = loop {
            if let Err(error) = Reading::take(Some(pid), Instant::ZERO) {
                break error;
            }
        };
        assert_eq!(format!("{error:#}"), format!("process {pid} (--pid) has ended"));
        child.wait().unwrap();
    }
}
