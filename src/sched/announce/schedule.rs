//! The schedule itself: entries, the heap, the hosts.

use super::host::{Host, NONE, Start};
use super::{Announce, Event, Family, HostId, Key, Options, Outcome, Tiers};
use crate::limits::{HOSTS_MAX, INTERVAL_MAX, INTERVAL_MIN};
use alloc::collections::{BinaryHeap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use ringseed_meta::{InfoHash, Instant, TorrentId};

/// Where an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Free,
    /// In the heap, for the time `due`.
    Waiting,
    /// In its host's line.
    Queued,
    InFlight,
    /// No tracker is left to ask.
    Retired,
}

pub(super) struct Entry<U> {
    pub(super) tiers: Arc<Tiers<U>>,
    /// When it leaves the heap.
    pub(super) due: Instant,
    pub(super) info_hash: InfoHash,
    pub(super) torrent: TorrentId,
    /// Neighbours in a host's line; `next` also links free slots.
    pub(super) next: u32,
    pub(super) previous: u32,
    /// The torrent's next entry.
    pub(super) sibling: u32,
    /// Trackers tried in this attempt.
    pub(super) step: u16,
    /// The one being tried: a position in `tiers`.
    pub(super) at: u16,
    /// The one that took the last announce: it knows of us, and comes first in its tier.
    pub(super) told: Option<u16>,
    pub(super) failures: u8,
    pub(super) place: Place,
    pub(super) family: Family,
    /// The event in flight.
    pub(super) sent: Event,
    pub(super) completed: bool,
    pub(super) leaving: bool,
}

impl<U> Entry<U> {
    /// Its own order of trackers: different swarms shuffle differently.
    pub(super) fn salt(&self) -> u64 {
        self.info_hash.0.iter().fold(0, |salt, byte| (salt << 3) ^ (salt >> 61) ^ u64::from(*byte))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Entry(u32),
    Host(u32),
}

/// Who announces next, and where. See the head of [`super`].
pub struct Schedule<U> {
    pub(super) options: Options,
    pub(super) salt: u64,
    /// Whom freed slots point to, so that no list outlives its torrents.
    pub(super) nobody: Arc<Tiers<U>>,
    pub(super) entries: Vec<Entry<U>>,
    pub(super) free: u32,
    pub(super) live: u32,
    /// First entry of each torrent, by its number.
    pub(super) torrents: Vec<u32>,
    /// Two for each HostId: IPv4, IPv6.
    pub(super) hosts: Vec<Host>,
    /// Hosts that may begin something, each once.
    pub(super) ring: VecDeque<u32>,
    pub(super) timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    pub(super) in_flight: u32,
    pub(super) queued: u32,
    pub(super) given_up: u64,
    pub(super) stopping: bool,
}

impl<U: Clone> Schedule<U> {
    /// An empty schedule. `random` decides the order of trackers within tiers.
    pub fn new(options: Options, random: u64) -> Schedule<U> {
        Schedule {
            options,
            salt: random,
            nobody: Arc::new(Tiers::new([])),
            entries: Vec::new(),
            free: NONE,
            live: 0,
            torrents: Vec::new(),
            hosts: Vec::new(),
            ring: VecDeque::new(),
            timers: BinaryHeap::new(),
            in_flight: 0,
            queued: 0,
            given_up: 0,
            stopping: false,
        }
    }

    /// A queue for one more host; `None` when there are [`HOSTS_MAX`].
    pub fn host(&mut self, now: Instant) -> Option<HostId> {
        let id = u32::try_from(self.hosts.len() / 2).ok().filter(|id| *id < HOSTS_MAX)?;
        self.hosts.extend([Host::new(&self.options, now), Host::new(&self.options, now)]);
        Some(HostId(id))
    }

    /// `info_hash` of `torrent` announces from `family` from now on, first with "started".
    /// Without trackers nothing happens; neither after [`Schedule::stop_all`].
    pub fn add(
        &mut self,
        torrent: TorrentId,
        info_hash: InfoHash,
        family: Family,
        tiers: Arc<Tiers<U>>,
        now: Instant,
    ) {
        if tiers.is_empty() || self.stopping {
            return;
        }
        let at = torrent.0 as usize;
        if at >= self.torrents.len() {
            self.torrents.resize(at + 1, NONE);
        }
        let entry = Entry {
            tiers,
            due: now,
            info_hash,
            torrent,
            next: NONE,
            previous: NONE,
            sibling: self.torrents[at],
            step: 0,
            at: 0,
            told: None,
            failures: 0,
            place: Place::Waiting,
            family,
            sent: Event::Regular,
            completed: false,
            leaving: false,
        };
        let slot = self.free;
        let slot = if slot == NONE {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            self.free = self.entries[slot as usize].next;
            self.entries[slot as usize] = entry;
            slot
        };
        self.live += 1;
        self.torrents[at] = slot;
        self.attempt(slot, now);
    }

    /// The torrent's download has become complete: its trackers are told at once.
    pub fn completed(&mut self, torrent: TorrentId, now: Instant) {
        let mut slot = self.first_of(torrent);
        while slot != NONE {
            let entry = &mut self.entries[slot as usize];
            let next = entry.sibling;
            entry.completed = true;
            if entry.place == Place::Waiting {
                self.attempt(slot, now);
            }
            slot = next;
        }
    }

    /// The torrent leaves: trackers that know of it get a "stopped", the others nothing more.
    pub fn remove(&mut self, torrent: TorrentId, now: Instant) {
        let mut slot = self.first_of(torrent);
        if let Some(first) = self.torrents.get_mut(torrent.0 as usize) {
            *first = NONE;
        }
        while slot != NONE {
            let next = self.entries[slot as usize].sibling;
            self.leave(slot, now);
            slot = next;
        }
    }

    /// All torrents leave, and nothing but "stopped" is begun any more, at a quicker pace. Done
    /// when [`Schedule::is_empty`].
    pub fn stop_all(&mut self, now: Instant) {
        self.stopping = true;
        (0..self.torrents.len() as u32).for_each(|torrent| self.remove(TorrentId(torrent), now));
        // A wider window and no pace: hosts that waited may begin.
        (0..self.hosts.len() as u32).for_each(|host| self.offer(host));
    }

    /// The next announce to begin now, if any.
    pub fn poll(&mut self, now: Instant) -> Option<Announce<U>> {
        self.wake(now);
        while self.in_flight < self.options.concurrency.max(1) {
            let at = self.ring.pop_front()?;
            let host = &mut self.hosts[at as usize];
            host.listed = false;
            let slot = host.line.first;
            if slot == NONE {
                continue;
            }
            match host.start(self.stopping, now) {
                Start::Now => {
                    self.unqueue(slot);
                    self.offer(at);
                    return Some(self.begin(slot));
                }
                Start::NotBefore(then) => self.wake_host(at, then),
                Start::Later => {}
            }
        }
        None
    }

    /// When [`Schedule::poll`] has something next, unless something finishes or changes before;
    /// the zero of time when at once, `None` when never.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.ring.is_empty() && self.in_flight < self.options.concurrency.max(1) {
            return Some(Instant::ZERO);
        }
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// The announce `key` has ended so.
    pub fn finished(&mut self, key: Key, outcome: Outcome, now: Instant, random: u64) {
        let slot = key.0;
        match self.entries.get(slot as usize) {
            Some(entry) if entry.place == Place::InFlight => {}
            _ => return,
        }
        self.in_flight -= 1;
        self.tell_host(slot, outcome, now, random);
        let entry = &mut self.entries[slot as usize];
        entry.place = Place::Retired;
        if entry.sent == Event::Stopped {
            let heard = matches!(outcome, Outcome::Answered { .. } | Outcome::Refused(_));
            self.given_up += u64::from(!heard);
            self.release(slot);
            return;
        }
        if let Outcome::Answered { interval, min_interval } = outcome {
            let wait = interval.max(min_interval.unwrap_or_default());
            self.answered(slot, wait.clamp(INTERVAL_MIN, INTERVAL_MAX), now, random);
        } else if entry.leaving {
            self.leave(slot, now);
        } else {
            self.failed(slot, outcome, now, random);
        }
    }

    /// Nothing is left that announces or will.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Entries: those who announce.
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Entries whose time has come and who stand in the queue of a host.
    pub fn queued(&self) -> usize {
        self.queued as usize
    }

    /// Announces begun and not finished.
    pub fn in_flight(&self) -> usize {
        self.in_flight as usize
    }

    /// "stopped" announces that were not delivered, because their host gives no answer.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }
}
