use super::*;
use proptest::prelude::*;
use std::vec;

const QUANTUM: u32 = 256 * 1024;

/// One peer that always has requests, all of one size.
#[derive(Clone, Debug)]
struct Greedy {
    block_bytes: u32,
    batch_bytes_max: u32,
}

/// Sends whole blocks while the allowance lasts, as the worker does.
fn serve(greedy: &Greedy, turn: Turn) -> u32 {
    let mut bytes = 0;
    while bytes < turn.allowance_bytes.min(greedy.batch_bytes_max) {
        bytes += greedy.block_bytes;
    }
    bytes
}

fn greedy() -> impl Strategy<Value = Greedy> {
    (1..=CARRY_BYTES_MAX).prop_map(|block_bytes| Greedy { block_bytes, batch_bytes_max: u32::MAX })
}

proptest! {
    /// The fairness that the head of the file promises, over every interval of a long run.
    #[test]
    fn two_ready_peers_differ_by_a_quantum_and_their_blocks_at_most(
        peers in prop::collection::vec(greedy(), 2..6),
        turns in 1usize..200,
    ) {
        let mut fair = Fair::new(QUANTUM);
        (0..).zip(&peers).for_each(|(key, _)| fair.ready(key));
        let mut served = vec![0u64; peers.len()];
        let mut history = vec![served.clone()];
        for _ in 0..turns {
            let turn = fair.next().unwrap();
            let bytes = serve(&peers[turn.key as usize], turn);
            served[turn.key as usize] += u64::from(bytes);
            fair.spent(turn.key, bytes, Again::Ready);
            history.push(served.clone());
        }
        for (from, earlier) in history.iter().enumerate() {
            for later in &history[from..] {
                let of = |peer: usize| later[peer] - earlier[peer];
                for one in 0..peers.len() {
                    for other in 0..one {
                        let blocks = peers[one].block_bytes + peers[other].block_bytes;
                        let bound = u64::from(QUANTUM + blocks);
                        prop_assert!(of(one).abs_diff(of(other)) <= bound);
                    }
                }
            }
        }
    }

    /// Whatever is said in whatever order: a key stands in the ring once, and only if it should.
    #[test]
    fn the_ring_holds_exactly_the_ready(ops in prop::collection::vec((0u8..4, 0u32..8, any::<u32>()), 0..200)) {
        let mut fair = Fair::new(1);
        let mut ready = [false; 8];
        let mut turn = [false; 8];
        let mut said = [false; 8];
        for (op, key, bytes) in ops {
            let at = key as usize;
            match op {
                0 => {
                    fair.ready(key);
                    if turn[at] { said[at] = true } else { ready[at] = true }
                }
                1 => {
                    fair.remove(key);
                    (ready[at], turn[at], said[at]) = (false, false, false);
                }
                2 => {
                    let next = fair.next();
                    prop_assert_eq!(next.is_some(), ready.contains(&true));
                    if let Some(next) = next {
                        prop_assert!(next.allowance_bytes >= 1);
                        let at = next.key as usize;
                        prop_assert!(ready[at]);
                        (ready[at], turn[at]) = (false, true);
                    }
                }
                _ => {
                    fair.spent(key, bytes, Again::NotReady);
                    if turn[at] {
                        (ready[at], turn[at], said[at]) = (said[at], false, false);
                    }
                }
            }
            prop_assert_eq!(fair.len(), ready.iter().filter(|is| **is).count());
            prop_assert_eq!(fair.is_empty(), !ready.contains(&true));
        }
    }
}

#[test]
fn a_deep_queue_does_not_starve_a_shallow_one() {
    let mut fair = Fair::new(QUANTUM);
    (0..100).for_each(|key| fair.ready(key));
    (0..100).for_each(|_| {
        let turn = fair.next().unwrap();
        fair.spent(turn.key, turn.allowance_bytes, Again::Ready);
    });
    // A peer with one request comes last and is served within one round of the others.
    fair.ready(100);
    let before_it = (0..).find(|_| {
        let turn = fair.next().unwrap();
        fair.spent(turn.key, turn.allowance_bytes, Again::Ready);
        turn.key == 100
    });
    assert_eq!(before_it, Some(100));
}

#[test]
fn a_block_over_the_allowance_is_paid_back_in_the_next_round() {
    let mut fair = Fair::new(10);
    fair.ready(3);
    assert_eq!(fair.next(), Some(Turn { key: 3, allowance_bytes: 10 }));
    fair.spent(3, 17, Again::Ready);
    assert_eq!(fair.next(), Some(Turn { key: 3, allowance_bytes: 3 }));
    fair.spent(3, 3 + 25, Again::Ready);
    // 25 over: two rounds are sat out, the third has five.
    assert_eq!(fair.next(), Some(Turn { key: 3, allowance_bytes: 5 }));
}

#[test]
fn debt_survives_a_pause_and_credit_does_not() {
    let mut fair = Fair::new(10);
    (0..2).for_each(|key| fair.ready(key));
    fair.next().unwrap();
    fair.next().unwrap();
    fair.spent(0, 15, Again::NotReady);
    fair.spent(1, 1, Again::NotReady);
    (0..2).for_each(|key| fair.ready(key));
    assert_eq!(fair.next(), Some(Turn { key: 0, allowance_bytes: 5 }));
    assert_eq!(fair.next(), Some(Turn { key: 1, allowance_bytes: 10 }));
}

#[test]
fn a_removed_slot_starts_afresh() {
    let mut fair = Fair::new(10);
    fair.ready(0);
    fair.next().unwrap();
    fair.remove(0);
    fair.spent(0, 1000, Again::Ready);
    assert_eq!(fair.next(), None);
    fair.ready(0);
    assert_eq!(fair.next(), Some(Turn { key: 0, allowance_bytes: 10 }));
}

#[test]
fn batches_follow_the_rate_from_one_to_thirty_two_blocks() {
    assert_eq!(batch_bytes(0), 4 * BLOCK_BYTES);
    assert_eq!(batch_bytes(1), BLOCK_BYTES);
    assert_eq!(batch_bytes(1_000_000), 6 * BLOCK_BYTES);
    assert_eq!(batch_bytes(2_621_440), 16 * BLOCK_BYTES);
    assert_eq!(batch_bytes(u64::MAX), 32 * BLOCK_BYTES);
}
