//! What must be as it was when all hostile peers have gone: the process, its memory, its
//! descriptors, and that newcomers are served.

use std::time::Duration;

use super::ground::Ground;
use super::healthy::Healthy;
use super::limits::{BACK_WITHIN, DESCRIPTORS_KEPT, LOOK_EVERY, MEMORY_KEPT};
use crate::clock::Clock;
use crate::results::Check;
use crate::watch::process;

/// The target's process as it was before.
pub(super) struct Aftermath {
    clock: Clock,
    before: Option<Held>,
}

/// What a process holds.
#[derive(Clone, Copy)]
struct Held {
    pid: u32,
    started_ticks: u64,
    anonymous: Option<u64>,
    descriptors: Option<u64>,
}

impl Held {
    fn read(pid: u32) -> anyhow::Result<Held> {
        Ok(Held {
            pid,
            started_ticks: process::stat(pid)?.started_ticks,
            anonymous: process::parse_anonymous(&process::status(pid)?),
            descriptors: process::descriptors(pid),
        })
    }
}

impl Aftermath {
    /// Looks at the process.
    ///
    /// # Errors
    /// There is none of this number.
    pub(super) fn begin(pid: Option<u32>, clock: Clock) -> anyhow::Result<Aftermath> {
        Ok(Aftermath { clock, before: pid.map(Held::read).transpose()? })
    }

    /// Whether the process lives.
    pub(super) fn process(&self) -> Result<(), String> {
        let Some(before) = self.before else { return Ok(()) };
        match process::stat(before.pid) {
            Ok(stat) if stat.started_ticks == before.started_ticks => Ok(()),
            Ok(_) => Err(format!("process {} has ended, and another has its number", before.pid)),
            Err(why) => Err(why.to_string()),
        }
    }

    /// All checks, told one by one.
    pub(super) fn checks(&self, ground: &Ground<'_>, tell: &mut dyn FnMut(Check)) {
        let newcomer = Healthy::new(ground, 9).fetch();
        tell(check("newcomer", newcomer.map(|ms| format!("got a piece in {ms} ms"))));
        let Some(before) = self.before else { return };
        let alive = self.process().map(|()| format!("{} lives", before.pid));
        let lives = alive.is_ok();
        tell(check("process", alive));
        if lives {
            tell(check("memory", self.memory(before)));
            tell(check("descriptors", self.descriptors(before)));
        }
    }

    fn memory(&self, before: Held) -> Result<String, String> {
        let Some(at_first) = before.anonymous else { return Ok("not ours to know".into()) };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (kept, back) = self.settle(at_first + MEMORY_KEPT, || {
            process::parse_anonymous(&process::status(before.pid).ok()?)
        });
        let saw = format!("{:.1} MiB before, {:.1} MiB after", mib(at_first), mib(kept));
        if back { Ok(saw) } else { Err(format!("{saw}; {:.0} may stay", mib(MEMORY_KEPT))) }
    }

    fn descriptors(&self, before: Held) -> Result<String, String> {
        let Some(at_first) = before.descriptors else { return Ok("not ours to know".into()) };
        let (kept, back) =
            self.settle(at_first + DESCRIPTORS_KEPT, || process::descriptors(before.pid));
        let saw = format!("{at_first} before, {kept} after");
        if back { Ok(saw) } else { Err(format!("{saw}; {DESCRIPTORS_KEPT} may stay")) }
    }

    /// Waits until a figure is down to `bound`; what it is then, and whether it is.
    fn settle(&self, bound: u64, figure: impl Fn() -> Option<u64>) -> (u64, bool) {
        let give_up = self.clock.now().after(BACK_WITHIN);
        loop {
            let now = figure().unwrap_or(0);
            if now <= bound || self.clock.now() >= give_up {
                return (now, now <= bound);
            }
            pause(LOOK_EVERY);
        }
    }
}

/// Waits, on nothing that could come.
pub(super) fn pause(time: Duration) {
    let (_never, nothing) = std::sync::mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}

fn check(name: &str, result: Result<String, String>) -> Check {
    let passed = result.is_ok();
    let (Ok(saw) | Err(saw)) = result;
    Check { name: name.into(), passed, saw }
}
