//! The swarms against a model that looks at every peer every time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use ringseed_meta::PeerId;

use super::*;

const BOUNDS: Bounds = Bounds {
    torrents_max: 6,
    torrent_peers_max: 60,
    peers_max: 90,
    silent_max: Duration::from_secs(600),
};

fn swarms(bounds: Bounds) -> Swarms {
    Swarms::new(bounds, &[3; 16], Random::new(11))
}

/// An announce and where it comes from.
#[derive(Clone, Debug)]
struct Announce {
    ip: IpAddr,
    request: AnnounceRequest,
}

impl Announce {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.request.port)
    }

    fn but(mut self, change: impl FnOnce(&mut AnnounceRequest)) -> Announce {
        change(&mut self.request);
        self
    }
}

const SEED: u64 = 0;
const LEECHER: u64 = 5;

fn announce(torrent: u8, address: &str, left: u64) -> Announce {
    let address: SocketAddr = address.parse().unwrap();
    let request = AnnounceRequest::new(InfoHash([torrent; 20]), PeerId([1; 20]), address.port());
    let uploaded = u64::from(left == SEED);
    Announce { ip: address.ip(), request: AnnounceRequest { left, uploaded, ..request } }
}

fn told(swarms: &mut Swarms, now: Instant, announce: &Announce) -> Vec<SocketAddr> {
    let mut handed_out = Vec::new();
    swarms.announce(now, announce.ip, &announce.request, &mut handed_out).unwrap();
    let mut addresses: Vec<_> = handed_out.iter().map(|peer| peer.address).collect();
    addresses.sort_unstable();
    addresses
}

fn at(seconds: u64) -> Instant {
    Instant::from_us(seconds * 1_000_000)
}

fn counts(seeders: u32, leechers: u32, completed: u32) -> ScrapeStats {
    ScrapeStats { seeders, leechers, completed, partial_seeds: 0 }
}

#[test]
fn a_seed_is_told_leechers_only_and_a_leecher_everybody_but_itself() {
    let mut swarms = swarms(BOUNDS);
    let (first, second) = ("192.0.2.1:1", "192.0.2.2:1");
    for seed in [first, second] {
        assert_eq!(told(&mut swarms, at(0), &announce(1, seed, SEED)), []);
    }
    let leecher = "192.0.2.3:1";
    let seen = told(&mut swarms, at(0), &announce(1, leecher, LEECHER));
    assert_eq!(seen, [first.parse().unwrap(), second.parse().unwrap()]);
    let seen = told(&mut swarms, at(0), &announce(1, first, SEED));
    assert_eq!(seen, [leecher.parse().unwrap()]);
}

#[test]
fn who_has_only_a_magnet_link_and_says_that_nothing_is_left_is_told_seeds() {
    let mut swarms = swarms(BOUNDS);
    told(&mut swarms, at(0), &announce(1, "192.0.2.1:1", SEED));
    let magnet = announce(1, "192.0.2.2:1", SEED).but(|request| request.uploaded = 0);
    assert_eq!(told(&mut swarms, at(0), &magnet), ["192.0.2.1:1".parse().unwrap()]);
}

#[test]
fn families_and_torrents_are_apart() {
    let mut swarms = swarms(BOUNDS);
    told(&mut swarms, at(0), &announce(1, "192.0.2.1:1", SEED));
    assert_eq!(told(&mut swarms, at(0), &announce(1, "[2001:db8::1]:1", LEECHER)), []);
    assert_eq!(told(&mut swarms, at(0), &announce(2, "192.0.2.2:1", LEECHER)), []);
    assert_eq!(swarms.scrape("192.0.2.9".parse().unwrap(), &InfoHash([1; 20])), counts(1, 0, 0));
    assert_eq!(swarms.scrape("2001:db8::9".parse().unwrap(), &InfoHash([1; 20])), counts(0, 1, 0));
    assert_eq!((swarms.torrents(), swarms.peers()), (3, 3));
}

#[test]
fn a_mapped_address_is_an_ipv4_address() {
    let mut swarms = swarms(BOUNDS);
    told(&mut swarms, at(0), &announce(1, "[::ffff:192.0.2.1]:1", SEED));
    let seen = told(&mut swarms, at(0), &announce(1, "192.0.2.2:1", LEECHER));
    assert_eq!(seen, ["192.0.2.1:1".parse().unwrap()]);
}

#[test]
fn only_the_peer_itself_can_stop_itself() {
    let mut swarms = swarms(BOUNDS);
    let here = announce(1, "192.0.2.1:1", SEED).but(|request| request.key = Some(5));
    told(&mut swarms, at(0), &here);
    let stop = here.but(|request| request.event = AnnounceEvent::Stopped);
    told(&mut swarms, at(0), &stop.clone().but(|request| request.key = Some(6)));
    told(&mut swarms, at(0), &stop.clone().but(|request| request.peer_id = PeerId([2; 20])));
    assert_eq!(swarms.peers(), 1);
    assert_eq!(told(&mut swarms, at(0), &stop), []);
    assert_eq!((swarms.peers(), swarms.torrents()), (0, 0));
}

#[test]
fn finishing_is_counted_once() {
    let mut swarms = swarms(BOUNDS);
    let asker: IpAddr = "192.0.2.9".parse().unwrap();
    let done =
        announce(1, "192.0.2.1:1", SEED).but(|request| request.event = AnnounceEvent::Completed);
    told(&mut swarms, at(0), &announce(1, "192.0.2.1:1", LEECHER));
    told(&mut swarms, at(1), &done.clone().but(|request| request.left = LEECHER));
    assert_eq!(swarms.scrape(asker, &InfoHash([1; 20])), counts(0, 1, 0));
    told(&mut swarms, at(2), &done);
    told(&mut swarms, at(3), &done);
    assert_eq!(swarms.scrape(asker, &InfoHash([1; 20])), counts(1, 0, 1));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let bounds = Bounds { torrents_max: 1, torrent_peers_max: 2, ..BOUNDS };
    let mut swarms = swarms(bounds);
    told(&mut swarms, at(0), &announce(1, "192.0.2.1:1", SEED));
    told(&mut swarms, at(0), &announce(1, "192.0.2.2:1", SEED));
    let third = announce(1, "192.0.2.3:1", LEECHER);
    assert_eq!(told(&mut swarms, at(0), &third).len(), 2, "an unlisted peer is told the others");
    assert_eq!((swarms.peers(), swarms.unlisted()), (2, 1));
    let other = announce(2, "192.0.2.1:1", SEED);
    let refused = swarms.announce(at(0), other.ip, &other.request, &mut Vec::new());
    assert_eq!(refused, Err(Full { torrents: 1 }));
    swarms.check();
}

#[test]
fn silent_peers_go_and_the_others_stay() {
    let mut swarms = swarms(BOUNDS);
    for port in 1..=40 {
        let address = format!("192.0.2.1:{port}");
        let left = if port % 3 == 0 { SEED } else { LEECHER };
        told(&mut swarms, at(port), &announce(port as u8 % 4, &address, left));
    }
    swarms.expire(at(600));
    assert_eq!(swarms.peers(), 40);
    swarms.expire(at(625));
    swarms.check();
    assert_eq!(swarms.peers(), 40, "a round has its time");
    swarms.expire(at(630));
    swarms.check();
    // Silence is counted in ticks of 4 s: heard of at 27 s is the last to be over 600 s at 630 s.
    assert_eq!(swarms.peers(), 40 - 27);
    swarms.expire(at(1000));
    assert_eq!((swarms.peers(), swarms.torrents()), (0, 0));
}

#[test]
fn a_round_of_expiry_comes_to_its_end_in_bounded_steps() {
    let many = limits::EXPIRY_PEERS_PER_TURN * 2 + 100;
    let mut swarms = swarms(Bounds { torrent_peers_max: many, peers_max: many, ..BOUNDS });
    for peer in 0..many as u32 {
        let ip = IpAddr::from(peer.to_be_bytes());
        told(&mut swarms, at(0), &Announce { ip, ..announce(1, "192.0.2.1:1", LEECHER) });
    }
    let mut left = vec![];
    for _ in 0..3 {
        assert!(swarms.deadline() <= at(700));
        swarms.expire(at(700));
        left.push(swarms.peers());
    }
    let step = limits::EXPIRY_PEERS_PER_TURN;
    assert_eq!(left, [many - step, many - 2 * step, 0]);
    assert_eq!(swarms.deadline(), at(700).after(limits::EXPIRY_ROUND));
}

#[test]
fn every_peer_of_a_large_swarm_is_handed_out_as_often_as_any_other() {
    const PEERS: usize = 500;
    const ROUNDS: usize = 4_000;
    let bounds = Bounds { torrent_peers_max: PEERS + 1, peers_max: PEERS + 1, ..BOUNDS };
    let mut swarms = swarms(bounds);
    for port in 1..=PEERS {
        let left = if port % 2 == 0 { SEED } else { LEECHER };
        told(&mut swarms, at(0), &announce(1, &format!("192.0.2.1:{port}"), left));
    }
    let mut times = vec![0usize; PEERS + 1];
    for _ in 0..ROUNDS {
        for peer in told(&mut swarms, at(0), &announce(1, "192.0.2.2:1", LEECHER)) {
            times[usize::from(peer.port())] += 1;
        }
    }
    // 50 of 500, 4,000 times: 400 each; six standard deviations are 114.
    assert!(times.iter().skip(1).all(|times| times.abs_diff(400) < 114), "{times:?}");
}

#[test]
fn a_peer_costs_what_the_limits_say() {
    assert_eq!(size_of::<Peer<4>>(), 32);
    assert_eq!(size_of::<Peer<16>>(), 44);
    assert_eq!(size_of::<torrent::Torrent<4>>(), 64);
}

/// A swarm as a list, in which everything is looked at every time.
#[derive(Default)]
struct Model {
    torrents: BTreeMap<InfoHash, Vec<Listed>>,
    completed: BTreeMap<InfoHash, u32>,
}

struct Listed {
    announce: Announce,
    seen: Instant,
}

impl Model {
    fn peers(&self) -> usize {
        self.torrents.values().map(Vec::len).sum()
    }

    fn announce(
        &mut self,
        now: Instant,
        told: &Announce,
    ) -> Result<(ScrapeStats, Vec<SocketAddr>), Full> {
        let (in_all, torrents) = (self.peers(), self.torrents.len());
        let info_hash = told.request.info_hash;
        let known_torrent = self.torrents.contains_key(&info_hash);
        let finishes = told.request.event == AnnounceEvent::Completed && told.request.left == SEED;
        let peers = self.torrents.entry(info_hash).or_default();
        let known = peers.iter().position(|peer| peer.announce.address() == told.address());
        let listable = peers.len() < BOUNDS.torrent_peers_max && in_all < BOUNDS.peers_max;
        let listed = Listed { announce: told.clone(), seen: now };
        if told.request.event == AnnounceEvent::Stopped {
            let same = |other: &Announce| {
                (other.address(), other.request.peer_id) == (told.address(), told.request.peer_id)
            };
            peers.retain(|peer| !same(&peer.announce));
        } else if let Some(known) = known {
            let before = std::mem::replace(&mut peers[known], listed);
            if finishes && before.announce.request.left == LEECHER {
                *self.completed.entry(info_hash).or_default() += 1;
            }
        } else if listable {
            if !known_torrent && torrents == BOUNDS.torrents_max {
                self.forget_empty();
                return Err(Full { torrents });
            }
            *self.completed.entry(info_hash).or_default() += u32::from(finishes);
            peers.push(listed);
        }
        self.forget_empty();
        Ok((self.counts(&info_hash), self.others(told)))
    }

    fn others(&self, told: &Announce) -> Vec<SocketAddr> {
        if told.request.event == AnnounceEvent::Stopped {
            return vec![];
        }
        let of_interest = |peer: &&Listed| {
            peer.announce.address() != told.address()
                && (told.request.left == LEECHER || peer.announce.request.left == LEECHER)
        };
        let peers = self.torrents.get(&told.request.info_hash).into_iter().flatten();
        peers.filter(of_interest).map(|peer| peer.announce.address()).collect()
    }

    fn forget_empty(&mut self) {
        self.torrents.retain(|_, peers| !peers.is_empty());
        self.completed.retain(|info_hash, _| self.torrents.contains_key(info_hash));
    }

    fn expire(&mut self, now: Instant) {
        let ticks = |now: Instant| now.as_us() / 4_000_000;
        for peers in self.torrents.values_mut() {
            peers.retain(|peer| ticks(now) - ticks(peer.seen) <= 150);
        }
        self.forget_empty();
    }

    fn counts(&self, info_hash: &InfoHash) -> ScrapeStats {
        let peers = || self.torrents.get(info_hash).into_iter().flatten();
        let with = |left| peers().filter(|peer| peer.announce.request.left == left).count() as u32;
        let completed = self.completed.get(info_hash).copied().unwrap_or(0);
        counts(with(SEED), with(LEECHER), completed)
    }
}

fn any_announce() -> impl Strategy<Value = Announce> {
    let event = prop_oneof![
        3 => Just(AnnounceEvent::None),
        3 => Just(AnnounceEvent::Started),
        1 => Just(AnnounceEvent::Completed),
        2 => Just(AnnounceEvent::Stopped)
    ];
    let left = prop_oneof![Just(SEED), Just(LEECHER)];
    (0..9u8, 1..70u16, 0..2u8, event, left, proptest::option::of(0..80u32)).prop_map(
        |(torrent, port, id, event, left, numwant)| {
            // Most in one torrent, so that it crosses the size from which there is an index.
            let torrent = torrent.saturating_sub(3);
            announce(torrent, &format!("192.0.2.1:{port}"), left).but(|request| {
                request.peer_id = PeerId([id; 20]);
                (request.event, request.numwant) = (event, numwant);
            })
        },
    )
}

proptest! {
    #[test]
    fn the_swarms_do_what_a_list_does(
        steps in proptest::collection::vec((any_announce(), 0..20u64), 1..400),
    ) {
        let mut swarms = swarms(BOUNDS);
        let mut model = Model::default();
        let mut handed_out = Vec::new();
        let mut now = 0;
        for (told, pause) in steps {
            now += pause * pause / 10;
            if swarms.deadline() <= at(now) {
                swarms.expire(at(now));
                model.expire(at(now));
            }
            let outcome = swarms.announce(at(now), told.ip, &told.request, &mut handed_out);
            let expected = model.announce(at(now), &told);
            swarms.check();
            prop_assert_eq!(swarms.peers(), model.peers());
            prop_assert_eq!(swarms.torrents(), model.torrents.len());
            let (expected, others) = match expected {
                Ok(expected) => expected,
                Err(full) => {
                    prop_assert_eq!(outcome, Err(full));
                    continue;
                }
            };
            prop_assert_eq!(outcome, Ok(expected));
            prop_assert_eq!(handed_out.len(), others.len().min(wanted(&told.request)));
            prop_assert!(handed_out.iter().all(|peer| others.contains(&peer.address)));
        }
    }
}
