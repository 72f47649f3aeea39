//! Connections that say hello and nothing more.

use std::time::Duration;

use ringseed_meta::Instant;

use super::pool::Pool;
use super::{EngineError, Mode, Peers, Share};
use crate::clock::Stage;
use crate::frames;
use crate::leecher::{Interest, Leecher, Milestones};
use crate::limits::KEEP_ALIVE_S;
use crate::order::{Blocks, Order};
use crate::requests::Requests;

/// A connection without requests.
pub(super) fn leecher(peers: &Peers, share: Share, number: u32) -> Leecher {
    let pieces = &peers.seeder.pieces;
    let blocks = Blocks::new(pieces.clone(), Order::Sequential, number, share.connections);
    let none = Requests::closed(blocks, 0, 0);
    Leecher::new(peers.seeder.info_hash, pieces.count(), none, Interest::Silent, None)
}

/// See the module.
pub(super) struct Idle {
    /// When all say that they are alive.
    keep_alive_at: Option<Instant>,
}

impl Idle {
    pub(super) fn new() -> Idle {
        Idle { keep_alive_at: None }
    }
}

impl Mode for Idle {
    fn is_ready(&self, milestones: Milestones) -> bool {
        milestones.handshake.is_some()
    }

    fn turn(
        &mut self,
        pool: &mut Pool,
        _stage: Stage,
        now: Instant,
    ) -> Result<Option<Instant>, EngineError> {
        let at = *self.keep_alive_at.get_or_insert(now.after(Duration::from_secs(KEEP_ALIVE_S)));
        if now >= at {
            for index in 0..pool.len() {
                let connection = pool.connection(index);
                let has_greeted = connection.recorded.handshake.is_some();
                if connection.is_open() && has_greeted && connection.unsent.is_empty() {
                    pool.say(index, &frames::KEEP_ALIVE)?;
                }
            }
            self.keep_alive_at = Some(now.after(Duration::from_secs(KEEP_ALIVE_S)));
        }
        Ok(self.keep_alive_at)
    }

    fn after_bytes(&mut self, _pool: &mut Pool, _index: usize) -> Result<(), EngineError> {
        Ok(())
    }
}
