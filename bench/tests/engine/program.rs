//! The real program against a small seeder: how a run ends early, with a target that ends, and with
//! one that leaks.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use ringseed_swarm::results::Results;

use crate::stub::{self, NAME, Stub};

/// The program with the torrent of the stub.
fn swarm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringseed-swarm"));
    command.args(arguments).args(["--info-hash", &NAME.to_string()]);
    command.args(["--piece-length", "65536", "--total-bytes", "3276900"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Lets it run until it tells a line that begins like this, then does something.
fn when_it_says(mut running: Child, line_start: &str, then: impl FnOnce(u32)) -> Output {
    let mut told = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with(line_start) {
        line.clear();
        assert_ne!(told.read_line(&mut line).unwrap(), 0, "'{line_start}' is never said");
    }
    then(running.id());
    // Whatever it says later is read, so that it never waits for us.
    let rest: Vec<String> = told.lines().map(|line| line.unwrap()).collect();
    Output { stderr: rest.join("\n").into_bytes(), ..running.wait_with_output().unwrap() }
}

fn results(folder: &Path) -> Results {
    serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap()
}

/// A scenario in the folder, and the program that runs it against a good seeder.
fn scenario(folder: &Path, text: &str, pid: u32) -> Command {
    let path = folder.join("scenario.toml");
    std::fs::write(&path, text).unwrap();
    let (target, _) = stub::start(Stub::default());
    let (path, out) = (path.to_str().unwrap(), folder.to_str().unwrap());
    swarm(&["run", path, &target.to_string(), "--pid", &pid.to_string(), "--out", out])
}

#[test]
fn an_interrupt_ends_the_run_with_what_was_seen() {
    let (target, _): (SocketAddr, _) = stub::start(Stub::default());
    let folder = tempfile::tempdir().unwrap();
    let (target, out) = (target.to_string(), folder.path().to_str().unwrap());
    let flags =
        ["flood", &target, "--connections", "2", "--depth", "4", "--warm-up", "0", "--out", out];
    let running = swarm(&flags).args(["--seconds", "600"]).spawn().unwrap();
    let output = when_it_says(running, "1/1 flood", |pid| {
        assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
    });
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let results = results(folder.path());
    assert!(results.phases[0].loads[0].counts.answers > 0);
    assert!(results.phases[0].seconds < 600.0);
    assert_eq!(results.phases[0].remarks[0], "ended before its time, as it was told to");
    assert!(folder.path().join("report.html").exists());
}

#[test]
fn a_target_that_ends_leaves_what_was_seen_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = Command::new("sleep").arg("600").spawn().unwrap();
    let phase = |name: &str| {
        format!("[[phase]]\nname = \"{name}\"\nload = [{{ mode = \"idle\", connections = 3 }}]\n")
    };
    let text = format!("[defaults]\nseconds = 0.3\nwarm_up = 0\n{}{}", phase("a"), phase("b"));
    let running = scenario(folder.path(), &text, target.id()).spawn().unwrap();
    let pid = target.id();
    let output = when_it_says(running, "1/2 a:", |_| {
        target.kill().unwrap();
        target.wait().unwrap();
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let results = results(folder.path());
    assert_eq!(results.phases.len(), 1);
    assert_eq!(results.failures, [format!("b: process {pid} (--pid) has ended")]);
}

/// Eight short rounds against a target that runs this shell script.
fn soak(script: &str) -> (Option<i32>, Results) {
    let folder = tempfile::tempdir().unwrap();
    let mut target = Command::new("bash").args(["-c", script]).spawn().unwrap();
    let text = "rounds = 8\n[[phase]]\nname = \"a\"\nseconds = 0.1\nwarm_up = 0\n\
                load = [{ mode = \"flood\", connections = 2, depth = 4 }]\n";
    let output = scenario(folder.path(), text, target.id()).output().unwrap();
    target.kill().unwrap();
    target.wait().unwrap();
    (output.status.code(), results(folder.path()))
}

#[test]
fn a_target_that_leaks_descriptors_fails_the_soak() {
    let (code, results) = soak("while :; do exec {fd}</dev/null; sleep 0.02; done");
    assert_eq!(code, Some(1));
    assert_eq!(results.phases.len(), 8);
    assert_eq!(results.phases[7].name, "a #8");
    let leak = results.failures.iter().find(|told| told.contains("leaks descriptors"));
    assert!(leak.is_some(), "{:?}", results.failures);
    let checks = &results.phases[7].loads[0].checks;
    assert!(checks.iter().any(|check| check.name == "no leak of descriptors" && !check.passed));
}

#[test]
fn a_target_that_keeps_nothing_passes_the_soak() {
    let (code, results) = soak("exec sleep 600");
    assert_eq!((code, results.failures.as_slice()), (Some(0), &[][..]));
    let checks = &results.phases[7].loads[0].checks;
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    // It has no cgroup of its own.
    assert_eq!(
        names,
        ["no leak of anonymous memory", "no leak of descriptors", "no leak of connections"]
    );
    assert!(checks.iter().all(|check| check.passed), "{checks:?}");
}
