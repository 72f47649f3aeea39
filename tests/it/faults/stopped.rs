//! Leechers that the system stops in the middle, and lets go on.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use super::crowd::{Crowd, Known};
use super::stand::{Stand, WAYS};
use super::truth::Truth;
use crate::counters::{number, totals};
use crate::peer::{BLOCK_BYTES, info_hash};
use crate::seeder::{Seeder, now, signal};

const FILE_BYTES: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// Leechers that are stopped, and those beside them.
const STOPPED: u64 = 30;
const OTHERS: u64 = 10;

/// Requests that each of those has outstanding: more than sockets hold, so that they fill.
const DEPTH: usize = 250;

/// What their sockets may take of what arrives (SO_RCVBUF).
const RECEIVE_BYTES: usize = 64 << 10;

/// Blocks for each of a crowd at each stage: more than had been asked for when they were stopped.
const BLOCKS_EACH: u64 = 300;

/// The torrent that the other process is to fetch: `address infohash piece-bytes seed length`.
const WHAT: &str = "LEECHERS_APART";

/// What it says when they have come to all its leechers together.
const GOT: &str = "the blocks have come";

/// Leechers in a process of their own: the test binary once more. A line tells it how many more blocks
/// are to come, and it answers when they have.
struct Apart {
    process: Child,
    told: Option<ChildStdin>,
    said: Receiver<String>,
}

impl Apart {
    fn start(known: &Known) -> Apart {
        let Known { address, piece_bytes, truth, info_hash } = known;
        let hash: String = info_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let what = format!("{address} {hash} {piece_bytes} {} {}", truth.seed, truth.length);
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::stopped::leechers_apart", "--ignored", "--nocapture"])
            .env(WHAT, what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, said) = channel();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line).ok())
        });
        let told = process.stdin.take();
        Apart { process, told, said }
    }

    fn wants(&mut self, blocks: u64) {
        writeln!(self.told.as_ref().unwrap(), "{blocks}").unwrap();
    }

    /// Fails unless what it wanted comes.
    #[track_caller]
    fn gets_it(&self) {
        while self.said.recv_timeout(PATIENCE).expect("their blocks come") != GOT {}
    }

    /// Fails unless all of them were served well to the end.
    #[track_caller]
    fn end_well(mut self) {
        drop(self.told.take());
        let deadline = now() + PATIENCE;
        let mut rest = Vec::new();
        let status = loop {
            rest.extend(self.said.try_iter());
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(now() < deadline, "they do not end within {PATIENCE:?}: {rest:#?}");
            std::thread::park_timeout(Duration::from_millis(10));
        };
        // Its last words: the thread that reads them ends with its output.
        while let Ok(line) = self.said.recv_timeout(PATIENCE) {
            rest.push(line);
        }
        assert!(status.success(), "{status}: {rest:#?}");
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "the process of the leechers that are stopped"]
fn leechers_apart() {
    let Ok(what) = std::env::var(WHAT) else { return };
    let words: Vec<&str> = what.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let known = Known {
        address: words[0].parse().unwrap(),
        info_hash: info_hash(words[1]),
        piece_bytes: number(2),
        truth: Arc::new(Truth::new(number(3), number(4))),
    };
    let mut crowd = Crowd::with_sockets(&known, STOPPED, DEPTH, Some(RECEIVE_BYTES));
    for line in io::stdin().lines() {
        crowd = crowd.gets(line.unwrap().parse().unwrap(), PATIENCE);
        // The test runner has begun a line of its own.
        println!("\n{GOT}");
    }
    crowd.end_well(1);
}

/// Waits until so many are connected from now on.
#[track_caller]
fn connected(seeder: &Seeder, peers: u64) {
    while seeder.event("rate", Duration::ZERO).is_some() {}
    let enough = (0..PATIENCE.as_secs()).any(|_| {
        let event = seeder.event("rate", PATIENCE).expect("a rate event");
        event["peers"] == peers
    });
    assert!(enough, "there are not {peers} peers");
}

/// Whether the sockets of those that are stopped have taken what they take and no more: of what was
/// asked for, much is still to be sent.
fn are_full(figures: &Value) -> bool {
    let all = STOPPED * DEPTH as u64 * u64::from(BLOCK_BYTES);
    let held = STOPPED * RECEIVE_BYTES as u64..all / 2;
    let in_part = number(figures, "partial_sends");
    in_part >= STOPPED && held.contains(&number(figures, "unacknowledged_bytes"))
}

#[test]
fn leechers_that_are_stopped_for_a_while_go_on_and_hold_up_nobody() {
    for way in &WAYS[..2] {
        let stand = Stand::new().with("large", FILE_BYTES);
        let seeder = stand.seed(way);
        let known = stand.known(&seeder, "large");
        let others = Crowd::start(&known, OTHERS, 8);
        let mut stopped = Apart::start(&known);
        stopped.wants(STOPPED * BLOCKS_EACH);
        stopped.gets_it();
        let others = others.gets(OTHERS * BLOCKS_EACH, PATIENCE);
        connected(&seeder, STOPPED + OTHERS);
        signal(stopped.process.id(), "STOP");
        let others = others.gets(OTHERS * BLOCKS_EACH, PATIENCE);
        connected(&seeder, STOPPED + OTHERS);
        totals(&seeder, are_full);
        signal(stopped.process.id(), "CONT");
        stopped.wants(STOPPED * BLOCKS_EACH);
        stopped.gets_it();
        let others = others.gets(OTHERS * BLOCKS_EACH, PATIENCE);
        stopped.end_well();
        others.end_well(1);
    }
}
