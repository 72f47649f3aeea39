//! What a worker counts, each cell written by one thread and read by any: relaxed atomics.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter or gauge of one worker.
#[derive(Default, Debug)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds; only the owning worker calls it, so no read-modify-write is needed.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one worker. Gauges are marked; all others only grow.
#[derive(Default, Debug)]
#[repr(align(128))]
pub struct Counters {
    /// Gauge: connections open now.
    pub connections: Cell,
    /// Gauge: connections past the handshake.
    pub peers: Cell,
    /// Connections accepted.
    pub accepted: Cell,
    /// Connections refused at a limit.
    pub refused: Cell,
    /// Bytes of blocks handed to sockets.
    pub block_bytes: Cell,
    /// All bytes handed to sockets.
    pub sent_bytes: Cell,
    /// Blocks handed to sockets in full.
    pub blocks: Cell,
    /// Batches begun.
    pub batches: Cell,
    /// Sends after which the socket had not taken all.
    pub partial_sends: Cell,
    /// Batches that went by the copying verb.
    pub copied_batches: Cell,
    /// Requests judged: served, rejected, ignored.
    pub requests: Cell,
    pub requests_rejected: Cell,
    pub requests_ignored: Cell,
    /// Fetches begun, and those that ended in a fault.
    pub fetches: Cell,
    pub fetch_faults: Cell,
    /// Connections closed for a fault of the peer.
    pub peer_faults: Cell,
    /// Connections reset because they held too many unacknowledged bytes.
    pub resets_for_memory: Cell,
    /// Voluntary context switches of the thread outside `enter`: waits for a disk or a lock.
    pub voluntary_switches: Cell,
    /// Turns of the loop.
    pub turns: Cell,
}
