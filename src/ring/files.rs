//! Open files of a kernel, and what is remembered of each.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::engine::Known;
use crate::limits::{PAGE_BYTES, READ_AHEAD_STEP_BYTES};
use crate::outline::{self, Outline};
use crate::sys::{self, Errno};
use crate::threads::Lane;
use crate::{Failure, FileStat, Mount, Residency, Run, mount};

/// Pages that one mincore(2) asks about: a large run.
const PAGES_ASKED: usize = 256;

/// A regular file, open for reading.
pub struct OpenFile {
    fd: Arc<OwnedFd>,
    lane: Lane,
    /// By which it is asked what is still being read.
    outline: Option<Outline>,
    /// The system will not say what is resident (asked once, remembered).
    residency_unknown: Cell<bool>,
    refuses_splice: Cell<bool>,
}

impl OpenFile {
    /// Takes a file that was just opened: it must be a regular one. Only our plan reads ahead. It asks
    /// all that is to be known of it, and may wait for the answers.
    pub(crate) fn adopt(fd: OwnedFd) -> Result<(OpenFile, FileStat, Mount), Failure> {
        let (stat, kind) = sys::stat(fd.as_fd()).map_err(Failure::Os)?;
        if kind != libc::S_IFREG {
            return Err(Failure::NotAFile);
        }
        // Where reads cannot be asynchronous the ring would fail them on a non-blocking file.
        sys::clear_status_flags(fd.as_fd()).map_err(Failure::Os)?;
        // Advice: a filesystem that does not take it reads ahead by its own plan.
        let _ = sys::advise(fd.as_fd(), libc::POSIX_FADV_RANDOM);
        let magic = sys::filesystem(fd.as_fd()).unwrap_or(0);
        let mount = mount::of(fd.as_fd(), &stat, magic);
        let owner = sys::owner(fd.as_fd()).map_err(Failure::Os)?;
        // Who is asked whether we may know might be far away.
        let unknown =
            magic == mount::OVERLAYFS_MAGIC || mount.is_distant && !mount::may_ask_residency(owner);
        // A distant mount may ask its server before it maps a file.
        let is_asked = !unknown && !mount.is_distant;
        let file = OpenFile {
            outline: is_asked.then(|| Outline::new(fd.as_fd(), stat.size)).flatten(),
            fd: Arc::new(fd),
            lane: match mount.is_distant {
                true => Lane::Distant(stat.device),
                false => Lane::Here(stat.device),
            },
            residency_unknown: Cell::new(unknown),
            refuses_splice: Cell::new(false),
        };
        Ok((file, stat, mount))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// For work that may outlast the file's place in the table.
    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// Whose queue work on it stands in.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// What its residency says of a run that is asked for.
    pub(crate) fn known(&self) -> Known {
        if self.residency_unknown.get() { Known::Nothing } else { Known::Missing }
    }

    /// splice(2) said EINVAL before: the filesystem cannot.
    pub(crate) fn refuses_splice(&self) -> bool {
        self.refuses_splice.get()
    }

    pub(crate) fn refuse_splice(&self) {
        self.refuses_splice.set(true);
    }

    /// What it is like now.
    pub(crate) fn stat(&self) -> Result<FileStat, Errno> {
        sys::stat(self.fd()).map(|(stat, _)| stat)
    }

    /// Whether all pages of the run are in the page cache.
    #[inline]
    pub(crate) fn residency(&self, run: Run) -> Residency {
        if self.residency_unknown.get() {
            return Residency::Unknown;
        }
        let first = run.offset / PAGE_BYTES as u64;
        let end = (run.offset + u64::from(run.length)).div_ceil(PAGE_BYTES as u64);
        match sys::cached_pages(self.fd(), run.offset, u64::from(run.length)) {
            Ok(pages) if pages >= end - first => Residency::Resident,
            Ok(_) => Residency::Missing,
            Err(_) => {
                // ENOSYS: before 6.5. EPERM: neither ours nor writable. EOPNOTSUPP: hugetlbfs.
                self.residency_unknown.set(true);
                Residency::Unknown
            }
        }
    }

    /// The same, but pages that are still being read count as missing: the last byte of each stretch of
    /// such goes into `ends`.
    pub(crate) fn missing(&self, run: Run, ends: &mut Vec<u64>) -> Residency {
        // See `adopt`.
        if self.residency_unknown.get() || self.lane.is_distant() {
            return self.residency(run);
        }
        let pages = run.offset / PAGE_BYTES as u64
            ..(run.offset + u64::from(run.length)).div_ceil(PAGE_BYTES as u64);
        let told = ends.len();
        let mut ready = [0; PAGES_ASKED];
        for first in pages.clone().step_by(PAGES_ASKED) {
            let ready = &mut ready[..(pages.end - first).min(PAGES_ASKED as u64) as usize];
            let from = (self.fd(), self.outline.as_ref());
            if outline::ready_pages(from, first * PAGE_BYTES as u64, ready).is_err() {
                // A filesystem that maps no files.
                ends.truncate(told);
                return self.residency(run);
            }
            last_of_missing(run, first, ready, ends);
        }
        if ends.len() == told { Residency::Resident } else { Residency::Missing }
    }
}

/// Where the last byte of `run` lies on each last page of those that are not ready, of pages from `first` on.
fn last_of_missing(run: Run, first: u64, ready: &[u8], ends: &mut Vec<u64>) {
    let run_end = run.offset + u64::from(run.length);
    let is_ready = |at: usize| ready.get(at).is_none_or(|page| page & 1 != 0);
    let last = (0..ready.len()).filter(|at| !is_ready(*at) && is_ready(at + 1));
    ends.extend(last.map(|at| ((first + at as u64 + 1) * PAGE_BYTES as u64).min(run_end) - 1));
}

/// readahead(2) of a stretch, in steps that no device cuts.
pub(crate) fn read_ahead(file: BorrowedFd<'_>, offset: u64, length: u32) -> Result<(), Errno> {
    let end = offset + u64::from(length);
    let mut offset = offset;
    while offset < end {
        let step = (end - offset).min(u64::from(READ_AHEAD_STEP_BYTES));
        sys::readahead(file, offset, step as usize)?;
        offset += step;
    }
    Ok(())
}
