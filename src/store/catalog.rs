//! Which torrents there are: small entries that stay in memory, one for each, found by infohash.
//! What is large (geometry, info dictionary, paths) stays on disk until a peer asks for it.

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use ringseed_meta::{FileIndex, InfoHash, TorrentId};
use ringseed_ring::{Directory, FileStat};
use smallvec::SmallVec;

use super::hashing::FileStamp;

pub mod limits {
    //! Bounds of the catalog.

    /// Torrents. Entries cost a few hundred bytes; ten times the 100,000 that a box is built for.
    pub const TORRENTS_MAX: usize = 1_000_000;
}

/// Where a torrent stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum TorrentState {
    /// Its data waits to be verified, or is being verified: not served yet.
    Verifying = 0,
    Seeding = 1,
    /// A fault of its data stopped it; said once, with the file.
    Paused = 2,
}

/// One torrent, as every worker sees it.
#[derive(Debug)]
pub struct Entry {
    pub id: TorrentId,
    /// The infohashes it is served under: one, or two of a hybrid.
    pub swarms: SmallVec<[InfoHash; 2]>,
    /// The .torrent file.
    pub torrent_file: Box<Path>,
    /// Where its data lives.
    pub root: Arc<Directory>,
    state: AtomicU8,
    sent_bytes: AtomicU64,
    /// Of data that nobody verified: what its files were like when they were first looked at.
    seen: OnceLock<Vec<FileStamp>>,
}

impl Entry {
    pub fn new(
        id: TorrentId,
        swarms: SmallVec<[InfoHash; 2]>,
        torrent_file: Box<Path>,
        root: Arc<Directory>,
    ) -> Entry {
        let state = AtomicU8::new(TorrentState::Verifying as u8);
        let (sent_bytes, seen) = (AtomicU64::new(0), OnceLock::new());
        Entry { id, swarms, torrent_file, root, state, sent_bytes, seen }
    }

    pub fn state(&self) -> TorrentState {
        match self.state.load(Ordering::Acquire) {
            0 => TorrentState::Verifying,
            1 => TorrentState::Seeding,
            _ => TorrentState::Paused,
        }
    }

    pub fn become_state(&self, state: TorrentState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Verified: seeds, unless a fault paused it meanwhile.
    pub fn start_seeding(&self) {
        let (from, to) = (TorrentState::Verifying as u8, TorrentState::Seeding as u8);
        let _ = self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Looks at the files, unless that was done before: whatever opens one later compares it with that
    /// (`--trust`). May wait for a disk.
    pub fn see(&self, look: impl FnOnce() -> Vec<FileStamp>) {
        self.seen.get_or_init(look);
    }

    pub fn is_seen(&self) -> bool {
        self.seen.get().is_some()
    }

    /// What a file was like when they were, if they were and it could be.
    pub fn seen(&self, file: FileIndex) -> Option<FileStat> {
        FileStamp::as_stat(self.seen.get()?.get(file.0 as usize)?)
    }

    /// Bytes of its blocks handed to sockets by all workers.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    pub fn add_sent_bytes(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// All torrents at one time; replaced as a whole, so workers read it without a lock.
#[derive(Default, Debug)]
pub struct Catalog {
    entries: Vec<Arc<Entry>>,
    by_info_hash: HashMap<InfoHash, u32>,
}

impl Catalog {
    /// Entries must be numbered by their place. Of two torrents with one infohash the first wins.
    pub fn new(entries: Vec<Arc<Entry>>) -> Catalog {
        let mut by_info_hash = HashMap::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            debug_assert_eq!(entry.id.0 as usize, index, "entries are numbered by their place");
            for swarm in &entry.swarms {
                by_info_hash.entry(*swarm).or_insert(entry.id.0);
            }
        }
        Catalog { entries, by_info_hash }
    }

    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    pub fn find(&self, info_hash: &InfoHash) -> Option<&Arc<Entry>> {
        self.by_info_hash.get(info_hash).and_then(|id| self.entries.get(*id as usize))
    }

    pub fn entry(&self, id: TorrentId) -> Option<&Arc<Entry>> {
        self.entries.get(id.0 as usize)
    }
}
