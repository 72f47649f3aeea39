//! One worker, or two that give each other connections, under the simulated kernel: random torrents,
//! random leechers, faults by seed.
//!
//! A run depends on its seed alone. `RINGSEED_SIM_SEEDS=10000` plays more seeds,
//! `RINGSEED_SIM_SEED=7` replays one and prints what happens in it.

mod hand;
mod leecher;
mod manner;
mod scene;
mod stage;
mod torrent;

use ringseed::store::fetch::AskAgain;
use ringseed_ring::sim::{Break, Coverage, Fault};

use stage::{Script, play};

/// Seeds of a usual run.
const SEEDS: u64 = 500;

const RIGHT: Script = Script { broken: None, ask_again: AskAgain::Always, trace: false };

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}='{text}' is not a number")))
}

/// Failed seeds that are told before a run gives up.
const TOLD_MAX: usize = 5;

fn say_how_to_replay(failed: &[(u64, Vec<String>)]) {
    for (seed, wrong) in failed {
        println!("seed {seed}: {wrong:#?}");
        println!(
            "replay: RINGSEED_SIM_SEED={seed} cargo test --test it -- --nocapture sim::every_seed"
        );
    }
    assert!(
        failed.is_empty(),
        "seeds {:?} failed",
        failed.iter().map(|one| one.0).collect::<Vec<_>>()
    );
}

#[test]
fn every_seed_ends_with_right_bytes_and_nothing_left_over() {
    if let Some(seed) = number_from("RINGSEED_SIM_SEED") {
        let played = play(seed, Script { trace: true, ..RIGHT });
        let failed = (!played.wrong.is_empty()).then_some((seed, played.wrong));
        return say_how_to_replay(failed.as_slice());
    }
    let seeds = number_from("RINGSEED_SIM_SEEDS").unwrap_or(SEEDS);
    let mut coverage = Coverage::default();
    let mut failed = Vec::new();
    let (mut blocks, mut paused, mut moves, mut resets) = (0, 0, 0, 0);
    for seed in 0..seeds {
        let played = play(seed, RIGHT);
        coverage.add(&played.coverage);
        blocks += played.blocks;
        paused += played.paused;
        moves += played.moves;
        resets += played.resets;
        if !played.wrong.is_empty() {
            failed.push((seed, played.wrong));
            if failed.len() == TOLD_MAX {
                break;
            }
        }
    }
    say_how_to_replay(&failed);
    println!(
        "{seeds} seeds: {blocks} blocks, {paused} torrents paused, {moves} moves, {resets} resets \
         for memory; faults met:"
    );
    for &fault in Fault::ALL {
        println!("  {fault:?} {}", coverage.met(fault));
    }
    if seeds >= SEEDS {
        assert_eq!(coverage.never_met(), Vec::<Fault>::new());
        assert!(blocks > 20 * seeds && paused > seeds / 20, "{blocks} blocks, {paused} paused");
        assert!(moves > 2 * seeds, "{moves} moves");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..10 {
        let (once, again) = (play(seed, RIGHT), play(seed, RIGHT));
        assert_eq!((once.fingerprint, once.coverage), (again.fingerprint, again.coverage));
    }
}

/// What was said of the first seed that was caught.
fn first_caught(script: Script) -> Vec<String> {
    let caught = (0..SEEDS).map(|seed| play(seed, script).wrong).find(|wrong| !wrong.is_empty());
    caught.expect("some seed is caught")
}

#[test]
fn headers_dropped_while_a_batch_waits_are_caught() {
    let broken = Some(Break::HeadersDroppedWhileBatchWaits);
    let wrong = first_caught(Script { broken, ..RIGHT });
    assert!(wrong.iter().any(|rule| rule.contains("nobody wrote")), "{wrong:#?}");
}

#[test]
fn a_gifted_page_that_is_rewritten_is_caught() {
    let wrong = first_caught(Script { broken: Some(Break::GiftedPageRewritten), ..RIGHT });
    assert!(wrong.iter().any(|rule| rule.contains("gifted page rewritten")), "{wrong:#?}");
}

#[test]
fn a_cursor_that_forgets_a_byte_is_caught_by_the_bytes_that_leechers_get() {
    let wrong = first_caught(Script { broken: Some(Break::CursorOffByOne), ..RIGHT });
    assert!(wrong.iter().any(|rule| rule.contains("leecher")), "{wrong:#?}");
}

#[test]
fn a_completion_that_never_comes_is_caught() {
    let wrong = first_caught(Script { broken: Some(Break::CompletionLost), ..RIGHT });
    assert!(wrong.iter().any(|rule| rule.contains("never finished")), "{wrong:#?}");
}

#[test]
fn a_fetch_believed_without_asking_again_is_caught() {
    let wrong = first_caught(Script { ask_again: AskAgain::Never, ..RIGHT });
    assert!(wrong.iter().any(|rule| rule.contains("not asked for")), "{wrong:#?}");
}

#[test]
fn bytes_lost_when_a_connection_moves_are_caught() {
    let wrong = first_caught(Script { broken: Some(Break::BytesLostAtDetach), ..RIGHT });
    assert!(wrong.iter().any(|rule| rule.contains("leecher")), "{wrong:#?}");
}
