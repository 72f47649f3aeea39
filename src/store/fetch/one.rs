//! One fetch: from readahead to its verdict.

use ringseed_meta::Instant;
use ringseed_ring::{File, Residency, Run};
use smallvec::SmallVec;

use super::{AskAgain, FetchId, limits, missing};
use crate::store::files::Source;
use crate::store::waiters::Waiters;

/// What the worker is to do next for a fetch, each answered through [`super::Fetches::completed`].
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
    /// All of it is in the cache, and some still being read: [`super::Fetches::touch_at`] was told what.
    Coming,
    /// An errno, and the first byte of the file that could not be read where that is known.
    Failed {
        errno: i32,
        at: Option<u64>,
    },
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
    /// The disk's errno, and the first byte that cannot be read.
    Failed { errno: i32, at: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Queued,
    ReadingAhead,
    /// One-byte reads that have not come back.
    Touching(u32),
    Asking,
    Discarding,
}

pub(super) struct Fetch {
    pub(super) run: Run,
    pub(super) source: Source,
    /// What it takes of its device's budget.
    pub(super) bios: u32,
    pub(super) begun: Instant,
    pub(super) stage: Stage,
    pub(super) tries: u8,
    /// How often pages were still being read after others had been waited for.
    pub(super) rounds: u8,
    /// The system would not say whether it is resident.
    pub(super) is_unknown: bool,
    /// Where a byte is read to wait for this try's pages; empty: at the end of each step.
    pub(super) touches: SmallVec<[u64; 4]>,
    /// The first fault met by a step of this try.
    pub(super) fault: Option<Verdict>,
    /// Begun for a peer that reads on, and whoever joined since.
    pub(super) is_ahead: bool,
    pub(super) waiters: Waiters,
}

impl Fetch {
    /// One move: the next steps, or the verdict.
    pub(super) fn advance(
        &mut self,
        id: FetchId,
        outcome: StepOutcome,
        ask_again: AskAgain,
        steps: &mut Vec<Step>,
    ) -> Option<Verdict> {
        match self.stage {
            Stage::Queued => None,
            Stage::ReadingAhead => {
                // A failed readahead is no verdict: the reads below will tell.
                self.touch(id, steps);
                None
            }
            Stage::Touching(left) => {
                let fault = match outcome {
                    StepOutcome::Read(0) => Some(Verdict::Truncated),
                    StepOutcome::Failed { errno, at } => Some(self.failed(errno, at)),
                    _ => None,
                };
                self.fault = self.fault.or(fault);
                self.stage = Stage::Touching(left - 1);
                if left > 1 {
                    return None;
                }
                self.touched(id, ask_again, steps)
            }
            Stage::Asking => self.answered(id, outcome, steps),
            Stage::Discarding => Some(match outcome {
                StepOutcome::Read(bytes) if bytes == self.run.length => Verdict::Readable,
                StepOutcome::Read(_) => Verdict::Truncated,
                StepOutcome::Failed { errno, at } => self.failed(errno, at),
                _ => Verdict::Readable,
            }),
        }
    }

    fn failed(&self, errno: i32, at: Option<u64>) -> Verdict {
        Verdict::Failed { errno, at: at.unwrap_or(self.run.offset) }
    }

    /// Reads one byte of each page that must be waited for.
    fn touch(&mut self, id: FetchId, steps: &mut Vec<Step>) {
        let run = self.run;
        let mut touches = std::mem::take(&mut self.touches);
        if touches.is_empty() {
            touches = missing::step_ends(run);
        }
        self.stage = Stage::Touching(touches.len() as u32);
        steps.extend(touches.iter().map(|&offset| Step::ReadByte {
            fetch: id,
            file: run.file,
            offset,
        }));
    }

    fn touched(
        &mut self,
        id: FetchId,
        ask_again: AskAgain,
        steps: &mut Vec<Step>,
    ) -> Option<Verdict> {
        match (self.fault.take(), ask_again) {
            (Some(Verdict::Truncated), _) => Some(Verdict::Truncated),
            (Some(fault), _) if self.waiters.is_empty() => Some(fault),
            (Some(_), _) => {
                // One page failed; the whole run's read gives the errno that counts, or heals.
                self.discard(id, steps);
                None
            }
            (None, AskAgain::Never) => Some(Verdict::Resident),
            (None, AskAgain::Always) => {
                self.stage = Stage::Asking;
                steps.push(Step::Ask { fetch: id, run: self.run });
                None
            }
        }
    }

    fn discard(&mut self, id: FetchId, steps: &mut Vec<Step>) {
        self.stage = Stage::Discarding;
        steps.push(Step::ReadDiscard { fetch: id, run: self.run });
    }

    fn answered(
        &mut self,
        id: FetchId,
        outcome: StepOutcome,
        steps: &mut Vec<Step>,
    ) -> Option<Verdict> {
        match outcome {
            // Read ahead and not kept: who asks for it fetches it.
            StepOutcome::Answer(Residency::Missing) if self.waiters.is_empty() => {
                Some(Verdict::Readable)
            }
            StepOutcome::Answer(Residency::Missing) => {
                self.tries += 1;
                if self.tries < limits::TRIES_MAX {
                    self.stage = Stage::ReadingAhead;
                    steps.push(Step::ReadAhead { fetch: id, run: self.run });
                } else {
                    self.discard(id, steps);
                }
                None
            }
            StepOutcome::Coming if self.rounds < limits::ROUNDS_MAX => {
                self.rounds += 1;
                self.touch(id, steps);
                None
            }
            StepOutcome::Answer(Residency::Unknown) => {
                self.is_unknown = true;
                Some(Verdict::Resident)
            }
            _ => Some(Verdict::Resident),
        }
    }
}
