//! Open files of a kernel, and what is remembered of each.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::engine::Known;
use crate::limits::{PAGE_BYTES, READ_AHEAD_STEP_BYTES};
use crate::sys::{self, Errno};
use crate::{Failure, FileStat, Mount, Residency, Run};

/// statfs(2) of overlayfs, whose files have their pages elsewhere: cachestat says 0.
const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
/// The same of filesystems that another machine or program answers for: NFS, SMB (three versions),
/// Ceph, 9P, AFS (two clients), Coda, OCFS2, Lustre, FUSE (and virtiofs).
const DISTANT_MAGICS: [i64; 12] = [
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x517b,
    0x00c3_6400,
    0x0102_1997,
    0x5346_414f,
    0x6b41_4653,
    0x7375_7245,
    0x7461_636f,
    0x0bd0_0bd0,
    0x6573_5546,
];

/// A regular file, open for reading.
pub(crate) struct OpenFile {
    fd: Arc<OwnedFd>,
    /// The system will not say what is resident (asked once, remembered).
    residency_unknown: Cell<bool>,
    refuses_splice: Cell<bool>,
}

impl OpenFile {
    /// Takes a file that was just opened: it must be a regular one. Only our plan reads ahead.
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
        let overlay = magic == OVERLAYFS_MAGIC;
        let is_distant = overlay || DISTANT_MAGICS.contains(&magic);
        let file = OpenFile {
            fd: Arc::new(fd),
            residency_unknown: Cell::new(overlay),
            refuses_splice: Cell::new(false),
        };
        Ok((file, stat, Mount { is_distant, ..Mount::default() }))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// For work that may outlast the file's place in the table.
    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
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
