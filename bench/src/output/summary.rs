//! What people read in the terminal when a run is over: a block for each phase.

use std::fmt;

use hdrhistogram::Histogram;

use super::{derived, units};
use crate::results::{Check, LoadResult, PhaseResult, Results};
use crate::watch::leak;

/// The summary of a run, without a line end behind its last line.
pub fn summary(results: &Results) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        write_head(f, results)?;
        for phase in &results.phases {
            let seconds = units::duration(phase.seconds);
            write!(f, "\n\n{} ({seconds})", phase.name)?;
            write_rows(f, &rows_of(phase))?;
        }
        for failure in &results.failures {
            write!(f, "\n\nFAILED: {failure}")?;
        }
        Ok(())
    })
}

fn write_head(f: &mut fmt::Formatter<'_>, results: &Results) -> fmt::Result {
    let verdict = match results.failures.len() {
        0 => "passed".to_owned(),
        1 => "FAILED: 1 failure".to_owned(),
        failures => format!("FAILED: {failures} failures"),
    };
    write!(f, "{}: {verdict}, {}", results.title, units::duration(results.elapsed_s))?;
    if let Some(address) = &results.target.address {
        write!(f, ", against {address}")?;
    }
    for tracker in &results.target.tracker {
        write!(f, ", tracker {tracker}")?;
    }
    // Who soaks a target asks for this before all else, and would take silence for a good answer.
    match leak::no_verdict(results) {
        Some(why) => write!(f, "\n{why}"),
        None => Ok(()),
    }
}

/// Label and text, the labels in a column as wide as the longest.
type Row = (String, String);

fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    rows.iter().try_for_each(|(label, text)| write!(f, "\n  {label:width$}  {text}"))
}

fn rows_of(phase: &PhaseResult) -> Vec<Row> {
    let mut rows = Vec::new();
    for load in &phase.loads {
        load_rows(phase, load, &mut rows);
    }
    cost_rows(phase, &mut rows);
    rows.extend(phase.remarks.iter().map(|remark| ("remark".into(), remark.clone())));
    rows
}

fn load_rows(phase: &PhaseResult, load: &LoadResult, rows: &mut Vec<Row>) {
    let mut row = |label: &str, text: String| rows.push((label.to_owned(), text));
    let counts = &load.counts;
    row(&load.name, derived::asked(load));
    let answers = derived::answers_per_s(phase, load).unwrap_or(0.0);
    if let Some(rate) = derived::gb_per_s(phase, load) {
        let (rate, bits) = (units::number(rate), units::number(rate * 8.0));
        let blocks = units::number(answers);
        row("rate", format!("{rate} GB/s ({bits} Gbit/s), {blocks} blocks/s"));
    } else if counts.answers > 0 {
        row("rate", format!("{} answers/s", units::number(answers)));
    }
    // Of the way to the unchoke all steps where it is what the load is about, else its end.
    let about_connecting = matches!(load.mode.as_str(), "churn" | "idle");
    let steps = ["connected", "handshake", "bitfield"];
    for (metric, distribution) in derived::latencies(load) {
        if about_connecting || !steps.contains(&metric) {
            row(&derived::metric_words(metric), quantiles(&distribution.total));
        }
    }
    if counts.connections > 0 {
        let [begun, unchoked, lost] =
            [counts.connections, counts.unchoked, counts.lost].map(units::count);
        row("connections", format!("{begun} begun, {unchoked} unchoked, {lost} lost"));
    }
    if counts.pieces_verified + counts.pieces_broken_off > 0 {
        let [verified, broken_off] =
            [counts.pieces_verified, counts.pieces_broken_off].map(units::count);
        let distinct = units::bytes(counts.distinct_bytes as f64);
        let text = format!("{verified} verified ({distinct} distinct), {broken_off} broken off");
        row("pieces", text);
    }
    if counts.rejects + counts.chokes + counts.errors > 0 {
        let [rejects, chokes, errors] =
            [counts.rejects, counts.chokes, counts.errors].map(units::count);
        row("faults", format!("{rejects} rejects, {chokes} chokes, {errors} errors"));
    }
    for error in &load.errors {
        row("error", format!("{} x {}", units::count(error.times), error.what));
    }
    if !load.checks.is_empty() {
        row("checks", checks_text(&load.checks));
    }
    for Check { name, saw, .. } in load.checks.iter().filter(|check| !check.passed) {
        row("NOT PASSED", format!("{name}: {saw}"));
    }
}

fn checks_text(checks: &[Check]) -> String {
    let passed = checks.iter().filter(|check| check.passed).count();
    format!("{passed} of {} passed", checks.len())
}

fn cost_rows(phase: &PhaseResult, rows: &mut Vec<Row>) {
    let mut row = |label: &str, text: String| rows.push((label.to_owned(), text));
    let cost = &phase.cost;
    let per_cpu_s = [
        (cost.gb_per_cpu_s, "over all cores"),
        (cost.gb_per_target_cpu_s, "of the target"),
        (cost.gb_per_own_cpu_s, "of the load"),
    ];
    let parts: Vec<String> = per_cpu_s
        .iter()
        .filter_map(|(gb, of)| Some(format!("{} {of}", units::number((*gb)?))))
        .collect();
    if !parts.is_empty() {
        row("GB per CPU-s", parts.join(", "));
    }
    let cores = |cpu_s| format!("{:.2}", derived::cores_busy(phase, cpu_s));
    let mut busy = format!("{} busy ({} softirq)", cores(cost.busy_s), cores(cost.softirq_s));
    if let Some(target_s) = cost.target_s {
        busy += &format!("; the target {}", cores(target_s));
    }
    busy += &format!("; the load {}; {} stolen", cores(cost.own_s), cores(cost.steal_s));
    row("cores", busy);
    if let Some(idle) = derived::idle_cost(phase) {
        let text = |bytes: Option<f64>| bytes.map_or("unknown".into(), units::bytes);
        row(
            "memory",
            format!(
                "a connection: {} anonymous, {} cgroup less file",
                text(idle.anonymous),
                text(idle.cgroup_less_file)
            ),
        );
    }
}

/// `p50 65 µs  p90 ...`.
fn quantiles(us: &Histogram<u64>) -> String {
    let at = |quantile| units::time(us.value_at_quantile(quantile));
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(at);
    let max = units::time(us.max());
    format!("p50 {p50:9} p90 {p90:9} p99 {p99:9} p99.9 {p999:9} max {max}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::results::distribution::new_histogram;
    use crate::results::{Cost, Counts, Distribution, ErrorCount, Machine, SCHEMA, Target};

    fn load() -> LoadResult {
        let mut recorded = new_histogram();
        [100, 200, 300, 4_000].into_iter().for_each(|us| recorded.saturating_record(us));
        let mut distribution = Distribution::new();
        distribution.add(Duration::ZERO, Duration::from_secs(2), &recorded);
        LoadResult {
            name: "all".into(),
            mode: "flood".into(),
            parameters: [("depth".to_owned(), 64.into())].into(),
            counts: Counts {
                connections: 10,
                unchoked: 9,
                lost: 1,
                answers: 100_000,
                payload_bytes: 3_000_000_000,
                rejects: 4,
                ..Counts::default()
            },
            latencies: ["request_to_piece", "connected"]
                .map(|metric| (metric.to_owned(), distribution.clone()))
                .into(),
            errors: vec![ErrorCount { what: "reset".into(), times: 1 }],
            checks: vec![Check { name: "huge frame".into(), passed: false, saw: "kept".into() }],
        }
    }

    #[test]
    fn a_summary_tells_verdict_figures_and_what_went_wrong() {
        let phase = PhaseResult {
            name: "flood-10".into(),
            seconds: 2.0,
            loads: vec![load()],
            cost: Cost {
                elapsed_s: 2.0,
                busy_s: 3.0,
                own_s: 0.5,
                target_s: Some(2.0),
                gb_per_cpu_s: Some(1.0),
                gb_per_target_cpu_s: Some(1.5),
                ..Cost::default()
            },
            remarks: vec!["mind the gap".into()],
            ..PhaseResult::default()
        };
        let results = Results {
            schema: SCHEMA.into(),
            program: "p".into(),
            title: "seeder".into(),
            command: Vec::new(),
            started_unix_ms: 0,
            elapsed_s: 3.5,
            machine: Machine::default(),
            target: Target { address: Some("127.0.0.1:1".into()), ..Target::default() },
            phases: vec![phase],
            failures: vec!["huge frame: kept".into()],
        };
        let wanted = "\
seeder: FAILED: 1 failure, 3.5 s, against 127.0.0.1:1

flood-10 (2.0 s)
  all               flood: depth 64
  rate              1.50 GB/s (12.0 Gbit/s), 50,000 blocks/s
  request to piece  p50 200 µs    p90 4.00 ms   p99 4.00 ms   p99.9 4.00 ms   max 4.00 ms
  connections       10 begun, 9 unchoked, 1 lost
  faults            4 rejects, 0 chokes, 0 errors
  error             1 x reset
  checks            0 of 1 passed
  NOT PASSED        huge frame: kept
  GB per CPU-s      1.00 over all cores, 1.50 of the target
  cores             1.50 busy (0.00 softirq); the target 1.00; the load 0.25; 0.00 stolen
  remark            mind the gap

FAILED: huge frame: kept";
        let told = summary(&results).to_string();
        assert_eq!(told, wanted, "told:\n{told}");
        let mut soaked = results;
        soaked.target.pid = Some(1);
        soaked.phases[0].name = "flood-10 #1".into();
        let told = summary(&soaked).to_string();
        let head = told.split("\n\n").next().unwrap();
        assert!(head.contains("\nno verdict on leaks: it takes 8 rounds, not 1; "), "{head}");
    }
}
