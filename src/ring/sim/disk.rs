//! Files, the page cache and the device below it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::content::Content;
use super::faults::{Coverage, Fault, Faults};
use super::inode::{ABSENT, Inode, PAGE_BYTES, Presence, Sends, pages_of};
use super::random::Random;
use crate::slab::Slab;
use crate::{Failure, File, FileStat, Mount, Residency, Run};

/// Files open at once: as a process may have.
const FILES_MAX: u32 = 65_536;
/// Pages that one read of the device brings at most (128 KiB).
const EXTENT_PAGES: u64 = 32;
/// The same when the parts come in any order: a file in pieces.
const REORDERED_PAGES: u64 = 2;
/// An answer of `residency` excuses a send for this long, or until the next enter (blocked sends
/// make one turn long). A worker may remember a run for a moment, not for ever.
const VOUCHED_US: u64 = 20_000;
/// A page evicted within this time before a send may be why the send waits.
const EVICTED_US: u64 = 250_000;
/// A file whose residency is unknown may be sent from this long after it was asked for or sent.
/// Longer than the second that a worker may believe it: each look at a batch that waits renews
/// its belief.
const ASKED_US: u64 = 10_000_000;

/// What may be said of a page that is about to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    Ready,
    /// The send must wait for the disk until then. `excused`: the caller had done what it could.
    Waits {
        until_us: u64,
        why: WaitsBecause,
    },
}

/// Why a send had to wait for the disk on the caller's thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitsBecause {
    /// Nobody asked, or the answer was no: the caller's mistake.
    NotAsked,
    /// `residency` had said yes, and then the page was evicted.
    EvictedAfterQuestion,
    /// `residency` had said yes of a page still being read.
    InFlight,
    /// Residency of the file is unknown; it was asked for within the last second.
    ResidencyUnknown,
}

/// Pages that the device reads together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) inode: usize,
    pub(crate) first: u64,
    pub(crate) end: u64,
}

/// How fast the device is.
#[derive(Clone, Copy, Debug)]
pub struct DiskSpeed {
    /// From asking to the first page.
    pub seek_us: u64,
    /// Each page more.
    pub page_us: u64,
}

pub(crate) struct Disk {
    speed: DiskSpeed,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    /// Open files: the inode of each.
    /// Inode and kernel of each open file.
    handles: Slab<(usize, usize)>,
    /// The kernel that is being called: it knows its own files only.
    pub(crate) caller: usize,
    busy_until_us: u64,
    /// Pages read from the device since the start.
    pub(crate) pages_read: u64,
    /// Times the kernel was entered.
    pub(crate) enters: u64,
}

impl Disk {
    pub(crate) fn new(speed: DiskSpeed) -> Disk {
        Disk {
            speed,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            handles: Slab::new(FILES_MAX),
            caller: 0,
            busy_until_us: 0,
            pages_read: 0,
            enters: 0,
        }
    }

    pub(crate) fn inode(&self, inode: usize) -> &Inode {
        &self.inodes[inode]
    }

    pub(crate) fn inode_mut(&mut self, inode: usize) -> &mut Inode {
        &mut self.inodes[inode]
    }

    /// Creates a file, in the place of one of the same name.
    pub(crate) fn create(&mut self, path: &Path, content: Content, size: u64, now_us: u64) {
        let inode = Inode {
            content,
            size,
            modified_us: now_us,
            changed_us: now_us,
            links: 1,
            pages: vec![ABSENT; size.div_ceil(PAGE_BYTES) as usize],
            residency_unknown: false,
            distant: false,
            unreadable: false,
            bad_pages: BTreeSet::new(),
            faults: BTreeSet::new(),
            sends: Sends::default(),
        };
        self.unlink(path, now_us, Fault::FileReplaced);
        self.names.insert(path.to_owned(), self.inodes.len());
        self.inodes.push(inode);
    }

    /// Takes the name away; who has the file open keeps it.
    pub(crate) fn unlink(&mut self, path: &Path, now_us: u64, fault: Fault) {
        if let Some(old) = self.names.remove(path) {
            self.inodes[old].links = 0;
            self.inodes[old].changed_us = now_us;
            self.inodes[old].faults.insert(fault);
        }
    }

    /// The file of that name now.
    pub(crate) fn named(&mut self, path: &Path) -> Option<&mut Inode> {
        self.names.get(path).map(|&inode| &mut self.inodes[inode])
    }

    /// Its number.
    pub(crate) fn inode_named(&self, path: &Path) -> Option<usize> {
        self.names.get(path).copied()
    }

    /// What `open` finds, without opening it.
    fn look_up(&self, path: &Path) -> Result<usize, Failure> {
        match self.names.get(path) {
            Some(&inode) if self.inodes[inode].unreadable => Err(Failure::Os(libc::EACCES)),
            Some(&inode) => Ok(inode),
            None if self.names.keys().any(|name| name.starts_with(path)) => Err(Failure::NotAFile),
            None => Err(Failure::Os(libc::ENOENT)),
        }
    }

    pub(crate) fn open(
        &mut self,
        path: &Path,
        kernel: usize,
    ) -> Result<(File, FileStat, Mount), Failure> {
        let inode = self.look_up(path)?;
        let full = Failure::Os(libc::EMFILE);
        let is_distant = self.inodes[inode].distant;
        let mount = Mount { is_distant, ..Mount::default() };
        let (index, generation) = self.handles.insert((inode, kernel)).map_err(|_| full)?;
        Ok((File { index, generation }, self.stat_of(inode), mount))
    }

    /// The inode behind an open file of the kernel that is being called.
    pub(crate) fn opened(&self, file: File) -> Option<usize> {
        let (inode, kernel) = *self.handles.get(file.index, file.generation)?;
        Some(inode).filter(|_| kernel == self.caller)
    }

    /// False: it was not open.
    pub(crate) fn close(&mut self, file: File) -> bool {
        self.handles.remove(file.index, file.generation).is_some()
    }

    /// Files that are open.
    pub(crate) fn open_count(&self) -> usize {
        self.handles.len()
    }

    pub(crate) fn stat_of(&self, inode: usize) -> FileStat {
        let of = &self.inodes[inode];
        FileStat {
            device: 1,
            inode: inode as u64 + 2,
            size: of.size,
            mtime_ns: i128::from(of.modified_us) * 1000,
            ctime_ns: i128::from(of.changed_us) * 1000,
            links: of.links,
        }
    }

    /// cachestat: pages being read count as there.
    pub(crate) fn residency(&mut self, inode: usize, run: Run, now_us: u64) -> Residency {
        let of = &mut self.inodes[inode];
        if of.residency_unknown {
            return Residency::Unknown;
        }
        let (first, end) = pages_of(run.offset, u64::from(run.length));
        if end > of.pages.len() as u64 {
            return Residency::Missing;
        }
        let pages = &mut of.pages[first as usize..end as usize];
        if pages.iter().any(|page| page.presence == Presence::Missing) {
            return Residency::Missing;
        }
        for page in pages {
            page.vouched_us = Some(now_us);
            page.vouched_in = self.enters;
        }
        Residency::Resident
    }

    /// mincore: pages being read count as missing. The last byte of each stretch of such goes into `ends`.
    /// Of distant files it says what `residency` does: mapping one may ask its server.
    pub(crate) fn missing(
        &mut self,
        inode: usize,
        run: Run,
        ends: &mut Vec<u64>,
        now_us: u64,
    ) -> Residency {
        let of = &self.inodes[inode];
        if of.residency_unknown || of.distant {
            return self.residency(inode, run, now_us);
        }
        let (first, end) = pages_of(run.offset, u64::from(run.length));
        let run_end = run.offset + u64::from(run.length);
        let told = ends.len();
        let is_missing =
            |number| number < end && self.presence(inode, number) != Presence::Resident;
        let last = (first..end).filter(|&number| is_missing(number) && !is_missing(number + 1));
        ends.extend(last.map(|number| ((number + 1) * PAGE_BYTES).min(run_end) - 1));
        if ends.len() == told { Residency::Resident } else { Residency::Missing }
    }

    /// The caller asks for the run's pages, whether the system then reads them or not.
    pub(crate) fn note_asked(&mut self, inode: usize, run: Run, now_us: u64) {
        let (first, end) = pages_of(run.offset, u64::from(run.length));
        let pages = &mut self.inodes[inode].pages;
        let end = end.min(pages.len() as u64);
        for page in pages.get_mut(first as usize..end as usize).unwrap_or_default() {
            page.asked_us = Some(now_us);
        }
    }

    /// Asks the device for the missing ones of the pages from `first` to before `end`; the
    /// extents become resident at the times beside them.
    pub(crate) fn ask(
        &mut self,
        inode: usize,
        (first, end): (u64, u64),
        now_us: u64,
        reordered: Option<&mut Random>,
    ) -> Vec<(u64, Extent)> {
        let of = &mut self.inodes[inode];
        let end = end.min(of.pages.len() as u64);
        let extent_pages = if reordered.is_some() { REORDERED_PAGES } else { EXTENT_PAGES };
        let mut extents: Vec<(u64, Extent)> = Vec::new();
        for number in first..end {
            let page = &mut of.pages[number as usize];
            page.asked_us = Some(now_us);
            if page.presence != Presence::Missing {
                continue;
            }
            page.presence = Presence::Reading { ready_us: u64::MAX };
            match extents.last_mut() {
                Some((_, extent))
                    if extent.end == number && number - extent.first < extent_pages =>
                {
                    extent.end += 1;
                }
                _ => extents.push((0, Extent { inode, first: number, end: number + 1 })),
            }
        }
        self.schedule(&mut extents, now_us, reordered);
        extents
    }

    fn schedule(
        &mut self,
        extents: &mut [(u64, Extent)],
        now_us: u64,
        mut reordered: Option<&mut Random>,
    ) {
        for (ready_us, extent) in extents {
            let pages = extent.end - extent.first;
            let seek_us = match &mut reordered {
                Some(random) => random.between(self.speed.seek_us, 8 * self.speed.seek_us),
                None => self.speed.seek_us,
            };
            // The device works on one extent after the other; a reordered one overtakes.
            let start_us =
                if reordered.is_some() { now_us } else { self.busy_until_us.max(now_us) };
            *ready_us = start_us + seek_us + pages * self.speed.page_us;
            self.busy_until_us = self.busy_until_us.max(start_us + pages * self.speed.page_us);
            self.pages_read += pages;
            for page in
                &mut self.inodes[extent.inode].pages[extent.first as usize..extent.end as usize]
            {
                page.presence = Presence::Reading { ready_us: *ready_us };
            }
        }
    }

    /// An extent was read. Returns its pages that could not be.
    pub(crate) fn arrived(
        &mut self,
        extent: Extent,
        now_us: u64,
        random: &mut Random,
        faults: &Faults,
        coverage: &mut Coverage,
    ) -> Vec<u64> {
        let of = &mut self.inodes[extent.inode];
        let unlucky = random.hits(faults.per_mille(Fault::ReadFailedOnce));
        let unlucky = unlucky.then(|| random.between(extent.first, extent.end - 1));
        let mut failed = Vec::new();
        for number in extent.first..extent.end.min(of.pages.len() as u64) {
            let page = &mut of.pages[number as usize];
            // Evicted or truncated meanwhile, or read anew.
            if !matches!(page.presence, Presence::Reading { ready_us } if ready_us <= now_us) {
                continue;
            }
            let bad = of.bad_pages.contains(&number);
            if bad || unlucky == Some(number) {
                coverage.meet(if bad { Fault::BadPage } else { Fault::ReadFailedOnce });
                page.presence = Presence::Missing;
                failed.push(number);
            } else {
                page.presence = Presence::Resident;
            }
        }
        failed
    }

    /// Where a page is.
    pub(crate) fn presence(&self, inode: usize, number: u64) -> Presence {
        let page = self.inodes[inode].pages.get(number as usize);
        page.map_or(Presence::Missing, |page| page.presence)
    }

    /// Whether a page may be sent without waiting; marks it as used. The send began at
    /// `begun_us`, and may have waited for other pages since.
    pub(crate) fn readiness(
        &mut self,
        inode: usize,
        number: u64,
        begun_us: u64,
        now_us: u64,
    ) -> Readiness {
        let seek_us = self.speed.seek_us + self.speed.page_us;
        let of = &mut self.inodes[inode];
        let unknown = of.residency_unknown;
        let bad = of.bad_pages.contains(&number);
        let Some(page) = of.pages.get_mut(number as usize) else { return Readiness::Ready };
        let within = |moment: Option<u64>, us| {
            moment.is_some_and(|then| begun_us.saturating_sub(then) <= us)
        };
        let in_turn = page.vouched_us.is_some() && self.enters == page.vouched_in;
        let vouched = in_turn || within(page.vouched_us, VOUCHED_US);
        let asked = within(page.asked_us, ASKED_US);
        // Evicted a moment ago, perhaps between two questions: that is what makes the send wait.
        let evicted = within(page.evicted_us, EVICTED_US);
        page.asked_us = Some(now_us);
        let (until_us, in_flight) = match page.presence {
            Presence::Resident => return Readiness::Ready,
            // It was read while another page was waited for.
            Presence::Reading { ready_us } if ready_us <= now_us && !bad => {
                return Readiness::Ready;
            }
            Presence::Reading { ready_us } => (ready_us.max(now_us), true),
            Presence::Missing => (now_us + seek_us, false),
        };
        let why = match (unknown, vouched, in_flight) {
            (true, _, _) if asked => WaitsBecause::ResidencyUnknown,
            (false, true, true) if !evicted => WaitsBecause::InFlight,
            (false, true, _) => WaitsBecause::EvictedAfterQuestion,
            _ => WaitsBecause::NotAsked,
        };
        Readiness::Waits { until_us, why }
    }

    /// A send waited for the page. False: it cannot be read.
    pub(crate) fn waited(&mut self, inode: usize, number: u64) -> bool {
        let of = &mut self.inodes[inode];
        if of.bad_pages.contains(&number) {
            return false;
        }
        if let Some(page) = of.pages.get_mut(number as usize) {
            page.presence = Presence::Resident;
            self.pages_read += 1;
        }
        true
    }

    /// Drops pages from the cache. Pages being read stay, as in the kernel.
    pub(crate) fn evict(&mut self, inode: usize, (first, end): (u64, u64), now_us: u64) -> u64 {
        let of = &mut self.inodes[inode];
        let end = end.min(of.pages.len() as u64);
        let mut evicted = 0;
        for page in of.pages.get_mut(first as usize..end as usize).unwrap_or_default() {
            if page.presence == Presence::Resident {
                page.presence = Presence::Missing;
                page.evicted_us = Some(now_us);
                evicted += 1;
            }
        }
        evicted
    }

    /// A stretch of pages of some file that is open, for an eviction at any moment.
    pub(crate) fn some_pages(&self, random: &mut Random) -> Option<(usize, (u64, u64))> {
        let open: Vec<usize> = self.handles.iter().map(|(_, _, &(inode, _))| inode).collect();
        let inode = *random.pick(&open)?;
        let count = self.inodes[inode].pages.len() as u64;
        let first = random.below(count);
        Some((inode, (first, first + random.between(1, count))))
    }
}
