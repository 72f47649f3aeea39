//! Closed loop: each connection keeps its depth of requests outstanding.

use std::time::Duration;

use ringseed_meta::Instant;
use ringseed_meta::limits::BLOCK_BYTES;

use super::pool::Pool;
use super::{EngineError, Mode, Peers, Share};
use crate::clock::Stage;
use crate::frames::PIECE_HEADER_BYTES;
use crate::leecher::{Interest, Leecher};
use crate::limits::{
    FLOOD_READS_A_CLOCK, GATHER_BYTES_PER_S, GATHER_SHARE, GATHER_US_MAX, GATHER_US_MIN,
    WINDOW_BYTES_MIN, WINDOWS_BYTES_MAX,
};
use crate::order::{Blocks, Order};
use crate::requests::Requests;
use crate::verify::Verifier;

/// What each of its connections asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Form {
    pub(super) depth: u32,
    pub(super) order: Order,
    /// Pieces are hashed; else payloads are dropped unseen.
    pub(super) verify: bool,
}

impl Form {
    pub(super) fn leecher(self, peers: &Peers, share: Share, number: u32) -> Leecher {
        let seeder = &peers.seeder;
        let blocks = Blocks::new(seeder.pieces.clone(), self.order, number, share.connections);
        let requests = Requests::closed(blocks, self.depth as usize, u64::MAX);
        let metainfo = seeder.metainfo.clone().filter(|_| self.verify);
        let verifier = metainfo.map(|metainfo| Verifier::for_depth(metainfo, self.depth));
        let pieces = seeder.pieces.count();
        Leecher::new(seeder.info_hash, pieces, requests, Interest::Told, verifier)
    }
}

/// Sets what makes a flood cheap and the seeder pay for itself. With a window as wide as what it has
/// asked for, a connection's acknowledgements do not have to clock the seeder's segments out, on our
/// core and on our account.
pub(super) fn prepare(pool: &mut Pool, depth: u32, share: Share) {
    pool.window = window_for(depth, share.connections);
    pool.reads_a_clock = FLOOD_READS_A_CLOCK;
}

/// 0 where the system's own window is as good, or all of them together would be too much memory.
fn window_for(depth: u32, connections: u32) -> u32 {
    let asked = u64::from(depth) * (u64::from(BLOCK_BYTES) + PIECE_HEADER_BYTES as u64);
    let window = asked.min(WINDOWS_BYTES_MAX / u64::from(connections.max(1)));
    if window < WINDOW_BYTES_MIN { 0 } else { window as u32 }
}

/// See the module.
pub(super) struct Flood {
    depth: u32,
}

impl Flood {
    pub(super) fn new(depth: u32) -> Flood {
        Flood { depth }
    }
}

/// How long what has come may wait for more: a small part of the time in which the fastest seeder
/// would answer all that is outstanding, so that it never runs out of requests meanwhile; and what is
/// that much longer than it need be is little of the latency of so deep a queue.
fn patience_for(outstanding: u64) -> Duration {
    let bytes = outstanding * u64::from(BLOCK_BYTES);
    let all_us = bytes * 1_000_000 / GATHER_BYTES_PER_S;
    let us = (all_us / GATHER_SHARE).min(GATHER_US_MAX);
    if us < GATHER_US_MIN { Duration::ZERO } else { Duration::from_micros(us) }
}

impl Mode for Flood {
    fn patience(&self, pool: &Pool) -> Duration {
        patience_for(pool.open() * u64::from(self.depth))
    }

    fn begin(&mut self, pool: &mut Pool, _now: Instant) -> Result<(), EngineError> {
        (0..pool.len()).try_for_each(|index| pool.ask(index))
    }

    fn turn(
        &mut self,
        _pool: &mut Pool,
        _stage: Stage,
        _now: Instant,
    ) -> Result<Option<Instant>, EngineError> {
        Ok(None)
    }

    fn after_bytes(&mut self, pool: &mut Pool, index: usize) -> Result<(), EngineError> {
        pool.ask(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_what_is_asked_for_as_far_as_memory_goes() {
        assert_eq!(window_for(64, 100), 64 * 16_397);
        assert_eq!([window_for(4, 100), window_for(1, 1)], [0, 0]);
        assert_eq!(window_for(64, 10_000), 0);
        assert_eq!(u64::from(window_for(2_048, 100)), WINDOWS_BYTES_MAX / 100);
    }

    #[test]
    fn only_deep_queues_have_patience_and_never_much() {
        let us = |outstanding| patience_for(outstanding).as_micros() as u64;
        assert_eq!([1, 16, 64].map(us), [0, 0, 0]);
        assert_eq!(us(100 * 64), GATHER_US_MAX);
        for outstanding in 1..2_000 {
            let all_us = outstanding * 16_384 * 1_000_000 / GATHER_BYTES_PER_S;
            assert!(us(outstanding) * GATHER_SHARE <= all_us);
        }
    }
}
