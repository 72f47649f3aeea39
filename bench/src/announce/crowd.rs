//! Who announces: for each torrent as many peers as there are sources. Each announces `started`
//! first, then without an event, and now and then it leaves by `stopped` and begins again. Pure;
//! the same numbers give the same load again.

use ringseed_meta::{InfoHash, PeerId};
use ringseed_wire::tracker::{AnnounceEvent, AnnounceRequest};

use super::limits::{NUMWANT, SEEDS_ONE_IN, STOPS_ONE_IN};
use crate::order::mix;

/// What a request is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    Announce(AnnounceEvent),
    Scrape,
}

/// A request of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Number of the torrent.
    pub torrent: u32,
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
        let who = mix(u64::from(source) << 32 | u64::from(self.torrent));
        let is_seed = who.is_multiple_of(SEEDS_ONE_IN);
        AnnounceRequest {
            left: if is_seed { 0 } else { 1 << 20 | who >> 32 },
            event,
            key: Some((who >> 16) as u32),
            numwant: Some(self.numwant()),
            ..AnnounceRequest::new(
                info_hash(self.torrent),
                peer_id(source, self.torrent),
                port(source),
            )
        }
    }
}

/// The peers of one thread.
#[derive(Clone, Debug)]
pub struct Crowd {
    torrents: u32,
    /// Of 2^32 requests, how many are scrapes.
    scrapes: u64,
    /// A bit for each peer, by torrent and source: it has announced `started`.
    started: Vec<u64>,
    sources: u32,
    random: Random,
}

impl Crowd {
    /// Peers of `torrents` (at least one) at `sources` of this thread; of their requests the share
    /// `scrapes` (0 to 1) are scrapes. `seed` differs between threads.
    pub fn new(torrents: u32, sources: u32, scrapes: f64, seed: u64) -> Crowd {
        let peers = u64::from(torrents.max(1)) * u64::from(sources);
        Crowd {
            torrents: torrents.max(1),
            scrapes: (scrapes.clamp(0.0, 1.0) * (1u64 << 32) as f64) as u64,
            started: vec![0; peers.div_ceil(64) as usize],
            sources,
            random: Random::new(seed),
        }
    }

    /// What the source with this number within the thread asks next.
    pub fn next(&mut self, source: u32) -> Ask {
        let torrent = self.random.below(u64::from(self.torrents)) as u32;
        if self.random.below(1 << 32) < self.scrapes {
            return Ask { torrent, topic: Topic::Scrape };
        }
        let peer = u64::from(torrent) * u64::from(self.sources) + u64::from(source);
        let stops = self.random.below(STOPS_ONE_IN) == 0;
        let Some(word) = self.started.get_mut((peer / 64) as usize) else {
            return Ask { torrent, topic: Topic::Scrape };
        };
        let bit = 1 << (peer % 64);
        let event = match (*word & bit != 0, stops) {
            (false, _) => AnnounceEvent::Started,
            (true, true) => AnnounceEvent::Stopped,
            (true, false) => AnnounceEvent::None,
        };
        match event {
            AnnounceEvent::Stopped => *word &= !bit,
            _ => *word |= bit,
        }
        Ask { torrent, topic: Topic::Announce(event) }
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
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn a_peer_starts_goes_on_stops_and_starts_again() {
        let mut crowd = Crowd::new(5, 3, 0.25, 1);
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
                let ask = Ask { torrent, topic: Topic::Announce(AnnounceEvent::Started) };
                let announce = ask.announce(source);
                assert!(ids.insert(announce.peer_id.0) && ports.insert(announce.port));
                assert!(announce.port >= 1024 && announce.info_hash == info_hash(torrent));
            }
        }
        assert_eq!(hashes.len(), 50);
    }

    #[test]
    fn a_peer_says_the_same_of_itself_each_time() {
        let of = |event| Ask { torrent: 9, topic: Topic::Announce(event) }.announce(4);
        let (first, last) = (of(AnnounceEvent::Started), of(AnnounceEvent::Stopped));
        assert_eq!((first.key, first.left, first.port), (last.key, last.left, last.port));
        assert_eq!((first.numwant, last.numwant), (Some(NUMWANT), Some(0)));
    }
}
