//! A whole run: threads, the time that counts, and what was spent in it.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, bail};
use ringseed_meta::Instant;
use ringseed_ring::system;

use crate::clock::{Clock, Schedule};
use crate::cpu::{self, CoreTicks};
use crate::flood::{Flood, Load, Note, Outcomes};
use crate::limits::DESCRIPTORS_BESIDE;
use crate::report::Report;
use crate::tally;

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
    let clock = Clock::start();
    let schedule = Arc::new(Schedule::new());
    let (tell, told) = mpsc::channel();
    let load = Arc::new(plan.load.clone());
    let count = plan.threads.len();
    for (at, core) in plan.threads.iter().copied().enumerate() {
        let (load, schedule, tell) = (load.clone(), schedule.clone(), tell.clone());
        let numbers = (at as u32..load.connections).step_by(count);
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
    drop(tell);
    let mut threads = Threads { count, told, unchoked: 0, lost: 0, ended: Vec::new() };
    let opened = |threads: &Threads| threads.unchoked + threads.lost >= plan.load.connections;
    threads.wait_until(clock.now().after(plan.opening), &clock, opened)?;
    if threads.unchoked == 0 {
        // A thread that has lost all its connections is about to say why.
        let lost_all = threads.lost >= plan.load.connections;
        let moment = Duration::from_secs(u64::from(lost_all));
        threads.wait_until(clock.now().after(moment), &clock, |_| false)?;
        bail!(
            "{} has unchoked none of {} connections in {} s (--opening)",
            plan.load.target,
            plan.load.connections,
            plan.opening.as_secs()
        );
    }
    let (count_from, until) = schedule.begin(clock.now(), plan.warm_up, plan.length);
    threads.wait_until(count_from, &clock, |_| false)?;
    let before = Spent::now(plan)?;
    threads.wait_until(until, &clock, |_| false)?;
    let after = Spent::now(plan)?;
    let grace = clock.now().after(Duration::from_secs(5));
    threads.wait_until(grace, &clock, |threads| threads.ended.len() == count)?;
    if threads.ended.len() < count {
        bail!("a thread of the flood did not end within 5 s");
    }
    threads.report(plan, &before, &after)
}

/// CPU time until some moment.
struct Spent {
    cores: CoreTicks,
    seeder: Option<Duration>,
    own: Duration,
}

impl Spent {
    fn now(plan: &Plan) -> anyhow::Result<Spent> {
        let seeder = plan.seeder.map(cpu::of_process).transpose().context("--pid")?;
        Ok(Spent { cores: CoreTicks::read()?, seeder, own: cpu::of_process(std::process::id())? })
    }
}

struct Threads {
    count: usize,
    told: Receiver<Note>,
    unchoked: u32,
    lost: u32,
    ended: Vec<Outcomes>,
}

impl Threads {
    /// Waits for a time, or for what ends the wait earlier. A thread's error ends the run.
    fn wait_until(
        &mut self,
        time: Instant,
        clock: &Clock,
        done: impl Fn(&Threads) -> bool,
    ) -> anyhow::Result<()> {
        while !done(self) {
            let left = time.since(clock.now());
            match self.told.recv_timeout(left) {
                Ok(Note::Unchoked) => self.unchoked += 1,
                Ok(Note::Lost) => self.lost += 1,
                Ok(Note::Ended(outcomes)) => self.ended.push((*outcomes)?),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                // All threads are at their end: a moment before ours.
                Err(RecvTimeoutError::Disconnected) if self.ended.len() == self.count => {
                    return Ok(());
                }
                Err(RecvTimeoutError::Disconnected) => bail!("a thread of the flood has died"),
            }
        }
        Ok(())
    }

    fn report(self, plan: &Plan, before: &Spent, after: &Spent) -> anyhow::Result<Report> {
        let mut report = Report {
            length: plan.length,
            connections: plan.load.connections,
            depth: plan.load.depth,
            unchoked: 0,
            lost: 0,
            tally: tally::Tally::new(),
            to_unchoke_us: tally::new_histogram(),
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
        Ok(report)
    }
}
