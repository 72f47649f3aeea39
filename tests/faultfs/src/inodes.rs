//! Inodes of the mirror: the numbers of the files behind it, and where those stand.

use std::collections::BTreeMap;
use std::fs::{File, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, INodeNo};

/// The number of the control file: no filesystem gives it to a file of its own.
pub(crate) const CONTROL_INODE: u64 = u64::MAX;

/// A file that somebody has open.
struct Open {
    inode: u64,
    file: Arc<File>,
}

/// All that were looked up, and all that are open.
pub(crate) struct Inodes {
    /// Path from the root.
    paths: BTreeMap<u64, PathBuf>,
    open: BTreeMap<u64, Open>,
    next_handle: u64,
    /// Device and number of the root, which the kernel knows as 1.
    device: u64,
    root_inode: u64,
    root: PathBuf,
}

impl Inodes {
    pub(crate) fn new(root: &Path) -> io::Result<Inodes> {
        let root = root.canonicalize()?;
        let metadata = root.metadata()?;
        let paths = BTreeMap::from([(INodeNo::ROOT.0, PathBuf::new())]);
        Ok(Inodes {
            paths,
            open: BTreeMap::new(),
            next_handle: 1,
            device: metadata.dev(),
            root_inode: metadata.ino(),
            root,
        })
    }

    /// The path from the root of what was looked up.
    pub(crate) fn path(&self, inode: u64) -> io::Result<PathBuf> {
        self.paths.get(&inode).cloned().ok_or_else(|| io::Error::from_raw_os_error(STALE))
    }

    /// Where the file behind stands.
    pub(crate) fn source(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn look_up(&mut self, path: PathBuf) -> io::Result<FileAttr> {
        let attributes = self.attributes(&self.source(&path).symlink_metadata()?)?;
        self.paths.insert(attributes.ino.0, path);
        Ok(attributes)
    }

    /// What is known of an inode now, its open file asked first: that may have no name any more.
    pub(crate) fn stat(&self, inode: u64) -> io::Result<FileAttr> {
        if let Some(open) = self.open.values().find(|open| open.inode == inode) {
            return self.attributes(&open.file.metadata()?);
        }
        let attributes = self.attributes(&self.source(&self.path(inode)?).symlink_metadata()?)?;
        if attributes.ino.0 != inode {
            return Err(io::Error::from_raw_os_error(STALE));
        }
        Ok(attributes)
    }

    /// Opens a file and gives it a handle.
    pub(crate) fn open(&mut self, inode: u64) -> io::Result<u64> {
        let file = Arc::new(File::open(self.source(&self.path(inode)?))?);
        let handle = self.next_handle;
        self.next_handle += 1;
        self.open.insert(handle, Open { inode, file });
        Ok(handle)
    }

    pub(crate) fn file(&self, handle: u64) -> Option<Arc<File>> {
        self.open.get(&handle).map(|open| open.file.clone())
    }

    pub(crate) fn close(&mut self, handle: u64) {
        self.open.remove(&handle);
    }

    fn attributes(&self, metadata: &Metadata) -> io::Result<FileAttr> {
        // Numbers of two filesystems could be the same.
        if metadata.dev() != self.device {
            return Err(io::Error::from_raw_os_error(Errno::EXDEV.code()));
        }
        let is_root = metadata.ino() == self.root_inode;
        let inode = if is_root { INodeNo::ROOT.0 } else { metadata.ino() };
        Ok(FileAttr {
            ino: INodeNo(inode),
            size: metadata.size(),
            blocks: metadata.blocks(),
            atime: time(metadata.atime(), metadata.atime_nsec()),
            mtime: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime: time(metadata.ctime(), metadata.ctime_nsec()),
            crtime: UNIX_EPOCH,
            kind: kind(metadata.file_type()),
            perm: (metadata.mode() & 0o7777) as u16,
            nlink: metadata.nlink() as u32,
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// The number of an entry of a listing.
    pub(crate) fn number(metadata: &Metadata) -> INodeNo {
        INodeNo(metadata.ino())
    }
}

const STALE: i32 = nix::errno::Errno::ESTALE as i32;

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let part = Duration::from_nanos(nanoseconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH - whole + part } else { UNIX_EPOCH + whole + part }
}

pub(crate) fn kind(is: FileType) -> fuser::FileType {
    fuser::FileType::from_std(is).unwrap_or(if is.is_fifo() {
        fuser::FileType::NamedPipe
    } else {
        fuser::FileType::RegularFile
    })
}
