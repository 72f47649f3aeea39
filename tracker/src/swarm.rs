//! Who is in each swarm, and whom to hand out. Pure: time, randomness and addresses are arguments.
//!
//! IPv4 and IPv6 are two worlds: a peer is told peers and counts of the family that it announced
//! from, since those are the ones it reaches, and a host with both announces on both (BEP 7).
//! A peer is known by (address, port) there. Its id and key, which only it knows, decide who may
//! make it leave, and tell it again when its address has changed.
//!
//! At each bound the oldest makes room, so that a flood of announces costs memory that is known.

mod announce;
mod family;
mod index;
mod page;
mod recency;
mod shelf;
mod sizes;
mod torrent;
mod walk;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use ringseed_meta::{InfoHash, Instant};
use ringseed_wire::tracker::compact::{V4_BYTES, V6_BYTES};
use ringseed_wire::tracker::{AnnounceRequest, ScrapeStats};
use ringseed_wire::tracker_http::PeerEntry;
use siphasher::sip::SipHasher13;

use crate::limits;
use crate::random::{Draw, Random};
use announce::{Desk, Told};
use family::Family;
use torrent::Tick;

pub(crate) use torrent::Role;
pub(crate) use walk::{PeerState, TorrentState, Visit, Walk};

/// How much the swarms may hold, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Torrents of each address family, one at least: a further one takes the place of that which
    /// was silent for the longest.
    pub torrents_max: usize,
    /// Peers of one torrent and family, one at least: a further one takes the place of one that was
    /// silent for long.
    pub torrent_peers_max: usize,
    /// Peers of one family in all, one at least: torrents make room, those first that were silent
    /// for the longest.
    pub peers_max: usize,
    /// A peer that was not heard of for so long is gone. At most [`limits::SILENT_MAX`].
    pub silent_max: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            torrents_max: limits::TORRENTS_MAX,
            torrent_peers_max: limits::TORRENT_PEERS_MAX,
            peers_max: limits::PEERS_MAX,
            silent_max: limits::SILENT_MAX,
        }
    }
}

/// The key of the tables, secret and random in production, so that nobody can choose addresses
/// and infohashes that fall together.
struct HashKey(SipHasher13);

impl HashKey {
    fn of_info_hash(&self, info_hash: &InfoHash) -> u64 {
        self.0.hash(&info_hash.0)
    }

    fn of_address<const N: usize>(&self, address: &[u8; N]) -> u64 {
        self.0.hash(address)
    }
}

/// Every swarm this tracker knows.
pub struct Swarms {
    bounds: Bounds,
    key: HashKey,
    random: Random,
    ipv4: Family<V4_BYTES>,
    ipv6: Family<V6_BYTES>,
    next_round: Instant,
    round: Expiry,
    /// Peers that made room for others, because a bound was reached.
    displaced: u64,
    draw: Draw,
}

/// Whether a round of expiry is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expiry {
    Resting,
    UnderWay,
}

/// Where a torrent was when it was looked for, or nowhere. What happens in between may move it: it is
/// looked for again then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint(Option<u32>);

impl Swarms {
    /// No swarm yet. `key` keeps the tables safe from chosen addresses, `random` chooses peers.
    pub fn new(bounds: Bounds, key: &[u8; 16], random: Random) -> Swarms {
        Swarms {
            bounds,
            key: HashKey(SipHasher13::new_with_key(key)),
            random,
            ipv4: Family::default(),
            ipv6: Family::default(),
            next_round: Instant::ZERO,
            round: Expiry::Resting,
            displaced: 0,
            draw: Draw::default(),
        }
    }

    /// Takes in an announce that came from `from` (what it says of its address itself is not
    /// believed: it could name a victim's), and fills `handed_out` with other peers of the swarm,
    /// chosen at random: leechers only for a seed that has moved bytes, none for one that stops.
    pub fn announce(
        &mut self,
        now: Instant,
        from: IpAddr,
        request: &AnnounceRequest,
        handed_out: &mut Vec<PeerEntry>,
    ) -> ScrapeStats {
        handed_out.clear();
        self.take(now, from, request, Hint(None), handed_out)
    }

    /// As [`Swarms::announce`], but appends the peers in the packed form of the family of `from`, and
    /// asks no table where the torrent is when it still stands where `hint` says.
    pub fn announce_packed(
        &mut self,
        now: Instant,
        from: IpAddr,
        request: &AnnounceRequest,
        hint: Hint,
        packed: &mut Vec<u8>,
    ) -> ScrapeStats {
        self.take(now, from, request, hint, packed)
    }

    fn take(
        &mut self,
        now: Instant,
        from: IpAddr,
        request: &AnnounceRequest,
        hint: Hint,
        told: &mut impl Told,
    ) -> ScrapeStats {
        let Swarms { bounds, key, random, displaced, draw, .. } = self;
        let mut desk = Desk { bounds, key, random, displaced, draw, now: Tick::at(now) };
        match from.to_canonical() {
            IpAddr::V4(ip) => desk.take(&mut self.ipv4, request, &ip.octets(), hint, told),
            IpAddr::V6(ip) => desk.take(&mut self.ipv6, request, &ip.octets(), hint, told),
        }
    }

    /// Where the torrent of an announce or scrape that is to come stands. Of many that came
    /// together, each is looked up first, then each is prefetched, then each is taken in: the lines of
    /// memory that they miss are fetched side by side.
    pub fn look_up(&self, from: IpAddr, info_hash: &InfoHash) -> Hint {
        let place = match from.to_canonical() {
            IpAddr::V4(_) => self.ipv4.likely_place(&self.key, info_hash),
            IpAddr::V6(_) => self.ipv6.likely_place(&self.key, info_hash),
        };
        Hint(place.map(|place| place as u32))
    }

    /// Has the torrent fetched into the caches.
    pub fn prefetch(&self, from: IpAddr, Hint(place): Hint) {
        let Some(place) = place else { return };
        match from.to_canonical() {
            IpAddr::V4(_) => self.ipv4.prefetch(place as usize),
            IpAddr::V6(_) => self.ipv6.prefetch(place as usize),
        }
    }

    /// Has its peers fetched, once it was.
    pub fn prefetch_peers(&self, from: IpAddr, Hint(place): Hint) {
        let Some(place) = place else { return };
        match from.to_canonical() {
            IpAddr::V4(_) => self.ipv4.prefetch_peers(place as usize),
            IpAddr::V6(_) => self.ipv6.prefetch_peers(place as usize),
        }
    }

    /// How many peers of the asker's address family are in a swarm (BEP 48); zeros for one that
    /// nobody is in.
    pub fn scrape(&self, asker: IpAddr, info_hash: &InfoHash) -> ScrapeStats {
        match asker.to_canonical() {
            IpAddr::V4(_) => self.ipv4.counts(&self.key, info_hash),
            IpAddr::V6(_) => self.ipv6.counts(&self.key, info_hash),
        }
    }

    /// Removes peers that were silent for too long, a bounded number of them at a time.
    /// Call it again at [`Swarms::deadline`].
    pub fn expire(&mut self, now: Instant) {
        if now < self.deadline() {
            return;
        }
        if self.round == Expiry::Resting {
            self.ipv4.begin_round();
            self.ipv6.begin_round();
            self.round = Expiry::UnderWay;
            self.next_round = now.after(limits::EXPIRY_ROUND);
        }
        let silent_max = self.silent_ticks_max();
        let (tick, mut left) = (Tick::at(now), limits::EXPIRY_PEERS_PER_TURN);
        let over = self.ipv4.expire(&self.key, tick, silent_max, &mut left)
            && self.ipv6.expire(&self.key, tick, silent_max, &mut left);
        if over {
            self.round = Expiry::Resting;
        }
    }

    fn silent_ticks_max(&self) -> u16 {
        let silent = self.bounds.silent_max.min(limits::SILENT_MAX).as_secs();
        (silent / u64::from(limits::TICK_S)) as u16
    }

    /// When [`Swarms::expire`] next has something to do.
    pub fn deadline(&self) -> Instant {
        match self.round {
            Expiry::Resting => self.next_round,
            Expiry::UnderWay => Instant::ZERO,
        }
    }

    /// Torrents that have peers; one with peers of both families counts twice.
    pub fn torrents(&self) -> usize {
        self.ipv4.torrents() + self.ipv6.torrents()
    }

    /// Peers of all torrents.
    pub fn peers(&self) -> usize {
        self.ipv4.peers() + self.ipv6.peers()
    }

    /// Bytes that were asked of the allocator. Looks at every torrent: not for each turn.
    pub fn bytes(&self) -> usize {
        self.ipv4.bytes() + self.ipv6.bytes()
    }

    /// Peers that made room for others because a bound was reached.
    pub fn displaced(&self) -> u64 {
        self.displaced
    }

    /// Panics when the tables disagree.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.ipv4.check(&self.key);
        self.ipv6.check(&self.key);
    }

    /// The IPv4 peers of a swarm.
    #[cfg(test)]
    fn listed(&self, info_hash: &InfoHash) -> Vec<std::net::SocketAddr> {
        let torrent = self.ipv4.find(&self.key, info_hash).map(|at| self.ipv4.torrent(at));
        let places = torrent
            .into_iter()
            .flat_map(|torrent| (0..torrent.len()).map(|at| torrent.address(at)));
        places.map(|packed| torrent::unpack(packed)).collect()
    }
}
