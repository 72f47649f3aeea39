//! All torrents of one address family, by infohash, and the round in which silent peers go.

use hashbrown::HashTable;
use ringseed_meta::InfoHash;
use ringseed_wire::tracker::ScrapeStats;

use super::HashKey;
use super::recency::Recency;
use super::shelf::Shelf;
use super::torrent::{Tick, Torrent};

/// Torrents that have at least one peer with a packed address of `N` bytes.
#[derive(Debug, Default)]
pub(super) struct Family<const N: usize> {
    torrents: Shelf<Torrent<N>>,
    index: HashTable<Slot>,
    recency: Recency,
    /// Peers of all torrents.
    peers: usize,
    round: Round,
}

/// A place in `torrents`, with the hash of what stands there: when the table grows, or two hashes
/// begin alike, no torrent need be looked at.
#[derive(Clone, Copy, Debug)]
struct Slot {
    place: u32,
    hash: u32,
}

impl Slot {
    /// The table takes the place of an entry from one end of a hash and its mark from the other.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }

    fn rehash(&self) -> u64 {
        Slot::spread(self.hash)
    }
}

/// How far a round through all peers has come. It goes from the last to the first: what a
/// removal moves down was looked at before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// Torrents not looked at yet.
    pub(super) torrents: usize,
    /// Peers of the torrent at hand not looked at yet; `None`: all of the next one's.
    pub(super) peers: Option<usize>,
}

impl<const N: usize> Family<N> {
    pub(super) fn torrents(&self) -> usize {
        self.torrents.len()
    }

    pub(super) fn peers(&self) -> usize {
        self.peers
    }

    pub(super) fn find(&self, key: &HashKey, info_hash: &InfoHash) -> Option<usize> {
        let place = self.likely_place(key, info_hash)?;
        if self.torrents[place].info_hash == *info_hash {
            return Some(place);
        }
        // Two infohashes with one hash: one in four thousand times for a million torrents.
        let hash = key.of_info_hash(info_hash) as u32;
        let same = |slot: &Slot| {
            slot.hash == hash && self.torrents[slot.place as usize].info_hash == *info_hash
        };
        self.index.find(Slot::spread(hash), same).map(|slot| slot.place as usize)
    }

    /// Where the torrent stands, or another whose hash is the same. No torrent is looked at.
    pub(super) fn likely_place(&self, key: &HashKey, info_hash: &InfoHash) -> Option<usize> {
        let hash = key.of_info_hash(info_hash) as u32;
        let slot = self.index.find(Slot::spread(hash), |slot| slot.hash == hash)?;
        Some(slot.place as usize)
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        let peers: usize = self.torrents.iter().map(Torrent::bytes).sum();
        self.torrents.bytes() + self.index.allocation_size() + peers
    }

    /// Whether the torrent stands there.
    pub(super) fn is_at(&self, place: usize, info_hash: &InfoHash) -> bool {
        self.torrents.get(place).is_some_and(|torrent| torrent.info_hash == *info_hash)
    }

    /// Has the line of memory fetched that tells of the torrent at a place.
    pub(super) fn prefetch(&self, place: usize) {
        if let Some(torrent) = self.torrents.get(place) {
            ringseed_ring::prefetch(torrent);
        }
    }

    /// Has its peers fetched.
    pub(super) fn prefetch_peers(&self, place: usize) {
        if let Some(torrent) = self.torrents.get(place) {
            torrent.prefetch();
        }
    }

    /// The place of a torrent that is not in yet.
    pub(super) fn insert(&mut self, key: &HashKey, info_hash: InfoHash, now: Tick) -> usize {
        let place = self.torrents.len();
        self.torrents.push(Torrent::new(info_hash));
        self.recency.push(&mut self.torrents, place, now);
        let slot = Slot { place: place as u32, hash: key.of_info_hash(&info_hash) as u32 };
        self.index.insert_unique(slot.rehash(), slot, Slot::rehash);
        place
    }

    /// The torrent at `place` was heard of.
    pub(super) fn heard(&mut self, place: usize, now: Tick) {
        self.recency.heard(&mut self.torrents, place, now);
    }

    /// The torrent at `place` becomes the newest.
    pub(super) fn renew(&mut self, place: usize, now: Tick) {
        self.recency.remove(&mut self.torrents, place);
        self.recency.push(&mut self.torrents, place, now);
    }

    /// Has the order of silence follow from the times in it, after torrents came in any order.
    pub(super) fn put_in_order(&mut self, now: Tick) {
        self.recency.put_in_order(&mut self.torrents, now);
    }

    /// The torrent that was silent for the longest.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.recency.oldest()
    }

    pub(super) fn torrent(&self, place: usize) -> &Torrent<N> {
        &self.torrents[place]
    }

    /// Lets `change` loose on a torrent, keeps the count of all peers, and removes the torrent
    /// when its last peer has gone.
    pub(super) fn change<R>(
        &mut self,
        key: &HashKey,
        place: usize,
        change: impl FnOnce(&mut Torrent<N>) -> R,
    ) -> R {
        let torrent = &mut self.torrents[place];
        self.peers -= torrent.len();
        let result = change(torrent);
        self.peers += torrent.len();
        if torrent.len() == 0 {
            self.drop_torrent(key, place);
        }
        result
    }

    /// Removes a torrent with all its peers. The last one has its place then.
    pub(super) fn drop_torrent(&mut self, key: &HashKey, place: usize) {
        self.peers -= self.torrents[place].len();
        self.recency.remove(&mut self.torrents, place);
        self.unlist(key, place);
        let last = self.torrents.len() - 1;
        if place < last {
            self.recency.relocate(&mut self.torrents, last, place);
            let hash = key.of_info_hash(&self.torrents[last].info_hash) as u32;
            let is_last = |slot: &Slot| slot.place as usize == last;
            if let Some(slot) = self.index.find_mut(Slot::spread(hash), is_last) {
                slot.place = place as u32;
            }
        }
        self.torrents.swap_remove(place);
        if self.torrents.len() < self.index.capacity() / 4 {
            self.index.shrink_to(self.torrents.len() * 2, Slot::rehash);
        }
    }

    fn unlist(&mut self, key: &HashKey, place: usize) {
        let hash = key.of_info_hash(&self.torrents[place].info_hash) as u32;
        let is_it = |slot: &Slot| slot.place as usize == place;
        if let Ok(entry) = self.index.find_entry(Slot::spread(hash), is_it) {
            entry.remove();
        }
    }

    pub(super) fn counts_at(&self, place: usize) -> ScrapeStats {
        let torrent = &self.torrents[place];
        ScrapeStats {
            seeders: torrent.seeds() as u32,
            leechers: (torrent.len() - torrent.seeds()) as u32,
            completed: torrent.completed,
            partial_seeds: torrent.partial_seeds() as u32,
        }
    }

    pub(super) fn counts(&self, key: &HashKey, info_hash: &InfoHash) -> ScrapeStats {
        let place = self.find(key, info_hash);
        place.map_or(ScrapeStats::default(), |place| self.counts_at(place))
    }

    /// Begins a round through all peers; what was left of the one before is dropped.
    pub(super) fn begin_round(&mut self) {
        self.round = Round { torrents: self.torrents.len(), peers: None };
    }

    /// Goes on with the round: removes peers silent for more than `silent_max` ticks, looking at
    /// no more peers and torrents than `budget`, which it counts down. True when the round is over.
    pub(super) fn expire(
        &mut self,
        key: &HashKey,
        now: Tick,
        silent_max: u16,
        budget: &mut usize,
    ) -> bool {
        self.round.torrents = self.round.torrents.min(self.torrents.len());
        while self.round.torrents > 0 && *budget > 0 {
            let place = self.round.torrents - 1;
            let length = self.torrents[place].len();
            let left = self.round.peers.unwrap_or(length).min(length);
            let first = left.saturating_sub(*budget);
            *budget -= (left - first).max(1).min(*budget);
            self.change(key, place, |torrent| {
                for peer_place in (first..left).rev() {
                    if torrent.seen(peer_place).age(now) > silent_max {
                        torrent.remove(key, peer_place);
                    }
                }
            });
            self.round = match first {
                0 => Round { torrents: place, peers: None },
                _ => Round { torrents: place + 1, peers: Some(first) },
            };
        }
        self.round.torrents == 0
    }

    /// Panics when the tables disagree.
    #[cfg(test)]
    pub(super) fn check(&self, key: &HashKey) {
        assert_eq!(self.peers, self.torrents.iter().map(Torrent::len).sum::<usize>());
        assert_eq!(self.index.len(), self.torrents.len());
        self.recency.check(&self.torrents);
        for (place, torrent) in self.torrents.iter().enumerate() {
            assert!(torrent.len() > 0, "an empty torrent was kept");
            assert_eq!(self.find(key, &torrent.info_hash), Some(place));
            torrent.check(key);
        }
    }
}
