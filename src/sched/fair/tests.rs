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
        (0..).zip(&peers).for_each(|(key, _)| fair.ready(key, Asks::Much));
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
        for (op, key, bytes) in ops {
            let at = key as usize;
            match op {
                0 => {
                    let asks = if bytes % 2 == 0 { Asks::Little } else { Asks::Much };
                    fair.ready(key, asks);
                    ready[at] |= !turn[at];
                }
                1 => {
                    fair.remove(key);
                    (ready[at], turn[at]) = (false, false);
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
                    let again = if bytes % 3 == 0 { Again::Ready } else { Again::NotReady };
                    fair.spent(key, bytes, again);
                    if turn[at] {
                        (ready[at], turn[at]) = (again == Again::Ready, false);
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
    (0..100).for_each(|key| fair.ready(key, Asks::Much));
    (0..100).for_each(|_| {
        let turn = fair.next().unwrap();
        fair.spent(turn.key, turn.allowance_bytes, Again::Ready);
    });
    // A peer with one request comes last and is served within one round of the others.
    fair.ready(100, Asks::Much);
    let before_it = (0..).find(|_| {
        let turn = fair.next().unwrap();
        fair.spent(turn.key, turn.allowance_bytes, Again::Ready);
        turn.key == 100
    });
    assert_eq!(before_it, Some(100));
}

/// Serves the next in line, whatever it may have; who it was.
fn serve_next(fair: &mut Fair, again: Again) -> u32 {
    let turn = fair.next().unwrap();
    fair.spent(turn.key, turn.allowance_bytes, again);
    turn.key
}

#[test]
fn who_asks_little_goes_ahead_of_the_ring_once_a_round() {
    let mut fair = Fair::new(QUANTUM);
    (0..10).for_each(|key| fair.ready(key, Asks::Much));
    for _ in 0..3 {
        fair.ready(10, Asks::Little);
        let turn = fair.next().unwrap();
        assert_eq!(turn, Turn { key: 10, allowance_bytes: LITTLE_BYTES });
        fair.spent(10, BLOCK_BYTES, Again::NotReady);
        // In the same round it has had its share: it waits for its place in the ring.
        fair.ready(10, Asks::Little);
        let order: std::vec::Vec<u32> =
            (0..10).map(|_| serve_next(&mut fair, Again::Ready)).collect();
        assert_eq!(order, (0..10).collect::<std::vec::Vec<u32>>());
        assert_eq!(serve_next(&mut fair, Again::NotReady), 10);
        // Through another round it asks for nothing.
        (0..11).for_each(|at| assert_eq!(serve_next(&mut fair, Again::Ready), at % 10));
        (1..10).for_each(|at| assert_eq!(serve_next(&mut fair, Again::Ready), at));
    }
}

#[test]
fn among_peers_that_all_ask_little_the_first_to_ask_is_the_first_to_be_served() {
    let mut fair = Fair::new(QUANTUM);
    for _ in 0..5 {
        for key in [2, 0, 1] {
            fair.ready(key, Asks::Little);
        }
        let order = [(); 3].map(|()| {
            let turn = fair.next().unwrap();
            assert_eq!(turn.allowance_bytes, LITTLE_BYTES);
            fair.spent(turn.key, BLOCK_BYTES, Again::NotReady);
            turn.key
        });
        assert_eq!(order, [2, 0, 1]);
    }
}

proptest! {
    /// Going ahead gives nobody more: a peer that always asks little gets no more than one that
    /// always stands in the ring, but for a quantum and what it may owe.
    #[test]
    fn who_asks_little_gets_no_more_than_its_share(
        little in 1..=LITTLE_BYTES,
        others in 1u32..5,
        turns in 1usize..300,
    ) {
        let mut fair = Fair::new(QUANTUM);
        let mut served = [0u64; 6];
        (1..=others).for_each(|key| fair.ready(key, Asks::Much));
        for _ in 0..turns {
            fair.ready(0, Asks::Little);
            let turn = fair.next().unwrap();
            let bytes = if turn.key == 0 { little } else { turn.allowance_bytes };
            let again = if turn.key == 0 { Again::NotReady } else { Again::Ready };
            served[turn.key as usize] += u64::from(bytes);
            fair.spent(turn.key, bytes, again);
        }
        for other in 1..=others as usize {
            prop_assert!(served[0] <= served[other] + u64::from(QUANTUM + LITTLE_BYTES));
        }
    }
}

#[test]
fn a_block_over_the_allowance_is_paid_back_in_the_next_round() {
    let mut fair = Fair::new(10);
    fair.ready(3, Asks::Much);
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
    (0..2).for_each(|key| fair.ready(key, Asks::Much));
    fair.next().unwrap();
    fair.next().unwrap();
    fair.spent(0, 15, Again::NotReady);
    fair.spent(1, 1, Again::NotReady);
    (0..2).for_each(|key| fair.ready(key, Asks::Much));
    assert_eq!(fair.next(), Some(Turn { key: 0, allowance_bytes: 5 }));
    assert_eq!(fair.next(), Some(Turn { key: 1, allowance_bytes: 10 }));
}

#[test]
fn a_removed_slot_starts_afresh() {
    let mut fair = Fair::new(10);
    fair.ready(0, Asks::Much);
    fair.next().unwrap();
    fair.remove(0);
    fair.spent(0, 1000, Again::Ready);
    assert_eq!(fair.next(), None);
    fair.ready(0, Asks::Much);
    assert_eq!(fair.next(), Some(Turn { key: 0, allowance_bytes: 10 }));
}

#[test]
fn a_peer_stays_only_while_enough_others_stand_in_line() {
    let mut fair = Fair::new(QUANTUM);
    let others = STAY_READY_MIN as u32;
    (0..=others).for_each(|key| fair.ready(key, Asks::Much));
    let turn = fair.next().unwrap();
    assert!(fair.may_stay(), "{others} others are ready");
    // One of them has to wait for its socket.
    fair.remove(others);
    assert!(!fair.may_stay());
    // Those that ask little stand in line as well.
    fair.ready(others, Asks::Little);
    assert!(fair.may_stay());
    fair.spent(turn.key, QUANTUM / 2, Again::Ready);
    assert_eq!(fair.len(), STAY_READY_MIN + 1);
}

#[test]
fn batches_follow_the_rate_from_one_to_thirty_two_blocks() {
    assert_eq!(batch_bytes(0), 4 * BLOCK_BYTES);
    assert_eq!(batch_bytes(1), BLOCK_BYTES);
    assert_eq!(batch_bytes(1_000_000), 6 * BLOCK_BYTES);
    assert_eq!(batch_bytes(2_621_440), 16 * BLOCK_BYTES);
    assert_eq!(batch_bytes(u64::MAX), 32 * BLOCK_BYTES);
}
