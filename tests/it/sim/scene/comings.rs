//! Ten thousand peers come and go in every way: nothing of them is left, wherever it is kept.

use super::*;

/// Peers at a time, and times.
const TOGETHER: u16 = 10;
const ROUNDS: u16 = 1_000;
/// After so many, all tables have the room that they need.
const WARM_ROUNDS: u16 = 100;

/// Virtual time for peers of a round to be served, and to be forgotten.
const ROUND_US: u64 = 30_000;
/// Virtual time after which no deadline of a peer that has gone is left: a handshake's is the longest.
const REST_US: u64 = 60_000_000;

/// A round of peers: each is served a block or two, or is not yet, and goes in its own way.
fn come_and_go(scene: &mut Scene, round: u16) {
    let peers: Vec<Remote> =
        (0..TOGETHER).map(|number| scene.peer(round * TOGETHER + number, 4)).collect();
    for (at, peer) in peers.iter().enumerate() {
        match at {
            // Before anything of it was read.
            0 => peer.close(),
            1 => peer.reset(),
            // What follows is no message.
            2 => drop(peer.write(&[0xff; 64])),
            _ => {}
        }
    }
    scene.play(u64::from(round % 7) * 1_000, |_| ());
    for (at, peer) in peers.iter().enumerate() {
        match at {
            // In the middle of what it asked for.
            3 => peer.reset(),
            4 => peer.close(),
            5 => peer.finish(),
            _ => {}
        }
    }
    scene.play(ROUND_US, |_| peers.iter().skip(5).for_each(|peer| drop(peer.read())));
    peers.iter().skip(5).for_each(Remote::close);
    scene.play(ROUND_US, |_| ());
}

#[test]
fn ten_thousand_peers_that_came_and_went_leave_nothing_behind() {
    let mut scene = Scene::new(sim::Options::calm(1), Verb::Splice, Slots::Unlimited, 1 << 30);
    for round in 0..WARM_ROUNDS {
        come_and_go(&mut scene, round);
    }
    let look = |scene: &mut Scene| {
        scene.play(REST_US, |_| ());
        let world = &scene.world;
        let kept = (world.open_sockets(), world.open_files(), world.live_ops());
        (scene.hand.worker.tables(), kept)
    };
    let before = look(&mut scene);
    for round in WARM_ROUNDS..ROUNDS {
        come_and_go(&mut scene, round);
    }
    let after = look(&mut scene);
    assert_eq!(before, after);
    let tables = after.0;
    assert!(tables.places <= usize::from(2 * TOGETHER), "{tables:?}");
    assert_eq!((tables.connections, tables.deadlines, tables.ready), (0, 0, 0), "{tables:?}");
    let counters = &scene.hand.counters;
    assert_eq!(counters.peers.read(), 0);
    assert!(counters.blocks.read() > u64::from(ROUNDS), "{} blocks", counters.blocks.read());
    let nobody = std::net::IpAddr::from([10, 0, 0, 9]);
    assert!((0..100).all(|_| scene.admission.admit(nobody).is_ok()), "some are still counted");
    assert!(scene.faults.is_empty(), "{:?}", scene.faults);
}
