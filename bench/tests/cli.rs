//! The real program with bad input: each error names thing, value, limit and cure. And its manual.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const HASH: &str = "00ff10a000000000000000000000000000000001";

/// Flags of a torrent of ten blocks.
const TORRENT: [&str; 6] =
    ["--info-hash", HASH, "--piece-length", "16384", "--total-bytes", "163840"];

fn swarm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringseed-swarm"))
        .args(arguments)
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

/// Fails without a result, and says each of `parts`.
#[track_caller]
fn refused(arguments: &[&str], parts: &[&str]) {
    let output = swarm(arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for part in parts {
        assert!(told.contains(part), "{arguments:?}: '{part}' is missing in: {told}");
    }
}

/// A subcommand against a seeder that nobody will reach, with that torrent.
#[track_caller]
fn load_refused(mode: &str, flags: &[&str], parts: &[&str]) {
    refused(&[&[mode, "127.0.0.1:9"], &TORRENT[..], flags].concat(), parts);
}

#[test]
fn numbers_out_of_bounds() {
    load_refused(
        "flood",
        &["--connections", "0"],
        &["--connections 0", "1 to 60000", "add a load"],
    );
    load_refused("flood", &["--connections", "-3"], &["--connections -3", "1 to 60000"]);
    load_refused("flood", &["--connections", "many"], &["'many'", "--connections"]);
    load_refused("flood", &["--depth", "4000"], &["--depth 4000", "1 to 2048", "add connections"]);
    load_refused("flood", &["--depth", "11"], &["--depth 11", "only 10 blocks", "at most 10"]);
    load_refused("flood", &["--seconds", "0"], &["--seconds 0", "0.01 to 604800 seconds"]);
    load_refused("flood", &["--seconds", "nan"], &["--seconds NaN", "0.01 to 604800 seconds"]);
    load_refused("idle", &["--warm-up", "-1"], &["--warm-up -1", "0 to 604800 seconds"]);
    load_refused("idle", &["--opening", "1e9"], &["--opening 1000000000", "0 to 604800 seconds"]);
    load_refused("latency", &["--rate", "0"], &["--rate 0", "over 0, up to 1000000"]);
    load_refused("latency", &["--rate", "120%"], &["--rate 120%", "up to 100 %", "give a share"]);
    load_refused("latency", &["--rate", "fast"], &["'fast'", "--rate", "50%"]);
    load_refused("churn", &["--blocks", "2000"], &["--blocks 2000", "0 to 1024", "flood"]);
    load_refused("slow", &["--bytes-per-s", "0"], &["--bytes-per-s 0", "1 to 1073741824"]);
    load_refused("slow", &["--fast-rate", "-1"], &["--fast-rate -1", "over 0, up to 1000000"]);
    load_refused("slow", &["--fast-connections", "0"], &["--fast-connections 0", "1 to 60000"]);
    refused(
        &["announce", "--udp", "127.0.0.1:9", "--scrapes", "2"],
        &["--scrapes 2", "0 to 1", "each tenth"],
    );
}

#[test]
fn hostile_peers_are_known_by_name() {
    let wanted = ["'nonsense'", "no hostile peer is called so", "wrong-infohash, ", "leave it out"];
    load_refused("abuse", &["--only", "noise,nonsense"], &[&["--only"], &wanted[..]].concat());
    let help = String::from_utf8(swarm(&["abuse", "--help"]).stdout).unwrap();
    for (name, _) in ringseed_swarm::abuse::catalogue() {
        assert!(help.contains(&format!("  {name}  ")), "{name}: {help}");
    }
}

#[test]
fn targets_that_are_none() {
    refused(&["flood"], &["<ADDR:PORT>"]);
    refused(&["flood", "localhost:1"], &["'localhost:1'", "such as 127.0.0.1:6881"]);
    refused(&["flood", "127.0.0.1:0"], &["'127.0.0.1:0'", "port 0 is none"]);
    refused(&["flood", "127.0.0.1:9"], &["which torrent?", "--torrent", "--info-hash"]);
    refused(&["flood", "127.0.0.1:9", "--info-hash", HASH], &["--piece-length", "--total-bytes"]);
    refused(
        &["flood", "127.0.0.1:9", "--torrent", "/no/such.torrent"],
        &["--torrent '/no/such.torrent'", "No such file"],
    );
    let hash = [&["flood", "127.0.0.1:9", "--info-hash", "12xy"], &TORRENT[2..]].concat();
    refused(&hash, &["--info-hash: infohash '12xy'", "40 hexadecimal digits"]);
    load_refused(
        "flood",
        &["--order", "warm"],
        &["order 'warm'", "sequential, random, shared, hot-set"],
    );
    load_refused("verify", &["--depth", "4"], &["hashes", "give --torrent"]);
    load_refused("flood", &["--pid", "4294967295"], &["--pid 4294967295", "give the target's"]);
    refused(&["announce"], &["which tracker?", "--http, --udp"]);
    refused(
        &["announce", "--http", "https://a/"],
        &["'https://a/'", "http://127.0.0.1:6969/announce"],
    );
    refused(&["announce", "--udp", "a:1"], &["'a:1'", "an address with a port"]);
}

#[test]
fn places_that_are_not_there() {
    load_refused(
        "flood",
        &["--core", "4000"],
        &["--core 4000", "only cores [", "give one of them"],
    );
    load_refused("flood", &["--netns", "no-such"], &["--netns 'no-such'", "ip netns add no-such"]);
    load_refused("flood", &["--from", "::1.."], &["--from ::1", "127.0.0.1:9", "IPv4"]);
    load_refused("flood", &["--from", "here"], &["'here'", "--from", "127.0.1.1.."]);
    load_refused("flood", &["--title", ""], &["--title", "1 to 100", "choose another"]);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml/report");
    let out = file.to_str().unwrap();
    load_refused(
        "flood",
        &["--depth", "4", "--out", out],
        &["--out", out, "cannot make the folder"],
    );
}

#[test]
fn scenarios_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = folder.path().join("s.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let run = |text: &str, flags: &[&str], parts: &[&str]| {
        let path = file(text);
        let named = format!("scenario '{path}'");
        refused(&[&["run", &path], flags].concat(), &[&[named.as_str()], parts].concat());
    };
    let flood = "[[phase]]\nname = \"p\"\nload = [{ mode = \"flood\" }]\n";
    run("[[phase]]\nname = 3\n", &[], &["line 2", "name", "string"]);
    let depth = flood.replace("\"flood\"", "\"flood\", depth = 0");
    run(&depth, &[], &["phase 'p', load 'flood': depth 0: 1 to 2048", "add connections"]);
    run(flood, &[], &["phase 'p', load 'flood'", "which seeder?", "ADDR:PORT"]);
    let seeder = [&["127.0.0.1:9"], &TORRENT[..]].concat();
    run(flood, &seeder, &["phase 'p', load 'flood': depth 64: only 10 blocks", "at most 10"]);
    let announce = flood.replace("\"flood\"", "\"announce\", transport = \"udp\"");
    run(&announce, &[], &["phase 'p', load 'announce'", "which tracker?", "--udp"]);
    refused(&["run", "/no/such.toml"], &["scenario '/no/such.toml'", "No such file"]);
    refused(&["run", "s.toml", "--for", "soon"], &["'soon'", "--for", "90s, 30m or 2h"]);
    refused(&[&["run", &file(flood)], &TORRENT[..]].concat(), &["no seeder", "ADDR:PORT"]);
}

#[test]
fn a_port_that_nobody_listens_on_is_named() {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let target = listener.local_addr().unwrap().to_string();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let flags = ["flood", target.as_str(), "--depth", "4", "--connections", "2", "--out", out];
    let output = swarm(&[&flags[..], &TORRENT].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for told in [&output.stdout, &output.stderr] {
        let told = String::from_utf8_lossy(told);
        assert!(told.contains(&target) && told.contains("Connection refused"), "{told}");
    }
    let result = std::fs::read_to_string(folder.path().join("result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["failures"].as_array().unwrap().len(), 1);
    assert_eq!(result["command"][1], "flood");
}

/// A run against nobody, whose files go into a folder, with these for stdout and stderr.
fn run_told_to(out: &str, stdout: Stdio, stderr: Stdio) -> Output {
    let flags = ["flood", "127.0.0.1:9", "--depth", "4", "--connections", "2", "--out", out];
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringseed-swarm"));
    command.args(flags).args(TORRENT).stdout(stdout).stderr(stderr);
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_terminal_that_takes_nothing_costs_no_files() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let told = [(full(), Stdio::piped()), (Stdio::piped(), full()), (full(), full())];
    for (stdout, stderr) in told {
        let folder = tempfile::tempdir().unwrap();
        let output = run_told_to(folder.path().to_str().unwrap(), stdout, stderr);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let result = std::fs::read_to_string(folder.path().join("result.json")).unwrap();
        assert!(result.contains("ringseed-swarm/1"), "{result}");
        if output.stdout.is_empty() && !output.stderr.is_empty() {
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains("no summary: cannot write to stdout: No space left"), "{told}");
            assert!(told.contains("failed: "), "{told}");
        }
    }
}

#[test]
fn a_run_that_a_signal_ends_names_it() {
    // Nobody answers, and the system takes connections in.
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let flags = ["flood", &target, "--depth", "4", "--connections", "1", "--opening", "60"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringseed-swarm"));
    let command = command.args(flags).args(TORRENT).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    // It connects when all is set up.
    let (_peer, _) = listener.accept().unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("SIGTERM ended the run before its time"), "{told}");
}

#[test]
fn a_soak_too_short_for_a_verdict_on_leaks_says_so_before_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("s.toml");
    let text = "[[phase]]\nname = \"p\"\nseconds = 1\nload = [{ mode = \"idle\" }]\n";
    std::fs::write(&scenario, text).unwrap();
    let (scenario, pid) = (scenario.to_str().unwrap(), std::process::id().to_string());
    let told = |time: &str, flags: &[&str]| {
        let run = ["run", scenario, "127.0.0.1:9", "--for", time, "--pid", &pid];
        let output = swarm(&[&run[..], &TORRENT, flags].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        [output.stderr, output.stdout].map(|told| String::from_utf8(told).unwrap())
    };
    let [stderr, stdout] = told("6s", &[]);
    let before = "ringseed-swarm: no verdict on leaks: it takes 8 rounds, not 3; run for longer";
    assert!(stderr.starts_with(before), "{stderr}");
    let head = stdout.split("\n\n").next().unwrap();
    assert!(head.contains("\nno verdict on leaks: it takes 8 rounds, not 1"), "{head}");
    assert!(!told("16s", &[])[0].contains("no verdict"));
    assert!(!told("6s", &["--quiet"])[0].contains("no verdict"));
}

#[test]
fn results_that_are_none() {
    refused(&["report"], &["<RESULT.json>"]);
    refused(&["report", "/no/such.json"], &["/no/such.json", "No such file"]);
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    refused(&["report", manifest, manifest], &[manifest]);
}

const MODES: [&str; 10] =
    ["flood", "verify", "latency", "churn", "idle", "slow", "announce", "abuse", "run", "report"];

fn flags_of(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.len() > 3 && word.starts_with("--"))
        .filter(|flag| !["--help", "--version"].contains(flag))
        .collect()
}

/// The part of the manual under a heading.
fn section<'a>(manual: &'a str, heading: &str) -> &'a str {
    let start = manual.find(&format!("\n## {heading}")).unwrap();
    let text = &manual[start + 1..];
    &text[..text.find("\n## ").unwrap_or(text.len())]
}

#[test]
fn the_manual_names_every_flag_and_no_other() {
    let manual = include_str!("../../docs/swarm.md");
    for mode in MODES {
        let help = String::from_utf8(swarm(&[mode, "--help"]).stdout).unwrap();
        let own = section(manual, &format!("ringseed-swarm {mode}"));
        let peers = "What every load of peers has";
        let shared: &[&str] = match mode {
            "report" => &[],
            "run" => &["What every run has", peers],
            "announce" => &["What every run has", "What every run but `run` has"],
            _ => &["What every run has", "What every run but `run` has", peers],
        };
        let tables = shared.iter().map(|heading| section(manual, heading)).chain([own]);
        let rows = tables.flat_map(str::lines).filter(|line| line.starts_with("| `"));
        let named: BTreeSet<&str> =
            rows.filter_map(|row| row.split('|').nth(1)).flat_map(flags_of).collect();
        let listed: String = help
            .lines()
            .filter(|line| line.trim_start().starts_with('-'))
            .map(|line| line.trim_start().trim_start_matches("-q, ").split(' ').next().unwrap())
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(named, flags_of(&listed), "docs/swarm.md, {mode}");
    }
}

#[test]
fn the_help_names_every_subcommand() {
    let help = String::from_utf8(swarm(&["--help"]).stdout).unwrap();
    for mode in MODES {
        assert!(help.contains(&format!("\n  {mode} ")), "{mode} is missing in\n{help}");
    }
}
