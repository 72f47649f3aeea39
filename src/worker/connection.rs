//! One connection as plain state: the peer's protocol state, what it asked for, and the batch that
//! is on its way to it. No kernel here.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use ringseed_meta::{BlockRef, InfoHash, Instant};
use ringseed_ring::{Batch, File, Run, Socket, Verb};
use ringseed_sched::fair::Asks;
use ringseed_sched::limits::{BATCH_BLOCKS_MAX, BLOCK_BYTES, LITTLE_BYTES};
use ringseed_sched::rate::Meter;
use ringseed_wire::Peer;
use smallvec::SmallVec;

use super::closing::How;
use super::mailbox::ConnectionId;
use super::vain::Vain;
use crate::store::catalog::{Entry, TorrentState};
use crate::store::content::Content;
use crate::store::fetch::Onward;
use crate::store::files::FileId;

/// The largest batch.
const ROOM_BYTES_MAX: u32 = BATCH_BLOCKS_MAX * BLOCK_BYTES;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Waits for the other's handshake.
    Greeting,
    /// The handshake came; the torrent's content is being loaded.
    Loading,
    Serving,
    /// Leaves the kernel, for the worker at that place. What arrives is held.
    Moving(u16),
    /// As `Moving`, but it was closed meanwhile: that follows once it has left the kernel.
    Recalled(How),
    /// Sends what was begun, then closes.
    Draining,
    /// Closed as far as we are concerned; the kernel has not said so yet.
    Closing,
}

/// What is on its way to the socket.
#[derive(Debug)]
pub(super) enum Outgoing {
    Nothing,
    /// The kernel has the batch.
    Sending,
    /// The socket took less than all: waits until it takes more.
    Blocked(Box<Batch>),
    /// The socket takes more, but pages of the rest went away meanwhile: waits for them.
    Refetching(Box<Batch>),
}

impl Outgoing {
    /// The kernel has a batch.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self, Outgoing::Sending)
    }
}

/// A piece of metadata that is to be sent (BEP 9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MetadataReply {
    /// The peer's id for metadata messages.
    pub(super) their_id: u8,
    pub(super) piece: u32,
    /// Bytes of the info dictionary.
    pub(super) range: std::ops::Range<u32>,
}

/// What few connections need, and seldom for long.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Bytes behind the handshake while the content is loaded, and those received while it moves.
    pub(super) held: Vec<u8>,
    /// Pieces of metadata to be sent.
    pub(super) metadata: VecDeque<MetadataReply>,
    /// What the batch on its way reads by itself, instead of a fetch.
    pub(super) reads: Vec<(FileId, Run)>,
}

impl Aside {
    fn is_empty(&self) -> bool {
        self.held.is_empty() && self.metadata.is_empty() && self.reads.is_empty()
    }
}

/// A frame within the batch on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Bytes that have not gone into the socket.
    pub(super) left: u32,
    /// All its bytes.
    pub(super) bytes: u32,
    /// The block it carries, if it carries one.
    pub(super) block: Option<BlockRef>,
}

/// What a stretch of sent bytes completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Completed {
    pub(super) blocks: u64,
    pub(super) block_bytes: u64,
}

/// What an idle one costs, beside the tables of worker and kernel that name it: 100,000 are held. The
/// allocator's next size above is 640.
const _: () = assert!(size_of::<Connection>() <= 512, "an idle connection is to cost a kilobyte");

/// One connection.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) socket: Socket,
    pub(super) address: SocketAddr,
    pub(super) peer: Peer,
    pub(super) phase: Phase,
    /// The swarm that its handshake named.
    pub(super) info_hash: InfoHash,
    pub(super) entry: Option<Arc<Entry>>,
    pub(super) content: Option<Arc<Content>>,
    pub(super) aside: Option<Box<Aside>>,
    /// The worker that it goes to as soon as nothing of it is under way.
    pub(super) bound_for: Option<u16>,
    /// It has moved lately, and stays until then.
    pub(super) may_move_from: Instant,
    /// Frames of our own that ride in the next batch.
    pub(super) control: Vec<u8>,
    /// Blocks asked for and not begun, in the order they were asked.
    pub(super) requests: VecDeque<BlockRef>,
    /// Hash requests that are being computed.
    pub(super) hash_requests: u8,
    pub(super) outgoing: Outgoing,
    /// How the batch on its way is sent.
    pub(super) verb: Verb,
    /// The frames of the batch on its way, in order.
    pub(super) frames: VecDeque<Frame>,
    /// Files that the batch on its way refers to.
    pub(super) pinned: SmallVec<[File; 2]>,
    /// Opens and fetches whose end it waits for.
    pub(super) waits: u32,
    /// The cache did not keep what was fetched: the next batch is copied.
    pub(super) copy_next: bool,
    /// How often it did not, while the cache had kept it for a moment.
    pub(super) vain: Vain,
    /// Where it reads, to fetch ahead of it.
    pub(super) onward: Onward,
    pub(super) rate: Meter,
    /// Bytes of a batch that the socket will probably take: what it took of the last one that it
    /// did not take in full, twice as much with each that it did.
    pub(super) room_bytes: u32,
    /// Bytes that may be in the socket and not acknowledged: an upper bound between questions.
    pub(super) unacknowledged_bytes: u32,
    /// Bytes that its peer has acknowledged, as far as it was asked; no more than fit here.
    pub(super) acknowledged_bytes: u32,
    /// Since when the socket takes nothing, or nothing of it was acknowledged while it is held back.
    pub(super) blocked_since: Option<Instant>,
    /// When it was last choked or unchoked, or became interested.
    pub(super) choke_since: Instant,
    /// Its interest is counted in the table that the workers share.
    pub(super) counted_interest: bool,
    /// It holds its share of what sockets may hold: nothing is sent before that is less.
    pub(super) is_held_back: bool,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        socket: Socket,
        address: SocketAddr,
        peer: Peer,
        now: Instant,
    ) -> Connection {
        Connection {
            id,
            socket,
            address,
            peer,
            phase: Phase::Greeting,
            info_hash: InfoHash([0; 20]),
            entry: None,
            content: None,
            aside: None,
            bound_for: None,
            may_move_from: now,
            control: Vec::new(),
            requests: VecDeque::new(),
            hash_requests: 0,
            outgoing: Outgoing::Nothing,
            verb: Verb::Splice,
            frames: VecDeque::new(),
            pinned: SmallVec::new(),
            waits: 0,
            copy_next: false,
            vain: Vain::default(),
            onward: Onward::default(),
            rate: Meter::new(now),
            room_bytes: ROOM_BYTES_MAX,
            unacknowledged_bytes: 0,
            acknowledged_bytes: 0,
            is_held_back: false,
            blocked_since: None,
            choke_since: now,
            counted_interest: false,
        }
    }

    /// Could be given bytes now.
    pub(super) fn is_ready(&self) -> bool {
        let free = matches!(self.outgoing, Outgoing::Nothing);
        let open = matches!(self.phase, Phase::Serving | Phase::Loading);
        let wants_block = !self.requests.is_empty() && self.waits == 0;
        let may = free && open && !self.is_held_back;
        may && (wants_block || !self.control.is_empty() || self.owes_metadata())
    }

    /// Its torrent is paused, by this worker or another.
    pub(super) fn is_paused(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.state() == TorrentState::Paused)
    }

    /// Bytes that it could be sent; at least a block's, since its own messages want room as well.
    pub(super) fn wanted_bytes(&self) -> u32 {
        let blocks = u32::try_from(self.requests.len()).unwrap_or(u32::MAX);
        blocks.saturating_mul(BLOCK_BYTES).max(BLOCK_BYTES)
    }

    fn owes_metadata(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| !aside.metadata.is_empty())
    }

    /// What it holds beside, made when it is first needed.
    pub(super) fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// Bytes that were held, which are to be received now.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        self.aside.as_mut().map(|aside| std::mem::take(&mut aside.held)).unwrap_or_default()
    }

    /// The piece of metadata that is to be sent next.
    pub(super) fn next_metadata(&mut self) -> Option<MetadataReply> {
        self.aside.as_mut()?.metadata.pop_front()
    }

    pub(super) fn drop_metadata(&mut self) {
        self.aside.iter_mut().for_each(|aside| aside.metadata.clear());
    }

    /// How much it asks for.
    pub(super) fn asks(&self) -> Asks {
        let blocks = (LITTLE_BYTES / BLOCK_BYTES) as usize;
        if self.requests.len() <= blocks { Asks::Little } else { Asks::Much }
    }

    /// Takes a request back, if its block is not begun. False: it was not waiting.
    pub(super) fn cancel(&mut self, block: BlockRef) -> bool {
        if let Some(at) = self.requests.iter().position(|waiting| *waiting == block) {
            self.requests.remove(at);
            return true;
        }
        let unbegun = |frame: &Frame| frame.block == Some(block) && frame.left == frame.bytes;
        match self.frames.iter().position(unbegun) {
            Some(at) => self.unload(at).is_some_and(|blocks| {
                // The first is the cancelled one. An equal one behind it was asked for again.
                let others = blocks.into_iter().skip(1).rev();
                others.for_each(|other| self.requests.push_front(other));
                true
            }),
            None => false,
        }
    }

    /// Drops all requests whose block is not begun; a begun one is finished.
    pub(super) fn drop_requests(&mut self) -> Vec<BlockRef> {
        let unbegun = |frame: &Frame| frame.block.is_some() && frame.left == frame.bytes;
        let mut dropped = match self.frames.iter().position(unbegun) {
            Some(at) => self.unload(at).unwrap_or_default(),
            None => Vec::new(),
        };
        dropped.extend(self.requests.drain(..));
        dropped
    }

    /// Takes the frames from place `at` on out of the batch that waits, if one waits here (one
    /// that the kernel has cannot be recalled). Returns their blocks; all of them must be blocks.
    fn unload(&mut self, at: usize) -> Option<Vec<BlockRef>> {
        let (Outgoing::Blocked(batch) | Outgoing::Refetching(batch)) = &mut self.outgoing else {
            return None;
        };
        let tail: u64 = self.frames.iter().skip(at).map(|frame| u64::from(frame.left)).sum();
        batch.truncate(batch.len() - tail);
        Some(self.frames.drain(at..).filter_map(|frame| frame.block).collect())
    }

    /// The socket took all of a batch, so that the next may be larger.
    pub(super) fn took_all(&mut self) {
        self.room_bytes = self.room_bytes.saturating_mul(2).min(ROOM_BYTES_MAX);
    }

    /// The socket took `bytes` of a batch and no more. What waits is cut to what it will take the
    /// next time; the blocks behind that are asked for as before. All of what waits would be
    /// gathered, and nearly all of it dropped, as often as a slow peer takes a little.
    pub(super) fn took_some(&mut self, bytes: u32) {
        self.room_bytes = bytes.clamp(BLOCK_BYTES, ROOM_BYTES_MAX);
        let begun = |frame: &Frame| frame.block.is_none() || frame.left < frame.bytes;
        let stays = self.frames.iter().rposition(begun).map_or(0, |at| at + 1);
        let mut waits = 0;
        let fitting = self.frames.iter().take_while(|frame| {
            let fits = waits < self.room_bytes;
            waits += frame.left;
            fits
        });
        let at = fitting.count().max(stays);
        if at < self.frames.len() {
            let blocks = self.unload(at).unwrap_or_default();
            blocks.into_iter().rev().for_each(|block| self.requests.push_front(block));
        }
    }

    /// `bytes` went into the socket: which blocks that completed.
    pub(super) fn sent(&mut self, bytes: u32) -> Completed {
        let mut completed = Completed::default();
        let mut bytes = bytes;
        while bytes > 0 {
            let Some(frame) = self.frames.front_mut() else { break };
            let step = bytes.min(frame.left);
            frame.left -= step;
            bytes -= step;
            if frame.left == 0 {
                if let Some(block) = frame.block {
                    completed.blocks += 1;
                    completed.block_bytes += u64::from(block.length);
                }
                self.frames.pop_front();
            }
        }
        debug_assert_eq!(bytes, 0, "more was sent than the batch held");
        if completed.blocks == 0 && self.frames.is_empty() {
            self.rest();
        }
        completed
    }

    /// A batch without a block has gone (a greeting, a keep-alive), so this one is not busy: gives
    /// back the queues that it may have needed when it was.
    fn rest(&mut self) {
        self.frames = VecDeque::new();
        if self.requests.is_empty() {
            self.requests = VecDeque::new();
        }
        if self.aside.as_ref().is_some_and(|aside| aside.is_empty()) {
            self.aside = None;
        }
    }
}

#[cfg(test)]
mod tests;
