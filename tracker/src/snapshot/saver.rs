//! The side of a worker: what it takes in at the start, and the slices it tells.

use crossbeam::channel::{Sender, TrySendError};
use ringseed_meta::Instant;

use super::format::Block;
use super::{Content, Feed, Loaded, Piece, SnapshotError, SnapshotFile, restore};
use crate::limits;
use crate::swarm::{Swarms, Walk};

/// The generation of the snapshot at a stop, after all others.
const LAST: u64 = u64::MAX;

/// Tells the swarms of one worker, on a timer and at a stop.
pub(crate) struct Saver {
    pieces: Sender<Piece>,
    file: SnapshotFile,
    generation: u64,
    /// The next thing to do is due then.
    due: Instant,
    walk: Option<Walk>,
    /// What the queue had no room for.
    waiting: Option<Piece>,
}

impl Saver {
    /// Takes in what the snapshot at the start holds. `make` gives swarms without a peer.
    ///
    /// # Errors
    /// The disk does not answer.
    pub(crate) fn load(
        feed: Feed,
        now: Instant,
        swarms: &mut Swarms,
        make: impl Fn() -> Swarms,
    ) -> Result<Saver, SnapshotError> {
        loop {
            match feed.loaded.recv_timeout(limits::SNAPSHOT_READ_TIMEOUT) {
                Ok(Loaded::Block(block, ticks)) => _ = restore(swarms, now, &block, ticks),
                Ok(Loaded::End) => break,
                Ok(Loaded::Refused) => {
                    *swarms = make();
                    break;
                }
                Ok(Loaded::Unread(cause)) => {
                    return Err(SnapshotError::Read { path: feed.file.path, cause });
                }
                Err(_) => return Err(SnapshotError::Hangs(feed.file.path)),
            }
        }
        swarms.put_in_order(now);
        let due = now.after(feed.file.every);
        let Feed { pieces, file, .. } = feed;
        Ok(Saver { pieces, file, generation: 0, due, walk: None, waiting: None })
    }

    /// When [`Saver::turn`] next has something to do.
    pub(crate) fn deadline(&self) -> Instant {
        self.due
    }

    /// Tells a slice when one is due.
    pub(crate) fn turn(&mut self, swarms: &Swarms, now: Instant) {
        if now < self.due {
            return;
        }
        if self.waiting.is_none() && self.walk.is_none() {
            self.generation += 1;
            self.walk = Some(swarms.walk());
        }
        if let Some(piece) = self.waiting.take().or_else(|| self.slice(swarms, now)) {
            match self.pieces.try_send(piece) {
                Ok(()) => {}
                Err(TrySendError::Full(piece)) => self.waiting = Some(piece),
                // Its thread has ended, which has been told.
                Err(TrySendError::Disconnected(_)) => self.walk = None,
            }
        }
        let is_under_way = self.walk.is_some() || self.waiting.is_some();
        self.due = now.after(if is_under_way { limits::SLICE_PACE } else { self.file.every });
    }

    /// The next piece of the walk that is under way.
    fn slice(&mut self, swarms: &Swarms, now: Instant) -> Option<Piece> {
        let walk = self.walk.as_mut()?;
        let mut block = Block::default();
        let over = swarms.tell(now, walk, &mut block);
        let block = block.into_bytes();
        let generation = self.generation;
        let content = match block.is_empty() {
            true if over => {
                self.walk = None;
                Content::End
            }
            _ => Content::Block(block),
        };
        Some(Piece { generation, content })
    }

    /// Tells all, waiting for the disk: the last thing that a worker does.
    pub(crate) fn finish(mut self, swarms: &Swarms, now: Instant) {
        self.generation = LAST;
        self.walk = Some(swarms.walk());
        while let Some(piece) = self.slice(swarms, now) {
            // A disk that does not answer keeps nobody from stopping: the snapshot before stays.
            if self.pieces.send_timeout(piece, limits::SNAPSHOT_STOP).is_err() {
                return;
            }
        }
    }
}
