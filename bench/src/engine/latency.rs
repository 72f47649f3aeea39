//! Open loop: requests at fixed times, whatever has been answered. Each is charged from the time at
//! which it was to be made, whoever is to blame for the delay: the seeder that has choked us or has
//! much outstanding, or this program, which tells its own share as `late`.

use ringseed_meta::Instant;

use super::pool::Pool;
use super::{EngineError, Mode, Peers, Share, last_before};
use crate::clock::Stage;
use crate::leecher::{Interest, Leecher};
use crate::limits::{ARRIVALS_WAITING_MAX, OPEN_LOOP_DEPTH};
use crate::note::Event;
use crate::order::{Blocks, Order};
use crate::pace::Pace;
use crate::requests::Requests;
use crate::results::ErrorCount;
use crate::tally::record;

/// A connection whose requests come by time.
pub(super) fn leecher(peers: &Peers, share: Share, number: u32, order: Order) -> Leecher {
    let seeder = &peers.seeder;
    let blocks = Blocks::new(seeder.pieces.clone(), order, number, share.connections);
    let depth = order.blocks_apart(&seeder.pieces).min(OPEN_LOOP_DEPTH);
    let requests = Requests::open(blocks, depth as usize);
    Leecher::new(seeder.info_hash, seeder.pieces.count(), requests, Interest::Told, None)
}

/// See the module.
pub(super) struct Latency {
    rate: f64,
    share: Share,
    /// None until the load is on.
    pace: Option<Pace>,
    /// Requests that are due and not made, of each connection and of all.
    waiting_on: Vec<usize>,
    waiting: usize,
    /// The connection that the next arrival goes to, if it is open.
    next: usize,
    /// It was told that the seeder does not keep up.
    told: bool,
    /// Arrivals until then were left in the pace, since too many waited: they are not our lateness.
    held_until: Instant,
    /// The arrivals of this turn, and the connections that they went to.
    arrived: Vec<Instant>,
    touched: Vec<usize>,
}

impl Latency {
    /// This thread's share of `rate` requests a second.
    pub(super) fn new(rate: f64, share: Share) -> Latency {
        Latency {
            rate,
            share,
            pace: None,
            waiting_on: Vec::new(),
            waiting: 0,
            next: 0,
            told: false,
            held_until: Instant::ZERO,
            arrived: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// The next open connection in turn.
    fn next_open(&mut self, pool: &mut Pool) -> Option<usize> {
        let count = pool.len();
        let open = (0..count)
            .map(|step| (self.next + step) % count)
            .find(|index| pool.connection(*index).is_open())?;
        self.next = (open + 1) % count;
        Some(open)
    }

    /// Gives what is due to the connections in turn. When the next one is due.
    fn take_arrivals(&mut self, pool: &mut Pool, now: Instant) -> Option<Instant> {
        let until = last_before(pool.context.schedule.until());
        let mut all_touched = false;
        loop {
            let next_at = self.pace.as_ref()?.next_at();
            if next_at > now.min(until) || self.is_full(pool, now) {
                return (next_at <= until && next_at > now).then_some(next_at);
            }
            let index = self.next_open(pool)?;
            let (at, _) = self.pace.as_mut()?.take_due(now)?;
            pool.connection(index).leecher.arrive(at);
            self.arrived.push(at);
            // They come in turn: with the first one, all come again.
            all_touched |= self.touched.first() == Some(&index);
            if !all_touched {
                self.touched.push(index);
            }
            self.count_waiting(pool, index);
        }
    }

    /// All that came due in a turn has been sent, or waits for the target, when its last request is:
    /// until then the delay is our own.
    fn record_lateness(&mut self, pool: &mut Pool) {
        if self.arrived.is_empty() {
            return;
        }
        let now = pool.context.clock.now();
        for at in self.arrived.drain(..) {
            if at >= pool.tally.record_from && at > self.held_until {
                record(&mut pool.tally.latencies.late, now.since(at));
            }
        }
    }

    fn make_due(&mut self, pool: &mut Pool, index: usize) -> Result<(), EngineError> {
        pool.ask_due(index)?;
        self.count_waiting(pool, index);
        Ok(())
    }

    fn count_waiting(&mut self, pool: &mut Pool, index: usize) {
        let waiting = pool.connection(index).leecher.requests().waiting();
        if let Some(before) = self.waiting_on.get_mut(index) {
            self.waiting += waiting;
            self.waiting -= std::mem::replace(before, waiting);
        }
    }

    /// More would only take memory: what is due stays due, at its own time, in the pace.
    fn is_full(&mut self, pool: &Pool, now: Instant) -> bool {
        let full = self.waiting >= ARRIVALS_WAITING_MAX;
        if full {
            self.held_until = now;
        }
        if full && !self.told {
            self.told = true;
            let what = format!(
                "the target does not keep up: {ARRIVALS_WAITING_MAX} requests of a thread were due \
                 and could not be made"
            );
            pool.context.tell(Event::Error(ErrorCount { what, times: 1 }));
        }
        full
    }
}

impl Mode for Latency {
    fn waits_for_last_answers(&self) -> bool {
        true
    }

    fn begin(&mut self, pool: &mut Pool, _now: Instant) -> Result<(), EngineError> {
        let Share { place, places, .. } = self.share;
        self.pace = Some(Pace::new(pool.context.schedule.ask_from(), self.rate, place, places));
        self.waiting_on = vec![0; pool.len()];
        Ok(())
    }

    fn count(&mut self, pool: &mut Pool) {
        pool.tally.record_from = pool.context.schedule.count_from();
    }

    fn turn(
        &mut self,
        pool: &mut Pool,
        _stage: Stage,
        now: Instant,
    ) -> Result<Option<Instant>, EngineError> {
        let next_at = self.take_arrivals(pool, now);
        let touched = std::mem::take(&mut self.touched);
        for index in &touched {
            self.make_due(pool, *index)?;
        }
        self.touched = touched;
        self.touched.clear();
        self.record_lateness(pool);
        Ok(next_at)
    }

    fn after_bytes(&mut self, pool: &mut Pool, index: usize) -> Result<(), EngineError> {
        self.make_due(pool, index)
    }

    fn lost(&mut self, pool: &mut Pool, index: usize, now: Instant) {
        let given_up = pool.connection(index).leecher.give_up();
        given_up.into_iter().for_each(|since| pool.tally.on_unanswered(since, now));
        self.count_waiting(pool, index);
    }

    fn end(&mut self, pool: &mut Pool, now: Instant) {
        for index in 0..pool.len() {
            let given_up = pool.connection(index).leecher.give_up();
            given_up.into_iter().for_each(|since| pool.tally.on_unanswered(since, now));
        }
        let until = last_before(pool.context.schedule.until());
        let Some(pace) = &mut self.pace else { return };
        while let Some((at, _)) = pace.take_due(until.min(now)) {
            pool.tally.on_unanswered(at, now);
        }
    }
}
