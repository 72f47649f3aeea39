//! Fetches in vain: pages that came and had gone again when their blocks were to be sent. Pure.
//!
//! Where memory is far less than what peers ask for, pages that were fetched are taken back while
//! others wait for theirs. A connection that sees it happen copies for a while: a copy reads what is
//! missing into memory of our own, once, and needs nothing to stay.

/// Batches with missing pages that are copied, at most, before a fetch is tried again: where memory stays
/// short, the tries make one byte in sixteen be read twice. (200 peers at random pieces of 512 MiB, 51 MiB of page
/// cache: 1.0 to 1.7 bytes read for each sent, 2.4 to 3.9 without.) The first time one is, then twice as many
/// each time that it happens again, and half as many after a fetch that was not in vain: with a quarter of the data
/// in memory one fetch in sixty is, and sixteen copies for each cost a fifth of the rate.
const COPIES_MAX: u8 = 16;

/// Times that pages of a batch on its way, sent in part, are fetched again before the rest is copied.
const REFETCHES: u8 = 2;

/// What one connection has seen of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Vain {
    /// Blocks from the front of its queue that were fetched when it last planned a batch.
    fetched: u8,
    /// Batches that are still to be copied.
    copies: u8,
    /// Times that pages of the batch on its way were fetched again.
    refetched: u8,
    /// How many the next time.
    next: u8,
}

impl Vain {
    /// A batch is planned of which `resident` blocks from the front are there, and not all. Whether it
    /// is to be copied instead of fetched.
    pub(super) fn must_copy(&mut self, resident: usize) -> bool {
        if resident < usize::from(std::mem::take(&mut self.fetched)) {
            self.not_kept();
        }
        let copies = self.copies > 0;
        self.copies = self.copies.saturating_sub(1);
        copies
    }

    /// Pages of the rest of a batch, which went in part, have gone. Whether the rest is to be copied instead
    /// of being fetched once more.
    pub(super) fn must_copy_rest(&mut self) -> bool {
        let copies = self.refetched >= REFETCHES;
        self.refetched = self.refetched.saturating_add(1);
        copies
    }

    /// A batch has gone as a whole.
    pub(super) fn batch_ended(&mut self) {
        self.refetched = 0;
    }

    /// The cache did not keep the pages of a fetch.
    pub(super) fn not_kept(&mut self) {
        self.copies = self.next.max(1);
        self.next = (2 * self.copies).min(COPIES_MAX);
    }

    /// Of a batch of so many blocks the first `resident` are there, and the others are being fetched.
    pub(super) fn planned(&mut self, blocks: usize, resident: usize) {
        match blocks - resident {
            0 if blocks > 0 => {
                let Vain { refetched, next, .. } = *self;
                *self = Vain { refetched, next: next / 2, ..Vain::default() };
            }
            fetched => self.fetched = u8::try_from(fetched).unwrap_or(u8::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight blocks are planned, `resident` are there; the others are fetched unless they are copied.
    fn plan(vain: &mut Vain, resident: usize) -> bool {
        let copies = vain.must_copy(resident);
        if !copies {
            vain.planned(8, resident);
        }
        copies
    }

    fn copied_in_a_row(vain: &mut Vain) -> usize {
        (0..100).take_while(|_| plan(vain, 0)).count()
    }

    #[test]
    fn after_a_fetch_in_vain_batches_are_copied_for_a_while_and_then_one_is_fetched() {
        let mut vain = Vain::default();
        assert_eq!(copied_in_a_row(&mut vain), 0, "a cold batch is fetched");
        for copies in [1, 2, 4, 8, 16, 16] {
            assert_eq!(copied_in_a_row(&mut vain), copies);
        }
        vain.planned(8, 0);
        assert!(plan(&mut vain, 7), "one block of eight had gone");
    }

    #[test]
    fn what_the_cache_did_not_keep_is_copied_for_a_while() {
        let mut vain = Vain::default();
        vain.not_kept();
        assert_eq!(copied_in_a_row(&mut vain), 1);
    }

    #[test]
    fn each_fetch_that_stays_halves_what_the_next_in_vain_costs() {
        let mut vain = Vain::default();
        for copies in [0, 1, 2, 4, 8] {
            assert_eq!(copied_in_a_row(&mut vain), copies);
        }
        vain.planned(8, 8);
        vain.planned(8, 8);
        vain.not_kept();
        assert_eq!(copied_in_a_row(&mut vain), 4);
    }

    #[test]
    fn the_rest_of_a_batch_is_fetched_again_for_so_often_and_then_copied() {
        let mut vain = Vain::default();
        for _ in 0..3 {
            let fetched = (0..100).take_while(|_| !vain.must_copy_rest()).count();
            assert_eq!(fetched, usize::from(REFETCHES));
            vain.batch_ended();
        }
    }

    #[test]
    fn fetches_that_stay_are_never_copied_and_end_the_copying() {
        let mut vain = Vain::default();
        vain.not_kept();
        for _ in 0..10 {
            vain.planned(8, 8);
            assert!(!plan(&mut vain, 0));
        }
    }

    #[test]
    fn a_longer_window_whose_fetched_blocks_are_there_is_not_in_vain() {
        let mut vain = Vain::default();
        vain.planned(4, 0);
        for _ in 0..10 {
            assert!(!vain.must_copy(4));
            vain.planned(8, 4);
        }
    }
}
