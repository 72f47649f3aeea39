//! Reading files: readahead, the reads that wait for pages, opening.

use std::path::Path;
use std::time::Duration;

use super::disk::Extent;
use super::faults::Fault;
use super::inode::{PAGE_BYTES, Presence, pages_of};
use super::state::{Event, State};
use crate::limits::READ_AHEAD_STEP_BYTES;
use crate::{Failure, File, OpId, Outcome, Residency, Run};

/// Pages that one read asks the device for ahead of where it is.
const AHEAD_PAGES: u64 = 32;

/// What a read is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// The number of bytes is the answer.
    Count,
    /// The bytes go into scratch memory for a send.
    Scratch,
}

/// A stretch of an inode, and the run that named it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) inode: usize,
    pub(crate) run: Run,
}

/// An op that reads stretches of files one after the other, waiting for their pages.
#[derive(Debug)]
pub(crate) struct PendingRead {
    pub(crate) op: OpId,
    pub(crate) purpose: Purpose,
    pub(crate) stretches: Vec<Stretch>,
    /// The stretch it is at, and the bytes of it that were read.
    at: usize,
    within: u32,
    /// Bytes read, of all stretches; kept for [`Purpose::Scratch`] only.
    pub(crate) bytes: Vec<u8>,
    count: u32,
}

/// How far a read came.
enum Progress {
    Waits,
    /// All was read, or the file ended.
    Read,
    Failed {
        run: Run,
        errno: i32,
    },
}

impl PendingRead {
    pub(crate) fn new(op: OpId, purpose: Purpose, stretches: Vec<Stretch>) -> PendingRead {
        PendingRead { op, purpose, stretches, at: 0, within: 0, bytes: Vec::new(), count: 0 }
    }

    /// The inode and offset it waits for.
    fn position(&self) -> Option<(usize, u64)> {
        let stretch = self.stretches.get(self.at)?;
        Some((stretch.inode, stretch.run.offset + u64::from(self.within)))
    }
}

impl State {
    /// Readahead, on the caller's thread or aside.
    pub(crate) fn ask_for(&mut self, op: OpId, inode: usize, run: Run, aside: bool) {
        let is_slow = self.hits(Fault::AskSlow);
        let took_us = if is_slow { self.random.between(2_000, 20_000) } else { 0 };
        if aside || self.disk.inode(inode).distant {
            return self.after(took_us + 20, Event::Ask { op, inode, run, took_us });
        }
        if is_slow {
            self.coverage.meet(Fault::AskSlow);
            self.blocked.asks += 1;
            self.now_us += took_us;
        }
        self.read_ahead(inode, run);
        self.post(op, Outcome::Asked { took: Duration::from_micros(took_us) }, false);
    }

    /// Readahead that is made aside.
    pub(crate) fn on_ask(&mut self, op: OpId, inode: usize, run: Run, took_us: u64) {
        if self.is_under_way(op) {
            self.read_ahead(inode, run);
            self.post(op, Outcome::Asked { took: Duration::from_micros(took_us) }, false);
        }
    }

    /// A stat that may wait.
    pub(crate) fn on_look(&mut self, op: OpId, inode: usize) {
        if self.is_under_way(op) {
            if self.meets(Fault::LookFailed) {
                return self.fail(op, Failure::Os(libc::ETIMEDOUT));
            }
            if self.disk.inode(inode).distant {
                self.coverage.meet(Fault::Distant);
            }
            self.meet_changes(inode);
            let stat = self.disk.stat_of(inode);
            self.post(op, Outcome::Looked { stat }, false);
        }
    }

    fn is_under_way(&mut self, op: OpId) -> bool {
        self.ops.get(op).is_some_and(|live| !live.finished)
    }

    /// readahead(2) in steps: starts reading what is missing, waits for nothing.
    pub(crate) fn read_ahead(&mut self, inode: usize, run: Run) {
        self.disk.note_asked(inode, run, self.now_us);
        let mut offset = run.offset;
        let end = run.offset + u64::from(run.length);
        while offset < end {
            let step = (end - offset).min(u64::from(READ_AHEAD_STEP_BYTES));
            let (mut first, mut last) = pages_of(offset, step);
            if self.hits(Fault::ReadAheadCut) {
                // Under memory pressure the kernel gives up in the middle of a step.
                let cut = self.random.between(first, last);
                if self.random.hits(500) {
                    last = cut
                } else {
                    first = cut
                }
                self.coverage.meet(Fault::ReadAheadCut);
            }
            self.ask(inode, (first, last));
            offset += step;
        }
    }

    /// Asks the device for pages.
    fn ask(&mut self, inode: usize, pages: (u64, u64)) {
        let reordered = self.hits(Fault::DiskReordered);
        let random = if reordered { Some(&mut self.random) } else { None };
        let extents = self.disk.ask(inode, pages, self.now_us, random);
        if reordered && !extents.is_empty() {
            self.coverage.meet(Fault::DiskReordered);
        }
        for (ready_us, extent) in extents {
            self.after(ready_us - self.now_us, Event::Read(extent));
        }
    }

    pub(crate) fn read_byte(&mut self, op: OpId, inode: usize, file: File, offset: u64) {
        if self.meets(Fault::ReadAgain) {
            return self.fail(op, Failure::Os(libc::EAGAIN));
        }
        let run = Run { file, offset, length: 1 };
        self.start_read(PendingRead::new(op, Purpose::Count, vec![Stretch { inode, run }]));
    }

    pub(crate) fn start_read(&mut self, read: PendingRead) {
        self.reads.push(read);
        self.advance_read(self.reads.len() - 1, &[]);
    }

    /// The device has read an extent: whoever waits for it goes on.
    pub(crate) fn on_read(&mut self, extent: Extent) {
        let failed = self.disk.arrived(
            extent,
            self.now_us,
            &mut self.random,
            &self.options.faults,
            &mut self.coverage,
        );
        let failed: Vec<(usize, u64)> =
            failed.into_iter().map(|page| (extent.inode, page)).collect();
        // Backwards, since a read that is finished is taken out.
        for index in (0..self.reads.len()).rev() {
            if self.reads[index].position().is_some_and(|(inode, _)| inode == extent.inode) {
                self.advance_read(index, &failed);
            }
        }
    }

    /// Goes on with a read; `failed` pages were just found unreadable.
    fn advance_read(&mut self, index: usize, failed: &[(usize, u64)]) {
        let progress = self.read_on(index, failed);
        if matches!(progress, Progress::Waits) {
            return;
        }
        let read = self.reads.remove(index);
        match (progress, read.purpose) {
            (Progress::Failed { run, errno }, Purpose::Count) => {
                self.fail(read.op, Failure::Run { run, errno });
            }
            (_, Purpose::Count) => {
                self.post(read.op, Outcome::Read { bytes: read.count }, false);
            }
            (Progress::Failed { run, errno }, Purpose::Scratch) => {
                self.scratch_failed(read.op, run, errno);
            }
            (_, Purpose::Scratch) => self.scratch_read(read.op, read.bytes),
        }
    }

    fn read_on(&mut self, index: usize, failed: &[(usize, u64)]) -> Progress {
        loop {
            let read = &self.reads[index];
            let Some(&Stretch { inode, run }) = read.stretches.get(read.at) else {
                return Progress::Read;
            };
            let left = run.length - read.within;
            if left == 0 {
                let read = &mut self.reads[index];
                (read.at, read.within) = (read.at + 1, 0);
                continue;
            }
            let offset = run.offset + u64::from(read.within);
            let size = self.disk.inode(inode).size;
            if offset >= size {
                let (purpose, within) = (read.purpose, read.within);
                self.meet_changes(inode);
                return match purpose {
                    Purpose::Count => Progress::Read,
                    Purpose::Scratch => Progress::Failed { run: run.from(within), errno: 0 },
                };
            }
            let page = offset / PAGE_BYTES;
            match self.disk.presence(inode, page) {
                Presence::Reading { .. } => return Progress::Waits,
                Presence::Missing if failed.contains(&(inode, page)) => {
                    return Progress::Failed { run: run.from(read.within), errno: libc::EIO };
                }
                Presence::Missing => {
                    let (_, end) = pages_of(offset, u64::from(left));
                    self.ask(inode, (page, end.min(page + AHEAD_PAGES)));
                    return Progress::Waits;
                }
                Presence::Resident => {
                    let step = (PAGE_BYTES - offset % PAGE_BYTES).min(size - offset);
                    self.read_page(index, inode, offset, step.min(u64::from(left)) as u32);
                }
            }
        }
    }

    fn read_page(&mut self, index: usize, inode: usize, offset: u64, length: u32) {
        let read = &mut self.reads[index];
        read.within += length;
        read.count += length;
        if read.purpose == Purpose::Scratch {
            self.disk.inode(inode).append_to(offset, length as usize, &mut read.bytes);
        }
    }

    pub(crate) fn on_open(&mut self, op: OpId, path: &Path) {
        if self.meets(Fault::OpenFailed) {
            return self.fail(op, Failure::Os(libc::EMFILE));
        }
        let kernel = self.ops.get(op).map_or(0, |live| live.kernel);
        match self.disk.open(path, kernel) {
            Ok((file, stat, mount)) => {
                if let Some(inode) = self.disk.inode_named(path) {
                    self.meet_changes(inode);
                }
                self.post(op, Outcome::Opened { file, stat, mount }, false);
            }
            Err(failure) => {
                self.coverage.meet(Fault::FileMissing);
                self.fail(op, failure);
            }
        }
    }

    /// cachestat; by chance the pages it vouches for are evicted right after.
    pub(crate) fn residency(&mut self, inode: usize, run: Run) -> Residency {
        let answer = self.disk.residency(inode, run, self.now_us);
        match answer {
            Residency::Unknown => self.coverage.meet(Fault::ResidencyUnknown),
            Residency::Resident if self.hits(Fault::EvictedAfterQuestion) => {
                let (first, end) = pages_of(run.offset, u64::from(run.length));
                let first = self.random.between(first, end - 1);
                let pages = (first, self.random.between(first + 1, end));
                if self.random.hits(500) {
                    // At once, or during the next enter.
                    if self.disk.evict(inode, pages, self.now_us) > 0 {
                        self.coverage.meet(Fault::EvictedAfterQuestion);
                    }
                } else {
                    self.after(0, Event::Evict { inode, pages });
                }
            }
            _ => {}
        }
        answer
    }

    /// Counts the changes of a file as met: somebody ran into them.
    pub(crate) fn meet_changes(&mut self, inode: usize) {
        for &fault in &self.disk.inode(inode).faults {
            self.coverage.meet(fault);
        }
    }
}
