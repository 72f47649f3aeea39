//! All torrents of one address family, by infohash, and the round in which silent peers go.

use hashbrown::HashTable;
use ringseed_meta::InfoHash;
use ringseed_wire::tracker::ScrapeStats;

use super::HashKey;
use super::torrent::{Tick, Torrent};

/// Torrents that have at least one peer with an address of `IP_BYTES`.
#[derive(Debug, Default)]
pub(super) struct Family<const IP_BYTES: usize> {
    torrents: Vec<Torrent<IP_BYTES>>,
    /// Places in `torrents`, by infohash.
    index: HashTable<u32>,
    /// Peers of all torrents.
    peers: usize,
    round: Round,
}

/// How far a round through all peers has come. It goes from the last to the first: what a
/// removal moves down was looked at before.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// Torrents not looked at yet.
    torrents: usize,
    /// Peers of the torrent at hand not looked at yet; `None`: all of the next one's.
    peers: Option<usize>,
}

impl<const IP_BYTES: usize> Family<IP_BYTES> {
    pub(super) fn torrents(&self) -> usize {
        self.torrents.len()
    }

    pub(super) fn peers(&self) -> usize {
        self.peers
    }

    pub(super) fn find(&self, key: &HashKey, info_hash: &InfoHash) -> Option<usize> {
        let same = |place: &u32| self.torrents[*place as usize].info_hash == *info_hash;
        self.index.find(key.of_info_hash(info_hash), same).map(|place| *place as usize)
    }

    /// The place of a torrent that is not in yet.
    pub(super) fn insert(&mut self, key: &HashKey, info_hash: InfoHash) -> usize {
        let place = self.torrents.len();
        self.torrents.push(Torrent::new(info_hash));
        let torrents = &self.torrents;
        self.index.insert_unique(key.of_info_hash(&info_hash), place as u32, |place| {
            key.of_info_hash(&torrents[*place as usize].info_hash)
        });
        place
    }

    pub(super) fn torrent(&self, place: usize) -> &Torrent<IP_BYTES> {
        &self.torrents[place]
    }

    /// Lets `change` loose on a torrent, keeps the count of all peers, and removes the torrent
    /// when its last peer has gone.
    pub(super) fn change<R>(
        &mut self,
        key: &HashKey,
        place: usize,
        change: impl FnOnce(&mut Torrent<IP_BYTES>) -> R,
    ) -> R {
        let torrent = &mut self.torrents[place];
        self.peers -= torrent.len();
        let result = change(torrent);
        self.peers += torrent.len();
        if torrent.len() == 0 {
            self.remove(key, place);
        }
        result
    }

    fn remove(&mut self, key: &HashKey, place: usize) {
        let hash = key.of_info_hash(&self.torrents[place].info_hash);
        if let Ok(entry) = self.index.find_entry(hash, |found| *found as usize == place) {
            entry.remove();
        }
        let last = self.torrents.len() - 1;
        let hash_of_last = key.of_info_hash(&self.torrents[last].info_hash);
        if let Some(found) = self.index.find_mut(hash_of_last, |found| *found as usize == last) {
            *found = place as u32;
        }
        self.torrents.swap_remove(place);
        if self.torrents.len() < self.torrents.capacity() / 4 {
            self.torrents.shrink_to(self.torrents.len() * 2);
            let torrents = &self.torrents;
            self.index.shrink_to(torrents.len() * 2, |place| {
                key.of_info_hash(&torrents[*place as usize].info_hash)
            });
        }
    }

    pub(super) fn counts(&self, key: &HashKey, info_hash: &InfoHash) -> ScrapeStats {
        self.find(key, info_hash).map_or(ScrapeStats::default(), |place| {
            let torrent = &self.torrents[place];
            ScrapeStats {
                seeders: torrent.seeders() as u32,
                leechers: (torrent.len() - torrent.seeders()) as u32,
                completed: torrent.completed,
                partial_seeds: 0,
            }
        })
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
                    let silent = torrent.peer(peer_place).map(|peer| peer.seen.age(now));
                    if silent.is_some_and(|ticks| ticks > silent_max) {
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
        for (place, torrent) in self.torrents.iter().enumerate() {
            assert!(torrent.len() > 0, "an empty torrent was kept");
            assert_eq!(self.find(key, &torrent.info_hash), Some(place));
            torrent.check(key);
        }
    }
}
