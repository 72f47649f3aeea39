//! Bringing runs into the page cache: what to ask the kernel next, and who waits for what. Pure.
//!
//! One fetch serves all who wait for the same pages. Its protocol was learnt the hard way:
//! readahead asks for the pages; a read of one byte at the end of each stretch that was missing waits
//! for them; then residency is asked *again*, because only that answer means fetched (partly
//! resident runs under memory pressure were incomplete nearly every time without it), and with it whether
//! all pages have been read: asking for some may push out others of the same run, which are then read by
//! themselves. After two tries that did not stay, the run is read and dropped: its errno is the verdict, since one-byte
//! reads succeed beside a bad page for ever.
//!
//! Files are told apart by device and inode: torrents that share a file, under any name, share its
//! fetches. Each device has a queue and a budget of its own ([`Devices`]).
//!
//! **Invariant:** every accepted `want` is answered by exactly as many [`Finished`] that name the
//! waiter as `want` returned, while its connection is there.

mod missing;
mod one;
mod onward;
mod recent;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use ringseed_meta::Instant;
use ringseed_ring::Run;
use smallvec::SmallVec;

pub use one::{Step, StepOutcome, Verdict};
pub use onward::{Onward, Rest};

use super::devices::{Device, Devices, bios_of};
use super::files::{FileId, Source};
use super::flights::Flights;
use super::waiters::{Waiter, WaiterList};
use one::{Fetch, Stage};
use recent::Recent;

pub mod limits {
    //! Bounds of fetching, per worker.

    /// Bytes from one touch (a read of one byte) to the next where the system does not say which pages are
    /// missing. It reads a run in bios that end where extents, folios and the device's limits say, and that come
    /// back in any order: the fewer touches, the more often a splice waits. Where it does say, one touch for
    /// all that is missing in one stretch is enough, and right: a page that is touched and then spliced was used
    /// twice, and goes to the list of those that are kept.
    pub const TOUCH_BYTES: u32 = 16 * 1024;
    /// Bytes. Pages are tracked in windows of this size: one block, so that a random request
    /// fetches nothing that was not asked for.
    pub const WINDOW_BYTES: u64 = 16 * 1024;
    /// Bytes in flight that are read ahead and nobody waits for: eight runs of half a megabyte.
    pub const AHEAD_BYTES_MAX: u64 = 4 << 20;
    /// Bytes that are fetched ahead of one peer at most: a large batch.
    pub const ONWARD_BYTES: u32 = 512 * 1024;
    /// Pieces that a peer must have read in order before more is fetched than it asked for: two
    /// neighbours come by chance.
    pub const ONWARD_PIECES: u64 = 2;
    /// Times that pages are waited for which were still being read after those before them.
    pub const ROUNDS_MAX: u8 = 4;
    /// Tries to make a run stay resident before it is read as a whole for the verdict.
    pub const TRIES_MAX: u8 = 2;
    /// Bytes. What was fetched where residency is unknown is remembered by the page: a fetch of
    /// the head of a window says nothing of its tail.
    pub const RECENT_PAGE_BYTES: u64 = 4096;
    /// Pages of recent fetches (where residency is unknown) that are remembered before they are
    /// swept: 2 GiB sent in a second, for some 20 MB of memory.
    pub const RECENT_MAX: usize = 1 << 19;
    /// Fetches of one worker, before it is looked which of them somebody still waits for.
    pub const FETCHES_UNSWEPT: usize = 1024;
}

/// A fetch under way. Stale ids are recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FetchId {
    pub index: u32,
    pub generation: u32,
}

/// A fetch that ended, and all who waited for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    pub run: Run,
    pub verdict: Verdict,
    pub waiters: WaiterList,
    pub device: Device,
    /// From the moment it was wanted to the verdict, its time in the queue included.
    pub took: Duration,
}

/// Whether a fetch is believed only after residency was asked again. `Never` exists so that
/// tests can show that the simulated kernel catches a worker without the rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskAgain {
    Always,
    Never,
}

struct Slot {
    generation: u32,
    fetch: Option<Fetch>,
}

/// What this worker has to do with one device.
#[derive(Default)]
struct Lane {
    /// Wait for the device's budget.
    queued: VecDeque<FetchId>,
    /// In flight by this worker. Something is while anything is queued.
    bios: u32,
}

/// All fetches of one worker.
pub struct Fetches {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Which fetch brings a window of a file. Never iterated: its order is not the same twice.
    windows: HashMap<(FileId, u64), FetchId>,
    recent: Recent,
    /// By the place of their device.
    lanes: Vec<Lane>,
    /// In flight, and nobody waited for it when it was begun.
    ahead_bytes: u64,
    /// As many as there were when it was last looked who still waits.
    swept: usize,
    ask_again: AskAgain,
    flights: Arc<Flights>,
}

fn windows_of(run: Run) -> RangeInclusive<u64> {
    stretches_of(run, limits::WINDOW_BYTES)
}

/// The stretches of so many bytes that hold the run.
fn stretches_of(run: Run, bytes: u64) -> RangeInclusive<u64> {
    let last = run.offset + u64::from(run.length.max(1)) - 1;
    run.offset / bytes..=last / bytes
}

impl Fetches {
    /// `flights` is shared with the other workers.
    pub fn new(ask_again: AskAgain, flights: Arc<Flights>) -> Fetches {
        Fetches {
            slots: Vec::new(),
            free: Vec::new(),
            windows: HashMap::new(),
            recent: Recent::default(),
            lanes: Vec::new(),
            ahead_bytes: 0,
            swept: 0,
            ask_again,
            flights,
        }
    }

    /// Fetches begun or queued and not finished.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Budgets and figures of the devices, shared by all workers.
    pub fn devices(&self) -> &Devices {
        self.flights.devices()
    }

    /// `waiter` needs `run`, which is of `source`. Windows that are already on their way are joined, the others are
    /// fetched in as few runs as they allow. Returns how many [`Finished`] will name the waiter. `is_there`:
    /// whether a waiter's connection is; no [`Finished`] need name one that has gone.
    pub fn want(
        &mut self,
        run: Run,
        source: Source,
        (waiter, is_there): (Waiter, &impl Fn(Waiter) -> bool),
        now: Instant,
        steps: &mut Vec<Step>,
    ) -> u32 {
        let mut waits = 0;
        let mut joined: Option<FetchId> = None;
        let mut fresh: Option<(u64, u64)> = None;
        for window in windows_of(run) {
            match self.windows.get(&(source.id, window)).copied() {
                None => fresh = Some(fresh.map_or((window, window), |(first, _)| (first, window))),
                Some(fetch) => {
                    if let Some(group) = fresh.take() {
                        self.begin(part_of(run, group), source, Some(waiter), now);
                        waits += 1;
                    }
                    if joined != Some(fetch) {
                        joined = Some(fetch);
                        waits += u32::from(self.join(fetch, waiter, is_there));
                    }
                }
            }
        }
        if let Some(group) = fresh {
            self.begin(part_of(run, group), source, Some(waiter), now);
            waits += 1;
        }
        self.start_queued(source.device, steps);
        waits
    }

    /// A peer that reads on will ask for `run` next: fetches what of its beginning is not on its way,
    /// if nobody's fetch has to wait for that. False: not now.
    pub fn read_ahead(
        &mut self,
        run: Run,
        source: Source,
        now: Instant,
        steps: &mut Vec<Step>,
    ) -> bool {
        let is_ours = |window| self.windows.contains_key(&(source.id, window));
        let bytes = u64::from(run.length);
        if self.ahead_bytes + bytes > limits::AHEAD_BYTES_MAX
            || windows_of(run).any(is_ours)
            || !self.lane(source.device).queued.is_empty()
        {
            return false;
        }
        let bios = bios_of(run.length, source.extent_bytes);
        if !self.devices().take(source.device, bios, false) {
            return false;
        }
        self.devices().give_back(source.device, bios);
        self.ahead_bytes += bytes;
        self.begin(run, source, None, now);
        self.start_queued(source.device, steps);
        true
    }

    /// Adds a waiter to a fetch; false when it waits there already.
    fn join(&mut self, id: FetchId, waiter: Waiter, is_there: &impl Fn(Waiter) -> bool) -> bool {
        let fetch = self.slots[id.index as usize].fetch.as_mut();
        fetch.is_some_and(|fetch| fetch.waiters.add(waiter, is_there))
    }

    /// When there are twice as many fetches as the last time: those of them that have not begun, and for
    /// which nobody waits any longer, end here and are told as what they were to read. Peers that come
    /// and go while a device hangs would make its queue grow for ever.
    pub fn drop_deserted(&mut self, is_there: impl Fn(Waiter) -> bool, deserted: &mut Vec<Run>) {
        if self.len() < (2 * self.swept).max(limits::FETCHES_UNSWEPT) {
            return;
        }
        for place in 0..self.lanes.len() {
            let mut queued = std::mem::take(&mut self.lanes[place].queued);
            queued.retain(|id| {
                let fetch = self.slots[id.index as usize].fetch.as_mut();
                let is_wanted = fetch.is_some_and(|fetch| {
                    fetch.waiters.sweep(&is_there);
                    !fetch.waiters.is_empty()
                });
                if !is_wanted {
                    deserted.extend(self.take_out(*id).map(|fetch| fetch.run));
                }
                is_wanted
            });
            self.lanes[place].queued = queued;
        }
        self.swept = self.len();
    }

    /// A fetch that has ended, or will not begin.
    fn take_out(&mut self, id: FetchId) -> Option<Fetch> {
        let slot = &mut self.slots[id.index as usize];
        let fetch = slot.fetch.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        if fetch.is_ahead {
            self.ahead_bytes -= u64::from(fetch.run.length);
        }
        for window in windows_of(fetch.run) {
            self.windows.remove(&(fetch.source.id, window));
            self.flights.end(fetch.source.id, window);
        }
        Some(fetch)
    }

    /// A new fetch, at the end of its device's queue.
    fn begin(&mut self, run: Run, source: Source, waiter: Option<Waiter>, now: Instant) {
        let fetch = Fetch {
            run,
            source,
            bios: bios_of(run.length, source.extent_bytes),
            begun: now,
            stage: Stage::Queued,
            tries: 0,
            rounds: 0,
            is_unknown: false,
            is_ahead: waiter.is_none(),
            touches: SmallVec::new(),
            fault: None,
            waiters: waiter.into_iter().collect(),
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, fetch: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.fetch = Some(fetch);
        let id = FetchId { index, generation: slot.generation };
        for window in windows_of(run) {
            self.windows.insert((source.id, window), id);
            self.flights.begin(source.id, window);
        }
        self.lane(source.device).queued.push_back(id);
    }

    fn lane(&mut self, device: Device) -> &mut Lane {
        let place = device.place();
        if self.lanes.len() <= place {
            self.lanes.resize_with(place + 1, Lane::default);
        }
        &mut self.lanes[place]
    }

    /// Begins what the device's budget allows, and one in any case.
    fn start_queued(&mut self, device: Device, steps: &mut Vec<Step>) {
        let flights = self.flights.clone();
        while let Some(&id) = self.lane(device).queued.front() {
            let Some(fetch) = self.slots[id.index as usize].fetch.as_mut() else {
                self.lane(device).queued.pop_front();
                continue;
            };
            let (bios, run) = (fetch.bios, fetch.run);
            let idle = self.lane(device).bios == 0;
            if !flights.devices().take(device, bios, idle) {
                return;
            }
            self.lane(device).bios += bios;
            self.lane(device).queued.pop_front();
            if let Some(fetch) = self.slots[id.index as usize].fetch.as_mut() {
                fetch.stage = Stage::ReadingAhead;
            }
            steps.push(Step::ReadAhead { fetch: id, run });
        }
    }

    /// Where a fetch has to read a byte so as to wait for what is missing. Before its readahead: nowhere
    /// stands for the end of each step.
    pub fn touch_at(&mut self, id: FetchId, touches: &[u64]) {
        if let Some(slot) = self.slots.get_mut(id.index as usize)
            && slot.generation == id.generation
            && let Some(fetch) = slot.fetch.as_mut()
        {
            fetch.touches = SmallVec::from_slice(touches);
        }
    }

    /// What a fetch reads from.
    pub fn device_of(&self, id: FetchId) -> Option<Device> {
        let slot = self.slots.get(id.index as usize)?;
        let fetch = slot.fetch.as_ref().filter(|_| slot.generation == id.generation)?;
        Some(fetch.source.device)
    }

    /// A step of a fetch ended: pushes what follows, or returns the end of the whole fetch.
    pub fn completed(
        &mut self,
        id: FetchId,
        outcome: StepOutcome,
        now: Instant,
        steps: &mut Vec<Step>,
    ) -> Option<Finished> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let ask_again = self.ask_again;
        let verdict = slot.fetch.as_mut()?.advance(id, outcome, ask_again, steps)?;
        let finished = self.finish(id, verdict, now)?;
        self.start_queued(finished.device, steps);
        Some(finished)
    }

    fn finish(&mut self, id: FetchId, verdict: Verdict, now: Instant) -> Option<Finished> {
        let fetch = self.take_out(id)?;
        let Source { id: file, device, .. } = fetch.source;
        let took = now.since(fetch.begun);
        self.lane(device).bios -= fetch.bios;
        self.devices().give_back(device, fetch.bios);
        self.devices().fetched(device, fetch.run.length);
        // Another worker may still have them on its way, which says nothing any longer.
        let is_shared = self.flights.is_any(file, windows_of(fetch.run));
        let is_unproved = fetch.is_unknown || self.ask_again == AskAgain::Never || is_shared;
        if verdict == Verdict::Resident && is_unproved {
            self.recent.note(fetch.run, file, now);
        }
        let waiters = fetch.waiters.into_list();
        Some(Finished { run: fetch.run, verdict, waiters, device, took })
    }

    /// Somebody reads `run`, which is of `file`, without a fetch, until [`Fetches::has_read`]: its pages are on
    /// their way, too.
    pub fn reads(&mut self, run: Run, file: FileId) {
        windows_of(run).for_each(|window| self.flights.begin(file, window));
    }

    /// That read ended.
    pub fn has_read(&mut self, run: Run, file: FileId) {
        windows_of(run).for_each(|window| self.flights.end(file, window));
    }

    /// Whether pages of `run`, which is of `file`, are on their way to this worker or another;
    /// the system counts them as resident already.
    pub fn is_under_way(&self, run: Run, file: FileId, now: Instant) -> bool {
        if !self.flights.is_any(file, windows_of(run)) {
            return false;
        }
        let is_ours = |window| self.windows.contains_key(&(file, window));
        windows_of(run).any(is_ours) || !self.is_recent(run, file, now)
    }

    /// Whether all of `run` was fetched within the last second, where that is all one knows.
    pub fn is_recent(&self, run: Run, file: FileId, now: Instant) -> bool {
        self.recent.has(run, file, now)
    }
}

/// The part of `run` that lies in the windows `first..=last`.
fn part_of(run: Run, (first, last): (u64, u64)) -> Run {
    let start = run.offset.max(first * limits::WINDOW_BYTES);
    let end = (run.offset + u64::from(run.length)).min((last + 1) * limits::WINDOW_BYTES);
    Run { file: run.file, offset: start, length: (end - start) as u32 }
}

#[cfg(test)]
mod tests;
