//! Which peer sends next, and how much: deficit round robin among the ready connections of one
//! worker, and the size of a peer's batch.
//!
//! A peer is *ready* when it could be given bytes now: it is unchoked, has requests waiting, no
//! batch in flight and room in its socket. Ready peers stand in a ring. [`Fair::next`] takes the
//! first one out and names its allowance; [`Fair::spent`] says what it used and whether it stands
//! in line again. How many requests a peer has outstanding plays no part, so that a deep queue
//! cannot starve a shallow one.
//!
//! Work and queue are bounded by the ready peers; idle ones cost eight bytes of a table and no
//! time.

use crate::limits::{BATCH_BLOCKS_MAX, BATCH_BLOCKS_NEW, BLOCK_BYTES, CARRY_BYTES_MAX};
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
    Ring,
    /// Its turn was handed out; `spent` has not come yet.
    Turn,
    /// As `Turn`, and `ready` was said meanwhile.
    TurnAndReady,
}

#[derive(Clone, Copy, Default)]
struct Peer {
    /// Credit (positive) or debt (negative) carried into the next turn, at most CARRY_BYTES_MAX
    /// either way.
    carry_bytes: i32,
    place: Place,
}

/// The ring of ready connections of one worker. Keys are small dense slots.
pub struct Fair {
    quantum_bytes: u32,
    ring: VecDeque<u32>,
    peers: Vec<Peer>,
}

impl Fair {
    /// A ring in which each ready peer may send `quantum_bytes` a round. Zero counts as one
    /// block. A good quantum is the largest batch.
    pub fn new(quantum_bytes: u32) -> Fair {
        let quantum_bytes = match quantum_bytes {
            0 => BLOCK_BYTES,
            some => some.min(1 << 30),
        };
        Fair { quantum_bytes, ring: VecDeque::new(), peers: Vec::new() }
    }

    /// The peer could be given bytes. Said twice, or while its turn lasts, it counts once.
    pub fn ready(&mut self, key: u32) {
        let at = key as usize;
        if at >= self.peers.len() {
            self.peers.resize(at + 1, Peer::default());
        }
        let Some(peer) = self.peers.get_mut(at) else { return };
        peer.place = match peer.place {
            Place::Outside => {
                self.ring.push_back(key);
                Place::Ring
            }
            Place::Turn => Place::TurnAndReady,
            same @ (Place::Ring | Place::TurnAndReady) => same,
        };
    }

    /// The connection is gone or may send nothing: it leaves the ring, and its credit and debt
    /// are forgotten, since its slot may be another's next.
    pub fn remove(&mut self, key: u32) {
        let Some(peer) = self.peers.get_mut(key as usize) else { return };
        if peer.place == Place::Ring {
            self.ring.retain(|other| *other != key);
        }
        *peer = Peer::default();
    }

    /// Takes the next peer out of the ring. Answer with [`Fair::spent`].
    #[allow(clippy::should_implement_trait, reason = "a ring that is refilled, not a sequence")]
    pub fn next(&mut self) -> Option<Turn> {
        loop {
            let key = self.ring.pop_front()?;
            let peer = self.peers.get_mut(key as usize)?;
            let quantum = i32::try_from(self.quantum_bytes).unwrap_or(i32::MAX);
            let allowance = peer.carry_bytes.saturating_add(quantum);
            if let Ok(allowance_bytes @ 1..) = u32::try_from(allowance) {
                peer.place = Place::Turn;
                return Some(Turn { key, allowance_bytes });
            }
            // Still in debt after this round's quantum: it sits this round out. The debt is
            // bounded and shrinks each time, so this ends.
            peer.carry_bytes = allowance;
            self.ring.push_back(key);
        }
    }

    /// The turn is over: `bytes` were handed to the kernel. With [`Again::Ready`], or when
    /// [`Fair::ready`] was said since, the peer goes to the end of the ring with what is left of
    /// its allowance; else its credit lapses (its debt does not). Without a turn, nothing
    /// happens.
    pub fn spent(&mut self, key: u32, bytes: u32, again: Again) {
        let Some(peer) = self.peers.get_mut(key as usize) else { return };
        let ready = match peer.place {
            Place::Outside | Place::Ring => return,
            Place::Turn => again == Again::Ready,
            Place::TurnAndReady => true,
        };
        let bound = i64::from(CARRY_BYTES_MAX);
        let left = i64::from(peer.carry_bytes) + i64::from(self.quantum_bytes) - i64::from(bytes);
        let left = i32::try_from(left.clamp(-bound, bound)).unwrap_or(0);
        if ready {
            peer.carry_bytes = left;
            peer.place = Place::Ring;
            self.ring.push_back(key);
        } else {
            peer.carry_bytes = left.min(0);
            peer.place = Place::Outside;
        }
    }

    /// No peer stands in the ring (those whose turn lasts do not).
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Peers in the ring.
    pub fn len(&self) -> usize {
        self.ring.len()
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
