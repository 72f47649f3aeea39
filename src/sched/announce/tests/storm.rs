//! Many torrents at once, hosts that are slow or down, and everything in any order.

use super::super::schedule::Entry;
use super::super::*;
use super::world::*;
use crate::limits::STOP_WINDOW_FACTOR;
use proptest::prelude::*;
use ringseed_meta::Instant;
use std::cell::Cell;
use std::rc::Rc;
use std::vec::Vec;

const MANY: u32 = 10_000;

fn most_in_a_second(seen: &[Seen]) -> usize {
    let starts: Vec<Instant> = seen.iter().map(|seen| seen.at).collect();
    let within =
        |at: usize| starts[at..].iter().take_while(|then| then.since(starts[at]) < SECOND).count();
    (0..starts.len()).map(within).max().unwrap_or(0)
}

#[test]
fn ten_thousand_torrents_at_start_are_no_storm() {
    let mut world = World::friendly();
    let tiers = world.tiers(&[1]);
    (0..MANY).for_each(|torrent| world.add(torrent, &tiers));
    world.run(Duration::from_secs(600));
    assert_eq!(world.seen.len(), MANY as usize, "each once");
    assert_eq!(world.in_flight_most, 8);
    assert!(most_in_a_second(&world.seen) <= 208, "{}", most_in_a_second(&world.seen));
    // Eight at a time and 50 ms each are 160 a second.
    assert!(world.seen.last().unwrap().at.since(Instant::ZERO) < Duration::from_secs(65));
    let start_peak = most_in_a_second(&world.seen);
    world.seen.clear();
    world.run(HALF_HOUR + HALF_HOUR / 4);
    assert_eq!(world.seen.len(), MANY as usize);
    let peak = most_in_a_second(&world.seen);
    assert!(peak * 2 < start_peak, "the second time they are spread: {peak} of {start_peak}");
}

#[test]
fn hosts_are_served_side_by_side_within_the_bound_of_all() {
    let options = Options { concurrency: 20, ..Options::default() };
    let mut world = World::new(options, |_| (SECOND, answered()));
    for host in 0..10 {
        let tiers = world.tiers(&[1]);
        (0..10).for_each(|torrent| world.add(host * 10 + torrent, &tiers));
    }
    world.begin();
    assert_eq!(world.in_flight_most, 20);
    let first: Vec<_> = world.seen.iter().map(|seen| seen.torrent / 10).collect();
    assert!((0..10).all(|host| first.contains(&host)), "{first:?}");
    world.run(10 * SECOND);
    assert_eq!(world.seen.len(), 100);
}

#[test]
fn a_dead_host_is_asked_by_few_and_the_next_tier_serves_the_rest() {
    let silent = (Duration::from_secs(45), Outcome::Silent);
    let mut world = World::new(Options::default(), move |seen| match seen.url {
        0 => silent,
        _ => (Duration::from_millis(50), answered()),
    });
    let tiers = world.tiers(&[1, 1]);
    (0..MANY).for_each(|torrent| world.add(torrent, &tiers));
    world.run(Duration::from_secs(150));
    let asked_dead = world.urls().iter().filter(|url| **url == 0).count();
    assert!(asked_dead <= 8 + 2, "{asked_dead}");
    let served = world.urls().iter().filter(|url| **url == 1).count();
    assert_eq!(served, MANY as usize);
}

#[test]
fn a_dead_host_without_alternative_is_probed_ever_less_and_served_at_once_when_back() {
    let back = Rc::new(Cell::new(false));
    let alive = Rc::clone(&back);
    let mut world = World::new(Options::default(), move |_| match alive.get() {
        false => (Duration::from_secs(45), Outcome::Silent),
        true => (Duration::from_millis(50), answered()),
    });
    let tiers = world.tiers(&[1]);
    (0..MANY).for_each(|torrent| world.add(torrent, &tiers));
    world.run(Duration::from_secs(6 * 3600));
    assert!(world.seen.len() < 8 + 13, "{} asked in six hours", world.seen.len());
    assert!(world.schedule.queued() > 9_900, "the others stand in line, not in the heap");
    let first_probe = world.seen[8].at.since(Instant::ZERO);
    assert!(first_probe < Duration::from_secs(45 + 60 + 8), "{first_probe:?}");
    back.set(true);
    world.seen.clear();
    world.run(Duration::from_secs(2 * 3600));
    let torrents: std::collections::BTreeSet<_> =
        world.seen.iter().map(|seen| seen.torrent).collect();
    assert_eq!(torrents.len(), MANY as usize);
}

#[test]
fn an_overloaded_host_is_asked_more_slowly() {
    // It takes three at a time; what comes beyond is dropped.
    let busy = Rc::new(Cell::new((Instant::ZERO, 0)));
    let mut world = World::new(Options::default(), move |seen| {
        let (until, taken) = busy.get();
        let (until, taken) = match seen.at < until {
            true => (until, taken + 1),
            false => (seen.at.after(SECOND), 1),
        };
        busy.set((until, taken));
        match taken {
            ..=3 => (SECOND, answered()),
            _ => (Duration::from_secs(5), Outcome::Silent),
        }
    });
    let tiers = world.tiers(&[1]);
    (0..500).for_each(|torrent| world.add(torrent, &tiers));
    world.run(Duration::from_secs(1700));
    let answered: std::collections::BTreeSet<_> = world
        .seen
        .iter()
        .filter(|seen| seen.event == Event::Started)
        .map(|seen| seen.torrent)
        .collect();
    assert_eq!(answered.len(), 500);
    assert!(world.seen.len() < 1100, "{} announces for 500 torrents", world.seen.len());
}

#[test]
fn one_lost_answer_among_many_does_not_take_a_host_down() {
    let mut world = World::new(Options::default(), |seen| match seen.torrent {
        3 => (SECOND, Outcome::Silent),
        _ => (SECOND, answered()),
    });
    let tiers = world.tiers(&[1, 1]);
    (0..100).for_each(|torrent| world.add(torrent, &tiers));
    world.run(Duration::from_secs(30));
    let asked: std::collections::BTreeSet<_> = world.seen.iter().map(|seen| seen.torrent).collect();
    assert_eq!(asked.len(), 100);
    // Only the one without an answer turns to the next tier.
    assert_eq!(world.urls().iter().filter(|url| **url == 1).count(), 1);
}

#[test]
fn a_host_without_ipv6_costs_two_questions_an_hour() {
    let mut world = World::new(Options::default(), |seen| match seen.family {
        Family::V4 => (Duration::from_millis(50), answered()),
        Family::V6 => (Duration::ZERO, Outcome::Absent),
    });
    let tiers = world.tiers(&[1]);
    for torrent in 0..1000 {
        for family in [Family::V4, Family::V6] {
            let info_hash = InfoHash([torrent as u8; 20]);
            let tiers = Arc::clone(&tiers);
            world.schedule.add(TorrentId(torrent), info_hash, family, tiers, world.now);
        }
    }
    world.run(Duration::from_secs(3 * 3600));
    let absent = world.seen.iter().filter(|seen| seen.family == Family::V6).count();
    assert!(absent <= 8 + 6, "{absent}");
}

#[test]
fn at_shutdown_every_known_torrent_is_stopped_quickly_and_the_lost_are_counted() {
    let dead = Rc::new(Cell::new(false));
    let died = Rc::clone(&dead);
    let mut world = World::new(Options::default(), move |seen| match seen.url {
        1 if died.get() => (Duration::from_secs(2), Outcome::Silent),
        _ => (Duration::from_millis(50), answered()),
    });
    let tiers = world.tiers(&[1, 1]);
    let other = Arc::new(Tiers::new([std::vec![tiers.trackers()[1].clone()]]));
    (0..1000).for_each(|torrent| world.add(torrent, &tiers));
    (1000..1100).for_each(|torrent| world.add(torrent, &other));
    world.run(Duration::from_secs(60));
    world.add(5000, &tiers);
    dead.set(true);
    world.seen.clear();
    world.in_flight_most = 0;
    world.schedule.stop_all(world.now);
    world.add(6000, &tiers);
    let took = world.run_dry(Duration::from_secs(100));
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(world.schedule.is_empty());
    assert!(world.seen.iter().all(|seen| seen.event == Event::Stopped && seen.torrent < 1100));
    assert_eq!(world.schedule.given_up(), 100);
    assert_eq!(world.urls().iter().filter(|url| **url == 0).count(), 1000);
    assert!(world.in_flight_most <= 2 * 8 * STOP_WINDOW_FACTOR as usize);
}

#[test]
fn a_leaving_torrent_does_not_wait_behind_those_that_start() {
    let mut world = World::new(Options::default(), |_| (SECOND, answered()));
    let tiers = world.tiers(&[1]);
    world.add(0, &tiers);
    world.run(2 * SECOND);
    (1..1000).for_each(|torrent| world.add(torrent, &tiers));
    world.begin();
    world.remove(0);
    world.run(2 * SECOND);
    let stopped = world.seen.iter().find(|seen| seen.event == Event::Stopped).unwrap();
    assert_eq!(stopped.at.since(Instant::ZERO), 3 * SECOND);
}

#[test]
fn announces_broken_off_at_shutdown_hinder_no_stop() {
    let mut world = World::new(Options::default(), |seen| match seen.event {
        Event::Started if seen.torrent >= 10 => (SECOND, Outcome::BrokenOff),
        _ => (Duration::from_millis(50), answered()),
    });
    let tiers = world.tiers(&[1]);
    (0..10).for_each(|torrent| world.add(torrent, &tiers));
    world.run(HALF_HOUR - SECOND);
    (10..18).for_each(|torrent| world.add(torrent, &tiers));
    world.begin();
    world.schedule.stop_all(world.now);
    let took = world.run_dry(Duration::from_secs(100));
    assert!(took <= SECOND, "{took:?}");
    let told = world.seen.iter().filter(|seen| seen.event == Event::Stopped);
    assert_eq!(told.count(), 10);
    assert_eq!(world.schedule.given_up(), 0);
}

#[test]
fn an_entry_is_small() {
    let waiting = size_of::<Entry<u32>>() + size_of::<(Instant, u64)>() + size_of::<u32>();
    assert!(waiting <= 100, "{waiting} bytes");
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => (0u64..4000).prop_map(|interval| Outcome::Answered {
            interval: Duration::from_secs(interval),
            min_interval: None,
        }),
        1 => Just(Outcome::Refused(Retry::Usual)),
        1 => Just(Outcome::Refused(Retry::Never)),
        1 => (0u64..4000).prop_map(|s| Outcome::Refused(Retry::After(Duration::from_secs(s)))),
        2 => Just(Outcome::Silent),
        1 => Just(Outcome::Absent),
        1 => Just(Outcome::BrokenOff),
    ]
}

proptest! {
    /// Entries are added, removed, completed and answered in any order. None is lost: while any
    /// is left that has a tracker, there is a next time; and at the end all leave.
    #[test]
    fn no_entry_is_lost_whatever_happens(
        outcomes in prop::collection::vec((0u64..100_000, outcome()), 1..50),
        ops in prop::collection::vec((0u8..4, 0u32..12, 0usize..3, 0u64..3_000), 1..80),
    ) {
        let options = Options { concurrency_per_host: 3, concurrency: 5, starts_per_host_per_s: 2 };
        let mut turn = 0;
        let never = outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Refused(Retry::Never));
        let mut world = World::new(options, move |_| {
            turn += 1;
            let (ms, outcome) = outcomes[turn % outcomes.len()];
            (Duration::from_millis(ms), outcome)
        });
        let lists = [world.tiers(&[1]), world.tiers(&[1, 2]), world.tiers(&[3, 1])];
        for (op, torrent, list, wait_s) in ops {
            match op {
                0 | 1 => world.add(torrent, &lists[list]),
                2 => world.remove(torrent),
                _ => world.schedule.completed(TorrentId(torrent), world.now),
            }
            world.run(Duration::from_secs(wait_s));
            prop_assert!(world.in_flight_most <= 5);
            let busy = world.schedule.in_flight() > 0 || world.schedule.deadline().is_some();
            prop_assert!(busy || world.schedule.is_empty() || never);
        }
        world.schedule.stop_all(world.now);
        world.run_dry(Duration::from_secs(100_000));
        prop_assert!(world.schedule.is_empty());
        prop_assert_eq!((world.schedule.queued(), world.schedule.in_flight()), (0, 0));
    }
}
