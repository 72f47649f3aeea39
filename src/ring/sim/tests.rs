//! The simulated kernel proved on a small file server: right programs pass under every fault, and
//! each mistake planted in the kernel or in the program is caught.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod play;
mod scenes;
mod server;

use super::{Break, Coverage, Fault, Options};
use play::{Played, play};
use server::Bug;

/// Seeds of a quick run.
const SEEDS: u64 = 300;

fn calm_and_swarm(seed: u64) -> Options {
    if seed.is_multiple_of(8) { Options::calm(seed) } else { Options::swarm(seed) }
}

#[test]
fn a_right_server_breaks_no_rule_and_sends_right_bytes_under_every_fault() {
    let mut coverage = Coverage::default();
    let mut served = 0;
    for seed in 0..SEEDS {
        let played = play(calm_and_swarm(seed), None);
        assert!(played.violations.is_empty(), "seed {seed}: {:#?}", played.violations);
        coverage.add(&played.coverage);
        served += played.peers_served;
    }
    assert_eq!(coverage.never_met(), Vec::<Fault>::new());
    assert!(served > SEEDS, "{served} peers were served to the end");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        let once = play(calm_and_swarm(seed), None);
        let again = play(calm_and_swarm(seed), None);
        assert_eq!((once.fingerprint, once.coverage), (again.fingerprint, again.coverage));
    }
    assert_ne!(
        play(calm_and_swarm(1), None).fingerprint,
        play(calm_and_swarm(2), None).fingerprint
    );
}

/// The first of the seeds whose run is caught, and what was said.
fn first_caught(run: impl Fn(u64) -> Played) -> Option<(u64, Vec<String>)> {
    (0..SEEDS).map(|seed| (seed, run(seed).violations)).find(|(_, said)| !said.is_empty())
}

#[test]
fn each_mistake_of_the_kernel_is_caught() {
    for (broken, said) in [
        (Break::HeadersDroppedWhileBatchWaits, "nobody wrote"),
        (Break::GiftedPageRewritten, "gifted page rewritten"),
        (Break::CompletedTwice, "although it was finished"),
        (Break::CompletionLost, "never finished"),
        (Break::CursorOffByOne, "wrong byte"),
        (Break::SocketLeaked, "sockets are open"),
    ] {
        let caught = first_caught(|seed| {
            play(Options { broken: Some(broken), ..calm_and_swarm(seed) }, None)
        });
        let (seed, violations) = caught.unwrap_or_else(|| panic!("{broken:?} was not caught"));
        let named = violations.iter().any(|violation| violation.contains(said));
        assert!(named, "{broken:?}, seed {seed}: {violations:#?}");
    }
}

#[test]
fn headers_dropped_while_a_batch_waits_reach_the_peer_as_wrong_bytes() {
    let broken = Some(Break::HeadersDroppedWhileBatchWaits);
    let wrong = (0..SEEDS).any(|seed| {
        let played = play(Options { broken, ..calm_and_swarm(seed) }, None);
        played.violations.iter().any(|violation| violation.contains("wrong byte"))
    });
    assert!(wrong);
}

#[test]
fn each_mistake_of_the_program_is_caught() {
    for (bug, said) in [
        (Bug::TwoSends, "two sends at once"),
        (Bug::UsesClosedSocket, "closed or closing"),
        (Bug::KeepsBuffer, "kept over the end of a turn"),
        (Bug::BelievesFetch, "not asked for"),
        (Bug::NeverAsks, "not asked for"),
        (Bug::LeaksSocket, "sockets are open"),
        (Bug::LeaksFile, "files are open"),
        (Bug::ForgetsTheRest, "wrong byte"),
        (Bug::SendsFromClosedFile, "from a file that is closed"),
    ] {
        let caught = first_caught(|seed| play(calm_and_swarm(seed), Some(bug)));
        let (seed, violations) = caught.unwrap_or_else(|| panic!("{bug:?} was not caught"));
        let named = violations.iter().any(|violation| violation.contains(said));
        assert!(named, "{bug:?}, seed {seed}: {violations:#?}");
    }
}
