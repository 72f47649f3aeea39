//! How entries move between their places: heap, line, flight.

use super::host::{Line, NONE};
use super::schedule::{Entry, Place, Schedule, Timer};
use super::{Announce, Event, Key, Outcome, Retry, doubled, jittered};
use crate::limits::{INTERVAL_MAX, INTERVAL_MIN, RETRY_FIRST, RETRY_MOST};
use alloc::sync::Arc;
use core::cmp::Reverse;
use core::mem;
use core::time::Duration;
use ringseed_meta::{Instant, TorrentId};

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl<U> Entry<U> {
    /// Its host's number for its family, with the tracker at `position`.
    fn host(&self, position: u16) -> u32 {
        self.tiers.at(position).host.0 * 2 + self.family as u32
    }

    fn event(&self) -> Event {
        match () {
            () if self.leaving => Event::Stopped,
            () if self.told != Some(self.at) => Event::Started,
            () if self.completed => Event::Completed,
            () => Event::Regular,
        }
    }
}

impl<U: Clone> Schedule<U> {
    pub(super) fn first_of(&self, torrent: TorrentId) -> u32 {
        self.torrents.get(torrent.0 as usize).copied().unwrap_or(NONE)
    }

    fn entry(&mut self, slot: u32) -> &mut Entry<U> {
        &mut self.entries[slot as usize]
    }

    /// A new attempt, from the first tier: the entry stands in the line of the first host that is
    /// up or, when none is, of the one that will be asked again first.
    pub(super) fn attempt(&mut self, slot: u32, now: Instant) {
        if self.go_on(slot, 0, now) {
            return;
        }
        let entry = &self.entries[slot as usize];
        let until = |at: u16| self.hosts[entry.host(at) as usize].down_until(now);
        if let Some(at) = (0..entry.tiers.len()).min_by_key(|at| until(*at)) {
            let entry = self.entry(slot);
            // Whatever comes of it, this was the attempt's last tracker.
            (entry.step, entry.at) = (u16::MAX - 1, at);
            self.queue(slot, End::Back);
        }
    }

    /// Stands in line for the first tracker from `step` on whose host is up, if there is one.
    fn go_on(&mut self, slot: u32, step: u16, now: Instant) -> bool {
        let entry = &self.entries[slot as usize];
        let up = (step..entry.tiers.len()).find_map(|step| {
            let at = entry.tiers.position(step, entry.told, self.salt ^ entry.salt())?;
            let host = &self.hosts[entry.host(at) as usize];
            host.down_until(now).is_none().then_some((step, at))
        });
        let Some((step, at)) = up else { return false };
        let entry = self.entry(slot);
        (entry.step, entry.at) = (step, at);
        self.queue(slot, End::Back);
        true
    }

    fn queue(&mut self, slot: u32, end: End) {
        let entry = &mut self.entries[slot as usize];
        let at = entry.host(entry.at);
        let line = &mut self.hosts[at as usize].line;
        entry.place = Place::Queued;
        (entry.previous, entry.next) = match end {
            End::Back => (mem::replace(&mut line.last, slot), NONE),
            End::Front => (NONE, mem::replace(&mut line.first, slot)),
        };
        let (previous, next) = (entry.previous, entry.next);
        match previous {
            NONE => line.first = slot,
            _ => self.entries[previous as usize].next = slot,
        }
        match next {
            NONE => line.last = slot,
            _ => self.entries[next as usize].previous = slot,
        }
        line.len += 1;
        self.queued += 1;
        self.offer(at);
    }

    pub(super) fn unqueue(&mut self, slot: u32) {
        let entry = &self.entries[slot as usize];
        let (previous, next, at) = (entry.previous, entry.next, entry.host(entry.at));
        let line = &mut self.hosts[at as usize].line;
        match previous {
            NONE => line.first = next,
            _ => self.entries[previous as usize].next = next,
        }
        match next {
            NONE => line.last = previous,
            _ => self.entries[next as usize].previous = previous,
        }
        line.len -= 1;
        self.queued -= 1;
    }

    pub(super) fn begin(&mut self, slot: u32) -> Announce<U> {
        self.in_flight += 1;
        let entry = self.entry(slot);
        entry.place = Place::InFlight;
        entry.sent = entry.event();
        Announce {
            key: Key(slot),
            torrent: entry.torrent,
            info_hash: entry.info_hash,
            family: entry.family,
            event: entry.sent,
            tiers: Arc::clone(&entry.tiers),
            at: entry.at,
        }
    }

    /// The host may have something to begin: it is looked at by the next poll.
    pub(super) fn offer(&mut self, at: u32) {
        let host = &mut self.hosts[at as usize];
        if !host.listed && host.line.first != NONE {
            host.listed = true;
            self.ring.push_back(at);
        }
    }

    pub(super) fn wake_host(&mut self, at: u32, then: Instant) {
        let host = &mut self.hosts[at as usize];
        if host.timer.is_none_or(|timer| then < timer) {
            host.timer = Some(then);
            self.timers.push(Reverse((then, Timer::Host(at))));
        }
    }

    /// Everything whose time has come stands in line.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(Reverse((then, timer))) = self.timers.peek().copied() {
            if then > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Entry(slot) => {
                    let entry = self.entry(slot);
                    // Else it was moved since: the heap is not searched for what leaves it.
                    if entry.place == Place::Waiting && entry.due == then {
                        self.attempt(slot, now);
                    }
                }
                Timer::Host(at) => {
                    let timer = &mut self.hosts[at as usize].timer;
                    if *timer == Some(then) {
                        *timer = None;
                        self.offer(at);
                    }
                }
            }
        }
    }

    fn wait(&mut self, slot: u32, due: Instant) {
        let entry = self.entry(slot);
        entry.place = Place::Waiting;
        entry.due = due;
        self.timers.push(Reverse((due, Timer::Entry(slot))));
        if self.timers.len() > 2 * (self.entries.len() + self.hosts.len()) {
            let (entries, hosts) = (&self.entries, &self.hosts);
            self.timers.retain(|Reverse((then, timer))| match timer {
                Timer::Entry(slot) => {
                    let entry = &entries[*slot as usize];
                    entry.place == Place::Waiting && entry.due == *then
                }
                Timer::Host(at) => hosts[*at as usize].timer == Some(*then),
            });
        }
    }

    /// What an outcome says about the host.
    pub(super) fn tell_host(&mut self, slot: u32, outcome: Outcome, now: Instant, random: u64) {
        let entry = &self.entries[slot as usize];
        let at = entry.host(entry.at);
        let host = &mut self.hosts[at as usize];
        let went_down = match outcome {
            Outcome::Answered { .. } | Outcome::Refused(_) => {
                host.answered(&self.options);
                false
            }
            Outcome::BrokenOff => {
                host.broken_off();
                false
            }
            Outcome::Silent => host.silent(now, random.rotate_left(32)),
            Outcome::Absent => host.absent(now, random.rotate_left(32)),
        };
        if went_down {
            self.spread_line(at, now);
        }
        self.offer(at);
    }

    /// The host is down: who stands in its line goes where a tracker is up, or stays.
    fn spread_line(&mut self, at: u32, now: Instant) {
        let line = mem::replace(&mut self.hosts[at as usize].line, Line::EMPTY);
        self.queued -= line.len;
        let mut slot = line.first;
        while slot != NONE {
            let entry = self.entry(slot);
            let next = entry.next;
            if entry.leaving {
                self.given_up += 1;
                self.release(slot);
            } else {
                self.attempt(slot, now);
            }
            slot = next;
        }
    }

    pub(super) fn answered(&mut self, slot: u32, wait: Duration, now: Instant, random: u64) {
        let entry = self.entry(slot);
        entry.told = Some(entry.at);
        entry.failures = 0;
        entry.completed &= entry.sent != Event::Completed;
        match (entry.leaving, entry.completed) {
            (true, _) => self.leave(slot, now),
            (false, true) => self.attempt(slot, now),
            (false, false) => self.wait(slot, now.after(jittered(wait, random))),
        }
    }

    /// On to the next tracker; after the last, a pause.
    pub(super) fn failed(&mut self, slot: u32, outcome: Outcome, now: Instant, random: u64) {
        let entry = self.entry(slot);
        let step = match outcome {
            Outcome::Refused(Retry::Never) => {
                let gone = entry.at;
                entry.tiers = Arc::new(entry.tiers.without(gone));
                entry.told = entry.told.filter(|told| *told != gone);
                entry.told = entry.told.map(|told| told - u16::from(told > gone));
                if entry.tiers.is_empty() {
                    return;
                }
                entry.step
            }
            _ => entry.step + 1,
        };
        let wait = match outcome {
            Outcome::Refused(Retry::After(wait)) => wait.clamp(INTERVAL_MIN, INTERVAL_MAX),
            Outcome::Refused(_) => doubled(RETRY_FIRST, entry.failures, RETRY_MOST),
            // The host's own pause grows; the entry then waits in its line.
            _ => RETRY_FIRST,
        };
        if !self.go_on(slot, step, now) {
            let entry = self.entry(slot);
            entry.failures = entry.failures.saturating_add(1);
            self.wait(slot, now.after(jittered(wait, random)));
        }
    }

    /// Gone from its place; "stopped" to the tracker that knows of it, if that is up.
    pub(super) fn leave(&mut self, slot: u32, now: Instant) {
        self.entry(slot).leaving = true;
        match self.entry(slot).place {
            Place::InFlight => return,
            Place::Queued => self.unqueue(slot),
            Place::Waiting | Place::Retired | Place::Free => {}
        }
        let entry = self.entry(slot);
        entry.place = Place::Retired;
        let Some(told) = entry.told else { return self.release(slot) };
        entry.at = told;
        let at = entry.host(told);
        if self.hosts[at as usize].down_until(now).is_none() {
            self.queue(slot, End::Front);
        } else {
            self.given_up += 1;
            self.release(slot);
        }
    }

    pub(super) fn release(&mut self, slot: u32) {
        let (free, nobody) = (self.free, Arc::clone(&self.nobody));
        let entry = self.entry(slot);
        entry.place = Place::Free;
        entry.tiers = nobody;
        entry.next = free;
        self.free = slot;
        self.live -= 1;
    }
}
