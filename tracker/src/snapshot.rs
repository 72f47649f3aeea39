//! The swarms on disk, so that a restart loses none: written beside the file and renamed over it, on a
//! timer and at a stop, by a thread of its own. Who answers announces copies a slice at a time into a
//! bounded queue and waits for no disk.

mod file;
pub mod format;
mod saver;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringseed_meta::Instant;

use crate::limits;
use crate::swarm::{PeerState, Swarms};
use format::FormatError;

pub(crate) use file::Keeper;
pub(crate) use saver::Saver;

/// Where the swarms are kept over a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotFile {
    /// Its name with `.new` is written first, that with `.lock` is held by the tracker that uses it, and
    /// that with `.refused` is what could not be taken.
    pub path: PathBuf,
    /// Time between two snapshots.
    pub every: Duration,
}

/// Why a tracker with a snapshot does not start.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The time between two is too short or too long.
    #[error("snapshot-every {0:?}: from {min:?} to {max:?} are allowed",
        min = limits::SNAPSHOT_EVERY_MIN, max = limits::SNAPSHOT_EVERY_MAX)]
    Every(Duration),
    /// The file beside it that says that it is used cannot be made or locked.
    #[error("cannot lock {path}: {cause}; name a snapshot in a folder that can be written to")]
    Lock {
        /// Of the lock.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Another process holds it.
    #[error("another tracker uses {0}: stop that, or name another snapshot")]
    InUse(PathBuf),
    /// The file is there and cannot be opened.
    #[error("cannot open the snapshot {path}: {cause}; name another, or have it readable")]
    Open {
        /// Of the snapshot.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The disk did not give it. It may be good, so it stays where it is.
    #[error(
        "cannot read the snapshot {path}: {cause}; look at its disk and start again, or move it away"
    )]
    Read {
        /// Of the snapshot.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The folder gives no answer.
    #[error("the snapshot {0} does not answer within {limit:?}: look at its mount",
        limit = limits::SNAPSHOT_READ_TIMEOUT)]
    Hangs(PathBuf),
    /// The system gave no thread.
    #[error("cannot start the thread that writes snapshots: {0}; look at the limit of threads")]
    Thread(std::io::Error),
}

/// What became of a snapshot.
#[derive(Debug)]
pub enum SnapshotNotice {
    /// It was refused at the start, and set aside; the tracker began without a swarm.
    Refused {
        /// Of the snapshot.
        path: PathBuf,
        /// What is wrong with it.
        error: FormatError,
        /// Where it is now, or why it stands where it stood.
        aside: std::io::Result<PathBuf>,
    },
    /// It was left out at the start, since it is older than a day.
    TooOld {
        /// Of the snapshot.
        path: PathBuf,
    },
    /// One could not be written; the one before is kept.
    Failed {
        /// Of the snapshot.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// One was written after others had failed.
    Written {
        /// Of the snapshot.
        path: PathBuf,
    },
}

impl std::fmt::Display for SnapshotNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SnapshotNotice::Refused { path, error, aside } => {
                write!(f, "snapshot {}: {error}; begun without a swarm, ", path.display())?;
                match aside {
                    Ok(aside) => write!(f, "and it is {} now", aside.display()),
                    Err(cause) => write!(f, "and it could not be set aside: {cause}"),
                }
            }
            SnapshotNotice::TooOld { path } => write!(
                f,
                "snapshot {}: older than {:?}; begun without a swarm",
                path.display(),
                limits::SNAPSHOT_AGE_MAX
            ),
            SnapshotNotice::Failed { path, cause } => write!(
                f,
                "snapshot {}: cannot be written: {cause}; the one before is kept",
                path.display()
            ),
            SnapshotNotice::Written { path } => {
                write!(f, "snapshot {}: written again", path.display())
            }
        }
    }
}

/// What is counted of snapshots, by the threads that write and read them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    written: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// What crosses to one worker and back.
pub(crate) struct Feed {
    loaded: crossbeam::channel::Receiver<Loaded>,
    pieces: crossbeam::channel::Sender<Piece>,
    pub(crate) tally: Arc<Tally>,
    file: SnapshotFile,
}

/// What is read at the start.
enum Loaded {
    /// Torrents, as a block of the file, and how long ago it was written, in ticks.
    Block(Arc<Vec<u8>>, u16),
    /// That was all.
    End,
    /// What came before counts for nothing.
    Refused,
    /// The disk did not give all of it.
    Unread(std::io::Error),
}

/// What is written.
struct Piece {
    /// Which snapshot it is of; a greater number is a later one.
    generation: u64,
    content: Content,
}

enum Content {
    Block(Vec<u8>),
    /// This worker has told all.
    End,
}

/// Takes the torrents of a block in, which were told `ticks` ago. Gives how many peers were taken.
fn restore(swarms: &mut Swarms, now: Instant, block: &[u8], ticks: u16) -> usize {
    let (mut restored, mut older) = (0, Vec::new());
    let whole = format::torrents(block, |torrent, peers| {
        older.clear();
        older.extend(peers.iter().map(|peer| PeerState {
            silent_ticks: peer.silent_ticks.saturating_add(ticks),
            ..*peer
        }));
        let mut torrent = *torrent;
        torrent.silent_ticks = torrent.silent_ticks.saturating_add(ticks);
        restored += swarms.restore(now, &torrent, &older);
    });
    debug_assert!(whole.is_some(), "a reader gives blocks that make sense");
    restored
}

/// Reads a snapshot into swarms that are empty, as a tracker does at its start.
///
/// # Errors
/// [`FormatError`]; what was taken in before is not to be used.
pub fn load(
    swarms: &mut Swarms,
    now: Instant,
    from: impl std::io::Read,
) -> Result<(), FormatError> {
    let mut reader = format::Reader::new(from)?;
    while let Some(block) = reader.block()? {
        restore(swarms, now, &block, 0);
    }
    swarms.put_in_order(now);
    Ok(())
}

/// Writes a snapshot of all swarms at once, as a tracker does in slices; it is of so many seconds after 1970.
///
/// # Errors
/// Those of `to`.
pub fn save<W: std::io::Write>(
    swarms: &Swarms,
    now: Instant,
    seconds: u64,
    to: W,
) -> std::io::Result<W> {
    let mut writer = format::Writer::new(to, seconds)?;
    let mut walk = swarms.walk();
    loop {
        let mut block = format::Block::default();
        let over = swarms.tell(now, &mut walk, &mut block);
        writer.block(&block.into_bytes())?;
        if over {
            return writer.end();
        }
    }
}
