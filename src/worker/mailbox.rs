//! What crosses cores: commands to a worker, reports to the control thread. Bounded queues and a
//! wake-up; a full queue is back-pressure (kept and tried again), never a loss and never a wait.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use crossbeam::queue::ArrayQueue;
use ringseed_meta::{FileIndex, TorrentId};
use ringseed_ring::{Bell, Waker};
use ringseed_wire::HashRequest;

use super::migration::Parcel;
use super::parking::Parking;
use crate::store::catalog::Catalog;
use crate::store::content::Content;

pub mod limits {
    //! Bounds of the mailboxes.

    /// Commands waiting for one worker. The control thread keeps what does not fit.
    pub const COMMANDS_MAX: usize = 1024;
    /// Reports waiting for the control thread from one worker; the worker keeps what does not fit.
    pub const REPORTS_MAX: usize = 1024;
    /// Connections on their way to one worker from others: what one gives at a time, and as many that
    /// were just accepted. A connection that does not fit stays where it is.
    pub const ARRIVALS_MAX: usize = 256;
}

/// Names a connection of one worker; stale names are recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId {
    pub slot: u32,
    pub generation: u32,
}

/// Why a torrent's content could not be loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoContent {
    /// Descriptors or memory ran out: those who wait may come again, nothing is wrong with it.
    Shortage(String),
    /// Its .torrent file is gone or broken.
    Fault(String),
}

/// From the control thread to a worker.
#[derive(Debug)]
pub enum Command {
    /// Which torrents there are, from now on.
    Catalog(Arc<Catalog>),
    /// The answer to [`Report::NeedContent`].
    Content(TorrentId, Result<Arc<Content>, NoContent>),
    /// The answer to [`Report::NeedHashes`]: hashes in the order of BEP 52, or `None`: reject.
    Hashes { connection: ConnectionId, request: HashRequest, hashes: Option<Vec<[u8; 32]>> },
    /// Give so many connections that are served to the worker at the place `to`. For tests, in which they
    /// move when the seed says so; the program moves them by busy time alone.
    Give { to: usize, connections: u32 },
    /// Close every connection, files too, then report [`Report::Stopped`]. What is in a batch
    /// goes out until `Stop { drain: false }` follows.
    Stop { drain: bool },
}

/// From a worker to the control thread.
#[derive(Debug)]
pub enum Report {
    /// A peer asks for a torrent whose content (geometry, info dictionary) is not loaded.
    NeedContent(TorrentId),
    /// A peer asks for hashes (BEP 52).
    NeedHashes { connection: ConnectionId, torrent: TorrentId, request: HashRequest },
    /// Data on disk is not what was verified, or cannot be read: the torrent was paused.
    DataFault { torrent: TorrentId, file: FileIndex, fault: String },
    /// Connections cannot be accepted; said once for each change.
    AcceptFailed(String),
    /// A peer was told good-bye for a fault of its own (for the log at verbose level).
    PeerFault { peer: SocketAddr, fault: String },
    /// All closed; the thread ends.
    Stopped,
    /// The worker cannot go on.
    Died(String),
}

/// The queues between the control thread and one worker, and from other workers to it.
pub struct Mailbox {
    commands: ArrayQueue<Command>,
    reports: ArrayQueue<Report>,
    arrivals: ArrayQueue<Parcel>,
    /// The worker takes no more arrivals.
    is_closed: AtomicBool,
    /// Whether the worker waits for what comes here.
    pub(super) parking: Parking,
    /// What other workers ring then.
    bell: OnceLock<Bell>,
    /// A report arrived that nobody has looked for yet.
    unread: AtomicBool,
}

impl Mailbox {
    pub fn new() -> Arc<Mailbox> {
        Arc::new(Mailbox {
            commands: ArrayQueue::new(limits::COMMANDS_MAX),
            reports: ArrayQueue::new(limits::REPORTS_MAX),
            arrivals: ArrayQueue::new(limits::ARRIVALS_MAX),
            is_closed: AtomicBool::new(false),
            parking: Parking::default(),
            bell: OnceLock::new(),
            unread: AtomicBool::new(false),
        })
    }

    /// To the worker; `Err` gives the command back when the queue is full.
    pub fn command(&self, command: Command, waker: &Waker) -> Result<(), Command> {
        self.commands.push(command)?;
        self.wake_if_parked(waker);
        Ok(())
    }

    /// Ends the worker's wait, if it waits.
    pub fn wake_if_parked(&self, waker: &Waker) {
        if self.parking.must_ring() {
            waker.wake();
        }
    }

    /// Nothing lies here for the worker.
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.arrivals.is_empty()
    }

    pub(super) fn set_bell(&self, bell: Bell) {
        // A worker has one kernel for life.
        let _ = self.bell.set(bell);
    }

    /// From another worker: a connection. Then it rings the bell that is given back. `Err`: the queue
    /// is full or closed, and this connection (or another one that was sent here) is the caller's.
    pub(super) fn hand_over(&self, parcel: Parcel) -> Result<Option<&Bell>, Parcel> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(parcel);
        }
        self.arrivals.push(parcel)?;
        // Pairs with the fence in `close`: either the worker sees this one, or we see that it is
        // closed.
        fence(Ordering::SeqCst);
        if self.is_closed.load(Ordering::Relaxed)
            && let Some(parcel) = self.arrivals.pop()
        {
            return Err(parcel);
        }
        Ok(self.bell.get().filter(|_| self.parking.must_ring()))
    }

    pub(super) fn next_arrival(&self) -> Option<Parcel> {
        self.arrivals.pop()
    }

    /// The worker takes no more connections from others but those that are here already.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub fn next_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// To the control thread; `Err` gives the report back when the queue is full. True: the
    /// control thread has not been told of unread reports yet.
    pub fn report(&self, report: Report) -> Result<bool, Report> {
        self.reports.push(report)?;
        // Pairs with the fence in `next_report`: either the reader sees this report, or we see
        // that it stopped reading.
        fence(Ordering::SeqCst);
        Ok(!self.unread.swap(true, Ordering::AcqRel))
    }

    pub fn next_report(&self) -> Option<Report> {
        let report = self.reports.pop();
        if report.is_none() {
            self.unread.store(false, Ordering::Release);
            fence(Ordering::SeqCst);
            return self.reports.pop();
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(torrent: u32) -> Report {
        Report::NeedContent(TorrentId(torrent))
    }

    #[test]
    fn only_the_first_unread_report_rings() {
        let mailbox = Mailbox::new();
        assert!(mailbox.report(report(1)).unwrap());
        assert!(!mailbox.report(report(2)).unwrap(), "the reader knows already");
        assert!(mailbox.next_report().is_some() && mailbox.next_report().is_some());
        assert!(mailbox.next_report().is_none());
        assert!(mailbox.report(report(3)).unwrap(), "it stopped reading: ring again");
    }

    #[test]
    fn a_full_queue_gives_the_report_back() {
        let mailbox = Mailbox::new();
        for torrent in 0..limits::REPORTS_MAX {
            mailbox.report(report(torrent as u32)).unwrap();
        }
        let back = mailbox.report(report(9)).unwrap_err();
        assert!(matches!(back, Report::NeedContent(TorrentId(9))), "{back:?}");
    }
}
