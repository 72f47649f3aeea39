//! From the paths of the command line to torrents: finds .torrent files, reads what is needed of
//! them, and says whether their data was verified before and has not changed since.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringseed_meta::magnet::Magnet;
use ringseed_meta::metainfo::Metainfo;
use ringseed_meta::{InfoHash, InfoHashV2};
use smallvec::SmallVec;

use super::state::{Record, StateFolder};
use crate::store::hashing::survey;

/// What a path on the command line is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A .torrent file, and the folder that its data is in.
    Torrent { file: PathBuf, root: PathBuf },
    /// Data that a torrent is to be made for.
    Data(PathBuf),
}

/// Why a path cannot be seeded.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot seed '{}': {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot seed '{}': {source}", path.display())]
    Metainfo { path: PathBuf, source: ringseed_meta::metainfo::MetainfoError },
    #[error("cannot seed '{}': --data '{}' is not a folder; it names the folder that the data of .torrent files is in", path.display(), data.display())]
    NoFolder { path: PathBuf, data: PathBuf },
}

/// A torrent as it is known at the start.
#[derive(Clone, Debug)]
pub struct Known {
    pub name: Box<str>,
    pub info_hash_v1: Option<InfoHash>,
    pub info_hash_v2: Option<InfoHashV2>,
    pub torrent_file: PathBuf,
    pub root: PathBuf,
    /// Tracker URLs in tiers (BEP 12).
    pub tiers: Vec<Vec<Box<str>>>,
    pub is_private: bool,
    pub content_bytes: u64,
    /// It was verified before, and no file has changed since.
    pub is_verified: bool,
}

impl Known {
    /// The infohashes of its swarms: one, or two of a hybrid.
    pub fn swarms(&self) -> SmallVec<[InfoHash; 2]> {
        let truncated = self.info_hash_v2.map(|hash| hash.truncated());
        self.info_hash_v1.into_iter().chain(truncated).collect()
    }

    /// The infohash that its files in the state folder are named by.
    pub fn key(&self) -> InfoHash {
        self.swarms().first().copied().unwrap_or(InfoHash([0; 20]))
    }
}

/// What `path` is: a .torrent file, a folder of them (each with the data beside it, or in
/// `data`), or plain data. A folder counts as one of torrents when it has a .torrent file itself.
pub fn find(path: &Path, data: Option<&Path>) -> Result<Vec<Source>, SourceError> {
    let unreadable = |source| SourceError::Unreadable { path: path.to_owned(), source };
    if let Some(data) = data
        && !data.is_dir()
    {
        return Err(SourceError::NoFolder { path: path.to_owned(), data: data.to_owned() });
    }
    let meta = fs::metadata(path).map_err(unreadable)?;
    let torrent = |file: PathBuf| {
        let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let root = data.or(beside).unwrap_or(Path::new(".")).to_owned();
        Source::Torrent { file, root }
    };
    if meta.is_file() && is_torrent(path) {
        return Ok(vec![torrent(path.to_owned())]);
    }
    if !meta.is_dir() {
        return Ok(vec![Source::Data(path.to_owned())]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if is_torrent(&file) && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Ok(vec![Source::Data(path.to_owned())]);
    }
    files.sort_unstable();
    Ok(files.into_iter().map(torrent).collect())
}

fn is_torrent(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("torrent"))
}

/// The bytes of a .torrent file, unless it is too long to be one.
pub(super) fn read_torrent(path: &Path) -> io::Result<Vec<u8>> {
    let limit = ringseed_meta::limits::TORRENT_FILE.bytes_max as u64;
    let bytes = fs::metadata(path)?.len();
    if bytes > limit {
        return Err(io::Error::other(format!("it has {bytes} bytes; at most {limit} are read")));
    }
    fs::read(path)
}

/// Reads a .torrent file and compares its data with the last verification.
pub fn read(
    torrent_file: &Path,
    root: &Path,
    state: &StateFolder,
    trust: bool,
) -> Result<(Known, Metainfo), SourceError> {
    let path = || torrent_file.to_owned();
    let bytes = read_torrent(torrent_file)
        .map_err(|source| SourceError::Unreadable { path: path(), source })?;
    let metainfo =
        Metainfo::parse(&bytes).map_err(|source| SourceError::Metainfo { path: path(), source })?;
    let root = fs::canonicalize(root)
        .map_err(|source| SourceError::Unreadable { path: root.to_owned(), source })?;
    let mut known = Known {
        name: metainfo.name().into(),
        info_hash_v1: metainfo.info_hash_v1(),
        info_hash_v2: metainfo.info_hash_v2(),
        torrent_file: fs::canonicalize(torrent_file).unwrap_or_else(|_| path()),
        root,
        tiers: metainfo.outer().tiers.clone(),
        is_private: metainfo.is_private(),
        content_bytes: metainfo.geometry().content_bytes(),
        is_verified: trust,
    };
    if !trust && let Ok(Some(record)) = state.record(&known.key()) {
        known.is_verified = is_unchanged(&known, &metainfo, &record);
    }
    Ok((known, metainfo))
}

/// Whether device, inode, size and mtime of every file are those of the record.
fn is_unchanged(known: &Known, metainfo: &Metainfo, record: &Record) -> bool {
    let (stamps, faults) = survey(metainfo.geometry(), &known.root);
    faults.is_empty() && record.root == known.root && record.stamps == stamps
}

/// The magnet link of a torrent (BEP 9), with these trackers.
pub fn magnet<'a>(torrent: &Known, trackers: impl Iterator<Item = &'a str>) -> String {
    let magnet = Magnet {
        info_hash_v1: torrent.info_hash_v1,
        info_hash_v2: torrent.info_hash_v2,
        name: Some(torrent.name.clone()),
        content_bytes: Some(torrent.content_bytes),
        trackers: trackers.map(Into::into).collect(),
        web_seeds: Vec::new(),
        peers: Vec::new(),
        files: Vec::new(),
    };
    magnet.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: PathBuf) -> PathBuf {
        fs::write(&path, b"x").unwrap();
        path
    }

    #[test]
    fn a_folder_with_torrents_is_a_folder_of_torrents_and_any_other_is_data() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(find(root, None).unwrap(), [Source::Data(root.into())]);
        let file = touch(root.join("plain"));
        assert_eq!(find(&file, None).unwrap(), [Source::Data(file)]);
        let b = touch(root.join("b.torrent"));
        let a = touch(root.join("a.TORRENT"));
        fs::create_dir(root.join("c.torrent")).unwrap();
        let torrent = |file: &Path| Source::Torrent { file: file.into(), root: root.into() };
        assert_eq!(find(root, None).unwrap(), [torrent(&a), torrent(&b)]);
        assert_eq!(find(&b, None).unwrap(), [torrent(&b)]);
    }

    #[test]
    fn data_names_the_folder_and_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = touch(folder.path().join("a.torrent"));
        let data = folder.path().join("data");
        let error = find(&file, Some(&data)).unwrap_err().to_string();
        assert!(error.contains("--data") && error.contains("data'"), "{error}");
        fs::create_dir(&data).unwrap();
        let found = find(&file, Some(&data)).unwrap();
        assert_eq!(found, [Source::Torrent { file, root: data }]);
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = find(Path::new("/nonexistent/x"), None).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/x"), "{error}");
    }
}
