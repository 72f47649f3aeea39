//! Upload slots, first form: who is unchoked. With `Unlimited` everybody is, at once; with N slots
//! a torrent's workers share them by their interested peers and rotate every ten seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ringseed_meta::{Instant, TorrentId};
use ringseed_ring::Kernel;
use ringseed_sched::choke::{self, Slots, Snapshot};

use super::Worker;
use super::connection::{Connection, Phase};

/// How many interested peers each torrent has at each worker: a row a torrent, a cell a worker,
/// each cell written by its worker only. Empty when slots are unlimited.
#[derive(Clone, Default)]
pub struct Interest {
    workers: usize,
    cells: Arc<[AtomicU32]>,
}

impl Interest {
    pub fn new(torrents: usize, workers: usize) -> Interest {
        Interest { workers, cells: (0..torrents * workers).map(|_| AtomicU32::new(0)).collect() }
    }

    fn row(&self, torrent: TorrentId) -> &[AtomicU32] {
        let start = torrent.0 as usize * self.workers;
        self.cells.get(start..start + self.workers).unwrap_or_default()
    }

    fn add(&self, torrent: TorrentId, worker: usize, more: i32) {
        if let Some(cell) = self.row(torrent).get(worker) {
            let now = cell.load(Ordering::Relaxed).saturating_add_signed(more);
            cell.store(now, Ordering::Relaxed);
        }
    }
}

impl<K: Kernel> Worker<K> {
    /// The connection's interest changed, or it is gone and has none.
    pub(super) fn note_interest(
        &mut self,
        torrent: TorrentId,
        connection: &mut Connection,
        interested: bool,
    ) {
        if std::mem::replace(&mut connection.counted_interest, interested) != interested {
            let more = if interested { 1 } else { -1 };
            self.shared.interest.add(torrent, self.options.place, more);
        }
    }

    /// A peer can be served from now on, or became interested: unchokes it if a slot is free.
    pub(super) fn offer_slot(&mut self, connection: &mut Connection, now: Instant) {
        if !connection.peer.am_choking() {
            return;
        }
        match self.options.slots {
            Slots::Unlimited => self.unchoke(connection, now),
            Slots::Limited(_) if connection.peer.peer_interested() => {
                let Some(torrent) = connection.content.as_ref().map(|content| content.torrent)
                else {
                    return;
                };
                let taken = self.served(torrent).filter(|peer| !peer.peer.am_choking()).count();
                if (taken as u32) < self.slots_of(torrent) {
                    self.unchoke(connection, now);
                }
            }
            Slots::Limited(_) => {}
        }
    }

    fn served(&self, torrent: TorrentId) -> impl Iterator<Item = &Connection> {
        self.places.iter().filter_map(|place| place.connection.as_deref()).filter(move |peer| {
            peer.phase == Phase::Serving
                && peer.content.as_ref().is_some_and(|content| content.torrent == torrent)
        })
    }

    /// This worker's share of a torrent's slots.
    fn slots_of(&self, torrent: TorrentId) -> u32 {
        let Slots::Limited(all) = self.options.slots else { return u32::MAX };
        let row: Vec<u32> = self
            .shared
            .interest
            .row(torrent)
            .iter()
            .map(|cell| cell.load(Ordering::Relaxed))
            .collect();
        choke::share(all, &row, self.options.place)
    }

    fn unchoke(&mut self, connection: &mut Connection, now: Instant) {
        connection.choke_since = now;
        if let Some(message) = connection.peer.unchoke() {
            message.write(&mut connection.control);
        }
    }

    /// BEP 6: "If a peer sends a choke, it MUST reject all requests from the peer to whom the
    /// choke was sent except it SHOULD NOT reject requests for pieces that are in the allowed
    /// fast set."
    fn choke(&mut self, connection: &mut Connection, now: Instant) {
        connection.choke_since = now;
        let Some(message) = connection.peer.choke() else { return };
        message.write(&mut connection.control);
        self.drop_choked(connection);
    }

    /// Drops what was not begun of a peer that is choked, a batch that waits here included; one that
    /// the kernel has follows when it comes back in part.
    pub(super) fn drop_choked(&mut self, connection: &mut Connection) {
        let dropped = connection.drop_requests();
        for block in dropped {
            if connection.peer.keeps_while_choked(block.piece) {
                connection.requests.push_back(block);
            } else {
                self.reject(connection, block);
            }
        }
    }

    /// The round: every ten seconds the slots of each torrent go on to those who waited longest.
    pub(super) fn choke_round(&mut self, now: Instant) {
        if self.options.slots == Slots::Unlimited {
            return;
        }
        let mut torrents: Vec<TorrentId> = self.contents.keys().copied().collect();
        torrents.sort_unstable();
        for torrent in torrents {
            let peers: Vec<Snapshot> = self
                .served(torrent)
                .map(|peer| Snapshot {
                    key: peer.id.slot,
                    interested: peer.peer.peer_interested(),
                    unchoked: !peer.peer.am_choking(),
                    since: peer.choke_since,
                })
                .collect();
            let slots = Slots::Limited(self.slots_of(torrent));
            let mut unchoked = Vec::new();
            let random = self.next_random();
            choke::round(&peers, slots, now, random, &mut unchoked);
            unchoked.sort_unstable();
            for peer in peers {
                self.apply(peer, unchoked.binary_search(&peer.key).is_ok(), now);
            }
        }
    }

    fn apply(&mut self, peer: Snapshot, unchoked: bool, now: Instant) {
        if peer.unchoked == unchoked {
            return;
        }
        let place = &mut self.places[peer.key as usize];
        let Some(mut connection) = place.connection.take() else { return };
        if unchoked {
            self.unchoke(&mut connection, now);
        } else {
            self.choke(&mut connection, now);
        }
        self.put(connection);
    }
}
