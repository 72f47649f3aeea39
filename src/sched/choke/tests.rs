use super::*;
use proptest::prelude::*;
use std::vec;

fn at_s(s: u64) -> Instant {
    Instant::from_us(s * 1_000_000)
}

fn peer(key: u32, unchoked: bool, since_s: u64) -> Snapshot {
    Snapshot { key, interested: true, unchoked, since: at_s(since_s) }
}

fn unchoked(peers: &[Snapshot], slots: u32, now_s: u64) -> Vec<u32> {
    let mut out = vec![99];
    round(peers, Slots::Limited(slots), at_s(now_s), 7, &mut out);
    out.sort_unstable();
    out
}

#[test]
fn unlimited_slots_unchoke_everybody() {
    let idle = Snapshot { interested: false, ..peer(1, false, 0) };
    let mut out = vec![99];
    round(&[peer(0, false, 0), idle], Slots::Unlimited, at_s(1), 0, &mut out);
    assert_eq!(out, [0, 1]);
}

#[test]
fn who_waited_longest_comes_first_and_only_the_interested_count() {
    let idle = Snapshot { interested: false, ..peer(0, true, 0) };
    let peers = [idle, peer(1, false, 5), peer(2, false, 3), peer(3, false, 4)];
    assert_eq!(unchoked(&peers, 2, 10), [2, 3]);
    assert_eq!(unchoked(&peers, 3, 10), [1, 2, 3]);
    assert_eq!(unchoked(&peers, 9, 10), [1, 2, 3]);
    assert_eq!(unchoked(&peers, 0, 10), []);
}

#[test]
fn a_turn_lasts_a_round_and_then_goes_to_who_waits() {
    let peers = [peer(0, true, 10), peer(1, false, 0)];
    assert_eq!(unchoked(&peers, 1, 15), [0], "an early call rotates nobody");
    assert_eq!(unchoked(&peers, 1, 20), [1]);
    assert_eq!(unchoked(&peers[..1], 1, 1000), [0], "nobody waits: it stays");
}

#[test]
fn of_those_whose_turn_is_over_the_longest_holder_goes_first() {
    let peers = [peer(0, true, 10), peer(1, true, 20), peer(2, true, 30), peer(3, false, 39)];
    assert_eq!(unchoked(&peers, 3, 40), [1, 2, 3]);
}

/// A small world: applies rounds for a while; the longest that each peer waited, in rounds.
fn longest_waits(peer_count: u32, slots: u32, rounds: u64) -> Vec<u64> {
    let mut peers: Vec<_> = (0..peer_count).map(|key| peer(key, false, 0)).collect();
    let (mut waits, mut longest) = (vec![0; peers.len()], vec![0; peers.len()]);
    let mut out = Vec::new();
    for step in 0..rounds {
        let now = at_s(step * ROUND.as_secs());
        round(&peers, Slots::Limited(slots), now, step, &mut out);
        for (at, peer) in peers.iter_mut().enumerate() {
            let unchoke = out.contains(&peer.key);
            if unchoke != peer.unchoked {
                (peer.unchoked, peer.since) = (unchoke, now);
            }
            waits[at] = if unchoke { 0 } else { waits[at] + 1 };
            longest[at] = longest[at].max(waits[at]);
        }
    }
    longest
}

proptest! {
    #[test]
    fn nobody_waits_longer_than_the_others_turns_take(
        peer_count in 1u32..40, slots in 1u32..40, rounds in 1u64..100,
    ) {
        let others = u64::from(peer_count.saturating_sub(slots));
        let bound = others.div_ceil(u64::from(slots));
        let longest = longest_waits(peer_count, slots, rounds);
        prop_assert!(longest.iter().all(|wait| *wait <= bound), "{longest:?} over {bound}");
    }

    #[test]
    fn a_round_unchokes_interested_peers_once_each_and_fills_the_slots(
        states in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..50), 0..60),
        slots in 0u32..70,
        random: u64,
    ) {
        let peers: Vec<_> = (0..).zip(&states).map(|(key, (interested, unchoked, since))| {
            Snapshot { key, interested: *interested, unchoked: *unchoked, since: at_s(*since) }
        }).collect();
        let mut out = Vec::new();
        round(&peers, Slots::Limited(slots), at_s(50), random, &mut out);
        let interested = peers.iter().filter(|peer| peer.interested).count();
        prop_assert_eq!(out.len(), interested.min(slots as usize));
        out.sort_unstable();
        out.dedup();
        prop_assert_eq!(out.len(), interested.min(slots as usize));
        prop_assert!(out.iter().all(|key| peers[*key as usize].interested));
    }

    #[test]
    fn shares_sum_to_the_total_and_follow_the_interested(
        total in 0u32..10_000,
        interested in prop::collection::vec(0u32..5_000, 1..16),
    ) {
        let shares: Vec<u32> = (0..interested.len()).map(|at| share(total, &interested, at)).collect();
        prop_assert_eq!(shares.iter().sum::<u32>(), total);
        let all: u64 = interested.iter().map(|of| u64::from(*of)).sum();
        for (share, of) in shares.iter().zip(&interested) {
            if u64::from(total) >= all {
                prop_assert!(share >= of);
            } else {
                let floor = u64::from(total) * u64::from(*of) / all;
                prop_assert!((floor..=floor + 1).contains(&u64::from(*share)));
            }
        }
    }
}

#[test]
fn equal_waiters_are_drawn_by_chance_and_not_by_key() {
    let peers: Vec<_> = (0..100).map(|key| peer(key, false, 0)).collect();
    let mut drawn: Vec<u32> = (0..200)
        .map(|random| {
            let mut out = Vec::new();
            round(&peers, Slots::Limited(1), at_s(1), random, &mut out);
            out[0]
        })
        .collect();
    drawn.sort_unstable();
    drawn.dedup();
    assert!(drawn.len() > 50, "{} of 100 were ever drawn in 200 draws", drawn.len());
}

#[test]
fn a_worker_that_is_not_there_has_no_share() {
    assert_eq!(share(10, &[1, 2], 2), 0);
    assert_eq!(share(10, &[], 0), 0);
    assert_eq!(share(3, &[0, 0], 0), 2);
}

#[test]
fn of_equal_claims_to_the_last_slot_the_first_worker_has_it() {
    let shares = |total| [0, 1, 2].map(|mine| share(total, &[2, 2, 2], mine));
    assert_eq!(shares(1), [1, 0, 0]);
    assert_eq!(shares(2), [1, 1, 0]);
    assert_eq!(shares(5), [2, 2, 1]);
}
