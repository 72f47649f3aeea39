//! Readers that take so many bytes a second, and no more: their sockets fill, and what the seeder
//! has sent them stays with it.

use std::time::Duration;

use ringseed_meta::Instant;

use super::pool::Pool;
use super::{EngineError, Mode};
use crate::clock::Stage;
use crate::limits::{TRICKLE_STEP_MS, TRICKLE_STEPS};
use crate::trickle::Trickle;

/// See the module.
pub(super) struct Slow {
    bytes_per_s: u32,
    /// When the next part of the connections reads; None until the load is on.
    next_at: Option<Instant>,
    part: usize,
}

impl Slow {
    pub(super) fn new(bytes_per_s: u32) -> Slow {
        Slow { bytes_per_s, next_at: None, part: 0 }
    }
}

impl Mode for Slow {
    fn records_answers(&self) -> bool {
        false
    }

    fn begin(&mut self, pool: &mut Pool, now: Instant) -> Result<(), EngineError> {
        for index in 0..pool.len() {
            pool.connection(index).trickle = Some(Trickle::new(self.bytes_per_s, now));
            pool.ask(index)?;
        }
        self.next_at = Some(now);
        Ok(())
    }

    /// Each connection reads every tenth of a second: one part of them in each hundredth.
    fn turn(
        &mut self,
        pool: &mut Pool,
        _stage: Stage,
        now: Instant,
    ) -> Result<Option<Instant>, EngineError> {
        let Some(at) = self.next_at.filter(|at| now >= *at) else { return Ok(self.next_at) };
        for index in (self.part..pool.len()).step_by(TRICKLE_STEPS) {
            if pool.drain(index, now)? {
                pool.note_milestones(index, |milestones| self.is_ready(milestones));
                pool.ask(index)?;
            }
        }
        self.part = (self.part + 1) % TRICKLE_STEPS;
        // After a delay the parts that were missed are not made up for: their allowance was kept.
        self.next_at = Some(at.after(Duration::from_millis(TRICKLE_STEP_MS)).max(now));
        Ok(self.next_at)
    }

    fn after_bytes(&mut self, pool: &mut Pool, index: usize) -> Result<(), EngineError> {
        pool.ask(index)
    }
}
