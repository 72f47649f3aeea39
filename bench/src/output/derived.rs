//! Figures that follow from others, and how things are called.

use serde_json::Value;

use super::units;
use crate::results::{Distribution, LoadResult, Memory, PhaseResult};

/// What a load measures above all: of a churn the way to the unchoke, else the answer to a request.
pub(super) fn primary(load: &LoadResult) -> Option<(&str, &Distribution)> {
    let order: &[&str] = match load.mode.as_str() {
        "churn" => &["unchoke", "handshake", "connected"],
        _ => &["request_to_piece", "announce", "scrape", "unchoke", "handshake", "connected"],
    };
    let recorded = latencies(load);
    order.iter().find_map(|name| recorded.iter().find(|(metric, _)| metric == name).copied())
}

/// The order of metrics: the answer first, then the way to the first request.
const ORDER: [&str; 8] = [
    "request_to_piece",
    "announce",
    "scrape",
    "late",
    "connected",
    "handshake",
    "bitfield",
    "unchoke",
];

/// What the load has recorded, in that order; others behind.
pub(super) fn latencies(load: &LoadResult) -> Vec<(&str, &Distribution)> {
    let recorded = load.latencies.iter().filter(|(_, it)| !it.total.is_empty());
    let mut all: Vec<(&str, &Distribution)> =
        recorded.map(|(metric, distribution)| (metric.as_str(), distribution)).collect();
    let place = |metric: &str| ORDER.iter().position(|name| *name == metric);
    all.sort_by_key(|(metric, _)| place(metric).unwrap_or(ORDER.len()));
    all
}

/// A metric in words.
pub(super) fn metric_words(metric: &str) -> String {
    match metric {
        "connected" => "connect(2) to connected".into(),
        "handshake" => "connect(2) to handshake".into(),
        "bitfield" => "connect(2) to bitfield".into(),
        "unchoke" => "connect(2) to unchoke".into(),
        "late" => "lateness of the load".into(),
        other => other.replace('_', " "),
    }
}

/// How the load was asked for: `connections 100, depth 64, rate 65,000/s`. What was not asked for is
/// left out.
pub(super) fn parameters(load: &LoadResult) -> String {
    let parts = load.parameters.iter().filter_map(|(name, value)| {
        let (name, unit) = match name.strip_suffix("_per_s") {
            Some(name) => (name, "/s"),
            None => (name.as_str(), ""),
        };
        let value = value_text(value)?;
        let space = if value.is_empty() { "" } else { " " };
        Some(format!("{}{space}{value}{unit}", name.replace('_', " ")))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Mode and parameters: `flood: connections 100`, or the mode alone.
pub(super) fn asked(load: &LoadResult) -> String {
    let parameters = parameters(load);
    let separator = if parameters.is_empty() { "" } else { ": " };
    format!("{}{separator}{parameters}", load.mode)
}

/// None for what says no; nothing for what says yes.
fn value_text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => units::count(whole),
            (None, Some(number)) => units::number(number),
            (None, None) => number.to_string(),
        }),
        Value::Array(values) => {
            let texts: Vec<String> = values.iter().filter_map(value_text).collect();
            (!texts.is_empty()).then(|| texts.join(" "))
        }
        Value::Object(_) => Some(value.to_string()),
    }
}

/// `flood-100 / fast`; a load called like its phase, or the only one of a mode, adds nothing.
pub(super) fn load_title(phase: &PhaseResult, load: &LoadResult) -> String {
    if phase.loads.len() == 1 || load.name == phase.name {
        phase.name.clone()
    } else {
        format!("{} / {}", phase.name, load.name)
    }
}

/// 10^9 bytes of blocks a second. None where no block came.
pub(super) fn gb_per_s(phase: &PhaseResult, load: &LoadResult) -> Option<f64> {
    let bytes = load.counts.payload_bytes;
    (bytes > 0 && phase.seconds > 0.0).then(|| bytes as f64 / 1e9 / phase.seconds)
}

/// Blocks or answers a second. None where none came.
pub(super) fn answers_per_s(phase: &PhaseResult, load: &LoadResult) -> Option<f64> {
    let answers = load.counts.answers;
    (answers > 0 && phase.seconds > 0.0).then(|| answers as f64 / phase.seconds)
}

/// The share of one core that CPU time is, over the time it was taken in.
pub(super) fn cores_busy(phase: &PhaseResult, cpu_s: f64) -> f64 {
    if phase.cost.elapsed_s > 0.0 { cpu_s / phase.cost.elapsed_s } else { 0.0 }
}

/// What a silent connection costs the target.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct IdleCost {
    /// Connections that were held.
    pub(super) connections: u64,
    /// Bytes for each of them; None: not to be had.
    pub(super) anonymous: Option<f64>,
    pub(super) cgroup_less_file: Option<f64>,
}

/// Of a phase all of whose loads are idle: what the target's memory has grown by at the last sample,
/// by the connections that were open then.
pub(super) fn idle_cost(phase: &PhaseResult) -> Option<IdleCost> {
    let is_idle = !phase.loads.is_empty() && phase.loads.iter().all(|load| load.mode == "idle");
    let last = phase.series.last()?;
    let connections = last.connections;
    if !is_idle || connections == 0 {
        return None;
    }
    let growth = |of: fn(&Memory) -> Option<u64>| {
        let (before, held) = (of(&phase.memory_before)?, of(&last.memory)?);
        Some((held as f64 - before as f64) / connections as f64)
    };
    let anonymous = growth(|memory| memory.anonymous_bytes);
    let cgroup_less_file = growth(|memory| memory.cgroup_less_file_bytes);
    (anonymous.is_some() || cgroup_less_file.is_some()).then_some(IdleCost {
        connections,
        anonymous,
        cgroup_less_file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Sample, distribution};

    fn load(mode: &str, metrics: &[&str]) -> LoadResult {
        let mut load = LoadResult { mode: mode.into(), ..LoadResult::default() };
        for metric in metrics {
            let mut recorded = distribution::new_histogram();
            recorded.saturating_record(5);
            let mut distribution = Distribution::new();
            distribution.add(Default::default(), Default::default(), &recorded);
            load.latencies.insert((*metric).into(), distribution);
        }
        load
    }

    #[test]
    fn a_churn_is_about_the_unchoke_and_all_else_about_answers() {
        let name = |load: &LoadResult| primary(load).map(|(name, _)| name.to_owned());
        let both = ["request_to_piece", "unchoke"];
        assert_eq!(name(&load("flood", &both)).as_deref(), Some("request_to_piece"));
        assert_eq!(name(&load("churn", &both)).as_deref(), Some("unchoke"));
        assert_eq!(name(&load("announce", &["announce", "late"])).as_deref(), Some("announce"));
        assert_eq!(name(&load("abuse", &[])), None);
        let mut empty = load("flood", &[]);
        empty.latencies.insert("request_to_piece".into(), Distribution::new());
        assert_eq!(name(&empty), None);
    }

    #[test]
    fn parameters_are_told_as_they_were_asked_for() {
        let mut load = load("flood", &[]);
        let json = serde_json::json!({
            "connections": 1_000, "verify": false, "hashed": true, "only": [], "kinds": ["a", "b"],
            "order": "random", "rate_per_s": 65_000.5, "scrapes": 0.1, "none": null,
        });
        load.parameters = serde_json::from_value(json).unwrap();
        let wanted =
            "connections 1,000, hashed, kinds a b, order random, rate 65,001/s, scrapes 0.100";
        assert_eq!(parameters(&load), wanted);
        assert_eq!(asked(&load), format!("flood: {wanted}"));
        load.parameters = serde_json::from_value(serde_json::json!({ "only": [] })).unwrap();
        assert_eq!(asked(&load), "flood");
    }

    #[test]
    fn the_cost_of_silence_is_growth_by_the_connections_that_lasted() {
        let idle = load("idle", &["unchoke"]);
        let memory = |bytes| Memory { anonymous_bytes: Some(bytes), ..Memory::default() };
        let mut phase = PhaseResult {
            loads: vec![idle],
            memory_before: memory(1_000),
            series: vec![
                Sample { connections: 12, memory: memory(8_000), ..Sample::default() },
                Sample { connections: 10, memory: memory(6_000), ..Sample::default() },
            ],
            memory_after: memory(1_000),
            ..PhaseResult::default()
        };
        let wanted = IdleCost { connections: 10, anonymous: Some(500.0), cgroup_less_file: None };
        assert_eq!(idle_cost(&phase), Some(wanted));
        phase.loads.push(load("flood", &[]));
        assert_eq!(idle_cost(&phase), None);
    }
}
