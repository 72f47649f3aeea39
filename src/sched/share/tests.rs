use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// Peers that take whatever they may and acknowledge nothing more, one after the other, again and again:
/// what each holds.
fn stalled(cap: u64, acknowledged: &[u64]) -> Vec<u64> {
    let mut held = vec![0; acknowledged.len()];
    let mut is_done = false;
    while !is_done {
        is_done = true;
        for at in 0..held.len() {
            let all: u64 = held.iter().sum();
            let share = share(cap.saturating_sub(all), acknowledged[at]);
            let blocks = u64::from(room(share, held[at], u32::MAX) / BLOCK_BYTES);
            held[at] += blocks * FRAME_BYTES;
            is_done &= blocks == 0;
        }
    }
    held
}

#[test]
fn six_thousand_that_never_read_leave_most_of_what_others_may_hold() {
    let cap = 560 * MIB;
    let held = stalled(cap, &[0; 6_000]);
    let all: u64 = held.iter().sum();
    assert!(held.iter().all(|held| *held <= UNPROVEN_BYTES), "four blocks each at most");
    assert!(all < cap * 3 / 4, "{all} of {cap}");
    assert!(share(cap - all, 1 << 30) > 16 * MIB, "one that reads is held up by nobody");
}

#[test]
fn what_lies_in_a_receive_buffer_proves_nothing() {
    let cap = 560 * MIB;
    assert_eq!(share(cap, 0), UNPROVEN_BYTES);
    assert_eq!(share(cap, PROVEN_FROM_BYTES - 1), UNPROVEN_BYTES);
    assert_eq!(share(cap, PROVEN_FROM_BYTES), PROVEN_FROM_BYTES + UNPROVEN_BYTES);
    assert_eq!(share(cap, 1 << 40), cap / PROVEN_PART);
    assert_eq!(share(u64::MAX, u64::MAX), SHARE_BYTES_MAX);
}

#[test]
fn less_than_a_quarter_of_the_share_is_waited_for() {
    let share = 16 * FRAME_BYTES;
    assert_eq!(room(share, 0, 1 << 20), 16 * BLOCK_BYTES);
    assert_eq!(room(share, 12 * FRAME_BYTES, 1 << 20), 4 * BLOCK_BYTES);
    assert_eq!(room(share, 12 * FRAME_BYTES + 1, 1 << 20), 0);
    assert_eq!(room(share, 15 * FRAME_BYTES, 1), 1, "all that is wanted fits");
    assert_eq!(room(share, 15 * FRAME_BYTES + 1, 1), 0);
    assert_eq!(room(share, u64::MAX, 1), 0);
}

#[test]
fn one_that_was_idle_for_longer_or_is_slow_is_asked_less_often() {
    let after = |ms| asked_again_after(Duration::from_millis(ms), 0).as_millis();
    assert_eq!([0, 3, 40, 400, 4_000, 60_000].map(after), [1, 1, 10, 100, 1_000, 1_000]);
    let after = |rate| asked_again_after(Duration::from_millis(40), rate).as_millis();
    let rates = [1, FRAME_BYTES, 20_000, 1 << 30, u64::MAX];
    assert_eq!(
        rates.map(after),
        [1_000, 62, 51, 10, 10],
        "one that is slow is asked as often as it takes a block"
    );
}

proptest! {
    #[test]
    fn all_together_stay_below_the_cap_but_for_a_block_each(
        cap in 0_u64..(64 * MIB), acknowledged in prop::collection::vec(0_u64..(8 * MIB), 1..40),
    ) {
        let held = stalled(cap, &acknowledged);
        let beyond: u64 = held.iter().filter(|held| **held <= FRAME_BYTES).sum();
        prop_assert!(held.iter().sum::<u64>() <= cap + beyond);
    }

    #[test]
    fn whoever_holds_nothing_gets_a_block(free: u64, acknowledged: u64, wanted in 1_u32..) {
        let room = room(share(free, acknowledged), 0, wanted);
        prop_assert!(room >= wanted.min(BLOCK_BYTES));
    }

    #[test]
    fn what_is_sent_stays_within_the_share(
        free in 0_u64..(1 << 40), acknowledged: u64, held in 0_u64..(1 << 32), wanted in 1_u32..,
    ) {
        let share = share(free, acknowledged);
        let room = room(share, held, wanted);
        prop_assert!(room <= wanted);
        if room > 0 {
            let bytes = u64::from(room.div_ceil(BLOCK_BYTES)) * FRAME_BYTES;
            prop_assert!(held + bytes <= share);
        }
    }

    #[test]
    fn more_free_or_more_acknowledged_is_never_less(
        free in 0_u64..(1 << 40), acknowledged in 0_u64..(1 << 40), more in 0_u64..(1 << 40),
    ) {
        prop_assert!(share(free + more, acknowledged) >= share(free, acknowledged));
        prop_assert!(share(free, acknowledged + more) >= share(free, acknowledged));
    }
}
