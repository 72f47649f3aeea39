//! What people see while a run goes: a line that lives on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use super::{derived, units};
use crate::observer::Observer;
use crate::plan::Phase;
use crate::results::{Check, PhaseResult, Sample};

/// Seconds of counted time between two plain lines.
const PLAIN_EVERY_S: f64 = 5.0;

/// How often the living line turns its mark and its clock.
const TICK: Duration = Duration::from_millis(250);

/// Tells on stderr how a run goes.
#[derive(Debug)]
pub struct Progress {
    form: Form,
    /// `2/7 flood-100`.
    phase: String,
    errors: u64,
    told_at_s: Option<f64>,
}

#[derive(Debug)]
enum Form {
    Living(ProgressBar),
    Plain,
    Quiet,
}

impl Progress {
    /// A living line on a terminal, a plain one each five seconds elsewhere; nothing when `quiet`.
    pub fn new(quiet: bool) -> Progress {
        let form = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Form::Quiet,
            (false, true) => Form::Living(living()),
            (false, false) => Form::Plain,
        };
        Progress { form, phase: String::new(), errors: 0, told_at_s: None }
    }

    /// A line that stays.
    fn tell(&self, line: &str) {
        // A run is not worth less when nobody reads how it goes.
        let write = || drop(writeln!(std::io::stderr(), "{line}"));
        match &self.form {
            Form::Living(bar) => bar.suspend(write),
            Form::Plain => write(),
            Form::Quiet => {}
        }
    }

    /// A line that the next one takes the place of.
    fn show(&self, line: String) {
        if let Form::Living(bar) = &self.form {
            bar.set_message(line);
        }
    }

    /// Whether a plain line is due at this counted time.
    fn is_due(&mut self, at_s: f64) -> bool {
        // Half an interval of grace: times of intervals are not exact.
        let due = self.told_at_s.is_none_or(|told| at_s - told > PLAIN_EVERY_S - 0.5);
        if due {
            self.told_at_s = Some(at_s);
        }
        due
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Living(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn living() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {prefix}  {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

impl Observer for Progress {
    fn phase(&mut self, phase: &Phase, number: usize, of: usize) {
        self.phase = format!("{number}/{of} {}", phase.name);
        self.errors = 0;
        self.told_at_s = None;
        self.show("opening".into());
        if let Form::Living(bar) = &self.form {
            bar.set_prefix(self.phase.clone());
            bar.reset_elapsed();
        }
    }

    fn opening(&mut self, ready: u64, lost: u64, of: u64) {
        self.show(opening_text(ready, lost, of));
    }

    fn interval(&mut self, sample: &Sample, latency: Option<&Histogram<u64>>) {
        self.errors = self.errors.saturating_add(sample.errors);
        let line = interval_text(sample, latency, self.errors);
        if matches!(self.form, Form::Plain) && self.is_due(sample.at_s) {
            self.tell(&format!("{} {}: {line}", self.phase, units::duration(sample.at_s)));
        }
        self.show(line);
    }

    fn checked(&mut self, check: &Check) {
        let Check { name, passed, saw } = check;
        let verdict = if *passed { "passed" } else { "NOT PASSED" };
        self.tell(&format!("{} {name}: {verdict}: {saw}", self.phase));
    }

    fn phase_over(&mut self, result: &PhaseResult) {
        self.tell(&format!("{}: {}", self.phase, over_text(result)));
    }
}

fn opening_text(ready: u64, lost: u64, of: u64) -> String {
    let [ready, lost, of] = [ready, lost, of].map(units::count);
    format!("opening: {ready} of {of} ready, {lost} lost")
}

fn interval_text(sample: &Sample, latency: Option<&Histogram<u64>>, errors: u64) -> String {
    let mut parts = Vec::new();
    if sample.gb_per_s > 0.0 {
        parts.push(format!("{} GB/s", units::number(sample.gb_per_s)));
    }
    parts.push(format!("{}/s", units::number(sample.answers_per_s.round())));
    if let Some(us) = latency.filter(|us| !us.is_empty()) {
        let [p50, p99] = [0.5, 0.99].map(|quantile| units::time(us.value_at_quantile(quantile)));
        parts.push(format!("p50 {p50}, p99 {p99}"));
    }
    parts.push(format!("{} errors", units::count(errors)));
    parts.push(format!("{} connections", units::count(sample.connections)));
    parts.join("  ")
}

/// The phase in a line: rate and latency of its loads, and its cost.
fn over_text(phase: &PhaseResult) -> String {
    let mut parts = Vec::new();
    for load in &phase.loads {
        let mut figures = Vec::new();
        if phase.loads.len() > 1 {
            figures.push(load.name.clone());
        }
        if let Some(rate) = derived::gb_per_s(phase, load) {
            figures.push(format!("{} GB/s", units::number(rate)));
        } else if let Some(rate) = derived::answers_per_s(phase, load) {
            figures.push(format!("{}/s", units::number(rate)));
        }
        if let Some((_, distribution)) = derived::primary(load) {
            let [p50, p99] =
                [0.5, 0.99].map(|at| units::time(distribution.total.value_at_quantile(at)));
            figures.push(format!("p50 {p50}, p99 {p99}"));
        }
        let bad = load.counts.errors.saturating_add(load.counts.lost);
        if bad > 0 {
            figures.push(format!("{} errors or losses", units::count(bad)));
        }
        if !load.checks.is_empty() {
            let passed = load.checks.iter().filter(|check| check.passed).count();
            figures.push(format!("{passed} of {} checks passed", load.checks.len()));
        }
        parts.push(figures.join("  "));
    }
    if let Some(gb) = phase.cost.gb_per_cpu_s {
        parts.push(format!("{} GB per CPU-s over all cores", units::number(gb)));
    }
    if let Some(idle) = derived::idle_cost(phase)
        && let Some(bytes) = idle.cgroup_less_file.or(idle.anonymous)
    {
        parts.push(format!("{} a connection", units::bytes(bytes)));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(";  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::distribution::new_histogram;

    #[test]
    fn a_line_tells_rate_latency_connections_and_errors() {
        let sample = Sample {
            gb_per_s: 3.214,
            answers_per_s: 196_170.4,
            connections: 1_000,
            ..Sample::default()
        };
        let mut us = new_histogram();
        us.saturating_record(65);
        let wanted = "3.21 GB/s  196,170/s  p50 65 µs, p99 65 µs  2 errors  1,000 connections";
        assert_eq!(interval_text(&sample, Some(&us), 2), wanted);
        let idle = Sample { connections: 10_000, ..Sample::default() };
        assert_eq!(interval_text(&idle, None, 0), "0/s  0 errors  10,000 connections");
        assert_eq!(opening_text(57, 1, 100), "opening: 57 of 100 ready, 1 lost");
    }

    #[test]
    fn plain_lines_come_each_five_seconds() {
        let mut progress =
            Progress { form: Form::Plain, phase: String::new(), errors: 0, told_at_s: None };
        let told: Vec<u32> =
            (1..=12).filter(|second| progress.is_due(f64::from(*second) + 0.02)).collect();
        assert_eq!(told, [1, 6, 11]);
    }
}
