//! What the announcer remembers: the schedule, the hosts and lists of trackers, the counters.

use super::limits::{BAD_URLS_MAX, TRACKER_IDS_MAX};
use super::reply::{Failed, Reply, Taken};
use super::{Health, Notice, Status, StopSummary, TrackerUrl, UrlError};
use ringseed_meta::{InfoHash, Instant};
use ringseed_sched::announce::{
    self, Event, Family, HostId, Options, Outcome, Schedule, Tiers, Tracker,
};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

pub(super) type Announce = announce::Announce<Arc<TrackerUrl>>;
type List = Tiers<Arc<TrackerUrl>>;

pub(super) struct State {
    pub(super) schedule: Schedule<Arc<TrackerUrl>>,
    /// By scheme, host and port.
    hosts: BTreeMap<String, HostId>,
    /// By [`HostId`].
    health: Vec<Health>,
    /// Lists of trackers that torrents have, so that equal ones are one.
    lists: hashbrown::HashMap<Box<[Vec<String>]>, Weak<List>>,
    /// Lists at which those that nobody has any more are dropped.
    lists_most: usize,
    tracker_ids: BTreeMap<(InfoHash, Family, HostId), Vec<u8>>,
    bad_urls: usize,
    random: RandomState,
    count: u64,
    stopping_since: Option<Instant>,
    told: u64,
}

impl State {
    pub(super) fn new(pacing: Options) -> State {
        let random = RandomState::new();
        State {
            schedule: Schedule::new(pacing, random.hash_one("tiers")),
            hosts: BTreeMap::new(),
            health: Vec::new(),
            lists: hashbrown::HashMap::new(),
            lists_most: 64,
            tracker_ids: BTreeMap::new(),
            bad_urls: 0,
            random,
            count: 0,
            stopping_since: None,
            told: 0,
        }
    }

    /// A number nobody else knows, for the life of this process.
    pub(super) fn key(&self) -> u32 {
        self.random.hash_one("key") as u32
    }

    /// The list that says `tiers`. What cannot be used of it is left out and noticed.
    pub(super) fn tiers(
        &mut self,
        tiers: &[Vec<String>],
        now: Instant,
        notices: &mut Vec<Notice>,
    ) -> Arc<List> {
        if let Some(list) = self.lists.get(tiers).and_then(Weak::upgrade) {
            return list;
        }
        let list =
            Arc::new(Tiers::new(tiers.iter().map(|tier| {
                tier.iter().filter_map(|url| self.tracker(url, now, notices)).collect()
            })));
        if self.lists.len() >= self.lists_most {
            self.lists.retain(|_, list| list.strong_count() > 0);
            self.lists_most = 64.max(2 * self.lists.len());
        }
        self.lists.insert(tiers.into(), Arc::downgrade(&list));
        list
    }

    fn tracker(
        &mut self,
        url: &str,
        now: Instant,
        notices: &mut Vec<Notice>,
    ) -> Option<Tracker<Arc<TrackerUrl>>> {
        let found = TrackerUrl::parse(url).and_then(|url| {
            let origin = url.origin();
            let host = match self.hosts.get(&origin) {
                Some(host) => *host,
                None => self.new_host(origin, now)?,
            };
            Ok(Tracker { host, url: Arc::new(url) })
        });
        found
            .map_err(|why| {
                self.bad_urls += 1;
                if self.bad_urls <= BAD_URLS_MAX {
                    notices.push(Notice::Unusable { why });
                }
            })
            .ok()
    }

    fn new_host(&mut self, origin: String, now: Instant) -> Result<HostId, UrlError> {
        let Some(host) = self.schedule.host(now) else {
            return Err(UrlError::TooManyHosts(origin));
        };
        self.health.push(Health::new(origin.clone()));
        self.hosts.insert(origin, host);
        Ok(host)
    }

    /// What the tracker gave to be sent back.
    pub(super) fn tracker_id(&self, announce: &Announce) -> Vec<u8> {
        let key = (announce.info_hash, announce.family, announce.tracker().host);
        self.tracker_ids.get(&key).cloned().unwrap_or_default()
    }

    /// An announce has ended: what to tell people, and the peers it brought.
    pub(super) fn end(
        &mut self,
        announce: &Announce,
        reply: Reply,
        now: Instant,
    ) -> (Option<Notice>, Vec<SocketAddr>) {
        let host = announce.tracker().host;
        let health = self.health.get_mut(host.0 as usize);
        let notice = health.and_then(|health| health.on_reply(announce.family, &reply));
        let (outcome, peers) = match reply {
            Ok(taken) => {
                self.told += u64::from(announce.event == Event::Stopped);
                self.keep_tracker_id(announce, taken.tracker_id.as_deref());
                (outcome(&taken), taken.peers)
            }
            Err(Failed { outcome, .. }) => (outcome, Vec::new()),
        };
        self.count += 1;
        let random = self.random.hash_one(self.count);
        self.schedule.finished(announce.key, outcome, now, random);
        (notice, peers)
    }

    fn keep_tracker_id(&mut self, announce: &Announce, tracker_id: Option<&[u8]>) {
        let key = (announce.info_hash, announce.family, announce.tracker().host);
        if announce.event == Event::Stopped {
            self.tracker_ids.remove(&key);
        } else if let Some(tracker_id) = tracker_id
            && (self.tracker_ids.len() < TRACKER_IDS_MAX || self.tracker_ids.contains_key(&key))
        {
            self.tracker_ids.insert(key, tracker_id.to_owned());
        }
    }

    pub(super) fn stop_all(&mut self, now: Instant) {
        self.stopping_since.get_or_insert(now);
        self.told = 0;
        self.schedule.stop_all(now);
    }

    /// All have left.
    pub(super) fn is_done(&self) -> bool {
        self.stopping_since.is_some() && self.schedule.is_empty()
    }

    /// When [`State::stop_all`] was called first.
    pub(super) fn stopping_since(&self) -> Option<Instant> {
        self.stopping_since
    }

    pub(super) fn stop_summary(&self) -> StopSummary {
        let given_up = self.schedule.given_up() + self.schedule.len() as u64;
        StopSummary { told: self.told, given_up }
    }

    pub(super) fn status(&self, name_lookups: u64) -> Status {
        let hosts: Vec<_> = self.health.iter().map(Health::status).collect();
        Status {
            name_lookups,
            entries: self.schedule.len(),
            queued: self.schedule.queued(),
            in_flight: self.schedule.in_flight(),
            announced: hosts.iter().map(|host| host.announced).sum(),
            failed: hosts.iter().map(|host| host.failed).sum(),
            hosts,
        }
    }
}

fn outcome(taken: &Taken) -> Outcome {
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    Outcome::Answered {
        interval: seconds(taken.interval_s),
        min_interval: taken.min_interval_s.map(seconds),
    }
}
