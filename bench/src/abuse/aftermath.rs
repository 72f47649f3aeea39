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
            let memory = self.memory(before, ground);
            let descriptors = self.descriptors(before, ground);
            // Nobody has waited for them to come back when all is called off.
            if !ground.is_called_off() {
                tell(check("memory", memory));
                tell(check("descriptors", descriptors));
            }
        }
    }

    fn memory(&self, before: Held, ground: &Ground<'_>) -> Result<String, String> {
        let Some(at_first) = before.anonymous else { return Ok("not ours to know".into()) };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let settled = self.settle(ground, at_first + MEMORY_KEPT, || {
            process::parse_anonymous(&process::status(before.pid).ok()?)
        });
        let (kept, back) = settled.ok_or_else(|| self.gone(before))?;
        let saw = format!("{:.1} MiB before, {:.1} MiB after", mib(at_first), mib(kept));
        if back { Ok(saw) } else { Err(format!("{saw}; {:.0} may stay", mib(MEMORY_KEPT))) }
    }

    fn descriptors(&self, before: Held, ground: &Ground<'_>) -> Result<String, String> {
        let Some(at_first) = before.descriptors else { return Ok("not ours to know".into()) };
        let settled =
            self.settle(ground, at_first + DESCRIPTORS_KEPT, || process::descriptors(before.pid));
        let (kept, back) = settled.ok_or_else(|| self.gone(before))?;
        let saw = format!("{at_first} before, {kept} after");
        if back { Ok(saw) } else { Err(format!("{saw}; {DESCRIPTORS_KEPT} may stay")) }
    }

    /// Why a figure that was there before is not any more.
    fn gone(&self, before: Held) -> String {
        let why = self.process().err();
        why.unwrap_or_else(|| format!("process {} cannot be looked at any more", before.pid))
    }

    /// Waits until a figure is down to `bound`; what it is then, and whether it is. None: there is
    /// none any more.
    fn settle(
        &self,
        ground: &Ground<'_>,
        bound: u64,
        figure: impl Fn() -> Option<u64>,
    ) -> Option<(u64, bool)> {
        let give_up = self.clock.now().after(BACK_WITHIN);
        loop {
            let now = figure()?;
            if now <= bound || self.clock.now() >= give_up || ground.is_called_off() {
                return Some((now, now <= bound));
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
