//! The thread that looks at a list each second, so that no announce waits for a disk.

use std::fs::{File, Metadata};
use std::io::{self, BufReader};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::list::{self, Wrong};
use super::{Access, ListFile, Notice, Published, Torrents};
use crate::limits;
use crate::server::StartError;

/// Told what became of a list, by the thread that reads it.
pub(crate) type Tell = fn(&Notice);

/// A list that is kept in force. The thread ends when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    published: Published,
    _running: Option<Running>,
}

/// A thread, and how it is ended: by dropping this.
#[derive(Debug)]
pub(super) struct Running {
    /// Nothing is sent: its end is the message.
    until: Option<SyncSender<()>>,
    /// As above: the thread has ended.
    gone: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(super) fn start(
        name: &str,
        follow: impl FnOnce(&Receiver<()>) + Send + 'static,
    ) -> io::Result<Running> {
        let (until, ended) = sync_channel(0);
        let (alive, gone) = sync_channel(0);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _alive: SyncSender<()> = alive;
            follow(&ended);
        })?;
        Ok(Running { until: Some(until), gone, thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.until.take());
        // One that waits for a mount which does not answer is left behind.
        if self.gone.recv_timeout(limits::LIST_STOP) == Err(RecvTimeoutError::Disconnected)
            && let Some(thread) = self.thread.take()
        {
            // A panic of it has been told by the runtime already.
            let _ = thread.join();
        }
    }
}

impl Watch {
    /// Reads the list, puts it in force, and looks at it each second from then on. Without one,
    /// all torrents are served.
    ///
    /// # Errors
    /// It cannot be read or is wrong, or the system gave no thread.
    pub(crate) fn start(file: Option<ListFile>, tell: Option<Tell>) -> Result<Watch, StartError> {
        let published = Published::default();
        let Some(file) = file else { return Ok(Watch { published, _running: None }) };
        let mut follower = Follower::new(file, published.clone());
        if let Some(Notice::Failed(error)) = follower.look(SystemTime::now()) {
            return Err(error.into());
        }
        let running = Running::start("access", move |ended| follower.follow(ended, tell));
        Ok(Watch { published, _running: Some(running.map_err(StartError::Thread)?) })
    }

    /// Where the list in force is found.
    pub(crate) fn published(&self) -> Published {
        self.published.clone()
    }
}

/// Whoever opens or reads a FIFO may wait for good.
fn regular(metadata: Metadata) -> io::Result<Metadata> {
    match metadata.is_file() {
        true => Ok(metadata),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// What tells that a file is another than before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Stamp> {
        let metadata = regular(std::fs::metadata(path)?)?;
        Ok(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether a later change would give it another time: file systems count in ticks of the
    /// system's clock, so what changed just now may change once more without being seen.
    fn is_settled(&self, now: SystemTime) -> bool {
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(
                u64::try_from(self.changed.0).unwrap_or_default(),
                u32::try_from(self.changed.1).unwrap_or_default(),
            );
        // Of a time to come nothing better can be said later.
        now.duration_since(changed).map_or(true, |age| age >= limits::LIST_SETTLED)
    }
}

/// One list, its file, and what is known of both.
struct Follower {
    file: ListFile,
    published: Published,
    /// In force.
    torrents: Option<Arc<Torrents>>,
    /// Of what was read last; `None` when it is to be read again in any case.
    stamp: Option<Stamp>,
    /// What was wrong at the last look.
    failure: Option<String>,
    /// Taken out of force, and perhaps looked at still: freed here, not by who answers announces.
    retired: Vec<Arc<Access>>,
}

impl Follower {
    fn new(file: ListFile, published: Published) -> Follower {
        Follower {
            file,
            published,
            torrents: None,
            stamp: None,
            failure: None,
            retired: Vec::new(),
        }
    }

    fn follow(mut self, ended: &Receiver<()>, tell: Option<Tell>) {
        while ended.recv_timeout(limits::LIST_LOOK) == Err(RecvTimeoutError::Timeout) {
            if let Some(notice) = self.look(SystemTime::now())
                && let Some(tell) = tell
            {
                tell(&notice);
            }
        }
    }

    /// Looks at the file, and puts in force what is new there. `None` when nothing is.
    fn look(&mut self, now: SystemTime) -> Option<Notice> {
        self.retired.retain(|access| Arc::strong_count(access) > 1);
        match self.read(now) {
            Ok(torrents) => self.take(torrents?),
            Err(wrong) => {
                // What kept the file from being read may be gone without a trace on it.
                if matches!(wrong, Wrong::Read(_)) {
                    self.stamp = None;
                }
                let error = wrong.of(self.file.path.clone());
                let text = error.to_string();
                if self.failure.as_ref() == Some(&text) {
                    return None;
                }
                self.failure = Some(text);
                self.put(true);
                Some(Notice::Failed(error))
            }
        }
    }

    /// Reads the file if it may be another than before.
    fn read(&mut self, now: SystemTime) -> Result<Option<Torrents>, Wrong> {
        // Before the file is read: what changes meanwhile has another stamp at the next look.
        let stamp = Stamp::of(&self.file.path).map_err(Wrong::Read)?;
        if self.stamp == Some(stamp) {
            return Ok(None);
        }
        self.stamp = stamp.is_settled(now).then_some(stamp);
        // It may have become a FIFO meanwhile.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&self.file.path);
        let file = file.map_err(Wrong::Read)?;
        file.metadata().and_then(regular).map_err(Wrong::Read)?;
        list::read(BufReader::new(file), limits::LISTED_TORRENTS_MAX).map(Some)
    }

    fn take(&mut self, torrents: Torrents) -> Option<Notice> {
        let was_wrong = self.failure.take().is_some();
        if !was_wrong && self.torrents.as_deref() == Some(&torrents) {
            return None;
        }
        let notice = Notice::InForce { path: self.file.path.clone(), torrents: torrents.len() };
        self.torrents = Some(Arc::new(torrents));
        self.put(false);
        Some(notice)
    }

    fn put(&mut self, is_stale: bool) {
        if let Some(torrents) = &self.torrents {
            let access = Access::of(self.file.listed, torrents.clone(), is_stale);
            self.retired.push(self.published.put(access));
        }
    }
}

#[cfg(test)]
mod tests {
    use ringseed_meta::InfoHash;

    use super::*;
    use crate::access::{ListError, Listed};

    /// Long after every change that a test makes.
    fn later() -> SystemTime {
        SystemTime::now() + limits::LIST_SETTLED * 10
    }

    struct Scene {
        folder: tempfile::TempDir,
        follower: Follower,
    }

    impl Scene {
        fn new() -> Scene {
            let folder = tempfile::tempdir().unwrap();
            let file = ListFile { path: folder.path().join("list"), listed: Listed::Allowed };
            Scene { follower: Follower::new(file, Published::default()), folder }
        }

        fn write(&self, torrents: &[u8]) {
            let lines = torrents.iter().map(|byte| format!("{byte:02x}").repeat(20) + "\n");
            self.write_text(&lines.collect::<String>());
        }

        /// As editors do: a new file under the name of the old.
        fn write_text(&self, text: &str) {
            let new = self.folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, &self.follower.file.path).unwrap();
        }

        fn in_force(&self) -> (Vec<u8>, bool) {
            let mut reader = self.follower.published.reader();
            let access = reader.seen();
            let served = |byte: &u8| access.admits(&InfoHash([*byte; 20])).is_ok();
            ((0..10).filter(served).collect(), access.is_stale)
        }
    }

    #[test]
    fn what_is_written_to_a_list_is_in_force_at_the_next_look() {
        let mut scene = Scene::new();
        for torrents in [&[1u8, 2][..], &[2], &[], &[3, 4, 5]] {
            scene.write(torrents);
            let notice = scene.follower.look(later());
            assert!(
                matches!(&notice, Some(Notice::InForce { torrents: so_many, .. })
                    if *so_many == torrents.len()),
                "{notice:?}"
            );
            assert_eq!(scene.in_force(), (torrents.to_vec(), false));
            assert!(scene.follower.look(later()).is_none(), "nothing is new");
        }
    }

    #[test]
    fn a_list_that_cannot_be_taken_leaves_the_one_before_in_force() {
        let mut scene = Scene::new();
        scene.write(&[1]);
        scene.follower.look(later()).unwrap();
        for break_it in [
            |scene: &Scene| scene.write_text("not an infohash"),
            |scene: &Scene| std::fs::remove_file(&scene.follower.file.path).unwrap(),
            |scene: &Scene| {
                std::fs::create_dir(&scene.follower.file.path).unwrap();
            },
        ] {
            break_it(&scene);
            let notice = scene.follower.look(later());
            assert!(matches!(notice, Some(Notice::Failed(_))), "{notice:?}");
            assert_eq!(scene.in_force(), (vec![1], true));
            assert!(scene.follower.look(later()).is_none(), "it is told once");
        }
        std::fs::remove_dir(&scene.follower.file.path).unwrap();
        scene.write(&[1]);
        assert!(matches!(scene.follower.look(later()), Some(Notice::InForce { .. })));
        assert_eq!(scene.in_force(), (vec![1], false), "the same list, and no longer stale");
    }

    #[test]
    fn a_file_that_changed_just_now_is_read_again() {
        let mut scene = Scene::new();
        scene.write(&[1]);
        let (seconds, nanos) = Stamp::of(&scene.follower.file.path).unwrap().changed;
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds as u64, nanos as u32);
        scene.follower.look(changed + limits::LIST_SETTLED - Duration::from_millis(1)).unwrap();
        assert_eq!(scene.follower.stamp, None);
        // Another change within the same tick of the file system's clock leaves the stamp as it is.
        scene.follower.torrents = Some(Arc::default());
        assert!(scene.follower.look(later()).is_some());
        assert!(scene.follower.stamp.is_some(), "settled");
    }

    #[test]
    fn a_list_out_of_force_is_freed_by_the_thread_that_reads_lists() {
        let mut scene = Scene::new();
        scene.write(&[1]);
        scene.follower.look(later()).unwrap();
        let mut reader = scene.follower.published.reader();
        let first = Arc::downgrade(scene.follower.torrents.as_ref().unwrap());
        reader.seen();
        scene.write(&[2]);
        scene.follower.look(later()).unwrap();
        scene.follower.look(later());
        assert_eq!(first.strong_count(), 1, "it is looked at still");
        reader.seen();
        assert_eq!(first.strong_count(), 1, "who looked at it does not free it");
        scene.follower.look(later());
        assert_eq!(first.strong_count(), 0);
    }

    /// Fails, instead of waiting for good.
    fn within_seconds<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = sync_channel(1);
        std::thread::spawn(move || done.send(act()));
        result.recv_timeout(limits::LIST_STOP * 20).expect("it waits")
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let scene = Scene::new();
        let file = scene.follower.file.clone();
        let made = std::process::Command::new("mkfifo").arg(&file.path).status().unwrap();
        assert!(made.success());
        let Err(refused) = within_seconds(|| Watch::start(Some(file), None)) else { panic!() };
        assert!(refused.to_string().contains("not a regular file"), "{refused}");
    }

    #[test]
    fn a_thread_that_hangs_does_not_hang_a_stop() {
        let (release, held) = sync_channel::<()>(0);
        let running = Running::start("access", move |_| assert!(held.recv().is_err())).unwrap();
        let watch = Watch { published: Published::default(), _running: Some(running) };
        within_seconds(move || drop(watch));
        drop(release);
    }

    #[test]
    fn a_server_does_not_start_with_a_list_that_is_wrong() {
        let scene = Scene::new();
        let start = || Watch::start(Some(scene.follower.file.clone()), None);
        assert!(matches!(start(), Err(StartError::List(ListError::Read { .. }))));
        scene.write_text("?");
        assert!(matches!(start(), Err(StartError::List(ListError::Line { line: 1, .. }))));
        scene.write(&[1]);
        let watch = start().unwrap();
        assert_eq!(watch.published().reader().seen().torrents(), 1);
    }
}
