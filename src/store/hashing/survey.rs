//! What the files of a torrent are like on disk, before and after they are read.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ringseed_meta::geometry::{File, FileKind};
use ringseed_meta::{FileIndex, Geometry};
use ringseed_ring::FileStat;

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FileStamp {
    pub device: u64,
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i128,
}

impl FileStamp {
    /// As a stat without what is not recorded; `None` for the empty stamp.
    pub fn as_stat(&self) -> Option<FileStat> {
        let FileStamp { device, inode, size, mtime_ns } = *self;
        let stat = FileStat { device, inode, size, mtime_ns, ..FileStat::default() };
        (*self != FileStamp::default()).then_some(stat)
    }

    pub(super) fn of(metadata: &std::fs::Metadata) -> FileStamp {
        let seconds = i128::from(metadata.mtime());
        FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime_ns: seconds * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// A file that is not as the torrent says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{}' {problem}", path.display())]
pub struct FileFault {
    pub file: FileIndex,
    /// Where it was looked for.
    pub path: PathBuf,
    pub problem: FileProblem,
}

/// What is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileProblem {
    #[error("is missing; give the folder that contains it with --data")]
    Missing,
    #[error("is no regular file")]
    NotAFile,
    #[error("has {is} bytes, {} too few", needed.saturating_sub(*is))]
    Shorter { is: u64, needed: u64 },
    #[error("has {is} bytes, {} too many", is.saturating_sub(*needed))]
    Longer { is: u64, needed: u64 },
    #[error("changed while it was read; wait until it is complete, then try again")]
    Changed,
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

impl FileProblem {
    pub(super) fn of_io(error: &io::Error) -> FileProblem {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileProblem::Missing,
            io::ErrorKind::UnexpectedEof => FileProblem::Changed,
            _ => FileProblem::Unreadable(error.to_string()),
        }
    }
}

/// Looks at each file, in the order of the list. Pads, symlinks and files that cannot be looked
/// at have an empty stamp.
pub fn survey(geometry: &Geometry, data_dir: &Path) -> (Vec<FileStamp>, Vec<FileFault>) {
    let mut faults = Vec::new();
    let stamps = geometry.files().map(|file| {
        if file.kind != FileKind::Content {
            return FileStamp::default();
        }
        let path = data_dir.join(file.path);
        let (stamp, problem) = look(&path, file);
        faults.extend(problem.map(|problem| FileFault { file: file.index, path, problem }));
        stamp
    });
    (stamps.collect(), faults)
}

fn look(path: &Path, file: File<'_>) -> (FileStamp, Option<FileProblem>) {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return (FileStamp::default(), Some(FileProblem::NotAFile)),
        Err(error) => return (FileStamp::default(), Some(FileProblem::of_io(&error))),
    };
    let stamp = FileStamp::of(&metadata);
    let (is, needed) = (stamp.size, file.length);
    let problem = match is.cmp(&needed) {
        std::cmp::Ordering::Less => Some(FileProblem::Shorter { is, needed }),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(FileProblem::Longer { is, needed }),
    };
    (stamp, problem)
}
