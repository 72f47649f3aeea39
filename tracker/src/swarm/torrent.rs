//! One torrent's peers of one address family: seeds first, leechers after them, so that either
//! can be drawn from without looking at the other.

use hashbrown::HashTable;
use ringseed_meta::{InfoHash, PeerId};

use super::HashKey;
use crate::limits;

/// What the swarm knows about a peer. 32 bytes for IPv4, 44 for IPv6; there may be millions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Peer<const IP_BYTES: usize> {
    pub(super) ip: [u8; IP_BYTES],
    pub(super) port: u16,
    pub(super) seen: Tick,
    /// BEP 7 `key`: known to the peer and to us only. 0 when it gave none.
    pub(super) key: [u8; 4],
    pub(super) peer_id: PeerId,
}

/// When a peer was last heard of, in units of [`limits::TICK_S`], wrapping: expired peers are
/// gone long before half a turn of it (36 hours).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tick(pub(super) u16);

impl Tick {
    pub(super) fn at(now: ringseed_meta::Instant) -> Tick {
        Tick((now.as_us() / (u64::from(limits::TICK_S) * 1_000_000)) as u16)
    }

    /// Ticks from this to `now`.
    pub(super) fn age(self, now: Tick) -> u16 {
        now.0.wrapping_sub(self.0)
    }
}

/// Seed or leecher: has all, or lacks some.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Seed,
    Leecher,
}

impl<const IP_BYTES: usize> Peer<IP_BYTES> {
    fn stands_at(&self, ip: &[u8; IP_BYTES], port: u16) -> bool {
        self.port == port && self.ip == *ip
    }

    fn hash(&self, key: &HashKey) -> u64 {
        key.of_endpoint(&self.ip, self.port)
    }
}

/// A torrent of one address family. Small swarms are searched from end to end; from
/// [`limits::INDEX_FROM`] peers on there is an index.
#[derive(Debug)]
pub(super) struct Torrent<const IP_BYTES: usize> {
    pub(super) info_hash: InfoHash,
    /// Times a peer told that it had finished (BEP 48 "downloaded").
    pub(super) completed: u32,
    seeders: u32,
    peers: Vec<Peer<IP_BYTES>>,
    /// Places in `peers`, by address.
    index: Option<Box<HashTable<u32>>>,
}

impl<const IP_BYTES: usize> Torrent<IP_BYTES> {
    pub(super) fn new(info_hash: InfoHash) -> Self {
        Torrent { info_hash, completed: 0, seeders: 0, peers: Vec::new(), index: None }
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn seeders(&self) -> usize {
        self.seeders as usize
    }

    pub(super) fn peer(&self, place: usize) -> Option<&Peer<IP_BYTES>> {
        self.peers.get(place)
    }

    pub(super) fn role(&self, place: usize) -> Role {
        if place < self.seeders() { Role::Seed } else { Role::Leecher }
    }

    /// The place of the peer at this address.
    pub(super) fn find(&self, key: &HashKey, ip: &[u8; IP_BYTES], port: u16) -> Option<usize> {
        match &self.index {
            None => self.peers.iter().position(|peer| peer.stands_at(ip, port)),
            Some(index) => index
                .find(key.of_endpoint(ip, port), |place| {
                    self.peers[*place as usize].stands_at(ip, port)
                })
                .map(|place| *place as usize),
        }
    }

    /// Takes a peer in whose address is not in yet; gives its place.
    pub(super) fn insert(&mut self, key: &HashKey, peer: Peer<IP_BYTES>, role: Role) -> usize {
        if self.peers.len() == self.peers.capacity() {
            self.peers.reserve_exact((self.peers.len() / 4).max(1));
        }
        let end = self.peers.len();
        self.peers.push(peer);
        let place = match role {
            Role::Leecher => end,
            Role::Seed => {
                let first_leecher = self.seeders();
                self.seeders += 1;
                self.relocate(key, first_leecher, end);
                self.peers[first_leecher] = peer;
                first_leecher
            }
        };
        match &mut self.index {
            Some(index) => {
                let peers = &self.peers;
                index.insert_unique(peer.hash(key), place as u32, |place| {
                    peers[*place as usize].hash(key)
                });
            }
            None if self.peers.len() >= limits::INDEX_FROM => self.build_index(key),
            None => {}
        }
        place
    }

    /// Replaces what is known about the peer at `place`, whose address stays; gives its place,
    /// which is another one when its role has changed.
    pub(super) fn update(
        &mut self,
        key: &HashKey,
        place: usize,
        peer: Peer<IP_BYTES>,
        role: Role,
    ) -> usize {
        if self.role(place) == role {
            self.peers[place] = peer;
            return place;
        }
        self.remove(key, place);
        self.insert(key, peer, role)
    }

    /// Removes the peer at `place`. Places after it may have other peers then; places before it keep theirs.
    pub(super) fn remove(&mut self, key: &HashKey, place: usize) {
        if let Some(index) = &mut self.index {
            let hash = self.peers[place].hash(key);
            if let Ok(entry) = index.find_entry(hash, |found| *found as usize == place) {
                entry.remove();
            }
        }
        let mut hole = place;
        if place < self.seeders() {
            self.seeders -= 1;
            self.relocate(key, self.seeders(), hole);
            hole = self.seeders();
        }
        self.relocate(key, self.peers.len() - 1, hole);
        self.peers.pop();
        self.give_back_memory(key);
    }

    /// Copies the peer at `from` over the one at `to`, whose place in the index is free.
    fn relocate(&mut self, key: &HashKey, from: usize, to: usize) {
        if from == to {
            return;
        }
        let peer = self.peers[from];
        if let Some(index) = &mut self.index
            && let Some(place) = index.find_mut(peer.hash(key), |found| *found as usize == from)
        {
            *place = to as u32;
        }
        self.peers[to] = peer;
    }

    fn build_index(&mut self, key: &HashKey) {
        let peers = &self.peers;
        let hash = |place: &u32| peers[*place as usize].hash(key);
        let mut index = HashTable::with_capacity(peers.len());
        for place in 0..peers.len() as u32 {
            index.insert_unique(hash(&place), place, hash);
        }
        self.index = Some(Box::new(index));
    }

    /// A swarm that was big once does not keep its memory.
    fn give_back_memory(&mut self, key: &HashKey) {
        let length = self.peers.len();
        if length < self.peers.capacity() / 2 {
            self.peers.shrink_to(length + length / 4);
            let peers = &self.peers;
            if let Some(index) = &mut self.index {
                index.shrink_to(peers.len(), |place| peers[*place as usize].hash(key));
            }
        }
        if length < limits::INDEX_FROM / 2 {
            self.index = None;
        }
    }

    /// Panics when the index and the peers disagree.
    #[cfg(test)]
    pub(super) fn check(&self, key: &HashKey) {
        assert!(self.seeders() <= self.peers.len());
        let Some(index) = &self.index else {
            assert!(self.peers.len() < limits::INDEX_FROM);
            return;
        };
        assert_eq!(index.len(), self.peers.len());
        for (place, peer) in self.peers.iter().enumerate() {
            assert_eq!(self.find(key, &peer.ip, peer.port), Some(place));
        }
    }
}
