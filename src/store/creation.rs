//! Makes a .torrent file of a file or folder on disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ringseed_meta::limits::{FILES_MAX, TRACKER_SET_LISTED};
use ringseed_meta::metainfo::{
    Blueprint, BuildError, Format, MetainfoError, Outer, Root, piece_length_for,
};
use ringseed_meta::tracker_set::in_order;
use ringseed_meta::{InfoHash, Metainfo};

use super::hashing::{self, FileStamp, HashingError, Options, Progress, Reads, Runtime};

/// What the .torrent file shall say.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    pub format: Format,
    /// Bytes; chosen by the size of the content when absent.
    pub piece_length: Option<u32>,
    /// Peers from trackers only (BEP 27).
    pub private: bool,
    pub source: Option<String>,
    /// Trackers, web seeds and remarks, as they are written.
    pub outer: Outer,
    /// Trackers that share all torrents among them: those that come first for this one are its tiers,
    /// before those of `outer`.
    pub tracker_set: Vec<Box<str>>,
    /// Hashing threads; 0 takes one for each core.
    pub threads: usize,
    pub reads: Reads,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// The .torrent file.
    pub torrent: Vec<u8>,
    /// The same, read.
    pub metainfo: Metainfo,
    /// The folder that the paths of the torrent are relative to.
    pub data_dir: PathBuf,
    /// What the files were like when they were hashed: they are verified.
    pub files: Vec<FileStamp>,
    /// Symlinks, sockets and the like below the path: no part of the torrent.
    pub skipped: Vec<PathBuf>,
}

/// Why there is no .torrent file.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("cannot read '{}': {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("the name of '{}' is no UTF-8; rename it", .0.display())]
    NotUtf8(PathBuf),
    #[error("'{}' is neither a file nor a folder", .0.display())]
    NotAFile(PathBuf),
    #[error("'{}' contains no file", .0.display())]
    NoFiles(PathBuf),
    #[error("'{}' contains more than {FILES_MAX} files; make several torrents of it", .0.display())]
    TooManyFiles(PathBuf),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// Cannot happen short of a bug: we read what we wrote.
    #[error("the torrent that was made cannot be read: {0}")]
    Unreadable(#[from] MetainfoError),
}

/// Reads and hashes everything at `path`; the calling thread must run no async runtime.
///
/// # Errors
/// [`CreateError`] names the file and the cure.
pub fn create(
    path: &Path,
    options: &CreateOptions,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Created, CreateError> {
    let (parent, name) = place(path)?;
    let content = parent.join(&name);
    let Scan { root, files, skipped } = scan(&content, &name)?;
    let content_bytes = files.iter().fold(0u64, |sum, (_, length)| sum.saturating_add(*length));
    let piece_length = options.piece_length.unwrap_or_else(|| piece_length_for(content_bytes));
    let blueprint = Blueprint::new(options.format, root, &name, piece_length, files)?;
    let data_dir = if blueprint.paths_begin_with_name() { parent } else { content };
    let runtime = Runtime::new(options.reads)?;
    let hash_options = Options { threads: options.threads, cancel, runtime: &runtime };
    let hashed = hashing::hash(
        blueprint.geometry(),
        blueprint.format(),
        &data_dir,
        &hash_options,
        progress,
    )?;
    let source = options.source.as_deref();
    let write = |outer| blueprint.write(&hashed.pieces, options.private, source, outer);
    let mut torrent = write(&options.outer)?;
    let mut metainfo = Metainfo::parse(&torrent)?;
    if !options.tracker_set.is_empty() {
        // The infohash is not of the trackers (BEP 12), so it can choose them.
        let outer = Outer { tiers: tiers(&metainfo, options), ..options.outer.clone() };
        torrent = write(&outer)?;
        metainfo = Metainfo::parse(&torrent)?;
    }
    Ok(Created { torrent, metainfo, data_dir, files: hashed.files, skipped })
}

/// The tiers of a torrent whose trackers share their torrents. A hybrid has two swarms and one list of
/// trackers: its v1 infohash decides.
fn tiers(metainfo: &Metainfo, options: &CreateOptions) -> Vec<Vec<Box<str>>> {
    let of_v2 = metainfo.info_hash_v2().map(|hash| hash.truncated());
    let info_hash = metainfo.info_hash_v1().or(of_v2).unwrap_or(InfoHash([0; 20]));
    let set = in_order(&info_hash, &options.tracker_set).into_iter().take(TRACKER_SET_LISTED);
    set.map(|url| vec![url]).chain(options.outer.tiers.iter().cloned()).collect()
}

/// The folder that contains `path`, and its name there: what the torrent is called.
fn place(path: &Path) -> Result<(PathBuf, String), CreateError> {
    let absolute = |path: &Path| {
        path.canonicalize().map_err(|error| CreateError::Io { path: path.into(), error })
    };
    // A symlink given by name keeps its name; `.` and `..` get the name of what they stand for.
    let (parent, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent.as_os_str().is_empty() => {
            (absolute(Path::new("."))?, name.to_owned())
        }
        (Some(parent), Some(name)) => (absolute(parent)?, name.to_owned()),
        _ => {
            let path = absolute(path)?;
            let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
            (parent, path.file_name().unwrap_or_default().to_owned())
        }
    };
    match name.into_string() {
        Ok(name) => Ok((parent, name)),
        Err(_) => Err(CreateError::NotUtf8(path.into())),
    }
}

struct Scan {
    root: Root,
    /// Paths relative to the content's folder, and bytes.
    files: Vec<(String, u64)>,
    skipped: Vec<PathBuf>,
}

fn scan(content: &Path, name: &str) -> Result<Scan, CreateError> {
    let io = |path: &Path, error| CreateError::Io { path: path.into(), error };
    let metadata = content.metadata().map_err(|error| io(content, error))?;
    let mut scan = Scan { root: Root::Folder, files: Vec::new(), skipped: Vec::new() };
    if metadata.is_file() {
        scan.root = Root::File;
        scan.files.push((name.to_owned(), metadata.len()));
        return Ok(scan);
    }
    if !metadata.is_dir() {
        return Err(CreateError::NotAFile(content.into()));
    }
    let mut folders = vec![(content.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in folder.read_dir().map_err(|error| io(&folder, error))? {
            let entry = entry.map_err(|error| io(&folder, error))?;
            let path = entry.path();
            // Of the entry itself: links are not followed.
            let metadata = entry.metadata().map_err(|error| io(&path, error))?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(CreateError::NotUtf8(path));
            };
            if metadata.is_dir() {
                folders.push((path, format!("{prefix}{name}/")));
            } else if metadata.is_file() {
                scan.files.push((format!("{prefix}{name}"), metadata.len()));
            } else {
                scan.skipped.push(path);
            }
            if scan.files.len() > FILES_MAX {
                return Err(CreateError::TooManyFiles(content.into()));
            }
        }
    }
    match scan.files.is_empty() {
        true => Err(CreateError::NoFiles(content.into())),
        false => Ok(scan),
    }
}
