//! The swarms case by case, and against a model.

use proptest::prelude::*;

use std::net::SocketAddr;

use ringseed_meta::PeerId;

use super::announce::{role, wanted};
use super::page::Page;
use super::torrent::{Role, Torrent, unpack};
use super::*;
use ringseed_wire::tracker::AnnounceEvent;

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
    swarms.announce(now, announce.ip, &announce.request, &mut handed_out);
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
fn a_peer_that_finishes_again_and_again_is_counted_once() {
    let mut swarms = swarms(BOUNDS);
    let asker: IpAddr = "192.0.2.9".parse().unwrap();
    let lacks = announce(1, "192.0.2.1:1", LEECHER).but(|request| {
        (request.key, request.peer_id) = (Some(7), PeerId([7; 20]));
    });
    let mut done = lacks.clone();
    (done.request.left, done.request.event) = (SEED, AnnounceEvent::Completed);
    for seconds in 0..10 {
        told(&mut swarms, at(seconds), &lacks);
        told(&mut swarms, at(seconds), &done);
        // The next time from another address.
        done.ip = IpAddr::from([192, 0, 2, 2 + seconds as u8]);
        told(&mut swarms, at(seconds), &done.clone().but(|request| request.left = LEECHER));
    }
    assert_eq!(swarms.scrape(asker, &InfoHash([1; 20])), counts(0, 1, 1));
    told(&mut swarms, at(9), &announce(1, "192.0.2.77:1", LEECHER));
    let other = announce(1, "192.0.2.77:1", SEED);
    told(&mut swarms, at(9), &other.but(|request| request.event = AnnounceEvent::Completed));
    assert_eq!(swarms.scrape(asker, &InfoHash([1; 20])), counts(1, 1, 2));
    swarms.check();
}

#[test]
fn a_partial_seed_is_told_and_counted_as_one_that_wants_nothing() {
    let mut swarms = swarms(BOUNDS);
    let paused = |address| {
        announce(1, address, LEECHER).but(|request| {
            (request.event, request.uploaded) = (AnnounceEvent::Paused, 1);
        })
    };
    let partial = "192.0.2.1:1";
    told(&mut swarms, at(0), &announce(1, "192.0.2.2:1", SEED));
    told(&mut swarms, at(0), &paused("192.0.2.3:1"));
    assert_eq!(told(&mut swarms, at(0), &paused(partial)), []);
    let leecher = announce(1, "192.0.2.4:1", LEECHER);
    assert_eq!(told(&mut swarms, at(0), &leecher).len(), 3);
    assert_eq!(told(&mut swarms, at(0), &paused(partial)), ["192.0.2.4:1".parse().unwrap()]);
    let stats = |swarms: &Swarms| swarms.scrape("192.0.2.9".parse().unwrap(), &InfoHash([1; 20]));
    assert_eq!(stats(&swarms), ScrapeStats { partial_seeds: 2, ..counts(1, 3, 0) });
    // It wants something again.
    told(&mut swarms, at(0), &announce(1, partial, LEECHER));
    assert_eq!(stats(&swarms), ScrapeStats { partial_seeds: 1, ..counts(1, 3, 0) });
    swarms.check();
}

#[test]
fn a_peer_whose_address_changes_stays_one_peer() {
    // With an index and without.
    for others in [2, 60] {
        let mut swarms = swarms(Bounds { peers_max: 200, torrent_peers_max: 100, ..BOUNDS });
        for port in 1..=others {
            told(&mut swarms, at(0), &announce(1, &format!("192.0.2.9:{port}"), LEECHER));
        }
        let with_key = |address| {
            announce(1, address, SEED).but(|request| {
                (request.key, request.peer_id) = (Some(77), PeerId([7; 20]));
            })
        };
        let (home, away) = (with_key("192.0.2.1:1"), with_key("198.51.100.1:5"));
        told(&mut swarms, at(0), &home);
        told(&mut swarms, at(1), &away.clone().but(|request| request.key = Some(78)));
        assert_eq!(swarms.peers(), others + 2, "another key is another peer");
        let other = PeerId([8; 20]);
        told(
            &mut swarms,
            at(1),
            &with_key("198.51.100.2:5").but(|request| request.peer_id = other),
        );
        assert_eq!(swarms.peers(), others + 3, "and another id");
        let third = with_key("203.0.113.1:9");
        told(&mut swarms, at(2), &third);
        assert_eq!(swarms.peers(), others + 3);
        let leecher =
            announce(1, "192.0.2.200:1", LEECHER).but(|request| request.numwant = Some(200));
        let seen = told(&mut swarms, at(2), &leecher);
        assert!(seen.contains(&third.address()) && !seen.contains(&home.address()), "{seen:?}");
        // It leaves from where it was never seen.
        let stop = with_key("203.0.113.77:7").but(|request| request.event = AnnounceEvent::Stopped);
        told(&mut swarms, at(3), &stop);
        assert_eq!(swarms.peers(), others + 3, "of the four one has left, and the leecher came");
        swarms.check();
    }
}

#[test]
fn a_peer_without_a_key_is_known_by_its_address_only() {
    let mut swarms = swarms(BOUNDS);
    told(&mut swarms, at(0), &announce(1, "192.0.2.1:1", SEED));
    told(&mut swarms, at(0), &announce(1, "192.0.2.2:1", SEED));
    assert_eq!(swarms.peers(), 2);
}

#[test]
fn a_flood_of_torrents_takes_the_place_of_the_oldest() {
    let mut swarms = swarms(Bounds { torrents_max: 100, peers_max: 1000, ..BOUNDS });
    let of = |number: u32| {
        announce(0, "192.0.2.1:1", LEECHER).but(|request| {
            request.info_hash.0[..4].copy_from_slice(&number.to_be_bytes());
        })
    };
    let kept = of(u32::MAX);
    for number in 0..1_000_000 {
        // One is heard of all the time.
        let now = at(u64::from(number));
        if number % 60 == 0 {
            told(&mut swarms, now, &kept);
        }
        told(&mut swarms, now, &of(number));
        assert!(swarms.torrents() <= 100 && swarms.peers() <= 100);
    }
    swarms.check();
    assert_eq!((swarms.torrents(), swarms.peers()), (100, 100));
    assert_eq!(swarms.displaced(), 1_000_001 - 100);
    // A hundred torrents of one peer, on shelves of 128 and in an index with room for twice as many.
    assert!(swarms.bytes() <= 20_000, "{} bytes", swarms.bytes());
    let stands =
        |torrent: &Announce| swarms.scrape(torrent.ip, &torrent.request.info_hash).leechers;
    assert_eq!(stands(&kept), 1);
    assert!((999_901..1_000_000).all(|number| stands(&of(number)) == 1));
}

#[test]
fn at_the_bound_of_all_peers_the_oldest_torrents_make_room() {
    let mut swarms = swarms(Bounds { peers_max: 20, torrents_max: 50, ..BOUNDS });
    for torrent in 0..4 {
        for port in 1..=5 {
            let now = at(u64::from(torrent) * 100);
            told(&mut swarms, now, &announce(torrent, &format!("192.0.2.1:{port}"), SEED));
        }
    }
    told(&mut swarms, at(400), &announce(3, "192.0.2.1:6", SEED));
    swarms.check();
    let asker = "192.0.2.9".parse().unwrap();
    let seeds: Vec<u32> =
        (0..4).map(|torrent| swarms.scrape(asker, &InfoHash([torrent; 20])).seeders).collect();
    assert_eq!((seeds, swarms.displaced()), (vec![0, 5, 5, 6], 5));
}

#[test]
fn at_the_bound_of_a_swarm_one_that_was_silent_for_long_makes_room() {
    for bounds in [
        Bounds { torrent_peers_max: 40, ..BOUNDS },
        Bounds { peers_max: 40, ..BOUNDS },
        Bounds { torrent_peers_max: 1, ..BOUNDS },
        Bounds { peers_max: 0, torrents_max: 0, ..BOUNDS },
    ] {
        let mut swarms = swarms(bounds);
        let most = bounds.torrent_peers_max.min(bounds.peers_max).max(1);
        for port in 1..=200u64 {
            let newcomer = announce(1, &format!("192.0.2.1:{port}"), LEECHER)
                .but(|request| request.numwant = Some(200));
            let seen = told(&mut swarms, at(port * 4), &newcomer);
            assert_eq!(swarms.peers(), most.min(port as usize));
            assert_eq!(seen.len() + 1, swarms.peers());
            swarms.check();
            if port == 200 && most == 40 {
                let ages = seen.iter().map(|peer| 200 - u64::from(peer.port()));
                let mean = ages.sum::<u64>() / 39;
                // Were it one at random, the mean age were 40.
                assert!((19..30).contains(&mean), "mean age {mean}");
            }
        }
    }
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
fn a_swarm_grows_past_what_two_bytes_can_name_whoever_comes_last() {
    const PEERS: u32 = (1 << 16) + 8;
    let paused = |announce: Announce| announce.but(|told| told.event = AnnounceEvent::Paused);
    for late in [announce(1, "192.0.2.1:1", SEED), paused(announce(1, "192.0.2.1:1", LEECHER))] {
        let most = PEERS as usize;
        let mut swarms = swarms(Bounds { torrent_peers_max: most, peers_max: most, ..BOUNDS });
        let of = |number: u32| {
            let peer = match number {
                _ if number > PEERS - 16 => late.clone(),
                _ if number.is_multiple_of(4) => announce(1, "192.0.2.1:1", SEED),
                _ => announce(1, "192.0.2.1:1", LEECHER),
            };
            let ip = IpAddr::from(number.to_be_bytes());
            Announce { ip, ..peer.but(|told| told.numwant = Some(0)) }
        };
        for number in 1..=PEERS {
            told(&mut swarms, at(0), &of(number));
            if number >= 1 << 16 {
                swarms.check();
            }
        }
        for number in 1..=PEERS {
            assert_eq!(swarms.peers() as u32, PEERS + 1 - number);
            told(&mut swarms, at(0), &of(number).but(|told| told.event = AnnounceEvent::Stopped));
            if number < 8 || number % 10_000 == 0 {
                swarms.check();
            }
        }
        assert_eq!((swarms.peers(), swarms.torrents()), (0, 0));
        swarms.check();
    }
}

#[test]
fn a_peer_of_a_swarm_of_thousands_takes_40_bytes_at_most() {
    let mut swarms = swarms(Bounds { torrent_peers_max: 50_000, peers_max: 50_000, ..BOUNDS });
    let mut most = 0.0f64;
    for peer in 1..=50_000u32 {
        let ip = IpAddr::from(peer.to_be_bytes());
        let left = u64::from(peer % 3);
        told(&mut swarms, at(0), &Announce { ip, ..announce(1, "192.0.2.1:1", left) });
        // The table grows where seven eighths of a power of two are full.
        if peer >= 1000 && (peer % 100 == 0 || (peer - 1) % 7 == 0) {
            most = most.max(swarms.bytes() as f64 / f64::from(peer));
        }
    }
    assert!((36.0..40.0).contains(&most), "{most} bytes a peer");
}

#[test]
fn a_torrent_of_one_peer_takes_120_bytes_at_most() {
    let most = 20_000;
    let mut swarms = swarms(Bounds { torrents_max: most, peers_max: most, ..BOUNDS });
    for number in 1..=most as u32 {
        let peer = announce(1, "192.0.2.1:1", SEED).but(|request| {
            request.info_hash.0[..4].copy_from_slice(&number.to_be_bytes());
        });
        told(&mut swarms, at(0), &peer);
    }
    // An index that has just grown is the most that there can be: 20 bytes more than a full one.
    let each = swarms.bytes() / most;
    assert!((100..=120).contains(&each), "{each} bytes a torrent");
}

#[test]
fn a_peer_costs_what_the_limits_say() {
    assert_eq!(Page::<6>::ROW_BYTES, 32);
    assert_eq!(Page::<18>::ROW_BYTES, 44);
    assert_eq!(size_of::<Torrent<6>>(), 64);
    assert_eq!(size_of::<Torrent<18>>(), 64);
}

#[test]
fn a_hint_that_has_come_to_be_wrong_changes_nothing() {
    let mut swarms = swarms(BOUNDS);
    let first = announce(1, "192.0.2.1:1", SEED);
    told(&mut swarms, at(0), &first);
    told(&mut swarms, at(0), &announce(2, "192.0.2.2:1", LEECHER));
    let hint = swarms.look_up(first.ip, &InfoHash([2; 20]));
    swarms.prefetch(first.ip, hint);
    swarms.prefetch_peers(first.ip, hint);
    // The other one takes its place.
    told(&mut swarms, at(0), &first.clone().but(|request| request.event = AnnounceEvent::Stopped));
    told(&mut swarms, at(0), &announce(3, "192.0.2.3:1", LEECHER));
    for hint in [hint, Hint(None), Hint(Some(9)), swarms.look_up(first.ip, &InfoHash([2; 20]))] {
        let asks = announce(2, "192.0.2.1:1", LEECHER);
        let mut packed = vec![];
        let stats = swarms.announce_packed(at(0), asks.ip, &asks.request, hint, &mut packed);
        assert_eq!(stats, counts(0, 2, 0));
        assert_eq!(packed, [192, 0, 2, 2, 0, 1]);
    }
    swarms.check();
}

mod model;
