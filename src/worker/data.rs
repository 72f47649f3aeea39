//! A worker's dealings with data on disk: content loaded when a peer asks for it, files opened,
//! changes noticed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringseed_meta::{FileIndex, Instant, TorrentId};
use ringseed_ring::{Failure, File, FileStat, Kernel, Op, Outcome, Run};

use super::connection::{Outgoing, Phase};
use super::mailbox::{ConnectionId, NoContent, Report};
use super::token::{Errand, INDEX_MAX};
use super::{Place, Stopping, Worker, closing::How};
use crate::store::catalog::TorrentState;
use crate::store::content::Content;
use crate::store::files::{self, FileId, FileKey, Found, Source};
use crate::store::waiters::{Waiter, WaiterList, Waiters};

/// How long content stays loaded after its last peer left.
const CONTENT_KEPT: Duration = Duration::from_secs(30);

/// A torrent's content as this worker has it.
pub(super) enum Loaded {
    /// Asked of the control thread; who waits.
    Waiting(Waiters),
    /// Here, with the connections that use it.
    Here { content: Arc<Content>, users: u32, unused_since: Instant },
}

impl ConnectionId {
    pub(super) fn waiter(self) -> Waiter {
        Waiter(u64::from(self.slot) << 32 | u64::from(self.generation))
    }

    pub(super) fn of_waiter(waiter: Waiter) -> ConnectionId {
        ConnectionId { slot: (waiter.0 >> 32) as u32, generation: waiter.0 as u32 }
    }
}

impl<K: Kernel> Worker<K> {
    /// The content of a torrent, or `None`: it was asked for and `id` is told when it is here.
    pub(super) fn content_for(
        &mut self,
        torrent: TorrentId,
        id: ConnectionId,
    ) -> Option<Arc<Content>> {
        match self.contents.get_mut(&torrent) {
            Some(Loaded::Here { content, users, .. }) => {
                *users += 1;
                Some(content.clone())
            }
            Some(Loaded::Waiting(waiting)) => {
                let places = &self.places;
                waiting.add(id.waiter(), |waiter| is_there(places, waiter));
                None
            }
            None => {
                self.contents.insert(torrent, Loaded::Waiting(Waiters::from_iter([id.waiter()])));
                self.report(Report::NeedContent(torrent));
                None
            }
        }
    }

    pub(super) fn on_content(
        &mut self,
        torrent: TorrentId,
        content: Result<Arc<Content>, NoContent>,
        now: Instant,
    ) {
        // It may have come with a connection meanwhile.
        if !matches!(self.contents.get(&torrent), Some(Loaded::Waiting(_))) {
            return;
        }
        let Some(Loaded::Waiting(waiting)) = self.contents.remove(&torrent) else { return };
        let waiting = waiting.into_list().into_iter().map(ConnectionId::of_waiter);
        let content = match content {
            Ok(content) => content,
            Err(why) => {
                for id in waiting {
                    self.close(id, How::Graceful);
                }
                match why {
                    NoContent::Shortage(why) => {
                        self.close_idle_files();
                        self.report(Report::AcceptFailed(why));
                    }
                    NoContent::Fault(why) => self.pause_torrent(torrent, FileIndex(0), &why),
                }
                return;
            }
        };
        self.contents.insert(
            torrent,
            Loaded::Here { content: content.clone(), users: 0, unused_since: now },
        );
        for id in waiting {
            let Some(mut connection) = self.take(id) else { continue };
            if connection.phase != Phase::Loading {
                self.put(connection);
                continue;
            }
            if let Some(Loaded::Here { users, .. }) = self.contents.get_mut(&torrent) {
                *users += 1;
            }
            self.begin_serving(&mut connection, content.clone(), now);
            let held = connection.take_held();
            self.put(connection);
            self.receive(id, held, now);
        }
    }

    /// A connection no longer uses the content.
    pub(super) fn leave_content(&mut self, torrent: TorrentId, now: Instant) {
        if let Some(Loaded::Here { users, unused_since, .. }) = self.contents.get_mut(&torrent) {
            *users = users.saturating_sub(1);
            *unused_since = now;
        }
    }

    /// Forgets content that nobody has used for a while: peers often come back at once.
    pub(super) fn sweep_contents(&mut self, now: Instant) {
        self.contents.retain(|_, loaded| match loaded {
            Loaded::Waiting(_) => true,
            Loaded::Here { users, unused_since, .. } => {
                *users > 0 || now.since(*unused_since) < CONTENT_KEPT
            }
        });
    }

    /// Descriptors are short: gives back some of files that nobody uses now.
    pub(super) fn close_idle_files(&mut self) {
        for file in self.files.evict_idle() {
            self.push(Op::CloseFile { file }, Errand::Nothing);
        }
    }

    /// What kept files from being opened or looked at may have passed: those who wait try once more.
    pub(super) fn retry_files(&mut self, now: Instant) {
        for waiter in std::mem::take(&mut self.for_next_tick) {
            self.end_wait(ConnectionId::of_waiter(waiter), now);
        }
    }

    /// The open handle of a file, or `None`: `id` waits for it (counted in its `waits`).
    pub(super) fn file_for(
        &mut self,
        content: &Content,
        file: FileIndex,
        id: ConnectionId,
        now: Instant,
    ) -> Option<File> {
        let key = (content.torrent, file);
        let places = &self.places;
        match self.files.use_file(key, id.waiter(), now, |waiter| is_there(places, waiter)) {
            Found::Open(file) => Some(file),
            Found::Unwatched(open, was) => self.looks_the_same(key, open, &was, id).then_some(open),
            Found::Waiting => None,
            Found::MustLook(file) => {
                self.look_at(file);
                None
            }
            Found::MustOpen => {
                let place = place_in(&mut self.opens, key);
                let root = content.root.clone();
                let path: Arc<Path> = content.path(file);
                self.push(Op::Open { root, path }, Errand::Open(place));
                None
            }
        }
    }

    /// A file that nobody used for a while was not watched: looks at it before it is served to `id`.
    fn looks_the_same(
        &mut self,
        key: FileKey,
        file: File,
        was: &FileStat,
        id: ConnectionId,
    ) -> bool {
        let fault = match self.kernel.stat(file) {
            Ok(is) => files::change(was, &is).map(|change| change.to_string()),
            Err(failure) if failure.is_passing() => {
                self.files.look_failed(file);
                self.for_next_tick.push(id.waiter());
                return false;
            }
            Err(failure) => Some(format!("cannot be looked at: {failure}")),
        };
        if let Some(fault) = &fault {
            self.pause_torrent(key.0, key.1, fault);
        }
        fault.is_none()
    }

    /// Asks what a file of a distant mount is like now.
    fn look_at(&mut self, file: File) {
        let place = place_in(&mut self.looks, file);
        self.push(Op::Stat { file }, Errand::Look(place));
    }

    pub(super) fn on_looked(&mut self, place: u32, outcome: Outcome, now: Instant) {
        let Some(file) = self.looks.get_mut(place as usize).and_then(Option::take) else { return };
        if let Outcome::Failed(failure) = outcome
            && failure.is_passing()
        {
            return self.for_next_tick.extend(self.files.look_failed(file));
        }
        let Some((key, was, waiting)) = self.files.looked(file, now) else { return };
        let fault = match outcome {
            Outcome::Looked { stat: is } => {
                files::change(&was, &is).map(|change| change.to_string())
            }
            Outcome::Failed(Failure::Cancelled) => None,
            Outcome::Failed(failure) => Some(format!("cannot be looked at: {failure}")),
            _ => None,
        };
        if let Some(fault) = fault {
            self.pause_torrent(key.0, key.1, &fault);
        }
        for waiter in waiting {
            self.end_wait(ConnectionId::of_waiter(waiter), now);
        }
    }

    pub(super) fn on_opened(&mut self, place: u32, outcome: Outcome, now: Instant) {
        let Some(key) = self.opens.get_mut(place as usize).and_then(Option::take) else { return };
        let waiting = match outcome {
            // Its torrent was paused, or the worker stopped, while it was being opened.
            Outcome::Opened { file, .. } if self.is_unwanted(key.0) => {
                self.push(Op::CloseFile { file }, Errand::Nothing);
                self.files.failed(key)
            }
            Outcome::Opened { file, stat, mount } => {
                let source = Source {
                    id: FileId { device: stat.device, inode: stat.inode },
                    device: self.fetches.devices().place_of(stat.device, &mount),
                    extent_bytes: mount.extent_bytes,
                    is_distant: mount.is_distant,
                    fetched_from: Instant::ZERO,
                };
                let waiting = self.files.opened(key, file, (stat, source), now);
                if let Some(fault) = self.unlike_verified(key, &stat) {
                    self.pause_torrent(key.0, key.1, &fault);
                }
                while let Some(file) = self.files.evict(file) {
                    self.push(Op::CloseFile { file }, Errand::Nothing);
                }
                waiting
            }
            Outcome::Failed(failure) => {
                let waiting = self.files.failed(key);
                self.on_open_failed(key, failure, waiting)
            }
            _ => self.files.failed(key),
        };
        for waiter in waiting {
            self.end_wait(ConnectionId::of_waiter(waiter), now);
        }
    }

    fn is_unwanted(&self, torrent: TorrentId) -> bool {
        let entry = self.catalog.entry(torrent);
        self.stopping == Stopping::Stopped
            || entry.is_none_or(|entry| entry.state() == TorrentState::Paused)
    }

    /// What tells an opened file from the one that was verified; or, of data that was not, from the one
    /// that was first seen.
    fn unlike_verified(&self, key: FileKey, is: &FileStat) -> Option<String> {
        let Some(Loaded::Here { content, .. }) = self.contents.get(&key.0) else { return None };
        let seen = || self.catalog.entry(key.0)?.seen(key.1);
        let was = content.verified(key.1).or_else(seen)?;
        // Links and ctime are not recorded: they change without the data.
        let was = FileStat { links: is.links, ctime_ns: is.ctime_ns, ..was };
        files::change(&was, is).map(|change| change.to_string())
    }

    /// Returns who need not wait any longer.
    fn on_open_failed(
        &mut self,
        (torrent, file): FileKey,
        failure: Failure,
        waiting: WaiterList,
    ) -> WaiterList {
        let fault = match failure {
            // Those who wait ask again at the next tick, which closes nothing and pauses nothing.
            failure if failure.is_shortage() => {
                self.for_next_tick.extend(waiting);
                self.close_idle_files();
                self.report(Report::AcceptFailed(format!(
                    "cannot open a data file: {failure}; raise the limit of open files (ulimit -n)"
                )));
                return WaiterList::new();
            }
            failure if failure.is_passing() => {
                self.for_next_tick.extend(waiting);
                return WaiterList::new();
            }
            Failure::Cancelled => return waiting,
            Failure::Os(EXDEV) => {
                "cannot be opened: a symbolic link leads out of the data folder; \
                                   seed what it leads to, or name a --data folder above both"
                    .to_owned()
            }
            failure => format!("cannot be opened: {failure}"),
        };
        self.pause_torrent(torrent, file, &fault);
        waiting
    }

    /// One open or fetch that a connection waited for has ended.
    pub(super) fn end_wait(&mut self, id: ConnectionId, now: Instant) {
        let Some(mut connection) = self.take(id) else { return };
        connection.waits = connection.waits.saturating_sub(1);
        let again = connection.waits == 0 && matches!(connection.outgoing, Outgoing::Refetching(_));
        self.put(connection);
        if again {
            self.resume(id, now);
        }
    }

    /// A run of a file could not be had from its first byte on: the torrent is paused and the file named.
    pub(super) fn on_run_fault(&mut self, run: Run, errno: i32) {
        self.shared.counters.fetch_faults.add(1);
        let Some((torrent, file)) = self.files.key_of(run.file) else { return };
        let fault = match errno {
            0 => format!("ends before byte {}", run.offset + u64::from(run.length)),
            errno => format!(
                "cannot be read at byte {}: {}",
                run.offset,
                std::io::Error::from_raw_os_error(errno)
            ),
        };
        self.pause_torrent(torrent, file, &fault);
    }

    /// Looks at the files in use: one that changed pauses its torrent.
    pub(super) fn look_at_files(&mut self, now: Instant) {
        let mut due = Vec::new();
        self.files.due_for_a_look(now, &mut due);
        for (file, was) in due {
            let Some((torrent, index)) = self.files.key_of(file) else { continue };
            let Some(was) = was else {
                self.look_at(file);
                continue;
            };
            match self.kernel.stat(file) {
                Ok(is) => {
                    if let Some(change) = files::change(&was, &is) {
                        self.pause_torrent(torrent, index, &change.to_string());
                    }
                }
                Err(failure) if failure.is_passing() => {
                    self.files.look_failed(file);
                }
                Err(failure) => {
                    self.pause_torrent(torrent, index, &format!("cannot be looked at: {failure}"));
                }
            }
        }
    }

    /// Stops serving a torrent everywhere and says why, once. What the sockets of this worker
    /// still hold of it is dropped: clients ban seeds whose pieces do not verify.
    pub(super) fn pause_torrent(&mut self, torrent: TorrentId, file: FileIndex, fault: &str) {
        if let Some(entry) = self.catalog.entry(torrent)
            && entry.state() != TorrentState::Paused
        {
            entry.become_state(TorrentState::Paused);
            let fault = fault.to_owned();
            self.report(Report::DataFault { torrent, file, fault });
        }
        self.close_torrent(torrent);
    }

    /// Torrents that another worker paused: closes their connections here too.
    pub(super) fn heed_paused(&mut self) {
        let is_paused = |torrent: &TorrentId| {
            self.catalog.entry(*torrent).is_none_or(|entry| entry.state() == TorrentState::Paused)
        };
        let mut paused: Vec<_> = self.contents.keys().copied().filter(is_paused).collect();
        paused.sort_unstable();
        for torrent in paused {
            self.close_torrent(torrent);
        }
    }
}

/// Whether a waiter's connection is still there, or worked on beside its place.
pub(super) fn is_there(places: &[Place], waiter: Waiter) -> bool {
    let id = ConnectionId::of_waiter(waiter);
    places.get(id.slot as usize).is_some_and(|place| place.generation == id.generation)
}

/// The first free place of a list, which is taken.
fn place_in<T>(places: &mut Vec<Option<T>>, what: T) -> u32 {
    let free = places.iter().position(Option::is_none);
    let place = free.unwrap_or_else(|| {
        places.push(None);
        places.len() - 1
    });
    debug_assert!(place <= INDEX_MAX as usize, "more than fit into a token");
    places[place] = Some(what);
    place as u32
}

const EXDEV: i32 = 18;
