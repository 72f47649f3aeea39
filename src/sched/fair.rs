//! Which peer sends next, and how much: deficit round robin among the ready connections of one
//! worker, and the size of a peer's batch.
//!
//! A peer is *ready* when it could be given bytes now: it is unchoked, has requests waiting, no
//! batch in flight and room in its socket. Ready peers stand in a ring. [`Fair::next`] takes the
//! first one out and names its allowance; [`Fair::spent`] says what it used and whether it stands
//! in line again. How many requests a peer has outstanding plays no part, so that a deep queue
//! cannot starve a shallow one.
//!
//! A round of the ring is as long as all deep queues in it take, and a peer that asked for a block
//! or two should not wait for it. So a peer that *asks little* stands in a short line before the
//! ring. What it sends there is an advance on its quantum: it is in debt until a round has passed,
//! and goes ahead again only when it is not. Shares stay what they are; only the order changes.
//!
//! Work and queue are bounded by the ready peers; idle ones cost twelve bytes of a table and no
//! time.

use crate::limits::{
    BATCH_BLOCKS_MAX, BATCH_BLOCKS_NEW, BLOCK_BYTES, CARRY_BYTES_MAX, LITTLE_BYTES, STAY_READY_MIN,
};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Does the peer stand in line again after its turn?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Again {
    /// It could be given more bytes at once.
    Ready,
    /// It waits for something: requests, its socket, a fetch, the batch in flight.
    NotReady,
}

/// How much a peer that becomes ready asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// At most [`LITTLE_BYTES`]: it need not wait for a round.
    Little,
    /// More than that: it stands in the ring.
    Much,
}

/// One peer's turn to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The connection's slot.
    pub key: u32,
    /// Bytes it may send now, at least one. Send whole blocks while this is not used up: the
    /// last block may go over it by less than its length, which is remembered as a debt.
    pub allowance_bytes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Place {
    #[default]
    Outside,
    /// In the line before the ring.
    Early,
    Ring,
    /// Its turn was handed out; `spent` has not come yet. An early one is granted nothing: it
    /// borrows.
    Turn {
        granted_bytes: i32,
    },
}

#[derive(Clone, Copy, Default)]
struct Peer {
    /// Credit (positive) or debt (negative) carried into the next turn, at most CARRY_BYTES_MAX
    /// either way.
    carry_bytes: i32,
    /// The round that `carry_bytes` is told for.
    round: u32,
    place: Place,
}

/// The ring of ready connections of one worker. Keys are small dense slots.
pub struct Fair {
    quantum_bytes: u32,
    /// Those that ask little and are not in debt.
    early: VecDeque<u32>,
    ring: VecDeque<u32>,
    /// Rounds that have passed, and the peers in the ring that have not had their turn of this one.
    round: u32,
    left_in_round: usize,
    peers: Vec<Peer>,
}

impl Fair {
    /// A ring in which each ready peer may send `quantum_bytes` a round. Zero counts as one
    /// block.
    pub fn new(quantum_bytes: u32) -> Fair {
        let quantum_bytes = match quantum_bytes {
            0 => BLOCK_BYTES,
            some => some.min(1 << 30),
        };
        let (early, ring) = (VecDeque::new(), VecDeque::new());
        Fair { quantum_bytes, early, ring, round: 0, left_in_round: 0, peers: Vec::new() }
    }

    /// The peer could be given bytes. Said twice it counts once; while its turn lasts it counts
    /// for nothing, since `spent` will say.
    pub fn ready(&mut self, key: u32, asks: Asks) {
        let at = key as usize;
        if at >= self.peers.len() {
            self.peers.resize(at + 1, Peer::default());
        }
        let Some(peer) = self.peers.get_mut(at) else { return };
        if peer.place != Place::Outside {
            return;
        }
        peer.pay_off(self.round, self.quantum_bytes);
        if asks == Asks::Little && peer.carry_bytes >= 0 {
            peer.place = Place::Early;
            self.early.push_back(key);
        } else {
            peer.place = Place::Ring;
            self.ring.push_back(key);
        }
    }

    /// The connection is gone or may send nothing: it leaves the line, and its credit and debt
    /// are forgotten, since its slot may be another's next.
    pub fn remove(&mut self, key: u32) {
        let Some(peer) = self.peers.get_mut(key as usize) else { return };
        match peer.place {
            Place::Early => self.early.retain(|other| *other != key),
            Place::Ring => self.ring.retain(|other| *other != key),
            Place::Outside | Place::Turn { .. } => {}
        }
        *peer = Peer::default();
    }

    /// Takes the next peer out of its line. Answer with [`Fair::spent`].
    #[allow(clippy::should_implement_trait, reason = "a ring that is refilled, not a sequence")]
    pub fn next(&mut self) -> Option<Turn> {
        let quantum = i32::try_from(self.quantum_bytes).unwrap_or(i32::MAX);
        if let Some(key) = self.early.pop_front() {
            let mut granted_bytes = 0;
            if self.ring.is_empty() {
                // It goes ahead of nobody: this is its round, and it owes nothing.
                self.begin_round();
                granted_bytes = quantum;
            }
            self.peers.get_mut(key as usize)?.place = Place::Turn { granted_bytes };
            return Some(Turn { key, allowance_bytes: LITTLE_BYTES.min(self.quantum_bytes) });
        }
        loop {
            if self.left_in_round == 0 {
                self.begin_round();
            }
            let key = self.ring.pop_front()?;
            self.left_in_round = self.left_in_round.saturating_sub(1);
            let peer = self.peers.get_mut(key as usize)?;
            let allowance = peer.carry_bytes.saturating_add(quantum);
            if let Ok(allowance_bytes @ 1..) = u32::try_from(allowance) {
                peer.place = Place::Turn { granted_bytes: quantum };
                return Some(Turn { key, allowance_bytes });
            }
            // Still in debt after this round's quantum: it sits this round out. The debt is
            // bounded and shrinks each time, so this ends.
            peer.carry_bytes = allowance;
            self.ring.push_back(key);
        }
    }

    fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.left_in_round = self.ring.len();
    }

    /// The turn is over: `bytes` were handed to the kernel. With [`Again::Ready`] the peer goes to
    /// the end of the ring with what is left of its allowance; else its credit lapses (its debt
    /// does not, until it is paid off by the quanta of rounds that pass). Without a turn, nothing
    /// happens.
    pub fn spent(&mut self, key: u32, bytes: u32, again: Again) {
        let Some(peer) = self.peers.get_mut(key as usize) else { return };
        let Place::Turn { granted_bytes } = peer.place else { return };
        let bound = i64::from(CARRY_BYTES_MAX);
        let left = i64::from(peer.carry_bytes) + i64::from(granted_bytes) - i64::from(bytes);
        let left = i32::try_from(left.clamp(-bound, bound)).unwrap_or(0);
        peer.round = self.round;
        if again == Again::Ready {
            peer.carry_bytes = left;
            peer.place = Place::Ring;
            self.ring.push_back(key);
        } else {
            peer.carry_bytes = left.min(0);
            peer.place = Place::Outside;
        }
    }

    /// Whether the peer whose turn lasts may be given another batch at once, of what is left of its
    /// allowance: its socket and its reader stay in the caches. With few in line the others come
    /// first: who gets all that it asked for is not ready again before it has read and asked
    /// anew, and the worker runs out of work.
    pub fn may_stay(&self) -> bool {
        self.len() >= STAY_READY_MIN
    }

    /// No peer stands in line (those whose turn lasts do not).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Peers in line.
    pub fn len(&self) -> usize {
        self.early.len() + self.ring.len()
    }
}

impl Peer {
    /// The rounds that passed while it stood outside pay its debt.
    fn pay_off(&mut self, round: u32, quantum_bytes: u32) {
        let passed = i64::from(round.wrapping_sub(self.round));
        let paid = i64::from(self.carry_bytes) + passed * i64::from(quantum_bytes);
        self.carry_bytes = i32::try_from(paid.min(0)).unwrap_or(0);
        self.round = round;
    }
}

/// How large a peer's next batch should be: what it takes in about 100 ms, in whole blocks, from 1
/// to [`BATCH_BLOCKS_MAX`]. A larger batch than the socket takes is sent in parts, which costs; a
/// smaller one wastes system calls. Rate 0 is a peer whose rate is not known yet.
pub fn batch_bytes(rate_bytes_per_s: u64) -> u32 {
    let blocks = match rate_bytes_per_s {
        0 => BATCH_BLOCKS_NEW,
        rate => {
            let blocks = rate / 10 / u64::from(BLOCK_BYTES);
            u32::try_from(blocks).unwrap_or(u32::MAX).clamp(1, BATCH_BLOCKS_MAX)
        }
    };
    blocks * BLOCK_BYTES
}

#[cfg(test)]
mod tests;
