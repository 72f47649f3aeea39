//! A worker's fetches: what the store plans is asked of the kernel, and what came of it is told to
//! those who wait.

use ringseed_meta::Instant;
use ringseed_ring::{Failure, Kernel, Op, Outcome, Run};

use super::Worker;
use super::data::is_there;
use super::mailbox::ConnectionId;
use super::token::Errand;
use crate::store::fetch::{FetchId, Finished, Step, StepOutcome, Verdict, last_missing};

impl<K: Kernel> Worker<K> {
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
                step if self.files.key_of(step.file()).is_none() => {
                    self.skip_step(step, now, steps);
                }
                Step::ReadAhead { fetch, run } => {
                    let touches = last_missing(run, |page| self.kernel.residency(page));
                    let is_coming = touches.is_empty();
                    self.fetches.touch_at(fetch, touches);
                    if is_coming {
                        // Another worker, or somebody else, has asked for all of it.
                        self.fetches.completed(fetch, StepOutcome::Done, now, steps);
                    } else {
                        let source = self.files.source_of(run.file);
                        let aside = source.is_some_and(|source| {
                            self.fetches.devices().is_slow(source.device, now)
                        });
                        self.push(Op::ReadAhead { run, aside }, Errand::ReadAhead(fetch));
                    }
                }
                Step::ReadByte { fetch, file, offset } => {
                    self.push(Op::ReadByte { file, offset }, Errand::ReadByte(fetch));
                }
                Step::ReadDiscard { fetch, run } => {
                    self.push(Op::ReadDiscard { run }, Errand::ReadDiscard(fetch));
                }
                Step::Ask { fetch, run } => {
                    let answer = StepOutcome::Answer(self.kernel.residency(run));
                    if let Some(finished) = self.fetches.completed(fetch, answer, now, steps) {
                        self.on_fetched(finished, now);
                    }
                }
            }
            at += 1;
        }
        steps.clear();
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
