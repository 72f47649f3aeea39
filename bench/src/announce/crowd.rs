//! Who announces: for each torrent as many peers as there are sources, or so many in all, spread over
//! the torrents by Zipf's law. Each announces `started` first, then without an event, and now and then
//! it leaves by `stopped` and begins again. Pure; the same numbers give the same load again.

use ringseed_meta::{InfoHash, PeerId};
use ringseed_wire::tracker::{AnnounceEvent, AnnounceRequest};

use super::limits::{NUMWANT, SEEDS_ONE_IN, STOPS_ONE_IN};
use crate::order::mix;
use crate::zipf::Zipf;

/// What a request is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    Announce(AnnounceEvent),
    Scrape,
}

/// One of a source's peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// The only one in its torrent.
    Only,
    /// The one with this number, which others of the same source may share a torrent with.
    Numbered(u32),
}

/// A request of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Number of the torrent.
    pub torrent: u32,
    /// Which of its source's peers asks.
    pub peer: Peer,
    pub topic: Topic,
}

impl Ask {
    /// Peers that an answer may hold at most.
    pub fn numwant(&self) -> u32 {
        match self.topic {
            Topic::Announce(AnnounceEvent::Stopped) => 0,
            _ => NUMWANT,
        }
    }

    /// The announce as source number `source` of all threads makes it.
    pub fn announce(&self, source: u32) -> AnnounceRequest {
        let event = match self.topic {
            Topic::Announce(event) => event,
            Topic::Scrape => AnnounceEvent::None,
        };
        let (number, port) = match self.peer {
            Peer::Only => (self.torrent, port(source)),
            Peer::Numbered(number) => (number, port(number)),
        };
        let who = mix(u64::from(source) << 32 | u64::from(number));
        let is_seed = who.is_multiple_of(SEEDS_ONE_IN);
        AnnounceRequest {
            left: if is_seed { 0 } else { 1 << 20 | who >> 32 },
            event,
            key: Some((who >> 16) as u32),
            numwant: Some(self.numwant()),
            ..AnnounceRequest::new(info_hash(self.torrent), peer_id(source, number), port)
        }
    }
}

/// How many peers there are of what.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Size {
    /// At least one.
    pub torrents: u32,
    /// Sources of this thread, and the number of the first among those of all threads.
    pub sources: u32,
    pub first_source: u32,
    /// Peers of each source, spread over the torrents. 0: one in each torrent.
    pub peers_a_source: u32,
}

/// The peers of one thread.
#[derive(Clone, Debug)]
pub struct Crowd {
    size: Size,
    zipf: Zipf,
    /// Of 2^32 requests, how many are scrapes.
    scrapes: u64,
    /// A bit for each peer, by number and source: it has announced `started`.
    started: Vec<u64>,
    /// Of each source, the first peer that has not been asked to fill the tracker. Empty: none is.
    fill: Vec<u32>,
    /// Peers that still have to.
    to_fill: u64,
    random: Random,
}

impl Crowd {
    /// Of the requests the share `scrapes` (0 to 1) are scrapes. `seed` differs between threads.
    pub fn new(size: Size, scrapes: f64, seed: u64) -> Crowd {
        let size = Size { torrents: size.torrents.max(1), ..size };
        let mut crowd = Crowd {
            size,
            zipf: Zipf::new(size.torrents),
            scrapes: (scrapes.clamp(0.0, 1.0) * (1u64 << 32) as f64) as u64,
            started: Vec::new(),
            fill: Vec::new(),
            to_fill: 0,
            random: Random::new(seed),
        };
        let peers = u64::from(crowd.peers_a_source()) * u64::from(size.sources);
        crowd.started = vec![0; peers.div_ceil(64) as usize];
        crowd
    }

    /// From now on each peer announces once, before any asks again.
    pub fn fill(&mut self) {
        self.fill = vec![0; self.size.sources as usize];
        self.to_fill = u64::from(self.peers_a_source()) * u64::from(self.size.sources);
    }

    /// Peers that have not asked since [`Crowd::fill`].
    pub fn to_fill(&self) -> u64 {
        self.to_fill
    }

    fn peers_a_source(&self) -> u32 {
        match self.size.peers_a_source {
            0 => self.size.torrents,
            peers => peers,
        }
    }

    /// What the source with this number within the thread asks next.
    pub fn next(&mut self, source: u32) -> Ask {
        let peers = self.peers_a_source();
        let fills = self.fill.get_mut(source as usize);
        let number = match fills.filter(|next| **next < peers) {
            Some(next) => {
                *next += 1;
                self.to_fill -= 1;
                *next - 1
            }
            None => self.random.below(u64::from(self.peers_a_source())) as u32,
        };
        let (torrent, peer) = match self.size.peers_a_source {
            0 => (number, Peer::Only),
            _ => (self.torrent_of(source, number), Peer::Numbered(number)),
        };
        let scrape = Ask { torrent, peer, topic: Topic::Scrape };
        if self.to_fill == 0 && self.random.below(1 << 32) < self.scrapes {
            return scrape;
        }
        let place = u64::from(number) * u64::from(self.size.sources) + u64::from(source);
        let stops = self.random.below(STOPS_ONE_IN) == 0;
        let Some(word) = self.started.get_mut((place / 64) as usize) else { return scrape };
        let bit = 1 << (place % 64);
        let event = match (*word & bit != 0, stops) {
            (false, _) => AnnounceEvent::Started,
            (true, true) => AnnounceEvent::Stopped,
            (true, false) => AnnounceEvent::None,
        };
        match event {
            AnnounceEvent::Stopped => *word &= !bit,
            _ => *word |= bit,
        }
        Ask { torrent, peer, topic: Topic::Announce(event) }
    }

    /// Each time the same.
    fn torrent_of(&self, source: u32, number: u32) -> u32 {
        let source = self.size.first_source + source;
        let mut random = Random::new(u64::from(source) << 32 | u64::from(number));
        self.zipf.draw(|| random.bits())
    }
}

/// The infohash of a torrent by its number: looks random, as infohashes do.
pub fn info_hash(torrent: u32) -> InfoHash {
    let mut bytes = [0; 20];
    for (chunk, at) in bytes.chunks_mut(8).zip(0u64..) {
        let word = mix(u64::from(torrent) << 2 | at).to_be_bytes();
        chunk.iter_mut().zip(word).for_each(|(to, from)| *to = from);
    }
    InfoHash(bytes)
}

/// In the form of BEP 20; differs between any two peers.
fn peer_id(source: u32, torrent: u32) -> PeerId {
    let mut id = *b"-RW0001-000000000000";
    let number = u64::from(source & 0xffff) << 32 | u64::from(torrent);
    for (digit, shift) in id.iter_mut().rev().zip((0..48).step_by(4)) {
        *digit = b"0123456789abcdef"[(number >> shift) as usize & 0xf];
    }
    PeerId(id)
}

/// Differs between the peers of a torrent, which may all come from one address.
fn port(source: u32) -> u16 {
    const FIRST: u32 = 1024;
    (FIRST + source % (u32::from(u16::MAX) + 1 - FIRST)) as u16
}

/// Random numbers that are good enough to spread a load: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(mix(seed.wrapping_add(1)))
    }

    /// A number from 0 up to and without `bound` (0 for a bound of 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn size(torrents: u32, sources: u32, peers_a_source: u32) -> Size {
        Size { torrents, sources, first_source: 0, peers_a_source }
    }

    /// Peers by torrent, port and source, and how often each asked.
    type Asked = BTreeMap<(u32, u16, u32), u32>;

    fn asked(crowd: &mut Crowd, turns: u32, sources: u32) -> Asked {
        let mut asked = Asked::new();
        for turn in 0..turns {
            let (source, ask) = (turn % sources, crowd.next(turn % sources));
            *asked.entry((ask.torrent, ask.announce(source).port, source)).or_insert(0) += 1;
        }
        asked
    }

    #[test]
    fn a_fill_takes_every_peer_once_and_later_ones_are_the_same_peers() {
        for peers in [0, 40] {
            let mut crowd = Crowd::new(size(25, 4, peers), 0.5, 1);
            let all = 4 * if peers == 0 { 25 } else { peers };
            crowd.fill();
            assert_eq!(crowd.to_fill(), u64::from(all));
            let first = asked(&mut crowd, all, 4);
            assert_eq!((first.len(), crowd.to_fill()), (all as usize, 0));
            assert!(first.values().all(|times| *times == 1));
            let later = asked(&mut crowd, 20_000, 4);
            assert_eq!(later.keys().collect::<Vec<_>>(), first.keys().collect::<Vec<_>>());
        }
    }

    #[test]
    fn peers_in_all_are_spread_by_the_law() {
        let mut crowd = Crowd::new(size(1000, 32, 1000), 0.0, 1);
        crowd.fill();
        let mut of_torrent = BTreeMap::new();
        for ((torrent, ..), times) in asked(&mut crowd, 32_000, 32) {
            *of_torrent.entry(torrent).or_insert(0) += times;
        }
        let all: f64 = (1..=1000).map(|rank| 1.0 / f64::from(rank)).sum();
        for torrent in [0, 1, 9] {
            let right = 32_000.0 / f64::from(torrent + 1) / all;
            let off = (f64::from(of_torrent[&torrent]) - right).abs();
            assert!(off < 5.0 * right.sqrt(), "torrent {torrent}: {}", of_torrent[&torrent]);
        }
    }

    #[test]
    fn a_peer_starts_goes_on_stops_and_starts_again() {
        let mut crowd = Crowd::new(size(5, 3, 0), 0.25, 1);
        let mut last = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for turn in 0..20_000 {
            let source = turn % 3;
            let ask = crowd.next(source);
            let Topic::Announce(event) = ask.topic else {
                *counts.entry("scrape").or_insert(0) += 1;
                continue;
            };
            use AnnounceEvent::*;
            let before = last.insert((source, ask.torrent), event).unwrap_or(Stopped);
            assert_eq!(event == Started, before == Stopped, "{before:?} then {event:?}");
            *counts
                .entry(match event {
                    Started => "started",
                    Stopped => "stopped",
                    _ => "none",
                })
                .or_insert(0) += 1;
        }
        assert_eq!(last.len(), 15);
        assert!((4_700..5_300).contains(&counts["scrape"]), "{counts:?}");
        let stops = counts["stopped"];
        assert!((700..1_100).contains(&stops), "{counts:?}");
        assert!((stops..=stops + 15).contains(&counts["started"]), "{counts:?}");
    }

    #[test]
    fn no_two_peers_share_an_id_and_none_of_a_torrent_a_port() {
        let (mut ids, mut hashes) = (BTreeSet::new(), BTreeSet::new());
        for torrent in 0..50 {
            hashes.insert(info_hash(torrent));
            let mut ports = BTreeSet::new();
            for source in 0..600 {
                let ask = Ask {
                    torrent,
                    peer: Peer::Only,
                    topic: Topic::Announce(AnnounceEvent::Started),
                };
                let announce = ask.announce(source);
                assert!(ids.insert(announce.peer_id.0) && ports.insert(announce.port));
                assert!(announce.port >= 1024 && announce.info_hash == info_hash(torrent));
            }
        }
        assert_eq!(hashes.len(), 50);
    }

    #[test]
    fn a_peer_says_the_same_of_itself_each_time() {
        let ask = |event| Ask { torrent: 9, peer: Peer::Only, topic: Topic::Announce(event) };
        let of = |event| ask(event).announce(4);
        let (first, last) = (of(AnnounceEvent::Started), of(AnnounceEvent::Stopped));
        assert_eq!((first.key, first.left, first.port), (last.key, last.left, last.port));
        assert_eq!((first.numwant, last.numwant), (Some(NUMWANT), Some(0)));
    }
}
