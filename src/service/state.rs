//! The state folder: what is worth keeping between runs. Everything in it can be made again from
//! the data, at the price of hashing it.
//!
//! ```text
//! torrents/<infohash>.torrent   metainfo made for plain data
//! sources/<key>.source          which torrent was made for which path (key: SHA-1 of the path)
//! records/<infohash>.record     what the data was like when it was last verified
//! lock                          held while a seeder uses the folder
//! ```
//! Files are written whole, to a new name, and renamed into place.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ringseed_meta::InfoHash;
use ringseed_meta::bencode::{self, Limits, Value, Writer};
use sha1::{Digest, Sha1};

use crate::store::hashing::FileStamp;

pub mod limits {
    //! Bounds of what is read from the state folder.

    /// Bytes of a record: 100,000 files take 6 MB.
    pub const RECORD_BYTES_MAX: usize = 32 << 20;
    /// Values of a record: a list of four numbers for each file.
    pub const RECORD_VALUES_MAX: usize = 2 << 20;
}

/// Version of the record's form; another one is as good as none.
const RECORD_VERSION: i64 = 1;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot use the state folder '{}': {source}; --state-dir names another", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the state folder '{}' is in use by another ringseed; stop it, or give this one its own --state-dir", path.display())]
    Locked { path: PathBuf },
    #[error("cannot write '{}': {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("there is no home for state: set HOME or XDG_STATE_HOME, or give --state-dir DIR")]
    NoHome,
}

/// What data was like when it was found to be good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The folder that the torrent's paths start from.
    pub root: PathBuf,
    /// One for each file of the torrent's list.
    pub stamps: Vec<FileStamp>,
}

/// Which torrent was made for a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub path: PathBuf,
    pub info_hash: InfoHash,
}

/// The state folder, locked for this process.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// Locked while it is open.
    _lock: fs::File,
}

/// Where state is kept when nobody says otherwise (XDG base directories).
pub fn default_folder() -> Result<PathBuf, StateError> {
    let from =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match (from("XDG_STATE_HOME"), from("HOME")) {
        (Some(state), _) => Ok(state.join("ringseed")),
        (None, Some(home)) => Ok(home.join(".local/state/ringseed")),
        (None, None) => Err(StateError::NoHome),
    }
}

impl StateFolder {
    /// Makes the folder if it is not there, and locks it.
    pub fn open(path: PathBuf) -> Result<StateFolder, StateError> {
        let failed = |source| StateError::Folder { path: path.clone(), source };
        for part in ["torrents", "sources", "records"] {
            fs::create_dir_all(path.join(part)).map_err(failed)?;
        }
        let lock = fs::File::create(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(StateFolder { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::Locked { path }),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the .torrent file of plain data is.
    pub fn torrent_file(&self, info_hash: &InfoHash) -> PathBuf {
        self.path.join(format!("torrents/{info_hash}.torrent"))
    }

    /// Writes a .torrent file; what was there is replaced in one step.
    pub fn write_torrent(&self, info_hash: &InfoHash, bytes: &[u8]) -> Result<PathBuf, StateError> {
        let path = self.torrent_file(info_hash);
        replace(&path, bytes)?;
        Ok(path)
    }

    fn record_file(&self, info_hash: &InfoHash) -> PathBuf {
        self.path.join(format!("records/{info_hash}.record"))
    }

    /// What is recorded of the last verification; nothing when there is no record, or none that
    /// can be understood.
    ///
    /// # Errors
    /// The record is there and cannot be read (out of descriptors, a disk error).
    pub fn record(&self, info_hash: &InfoHash) -> io::Result<Option<Record>> {
        let bytes = read(&self.record_file(info_hash))?;
        Ok(bytes.and_then(|bytes| parse_record(&bytes)))
    }

    pub fn write_record(&self, info_hash: &InfoHash, record: &Record) -> Result<(), StateError> {
        replace(&self.record_file(info_hash), &write_record(record))
    }

    fn source_file(&self, path: &Path) -> PathBuf {
        let key = InfoHash(Sha1::digest(path.as_os_str().as_encoded_bytes()).into());
        self.path.join(format!("sources/{key}.source"))
    }

    /// Which torrent was made for this path, which must be canonical.
    pub fn source(&self, path: &Path) -> Option<Source> {
        let source = parse_source(&read(&self.source_file(path)).ok()??)?;
        (source.path == path).then_some(source)
    }

    pub fn write_source(&self, source: &Source) -> Result<(), StateError> {
        let mut writer = Writer::new();
        writer.dict(|dict| {
            dict.bytes(b"info_hash", &source.info_hash.0);
            dict.bytes(b"path", source.path.as_os_str().as_encoded_bytes());
        });
        replace(&self.source_file(&source.path), &writer.finish())
    }
}

/// The file's bytes; nothing when it is not there or longer than any of ours.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta?,
    };
    if meta.len() > limits::RECORD_BYTES_MAX as u64 {
        return Ok(None);
    }
    fs::read(path).map(Some)
}

/// Writes beside the target and renames, so that a reader finds the old file or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let failed = |source| StateError::Write { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_data()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

fn bencode_limits() -> Limits {
    Limits {
        bytes_max: limits::RECORD_BYTES_MAX,
        depth_max: 4,
        values_max: limits::RECORD_VALUES_MAX,
    }
}

fn write_record(record: &Record) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.dict(|dict| {
        dict.list(b"files", |files| {
            for stamp in &record.stamps {
                files.list(|file| {
                    file.int(stamp.device.cast_signed());
                    file.int(stamp.inode.cast_signed());
                    file.int(stamp.size.cast_signed());
                    file.int(i64::try_from(stamp.mtime_ns).unwrap_or(i64::MIN));
                });
            }
        });
        dict.bytes(b"root", record.root.as_os_str().as_encoded_bytes());
        dict.int(b"version", RECORD_VERSION);
    });
    writer.finish()
}

fn parse_record(bytes: &[u8]) -> Option<Record> {
    let document = bencode::parse(bytes, &bencode_limits()).ok()?;
    let root = document.root();
    if root.get(b"version")?.as_int()? != RECORD_VERSION {
        return None;
    }
    let stamps = root.get(b"files")?.as_list()?.iter().map(parse_stamp).collect::<Option<_>>()?;
    Some(Record { root: path_of(root.get(b"root")?)?, stamps })
}

fn parse_stamp(value: Value<'_>) -> Option<FileStamp> {
    let mut numbers = value.as_list()?.iter().map(|number| number.as_int());
    let mut next = || numbers.next().flatten();
    Some(FileStamp {
        device: next()?.cast_unsigned(),
        inode: next()?.cast_unsigned(),
        size: next()?.cast_unsigned(),
        mtime_ns: i128::from(next()?),
    })
}

fn parse_source(bytes: &[u8]) -> Option<Source> {
    let document = bencode::parse(bytes, &bencode_limits()).ok()?;
    let root = document.root();
    let info_hash = InfoHash(root.get(b"info_hash")?.as_bytes()?.try_into().ok()?);
    Some(Source { path: path_of(root.get(b"path")?)?, info_hash })
}

fn path_of(value: Value<'_>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(value.as_bytes()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let stamp = FileStamp { device: 1, inode: u64::MAX, size: 3, mtime_ns: -5 };
        Record { root: PathBuf::from("/srv/data"), stamps: vec![stamp; 3] }
    }

    #[test]
    fn a_record_comes_back_and_a_broken_one_is_none() {
        let bytes = write_record(&record());
        assert_eq!(parse_record(&bytes), Some(record()));
        for end in 0..bytes.len() {
            assert_eq!(parse_record(&bytes[..end]), None);
        }
    }

    #[test]
    fn a_second_seeder_cannot_use_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path().into()).unwrap();
        let error = StateFolder::open(folder.path().into()).unwrap_err();
        assert!(matches!(error, StateError::Locked { .. }), "{error}");
        drop(first);
        StateFolder::open(folder.path().into()).unwrap();
    }

    #[test]
    fn sources_and_torrents_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path().into()).unwrap();
        let source = Source { path: PathBuf::from("/srv/a"), info_hash: InfoHash([7; 20]) };
        state.write_source(&source).unwrap();
        assert_eq!(state.source(Path::new("/srv/a")), Some(source));
        assert_eq!(state.source(Path::new("/srv/b")), None);
        let path = state.write_torrent(&InfoHash([7; 20]), b"d4:infode1:xi1ee").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"d4:infode1:xi1ee");
        assert_eq!(state.record(&InfoHash([7; 20])).unwrap(), None);
        state.write_record(&InfoHash([7; 20]), &record()).unwrap();
        assert_eq!(state.record(&InfoHash([7; 20])).unwrap(), Some(record()));
    }
}
