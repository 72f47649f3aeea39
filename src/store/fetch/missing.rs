//! Where a fetch waits for its pages when the system does not say which are missing.

use ringseed_ring::Run;
use smallvec::SmallVec;

use super::limits::TOUCH_BYTES;

/// Where to read one byte so as to wait for nearly all of `run`: the end of each stretch of
/// [`TOUCH_BYTES`].
pub(super) fn step_ends(run: Run) -> SmallVec<[u64; 4]> {
    let run_end = run.offset + u64::from(run.length);
    let starts = (run.offset..run_end).step_by(TOUCH_BYTES as usize);
    starts.map(|start| run_end.min(start + u64::from(TOUCH_BYTES)) - 1).collect()
}

#[cfg(test)]
mod tests {
    use ringseed_ring::File;

    use super::*;

    #[test]
    fn a_run_is_waited_for_all_along() {
        let run = Run { file: File::for_tests(0), offset: 100, length: 300_000 };
        let ends = step_ends(run);
        assert_eq!(ends.len(), 19);
        assert_eq!(ends.first(), Some(&(100 + 16_383)));
        assert_eq!(ends.last(), Some(&(100 + 299_999)));
    }
}
