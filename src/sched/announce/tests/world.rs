//! A world of trackers in virtual time, and the loop that performs what the schedule decides.

use super::super::*;
use ringseed_meta::Instant;
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// One announce as the world saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) url: u32,
    pub(super) torrent: u32,
    pub(super) family: Family,
    pub(super) event: Event,
}

/// How the tracker `url` takes an announce: how long it needs, and what comes.
type Behaviour = Box<dyn FnMut(Seen) -> (Duration, Outcome)>;

pub(super) struct World {
    pub(super) schedule: Schedule<u32>,
    pub(super) now: Instant,
    pub(super) seen: Vec<Seen>,
    pub(super) in_flight_most: usize,
    behaviour: Behaviour,
    ends: BTreeMap<(Instant, u64), (Key, Outcome)>,
    in_flight: BTreeSet<Key>,
    count: u64,
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HALF_HOUR: Duration = Duration::from_secs(1800);

pub(super) fn answered() -> Outcome {
    Outcome::Answered { interval: HALF_HOUR, min_interval: None }
}

impl World {
    pub(super) fn new(
        options: Options,
        behaviour: impl FnMut(Seen) -> (Duration, Outcome) + 'static,
    ) -> World {
        World {
            schedule: Schedule::new(options, 5),
            now: Instant::ZERO,
            seen: Vec::new(),
            in_flight_most: 0,
            behaviour: Box::new(behaviour),
            ends: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            count: 0,
        }
    }

    /// All trackers answer within 50 ms.
    pub(super) fn friendly() -> World {
        World::new(Options::default(), |_| (Duration::from_millis(50), answered()))
    }

    /// Tiers of trackers, each on a host of its own, numbered from 0 in their order.
    pub(super) fn tiers(&mut self, sizes: &[u32]) -> Arc<Tiers<u32>> {
        let mut url = 0;
        let now = self.now;
        let tiers: Vec<_> = sizes
            .iter()
            .map(|size| {
                let tier = url..url + size;
                url = tier.end;
                tier.map(|url| Tracker { host: self.schedule.host(now).unwrap(), url }).collect()
            })
            .collect();
        Arc::new(Tiers::new(tiers))
    }

    pub(super) fn add(&mut self, torrent: u32, tiers: &Arc<Tiers<u32>>) {
        let mut info_hash = InfoHash([0; 20]);
        info_hash.0[..4].copy_from_slice(&torrent.to_be_bytes());
        self.schedule.add(TorrentId(torrent), info_hash, Family::V4, Arc::clone(tiers), self.now);
    }

    pub(super) fn remove(&mut self, torrent: u32) {
        self.schedule.remove(TorrentId(torrent), self.now);
    }

    fn random(&mut self) -> u64 {
        self.count += 1;
        crate::shuffle::mix(self.count)
    }

    /// Begins all that may begin now.
    pub(super) fn begin(&mut self) {
        while let Some(announce) = self.schedule.poll(self.now) {
            assert!(self.in_flight.insert(announce.key), "an entry is in flight once");
            let seen = Seen {
                at: self.now,
                url: announce.tracker().url,
                torrent: announce.torrent.0,
                family: announce.family,
                event: announce.event,
            };
            self.seen.push(seen);
            let (takes, outcome) = (self.behaviour)(seen);
            let number = self.random();
            self.ends.insert((self.now.after(takes), number), (announce.key, outcome));
            assert_eq!(self.schedule.in_flight(), self.in_flight.len());
        }
        self.in_flight_most = self.in_flight_most.max(self.in_flight.len());
    }

    /// One step to the next thing that happens, not past `end`. Nothing left: false.
    fn step(&mut self, end: Instant) -> bool {
        self.begin();
        let finish = self.ends.first_key_value().map(|((at, _), _)| *at);
        let next = [finish, self.schedule.deadline()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        self.now = self.now.max(next);
        if finish.is_some_and(|at| at <= self.now)
            && let Some((_, (key, outcome))) = self.ends.pop_first()
        {
            assert!(self.in_flight.remove(&key));
            let random = self.random();
            self.schedule.finished(key, outcome, self.now, random);
        }
        true
    }

    /// Lets `time` pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until nothing is left or `time` is over; how long it took.
    pub(super) fn run_dry(&mut self, time: Duration) -> Duration {
        let start = self.now;
        while !self.schedule.is_empty() && self.step(start.after(time)) {}
        self.now.since(start)
    }

    pub(super) fn urls(&self) -> Vec<u32> {
        self.seen.iter().map(|seen| seen.url).collect()
    }

    pub(super) fn events(&self) -> Vec<(u32, Event)> {
        self.seen.iter().map(|seen| (seen.url, seen.event)).collect()
    }
}
