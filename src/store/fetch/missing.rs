//! Which pages a fetch must wait for.

use ringseed_ring::{Residency, Run};
use smallvec::SmallVec;

use super::limits::{RECENT_PAGE_BYTES as PAGE_BYTES, TOUCH_BYTES};

/// Where to read one byte so as to wait for all of `run`: the end of the last page that is not
/// resident, for each stretch of [`TOUCH_BYTES`] that has one. To be asked before the readahead: afterwards
/// the system counts pages on their way as resident, and a byte at the end of a stretch says nothing
/// when its last page was there before the others. A cold stretch costs one question.
pub fn last_missing(run: Run, mut residency: impl FnMut(Run) -> Residency) -> SmallVec<[u64; 4]> {
    let mut ends = SmallVec::new();
    let run_end = run.offset + u64::from(run.length);
    let mut start = run.offset;
    while start < run_end {
        let stretch_end = run_end.min(start + u64::from(TOUCH_BYTES));
        let mut end = stretch_end;
        while end > start {
            let page_start = ((end - 1) / PAGE_BYTES * PAGE_BYTES).max(start);
            let page = Run { offset: page_start, length: (end - page_start) as u32, ..run };
            match residency(page) {
                Residency::Resident => end = page_start,
                Residency::Missing | Residency::Unknown => {
                    ends.push(end - 1);
                    break;
                }
            }
        }
        start = stretch_end;
    }
    ends
}

#[cfg(test)]
mod tests {
    use ringseed_ring::File;

    use super::*;

    fn run(offset: u64, length: u32) -> Run {
        Run { file: File::for_tests(0), offset, length }
    }

    #[test]
    fn a_cold_run_is_waited_for_all_along_and_asked_once_a_stretch() {
        let mut asked = 0;
        let ends = last_missing(run(100, 300_000), |_| {
            asked += 1;
            Residency::Missing
        });
        assert_eq!(ends.as_slice(), [100 + 131_071, 100 + 262_143, 100 + 299_999]);
        assert_eq!(asked, 3);
    }

    #[test]
    fn a_run_whose_tail_is_there_is_waited_for_at_its_last_missing_pages() {
        let missing = |page: Run| match page.offset / PAGE_BYTES {
            2 | 5 | 40 => Residency::Missing,
            _ => Residency::Resident,
        };
        assert_eq!(
            last_missing(run(4_000, 300_000), missing).as_slice(),
            [6 * 4096 - 1, 41 * 4096 - 1]
        );
        assert!(last_missing(run(4_000, 40_000), |_| Residency::Resident).is_empty());
    }
}
