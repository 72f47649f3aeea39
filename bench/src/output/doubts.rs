//! What a reader of runs side by side must know before believing a ratio.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compare::{Program, loads, place};
use super::remarks::together;
use super::{derived, units};
use crate::results::Results;

/// Rates that differ by less are those of one load.
const SAME_RATE: f64 = 1.05;

/// All of it, the gravest first.
pub(super) fn of(runs: &[Results], programs: &[Program]) -> Vec<String> {
    let mut doubts = Vec::new();
    for run in runs {
        let failures = run.failures.iter();
        doubts.extend(failures.map(|why| format!("a run of {} failed: {why}", run.title)));
    }
    doubts.extend(of_machines(runs));
    doubts.extend(of_loads(runs));
    if programs.iter().any(|program| program.runs < 2) {
        doubts.push(
            "a program with one run has no spread: how much it differs from itself is unknown"
                .into(),
        );
    }
    programs.iter().for_each(|program| doubts.extend(of_program(runs, program)));
    doubts
}

/// What the machines differ in.
fn of_machines(runs: &[Results]) -> Vec<String> {
    type Fact = fn(&Results) -> Option<String>;
    let facts: [(&str, Fact); 5] = [
        ("kernel", |run| run.machine.kernel.clone()),
        ("processor", |run| run.machine.processor.clone()),
        ("congestion control", |run| run.machine.congestion_control.clone()),
        ("qdisc", |run| run.machine.qdisc.clone()),
        ("governor", |run| run.machine.governor.clone()),
    ];
    let mut doubts = Vec::new();
    for (name, fact) in facts {
        let mut seen: Vec<String> =
            runs.iter().map(|run| fact(run).unwrap_or_else(|| "unknown".into())).collect();
        seen.sort();
        seen.dedup();
        if seen.len() > 1 {
            let seen = seen.join(" and ");
            doubts.push(format!("the {name} differs between runs ({seen}): ratios mislead"));
        }
    }
    doubts
}

/// What was not asked of all alike.
fn of_loads(runs: &[Results]) -> Vec<String> {
    let mut asked: BTreeMap<(&str, &str), Vec<Asked<'_>>> = BTreeMap::new();
    for run in runs {
        for (phase, load) in loads(run) {
            let mut parameters = load.parameters.clone();
            let own_rate = parameters
                .contains_key("share_of_peak")
                .then(|| parameters.remove("rate_per_s").and_then(|rate| rate.as_f64()))
                .flatten();
            let told = derived::parameters(load);
            let of = asked.entry((&phase.name, &load.name)).or_default();
            of.push(Asked { title: &run.title, parameters, own_rate, told });
        }
    }
    let mut doubts = Vec::new();
    for ((phase, load), all) in asked {
        let Some((first, others)) = all.split_first() else { continue };
        let place = place(phase, load, runs);
        if let Some(other) = others.iter().find(|other| other.parameters != first.parameters) {
            doubts.push(format!(
                "{place}: not the same was asked of all ({}: {}; {}: {}): its ratios mislead",
                first.title, first.told, other.title, other.told
            ));
        }
        let rates = || all.iter().filter_map(|asked| Some((asked.own_rate?, asked.title)));
        let lowest = rates().min_by(|a, b| a.0.total_cmp(&b.0));
        let highest = rates().max_by(|a, b| a.0.total_cmp(&b.0));
        if let (Some((low, slow)), Some((high, fast))) = (lowest, highest)
            && high > low * SAME_RATE
        {
            let (low, high) = (units::number(low), units::number(high));
            doubts.push(format!(
                "{place}: each was asked for a share of its own peak (from {low}/s of {slow} to \
                 {high}/s of {fast}): latencies are at other rates"
            ));
        }
    }
    doubts
}

/// A load as one run asked for it.
struct Asked<'a> {
    title: &'a str,
    /// Without a rate that follows from what the run has measured.
    parameters: BTreeMap<String, Value>,
    own_rate: Option<f64>,
    told: String,
}

/// The remarks of a program's runs.
fn of_program(runs: &[Results], program: &Program) -> Vec<String> {
    let mine = runs.iter().filter(|run| run.title == program.title);
    let phases = mine.clone().map(|run| run.phases.len()).max().unwrap_or(0);
    let all = mine.flat_map(|run| &run.phases).flat_map(|phase| {
        phase.remarks.iter().map(|remark| (phase.name.as_str(), remark.as_str()))
    });
    let told = together(all).into_iter();
    let text = |told: super::remarks::Told<'_>| {
        format!("{}, {}: {}", program.title, told.places_text(phases), told.text())
    };
    told.map(text).collect()
}
