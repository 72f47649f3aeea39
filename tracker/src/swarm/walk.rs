//! All that the swarms hold, told in slices while announces go on, and taken in again: what a snapshot
//! is made of. Times are told as how long ago they were, so that they outlive the clock.

use std::net::{IpAddr, SocketAddr};

use ringseed_meta::{InfoHash, Instant, PeerId};
use ringseed_wire::tracker::compact::{V4_BYTES, V6_BYTES};

use super::family::{Family, Round};
use super::torrent::{Peer, Role, Tick, pack, unpack};
use super::{HashKey, Swarms};
use crate::limits;

/// A torrent of one address family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TorrentState {
    pub(crate) is_ipv6: bool,
    pub(crate) info_hash: InfoHash,
    /// Times a peer told that it had finished.
    pub(crate) completed: u32,
    /// Ticks since it was heard of, or up to [`limits::RECENCY_TICKS`] more.
    pub(crate) silent_ticks: u16,
}

/// One of its peers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PeerState {
    pub(crate) address: SocketAddr,
    pub(crate) peer_id: PeerId,
    /// 0 when it gave none.
    pub(crate) key: [u8; 4],
    pub(crate) role: Role,
    /// Ticks since it was heard of.
    pub(crate) silent_ticks: u16,
}

/// Who is told what the swarms hold.
pub(crate) trait Visit {
    /// A torrent; those of its peers that are told now follow.
    fn torrent(&mut self, torrent: &TorrentState);
    fn peer(&mut self, peer: &PeerState);
}

/// How far a walk has come. It goes from the last to the first: what a removal moves down was told
/// before, and what is new is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    ipv6: Round,
    ipv4: Round,
}

impl Swarms {
    /// A walk through all that is held now.
    pub(crate) fn walk(&self) -> Walk {
        let of = |torrents| Round { torrents, peers: None };
        Walk { ipv6: of(self.ipv6.torrents()), ipv4: of(self.ipv4.torrents()) }
    }

    /// Goes on with a walk for one slice of [`limits::SLICE_COST`]. True when it is over.
    ///
    /// A swarm that fits into a slice is told as it is at one moment. Of a larger one, a peer that
    /// changes its place between two slices may be told twice, or not at all.
    pub(crate) fn tell(&self, now: Instant, walk: &mut Walk, visit: &mut impl Visit) -> bool {
        let (tick, mut left) = (Tick::at(now), limits::SLICE_COST);
        self.ipv6.tell(tick, &mut walk.ipv6, &mut left, visit)
            && self.ipv4.tell(tick, &mut walk.ipv4, &mut left, visit)
    }

    /// Takes peers of a torrent in that were told before, as far as they are not silent for too long
    /// and the bounds leave room. Gives how many were taken. [`Swarms::put_in_order`] is due after all.
    pub(crate) fn restore(
        &mut self,
        now: Instant,
        torrent: &TorrentState,
        peers: &[PeerState],
    ) -> usize {
        let silent_max = self.silent_ticks_max();
        let bounds = self.bounds;
        let fresh = peers.iter().filter(|peer| peer.silent_ticks <= silent_max);
        let restoring = Restoring { key: &self.key, now: Tick::at(now), torrent, bounds: &bounds };
        match torrent.is_ipv6 {
            false => restoring.take(&mut self.ipv4, fresh),
            true => restoring.take(&mut self.ipv6, fresh),
        }
    }

    /// Has those make room first that were silent for the longest, after torrents were restored.
    pub(crate) fn put_in_order(&mut self, now: Instant) {
        self.ipv4.put_in_order(Tick::at(now));
        self.ipv6.put_in_order(Tick::at(now));
    }
}

impl<const N: usize> Family<N> {
    fn tell(&self, now: Tick, round: &mut Round, left: &mut usize, visit: &mut impl Visit) -> bool {
        round.torrents = round.torrents.min(self.torrents());
        while round.torrents > 0 {
            let place = round.torrents - 1;
            let torrent = self.torrent(place);
            let untold = round.peers.unwrap_or(torrent.len()).min(torrent.len());
            let fits_a_slice = untold + limits::SLICE_TORRENT_COST <= limits::SLICE_COST;
            if *left <= limits::SLICE_TORRENT_COST
                || (fits_a_slice && untold + limits::SLICE_TORRENT_COST > *left)
            {
                return false;
            }
            *left -= limits::SLICE_TORRENT_COST;
            let first = untold.saturating_sub(*left);
            *left -= untold - first;
            visit.torrent(&TorrentState {
                is_ipv6: N == V6_BYTES,
                info_hash: torrent.info_hash,
                completed: torrent.completed,
                silent_ticks: torrent.links.moved.age(now),
            });
            for at in (first..untold).rev() {
                let Peer { address, seen, key, peer_id, .. } = torrent.peer(at);
                let (address, role) = (unpack(&address), torrent.role(at));
                visit.peer(&PeerState { address, peer_id, key, role, silent_ticks: seen.age(now) });
            }
            *round = match first {
                0 => Round { torrents: place, peers: None },
                _ => Round { torrents: place + 1, peers: Some(first) },
            };
        }
        true
    }
}

/// One torrent that is taken in again.
struct Restoring<'a> {
    key: &'a HashKey,
    now: Tick,
    torrent: &'a TorrentState,
    bounds: &'a super::Bounds,
}

impl Restoring<'_> {
    fn take<'p, const N: usize>(
        &self,
        family: &mut Family<N>,
        peers: impl Iterator<Item = &'p PeerState>,
    ) -> usize {
        const { assert!(N == V4_BYTES || N == V6_BYTES) };
        let mut peers = peers.peekable();
        if peers.peek().is_none() {
            return 0;
        }
        let (key, moved) = (self.key, self.now.before(self.torrent.silent_ticks));
        let room = self.bounds.peers_max.max(1).saturating_sub(family.peers());
        let place = match family.find(key, &self.torrent.info_hash) {
            Some(place) => place,
            None if room == 0 || family.torrents() >= self.bounds.torrents_max.max(1) => return 0,
            None => family.insert(key, self.torrent.info_hash, moved),
        };
        let most = self.bounds.torrent_peers_max.max(1);
        family.change(key, place, |torrent| {
            let had = torrent.len();
            torrent.completed = torrent.completed.max(self.torrent.completed);
            for peer in peers {
                let packed = match peer.address.ip() {
                    IpAddr::V4(ip) => pack(&ip.octets(), peer.address.port()),
                    IpAddr::V6(ip) => pack(&ip.octets(), peer.address.port()),
                };
                let (seen, role) = (self.now.before(peer.silent_ticks), peer.role);
                let listed = Peer {
                    address: packed,
                    seen,
                    key: peer.key,
                    peer_id: peer.peer_id,
                    // Who has all does not finish again.
                    finished: role == Role::Seed,
                };
                match torrent.find(key, &packed) {
                    // It was told twice: what is newer counts.
                    Some(at) if torrent.seen(at).age(self.now) > peer.silent_ticks => {
                        torrent.update(key, at, &listed, role);
                    }
                    Some(_) => {}
                    None if torrent.len() < most && torrent.len() - had < room => {
                        torrent.insert(key, &listed, role);
                    }
                    None => break,
                }
            }
            torrent.len() - had
        })
    }
}
