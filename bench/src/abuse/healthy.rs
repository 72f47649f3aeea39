//! The peer that must not suffer: fetches pieces and compares them.

use std::sync::Arc;

use ringseed_meta::limits::BLOCK_BYTES;
use ringseed_meta::{BlockRef, Instant, PieceIndex};

use super::ground::{FAST, Ground};
use super::limits::{IDLE_FOR, SERVED_WITHIN};
use super::peer::{CHOKE, End, Peer, REJECT, REQUEST, of_block};
use crate::announce::crowd::Random;
use crate::verify::{Progress, Verifier};

/// Requests on their way.
const DEPTH: usize = 16;

pub(super) struct Healthy<'a> {
    ground: &'a Ground<'a>,
    peer: Option<Peer>,
    /// When it last got something.
    served: Instant,
    random: Random,
}

impl<'a> Healthy<'a> {
    /// Not connected yet.
    pub(super) fn new(ground: &'a Ground<'a>, seed: u64) -> Healthy<'a> {
        Healthy { ground, peer: None, served: Instant::ZERO, random: Random::new(seed) }
    }

    /// Connects, unless it is. One that has been idle for long may be closed on, and comes anew.
    ///
    /// # Errors
    /// The target does not take it in.
    pub(super) fn arrive(&mut self) -> Result<(), String> {
        let now = self.ground.clock.now();
        if self.peer.is_none() || now.since(self.served) > IDLE_FOR {
            self.peer = None;
            self.peer = Some(self.ground.unchoked(FAST)?);
            self.served = self.ground.clock.now();
        }
        Ok(())
    }

    /// Fetches some piece and compares it with the torrent. How many milliseconds it took.
    ///
    /// # Errors
    /// It did not come in time, or is wrong; the next fetch is over a new connection.
    pub(super) fn fetch(&mut self) -> Result<u64, String> {
        self.arrive()?;
        let piece = self.random.below(self.ground.piece_count().into()) as u32;
        let start = self.ground.clock.now();
        match self.fetch_piece(piece) {
            Ok(_) => {
                self.served = self.ground.clock.now();
                Ok(self.served.since(start).as_millis() as u64)
            }
            Err(why) => {
                self.peer = None;
                Err(format!("a healthy peer does not get piece {piece}: {why}"))
            }
        }
    }

    /// The bytes of a piece, compared with the torrent's hash where that is known.
    pub(super) fn fetch_piece(&mut self, piece: u32) -> Result<Vec<u8>, String> {
        let deadline = self.ground.after(SERVED_WITHIN);
        let peer = self.peer.as_mut().ok_or("not connected")?;
        let length = self.ground.piece_bytes(piece) as usize;
        let blocks: Vec<u32> = (0..length as u32).step_by(BLOCK_BYTES as usize).collect();
        let size = |begin: u32| BLOCK_BYTES.min(length as u32 - begin);
        let ask = |begin: u32| of_block(REQUEST, piece, begin, size(begin));
        let first: Vec<u8> = blocks.iter().take(DEPTH).flat_map(|begin| ask(*begin)).collect();
        peer.say(&first);
        let mut later = blocks.iter().skip(DEPTH);
        let mut bytes = vec![0; length];
        let mut missing = blocks.len();
        while missing > 0 {
            let frame = peer.next(deadline).map_err(|end| match end {
                End::Silence => format!("not all of it came in {} s", SERVED_WITHIN.as_secs()),
                end => format!("the connection was {}", end.words()),
            })?;
            if let Some((index, begin, data)) = frame.block() {
                let place = bytes.get_mut(begin as usize..).and_then(|at| at.get_mut(..data.len()));
                let place = place.filter(|_| index == piece && data.len() == size(begin) as usize);
                place.ok_or("a block came that was not asked for")?.copy_from_slice(data);
                missing -= 1;
                if let Some(begin) = later.next() {
                    peer.say(&ask(*begin));
                }
            } else if frame.kind == REJECT || frame.kind == CHOKE {
                return Err("a request was rejected or choked away".into());
            }
        }
        self.verify(piece, &bytes)?;
        Ok(bytes)
    }

    fn verify(&self, piece: u32, bytes: &[u8]) -> Result<(), String> {
        let Some(metainfo) = &self.ground.seeder.metainfo else { return Ok(()) };
        let mut verifier = Verifier::new(Arc::clone(metainfo));
        let block = BlockRef { piece: PieceIndex(piece), begin: 0, length: bytes.len() as u32 };
        match verifier.take(block, 0, bytes) {
            Ok(Progress::Verified(_)) => Ok(()),
            Ok(_) => Err("it has another length than the torrent says".into()),
            Err(fault) => Err(fault.to_string()),
        }
    }
}
