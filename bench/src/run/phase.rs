//! One phase, as the main thread sees it: starts the loads, sets the times, hears what threads tell,
//! reads what was spent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use ringseed_meta::Instant;

use super::gather::{Gathered, Slot, add_counts};
use super::remarks::Sides;
use super::timeline::{Timeline, interval_of};
use super::{parameters, remarks, seconds, verdict};
use crate::abuse::limits::CATALOGUE_WITHIN;
use crate::abuse::{self, Abuse};
use crate::announce::{self, Announcers};
use crate::clock::{Clock, Schedule};
use crate::context::Context;
use crate::engine::{self, Peers};
use crate::limits::{LAST_ANSWERS_MS, SETTLE_MS};
use crate::note::{Event, Note};
use crate::observer::Observer;
use crate::plan::{Kind, Phase, Place, Plan};
use crate::results::{Counts, LoadResult, Memory, PhaseResult, Sample, ThreadTime};
use crate::tally::Distinct;
use crate::watch::{self, OwnThreads, Reading};

/// How long threads may take to close their connections and end.
const ENDING: Duration = Duration::from_secs(10);
/// How often the observer is asked and told.
const LOOK: Duration = Duration::from_millis(100);
/// How long after an interval its threads may tell what they saw of it.
const HOLD: Duration = Duration::from_millis(100);

/// A phase and its surroundings.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) phase: &'a Phase,
    pub(super) places: &'a Arc<[Place]>,
    /// Cores that the target may use. 0: not known.
    pub(super) target_cores: usize,
    pub(super) clock: Clock,
    /// Of each load, requests or connections a second.
    pub(super) rates: &'a BTreeMap<usize, f64>,
}

/// What came of it.
pub(super) struct Over {
    pub(super) result: PhaseResult,
    pub(super) failures: Vec<String>,
}

impl Run<'_> {
    /// Runs the phase to its end.
    pub(super) fn carry_out(&self, observer: &mut dyn Observer) -> anyhow::Result<Over> {
        let (tell, told) = mpsc::channel();
        let mut progress = Progress {
            run: self,
            schedule: Arc::new(Schedule::new()),
            told,
            loads: Vec::new(),
            line: None,
            closed: 0,
            readings: Vec::new(),
            spent: None,
            own_threads: Vec::new(),
            failures: Vec::new(),
            failed_checks: Vec::new(),
            wants_end: false,
            looked_at: Instant::ZERO,
            result: PhaseResult {
                name: self.phase.name.clone(),
                warm_up_s: seconds(self.phase.warm_up),
                ..PhaseResult::default()
            },
        };
        // What the phase before has closed is let go of by now.
        progress.wait_until(
            self.clock.now().after(Duration::from_millis(SETTLE_MS)),
            observer,
            |_| false,
        )?;
        progress.result.memory_before = self.memory()?;
        progress.result.started_s = self.since_start(self.clock.now());
        let carried = progress.start(&tell).and_then(|()| progress.load(observer));
        progress.end(observer, tell);
        if let Err(why) = carried {
            // The target has ended, for example: what was seen before is told all the same.
            progress.failures.push(format!("{}: {why:#}", self.phase.name));
        }
        Ok(progress.over())
    }

    fn memory(&self) -> anyhow::Result<Memory> {
        let port = self.plan.seeder.as_ref().map(|seeder| seeder.address.port());
        let memory = self.plan.pid.map(|pid| watch::at_rest(pid, port)).transpose()?;
        Ok(memory.unwrap_or_default())
    }

    fn since_start(&self, at: Instant) -> f64 {
        seconds(at.since(Instant::ZERO))
    }
}

/// A phase under way.
struct Progress<'a> {
    run: &'a Run<'a>,
    schedule: Arc<Schedule>,
    told: Receiver<Note>,
    loads: Vec<Gathered>,
    /// Known when counting is due.
    line: Option<Timeline>,
    /// Intervals that are closed.
    closed: usize,
    /// What was spent until the ends of intervals that are not closed: how many were over.
    readings: Vec<(usize, Reading)>,
    /// The first and the last reading of the counted time.
    spent: Option<(Reading, Reading)>,
    /// What our own threads have spent between them.
    own_threads: Vec<ThreadTime>,
    failures: Vec<String>,
    failed_checks: Vec<String>,
    wants_end: bool,
    looked_at: Instant,
    result: PhaseResult,
}

impl Progress<'_> {
    /// Starts the threads of all loads.
    fn start(&mut self, tell: &mpsc::Sender<Note>) -> anyhow::Result<()> {
        let mut addresses_before = 0;
        for (index, load) in self.run.phase.loads.iter().enumerate() {
            let rate = self.run.rates.get(&index).copied().unwrap_or(0.0);
            let context = Context {
                load: index,
                clock: self.run.clock,
                schedule: self.schedule.clone(),
                places: self.run.places.clone(),
                tell: tell.clone(),
            };
            let result = LoadResult {
                name: load.name.clone(),
                mode: engine::mode_of(&load.kind).into(),
                parameters: parameters::of(&load.kind, rate),
                ..LoadResult::default()
            };
            let held = engine::connections_of(&load.kind, self.run.places.len() as u32);
            let expected = if matches!(load.kind, Kind::Churn { .. }) { 0 } else { held };
            self.loads.push(Gathered::new(result, expected.into()));
            let threads = self.start_load(&context, &load.kind, rate, addresses_before)?;
            if let Some(load) = self.loads.last_mut() {
                load.threads = threads;
            }
            addresses_before += held;
        }
        Ok(())
    }

    fn start_load(
        &self,
        context: &Context,
        kind: &Kind,
        rate: f64,
        addresses_before: u32,
    ) -> anyhow::Result<usize> {
        let plan = self.run.plan;
        match (kind, &plan.seeder) {
            (Kind::Announce(announces), _) => {
                let tracker = plan.tracker.clone().context("no tracker is given")?;
                let announcers = Announcers { tracker, from: plan.from, addresses_before };
                announce::start(context, &announcers, announces)
            }
            (_, None) => anyhow::bail!("no seeder is given"),
            (Kind::Abuse { only }, Some(seeder)) => {
                let (seeder, only) = (seeder.clone(), only.clone());
                abuse::start(context, Abuse { seeder, pid: plan.pid, from: plan.from, only })
            }
            (kind, Some(seeder)) => {
                let peers = Peers {
                    distinct: Arc::new(Distinct::new(seeder.pieces.count())),
                    seeder: Arc::new(seeder.clone()),
                    from: plan.from,
                    addresses_before,
                };
                engine::start(context, &peers, kind, rate)
            }
        }
    }

    /// From the opening to the end of the counted time.
    fn load(&mut self, observer: &mut dyn Observer) -> anyhow::Result<()> {
        let Run { phase, clock, plan, .. } = self.run;
        let opened_by = clock.now().after(phase.opening);
        self.wait_until(opened_by, observer, |progress| {
            progress.loads.iter().all(Gathered::is_settled)
        })?;
        self.look_at_opening();
        if self.is_failed() {
            return Ok(());
        }
        let interval = interval_of(phase.length);
        let now = clock.now();
        let (from, until) = self.schedule.begin(now, phase.warm_up, phase.length, interval);
        self.wait_until(from, observer, |_| false)?;
        if self.is_failed() {
            return Ok(());
        }
        self.line = Some(Timeline { from, until, interval });
        self.result.counted_from_s = self.run.since_start(from);
        let before = Reading::take(plan.pid, clock.now())?;
        let own_before = OwnThreads::read();
        self.readings.push((0, before.clone()));
        self.wait_until(until, observer, |progress| {
            progress.loads.iter().all(|load| load.threads == 0)
        })?;
        let after = Reading::take(plan.pid, clock.now())?;
        self.own_threads = OwnThreads::read().since(&own_before);
        self.result.memory_after = self.run.memory()?;
        self.result.seconds = seconds(after.at.min(until).since(from));
        self.readings.push((self.line.map_or(0, |line| line.over_at(after.at)), after.clone()));
        self.spent = Some((before, after));
        // Answers to an open loop may come late; a catalogue takes the time it takes.
        let goes_on = phase.loads.iter().filter_map(|load| match load.kind {
            Kind::Latency { .. } | Kind::Churn { .. } | Kind::Announce(_) => {
                Some(Duration::from_millis(LAST_ANSWERS_MS))
            }
            Kind::Abuse { .. } => Some(CATALOGUE_WITHIN),
            _ => None,
        });
        if let Some(most) = goes_on.max().filter(|_| !self.is_failed()) {
            let last = clock.now().after(most);
            self.wait_until(last, observer, |progress| {
                progress.loads.iter().all(|load| load.threads == 0)
            })?;
            self.look_at_catalogues();
        }
        Ok(())
    }

    /// A catalogue of hostile peers of which a part was not tried is not passed.
    fn look_at_catalogues(&mut self) {
        let mut loads = self.loads.iter().zip(&self.run.phase.loads).filter(|(load, planned)| {
            matches!(planned.kind, Kind::Abuse { .. }) && load.threads > 0
        });
        if let Some((load, _)) = loads.next().filter(|_| !self.is_failed()) {
            let (phase, name) = (&self.run.phase.name, &load.result.name);
            let s = CATALOGUE_WITHIN.as_secs();
            let why = format!("{phase}, '{name}': not all hostile peers were tried within {s} s");
            self.failures.push(why);
        }
    }

    fn is_failed(&self) -> bool {
        !self.failures.is_empty() || self.wants_end
    }

    /// A load that nobody serves is no measurement; one that is served in part is told as such.
    fn look_at_opening(&mut self) {
        if self.is_failed() {
            return;
        }
        let opening = seconds(self.run.phase.opening);
        let target = self.run.target();
        for load in &self.loads {
            let Gathered { expected, ready, .. } = *load;
            let (name, state) = (&load.result.name, state_of(&load.result.mode));
            if expected > 0 && ready == 0 {
                self.failures.push(format!(
                    "{}: {target} has {state} none of {expected} connections of '{name}' in {opening} s (opening)",
                    self.run.phase.name
                ));
            } else if ready < expected {
                self.result.remarks.push(format!(
                    "{target} has {state} {ready} of {expected} connections of '{name}' in {opening} s (opening)"
                ));
            }
        }
    }

    /// Waits for a time, or for what ends the wait earlier: `done`, a failure, the observer.
    fn wait_until(
        &mut self,
        time: Instant,
        observer: &mut dyn Observer,
        done: impl Fn(&Progress) -> bool,
    ) -> anyhow::Result<()> {
        loop {
            let now = self.run.clock.now();
            if now.since(self.looked_at) >= LOOK {
                self.looked_at = now;
                self.wants_end |= observer.wants_end();
                if self.line.is_none() && !self.loads.is_empty() {
                    let sum = |of: fn(&Gathered) -> u64| self.loads.iter().map(of).sum();
                    observer.opening(
                        sum(|load| load.ready),
                        sum(|load| load.lost),
                        sum(|load| load.expected),
                    );
                }
            }
            self.on_time(now, observer)?;
            if now >= time || done(self) || self.is_failed() {
                return Ok(());
            }
            let wait = time.since(now).min(LOOK).min(self.next_end(now));
            match self.told.recv_timeout(wait) {
                Ok(note) => self.on_note(note, observer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// Until the present interval ends.
    fn next_end(&self, now: Instant) -> Duration {
        let line = self.line.filter(|line| line.over_at(now) < line.count());
        line.map_or(LOOK, |line| line.end_of(line.over_at(now)).since(now))
    }

    /// At the end of an interval what was spent is read; a little later, when all threads have told
    /// what they saw of it, it is closed. The last one is left for the end.
    fn on_time(&mut self, now: Instant, observer: &mut dyn Observer) -> anyhow::Result<()> {
        let Some(line) = self.line else { return Ok(()) };
        let read = self.readings.last().map_or(0, |(over, _)| *over);
        let over = line.over_at(now);
        if over > read && over < line.count() {
            self.readings.push((over, Reading::take(self.run.plan.pid, now)?));
        }
        let held = Instant::from_us(now.as_us().saturating_sub(HOLD.as_micros() as u64));
        while let [_, (until, _), ..] = self.readings.as_slice()
            && *until < line.count()
            && line.over_at(held) >= *until
        {
            self.close_interval(line, observer);
        }
        Ok(())
    }

    /// Makes a sample of the first two readings, and of what was seen between them.
    fn close_interval(&mut self, line: Timeline, observer: &mut dyn Observer) {
        let [(_, before), (until, after), ..] = self.readings.as_slice() else { return };
        let from = self.closed;
        let mut slots: Vec<Slot> =
            self.loads.iter_mut().map(|load| load.close(from, *until, line)).collect();
        let (mut counts, mut connections) = (Counts::default(), 0);
        for slot in &slots {
            add_counts(&mut counts, &slot.counts);
            connections += slot.connections;
        }
        let cost = after.cost_since(before, counts.payload_bytes);
        let end = line.end_of(until.saturating_sub(1));
        let length_s = seconds(end.since(line.from.after(line.interval * from as u32)));
        let rate = |count: f64| if length_s > 0.0 { count / length_s } else { 0.0 };
        let cores = |s: f64| if cost.elapsed_s > 0.0 { s / cost.elapsed_s } else { 0.0 };
        let sample = Sample {
            at_s: seconds(end.since(line.from)),
            length_s,
            gb_per_s: rate(counts.payload_bytes as f64 / 1e9),
            answers_per_s: rate(counts.answers as f64),
            busy_cores: cores(cost.busy_s),
            target_cores: cost.target_s.map(cores),
            own_cores: cores(cost.own_s),
            connections,
            errors: counts.errors + counts.lost,
            memory: after.memory,
        };
        self.closed = *until;
        self.readings.remove(0);
        slots.retain(|slot| slot.latency().is_some());
        observer.interval(&sample, slots.first().and_then(Slot::latency));
        self.result.series.push(sample);
    }

    fn on_note(&mut self, note: Note, observer: &mut dyn Observer) {
        let target = self.run.target();
        let (line, closed) = (self.line, self.closed);
        let Some(load) = self.loads.get_mut(note.load) else { return };
        let of = || format!("{}, '{}'", self.run.phase.name, load.result.name);
        match note.event {
            Event::Ready => load.ready += 1,
            Event::Lost(why) => {
                load.on_lost(why);
                if load.is_bereft() {
                    let why = load.why_lost.clone().unwrap_or_default();
                    let of = format!("{}, '{}'", self.run.phase.name, load.result.name);
                    self.failures.push(format!("{of}: no connection to {target} is left: {why}"));
                }
            }
            Event::Error(error) => load.on_error(error),
            Event::Interval(seen) => load.on_seen(note.thread, *seen, line, closed),
            Event::Checked(check) => {
                // A failed one fails the run, at its end: the others are still of interest.
                if !check.passed {
                    self.failed_checks.push(format!("{}: {}: {}", of(), check.name, check.saw));
                }
                observer.checked(&check);
                load.on_check(check);
            }
            Event::Ended(result) => {
                load.threads = load.threads.saturating_sub(1);
                if let Err(why) = result {
                    self.failures.push(format!("{}: {why}", of()));
                }
            }
        }
    }

    /// Has all connections closed, and waits for the threads. Takes `tell`, so that the last thread
    /// to end leaves nobody who could still tell.
    fn end(&mut self, observer: &mut dyn Observer, tell: mpsc::Sender<Note>) {
        drop(tell);
        self.schedule.close();
        let end = self.run.clock.now().after(ENDING);
        while self.loads.iter().any(|load| load.threads > 0) {
            match self.told.recv_timeout(end.since(self.run.clock.now())) {
                Ok(note) => self.on_note(note, observer),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    // What was seen until then is told all the same.
                    let (name, s) = (&self.run.phase.name, ENDING.as_secs());
                    self.failures.push(format!("{name}: a thread did not end within {s} s"));
                    break;
                }
            }
        }
        while let Ok(note) = self.told.try_recv() {
            self.on_note(note, observer);
        }
        if let Some(line) = self.line {
            while self.readings.len() > 1 {
                self.close_interval(line, observer);
            }
        }
    }

    fn over(self) -> Over {
        let Progress { mut result, loads, mut failures, failed_checks, .. } = self;
        let Progress { wants_end, run, spent, own_threads, .. } = self;
        failures.extend(failed_checks);
        result.loads = loads.into_iter().map(Gathered::finish).collect();
        if !wants_end && failures.is_empty() && spent.is_some() {
            let target = run.target();
            failures.extend(result.loads.iter().filter_map(|load| {
                let why = verdict::of(load, &target)?;
                Some(format!("{}, '{}': {why}", result.name, load.name))
            }));
        }
        if let Some((before, after)) = spent {
            let payload_bytes = result.loads.iter().map(|load| load.counts.payload_bytes).sum();
            result.cost = after.cost_since(&before, payload_bytes);
            result.target_threads = after.threads_since(&before);
        }
        if wants_end {
            result.remarks.push("ended before its time, as it was told to".into());
        }
        let sides =
            Sides { places: run.places, own_threads: &own_threads, target_cores: run.target_cores };
        let told = remarks::of(&result, &sides);
        result.remarks.extend(told);
        Over { result, failures }
    }
}

impl Run<'_> {
    /// Whom errors speak of.
    fn target(&self) -> String {
        self.plan.seeder.as_ref().map_or("the tracker".into(), |seeder| seeder.address.to_string())
    }
}

/// What a connection is that is ready.
fn state_of(mode: &str) -> &'static str {
    match mode {
        "idle" => "greeted",
        "announce" => "taken in",
        _ => "unchoked",
    }
}
