//! The scripts under bench/ run from end to end, on a load so small that it takes seconds.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::arguments;
use crate::seeder::program;

const SCENARIO: &str = r#"
title = "tiny"

[defaults]
seconds = 0.5
warm_up = 0
opening = 20

[[phase]]
name = "flood"
load = [{ mode = "flood", connections = 8, depth = 8 }]

[[phase]]
name = "verify"
load = [{ mode = "verify", connections = 2, depth = 8 }]

[[phase]]
name = "announce"
load = [
    { mode = "announce", name = "http", transport = "http", rate = 50 },
    { mode = "announce", name = "udp", transport = "udp", rate = 50 },
]
"#;

/// Runs bench/swarm.sh on the scenario and 8 MiB with the programs of this build; its data and its
/// `report` are in `folder`.
fn swarm(folder: &Path, more: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/swarm.sh");
    let scenario = folder.join("tiny.toml");
    std::fs::write(&scenario, SCENARIO).unwrap();
    let (out, programs) = (folder.join("report"), Path::new(program()).parent().unwrap());
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "120"]).arg(script);
    command.args(arguments![scenario, "--mib", "8", "--out", out, "--programs", programs]);
    command.args(more).env("CARGO_TARGET_DIR", folder).stdin(Stdio::null());
    command.output().unwrap()
}

/// Why bench/swarm.sh can make no network namespaces with veth pairs here, if so.
fn why_no_namespaces() -> Option<String> {
    let mut command = Command::new("unshare");
    command.arg("--net").args(["ip", "link", "add", "near", "type", "veth", "peer", "name", "far"]);
    match command.stdin(Stdio::null()).output() {
        Ok(made) if made.status.success() => None,
        Ok(made) => Some(String::from_utf8_lossy(&made.stderr).trim().into()),
        Err(error) => Some(format!("'unshare' cannot be run: {error}")),
    }
}

/// Bytes of blocks that a phase's loads received.
fn payload_bytes(results: &Value, phase: usize) -> u64 {
    let loads = results["phases"][phase]["loads"].as_array().unwrap();
    loads.iter().map(|load| load["counts"]["payload_bytes"].as_u64().unwrap()).sum()
}

#[test]
fn a_profile_is_run_and_leaves_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    let run = swarm(folder.path(), &[]);
    let (told, said) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert_eq!(run.status.code(), Some(0), "{told}\n{said}");
    let page = out.join("report.html");
    assert_eq!(told.lines().last(), page.to_str(), "the report's path is told last");
    assert!(std::fs::read_to_string(page).unwrap().contains("tiny"));
    for log in ["seeder.log", "tracker.log", "latency.hlog"] {
        assert!(std::fs::metadata(out.join(log)).unwrap().len() > 0, "{log}");
    }
    let results = std::fs::read(out.join("result.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    assert_eq!(results["failures"], Value::Array(Vec::new()), "{results}");
    assert!(payload_bytes(&results, 0) > 0 && payload_bytes(&results, 1) > 0);
    for load in results["phases"][2]["loads"].as_array().unwrap() {
        assert!(load["counts"]["answers"].as_u64().unwrap() > 0, "{load}");
    }
    let pid = results["target"]["pid"].as_u64().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the seeder was left running");
}

#[test]
fn leechers_come_from_namespaces_of_their_own() {
    if let Some(why) = why_no_namespaces() {
        eprintln!("skipped: root is needed to make network namespaces: {why}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = swarm(folder.path(), &["--netns", "2"]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{said}");
    let results = std::fs::read(folder.path().join("report/result.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    assert_eq!(results["machine"]["namespaces"], 2, "{said}");
    let counts = &results["phases"][0]["loads"][0]["counts"];
    assert_eq!((&counts["unchoked"], &counts["lost"]), (&8.into(), &0.into()), "{counts}");
    assert!(payload_bytes(&results, 0) > 0 && payload_bytes(&results, 1) > 0);
}

#[test]
fn a_seeder_that_does_not_start_is_named_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let run = swarm(folder.path(), &["--seeder", "sh", "-c", "echo I will not; exit 3"]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.contains("sh ended at its start: I will not"), "{said}");
}
