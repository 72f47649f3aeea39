//! Hostile peers against a seeder, each told by what the seeder did. A case passes when it did no
//! harm: a healthy peer beside it still gets a piece in time, the process lives, and no answer
//! breaks the protocol. Whether a seeder closes on a hostile peer or ignores it is its own affair.
//! When all is over, a newcomer must be served, and memory and descriptors must have come back.
//!
//! Plain sockets with timeouts, in a few threads: nothing here has to be fast. The catalogue and its
//! reasons are described in docs/abuse.md.

mod aftermath;
mod cases;
mod ground;
mod healthy;
pub mod limits;
mod peer;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use anyhow::bail;

use crate::clock::{Clock, Stage};
use crate::context::Context;
use crate::note::Event;
use crate::plan::{Place, Seeder};
use crate::results::Check;

use aftermath::Aftermath;
use cases::{CASES, Case};
use ground::Ground;
use healthy::Healthy;

/// Names of the hostile peers, and what each does.
pub fn catalogue() -> impl Iterator<Item = (&'static str, &'static str)> {
    CASES.iter().map(|case| (case.name, case.what))
}

/// Whom the catalogue is tried on, and what of it.
#[derive(Clone, Debug)]
pub struct Abuse {
    pub seeder: Seeder,
    /// Its process, if that may be watched.
    pub pid: Option<u32>,
    /// The address of the first peer, and the step to the next one's.
    pub from: Option<(IpAddr, u32)>,
    /// Names of cases; all when empty.
    pub only: Vec<String>,
}

/// Starts the thread of a load of hostile peers. Returns how many threads that are.
///
/// # Errors
/// An unknown name, or no thread is to be had.
pub fn start(context: &Context, abuse: Abuse) -> anyhow::Result<usize> {
    chosen(&abuse.only)?;
    let place = context.places.first().cloned().unwrap_or_default();
    // The core of a load is no place for the threads of this one, but its network is.
    let place = Place { core: None, ..place };
    context.spawn("abuse".into(), place, move |context| {
        let closing = || context.schedule.stage(context.clock.now()) == Stage::Closing;
        run(&abuse, context.clock, &closing, &mut |check| context.tell(Event::Checked(check)))
            .map_err(|error| format!("{error:#}"))
    })?;
    Ok(1)
}

/// Tries the chosen cases on a seeder, quick ones side by side, and tells what came of each as it
/// is known. `called_off`: no further case is begun.
///
/// # Errors
/// An unknown name in `only`; the target takes no healthy peer in at all.
pub fn run(
    abuse: &Abuse,
    clock: Clock,
    called_off: &(dyn Fn() -> bool + Sync),
    tell: &mut dyn FnMut(Check),
) -> anyhow::Result<()> {
    let chosen = chosen(&abuse.only)?;
    let ground = Ground::new(&abuse.seeder, abuse.from, clock, called_off);
    // Before anything hostile: else a target that serves nobody would fail every case.
    if let Err(why) = Healthy::new(&ground, 1).fetch() {
        bail!("{}, before any hostile peer came: {why}", abuse.seeder.address);
    }
    let aftermath = Aftermath::begin(abuse.pid, clock)?;
    let alone_until = clock.now().after(limits::TRIED_ALONE_UNTIL);
    let field = Field { ground: &ground, aftermath: &aftermath };
    let failed = field.side_by_side(&chosen, tell);
    for (case, beside) in failed {
        let lives = aftermath.process().is_ok() && !called_off();
        let in_time = lives && clock.now() < alone_until && field.is_recovered();
        let check = match in_time {
            true => field.alone(case, &beside.saw),
            false => beside,
        };
        tell(check);
    }
    if !called_off() {
        aftermath.checks(&ground, tell);
    }
    Ok(())
}

/// Where cases are tried.
struct Field<'a> {
    ground: &'a Ground<'a>,
    aftermath: &'a Aftermath,
}

impl Field<'_> {
    /// Tries all cases, slow ones on threads of their own. Tells those that passed; gives back the
    /// others, which may have suffered by each other.
    fn side_by_side(
        &self,
        cases: &[&'static Case],
        tell: &mut dyn FnMut(Check),
    ) -> Vec<(&'static Case, Check)> {
        let (slow, quick): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.is_slow);
        let next = AtomicUsize::new(0);
        let mut failed = Vec::new();
        std::thread::scope(|scope| {
            let (send, told) = channel();
            for case in slow {
                let send = send.clone();
                // Whoever is told outlives the threads.
                scope
                    .spawn(move || drop(send.send((case, self.check(case, &mut self.healthy(7))))));
            }
            for lane in 0..limits::LANES {
                let (send, quick, next) = (send.clone(), &quick, &next);
                scope.spawn(move || {
                    let mut healthy = self.healthy(100 + lane as u64);
                    while let Some(case) = quick.get(next.fetch_add(1, Ordering::Relaxed)) {
                        // The same.
                        let _ = send.send((*case, self.check(case, &mut healthy)));
                    }
                });
            }
            drop(send);
            while let Ok((case, check)) = told.recv() {
                match check {
                    Some(check) if check.passed => tell(check),
                    Some(check) => failed.push((case, check)),
                    None => {}
                }
            }
        });
        failed
    }

    fn healthy(&self, seed: u64) -> Healthy<'_> {
        Healthy::new(self.ground, seed)
    }

    /// A case that failed beside others, by itself.
    fn alone(&self, case: &'static Case, beside: &str) -> Check {
        let name = case.name.to_owned();
        match self.check(case, &mut self.healthy(11)) {
            Some(Check { passed: true, saw, .. }) => {
                let saw = format!("alone: {saw} (beside other hostile peers: {beside})");
                Check { name, passed: true, saw }
            }
            Some(check) => check,
            None => Check { name, passed: false, saw: beside.into() },
        }
    }

    /// Whether the target serves again, before long.
    fn is_recovered(&self) -> bool {
        let give_up = self.ground.after(limits::RECOVERED_WITHIN);
        loop {
            if self.healthy(13).fetch().is_ok() {
                return true;
            }
            if self.ground.clock.now() >= give_up || self.ground.is_called_off() {
                return false;
            }
            aftermath::pause(limits::LOOK_EVERY);
        }
    }

    /// Tries a case, with a healthy peer before and beside it. None: all is called off.
    fn check(&self, case: &Case, healthy: &mut Healthy<'_>) -> Option<Check> {
        if self.ground.is_called_off() {
            return None;
        }
        let result = healthy.arrive().and_then(|()| {
            let stand = (case.run)(self.ground)?;
            let ms = healthy.fetch().map_err(|why| format!("{}, but {why}", stand.saw))?;
            Ok(format!("{}; a healthy peer got its piece in {ms} ms", stand.saw))
        });
        let result = result.and_then(|saw| self.aftermath.process().map(|()| saw));
        if result.is_err() && self.ground.is_called_off() {
            // Broken off: it says nothing about the target.
            return None;
        }
        let passed = result.is_ok();
        let (Ok(saw) | Err(saw)) = result;
        Some(Check { name: case.name.into(), passed, saw })
    }
}

/// The cases of these names, in the order of the catalogue.
fn chosen(only: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    if let Some(unknown) = only.iter().find(|name| CASES.iter().all(|case| case.name != **name)) {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        bail!("no hostile peer is called '{unknown}'; there are {}", names.join(", "));
    }
    let is_chosen = |case: &&Case| only.is_empty() || only.iter().any(|name| name == case.name);
    Ok(CASES.iter().filter(is_chosen).collect())
}
