//! What goes wrong, file by file, and how often it was read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::hanging::{Hanging, Verb};

/// Reads that reached the mirror: what the page cache answers is not among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reads {
    pub calls: u64,
    /// Asked for, by calls that failed as well.
    pub bytes: u64,
    pub failed: u64,
}

#[derive(Default)]
struct OfFile {
    read_delay: Option<Duration>,
    errors: Vec<(Range<u64>, i32)>,
    ends_at: Option<u64>,
    reads: Reads,
}

#[derive(Default)]
struct State {
    read_delay: Duration,
    stat_delay: Duration,
    flush_delay: Duration,
    is_direct: bool,
    /// By path from the mirror's root.
    files: BTreeMap<PathBuf, OfFile>,
}

/// What is to become of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fate {
    pub(crate) delay: Duration,
    /// How many bytes may be read, or the errno.
    pub(crate) outcome: Result<u64, i32>,
}

/// The faults of a mirror and its counters. Paths are those below its root; all may be changed at
/// any time, and hold for the reads that come after.
#[derive(Default)]
pub struct Faults {
    state: Mutex<State>,
    pub(crate) hanging: Hanging,
    /// It is told of every close.
    pub(crate) flushes: bool,
}

impl Faults {
    pub(crate) fn of_a_mirror_that_flushes() -> Faults {
        Faults { flushes: true, ..Faults::default() }
    }

    /// Every read takes so much longer; zero: none does.
    pub fn delay(&self, delay: Duration) {
        self.state().read_delay = delay;
    }

    /// Reads of one file take so much longer, whatever [`Faults::delay`] says.
    pub fn delay_file(&self, file: impl AsRef<Path>, delay: Duration) {
        self.file(&mut self.state(), file.as_ref()).read_delay = Some(delay);
    }

    /// Every look at a file (lookup, getattr) takes so much longer.
    pub fn delay_stats(&self, delay: Duration) {
        self.state().stat_delay = delay;
    }

    /// Every close of a file (flush) takes so much longer, of a mirror that is told of them.
    pub fn delay_flushes(&self, delay: Duration) {
        self.state().flush_delay = delay;
    }

    /// Files opened from now on are read past the page cache (FOPEN_DIRECT_IO), as some filesystems
    /// want it.
    pub fn read_directly(&self) {
        self.state().is_direct = true;
    }

    /// Reads that touch `range` of a file fail with `errno`.
    pub fn fail(&self, file: impl AsRef<Path>, range: Range<u64>, errno: i32) {
        self.file(&mut self.state(), file.as_ref()).errors.push((range, errno));
    }

    /// Reads of a file end at byte `at`, whatever its size is said to be.
    pub fn end_at(&self, file: impl AsRef<Path>, at: u64) {
        self.file(&mut self.state(), file.as_ref()).ends_at = Some(at);
    }

    /// Nothing is wrong with a file any more; counters stay.
    pub fn heal(&self, file: impl AsRef<Path>) {
        let mut state = self.state();
        let file = self.file(&mut state, file.as_ref());
        *file = OfFile { reads: file.reads, ..OfFile::default() };
    }

    /// From now on what is asked by this verb gets no answer until all is healed or unmounted.
    ///
    /// A process that waits for such an answer cannot be killed: let no test wait for a mirror that it
    /// serves itself ([`Apart`](crate::Apart)).
    pub fn hang(&self, verb: Verb) {
        self.hanging.hang(verb);
    }

    /// Nothing is wrong at all, and who waits for an answer gets it; counters stay.
    pub fn heal_all(&self) {
        let mut state = self.state();
        let files = std::mem::take(&mut state.files);
        let healed = files
            .into_iter()
            .map(|(path, was)| (path, OfFile { reads: was.reads, ..OfFile::default() }));
        *state = State { files: healed.collect(), ..State::default() };
        drop(state);
        self.hanging.heal();
    }

    /// How often a file was read.
    pub fn reads(&self, file: impl AsRef<Path>) -> Reads {
        self.state().files.get(file.as_ref()).map_or(Reads::default(), |file| file.reads)
    }

    /// The same of every file that was read or was to go wrong.
    pub fn all_reads(&self) -> Vec<(PathBuf, Reads)> {
        self.state().files.iter().map(|(path, file)| (path.clone(), file.reads)).collect()
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.state().is_direct
    }

    pub(crate) fn stat_delay(&self) -> Duration {
        self.state().stat_delay
    }

    pub(crate) fn flush_delay(&self) -> Duration {
        self.state().flush_delay
    }

    /// Counts a read of `length` bytes at `offset` and says what is to become of it.
    pub(crate) fn on_read(&self, path: &Path, offset: u64, length: u64) -> Fate {
        let mut state = self.state();
        let delay = state.read_delay;
        let file = self.file(&mut state, path);
        let end = offset + length;
        let error = file.errors.iter().find(|(range, _)| offset < range.end && end > range.start);
        let outcome = match error {
            Some((_, errno)) => Err(*errno),
            None => Ok(file.ends_at.map_or(length, |at| at.saturating_sub(offset).min(length))),
        };
        file.reads.calls += 1;
        file.reads.bytes += length;
        file.reads.failed += u64::from(outcome.is_err());
        Fate { delay: file.read_delay.unwrap_or(delay), outcome }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file<'a>(&self, state: &'a mut State, path: &Path) -> &'a mut OfFile {
        state.files.entry(path.to_owned()).or_default()
    }
}
