//! What is owed to a leecher, and whether it was given.

use ringseed_ring::sim::RemoteState;

use super::{Asked, Leecher};

/// Virtual time within which a peer that reads gets something, as long as requests wait.
const ANSWER_US: u64 = 40_000_000;

/// Virtual time within which the connection of a peer that left is closed.
const CLOSED_US: u64 = 1_500_000;

/// Virtual time within which a peer is unchoked, with six of them for one slot that goes on
/// every ten seconds.
const UNCHOKED_US: u64 = 90_000_000;

/// Virtual time after which a leecher looks around though nothing came.
const IDLE_US: u64 = 250_000;

impl Leecher {
    /// It leaves: the show is over.
    pub(crate) fn hang_up(&mut self) {
        if !self.done {
            self.done = true;
            self.remote.close();
        }
    }

    /// The connection ended, and neither the leecher nor the network ended it.
    pub(crate) fn was_dropped(&self) -> bool {
        !self.excused
            && self.remote.state() != RemoteState::Open
            && !self.remote.was_lost_to_network()
    }

    /// What it has waited for too long, if anything.
    pub(crate) fn neglected(&self, now_us: u64) -> Option<String> {
        let reads = self.manner.appetite >= 4096 && self.manner.pace_us < 50_000;
        if self.remote.state() != RemoteState::Open {
            return None;
        }
        if self.left_us.is_some_and(|left_us| now_us > left_us + CLOSED_US) {
            return Some(format!("{} left, and its connection stays", self.name));
        }
        if self.done || self.excused || !reads {
            return None;
        }
        if !self.greeted && now_us > ANSWER_US {
            return Some(format!("{} has no handshake", self.name));
        }
        if !self.was_unchoked && now_us > UNCHOKED_US {
            return Some(format!("{} is not unchoked", self.name));
        }
        let waits = |asked: &&Asked| {
            !asked.optional && now_us > asked.since_us.max(self.progress_us) + ANSWER_US
        };
        // BEP 6: a choke rejects what waits, so a fast peer has its answers then, too.
        let owed = self.unchoked || self.manner.fast;
        let asked = self.asked.iter().filter(|_| owed).find(waits)?;
        Some(format!("{}: {:?} has no answer since {} us", self.name, asked.block, asked.since_us))
    }

    /// When it wants to act next, if nothing happens before.
    pub(crate) fn alarm_us(&self) -> u64 {
        let reads = self.remote.unread() > 0 && self.got < self.manner.stalls_after;
        let eager = reads || !self.unsent.is_empty();
        self.next_us + if eager { 0 } else { IDLE_US }
    }

    /// It left a moment ago, and its connection is open yet.
    pub(crate) fn lingers(&self, now_us: u64) -> bool {
        let left = self.left_us.is_some_and(|left_us| now_us <= left_us + CLOSED_US);
        left && self.remote.state() == RemoteState::Open
    }

    /// Something is still owed to it.
    pub(crate) fn waits(&self) -> bool {
        !self.done && !self.excused
    }
}
