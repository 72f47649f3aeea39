//! The thread that reads the file at the start and writes it from then on: the one place that waits for
//! its disk.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::format::{FormatError, Reader, Writer};
use super::{Content, Feed, Loaded, Piece, SnapshotError, SnapshotFile, SnapshotNotice, Tally};
use crate::access::Notice;
use crate::limits;

/// Told what became of a snapshot, by the thread that reads and writes it.
type Tell = Option<fn(&Notice)>;

/// The thread, which ends once no worker can tell it anything more.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Nothing is sent: its end is the message.
    gone: Receiver<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // One that waits for a mount which does not answer is left behind.
        if self.gone.recv_timeout(limits::SNAPSHOT_STOP) == Err(RecvTimeoutError::Disconnected)
            && let Some(thread) = self.thread.take()
        {
            // A panic of it has been told by the runtime already.
            let _ = thread.join();
        }
    }
}

impl Keeper {
    /// Locks the snapshot and begins to read it; gives what each of the workers needs, which must have
    /// gone before the keeper can. `interval` is
    /// the longest time that counts as the silence of peers who could not announce.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub(crate) fn start(
        file: &SnapshotFile,
        interval: Duration,
        workers: usize,
        tell: Tell,
    ) -> Result<(Vec<Feed>, Keeper), SnapshotError> {
        if !(limits::SNAPSHOT_EVERY_MIN..=limits::SNAPSHOT_EVERY_MAX).contains(&file.every) {
            return Err(SnapshotError::Every(file.every));
        }
        let tally = Arc::new(Tally::default());
        let (pieces, told) = bounded(limits::SNAPSHOT_BLOCKS_WAITING);
        let (mut feeds, mut readers) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (reader, loaded) = bounded(limits::SNAPSHOT_BLOCKS_WAITING);
            readers.push(reader);
            let (pieces, tally) = (pieces.clone(), tally.clone());
            feeds.push(Feed { loaded, pieces, tally, file: file.clone() });
        }
        drop(pieces);
        let (opened, open) = bounded(1);
        let (alive, gone) = bounded::<()>(0);
        let desk = Desk { path: file.path.clone(), tell, tally };
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let _alive: Sender<()> = alive;
            match desk.open() {
                Ok((_lock, file)) => {
                    // Nobody is left to be told when the starter has given up.
                    if opened.send(Ok(())).is_ok() {
                        desk.read(file, interval, readers);
                        desk.write(&told, workers);
                    }
                }
                Err(error) => _ = opened.send(Err(error)),
            }
        });
        let thread = Some(thread.map_err(SnapshotError::Thread)?);
        let answer = open.recv_timeout(limits::SNAPSHOT_READ_TIMEOUT);
        answer.unwrap_or_else(|_| Err(SnapshotError::Hangs(file.path.clone())))?;
        Ok((feeds, Keeper { gone, thread }))
    }
}

/// What the thread works with.
struct Desk {
    path: PathBuf,
    tell: Tell,
    tally: Arc<Tally>,
}

impl Desk {
    /// A name beside the snapshot.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(ending);
        PathBuf::from(name)
    }

    fn tell(&self, notice: SnapshotNotice) {
        if let Some(tell) = self.tell {
            tell(&Notice::Snapshot(notice));
        }
    }

    /// The lock, which is to be kept, and the snapshot if there is one.
    fn open(&self) -> Result<(File, Option<File>), SnapshotError> {
        let path = self.beside(".lock");
        let lock = create(&path);
        let lock = lock.map_err(|cause| SnapshotError::Lock { path: path.clone(), cause })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SnapshotError::InUse(self.path.clone())),
            Err(TryLockError::Error(cause)) => return Err(SnapshotError::Lock { path, cause }),
        }
        // Whoever opens a FIFO may wait for good.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path);
        let file = file.and_then(|file| match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is not a regular file")),
        });
        match file {
            Ok(file) => Ok((lock, Some(file))),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok((lock, None)),
            Err(cause) => Err(SnapshotError::Open { path: self.path.clone(), cause }),
        }
    }

    /// Has all workers read the snapshot; one that cannot be taken is set aside, unless its disk is why.
    fn read(&self, file: Option<File>, interval: Duration, readers: Vec<Sender<Loaded>>) {
        let read = file.map_or(Ok(()), |file| self.read_blocks(file, interval, &readers));
        let last: &dyn Fn() -> Loaded = match read {
            Ok(()) => &|| Loaded::End,
            Err(FormatError::Read(cause)) => &move || Loaded::Unread(again(&cause)),
            Err(error) => {
                let to = self.beside(".refused");
                let aside = std::fs::rename(&self.path, &to).map(|()| to);
                self.tell(SnapshotNotice::Refused { path: self.path.clone(), error, aside });
                &|| Loaded::Refused
            }
        };
        for reader in readers {
            // A worker that has gone needs no word.
            let _ = reader.send(last());
        }
    }

    fn read_blocks(
        &self,
        file: File,
        interval: Duration,
        readers: &[Sender<Loaded>],
    ) -> Result<(), FormatError> {
        let mut reader =
            Reader::new(BufReader::with_capacity(limits::SNAPSHOT_BLOCK_BYTES_MAX, file))?;
        // A clock that was set back says nothing.
        let age = Duration::from_secs(seconds().saturating_sub(reader.seconds()));
        if age > limits::SNAPSHOT_AGE_MAX {
            self.tell(SnapshotNotice::TooOld { path: self.path.clone() });
            return Ok(());
        }
        let ticks = age.min(interval).as_secs() / u64::from(limits::TICK_S);
        let ticks = u16::try_from(ticks).unwrap_or(u16::MAX);
        while let Some(block) = reader.block()? {
            let block = Arc::new(block);
            for reader in readers {
                let _ = reader.send(Loaded::Block(block.clone(), ticks));
            }
        }
        Ok(())
    }

    /// Writes what workers tell until none is left.
    fn write(&self, told: &Receiver<Piece>, workers: usize) {
        let (mut over, mut has_failed) = (0, false);
        let mut writing: Option<Writing> = None;
        for Piece { generation, content } in told {
            let latest = writing.as_ref().map_or(over, |writing| writing.generation);
            if generation < latest || generation == over {
                continue;
            }
            // One that some worker did not end in time gives way to the next.
            let of_before = writing.take().filter(|writing| writing.generation == generation);
            let mut at_hand =
                of_before.unwrap_or_else(|| Writing::begin(&self.beside(".new"), generation));
            match content {
                Content::Block(block) => at_hand.block(&block),
                Content::End => at_hand.ended += 1,
            }
            if at_hand.ended < workers {
                writing = Some(at_hand);
                continue;
            }
            over = generation;
            has_failed = self.note(self.put(at_hand), has_failed);
        }
        // Workers that have gone without a word leave one that is not whole.
        if writing.is_some() {
            let _ = std::fs::remove_file(self.beside(".new"));
        }
    }

    /// Puts a snapshot that is whole in the place of the one before.
    fn put(&self, writing: Writing) -> io::Result<()> {
        let new = self.beside(".new");
        let put = writing.end().and_then(|()| {
            std::fs::rename(&new, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if_supported(File::open(folder.unwrap_or(Path::new(".")))?.sync_all())
        });
        if put.is_err() {
            // A full disk has room again; it has gone already when the rename was done.
            let _ = std::fs::remove_file(new);
        }
        put
    }

    /// Counts and tells how one ended. True when it failed.
    fn note(&self, ended: io::Result<()>, has_failed: bool) -> bool {
        let path = self.path.clone();
        match ended {
            Ok(()) => {
                self.tally.written.fetch_add(1, Ordering::Relaxed);
                if has_failed {
                    self.tell(SnapshotNotice::Written { path });
                }
                false
            }
            Err(cause) => {
                self.tally.failed.fetch_add(1, Ordering::Relaxed);
                if !has_failed {
                    self.tell(SnapshotNotice::Failed { path, cause });
                }
                true
            }
        }
    }
}

/// A snapshot that is being written.
struct Writing {
    generation: u64,
    /// Workers that have told all.
    ended: usize,
    to: io::Result<Writer<BufWriter<File>>>,
}

impl Writing {
    fn begin(path: &Path, generation: u64) -> Writing {
        let to = create(path).and_then(|file| {
            let buffered = BufWriter::with_capacity(limits::SNAPSHOT_BLOCK_BYTES_MAX, file);
            Writer::new(buffered, seconds())
        });
        Writing { generation, ended: 0, to }
    }

    fn block(&mut self, block: &[u8]) {
        if let Ok(writer) = &mut self.to
            && let Err(error) = writer.block(block)
        {
            self.to = Err(error);
        }
    }

    /// Has all of it on the disk.
    fn end(self) -> io::Result<()> {
        let mut buffered = self.to?.end()?;
        buffered.flush()?;
        buffered.get_ref().sync_all()
    }
}

/// The same error once more, for another worker.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Some file systems, as of networks and of FUSE, cannot bring a folder to the disk: the file is there,
/// and its new name when they see fit.
fn if_supported(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        synced => synced,
    }
}

/// An empty file that nobody else may read: a snapshot tells where peers are.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// After 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use ringseed_meta::Instant;

    use super::*;
    use crate::snapshot::{Saver, tests::empty};

    #[test]
    fn a_snapshot_that_the_disk_does_not_give_is_a_reason_not_to_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("swarms");
        // Its first page belongs to nobody: EIO, as of a disk.
        std::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
        let file = SnapshotFile { path: path.clone(), every: Duration::from_secs(60) };
        let (feeds, keeper) = Keeper::start(&file, Duration::ZERO, 2, None).unwrap();
        for feed in feeds {
            let read = Saver::load(feed, Instant::ZERO, &mut empty(), empty);
            let error = read.err().unwrap().to_string();
            assert!(
                error.contains("Input/output error") && error.contains("start again"),
                "{error}"
            );
        }
        drop(keeper);
        assert!(path.is_symlink(), "it stays where it is");
        assert!(!folder.path().join("swarms.refused").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_brought_to_the_disk_is_no_failure() {
        for (code, is_failure) in [(libc::EINVAL, false), (libc::ENOTSUP, false), (libc::EIO, true)]
        {
            let synced = if_supported(Err(io::Error::from_raw_os_error(code)));
            assert_eq!(synced.is_err(), is_failure, "{code}");
        }
    }
}
