//! A whole run: threads, the time that counts, and what was spent in it.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, bail};
use ringseed_meta::Instant;
use ringseed_ring::system;

use crate::clock::{Clock, Schedule};
use crate::flood::{Flood, Load, Note, Outcomes};
use crate::limits::DESCRIPTORS_BESIDE;
use crate::report::Report;
use crate::tally;
use crate::watch::cpu::CoreTicks;
use crate::watch::process;

/// How long threads may take to end after the time that counts.
const ENDING: Duration = Duration::from_secs(5);

/// How a load is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is asked of whom.
    pub load: Load,
    /// A thread for each, pinned where a core is named.
    pub threads: Vec<Option<usize>>,
    /// How long the seeder may take to unchoke all.
    pub opening: Duration,
    /// Load that does not count.
    pub warm_up: Duration,
    /// Load that counts.
    pub length: Duration,
    /// The seeder's process.
    pub seeder: Option<u32>,
}

/// Runs the load to its end.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    let wanted = u64::from(plan.load.connections) + DESCRIPTORS_BESIDE;
    let limit = system::raise_fd_limit(wanted).context("cannot read the limit of descriptors")?;
    if limit < wanted {
        bail!("{wanted} descriptors are needed; the limit is {limit}: raise `ulimit -n`");
    }
    let schedule = Arc::new(Schedule::new());
    let report = Threads::start(plan, &schedule).and_then(|threads| threads.measure(&schedule));
    schedule.end();
    report
}

/// CPU time until some moment.
struct Spent {
    at: Instant,
    cores: CoreTicks,
    seeder: Option<Duration>,
    own: Duration,
}

impl Spent {
    fn now(plan: &Plan, at: Instant) -> anyhow::Result<Spent> {
        let cpu_of = |pid| process::stat(pid).map(|stat| stat.cpu);
        let seeder = plan.seeder.map(cpu_of).transpose()?;
        Ok(Spent { at, cores: CoreTicks::read()?, seeder, own: cpu_of(std::process::id())? })
    }
}

/// The threads of a run, as the main one sees them.
struct Threads<'a> {
    plan: &'a Plan,
    clock: Clock,
    told: Receiver<Note>,
    unchoked: u32,
    lost: u32,
    ended: Vec<Outcomes>,
}

impl<'a> Threads<'a> {
    fn start(plan: &'a Plan, schedule: &Arc<Schedule>) -> anyhow::Result<Threads<'a>> {
        let clock = Clock::start();
        let (tell, told) = mpsc::channel();
        let load = Arc::new(plan.load.clone());
        for (at, core) in plan.threads.iter().copied().enumerate() {
            let (load, schedule, tell) = (load.clone(), schedule.clone(), tell.clone());
            let numbers = (at as u32..load.connections).step_by(plan.threads.len());
            std::thread::Builder::new()
                .name(format!("flood-{at}"))
                .spawn(move || {
                    let flood = Flood::new(core, load, numbers, clock, tell.clone());
                    let outcomes = flood.and_then(|flood| flood.run(&schedule));
                    // The main thread has gone only when the run has failed.
                    let _ = tell.send(Note::Ended(Box::new(outcomes)));
                })
                .context("cannot start a thread")?;
        }
        Ok(Threads { plan, clock, told, unchoked: 0, lost: 0, ended: Vec::new() })
    }

    fn measure(mut self, schedule: &Schedule) -> anyhow::Result<Report> {
        let Plan { load, opening, warm_up, length, .. } = self.plan;
        self.wait_until(self.clock.now().after(*opening), |threads| {
            threads.unchoked + threads.lost >= load.connections
        })?;
        if self.unchoked == 0 {
            let Load { target, connections, .. } = load;
            let s = opening.as_secs_f64();
            bail!("{target} has unchoked none of {connections} connections in {s} s (--opening)");
        }
        let (count_from, until) = schedule.begin(self.clock.now(), *warm_up, *length);
        self.wait_until(count_from, |_| false)?;
        let before = Spent::now(self.plan, self.clock.now())?;
        self.wait_until(until, |_| false)?;
        let after = Spent::now(self.plan, self.clock.now())?;
        let all_ended = |threads: &Threads| threads.ended.len() == threads.plan.threads.len();
        self.wait_until(self.clock.now().after(ENDING), all_ended)?;
        if !all_ended(&self) {
            bail!("a thread of the flood did not end within {} s", ENDING.as_secs());
        }
        self.report(&before, &after)
    }

    /// Waits for a time, or for what ends the wait earlier. A thread's error ends the run, and so
    /// does the loss of the last connection.
    fn wait_until(&mut self, time: Instant, done: impl Fn(&Threads) -> bool) -> anyhow::Result<()> {
        while !done(self) {
            match self.told.recv_timeout(time.since(self.clock.now())) {
                Ok(Note::Unchoked) => self.unchoked += 1,
                Ok(Note::Lost(why)) => {
                    self.lost += 1;
                    let Load { target, connections, .. } = &self.plan.load;
                    if self.lost == *connections {
                        bail!("no connection to {target} is left: {why}");
                    }
                }
                Ok(Note::Ended(outcomes)) => self.ended.push((*outcomes)?),
                // Disconnected: all threads are at their end, a moment before ours.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    fn report(self, before: &Spent, after: &Spent) -> anyhow::Result<Report> {
        let plan = self.plan;
        let mut report = Report {
            length: plan.length,
            connections: plan.load.connections,
            depth: plan.load.depth,
            unchoked: 0,
            lost: 0,
            tally: tally::Tally::new(),
            distinct_bytes: 0,
            to_unchoke_us: tally::new_histogram(),
            elapsed: after.at.since(before.at),
            cores: after.cores.since(&before.cores),
            seeder: after
                .seeder
                .zip(before.seeder)
                .map(|(after, before)| after.saturating_sub(before)),
            own: after.own.saturating_sub(before.own),
        };
        for outcomes in &self.ended {
            report.tally.add(&outcomes.tally);
            report.unchoked += outcomes.unchoked;
            report.lost += outcomes.lost;
            // Both histograms have one range, so nothing can fall outside.
            let _ = report.to_unchoke_us.add(&outcomes.to_unchoke_us);
        }
        let distinct = report.tally.distinct.iter();
        report.distinct_bytes =
            distinct.map(|piece| u64::from(plan.load.pieces.length(*piece))).sum();
        Ok(report)
    }
}
