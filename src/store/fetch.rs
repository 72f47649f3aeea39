//! Bringing runs into the page cache: what to ask the kernel next, and who waits for what. Pure.
//!
//! One fetch serves all who wait for the same pages. Its protocol was learnt the hard way:
//! readahead asks for the pages; a read of one byte at the last missing page of each step waits
//! for them; then residency is asked *again*, because only that answer means fetched (partly
//! resident runs under memory pressure were incomplete nearly every time without it). After two
//! tries that did not stay, the run is read and dropped: its errno is the verdict, since one-byte
//! reads succeed beside a bad page for ever.
//!
//! **Invariant:** every accepted `want` is answered by exactly as many [`Finished`] that name the
//! waiter as `want` returned.

mod missing;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use ringseed_meta::Instant;
use ringseed_ring::{File, Residency, Run};
use smallvec::SmallVec;

pub use missing::last_missing;

use super::files::FileKey;
use super::flights::Flights;

pub mod limits {
    //! Bounds of fetching, per worker.

    /// Bytes from one touch (a read of one byte) to the next. The kernel reads a run in bios that end
    /// where extents, folios and the device's limits say, and that come back in any order; touching
    /// only the end of each 128 KiB left pages behind that were still being read, one fetch in ten.
    pub const TOUCH_BYTES: u32 = 16 * 1024;
    /// Bytes. Pages are tracked in windows of this size: one block, so that a random request
    /// fetches nothing that was not asked for.
    pub const WINDOW_BYTES: u64 = 16 * 1024;
    /// Bytes of fetches begun and not finished: 32 runs of half a megabyte, which keeps an SSD
    /// busy at its bandwidth; the rest queues.
    pub const IN_FLIGHT_BYTES_MAX: u64 = 16 << 20;
    /// Tries to make a run stay resident before it is read as a whole for the verdict.
    pub const TRIES_MAX: u8 = 2;
    /// Bytes. What was fetched where residency is unknown is remembered by the page: a fetch of
    /// the head of a window says nothing of its tail.
    pub const RECENT_PAGE_BYTES: u64 = 4096;
    /// Pages of recent fetches (where residency is unknown) that are remembered before they are
    /// swept: 2 GiB sent in a second, for some 20 MB of memory.
    pub const RECENT_MAX: usize = 1 << 19;
}

/// Who waits: the worker's own number for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Waiter(pub u64);

/// A fetch under way. Stale ids are recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FetchId {
    pub index: u32,
    pub generation: u32,
}

/// What the worker is to do next for a fetch, each answered through [`Fetches::completed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    ReadAhead { fetch: FetchId, run: Run },
    ReadByte { fetch: FetchId, file: File, offset: u64 },
    Ask { fetch: FetchId, run: Run },
    ReadDiscard { fetch: FetchId, run: Run },
}

impl Step {
    /// The fetch it is a step of.
    pub fn fetch(self) -> FetchId {
        match self {
            Step::ReadAhead { fetch, .. }
            | Step::ReadByte { fetch, .. }
            | Step::Ask { fetch, .. }
            | Step::ReadDiscard { fetch, .. } => fetch,
        }
    }

    /// The file it reads.
    pub fn file(self) -> File {
        match self {
            Step::ReadAhead { run, .. } | Step::Ask { run, .. } | Step::ReadDiscard { run, .. } => {
                run.file
            }
            Step::ReadByte { file, .. } => file,
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepOutcome {
    Done,
    /// Bytes read; fewer than asked means that the file ends there.
    Read(u32),
    Answer(Residency),
    Failed(i32),
}

/// What became of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// In the page cache now (or, where the system will not say, read a moment ago).
    Resident,
    /// Readable, but the cache does not keep it: send it with the copying verb.
    Readable,
    /// The file ends before the run does.
    Truncated,
    /// The disk's errno.
    Failed(i32),
}

/// A fetch that ended, and all who waited for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    pub run: Run,
    pub verdict: Verdict,
    pub waiters: SmallVec<[Waiter; 4]>,
}

/// Whether a fetch is believed only after residency was asked again. `Never` exists so that
/// tests can show that the simulated kernel catches a worker without the rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskAgain {
    Always,
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Queued,
    ReadingAhead,
    /// One-byte reads that have not come back.
    Touching(u32),
    Asking,
    Discarding,
}

struct Fetch {
    run: Run,
    file: FileKey,
    stage: Stage,
    tries: u8,
    /// The system would not say whether it is resident.
    is_unknown: bool,
    /// Where a byte is read to wait for this try's pages; empty: at the end of each step.
    touches: SmallVec<[u64; 4]>,
    /// The first fault met by a step of this try.
    fault: Option<Verdict>,
    waiters: SmallVec<[Waiter; 4]>,
}

struct Slot {
    generation: u32,
    fetch: Option<Fetch>,
}

/// All fetches of one worker.
pub struct Fetches {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Which fetch brings a window of a file. Never iterated: its order is not the same twice.
    windows: HashMap<(File, u64), FetchId>,
    /// When a page whose residency the system will not tell was last fetched or sent.
    recent: HashMap<(File, u64), Instant>,
    recent_swept: Instant,
    queued: VecDeque<FetchId>,
    in_flight_bytes: u64,
    ask_again: AskAgain,
    flights: Arc<Flights>,
}

/// How long a fetched or sent run counts as resident where the system will not say.
const RECENT: Duration = Duration::from_secs(1);

fn windows_of(run: Run) -> RangeInclusive<u64> {
    stretches_of(run, limits::WINDOW_BYTES)
}

fn pages_of(run: Run) -> RangeInclusive<u64> {
    stretches_of(run, limits::RECENT_PAGE_BYTES)
}

/// The stretches of so many bytes that hold the run.
fn stretches_of(run: Run, bytes: u64) -> RangeInclusive<u64> {
    let last = run.offset + u64::from(run.length.max(1)) - 1;
    run.offset / bytes..=last / bytes
}

impl Fetches {
    /// `flights` is shared with the other workers.
    pub fn new(ask_again: AskAgain, flights: Arc<Flights>) -> Fetches {
        Fetches {
            slots: Vec::new(),
            free: Vec::new(),
            windows: HashMap::new(),
            recent: HashMap::new(),
            recent_swept: Instant::ZERO,
            queued: VecDeque::new(),
            in_flight_bytes: 0,
            ask_again,
            flights,
        }
    }

    /// Fetches begun or queued and not finished.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `waiter` needs `run`, which is of `file`. Windows that are already on their way are joined, the others are
    /// fetched in as few runs as they allow. Returns how many [`Finished`] will name the waiter.
    pub fn want(&mut self, run: Run, file: FileKey, waiter: Waiter, steps: &mut Vec<Step>) -> u32 {
        let mut waits = 0;
        let mut joined: Option<FetchId> = None;
        let mut fresh: Option<(u64, u64)> = None;
        for window in windows_of(run) {
            match self.windows.get(&(run.file, window)).copied() {
                None => fresh = Some(fresh.map_or((window, window), |(first, _)| (first, window))),
                Some(fetch) => {
                    if let Some(group) = fresh.take() {
                        self.begin(run, file, group, waiter, steps);
                        waits += 1;
                    }
                    if joined != Some(fetch) {
                        joined = Some(fetch);
                        waits += u32::from(self.join(fetch, waiter));
                    }
                }
            }
        }
        if let Some(group) = fresh {
            self.begin(run, file, group, waiter, steps);
            waits += 1;
        }
        waits
    }

    /// Adds a waiter to a fetch; false when it waits there already.
    fn join(&mut self, id: FetchId, waiter: Waiter) -> bool {
        let Some(fetch) = self.slots[id.index as usize].fetch.as_mut() else { return false };
        if fetch.waiters.contains(&waiter) {
            return false;
        }
        fetch.waiters.push(waiter);
        true
    }

    /// A new fetch of the part of `run` that lies in the windows `first..=last`.
    fn begin(
        &mut self,
        run: Run,
        file: FileKey,
        (first, last): (u64, u64),
        waiter: Waiter,
        steps: &mut Vec<Step>,
    ) {
        let start = run.offset.max(first * limits::WINDOW_BYTES);
        let end = (run.offset + u64::from(run.length)).min((last + 1) * limits::WINDOW_BYTES);
        let run = Run { file: run.file, offset: start, length: (end - start) as u32 };
        let fetch = Fetch {
            run,
            file,
            stage: Stage::Queued,
            tries: 0,
            is_unknown: false,
            touches: SmallVec::new(),
            fault: None,
            waiters: SmallVec::from_slice(&[waiter]),
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, fetch: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.fetch = Some(fetch);
        let id = FetchId { index, generation: slot.generation };
        for window in first..=last {
            self.windows.insert((run.file, window), id);
            self.flights.begin(file, window);
        }
        self.queued.push_back(id);
        self.start_queued(steps);
    }

    fn start_queued(&mut self, steps: &mut Vec<Step>) {
        while let Some(&id) = self.queued.front() {
            let Some(fetch) = self.slots[id.index as usize].fetch.as_mut() else {
                self.queued.pop_front();
                continue;
            };
            let bytes = u64::from(fetch.run.length);
            if self.in_flight_bytes > 0
                && self.in_flight_bytes + bytes > limits::IN_FLIGHT_BYTES_MAX
            {
                return;
            }
            self.in_flight_bytes += bytes;
            fetch.stage = Stage::ReadingAhead;
            steps.push(Step::ReadAhead { fetch: id, run: fetch.run });
            self.queued.pop_front();
        }
    }

    /// Before a fetch's readahead: where it will have to read a byte ([`last_missing`]).
    pub fn touch_at(&mut self, id: FetchId, touches: SmallVec<[u64; 4]>) {
        if let Some(slot) = self.slots.get_mut(id.index as usize)
            && slot.generation == id.generation
            && let Some(fetch) = slot.fetch.as_mut()
        {
            fetch.touches = touches;
        }
    }

    /// A step of a fetch ended: pushes what follows, or returns the end of the whole fetch.
    pub fn completed(
        &mut self,
        id: FetchId,
        outcome: StepOutcome,
        now: Instant,
        steps: &mut Vec<Step>,
    ) -> Option<Finished> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let ask_again = self.ask_again;
        let verdict = advance(slot.fetch.as_mut()?, id, outcome, ask_again, steps)?;
        let finished = self.finish(id, verdict, now)?;
        self.start_queued(steps);
        Some(finished)
    }

    fn finish(&mut self, id: FetchId, verdict: Verdict, now: Instant) -> Option<Finished> {
        let slot = &mut self.slots[id.index as usize];
        let fetch = slot.fetch.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        self.in_flight_bytes -= u64::from(fetch.run.length);
        for window in windows_of(fetch.run) {
            self.windows.remove(&(fetch.run.file, window));
            self.flights.end(fetch.file, window);
        }
        // Another worker may still have them on its way, which says nothing any longer.
        let is_shared = self.flights.is_any(fetch.file, windows_of(fetch.run));
        let is_unproved = fetch.is_unknown || self.ask_again == AskAgain::Never || is_shared;
        if verdict == Verdict::Resident && is_unproved {
            self.note_recent(fetch.run, now);
        }
        Some(Finished { run: fetch.run, verdict, waiters: fetch.waiters })
    }

    /// Remembers that `run` was fetched just now, for files whose residency is unknown.
    fn note_recent(&mut self, run: Run, now: Instant) {
        if now.since(self.recent_swept) >= RECENT {
            self.recent_swept = now;
            self.recent.retain(|_, at| now.since(*at) < RECENT);
        }
        if self.recent.len() >= limits::RECENT_MAX {
            // What is not remembered is fetched again, which is cheap when it is there.
            return;
        }
        for page in pages_of(run) {
            self.recent.insert((run.file, page), now);
        }
    }

    /// Whether pages of `run`, which is of `file`, are on their way to this worker or another;
    /// the system counts them as resident already.
    pub fn is_under_way(&self, run: Run, file: FileKey, now: Instant) -> bool {
        if !self.flights.is_any(file, windows_of(run)) {
            return false;
        }
        let is_ours = |window| self.windows.contains_key(&(run.file, window));
        windows_of(run).any(is_ours) || !self.is_recent(run, now)
    }

    /// Whether all of `run` was fetched within the last second.
    pub fn is_recent(&self, run: Run, now: Instant) -> bool {
        pages_of(run).all(|page| {
            self.recent.get(&(run.file, page)).is_some_and(|at| now.since(*at) < RECENT)
        })
    }
}

/// One move of one fetch: the next steps, or the verdict.
fn advance(
    fetch: &mut Fetch,
    id: FetchId,
    outcome: StepOutcome,
    ask_again: AskAgain,
    steps: &mut Vec<Step>,
) -> Option<Verdict> {
    match fetch.stage {
        Stage::Queued => None,
        Stage::ReadingAhead => {
            // A failed readahead is no verdict: the reads below will tell.
            touch(fetch, id, steps);
            None
        }
        Stage::Touching(left) => {
            let fault = match outcome {
                StepOutcome::Read(0) => Some(Verdict::Truncated),
                StepOutcome::Failed(errno) => Some(Verdict::Failed(errno)),
                _ => None,
            };
            fetch.fault = fetch.fault.or(fault);
            fetch.stage = Stage::Touching(left - 1);
            if left > 1 {
                return None;
            }
            touched(fetch, id, ask_again, steps)
        }
        Stage::Asking => answered(fetch, id, outcome, steps),
        Stage::Discarding => Some(match outcome {
            StepOutcome::Read(bytes) if bytes == fetch.run.length => Verdict::Readable,
            StepOutcome::Read(_) => Verdict::Truncated,
            StepOutcome::Failed(errno) => Verdict::Failed(errno),
            StepOutcome::Done | StepOutcome::Answer(_) => Verdict::Readable,
        }),
    }
}

/// Reads one byte of each page that must be waited for.
fn touch(fetch: &mut Fetch, id: FetchId, steps: &mut Vec<Step>) {
    let run = fetch.run;
    let mut touches = std::mem::take(&mut fetch.touches);
    if touches.is_empty() {
        touches = missing::last_missing(run, |_| Residency::Unknown);
    }
    fetch.stage = Stage::Touching(touches.len() as u32);
    steps.extend(touches.iter().map(|&offset| Step::ReadByte {
        fetch: id,
        file: run.file,
        offset,
    }));
}

fn touched(
    fetch: &mut Fetch,
    id: FetchId,
    ask_again: AskAgain,
    steps: &mut Vec<Step>,
) -> Option<Verdict> {
    match (fetch.fault.take(), ask_again) {
        (Some(Verdict::Truncated), _) => Some(Verdict::Truncated),
        (Some(_), _) => {
            // One page failed; the whole run's read gives the errno that counts, or heals.
            fetch.stage = Stage::Discarding;
            steps.push(Step::ReadDiscard { fetch: id, run: fetch.run });
            None
        }
        (None, AskAgain::Never) => Some(Verdict::Resident),
        (None, AskAgain::Always) => {
            fetch.stage = Stage::Asking;
            steps.push(Step::Ask { fetch: id, run: fetch.run });
            None
        }
    }
}

fn answered(
    fetch: &mut Fetch,
    id: FetchId,
    outcome: StepOutcome,
    steps: &mut Vec<Step>,
) -> Option<Verdict> {
    match outcome {
        StepOutcome::Answer(Residency::Missing) => {
            fetch.tries += 1;
            if fetch.tries < limits::TRIES_MAX {
                fetch.stage = Stage::ReadingAhead;
                steps.push(Step::ReadAhead { fetch: id, run: fetch.run });
            } else {
                fetch.stage = Stage::Discarding;
                steps.push(Step::ReadDiscard { fetch: id, run: fetch.run });
            }
            None
        }
        StepOutcome::Answer(Residency::Unknown) => {
            fetch.is_unknown = true;
            Some(Verdict::Resident)
        }
        _ => Some(Verdict::Resident),
    }
}

#[cfg(test)]
mod tests;
