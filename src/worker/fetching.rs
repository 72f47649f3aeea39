//! A worker's fetches: what the store plans is asked of the kernel, and what came of it is told to
//! those who wait.

use std::collections::VecDeque;

use ringseed_meta::Instant;
use ringseed_ring::{Batch, Failure, Kernel, Op, Outcome, Part, Residency, Run};

use super::connection::Connection;
use super::data::is_there;
use super::mailbox::ConnectionId;
use super::token::Errand;
use super::{Worker, limits};
use crate::store::fetch::{FetchId, Finished, Step, StepOutcome, Verdict};

/// Readahead of this turn.
#[derive(Default)]
pub(super) struct Asking {
    /// Bytes that the worker itself has asked devices for.
    bytes: u32,
    /// What waits for the next turn: each is a fetch under way, which a device's budget bounds.
    later: VecDeque<Step>,
}

impl Asking {
    /// Nothing waits for the next turn.
    pub(super) fn is_done(&self) -> bool {
        self.later.is_empty()
    }
}

impl<K: Kernel> Worker<K> {
    /// A turn begins: devices are asked for what was put off.
    pub(super) fn ask_again(&mut self, now: Instant) {
        self.asking.bytes = 0;
        if self.asking.is_done() {
            return;
        }
        let mut steps = std::mem::take(&mut self.scratch.steps);
        for step in std::mem::take(&mut self.asking.later) {
            if self.files.key_of(step.file()).is_none() {
                self.skip_step(step, now, &mut steps);
            } else {
                steps.push(step);
            }
        }
        self.take_steps(&mut steps, now);
        self.scratch.steps = steps;
    }

    /// `id` needs a run that is not in the page cache. Returns the ends it will be told of.
    pub(super) fn fetch(&mut self, run: Run, id: ConnectionId, now: Instant) -> u32 {
        let Some(source) = self.files.source_of(run.file) else { return 0 };
        let mut steps = std::mem::take(&mut self.scratch.steps);
        let before = self.fetches.len();
        let places = &self.places;
        let is_there = |waiter| is_there(places, waiter);
        let waits = self.fetches.want(run, source, (id.waiter(), &is_there), now, &mut steps);
        for _ in before..self.fetches.len() {
            self.shared.counters.fetches.add(1);
            self.files.pin(run.file);
        }
        let mut deserted = Vec::new();
        self.fetches.drop_deserted(is_there, &mut deserted);
        deserted.iter().for_each(|run| self.files.unpin(run.file));
        self.take_steps(&mut steps, now);
        self.scratch.steps = steps;
        waits
    }

    /// The file was closed while a fetch of it was under way, since its torrent was paused: the
    /// fetch comes to its end without asking the kernel.
    fn skip_step(&mut self, step: Step, now: Instant, steps: &mut Vec<Step>) {
        const EBADF: i32 = 9;
        let closed = StepOutcome::Failed { errno: EBADF, at: None };
        if let Some(finished) = self.fetches.completed(step.fetch(), closed, now, steps) {
            self.on_fetched(finished, now);
        }
    }

    pub(super) fn take_steps(&mut self, steps: &mut Vec<Step>, now: Instant) {
        // A step may be answered at once and push further ones: the list grows behind us.
        let mut at = 0;
        while at < steps.len() {
            match steps[at] {
                // The end of a fetch is told to connections, and one of them may be out of its place now.
                step if self.files.key_of(step.file()).is_none() => {
                    self.asking.later.push_back(step);
                }
                Step::ReadAhead { fetch, run } => self.read_ahead(fetch, run, now, steps),
                Step::ReadByte { fetch, file, offset } => {
                    self.push(Op::ReadByte { file, offset }, Errand::ReadByte(fetch));
                }
                Step::ReadDiscard { fetch, run } => {
                    self.push(Op::ReadDiscard { run }, Errand::ReadDiscard(fetch));
                }
                Step::Ask { fetch, run } => {
                    let answer = match self.kernel.residency(run) {
                        // Pages on their way count as resident: splicing them would wait.
                        Residency::Resident
                            if self.note_missing(fetch, run) == Residency::Missing =>
                        {
                            StepOutcome::Coming
                        }
                        answer => StepOutcome::Answer(answer),
                    };
                    if let Some(finished) = self.fetches.completed(fetch, answer, now, steps) {
                        self.on_fetched(finished, now);
                    }
                }
            }
            at += 1;
        }
        steps.clear();
    }

    /// Asks the device for a run, in the next turn if this one has asked for much: where memory is short
    /// each page that is asked for takes another's place, which is the asker's work.
    fn read_ahead(&mut self, fetch: FetchId, run: Run, now: Instant, steps: &mut Vec<Step>) {
        let source = self.files.source_of(run.file);
        let aside = source.is_some_and(|source| {
            source.is_distant || self.fetches.devices().is_slow(source.device, now)
        });
        if !aside && self.asking.bytes >= limits::ASKED_BYTES_PER_TURN {
            self.asking.later.push_back(Step::ReadAhead { fetch, run });
        } else if self.note_missing(fetch, run) == Residency::Resident
            // Of others' files the first answer may be yes whatever is there.
            && self.kernel.residency(run) == Residency::Resident
        {
            // Another worker, or somebody else, has fetched all of it.
            self.fetches.touch_at(fetch, &[run.offset + u64::from(run.length) - 1]);
            self.fetches.completed(fetch, StepOutcome::Done, now, steps);
        } else {
            self.asking.bytes += if aside { 0 } else { run.length };
            self.push(Op::ReadAhead { run, aside }, Errand::ReadAhead(fetch));
        }
    }

    /// A batch is copied although its pages may be missing: others are told that they are on their way, for
    /// as long as the kernel has the batch.
    pub(super) fn note_reads(&mut self, connection: &mut Connection, batch: &Batch) {
        for part in batch.remaining() {
            if let Part::Run(run) = part
                && let Some(source) = self.files.source_of(run.file)
                && !source.is_distant
            {
                self.fetches.reads(run, source.id);
                connection.aside().reads.push((source.id, run));
            }
        }
    }

    /// The batch has come back, or will not.
    pub(super) fn end_reads(&mut self, connection: &mut Connection) {
        if let Some(aside) = &mut connection.aside {
            aside.reads.drain(..).for_each(|(file, run)| self.fetches.has_read(run, file));
        }
    }

    /// Nothing more of a batch is to be sent: forgets what of files it needed.
    pub(super) fn let_go(&mut self, connection: &mut Connection) {
        connection.pinned.drain(..).for_each(|file| self.files.unpin(file));
        self.end_reads(connection);
    }

    /// Tells a fetch where to read a byte so as to wait for what of its run is not there.
    fn note_missing(&mut self, fetch: FetchId, run: Run) -> Residency {
        let mut ends = std::mem::take(&mut self.scratch.ends);
        ends.clear();
        let residency = self.kernel.missing(run, &mut ends);
        self.fetches.touch_at(fetch, &ends);
        self.scratch.ends = ends;
        residency
    }

    pub(super) fn on_fetch_step(&mut self, fetch: FetchId, outcome: Outcome, now: Instant) {
        if let Outcome::Asked { took } = outcome
            && let Some(device) = self.fetches.device_of(fetch)
        {
            self.fetches.devices().asked(device, took, now);
        }
        let outcome = match outcome {
            Outcome::Read { bytes } => StepOutcome::Read(bytes),
            Outcome::Failed(Failure::Run { run, errno }) => {
                StepOutcome::Failed { errno, at: Some(run.offset) }
            }
            Outcome::Failed(Failure::Os(errno)) => StepOutcome::Failed { errno, at: None },
            Outcome::Failed(_) => StepOutcome::Failed { errno: 0, at: None },
            _ => StepOutcome::Done,
        };
        let mut steps = std::mem::take(&mut self.scratch.steps);
        if let Some(finished) = self.fetches.completed(fetch, outcome, now, &mut steps) {
            self.on_fetched(finished, now);
        }
        self.take_steps(&mut steps, now);
        self.scratch.steps = steps;
    }

    fn on_fetched(&mut self, finished: Finished, now: Instant) {
        let Finished { run, verdict, waiters, device, took } = finished;
        self.files.unpin(run.file);
        self.shared.counters.count_fetch(device, took);
        match verdict {
            // Read ahead: who asks for it will see.
            _ if waiters.is_empty() => {}
            Verdict::Resident => {}
            Verdict::Readable => {
                if self.files.source_of(run.file).is_some_and(|source| source.is_distant) {
                    self.files.was_not_kept(run.file, now);
                }
                for waiter in &waiters {
                    if let Some(connection) = self.connection(ConnectionId::of_waiter(*waiter)) {
                        connection.copy_next = true;
                        connection.vain.not_kept();
                    }
                }
            }
            Verdict::Truncated => self.on_run_fault(run, 0),
            Verdict::Failed { errno, at } => {
                let before = at.saturating_sub(run.offset);
                self.on_run_fault(run.from(before as u32), errno);
            }
        }
        for waiter in waiters {
            self.end_wait(ConnectionId::of_waiter(waiter), now);
        }
    }
}
