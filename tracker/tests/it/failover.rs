//! Three trackers that share the torrents among them: one is killed, and its peers meet at the next.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use ringseed_meta::tracker_set::in_order;

use crate::http::Client;
use crate::interop::libtorrent;
use crate::program::Program;

/// Seconds: short, so that the test is.
const INTERVAL: &str = "10";

/// Some intervals: on a busy machine clients are told longer ones, and one that does not answer is tried
/// first.
const LATEST: Duration = Duration::from_secs(40);

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seeds and leechers that a tracker knows, by its own figures.
fn peers(program: &Program) -> u64 {
    let stats = Client::connect(program.http[0]).get("/stats").body;
    let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
    stats["peers"].as_u64().unwrap()
}

fn until(what: &str, done: impl Fn() -> bool) -> Duration {
    let from = SystemTime::now();
    loop {
        let waited = from.elapsed().unwrap();
        if done() {
            return waited;
        }
        assert!(waited < LATEST, "{what}: not within {LATEST:?}");
    }
}

#[test]
fn peers_of_a_tracker_that_is_killed_meet_at_the_next() {
    let start = || Program::start(&["--http", "127.0.0.1:0", "--interval", INTERVAL]);
    let mut programs = vec![start(), start(), start()];
    let url = |program: &Program| format!("http://{}/announce", program.http[0]);
    let set: Vec<Box<str>> = programs.iter().map(|program| url(program).into()).collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), vec![7; 100_000]).unwrap();
    let torrent = folder.path().join("content.torrent");
    // Its trackers are no part of the infohash, so it is made twice.
    let info_hash = {
        let made = libtorrent("hash", &torrent, folder.path(), "http://none").output().unwrap();
        let hex = String::from_utf8(made.stdout).unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        ringseed_meta::InfoHash(std::array::from_fn(byte))
    };
    let order = in_order(&info_hash, &set);
    programs.sort_by_key(|program| order.iter().position(|first| **first == *url(program)));
    let mut seeding = Vec::new();
    for role in ["seed", "stay", "stay"] {
        let into = folder.path().join(format!("{role}{}", seeding.len()));
        let into = if role == "seed" { folder.path().to_owned() } else { into };
        std::fs::create_dir_all(&into).unwrap();
        let mut child = libtorrent(role, &torrent, &into, &order.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "seeding\n", "{role}");
        seeding.push(Peer(child));
        if seeding.len() == 2 {
            until("both at the first", || peers(&programs[0]) == 2);
            assert_eq!([peers(&programs[1]), peers(&programs[2])], [0, 0], "others were asked");
            drop(programs.remove(0));
            let waited = until("both at the second", || peers(&programs[0]) == 2);
            eprintln!("found again after {waited:?}, interval {INTERVAL} s");
        }
    }
    until("all at the second", || peers(&programs[0]) == 3);
    assert_eq!(peers(&programs[1]), 0, "the third was asked");
}
