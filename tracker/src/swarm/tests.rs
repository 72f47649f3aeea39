//! The swarms against a model that looks at every peer every time.

use std::collections::BTreeMap;

use proptest::prelude::*;

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

fn announce(torrent: u8, address: &str, left: Left) -> Announce {
    Announce {
        info_hash: InfoHash([torrent; 20]),
        peer_id: PeerId([1; 20]),
        key: 0,
        address: address.parse().unwrap(),
        change: Change::Present,
        left,
        wanted: 50,
    }
}

fn told(swarms: &mut Swarms, now: Instant, announce: &Announce) -> Vec<SocketAddr> {
    let mut handed_out = Vec::new();
    swarms.announce(now, announce, &mut handed_out).unwrap();
    let mut addresses: Vec<_> = handed_out.iter().map(|peer| peer.address).collect();
    addresses.sort_unstable();
    addresses
}

fn at(seconds: u64) -> Instant {
    Instant::from_us(seconds * 1_000_000)
}

fn counts(seeders: u32, leechers: u32, completed: u32) -> Counts {
    Counts { seeders, leechers, completed }
}

#[test]
fn a_seed_is_told_leechers_only_and_a_leecher_everybody_but_itself() {
    let mut swarms = swarms(BOUNDS);
    let (first, second) = ("192.0.2.1:1", "192.0.2.2:1");
    for seed in [first, second] {
        assert_eq!(told(&mut swarms, at(0), &announce(1, seed, Left::Nothing)), []);
    }
    let leecher = "192.0.2.3:1";
    let seen = told(&mut swarms, at(0), &announce(1, leecher, Left::Something));
    assert_eq!(seen, [first.parse().unwrap(), second.parse().unwrap()]);
    let seen = told(&mut swarms, at(0), &announce(1, first, Left::Nothing));
    assert_eq!(seen, [leecher.parse().unwrap()]);
}

#[test]
fn families_and_torrents_are_apart() {
    let mut swarms = swarms(BOUNDS);
    told(&mut swarms, at(0), &announce(1, "192.0.2.1:1", Left::Nothing));
    assert_eq!(told(&mut swarms, at(0), &announce(1, "[2001:db8::1]:1", Left::Something)), []);
    assert_eq!(told(&mut swarms, at(0), &announce(2, "192.0.2.2:1", Left::Something)), []);
    assert_eq!(swarms.scrape("192.0.2.9".parse().unwrap(), &InfoHash([1; 20])), counts(1, 0, 0));
    assert_eq!(swarms.scrape("2001:db8::9".parse().unwrap(), &InfoHash([1; 20])), counts(0, 1, 0));
    assert_eq!((swarms.torrents(), swarms.peers()), (3, 3));
}

#[test]
fn a_mapped_address_is_an_ipv4_address() {
    let mut swarms = swarms(BOUNDS);
    told(&mut swarms, at(0), &announce(1, "[::ffff:192.0.2.1]:1", Left::Nothing));
    let seen = told(&mut swarms, at(0), &announce(1, "192.0.2.2:1", Left::Something));
    assert_eq!(seen, ["192.0.2.1:1".parse().unwrap()]);
}

#[test]
fn only_the_peer_itself_can_stop_itself() {
    let mut swarms = swarms(BOUNDS);
    let here = Announce { key: 5, ..announce(1, "192.0.2.1:1", Left::Nothing) };
    told(&mut swarms, at(0), &here);
    let stop = Announce { change: Change::Stopped, ..here };
    told(&mut swarms, at(0), &Announce { key: 6, ..stop });
    told(&mut swarms, at(0), &Announce { peer_id: PeerId([2; 20]), ..stop });
    assert_eq!(swarms.peers(), 1);
    assert_eq!(told(&mut swarms, at(0), &stop), []);
    assert_eq!((swarms.peers(), swarms.torrents()), (0, 0));
}

#[test]
fn finishing_is_counted_once() {
    let mut swarms = swarms(BOUNDS);
    let asker: IpAddr = "192.0.2.9".parse().unwrap();
    let done = Announce {
        change: Change::Completed,
        ..announce(1, "192.0.2.1:1", Left::Nothing)
    };
    told(&mut swarms, at(0), &announce(1, "192.0.2.1:1", Left::Something));
    told(&mut swarms, at(1), &Announce { left: Left::Something, ..done });
    assert_eq!(swarms.scrape(asker, &InfoHash([1; 20])), counts(0, 1, 0));
    told(&mut swarms, at(2), &done);
    told(&mut swarms, at(3), &done);
    assert_eq!(swarms.scrape(asker, &InfoHash([1; 20])), counts(1, 0, 1));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let bounds = Bounds { torrents_max: 1, torrent_peers_max: 2, ..BOUNDS };
    let mut swarms = swarms(bounds);
    told(&mut swarms, at(0), &announce(1, "192.0.2.1:1", Left::Nothing));
    told(&mut swarms, at(0), &announce(1, "192.0.2.2:1", Left::Nothing));
    let third = announce(1, "192.0.2.3:1", Left::Something);
    assert_eq!(told(&mut swarms, at(0), &third).len(), 2, "an unlisted peer is told the others");
    assert_eq!((swarms.peers(), swarms.unlisted()), (2, 1));
    let other = announce(2, "192.0.2.1:1", Left::Nothing);
    let refused = swarms.announce(at(0), &other, &mut Vec::new());
    assert_eq!(refused, Err(Full { torrents: 1 }));
    swarms.check();
}

#[test]
fn silent_peers_go_and_the_others_stay() {
    let mut swarms = swarms(BOUNDS);
    for port in 1..=40 {
        let address = format!("192.0.2.1:{port}");
        let left = if port % 3 == 0 { Left::Nothing } else { Left::Something };
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
        let address = SocketAddr::new(IpAddr::from(peer.to_be_bytes()), 1);
        let one = Announce { address, wanted: 0, ..announce(1, "192.0.2.1:1", Left::Something) };
        swarms.announce(at(0), &one, &mut Vec::new()).unwrap();
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
        let left = if port % 2 == 0 { Left::Nothing } else { Left::Something };
        told(&mut swarms, at(0), &announce(1, &format!("192.0.2.1:{port}"), left));
    }
    let mut times = vec![0usize; PEERS + 1];
    for _ in 0..ROUNDS {
        for peer in told(&mut swarms, at(0), &announce(1, "192.0.2.2:1", Left::Something)) {
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

    fn announce(&mut self, now: Instant, told: &Announce) -> Result<(Counts, Vec<SocketAddr>), Full> {
        let in_all = self.peers();
        let torrents = self.torrents.len();
        let known_torrent = self.torrents.contains_key(&told.info_hash);
        let peers = self.torrents.entry(told.info_hash).or_default();
        let known = peers.iter().position(|peer| peer.announce.address == told.address);
        let listable = peers.len() < BOUNDS.torrent_peers_max && in_all < BOUNDS.peers_max;
        if told.change == Change::Stopped {
            peers.retain(|peer| {
                let same = &peer.announce;
                (same.address, same.peer_id, same.key) != (told.address, told.peer_id, told.key)
            });
        } else if let Some(known) = known {
            let was = std::mem::replace(&mut peers[known], Listed { announce: *told, seen: now });
            if told.change == Change::Completed
                && told.left == Left::Nothing
                && was.announce.left == Left::Something
            {
                *self.completed.entry(told.info_hash).or_default() += 1;
            }
        } else if listable {
            if !known_torrent && torrents == BOUNDS.torrents_max {
                self.forget_empty();
                return Err(Full { torrents });
            }
            if told.change == Change::Completed && told.left == Left::Nothing {
                *self.completed.entry(told.info_hash).or_default() += 1;
            }
            peers.push(Listed { announce: *told, seen: now });
        }
        let others = self.others(told);
        self.forget_empty();
        Ok((self.counts(&told.info_hash), others))
    }

    fn others(&self, told: &Announce) -> Vec<SocketAddr> {
        if told.change == Change::Stopped {
            return vec![];
        }
        let of_interest = |peer: &&Listed| {
            peer.announce.address != told.address
                && (told.left == Left::Something || peer.announce.left == Left::Something)
        };
        let peers = self.torrents.get(&told.info_hash).into_iter().flatten();
        peers.filter(of_interest).map(|peer| peer.announce.address).collect()
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

    fn counts(&self, info_hash: &InfoHash) -> Counts {
        let peers = || self.torrents.get(info_hash).into_iter().flatten();
        let with = |left| peers().filter(|peer| peer.announce.left == left).count() as u32;
        let completed = self.completed.get(info_hash).copied().unwrap_or(0);
        counts(with(Left::Nothing), with(Left::Something), completed)
    }
}

fn any_announce() -> impl Strategy<Value = Announce> {
    let change = prop_oneof![
        6 => Just(Change::Present),
        1 => Just(Change::Completed),
        2 => Just(Change::Stopped)
    ];
    let left = prop_oneof![Just(Left::Nothing), Just(Left::Something)];
    (0..9u8, 0..70u16, 0..2u8, change, left, 0..80usize).prop_map(
        |(torrent, port, id, change, left, wanted)| Announce {
            // Most in one torrent, so that it crosses the size from which there is an index.
            info_hash: InfoHash([torrent.saturating_sub(3); 20]),
            peer_id: PeerId([id; 20]),
            key: 0,
            address: SocketAddr::new("192.0.2.1".parse().unwrap(), port),
            change,
            left,
            wanted,
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
            let outcome = swarms.announce(at(now), &told, &mut handed_out);
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
            prop_assert_eq!(handed_out.len(), others.len().min(told.wanted));
            prop_assert!(handed_out.iter().all(|peer| others.contains(&peer.address)));
        }
    }
}
