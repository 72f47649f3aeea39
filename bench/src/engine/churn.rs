//! Peers that come at a rate, wait for the unchoke, fetch some blocks, and leave: by FIN and by RST
//! in turn. Each is charged from the time at which it was due: the wait until it may connect, since
//! few are made at once or too many are open, is the seeder's as much as the one for its unchoke.

use ringseed_meta::Instant;

use super::connection::State;
use super::pool::{Farewell, Pool};
use super::{EngineError, Mode, Peers, Share, last_before};
use crate::clock::Stage;
use crate::leecher::{Interest, Leecher, Milestones};
use crate::limits::{CHURN_OPEN_MAX, OPEN_LOOP_DEPTH};
use crate::note::Event;
use crate::order::{Blocks, Order};
use crate::pace::Pace;
use crate::requests::Requests;
use crate::results::ErrorCount;
use crate::tally::record;

/// See the module.
pub(super) struct Churn {
    peers: Peers,
    rate: f64,
    blocks: u32,
    share: Share,
    /// None until the load is on.
    pace: Option<Pace>,
    /// Places whose connection has gone.
    free: Vec<usize>,
    left: u64,
    /// It was told that the seeder does not keep up.
    told: bool,
    /// Arrivals until then waited for a place: they are not our lateness.
    held_until: Instant,
}

impl Churn {
    /// This thread's share of `rate` peers a second, each for `blocks` blocks.
    pub(super) fn new(peers: Peers, rate: f64, blocks: u32, share: Share) -> Churn {
        Churn {
            peers,
            rate,
            blocks,
            share,
            pace: None,
            free: Vec::new(),
            left: 0,
            told: false,
            held_until: Instant::ZERO,
        }
    }

    fn leecher(&self, number: u32) -> Leecher {
        let seeder = &self.peers.seeder;
        let blocks = Blocks::new(seeder.pieces.clone(), Order::Random, number, 1);
        let depth = seeder.pieces.block_count().min(OPEN_LOOP_DEPTH) as usize;
        let requests =
            Requests::closed(blocks, depth.min(self.blocks as usize), self.blocks.into());
        Leecher::new(seeder.info_hash, seeder.pieces.count(), requests, Interest::Told, None)
    }

    /// A free place, or a new one while there may be more.
    fn has_place(&mut self, pool: &Pool) -> bool {
        let has = !self.free.is_empty() || pool.len() < CHURN_OPEN_MAX as usize;
        if !has && !self.told {
            self.told = true;
            let what = format!(
                "the target does not keep up: {CHURN_OPEN_MAX} connections of a thread are open at once"
            );
            pool.context.tell(Event::Error(ErrorCount { what, times: 1 }));
        }
        has
    }
}

/// A peer will not get what it came for.
fn give_up(pool: &mut Pool, index: usize, now: Instant) {
    let connection = pool.connection(index);
    // Where it has not begun to connect, it has waited since it was due.
    let since = connection.due.unwrap_or(connection.opened);
    if connection.leecher.milestones().unchoke.is_none() {
        pool.tally.on_unserved(since, now);
        return;
    }
    let given_up = connection.leecher.give_up();
    given_up.into_iter().for_each(|since| pool.tally.on_unanswered(since, now));
}

impl Mode for Churn {
    fn is_ready(&self, _: Milestones) -> bool {
        // The opening waits for none of them.
        false
    }

    fn begin(&mut self, pool: &mut Pool, _now: Instant) -> Result<(), EngineError> {
        let Share { place, places, .. } = self.share;
        self.pace = Some(Pace::new(pool.context.schedule.ask_from(), self.rate, place, places));
        Ok(())
    }

    fn waits_for_last_answers(&self) -> bool {
        true
    }

    fn count(&mut self, pool: &mut Pool) {
        let count_from = pool.context.schedule.count_from();
        pool.tally.record_openings_from(count_from);
        pool.tally.record_from = count_from;
    }

    fn turn(
        &mut self,
        pool: &mut Pool,
        stage: Stage,
        now: Instant,
    ) -> Result<Option<Instant>, EngineError> {
        if !matches!(stage, Stage::WarmingUp | Stage::Counting | Stage::Over) {
            return Ok(None);
        }
        let until = last_before(pool.context.schedule.until());
        while let Some(next_at) = self.pace.as_ref().map(Pace::next_at) {
            if next_at > until {
                return Ok(None);
            }
            if next_at > now {
                return Ok(Some(next_at));
            }
            if !self.has_place(pool) {
                self.held_until = now;
                return Ok(None);
            }
            let due = self.pace.as_mut().and_then(|pace| pace.take_due(now));
            let Some((at, number)) = due else { break };
            if at >= pool.tally.openings_from && at > self.held_until {
                record(&mut pool.tally.latencies.late, now.since(at));
            }
            let number = (number as u32).wrapping_mul(self.share.places) + self.share.place;
            let leecher = self.leecher(number);
            let index = self.free.pop();
            match index {
                Some(index) => pool.add_at(index, number, leecher),
                None => pool.add(number, leecher),
            }
            pool.connection(index.unwrap_or(pool.len() - 1)).due = Some(at);
        }
        Ok(None)
    }

    fn after_bytes(&mut self, pool: &mut Pool, index: usize) -> Result<(), EngineError> {
        pool.ask(index)?;
        let leecher = &pool.connection(index).leecher;
        let is_served = leecher.milestones().unchoke.is_some() && leecher.requests().are_done();
        if !is_served || !leecher.is_between_messages() {
            return Ok(());
        }
        self.left += 1;
        let farewell = if self.left.is_multiple_of(2) { Farewell::Finish } else { Farewell::Reset };
        pool.close(index, farewell)
    }

    fn lost(&mut self, pool: &mut Pool, index: usize, now: Instant) {
        give_up(pool, index, now);
    }

    fn gone(&mut self, index: usize) {
        self.free.push(index);
    }

    fn end(&mut self, pool: &mut Pool, now: Instant) {
        for index in 0..pool.len() {
            if !matches!(pool.connection(index).state, State::Closing | State::Gone) {
                give_up(pool, index, now);
            }
        }
        let until = last_before(pool.context.schedule.until());
        let Some(pace) = &mut self.pace else { return };
        while let Some((at, _)) = pace.take_due(until.min(now)) {
            pool.tally.on_unserved(at, now);
        }
    }
}
