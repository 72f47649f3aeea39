//! One torrent, its tiers, its events and its intervals.

use super::super::*;
use super::world::*;
use crate::limits::{INTERVAL_MIN, RETRY_FIRST, TRACKERS_MAX};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

fn quick(outcome: Outcome) -> (Duration, Outcome) {
    (Duration::from_millis(10), outcome)
}

const REFUSED: Outcome = Outcome::Refused(Retry::Usual);

/// Trackers below `alive` refuse, that one and those after it answer.
fn refusing_below(alive: Rc<Cell<u32>>) -> World {
    World::new(Options::default(), move |seen| {
        quick(if seen.url < alive.get() { REFUSED } else { answered() })
    })
}

#[test]
fn tiers_are_tried_in_order_until_one_tracker_answers() {
    let mut world = refusing_below(Rc::new(Cell::new(3)));
    let tiers = world.tiers(&[1, 2, 1, 1]);
    world.add(0, &tiers);
    world.run(SECOND);
    let urls = world.urls();
    assert!(urls == [0, 1, 2, 3] || urls == [0, 2, 1, 3], "{urls:?}");
}

#[test]
fn within_a_tier_torrents_begin_at_different_trackers() {
    let mut world = World::friendly();
    let tiers = world.tiers(&[10]);
    (0..200).for_each(|torrent| world.add(torrent, &tiers));
    world.run(10 * SECOND);
    let counts = (0..10).map(|url| world.urls().iter().filter(|seen| **seen == url).count());
    assert!(
        counts.clone().all(|count| (5..=40).contains(&count)),
        "{:?}",
        counts.collect::<Vec<_>>()
    );
}

#[test]
fn a_tracker_that_answered_is_asked_first_in_its_tier_but_after_the_tiers_before() {
    let alive = Rc::new(Cell::new(3));
    let mut world = refusing_below(Rc::clone(&alive));
    let tiers = world.tiers(&[1, 3]);
    world.add(0, &tiers);
    world.run(SECOND);
    assert_eq!(world.urls().last(), Some(&3));
    world.seen.clear();
    world.run(HALF_HOUR + HALF_HOUR / 4);
    assert_eq!(world.urls(), [0, 3], "the first tier again, then the one that worked");
    alive.set(0);
    world.seen.clear();
    world.run(HALF_HOUR + HALF_HOUR / 4);
    assert_eq!(world.events(), [(0, Event::Started)], "the first tier is back: it is new to us");
}

#[test]
fn started_once_then_regular_then_stopped_to_the_tracker_that_knows_us() {
    let mut world = World::friendly();
    let tiers = world.tiers(&[1, 1]);
    world.add(0, &tiers);
    world.run(3 * HALF_HOUR);
    world.remove(0);
    world.run(3 * HALF_HOUR);
    use Event::{Regular, Started, Stopped};
    assert_eq!(world.events(), [(0, Started), (0, Regular), (0, Regular), (0, Stopped)]);
    assert!(world.schedule.is_empty());
}

#[test]
fn a_torrent_that_no_tracker_knows_leaves_without_a_word() {
    let mut world = World::new(Options::default(), |_| quick(REFUSED));
    let tiers = world.tiers(&[1]);
    world.add(0, &tiers);
    world.run(SECOND);
    world.remove(0);
    assert!(world.schedule.is_empty());
    world.run(3 * HALF_HOUR);
    assert_eq!(world.events(), [(0, Event::Started)]);
}

#[test]
fn a_torrent_removed_in_flight_is_stopped_once_the_tracker_has_it() {
    let mut world = World::new(Options::default(), |_| (SECOND, answered()));
    let tiers = world.tiers(&[1]);
    world.add(0, &tiers);
    world.begin();
    world.remove(0);
    world.add(0, &tiers);
    world.run(3 * SECOND);
    use Event::{Started, Stopped};
    // The slot is not reused while its announce is in flight: the new entry is another.
    assert_eq!(world.events(), [(0, Started), (0, Started), (0, Stopped)]);
    assert_eq!(world.schedule.len(), 1);
}

#[test]
fn completed_is_told_at_once_and_once() {
    let mut world = World::friendly();
    let tiers = world.tiers(&[1]);
    world.add(0, &tiers);
    world.run(SECOND);
    world.schedule.completed(TorrentId(0), world.now);
    world.run(2 * HALF_HOUR);
    use Event::{Completed, Regular, Started};
    assert_eq!(world.events(), [(0, Started), (0, Completed), (0, Regular)]);
}

#[test]
fn completed_before_the_first_answer_follows_started() {
    let mut world = World::new(Options::default(), |_| (SECOND, answered()));
    let tiers = world.tiers(&[1]);
    world.add(0, &tiers);
    world.begin();
    world.schedule.completed(TorrentId(0), world.now);
    world.run(5 * SECOND);
    assert_eq!(world.events(), [(0, Event::Started), (0, Event::Completed)]);
}

fn second_announce_after(interval_s: u64, min_interval_s: Option<u64>) -> Duration {
    let mut world = World::new(Options::default(), move |_| {
        quick(Outcome::Answered {
            interval: Duration::from_secs(interval_s),
            min_interval: min_interval_s.map(Duration::from_secs),
        })
    });
    let tiers = world.tiers(&[1]);
    world.add(0, &tiers);
    world.run(Duration::from_secs(48 * 3600));
    world.seen[1].at.since(world.seen[0].at)
}

#[test]
fn the_interval_is_kept_and_passed_by_an_eighth_at_most() {
    for (interval, min_interval, seconds) in [
        (1800, None, 1800),
        (1800, Some(900), 1800),
        (900, Some(1800), 1800),
        (0, None, INTERVAL_MIN.as_secs()),
        (u64::from(u32::MAX), None, 24 * 3600),
    ] {
        let after = second_announce_after(interval, min_interval);
        let least = Duration::from_secs(seconds);
        assert!(after >= least && after < least + least / 8 + SECOND, "{interval} {after:?}");
    }
}

#[test]
fn a_torrent_that_all_refuse_is_asked_ever_less_often() {
    let mut world = World::new(Options::default(), |_| quick(REFUSED));
    let tiers = world.tiers(&[2]);
    world.add(0, &tiers);
    world.run(Duration::from_secs(24 * 3600));
    let rounds: Vec<_> = world.seen.iter().step_by(2).map(|seen| seen.at).collect();
    let waits: Vec<_> = rounds.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(waits[0] >= RETRY_FIRST);
    assert!(waits.iter().take(6).zip(&waits[1..]).all(|(wait, next)| next > wait), "{waits:?}");
    assert!(world.seen.len() < 70, "{}", world.seen.len());
}

#[test]
fn a_tracker_that_says_when_to_come_back_is_obeyed() {
    let after = Duration::from_secs(7 * 60);
    let mut world =
        World::new(Options::default(), move |_| quick(Outcome::Refused(Retry::After(after))));
    let tiers = world.tiers(&[1]);
    world.add(0, &tiers);
    world.run(Duration::from_secs(14 * 60));
    assert_eq!(world.seen.len(), 2);
    assert!(world.seen[1].at.since(world.seen[0].at) >= after);
}

#[test]
fn a_tracker_that_says_never_is_not_asked_again_and_the_others_are() {
    let never = Outcome::Refused(Retry::Never);
    let mut world = World::new(Options::default(), move |seen| {
        quick(if seen.url == 1 { answered() } else { never })
    });
    let tiers = world.tiers(&[1, 1, 1]);
    world.add(0, &tiers);
    world.run(3 * HALF_HOUR);
    assert_eq!(world.urls(), [0, 1, 1, 1]);
    let alone = world.tiers(&[1]);
    world.seen.clear();
    world.add(1, &alone);
    world.run(Duration::from_secs(48 * 3600));
    assert_eq!(world.seen.iter().filter(|seen| seen.torrent == 1).count(), 1);
    world.remove(1);
    assert_eq!(world.schedule.len(), 1, "and it leaves without a word");
}

#[test]
fn a_hybrid_with_two_families_is_four_entries() {
    let mut world = World::friendly();
    let tiers = world.tiers(&[1]);
    for (swarm, family) in [(1, Family::V4), (1, Family::V6), (2, Family::V4), (2, Family::V6)] {
        let info_hash = InfoHash([swarm; 20]);
        world.schedule.add(TorrentId(7), info_hash, family, Arc::clone(&tiers), world.now);
    }
    world.run(SECOND);
    assert_eq!(world.seen.iter().filter(|seen| seen.family == Family::V6).count(), 2);
    assert_eq!(world.seen.len(), 4);
    world.remove(7);
    world.run(SECOND);
    assert_eq!(world.seen.iter().filter(|seen| seen.event == Event::Stopped).count(), 4);
}

#[test]
fn long_lists_are_cut_and_empty_ones_do_nothing() {
    let mut world = World::friendly();
    let tiers = world.tiers(&[200, 0, 200]);
    assert_eq!(tiers.trackers().len(), usize::from(TRACKERS_MAX));
    let none = Arc::new(Tiers::new([vec![], vec![]]));
    world.add(0, &none);
    assert!(world.schedule.is_empty());
    assert_eq!(world.schedule.deadline(), None);
}

#[test]
fn the_order_of_a_tier_visits_each_tracker_once() {
    let mut world = World::friendly();
    let tiers = world.tiers(&[3, 1, 5]);
    for front in [None, Some(1), Some(3), Some(8)] {
        for salt in 0..20 {
            let order: Vec<_> = (0..9).map(|step| tiers.position(step, front, salt)).collect();
            let tier = |at: usize| -> BTreeSet<_> {
                let range = [0..3, 3..4, 4..9][at].clone();
                order[range].iter().map(|at| at.unwrap()).collect()
            };
            assert_eq!(tier(0), BTreeSet::from_iter(0..3));
            assert_eq!(tier(1), BTreeSet::from_iter(3..4));
            assert_eq!(tier(2), BTreeSet::from_iter(4..9));
            assert_eq!(tiers.position(9, front, salt), None);
        }
    }
}
