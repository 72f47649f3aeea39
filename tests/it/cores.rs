//! Several workers of the real program: connections move between them, and nobody notices.

use std::fs;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::arguments;
use crate::content::World;
use crate::faults::left_out::left_out;
use crate::peer::{Answer, BLOCK_BYTES, Peer, info_hash, piece_bytes};
use crate::seeder::{Seeder, now, signal};

const SOON: Duration = Duration::from_secs(10);

/// Longest until work is evened out: a second of it, and ten more for a connection that moved already.
const EVEN_WITHIN: Duration = Duration::from_secs(40);

/// Peers of one address. That chance alone gives each worker its share of so many, at each of them,
/// happens once in a million times.
const PEERS: usize = 40;

/// Of the peers of one worker, those that keep it busy.
const BUSY_PEERS: usize = 8;

/// A seeder with two workers, or `None` where the process may use one core only, which is said.
fn with_two_workers(world: &World) -> Option<Seeder> {
    if thread::available_parallelism().map_or(1, NonZero::get) < 2 {
        left_out("this process may run on one core only");
        return None;
    }
    Some(Seeder::of(world, arguments!["--cores", "2"]))
}

fn counters(seeder: &Seeder) -> Value {
    signal(seeder.pid(), "USR1");
    seeder.event("counters", SOON).expect("SIGUSR1 is answered")
}

/// Counters, asked for until they are as `wanted`.
#[track_caller]
fn counters_when(seeder: &Seeder, within: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = now() + within;
    loop {
        let event = counters(seeder);
        if wanted(&event) {
            return event;
        }
        assert!(now() < deadline, "it never came: {event:#}");
        let _ = seeder.event("a while", Duration::from_millis(50));
    }
}

fn number(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or_else(|| panic!("no number '{name}' in {figures:#}"))
}

/// One figure of both workers.
fn of_both(event: &Value, name: &str) -> [u64; 2] {
    [0, 1].map(|worker| number(&event["workers"][worker], name))
}

fn connect_all(seeder: &Seeder) -> Vec<Peer> {
    let hash = info_hash(seeder.torrent().info_hash_v1.as_ref().unwrap());
    (0..PEERS).map(|_| Peer::unchoked(seeder.address(), hash)).collect()
}

/// What must hold whenever connections moved and nobody left.
#[track_caller]
fn assert_nobody_was_lost(event: &Value) {
    let total = &event["total"];
    assert_eq!(number(total, "moves_refused"), 0, "both had room: {event:#}");
    assert_eq!(number(total, "accepted"), PEERS as u64, "{event:#}");
    assert_eq!(number(total, "connections"), PEERS as u64, "{event:#}");
    assert_eq!(number(total, "peers"), PEERS as u64, "{event:#}");
    for name in ["refused", "peer_faults", "fetch_faults", "stale_completions"] {
        assert_eq!(number(total, name), 0, "{name}: {event:#}");
    }
}

/// All that were given away were taken, by the other one.
fn all_arrived(event: &Value) -> bool {
    let [first, second] = of_both(event, "moved_away");
    of_both(event, "moved_here") == [second, first]
}

#[test]
fn new_connections_go_to_the_worker_that_has_fewer() {
    let world = World::with_file(1024 * 1024 + 77);
    let Some(seeder) = with_two_workers(&world) else { return };
    let piece = piece_bytes(&seeder.torrent().torrent_file);
    let bytes = fs::read(world.content()).unwrap();
    let mut peers = connect_all(&seeder);
    let spread = counters_when(&seeder, SOON, all_arrived);
    assert_nobody_was_lost(&spread);
    assert!(number(&spread["total"], "moved_away") > 0, "{spread:#}");
    for connections in of_both(&spread, "connections") {
        assert!(connections >= PEERS as u64 / 4, "one worker has most: {spread:#}");
    }
    for peer in &mut peers {
        peer.fetch_and_compare(piece, &bytes, 0..bytes.len() as u64);
    }
    let sent = (PEERS * bytes.len()) as u64;
    let after = counters_when(&seeder, SOON, |event| {
        number(&event["total"], "block_bytes") == sent && all_arrived(event)
    });
    assert_nobody_was_lost(&after);
    assert!(of_both(&after, "block_bytes").iter().all(|&bytes| bytes > 0), "{after:#}");
}

/// The worker that serves this peer: the one that has sent a block more after it asked for one.
#[track_caller]
fn worker_of(seeder: &Seeder, peer: &mut Peer) -> usize {
    let before = of_both(&counters(seeder), "blocks");
    assert!(matches!(peer.ask(0, 0, BLOCK_BYTES), Answer::Block(_)));
    let after = counters_when(seeder, SOON, |event| of_both(event, "blocks") != before);
    usize::from(of_both(&after, "blocks")[0] == before[0])
}

#[test]
fn connections_that_keep_one_worker_busy_move_to_the_idle_one_with_their_bytes_right() {
    let world = World::with_file(4 * 1024 * 1024 + 77);
    let Some(seeder) = with_two_workers(&world) else { return };
    let piece = piece_bytes(&seeder.torrent().torrent_file);
    let bytes = fs::read(world.content()).unwrap();
    let mut first_has = Vec::new();
    let mut second_has = Vec::new();
    for mut peer in connect_all(&seeder) {
        match worker_of(&seeder, &mut peer) {
            0 => first_has.push(peer),
            _ => second_has.push(peer),
        }
    }
    let before = counters_when(&seeder, SOON, all_arrived);
    assert!(first_has.len() >= 4, "too few to share: {before:#}");
    // Only the peers of the first worker ask for anything, and do not stop before some have moved.
    let enough = AtomicBool::new(false);
    let after = thread::scope(|scope| {
        for peer in first_has.iter_mut().take(BUSY_PEERS) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    peer.fetch_and_compare(piece, &bytes, 0..bytes.len() as u64);
                }
                // Once more, wherever it is now.
                peer.fetch_and_compare(piece, &bytes, 0..bytes.len() as u64);
            });
        }
        let deadline = now() + EVEN_WITHIN;
        let moved = |event: &Value| {
            let grown =
                |name, worker: usize| of_both(event, name)[worker] - of_both(&before, name)[worker];
            grown("moved_away", 0) > 0 && grown("moved_here", 1) > 0 && grown("block_bytes", 1) > 0
        };
        let mut event = counters(&seeder);
        while !moved(&event) && now() < deadline {
            let _ = seeder.event("a while", Duration::from_millis(250));
            event = counters(&seeder);
        }
        enough.store(true, Ordering::Relaxed);
        assert!(moved(&event), "all work stayed with one worker: {event:#}");
        event
    });
    let after = counters_when(&seeder, SOON, |event| {
        all_arrived(event)
            && number(&event["total"], "moved_away") >= number(&after["total"], "moved_away")
    });
    assert_nobody_was_lost(&after);
    // Those that said nothing meanwhile are still served.
    for peer in &mut second_has {
        peer.fetch_and_compare(piece, &bytes, 0..u64::from(BLOCK_BYTES));
    }
}
