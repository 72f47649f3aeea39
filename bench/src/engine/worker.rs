//! The turns of one thread: what is due, what has come, what is to be told.

use std::time::Duration;

use ringseed_meta::Instant;

use super::pool::{End, Pool};
use super::{EngineError, Mode, wait_until};
use crate::clock::Stage;
use crate::limits::TURN_WAIT_MS;
use crate::note::{Event, Seen};

/// The end of time.
const NEVER: Instant = Instant::from_us(u64::MAX);

/// A thread's connections and what they do.
pub(super) struct Worker<M> {
    pool: Pool,
    mode: M,
    stage: Stage,
    /// Until when it was told what was seen.
    told_until: Instant,
}

impl<M: Mode> Worker<M> {
    pub(super) fn new(mut pool: Pool, mode: M) -> Worker<M> {
        if !mode.records_answers() {
            pool.tally.record_from = NEVER;
        }
        Worker { pool, mode, stage: Stage::Opening, told_until: Instant::ZERO }
    }

    /// Runs until the phase is over and all is closed. What was seen before an error is told.
    pub(super) fn run(mut self) -> Result<(), EngineError> {
        let result = self.turns();
        if result.is_err() {
            self.tell_seen(self.pool.context.clock.now());
        }
        result
    }

    fn turns(&mut self) -> Result<(), EngineError> {
        loop {
            let now = self.pool.context.clock.now();
            self.on_time(now)?;
            if self.stage == Stage::Closing && self.pool.is_empty() {
                return Ok(());
            }
            let due = self.mode.turn(&mut self.pool, self.stage, now)?;
            self.on_ends(now);
            self.pool.connect_more(now)?;
            let wait = wait_until(due, now, Duration::from_millis(TURN_WAIT_MS));
            self.pool.enter(wait, self.mode.patience(&self.pool))?;
            while let Some(completion) = self.pool.next_completion() {
                let now = self.pool.context.clock.now();
                self.on_time(now)?;
                let came = self.pool.on_completion(completion, now)?;
                if let Some(index) = came {
                    self.on_bytes(index)?;
                }
                self.on_ends(now);
            }
        }
    }

    /// Bytes came on a connection.
    fn on_bytes(&mut self, index: usize) -> Result<(), EngineError> {
        let mode = &self.mode;
        self.pool.note_milestones(index, |milestones| mode.is_ready(milestones));
        if matches!(self.stage, Stage::WarmingUp | Stage::Counting)
            || self.stage == Stage::Over && self.mode.waits_for_last_answers()
        {
            self.mode.after_bytes(&mut self.pool, index)?;
        }
        self.pool.after_drain(index)
    }

    fn on_ends(&mut self, now: Instant) {
        while let Some((index, end)) = self.pool.ended.pop() {
            match end {
                End::Lost => self.mode.lost(&mut self.pool, index, now),
                End::Gone => self.mode.gone(index),
            }
        }
    }

    /// What the time brings: another stage, the end of an interval.
    #[inline]
    fn on_time(&mut self, now: Instant) -> Result<(), EngineError> {
        let stage = self.pool.context.schedule.stage(now);
        if stage != self.stage {
            return self.on_stage(stage, now);
        }
        if stage == Stage::Counting {
            let schedule = &self.pool.context.schedule;
            let interval = schedule.interval();
            if now >= self.told_until.after(interval) {
                let passed =
                    now.since(schedule.count_from()).as_micros() / interval.as_micros().max(1);
                let until = schedule.count_from().after(interval * passed as u32);
                self.tell_seen(until);
            }
        }
        Ok(())
    }

    /// Stages that were slept through are made up for, but for those that a close cuts off.
    fn on_stage(&mut self, stage: Stage, now: Instant) -> Result<(), EngineError> {
        let before = std::mem::replace(&mut self.stage, stage);
        let enters = |entered| before < entered && entered <= stage && stage != Stage::Closing;
        if enters(Stage::WarmingUp) {
            self.mode.begin(&mut self.pool, now)?;
        }
        if enters(Stage::Counting) {
            self.told_until = self.pool.context.schedule.count_from();
            self.pool.tally.begin_counting();
            if self.mode.waits_for_last_answers() {
                self.pool.tally.count_until = self.pool.context.schedule.until();
            }
            self.mode.count(&mut self.pool);
        }
        let until = self.pool.context.schedule.until();
        if enters(Stage::Over) && !self.mode.waits_for_last_answers() {
            self.tell_seen(until);
        }
        if stage == Stage::Closing {
            if before != Stage::Over || self.mode.waits_for_last_answers() {
                self.mode.end(&mut self.pool, now);
                self.tell_seen(until.min(now));
            }
            self.pool.close_all()?;
        }
        Ok(())
    }

    fn tell_seen(&mut self, until: Instant) {
        let (counts, latencies) = self.pool.tally.take();
        let begin = std::mem::replace(&mut self.told_until, until);
        let open = self.pool.open();
        self.pool.context.tell(Event::Interval(Box::new(Seen {
            begin,
            until,
            counts,
            open,
            latencies,
        })));
    }
}
