//! What `ringseed seed` counts (docs/counters.md) is what happened.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::arguments;
use crate::content::World;
use crate::peer::{Answer, BLOCK_BYTES, Peer, info_hash, piece_bytes};
use crate::seed::download;
use crate::seeder::{Seeder, now, on_loopback, program, signal};

const SOON: Duration = Duration::from_secs(10);

/// Bytes before a block: length, kind, piece, begin.
const HEADER_BYTES: u64 = 13;

/// Asks until the totals are as `wanted`: some are copied four times a second only.
#[track_caller]
pub(crate) fn totals(seeder: &Seeder, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = now() + SOON;
    loop {
        signal(seeder.pid(), "USR1");
        let event = seeder.event("counters", SOON).expect("SIGUSR1 is answered");
        if wanted(&event["total"]) {
            return event["total"].clone();
        }
        assert!(now() < deadline, "it never came: {event:#}");
        let _ = seeder.event("a while", Duration::from_millis(100));
    }
}

pub(crate) fn number(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or_else(|| panic!("no number '{name}' in {figures:#}"))
}

#[test]
fn bytes_by_verb_are_those_that_a_leecher_got() {
    let size: u64 = 3 * 1024 * 1024 + 77;
    let blocks = size.div_ceil(u64::from(BLOCK_BYTES));
    let carried = size + blocks * HEADER_BYTES;
    for kernel in ["io-uring", "epoll"] {
        for (zero_copy, verb, other) in
            [("auto", "spliced_bytes", "copied_bytes"), ("off", "copied_bytes", "spliced_bytes")]
        {
            let world = World::with_file(size as usize);
            let options = arguments!["--kernel", kernel, "--zero-copy", zero_copy, "--cores", "1"];
            let seeder = Seeder::of(&world, options);
            download(&seeder, &world);
            let figures = totals(&seeder, |figures| number(figures, verb) >= carried);
            assert_eq!(number(&figures, verb), carried, "{kernel} {zero_copy}");
            assert_eq!(number(&figures, other), 0, "{kernel} {zero_copy}");
            assert_eq!(number(&figures, "block_bytes"), size);
            assert_eq!(number(&figures, "blocks"), blocks);
            assert!(number(&figures, "sent_bytes") > carried, "a handshake went as well");
            assert_eq!(number(&figures, "accepted"), 1);
            assert_eq!(number(&figures, "stale_completions"), 0);
            if verb == "spliced_bytes" {
                // It was hashed a moment ago.
                assert!(number(&figures, "runs_resident") > 0, "{figures:#}");
            }
        }
    }
}

#[test]
fn a_peer_that_does_not_read_is_held_back_and_seen_to_be() {
    let world = World::with_file(16 * 1024 * 1024);
    let seeder = Seeder::of(&world, arguments!["--cores", "1"]);
    let torrent = seeder.torrent();
    let hash = info_hash(torrent.info_hash_v1.as_ref().unwrap());
    let piece = piece_bytes(&torrent.torrent_file);
    let mut peer = Peer::unchoked(seeder.address(), hash);
    let figures = totals(&seeder, |_| true);
    assert_eq!(number(&figures, "share_waits"), 0);
    let blocks: Vec<(u32, u32)> = (0..1000)
        .map(|block| block * u64::from(BLOCK_BYTES))
        .map(|at| ((at / piece) as u32, (at % piece) as u32))
        .collect();
    for &(index, begin) in &blocks {
        peer.send_request(index, begin, BLOCK_BYTES).unwrap();
    }
    let held = totals(&seeder, |figures| number(figures, "held_back") == 1);
    assert!(number(&held, "share_waits") > 0, "{held:#}");
    let unacknowledged = number(&held, "unacknowledged_bytes");
    assert!((1..=4 * (16_384 + 13)).contains(&unacknowledged), "{held:#}");
    let bytes = number(&held, "sent_bytes");
    assert!(number(&held, "unacknowledged_bytes") < bytes, "much of {bytes} was acknowledged");
    for &(index, begin) in &blocks {
        assert!(matches!(peer.answer(index, begin), Answer::Block(_)));
    }
    totals(&seeder, |figures| number(figures, "unacknowledged_bytes") == 0);
}

#[test]
fn the_last_counters_come_before_the_end_and_time_every_turn() {
    let world = World::with_file(1_000_000);
    let seeder = Seeder::of(&world, arguments!["--cores", "1"]);
    download(&seeder, &world);
    signal(seeder.pid(), "TERM");
    let event = seeder.event("counters", SOON).expect("counters come at the end");
    assert!(seeder.event("stopped", SOON).is_some());
    let figures = &event["total"];
    let turns = &figures["turn_us"];
    assert_eq!(number(turns, "count"), number(figures, "turns"));
    let in_buckets = turns["buckets"].as_array().unwrap().iter();
    let in_buckets: u64 = in_buckets.map(|bucket| bucket[1].as_u64().unwrap()).sum();
    assert_eq!(in_buckets, number(figures, "turns"));
    assert!(number(turns, "p50") <= number(turns, "max"), "{turns:#}");
    assert!(number(turns, "sum") >= number(turns, "max"), "{turns:#}");
    assert!(number(figures, "completions") > 0 && number(figures, "enters") > 0);
    // It waited for its peer, and for the signal.
    assert!(number(figures, "enter_us") > 0);
    let workers = event["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0]["block_bytes"], figures["block_bytes"]);
    assert!(workers[0]["core"].is_u64() && event["io_worker_threads"].is_u64());
}

#[test]
fn fetches_are_told_by_device() {
    let world = World::with_file(4 << 20);
    let seeder = Seeder::of(&world, arguments!["--cores", "1"]);
    let bytes = std::fs::read(world.content()).unwrap();
    ringseed_ring::system::drop_from_page_cache(&world.content()).unwrap();
    let torrent = seeder.torrent();
    let hash = info_hash(torrent.info_hash_v1.as_ref().unwrap());
    let mut peer = Peer::unchoked(seeder.address(), hash);
    let piece = piece_bytes(&torrent.torrent_file);
    peer.fetch_and_compare(piece, &bytes, 0..bytes.len() as u64);
    totals(&seeder, |figures| number(figures, "fetches") > 0);
    signal(seeder.pid(), "USR1");
    let event = seeder.event("counters", SOON).unwrap();
    let devices = event["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 1, "{devices:#?}");
    let device = &devices[0];
    let stat = Command::new("stat").args(["-c", "%Hd:%Ld"]).arg(world.content()).output().unwrap();
    assert_eq!(device["device"], String::from_utf8(stat.stdout).unwrap().trim());
    assert_eq!(number(device, "fetches"), number(&event["total"], "fetches"));
    assert!(number(device, "fetched_bytes") >= 4 << 20, "{device:#}");
    assert_eq!(device["fetch_us"], event["total"]["fetch_us"]);
    assert_eq!(number(device, "bios"), 0);
}

#[test]
fn without_json_counters_are_lines() {
    let world = World::with_file(100_000);
    let mut arguments = arguments!["seed", world.content()];
    arguments.extend(on_loopback(&world));
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut turns = None;
    for line in lines {
        if line == "seeding 1 torrent" {
            signal(child.id(), "USR1");
        }
        if line.starts_with("turn_us count ") {
            turns = Some(line);
            signal(child.id(), "TERM");
        } else if turns.is_some() {
            assert!(!line.starts_with("turns "), "asked once, told twice");
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(turns.is_some_and(|line| line.contains(" p99.99 ")));
}
