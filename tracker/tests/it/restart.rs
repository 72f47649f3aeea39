//! A tracker that is started again knows who was there.

use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::http::{Client, announce};
use crate::program::Program;

fn start(snapshot: &Path) -> Program {
    let path = snapshot.to_str().unwrap();
    Program::start(&["--http", "127.0.0.1:0", "--snapshot", path, "--snapshot-every", "1"])
}

/// Whether a leecher of `t` is told of one seed, and where it is.
fn finds(program: &Program) -> (bool, bool) {
    finds_of(program, 't')
}

/// As above, of any torrent.
fn finds_of(program: &Program, torrent: char) -> (bool, bool) {
    let answer = Client::connect(program.http[0]).get(&announce(torrent, 'l', 7002, "&left=5"));
    let answer = answer.body.escape_ascii().to_string();
    (answer.contains("8:completei1e"), answer.contains(r"5:peers6:\x7f\x00\x00\x01\x1a\x1a"))
}

fn seed(program: &Program) {
    Client::connect(program.http[0]).get(&announce('t', 's', 0x1a1a, "&left=0"));
}

#[test]
fn a_swarm_outlives_a_restart_and_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("swarms");
    let program = start(&snapshot);
    seed(&program);
    assert_eq!(program.stop("TERM").code(), Some(0));
    let program = start(&snapshot);
    assert_eq!(finds(&program), (true, true));
    // What came since is in a snapshot after a second, and nothing is lost without a word.
    Client::connect(program.http[0]).get(&announce('u', 's', 0x1a1a, "&left=0"));
    let has_both = || {
        let bytes = std::fs::read(&snapshot).unwrap_or_default();
        [b't', b'u'].iter().all(|name| bytes.windows(20).any(|some| some == [*name; 20]))
    };
    let until = std::time::SystemTime::now() + std::time::Duration::from_secs(30);
    while !has_both() && std::time::SystemTime::now() < until {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    assert!(has_both(), "no snapshot was written on time");
    assert_eq!(program.stop("KILL").code(), None);
    let program = start(&snapshot);
    for torrent in ['t', 'u'] {
        assert_eq!(finds_of(&program, torrent), (true, true), "{torrent}");
    }
}

#[test]
fn a_snapshot_that_is_none_is_set_aside_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("swarms");
    std::fs::write(&snapshot, "of another program").unwrap();
    let (program, stderr) = Program::start_with_stderr(&[
        "--http",
        "127.0.0.1:0",
        "--snapshot",
        snapshot.to_str().unwrap(),
    ]);
    let mut said = String::new();
    BufReader::new(stderr).read_line(&mut said).unwrap();
    assert!(said.contains("no snapshot") && said.contains("swarms.refused"), "{said}");
    seed(&program);
    assert_eq!(finds(&program), (true, true));
    assert!(folder.path().join("swarms.refused").exists());
}
