//! Closed loop: each connection keeps its depth of requests outstanding.

use ringseed_meta::Instant;

use super::pool::Pool;
use super::{EngineError, Mode, Peers, Share};
use crate::clock::Stage;
use crate::leecher::{Interest, Leecher};
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
        let verifier = seeder.metainfo.clone().filter(|_| self.verify).map(Verifier::new);
        let pieces = seeder.pieces.count();
        Leecher::new(seeder.info_hash, pieces, requests, Interest::Told, verifier)
    }
}

/// See the module.
pub(super) struct Flood;

impl Mode for Flood {
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
