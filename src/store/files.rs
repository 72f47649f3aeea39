//! Open files of one worker: by least recent use, with what they were like, so that a change on
//! disk is seen. Pure: returns what to open and close, calls nothing.

use std::time::Duration;

use hashbrown::HashMap;
use ringseed_meta::{FileIndex, Instant, TorrentId};
use ringseed_ring::{File, FileStat};

use super::devices::Device;
use super::waiters::{Waiter, WaiterList, Waiters};

pub mod limits {
    //! Bounds of open files, per worker.

    /// Open data files. Beyond it the least recently used one is closed, so 100,000 torrents of
    /// many files need no more descriptors than this.
    pub const OPEN_FILES_MAX: usize = 1024;
    /// Files closed at a time when the process has no descriptor left.
    pub const CLOSED_WHEN_SHORT: usize = 64;
}

/// How often an active file is looked at for changes.
pub const STAT_INTERVAL: Duration = Duration::from_millis(500);

/// How long a file is copied instead of fetched after the cache did not keep it. Some mounts never keep
/// anything (direct I/O on FUSE); elsewhere memory was short for a moment.
const NOT_KEPT_FOR: Duration = Duration::from_secs(5);

/// A file that nobody looked at for so long is looked at before it is served again.
const UNWATCHED: Duration = Duration::from_secs(1);

/// A file of a torrent.
pub type FileKey = (TorrentId, FileIndex);

/// A file as the system knows it, whatever torrents call it: cross-seeded torrents share files and
/// hard links, and what one fetches the others have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// What a fetch must know of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    pub id: FileId,
    pub device: Device,
    /// Bytes of an extent in the mean; 0: not known.
    pub extent_bytes: u64,
    /// Any call on it may wait for another program or machine.
    pub is_distant: bool,
    /// Until then it is not fetched: the page cache did not keep what was.
    pub fetched_from: Instant,
}

impl Source {
    /// The page cache keeps what is read of it, as far as is known.
    pub fn is_kept(&self, now: Instant) -> bool {
        now >= self.fetched_from
    }
}

/// Where a file stands.
#[derive(Debug)]
enum State {
    /// Asked of the kernel; who waits for it.
    Opening(Waiters),
    Open(OpenFile),
}

/// An open file and what it was like when it was opened.
#[derive(Debug)]
struct OpenFile {
    file: File,
    stat: FileStat,
    last_used: Instant,
    /// `None`: the last look failed, and nothing is served before the next.
    last_looked: Option<Instant>,
    /// Of a distant mount: the kernel was asked what it is like now; who waits to know.
    looking: Option<Waiters>,
    is_distant: bool,
    /// Batches that wait and fetches under way: a pinned file is not closed.
    pins: u32,
}

/// What [`OpenFiles::use_file`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    Open(File),
    /// Open, but nobody looked at it for a while: to be compared with this before it is used.
    Unwatched(File, FileStat),
    /// The same of a distant mount: the caller must ask the kernel now ([`OpenFiles::looked`] ends it);
    /// the waiter is noted.
    MustLook(File),
    /// On its way, or being looked at; the waiter is noted.
    Waiting,
    /// The caller must open it now; the waiter is noted.
    MustOpen,
}

/// When an open file that nothing pins was last used.
fn unpinned(state: &State) -> Option<(Instant, File)> {
    match state {
        State::Open(open) if open.pins == 0 && open.looking.is_none() => {
            Some((open.last_used, open.file))
        }
        _ => None,
    }
}

/// What changed about a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Removed,
    Replaced,
    Resized { was: u64, is: u64 },
    Modified,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Removed => write!(f, "was removed or replaced while it was served"),
            Change::Replaced => {
                write!(f, "is not the file that was verified (device or inode differ)")
            }
            Change::Resized { was, is } => write!(f, "has {is} bytes; it was verified with {was}"),
            Change::Modified => write!(f, "was modified since it was verified"),
        }
    }
}

/// What tells `is` from `was`, if anything does. A change of ctime or of the number of links
/// alone is not one: a hard link or a chmod makes it, and both are daily work on a seed box.
pub fn change(was: &FileStat, is: &FileStat) -> Option<Change> {
    if is.links == 0 {
        Some(Change::Removed)
    } else if (was.device, was.inode) != (is.device, is.inode) {
        Some(Change::Replaced)
    } else if was.size != is.size {
        Some(Change::Resized { was: was.size, is: is.size })
    } else if was.mtime_ns != is.mtime_ns {
        Some(Change::Modified)
    } else {
        None
    }
}

/// The open files of one worker.
#[derive(Default)]
pub struct OpenFiles {
    /// Never iterated where order matters.
    states: HashMap<FileKey, State>,
    by_handle: HashMap<File, (FileKey, Source)>,
    /// A file of a distant mount was opened.
    has_distant: bool,
}

impl OpenFiles {
    /// The handle of a file for use now, or that `waiter` waits for it. `is_there`: whether a
    /// waiter's connection is.
    pub fn use_file(
        &mut self,
        key: FileKey,
        waiter: Waiter,
        now: Instant,
        is_there: impl Fn(Waiter) -> bool,
    ) -> Found {
        match self.states.get_mut(&key) {
            Some(State::Open(open)) => {
                open.last_used = now;
                if open.last_looked.is_some_and(|looked| now.since(looked) < UNWATCHED) {
                    return Found::Open(open.file);
                }
                if open.is_distant {
                    let is_asked = open.looking.is_some();
                    open.looking.get_or_insert_default().add(waiter, is_there);
                    return if is_asked { Found::Waiting } else { Found::MustLook(open.file) };
                }
                open.last_looked = Some(now);
                Found::Unwatched(open.file, open.stat)
            }
            Some(State::Opening(waiters)) => {
                waiters.add(waiter, is_there);
                Found::Waiting
            }
            None => {
                self.states.insert(key, State::Opening(Waiters::from_iter([waiter])));
                Found::MustOpen
            }
        }
    }

    /// The kernel opened it: who waited.
    pub fn opened(
        &mut self,
        key: FileKey,
        file: File,
        (stat, source): (FileStat, Source),
        now: Instant,
    ) -> WaiterList {
        let open = OpenFile {
            file,
            stat,
            last_used: now,
            last_looked: Some(now),
            looking: None,
            is_distant: source.is_distant,
            pins: 0,
        };
        self.has_distant |= source.is_distant;
        self.by_handle.insert(file, (key, source));
        match self.states.insert(key, State::Open(open)) {
            Some(State::Opening(waiters)) => waiters.into_list(),
            _ => WaiterList::new(),
        }
    }

    /// The kernel told, or could not, what a file of a distant mount is like now: whose it is, what it
    /// was like before, and who waited. `None`: it was closed meanwhile.
    pub fn looked(&mut self, file: File, now: Instant) -> Option<(FileKey, FileStat, WaiterList)> {
        let key = self.key_of(file)?;
        let open = self.open_mut(file)?;
        open.last_looked = Some(now);
        Some((key, open.stat, open.looking.take()?.into_list()))
    }

    /// The kernel could not tell, for a reason that passes, what a file is like now: who waited to know.
    /// It is looked at again before it is used.
    pub fn look_failed(&mut self, file: File) -> WaiterList {
        let Some(open) = self.open_mut(file) else { return WaiterList::new() };
        open.last_looked = None;
        open.looking.take().unwrap_or_default().into_list()
    }

    /// The cache kept nothing of what was fetched: for some seconds the file is read as often as
    /// it is sent, and not fetched.
    pub fn was_not_kept(&mut self, file: File, now: Instant) {
        if let Some((_, source)) = self.by_handle.get_mut(&file) {
            source.fetched_from = now.after(NOT_KEPT_FOR);
        }
    }

    /// The kernel could not open it: who waited.
    pub fn failed(&mut self, key: FileKey) -> WaiterList {
        match self.states.remove(&key) {
            Some(State::Opening(waiters)) => waiters.into_list(),
            _ => WaiterList::new(),
        }
    }

    /// Whose file a handle is.
    pub fn key_of(&self, file: File) -> Option<FileKey> {
        self.by_handle.get(&file).map(|(key, _)| *key)
    }

    /// What a handle reads from.
    pub fn source_of(&self, file: File) -> Option<Source> {
        self.by_handle.get(&file).map(|(_, source)| *source)
    }

    /// Whether one of the files is of a distant mount. Most boxes have none, and need not look.
    pub fn any_distant(&self, mut files: impl Iterator<Item = File>) -> bool {
        let is_distant = |file| self.source_of(file).is_some_and(|source| source.is_distant);
        self.has_distant && files.any(is_distant)
    }

    /// Keeps a file open until [`OpenFiles::unpin`].
    pub fn pin(&mut self, file: File) {
        if let Some(open) = self.open_mut(file) {
            open.pins += 1;
        }
    }

    pub fn unpin(&mut self, file: File) {
        if let Some(open) = self.open_mut(file) {
            open.pins = open.pins.saturating_sub(1);
        }
    }

    fn open_mut(&mut self, file: File) -> Option<&mut OpenFile> {
        let (key, _) = self.by_handle.get(&file)?;
        match self.states.get_mut(key) {
            Some(State::Open(open)) => Some(open),
            _ => None,
        }
    }

    /// Files that nothing pins, the least recently used first, at most a few: to be closed because
    /// the process is short of descriptors.
    pub fn evict_idle(&mut self) -> Vec<File> {
        let mut idle: Vec<(Instant, File)> = self.states.values().filter_map(unpinned).collect();
        idle.sort_unstable();
        idle.truncate(limits::CLOSED_WHEN_SHORT);
        idle.iter().for_each(|(_, file)| self.forget(*file));
        idle.into_iter().map(|(_, file)| file).collect()
    }

    /// A file to close because too many are open: the least recently used that nothing pins, never
    /// `newest`, whose waiters have not used it yet.
    pub fn evict(&mut self, newest: File) -> Option<File> {
        if self.by_handle.len() <= limits::OPEN_FILES_MAX {
            return None;
        }
        let others = self.states.values().filter_map(unpinned).filter(|(_, file)| *file != newest);
        let (_, file) = others.min()?;
        self.forget(file);
        Some(file)
    }

    fn forget(&mut self, file: File) {
        if let Some((key, _)) = self.by_handle.remove(&file) {
            self.states.remove(&key);
        }
    }

    /// Files that were used since they were last looked at, once each [`STAT_INTERVAL`]. Those of
    /// distant mounts come without what they were like: the kernel is to be asked
    /// ([`OpenFiles::looked`] ends it), of each file once at a time.
    pub fn due_for_a_look(&mut self, now: Instant, due: &mut Vec<(File, Option<FileStat>)>) {
        for state in self.states.values_mut() {
            let State::Open(open) = state else { continue };
            let active = open.pins > 0 || now.since(open.last_used) < 4 * STAT_INTERVAL;
            let fresh = open.last_looked.is_some_and(|looked| now.since(looked) < STAT_INTERVAL);
            if !active || open.looking.is_some() || fresh {
                continue;
            }
            if open.is_distant {
                // It counts as looked at when the answer is there.
                open.looking = Some(Waiters::default());
                due.push((open.file, None));
            } else {
                open.last_looked = Some(now);
                due.push((open.file, Some(open.stat)));
            }
        }
        // The map's order is not the same twice, and a run must be.
        due.sort_unstable_by_key(|(file, _)| *file);
    }

    /// All open files of a torrent, forgotten: the caller closes them. Those being opened are
    /// closed when they arrive (their key is no longer known to anybody).
    pub fn forget_torrent(&mut self, torrent: TorrentId, close: &mut Vec<File>) {
        let before = close.len();
        close.extend(
            self.by_handle.iter().filter(|(_, (key, _))| key.0 == torrent).map(|(file, _)| *file),
        );
        close[before..].sort_unstable();
        close[before..].iter().for_each(|file| self.forget(*file));
    }

    /// All open files, forgotten, for the end of the worker.
    pub fn forget_all(&mut self, close: &mut Vec<File>) {
        close.extend(self.by_handle.drain().map(|(file, _)| file));
        close.sort_unstable();
        self.states.clear();
    }
}

#[cfg(test)]
mod tests;
