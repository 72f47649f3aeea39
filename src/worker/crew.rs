//! The workers as each of them sees the others: how busy they are, and where connections that move
//! are handed over.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use ringseed_sched::balance::Load;

use super::mailbox::Mailbox;

/// One worker.
pub struct Mate {
    pub mailbox: Arc<Mailbox>,
    busy_permille: AtomicU32,
    connections: AtomicU32,
}

impl Mate {
    /// A worker that has nothing to do yet.
    fn new(mailbox: Arc<Mailbox>) -> Mate {
        Mate { mailbox, busy_permille: AtomicU32::new(0), connections: AtomicU32::new(0) }
    }

    /// How busy it was in the last second. Only the worker itself says so.
    pub(super) fn set_busy(&self, permille: u32) {
        self.busy_permille.store(permille, Ordering::Relaxed);
    }

    pub(super) fn load(&self) -> Load {
        Load {
            busy_permille: self.busy_permille.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }
}

/// All workers, by their places.
pub struct Crew {
    mates: Box<[Mate]>,
    /// When their clocks stood at zero: one moment for all, since deadlines move with connections.
    start: OnceLock<std::time::Instant>,
}

impl Crew {
    /// Workers with these mailboxes, in the order of their places.
    pub fn new(mailboxes: impl IntoIterator<Item = Arc<Mailbox>>) -> Arc<Crew> {
        let mates = mailboxes.into_iter().map(Mate::new).collect();
        Arc::new(Crew { mates, start: OnceLock::new() })
    }

    pub(super) fn mate(&self, place: usize) -> Option<&Mate> {
        self.mates.get(place)
    }

    /// A connection is the worker's from now on, or on its way to it.
    pub(super) fn comes(&self, place: usize) {
        if let Some(mate) = self.mates.get(place) {
            mate.connections.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection is the worker's no longer.
    pub(super) fn leaves(&self, place: usize) {
        if let Some(mate) = self.mates.get(place) {
            mate.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A connection changes its worker.
    pub(super) fn moves(&self, from: usize, to: usize) {
        self.leaves(from);
        self.comes(to);
    }

    /// How busy each is.
    pub fn loads(&self) -> impl Iterator<Item = Load> {
        self.mates.iter().map(Mate::load)
    }

    /// The moment of zero; whoever asks first is asked for it.
    pub(super) fn start(&self, now: impl FnOnce() -> std::time::Instant) -> std::time::Instant {
        *self.start.get_or_init(now)
    }
}
