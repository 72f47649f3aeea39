//! Runs side by side: what is put together, what is told apart.

use std::time::Duration;

use super::*;
use crate::results::distribution::new_histogram;
use crate::results::{Cost, Counts, Distribution, SCHEMA};

/// A run with a phase `flood` of one load: rate, latency and errors.
fn run(title: &str, gb_per_s: f64, us: u64, errors: u64) -> Results {
    let mut recorded = new_histogram();
    recorded.saturating_record(us);
    let mut distribution = Distribution::new();
    distribution.add(Duration::ZERO, Duration::from_secs(1), &recorded);
    let load = LoadResult {
        name: "all".into(),
        mode: "flood".into(),
        counts: Counts {
            payload_bytes: (gb_per_s * 1e9) as u64,
            answers: 7,
            errors,
            ..Counts::default()
        },
        latencies: [("request_to_piece".to_owned(), distribution)].into(),
        ..LoadResult::default()
    };
    let phase = PhaseResult {
        name: "flood".into(),
        seconds: 1.0,
        loads: vec![load],
        cost: Cost { gb_per_cpu_s: Some(gb_per_s), ..Cost::default() },
        ..PhaseResult::default()
    };
    Results {
        schema: SCHEMA.into(),
        program: "p".into(),
        title: title.into(),
        command: Vec::new(),
        started_unix_ms: 0,
        elapsed_s: 1.0,
        machine: Default::default(),
        target: Default::default(),
        phases: vec![phase],
        failures: Vec::new(),
    }
}

fn cells<'a>(comparison: &'a Comparison, figure: &Figure) -> &'a [Option<Cell>] {
    &comparison.rows.iter().find(|row| row.figure == *figure).unwrap().cells
}

#[test]
fn repetitions_become_a_median_with_its_spread() {
    let runs =
        [run("a", 3.0, 10, 0), run("b", 1.0, 30, 0), run("a", 5.0, 10, 0), run("a", 4.0, 10, 0)];
    let comparison = compare(&runs).unwrap();
    let programs: Vec<_> = comparison.programs.iter().map(|p| (&*p.title, p.runs)).collect();
    assert_eq!(programs, [("a", 3), ("b", 1)]);
    let [Some(a), Some(b)] = cells(&comparison, &Figure::GbPerS) else { panic!("{comparison}") };
    assert_eq!((a.median, a.spread, a.first_by_this), (4.0, Some(0.5), None));
    assert_eq!((b.median, b.spread, b.first_by_this), (1.0, None, Some(4.0)));
    assert!(b.tells, "3 apart, and the first spreads over 2");
    assert_eq!(cell(vec![1.0, 4.0]).unwrap().median, 2.5);
    assert_eq!(cell(Vec::new()), None);
}

#[test]
fn a_difference_within_the_spread_tells_nothing() {
    let runs = [run("a", 3.0, 10, 0), run("a", 5.0, 12, 0), run("b", 3.5, 30, 0)];
    let comparison = compare(&runs).unwrap();
    let [_, Some(rate)] = cells(&comparison, &Figure::GbPerS) else { panic!("{comparison}") };
    assert!(!rate.tells, "half apart, and the first spreads over 2");
    assert_eq!(ratio_text(rate).as_deref(), Some("~1.14"));
    let p50 = Figure::Latency { metric: "request_to_piece".into(), of_10_000: 5_000 };
    let [_, Some(latency)] = cells(&comparison, &p50) else { panic!("{comparison}") };
    assert!(latency.tells);
    assert_eq!(ratio_text(latency).as_deref(), Some("0.37"));
}

#[test]
fn what_one_lacks_is_no_zero() {
    let mut other = run("b", 1.0, 30, 0);
    other.phases[0].cost.gb_per_cpu_s = None;
    let mut extra = other.phases[0].clone();
    extra.name = "extra".into();
    other.phases.insert(0, extra);
    let comparison = compare(&[run("a", 3.0, 10, 0), other]).unwrap();
    assert!(matches!(cells(&comparison, &Figure::GbPerCpuS), [Some(_), None]));
    let places: Vec<&str> = comparison.rows.iter().map(|row| &*row.place).collect();
    assert_eq!(places.first(), Some(&"flood"), "in the order of the first run");
    assert!(
        comparison.rows.iter().filter(|row| row.place == "extra").all(|row| row.cells[0].is_none())
    );
    let text = comparison.to_string();
    assert!(text.contains("GB per CPU-s, all cores |  3.00 |     - |"), "{text}");
}

#[test]
fn errors_are_told_where_there_are_any() {
    let clean = compare(&[run("a", 3.0, 10, 0), run("b", 1.0, 30, 0)]).unwrap();
    assert!(clean.rows.iter().all(|row| row.figure != Figure::Bad));
    let comparison = compare(&[run("a", 3.0, 10, 0), run("b", 1.0, 30, 2)]).unwrap();
    let [Some(a), Some(b)] = cells(&comparison, &Figure::Bad) else { panic!("{comparison}") };
    assert_eq!((a.median, b.median, b.first_by_this), (0.0, 2.0, Some(0.0)));
    assert_eq!(cell_text(&Figure::Bad, b), "2");
}

#[test]
fn what_misleads_is_told() {
    let mut failed = run("b", 1.0, 30, 0);
    failed.failures.push("piece 7 is wrong".into());
    failed.machine.kernel = Some("6.1".into());
    failed.phases[0].remarks.push("the load was the limit".into());
    let remarks = compare(&[run("a", 3.0, 10, 0), failed.clone(), failed]).unwrap().remarks;
    let has = |part: &str| remarks.iter().filter(|remark| remark.contains(part)).count();
    assert_eq!(has("a run of b failed: piece 7 is wrong"), 2);
    assert_eq!(has("the kernel differs between runs (6.1 and unknown)"), 1);
    assert_eq!(has("no spread"), 1, "{remarks:?}");
    assert_eq!(has("b, flood: the load was the limit"), 1);
    assert!(compare(&[run("a", 3.0, 10, 0)]).is_err());
}

#[test]
fn what_was_asked_otherwise_is_told() {
    let with = |title: &str, json: serde_json::Value| {
        let mut run = run(title, 1.0, 10, 0);
        run.phases[0].loads[0].parameters = serde_json::from_value(json).unwrap();
        run
    };
    let told = |a, b| compare(&[with("a", a), with("b", b)]).unwrap().remarks;
    use serde_json::json;
    let same = told(json!({ "rate_per_s": 100.0 }), json!({ "rate_per_s": 100.0 }));
    assert_eq!(same.len(), 1, "that there is no spread: {same:?}");
    let other = told(json!({ "connections": 10 }), json!({ "connections": 20 }));
    let wanted = "flood: not the same was asked of all (a: connections 10; b: connections 20): its \
                  ratios mislead";
    assert_eq!(other[0], wanted);
    let share = |rate| json!({ "rate_per_s": rate, "share_of_peak": 0.5 });
    let rates = told(share(1_000.0), share(400.0));
    let wanted = "flood: each was asked for a share of its own peak (from 400/s of b to 1,000/s of \
                  a): latencies are at other rates";
    assert_eq!(rates[0], wanted);
    assert_eq!(told(share(1_000.0), share(1_040.0)).len(), 1);
}

#[test]
fn the_table_is_markdown() {
    let mut hostile = run("x|y", 1.0, 30, 0);
    hostile.phases[0].name = "flood".into();
    let text = compare(&[run("a", 3.0, 10, 0), hostile]).unwrap().to_string();
    let lines: Vec<&str> = text.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(lines.len() > 3, "{text}");
    let bars = lines[0].matches('|').count();
    let width = lines[0].chars().count();
    for line in lines {
        assert_eq!((line.matches('|').count(), line.chars().count()), (bars, width), "{text}");
    }
}
