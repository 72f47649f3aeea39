//! One torrent's peers of one address family: seeds first, partial seeds after them, leechers last,
//! so that leechers can be drawn from without looking at the others.

use std::net::{IpAddr, SocketAddr};

use ringseed_meta::{InfoHash, PeerId};

use super::HashKey;
use super::index::Index;
use super::page::Page;
use super::recency::Links;
use super::sizes::sizes;
use crate::limits;

/// What the swarm knows about a peer. A [`Page`] keeps it in 32 bytes for IPv4, 44 for IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Peer<const N: usize> {
    /// As it is handed out: address, then port.
    pub(super) address: [u8; N],
    pub(super) seen: Tick,
    /// BEP 7 `key`: known to the peer and to us only. 0 when it gave none.
    pub(super) key: [u8; 4],
    pub(super) peer_id: PeerId,
    /// It has told that it finished, which is counted once.
    pub(super) finished: bool,
}

/// When a peer was last heard of, in units of [`limits::TICK_S`], in 15 bits that wrap after 36 hours:
/// expired peers are gone before half of that and a round are over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tick(pub(super) u16);

impl Tick {
    /// The bit above is [`Peer::finished`] where both are kept.
    pub(super) const MASK: u16 = u16::MAX >> 1;

    pub(super) fn at(now: ringseed_meta::Instant) -> Tick {
        Tick((now.as_us() / (u64::from(limits::TICK_S) * 1_000_000)) as u16 & Tick::MASK)
    }

    /// So many ticks before this.
    pub(super) fn before(self, ticks: u16) -> Tick {
        Tick(self.0.wrapping_sub(ticks) & Tick::MASK)
    }

    /// Ticks from this to `now`.
    pub(super) fn age(self, now: Tick) -> u16 {
        now.0.wrapping_sub(self.0) & Tick::MASK
    }
}

/// Has all; wants no more (BEP 21); or lacks some and wants it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Role {
    Seed,
    PartialSeed,
    Leecher,
}

/// A torrent of one address family: a line of memory, and its peers elsewhere. Small swarms are
/// searched from end to end; from [`limits::INDEX_FROM`] peers on there is an index.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Torrent<const N: usize> {
    pub(super) info_hash: InfoHash,
    /// Times a peer told that it had finished (BEP 48 "downloaded").
    pub(super) completed: u32,
    seeds: u32,
    partial_seeds: u32,
    length: u32,
    pub(super) links: Links,
    peers: Peers<N>,
}

#[derive(Debug)]
enum Peers<const N: usize> {
    Few(Page<N>),
    Many(Box<Many<N>>),
}

#[derive(Debug)]
struct Many<const N: usize> {
    /// Each but the last is full.
    pages: Vec<Page<N>>,
    /// Places, by address.
    index: Index,
}

impl<const N: usize> Torrent<N> {
    pub(super) fn new(info_hash: InfoHash) -> Self {
        let peers = Peers::Few(Page::default());
        let (seeds, partial_seeds, length) = (0, 0, 0);
        let links = Links::loose();
        Torrent { info_hash, completed: 0, seeds, partial_seeds, length, links, peers }
    }

    pub(super) fn len(&self) -> usize {
        self.length as usize
    }

    pub(super) fn seeds(&self) -> usize {
        self.seeds as usize
    }

    pub(super) fn partial_seeds(&self) -> usize {
        self.partial_seeds as usize
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        match &self.peers {
            Peers::Few(page) => page.bytes(),
            Peers::Many(many) => {
                let pages: usize = many.pages.iter().map(Page::bytes).sum();
                let list = many.pages.capacity() * size_of::<Page<N>>();
                size_of::<Many<N>>() + pages + list + many.index.bytes()
            }
        }
    }

    /// The place of the first peer that wants something; `len` when there is none.
    pub(super) fn first_leecher(&self) -> usize {
        self.seeds() + self.partial_seeds()
    }

    pub(super) fn role(&self, place: usize) -> Role {
        match place {
            _ if place < self.seeds() => Role::Seed,
            _ if place < self.first_leecher() => Role::PartialSeed,
            _ => Role::Leecher,
        }
    }

    /// The page of a place below `len`, and the row there.
    fn at(&self, place: usize) -> (&Page<N>, usize) {
        match &self.peers {
            Peers::Few(page) => (page, place),
            Peers::Many(many) => {
                (&many.pages[place / sizes().page_peers], place % sizes().page_peers)
            }
        }
    }

    /// The address of the peer at a place below `len`, packed.
    pub(super) fn address(&self, place: usize) -> &[u8; N] {
        let (page, row) = self.at(place);
        page.address(row)
    }

    pub(super) fn peer_id(&self, place: usize) -> PeerId {
        let (page, row) = self.at(place);
        page.peer_id(row)
    }

    pub(super) fn seen(&self, place: usize) -> Tick {
        let (page, row) = self.at(place);
        page.seen(row)
    }

    /// Whether that peer has told that it finished.
    pub(super) fn finished(&self, place: usize) -> bool {
        let (page, row) = self.at(place);
        page.finished(row)
    }

    pub(super) fn peer(&self, place: usize) -> Peer<N> {
        let (page, row) = self.at(place);
        page.get(row)
    }

    /// The place of the peer at this address.
    pub(super) fn find(&self, key: &HashKey, address: &[u8; N]) -> Option<usize> {
        match &self.peers {
            Peers::Few(page) => page.find(self.len(), address),
            Peers::Many(many) => {
                many.index.find(key.of_address(address), |place| self.address(place) == address)
            }
        }
    }

    /// The place of the peer with this key, which is not 0, and id, wherever it is: among the first
    /// [`limits::IDENTITY_SEARCH_MAX`].
    pub(super) fn find_identity(&self, peer: &Peer<N>) -> Option<usize> {
        let mut left = self.len().min(limits::IDENTITY_SEARCH_MAX);
        let pages = match &self.peers {
            Peers::Few(page) => std::slice::from_ref(page),
            Peers::Many(many) => many.pages.as_slice(),
        };
        for (number, page) in pages.iter().enumerate() {
            if left == 0 {
                break;
            }
            let rows = left.min(sizes().page_peers);
            if let Some(row) = page.find_identity(rows, peer.key, &peer.peer_id) {
                return Some(number * sizes().page_peers + row);
            }
            left -= rows;
        }
        None
    }

    /// Takes a peer in whose address is not in yet; gives its place.
    pub(super) fn insert(&mut self, key: &HashKey, peer: &Peer<N>, role: Role) -> usize {
        let end = self.len();
        self.make_room(key);
        self.length += 1;
        let mut place = end;
        if role != Role::Leecher {
            place = self.relocate(key, self.first_leecher(), place);
        }
        match role {
            Role::Leecher => {}
            Role::PartialSeed => self.partial_seeds += 1,
            Role::Seed => {
                place = self.relocate(key, self.seeds(), place);
                self.seeds += 1;
            }
        }
        self.set(place, peer);
        let Torrent { peers, length, .. } = self;
        match peers {
            Peers::Many(many) => {
                let Many { pages, index } = &mut **many;
                index.insert(place, hash_of(key, pages));
            }
            Peers::Few(page) if *length as usize >= sizes().index_from => {
                let pages = vec![std::mem::take(page)];
                let index = Index::of(*length as usize, hash_of(key, &pages));
                *peers = Peers::Many(Box::new(Many { pages, index }));
            }
            Peers::Few(_) => {}
        }
        place
    }

    /// Replaces what is known about the peer at `place`, whose address stays; gives its place,
    /// which is another one when its role has changed.
    pub(super) fn update(
        &mut self,
        key: &HashKey,
        place: usize,
        peer: &Peer<N>,
        role: Role,
    ) -> usize {
        if self.role(place) == role {
            self.set(place, peer);
            return place;
        }
        self.remove(key, place);
        self.insert(key, peer, role)
    }

    /// Removes the peer at `place`. Places after it may have other peers then; places before it
    /// keep theirs.
    pub(super) fn remove(&mut self, key: &HashKey, place: usize) {
        let hash = key.of_address(self.address(place));
        if let Peers::Many(many) = &mut self.peers {
            many.index.remove(hash, place);
        }
        let (role, mut hole) = (self.role(place), place);
        let (last_seed, last_of_both) = (self.seeds(), self.first_leecher());
        if role == Role::Seed {
            hole = self.relocate(key, last_seed - 1, hole);
            self.seeds -= 1;
        }
        if role != Role::Leecher {
            hole = self.relocate(key, last_of_both - 1, hole);
        }
        if role == Role::PartialSeed {
            self.partial_seeds -= 1;
        }
        self.relocate(key, self.len() - 1, hole);
        self.length -= 1;
        self.give_back(key);
    }

    fn set(&mut self, place: usize, peer: &Peer<N>) {
        match &mut self.peers {
            Peers::Few(page) => page.set(place, peer),
            Peers::Many(many) => {
                many.pages[place / sizes().page_peers].set(place % sizes().page_peers, peer);
            }
        }
    }

    /// Copies the peer at `from` over the one at `to`, whose place in the index is free. Then that of
    /// `from` is free, and given.
    fn relocate(&mut self, key: &HashKey, from: usize, to: usize) -> usize {
        if from != to {
            let peer = self.peer(from);
            if let Peers::Many(many) = &mut self.peers {
                many.index.relocate(key.of_address(&peer.address), from, to);
            }
            self.set(to, &peer);
        }
        from
    }

    /// Room for a peer behind the last one, in the index too: a seed sends another one there before it
    /// is listed itself.
    fn make_room(&mut self, key: &HashKey) {
        let length = self.len();
        match &mut self.peers {
            Peers::Few(page) => page.make_room(length),
            Peers::Many(many) => {
                let Many { pages, index } = &mut **many;
                index.make_room(length, hash_of(key, pages));
                let (number, rows) = (length / sizes().page_peers, length % sizes().page_peers);
                if number == pages.len() {
                    if pages.len() == pages.capacity() {
                        pages.reserve_exact((number / 8).max(1));
                    }
                    pages.push(Page::default());
                }
                pages[number].make_room(rows);
            }
        }
    }

    /// A swarm that was big once does not keep its memory.
    fn give_back(&mut self, key: &HashKey) {
        let length = self.len();
        match &mut self.peers {
            Peers::Few(page) => page.give_back(length),
            Peers::Many(many) => {
                let rows = length % sizes().page_peers;
                // The page behind is dropped, and this one shrinks, once a quarter of it is empty.
                many.pages.truncate(length.div_ceil(sizes().page_peers));
                let is_partly_full = rows > 0;
                if let Some(page) = many.pages.last_mut().filter(|_| is_partly_full) {
                    page.give_back(rows);
                }
                let Many { pages, index } = &mut **many;
                if pages.len() < pages.capacity() / 2 {
                    pages.shrink_to(pages.len() + pages.len() / 8);
                }
                index.give_back(length, hash_of(key, pages));
                if length < sizes().index_from / 2 {
                    let page = pages.pop().unwrap_or_default();
                    self.peers = Peers::Few(page);
                }
            }
        }
    }

    /// Has what an announce will read fetched.
    pub(super) fn prefetch(&self) {
        match &self.peers {
            Peers::Few(page) => page.prefetch(self.len()),
            Peers::Many(many) => ringseed_ring::prefetch(&**many),
        }
    }

    /// Panics when the index and the peers disagree.
    #[cfg(test)]
    pub(super) fn check(&self, key: &HashKey) {
        assert!(self.first_leecher() <= self.len());
        let Peers::Many(many) = &self.peers else {
            assert!(self.len() < sizes().index_from);
            return;
        };
        assert_eq!(many.index.len(), self.len());
        for place in 0..self.len() {
            assert_eq!(self.find(key, self.address(place)), Some(place));
        }
    }
}

/// The hash of the address at a place of these pages.
fn hash_of<'p, const N: usize>(
    key: &'p HashKey,
    pages: &'p [Page<N>],
) -> impl Fn(usize) -> u64 + 'p {
    |place| {
        let row = place % sizes().page_peers;
        key.of_address(pages[place / sizes().page_peers].address(row))
    }
}

/// The packed form of an address: 6 bytes or 18.
pub(super) fn pack<const N: usize>(ip: &[u8], port: u16) -> [u8; N] {
    let mut packed = [0; N];
    let bytes = ip.iter().copied().chain(port.to_be_bytes());
    packed.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    packed
}

/// The address in a packed form.
pub(super) fn unpack(packed: &[u8]) -> SocketAddr {
    let (ip, port) = packed.split_last_chunk().unwrap_or((&[], &[0; 2]));
    let ip = match (<[u8; 4]>::try_from(ip), <[u8; 16]>::try_from(ip)) {
        (Ok(ip), _) => IpAddr::from(ip),
        (_, Ok(ip)) => IpAddr::from(ip),
        _ => IpAddr::from([0; 4]),
    };
    SocketAddr::new(ip, u16::from_be_bytes(*port))
}
