//! Reports of a made run: files that others can read, pages that stand alone and hold all. The pages
//! are left in the folder of this test under target/tmp for people to look at.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod fixture;
mod pages;
mod schema;

use std::path::{Path, PathBuf};
use std::process::Command;

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use ringseed_swarm::output;
use ringseed_swarm::results::Results;
use serde_json::Value;

use fixture::Made;

/// A run of all modes.
pub(crate) fn made(title: &str, seed: u64, speed: f64) -> Results {
    fixture::run(&Made { title: title.into(), seed, speed })
}

/// Without printing megabytes where they differ.
#[track_caller]
fn assert_same<T: PartialEq>(a: &T, b: &T) {
    assert!(a == b, "they differ");
}

/// A folder for this test alone.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reports").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_run_leaves_its_files_and_they_read_back() {
    let run = made("ringseed", 1, 1.0);
    let folder = folder("run");
    let paths = output::write(&folder, &run).unwrap();
    let names: Vec<&str> =
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names.first(), Some(&"result.json"));
    for name in ["latency.hlog", "report.html", "latency-75-latency-request_to_piece.hgrm"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_same(&output::read(&paths[0]).unwrap(), &run);
    let left_over = std::fs::read_dir(&folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'));
    assert_eq!(left_over.count(), 0);
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let file = folder("no-folder").join("file");
    std::fs::write(&file, "").unwrap();
    let why = format!("{:#}", output::write(&file, &made("a", 1, 1.0)).unwrap_err());
    assert!(why.contains("cannot make the folder") && why.contains("no-folder/file"), "{why}");
}

/// What the intervals of each tag of a log amount to must be what the results say.
fn tags(results: &Results) -> Vec<(String, &hdrhistogram::Histogram<u64>, u64)> {
    let loads = results.phases.iter().flat_map(|p| p.loads.iter().map(move |load| (p, load)));
    loads
        .flat_map(|(phase, load)| {
            load.latencies.iter().map(move |(metric, distribution)| {
                let tag = format!("{}/{}/{metric}", phase.name, load.name);
                let begin_s = phase.counted_from_s + distribution.intervals[0].begin.as_secs_f64();
                let begin_ms = results.started_unix_ms + (begin_s * 1e3).round() as u64;
                (tag, &distribution.total, begin_ms)
            })
        })
        .collect()
}

#[test]
fn the_interval_log_holds_every_interval_in_the_order_of_time() {
    let run = made("ringseed", 2, 1.0);
    let paths = output::write(&folder("log"), &run).unwrap();
    let log = std::fs::read(&paths[1]).unwrap();
    assert!(log.starts_with(b"#[Histogram log format version 1.3]\n"));
    let mut sums = std::collections::BTreeMap::new();
    let mut last = std::time::Duration::ZERO;
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        assert!(interval.start_timestamp() >= last);
        last = interval.start_timestamp();
        let histogram =
            ringseed_swarm::results::distribution::from_text(interval.encoded_histogram());
        let sum = sums
            .entry(interval.tag().unwrap().as_str().to_owned())
            .or_insert_with(ringseed_swarm::results::distribution::new_histogram);
        sum.add(histogram.unwrap()).unwrap();
    }
    let wanted = tags(&run);
    assert_eq!(sums.len(), wanted.len());
    for (tag, total, _) in wanted {
        assert_eq!(&sums[&tag], total, "{tag}");
    }
}

/// `RINGSEED_HDRHISTOGRAM_PYTHON` names an interpreter that has the package, as that of a virtual
/// environment; `scripts/test.sh interop` makes one.
#[test]
#[ignore = "needs the package hdrhistogram of PyPI"]
fn the_python_tools_read_the_interval_log() {
    let run = made("ringseed", 3, 1.0);
    let paths = output::write(&folder("python"), &run).unwrap();
    let python = std::env::var_os("RINGSEED_HDRHISTOGRAM_PYTHON").unwrap_or("python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports/read_hlog.py");
    let told = Command::new(python).arg(script).arg(&paths[1]).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let lines: Vec<Value> = std::str::from_utf8(&told.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let wanted = tags(&run);
    assert_eq!(lines.len(), wanted.len());
    for (tag, total, begin_ms) in wanted {
        let line = lines.iter().find(|line| line["tag"] == tag.as_str()).unwrap();
        assert_eq!(line["count"], total.len(), "{tag}");
        assert_eq!(line["first_begin_ms"].as_f64().unwrap().round() as u64, begin_ms, "{tag}");
        for (at, quantile) in [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0].into_iter().enumerate() {
            // That package rounds to the nearest rank, where ours takes the next one up.
            let rank = (quantile * total.len() as f64 + 0.5).floor() as u64;
            let mut count = 0;
            let value = total.iter_recorded().find(|recorded| {
                count += recorded.count_at_value();
                count >= rank.max(1)
            });
            let value = total.highest_equivalent(value.unwrap().value_iterated_to());
            assert_eq!(line["quantiles"][at], value, "{tag} {quantile}");
        }
    }
}

#[test]
fn the_subcommand_shows_runs_and_leaves_a_page() {
    let folder = folder("subcommand");
    let mut paths = Vec::new();
    for (name, speed) in [("ringseed", 1.0), ("other", 0.5)] {
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, serde_json::to_vec(&made(name, 4, speed)).unwrap()).unwrap();
        paths.push(path);
    }
    let page = folder.join("page.html");
    let report = |paths: &[PathBuf]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringseed-swarm"));
        command.arg("report").args(paths).arg("--out").arg(&page).output().unwrap()
    };
    let many = report(&paths);
    assert!(many.status.success(), "{}", String::from_utf8_lossy(&many.stderr));
    let table = String::from_utf8(many.stdout).unwrap();
    assert!(table.starts_with("| phase / load "), "{table}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("<title>ringseed and other</title>"));
    let one = report(&paths[..1]);
    assert!(String::from_utf8(one.stdout).unwrap().starts_with("ringseed: passed"));
    assert!(std::fs::read_to_string(&page).unwrap().contains("<title>ringseed</title>"));

    std::fs::write(&paths[1], "{\"schema\": \"ringseed-swarm/0\"}").unwrap();
    std::fs::remove_file(&page).unwrap();
    let old = report(&paths);
    let why = String::from_utf8(old.stderr).unwrap();
    assert!(!old.status.success() && !page.exists());
    for part in ["other.json", "'ringseed-swarm/0'", "'ringseed-swarm/1'"] {
        assert!(why.contains(part), "{part} is missing in {why}");
    }
}
