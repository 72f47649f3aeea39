//! What to fetch ahead for a peer that reads on. Pure.
//!
//! What its own queue holds behind the blocks that are fetched now is no guess: it is fetched as far as
//! it goes on where they end. Beyond its queue is a guess, and made only for a peer that has read on
//! across piece borders: one that takes whole pieces in any order stops at each.

use ringseed_ring::Run;

use super::limits::{ONWARD_BYTES, ONWARD_PIECES, WINDOW_BYTES};

/// Where a peer reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Onward {
    /// The end of what it was last planned to be sent, and how much before that was in order.
    last: Option<Run>,
    in_order_bytes: u64,
    /// Up to where its file was fetched ahead for it.
    ahead_end: u64,
}

/// How its file goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rest {
    /// Where what the peer has asked for ends, as far as that goes on without a gap.
    pub asked_end: u64,
    pub file_bytes: u64,
    pub piece_bytes: u32,
}

fn end_of(run: Run) -> u64 {
    run.offset + u64::from(run.length)
}

impl Onward {
    /// `run` is what the peer is to be sent next.
    pub fn planned(&mut self, run: Run) {
        // What was planned and not sent is planned again, from the same place.
        let goes_on = self.last.is_some_and(|last| {
            last.file == run.file && (last.offset..=end_of(last)).contains(&run.offset)
        });
        if goes_on {
            let before = self.last.map_or(run.offset, end_of);
            self.in_order_bytes += end_of(run).saturating_sub(before);
        } else {
            self.in_order_bytes = u64::from(run.length);
            self.ahead_end = 0;
        }
        self.last = Some(run);
    }

    /// What was planned last.
    pub fn last(&self) -> Option<Run> {
        self.last
    }

    /// Whether there may be something to fetch ahead; `is_missing`: the last run that was planned is
    /// being fetched. Hot data is never looked at.
    pub fn is_due(&self, is_missing: bool) -> bool {
        let end = self.last.map_or(0, end_of);
        match self.ahead_end {
            0 => is_missing,
            ahead_end => ahead_end < end + u64::from(ONWARD_BYTES) / 2,
        }
    }

    /// What to fetch ahead, behind what was planned last.
    pub fn next(&self, rest: Rest) -> Option<Run> {
        let last = self.last?;
        let pieces = ONWARD_PIECES * u64::from(rest.piece_bytes).max(u64::from(ONWARD_BYTES));
        let guess = if self.in_order_bytes > pieces { u64::from(ONWARD_BYTES) } else { 0 };
        let from = end_of(last);
        let bound = from + u64::from(ONWARD_BYTES);
        let end = (rest.asked_end.max(from) + guess).min(bound).min(rest.file_bytes);
        // A window that is fetched in part is its first fetch's.
        let start = from.max(self.ahead_end).next_multiple_of(WINDOW_BYTES);
        let length = end.checked_sub(start).filter(|length| *length > 0)?;
        Some(Run { file: last.file, offset: start, length: length as u32 })
    }

    /// `run` is being fetched ahead; or, none: what follows is there already.
    pub fn fetched_to(&mut self, run: Option<Run>) {
        self.ahead_end = run.map_or(0, end_of);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringseed_ring::File;

    use super::*;

    const MIB: u64 = 1 << 20;
    const BLOCK: u64 = 16 * 1024;

    fn run(offset: u64, length: u64) -> Run {
        Run { file: File::for_tests(0), offset, length: length as u32 }
    }

    fn rest(asked_end: u64) -> Rest {
        Rest { asked_end, file_bytes: 64 * MIB, piece_bytes: MIB as u32 }
    }

    #[test]
    fn what_a_peer_has_asked_for_is_no_guess_and_is_bounded() {
        let mut onward = Onward::default();
        onward.planned(run(0, BLOCK));
        assert!(onward.is_due(true) && !onward.is_due(false));
        assert_eq!(onward.next(rest(5 * BLOCK)), Some(run(BLOCK, 4 * BLOCK)));
        assert_eq!(onward.next(rest(16 * MIB)), Some(run(BLOCK, u64::from(ONWARD_BYTES))));
        assert_eq!(onward.next(rest(BLOCK)), None, "nothing more is asked for");
    }

    #[test]
    fn a_guess_is_made_only_for_a_peer_that_read_on_across_pieces() {
        let mut onward = Onward::default();
        for block in 0..128 {
            onward.planned(run(block * BLOCK, BLOCK));
            assert_eq!(onward.next(rest((block + 1) * BLOCK)), None, "two pieces, as any peer may");
        }
        onward.planned(run(128 * BLOCK, BLOCK));
        assert_eq!(onward.next(rest(129 * BLOCK)), Some(run(129 * BLOCK, u64::from(ONWARD_BYTES))));
        onward.planned(run(40 * MIB, BLOCK));
        assert_eq!(onward.next(rest(40 * MIB + BLOCK)), None, "it went elsewhere");
    }

    #[test]
    fn planning_the_same_again_is_not_reading_on() {
        let mut onward = Onward::default();
        for _ in 0..1000 {
            onward.planned(run(0, BLOCK));
        }
        assert_eq!(onward.in_order_bytes, BLOCK);
    }

    #[test]
    fn what_was_fetched_ahead_is_continued_before_it_is_used_up_and_ends_where_pages_are() {
        let mut onward = Onward::default();
        onward.planned(run(0, BLOCK));
        let ahead = onward.next(rest(MIB));
        onward.fetched_to(ahead);
        assert!(!onward.is_due(true) && !onward.is_due(false), "enough is on its way");
        onward.planned(run(BLOCK, 17 * BLOCK));
        assert!(onward.is_due(false));
        let next = onward.next(rest(2 * MIB)).unwrap();
        assert_eq!(next.offset, ahead.unwrap().offset + u64::from(ONWARD_BYTES));
        onward.fetched_to(None);
        assert!(!onward.is_due(false), "hot data");
    }

    proptest! {
        /// Whatever a peer reads: what is fetched ahead lies behind that, within its file, in windows
        /// that nobody else's fetch began.
        #[test]
        fn ahead_is_within_the_file_behind_what_was_planned(
            reads in prop::collection::vec((0u64..200, 1u64..40_000, any::<bool>()), 1..80),
            file_bytes in 1u64..4_000_000,
        ) {
            let mut onward = Onward::default();
            let mut end = 0;
            for (at, length, jumps) in reads {
                let planned = run(if jumps { at * 9_000 } else { end }, length);
                end = end_of(planned);
                onward.planned(planned);
                let rest = Rest { asked_end: end + at * 1000, file_bytes, piece_bytes: 32_768 };
                if let Some(next) = onward.next(rest) {
                    prop_assert!(next.offset >= end && next.offset.is_multiple_of(WINDOW_BYTES));
                    prop_assert!(next.length > 0 && end_of(next) <= file_bytes);
                    prop_assert!(end_of(next) <= end + u64::from(ONWARD_BYTES));
                    onward.fetched_to(Some(next));
                }
            }
        }
    }
}
