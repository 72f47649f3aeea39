//! Private mode, as who answers announces has it: users are looked up in what was published last, what
//! they move is summed here and leaves in batches.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use ringseed_meta::Instant;
use ringseed_users::UserId;
use ringseed_wire::tracker::AnnounceRequest;
use ringseed_wire::tracker_udp;

use super::accounts::Shared;
use super::ledger::Ledger;
use super::members::{Members, Stranger, split_path};
use crate::limits;
use crate::swarm::Bounds;

/// Who may announce here, and what they have moved.
pub(crate) struct Private {
    members: Cache<Arc<ArcSwap<Members>>, Arc<Members>>,
    shared: Shared,
    ledger: Ledger,
    next_batch: Instant,
    /// Path and query of a UDP announce that came in pieces.
    url: Vec<u8>,
}

impl Private {
    pub(crate) fn new(shared: Shared, key: &[u8; 16], bounds: &Bounds) -> Private {
        Private {
            members: Cache::new(shared.members.clone()),
            shared,
            ledger: Ledger::new(key, bounds.peers_max, bounds.silent_max),
            next_batch: Instant::ZERO,
            url: Vec::new(),
        }
    }

    /// Whose passkey it is.
    pub(crate) fn find(&mut self, passkey: Option<&str>) -> Result<UserId, Stranger> {
        self.members.load().find(passkey)
    }

    /// Whose passkey stands in the URL that a UDP announce tells (BEP 41).
    pub(crate) fn find_in_url(
        &mut self,
        options: tracker_udp::Options<'_>,
    ) -> Result<UserId, Stranger> {
        self.url.clear();
        for part in options.url_data() {
            self.url.extend_from_slice(part);
        }
        let path = self.url.split(|byte| *byte == b'?').next().unwrap_or_default();
        let (passkey, _) = split_path(std::str::from_utf8(path).map_err(|_| Stranger::Unknown)?);
        self.members.load().find(passkey)
    }

    /// Takes note of what a user's announce says of bytes.
    pub(crate) fn count(&mut self, now: Instant, user: UserId, announce: &AnnounceRequest) {
        self.ledger.count(now, user, announce);
    }

    /// Users that may announce.
    pub(crate) fn users(&mut self) -> usize {
        self.members.load().len()
    }

    /// Hands over what was moved, when it is time.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.ledger.sweep(now);
        if now >= self.next_batch && self.ledger.has_moved() {
            self.next_batch = now.after(limits::MOVED_EVERY);
            self.hand_over();
        }
    }

    /// When [`Private::turn`] next has something to hand over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ledger.has_moved().then_some(self.next_batch)
    }

    fn hand_over(&mut self) {
        if let Some(batch) = self.ledger.take_moved()
            && let Err(batch) = self.shared.batches.push(batch)
        {
            // Its thread waits for a disk.
            self.ledger.put_back(batch);
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.hand_over();
    }
}
