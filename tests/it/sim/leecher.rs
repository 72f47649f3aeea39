//! Model leechers: each speaks the peer protocol by itself (nothing of `ringseed_wire` is used),
//! keeps a model of what it may get, and compares every byte.

mod claims;
mod order;

use std::collections::VecDeque;

use ringseed_ring::sim::{Random, Remote, RemoteState, World};

use super::manner::{Manner, Pattern};
use super::torrent::ModelTorrent;
use crate::peer::{
    CHOKE, INTERESTED, PIECE, REJECT, REQUEST, UNCHOKE, frame, handshake, request_body,
};

const BITFIELD: u8 = 5;
const CANCEL: u8 = 8;
const HAVE_ALL: u8 = 14;
const ALLOWED_FAST: u8 = 17;
const EXTENDED: u8 = 20;
const HASH_REQUEST: u8 = 21;
const HASHES: u8 = 22;
const HASH_REJECT: u8 = 23;

/// Hashes in an answer that has some, each of bytes 9.
pub(crate) const HASHES_SENT: usize = 512;

/// The id under which this leecher takes metadata.
const METADATA_ID: u8 = 3;
/// The id under which the seeder takes metadata requests.
const THEIR_METADATA_ID: u8 = 1;

pub(crate) type Block = (u32, u32, u32);

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct Asked {
    block: Block,
    /// When it was written, or the last thing happened that excuses waiting.
    since_us: u64,
    /// May stay without an answer.
    optional: bool,
    /// A cancel followed it.
    cancelled: bool,
}

pub(crate) struct Leecher {
    pub(crate) name: String,
    remote: Remote,
    pub(crate) torrent: usize,
    manner: Manner,
    random: Random,
    unsent: VecDeque<u8>,
    inbox: Vec<u8>,
    got: usize,
    greeted: bool,
    unchoked: bool,
    was_unchoked: bool,
    has_pieces: bool,
    /// Pieces that it may ask for while it is choked (BEP 6).
    allowed: Vec<u32>,
    asked: Vec<Asked>,
    /// When an answer last came.
    progress_us: u64,
    left: u32,
    next: (u32, u32),
    metadata: Option<Vec<u8>>,
    hash_requests: u32,
    /// It does not act before.
    next_us: u64,
    pub(crate) done: bool,
    /// When it left without warning.
    left_us: Option<u64>,
    /// It left, stalled or broke rules: nothing is owed to it.
    pub(crate) excused: bool,
    pub(crate) blocks: u64,
}

impl Leecher {
    pub(crate) fn new(
        world: &World,
        remote: Remote,
        (number, torrent, crowd): (usize, usize, bool),
        model: &ModelTorrent,
        random: &mut Random,
    ) -> Leecher {
        let mut random = random.fork();
        let manner = Manner::new(&mut random, crowd);
        let mut leecher = Leecher {
            name: format!("leecher {number} of torrent {torrent}"),
            remote,
            torrent,
            random,
            unsent: VecDeque::new(),
            inbox: Vec::new(),
            got: 0,
            greeted: false,
            unchoked: false,
            was_unchoked: false,
            has_pieces: false,
            allowed: Vec::new(),
            asked: Vec::new(),
            progress_us: world.now_us(),
            left: 0,
            next: (0, 0),
            metadata: None,
            hash_requests: 0,
            next_us: world.now_us(),
            done: false,
            left_us: None,
            excused: manner.hostile || manner.stalls_after != usize::MAX,
            blocks: 0,
            manner,
        };
        // A slow reader is to come to an end, too.
        let most = match leecher.manner.appetite < 4096 {
            true => 20,
            false => {
                if crowd {
                    800
                } else {
                    200
                }
            }
        };
        let steady = leecher.manner.depth == 1 || leecher.manner.heavy;
        leecher.left = match steady {
            true => leecher.random.between(1, most),
            false => leecher.random.of_any_size(most),
        } as u32;
        leecher.greet(model);
        leecher
    }

    fn greet(&mut self, model: &ModelTorrent) {
        let mut reserved = [0; 8];
        reserved[7] |= if self.manner.fast { 4 } else { 0 };
        reserved[5] |= if self.manner.extended { 0x10 } else { 0 };
        let mut greeting = handshake(model.info_hash, reserved);
        if self.manner.hostile && self.random.hits(300) {
            let at = self.random.below(48) as usize;
            greeting[at] ^= 1 << self.random.below(8);
            // It may have hit what it says of itself.
            self.manner.fast = greeting[27] & 4 != 0;
        }
        self.unsent.extend(greeting);
        if self.manner.extended && self.random.hits(800) {
            let body = format!("\0d1:md11:ut_metadatai{METADATA_ID}eee");
            self.unsent.extend(frame(EXTENDED, body.as_bytes()));
            if self.random.hits(500) {
                for piece in 0..model.content.info().len().div_ceil(16384) {
                    let mut body = vec![THEIR_METADATA_ID];
                    body.extend(format!("d8:msg_typei0e5:piecei{piece}ee").into_bytes());
                    self.unsent.extend(frame(EXTENDED, &body));
                }
                self.metadata = Some(Vec::new());
            }
        }
        if self.random.hits(900) {
            self.unsent.extend(frame(INTERESTED, &[]));
        } else {
            // With few slots it may never be unchoked.
            self.excused = true;
        }
        if self.random.hits(150) && !self.manner.hostile {
            self.hash_requests = self.random.between(1, 4) as u32;
            for _ in 0..self.hash_requests {
                self.unsent.extend(frame(HASH_REQUEST, &[7; 48]));
            }
        }
        if self.manner.hostile {
            self.misbehave(model);
        }
    }

    fn misbehave(&mut self, model: &ModelTorrent) {
        let piece = self.random.below(u64::from(model.piece_count)) as u32;
        let piece_bytes = model.piece_bytes(piece) as u32;
        match self.random.below(7) {
            0 => self.unsent.extend(frame(REQUEST, &request_body(model.piece_count, 0, 1))),
            1 => self.unsent.extend(frame(REQUEST, &request_body(piece, 0, 0))),
            2 => self.unsent.extend(frame(REQUEST, &request_body(piece, 0, (128 << 10) + 1))),
            3 => self.unsent.extend(frame(REQUEST, &request_body(piece, piece_bytes, 1))),
            4 => self.unsent.extend(u32::MAX.to_be_bytes()),
            5 => {
                // A flood: the first ones are served, the rest refused, and that is all.
                for _ in 0..3000 {
                    let length = piece_bytes.min(1 + self.random.below(40) as u32);
                    self.unsent.extend(frame(REQUEST, &request_body(piece, 0, length)));
                }
            }
            _ => {
                let noise = (0..500).map(|_| self.random.bits() as u8).collect::<Vec<_>>();
                self.unsent.extend(noise);
            }
        }
    }

    /// Acts if it is its time. What is wrong is pushed to `wrong`.
    pub(crate) fn step(&mut self, now_us: u64, model: &ModelTorrent, wrong: &mut Vec<String>) {
        if self.done || now_us < self.next_us {
            return;
        }
        self.next_us = now_us + self.manner.pace_us;
        self.write();
        self.read(now_us, model, wrong);
        if self.got >= self.manner.leaves_after {
            return self.leave(now_us);
        }
        self.ask(now_us, model);
        self.end_if_over();
    }

    fn write(&mut self) {
        let most = 1 + self.random.of_any_size(8192) as usize;
        let (bytes, _) = self.unsent.as_slices();
        let taken = self.remote.write(&bytes[..most.min(bytes.len())]);
        self.unsent.drain(..taken);
    }

    fn read(&mut self, now_us: u64, model: &ModelTorrent, wrong: &mut Vec<String>) {
        if self.got >= self.manner.stalls_after {
            return;
        }
        let bytes = self.remote.read_at_most(self.manner.appetite);
        self.got += bytes.len();
        self.inbox.extend(bytes);
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        if !self.greeted && inbox.len() >= 68 {
            if &inbox[..20] != b"\x13BitTorrent protocol" || inbox[28..48] != model.info_hash {
                wrong.push(format!("{}: a strange handshake", self.name));
            }
            self.greeted = true;
            at = 68;
        }
        while self.greeted && inbox.len() >= at + 4 {
            let length = u32::from_be_bytes(inbox[at..at + 4].try_into().unwrap()) as usize;
            if length > 1 << 20 {
                wrong.push(format!("{}: a frame of {length} bytes", self.name));
                self.done = true;
                break;
            }
            let Some(frame) = inbox.get(at + 4..at + 4 + length) else { break };
            at += 4 + length;
            if let Some((kind, body)) = frame.split_first() {
                self.on_frame(*kind, body, now_us, model, wrong);
            }
        }
        inbox.drain(..at);
        self.inbox = inbox;
    }

    fn on_frame(
        &mut self,
        kind: u8,
        body: &[u8],
        now_us: u64,
        model: &ModelTorrent,
        wrong: &mut Vec<String>,
    ) {
        match kind {
            UNCHOKE => {
                (self.unchoked, self.was_unchoked) = (true, true);
                if !self.manner.fast {
                    self.asked.iter_mut().for_each(|asked| asked.since_us = now_us);
                }
            }
            CHOKE => {
                self.unchoked = false;
                if !self.manner.fast {
                    // Dropped without a word, or already on their way.
                    self.asked.iter_mut().for_each(|asked| asked.optional = true);
                }
            }
            HAVE_ALL if self.manner.fast && !self.has_pieces => self.has_pieces = true,
            BITFIELD if !self.manner.fast && !self.has_pieces => {
                self.has_pieces = true;
                let ones: u32 = body.iter().map(|byte| byte.count_ones()).sum();
                let bytes = model.piece_count.div_ceil(8) as usize;
                if ones != model.piece_count || body.len() != bytes {
                    wrong.push(format!("{}: a bitfield of {ones} pieces", self.name));
                }
            }
            PIECE => {
                self.progress_us = now_us;
                self.on_piece(body, model, wrong);
            }
            REJECT if self.manner.fast => {
                self.progress_us = now_us;
                let block = block_of(body);
                self.answered(block, "reject", wrong);
            }
            ALLOWED_FAST if self.manner.fast => {
                self.allowed.extend(body.first_chunk().map(|body| u32::from_be_bytes(*body)));
            }
            EXTENDED if self.manner.extended => self.on_extended(body, model, wrong),
            HASH_REJECT | HASHES => {
                let owed = self.hash_requests > 0 || self.manner.hostile;
                let is_right = body.starts_with(&[7; 48])
                    && body[48..].len() == if kind == HASHES { 32 * HASHES_SENT } else { 0 }
                    && body[48..].iter().all(|byte| *byte == 9);
                if !owed || !is_right && !self.manner.hostile {
                    wrong.push(format!("{}: a strange answer to a hash request", self.name));
                }
                self.hash_requests = self.hash_requests.saturating_sub(1);
            }
            kind => wrong.push(format!("{}: message {kind} out of place", self.name)),
        }
    }

    fn on_piece(&mut self, body: &[u8], model: &ModelTorrent, wrong: &mut Vec<String>) {
        let Some((head, data)) = body.split_first_chunk::<8>() else {
            return wrong.push(format!("{}: a short piece message", self.name));
        };
        let piece = u32::from_be_bytes(head[..4].try_into().unwrap());
        let begin = u32::from_be_bytes(head[4..].try_into().unwrap());
        let block = (piece, begin, data.len() as u32);
        self.blocks += 1;
        wrong.extend(self.out_of_order(block));
        self.answered(block, "piece", wrong);
        if data == model.block(block) {
            return;
        }
        // What was in flight when a file was cut or written may be anything.
        if model.files_of(block).all(|file| file.changed_us.is_none()) {
            wrong.push(format!("{}: wrong bytes in block {block:?}", self.name));
        }
    }

    /// A request has its answer: it must have been in flight, once for each answer.
    fn answered(&mut self, block: Block, by: &str, wrong: &mut Vec<String>) {
        // Of equal requests the one that was not cancelled has the better claim.
        let owed = |asked: &Asked| asked.block == block && !asked.optional;
        let at = self.asked.iter().position(owed);
        match at.or_else(|| self.asked.iter().position(|asked| asked.block == block)) {
            Some(at) => {
                self.asked.remove(at);
            }
            None if self.manner.hostile => {}
            None => wrong.push(format!("{}: {by} for {block:?}, not asked for", self.name)),
        }
    }

    fn on_extended(&mut self, body: &[u8], model: &ModelTorrent, wrong: &mut Vec<String>) {
        let Some(metadata) = self.metadata.as_mut().filter(|_| body.first() == Some(&METADATA_ID))
        else {
            return;
        };
        let Some(end) = body.windows(2).position(|two| two == b"ee") else {
            return wrong.push(format!("{}: a strange metadata message", self.name));
        };
        metadata.extend_from_slice(&body[end + 2..]);
        if !model.content.info().starts_with(metadata) {
            wrong.push(format!("{}: wrong metadata", self.name));
        }
        if metadata.len() == model.content.info().len() {
            self.metadata = None;
        }
    }

    /// Sends requests, repeats and cancels some.
    fn ask(&mut self, now_us: u64, model: &ModelTorrent) {
        let may = self.greeted && self.unchoked && !self.manner.hostile;
        while may && self.owed() < self.manner.depth && self.left > 0 {
            let repeat = self.random.hits(self.manner.repeats_per_mille);
            let again = self.random.pick(&self.asked).filter(|_| repeat).map(|asked| asked.block);
            let block = again.unwrap_or_else(|| self.next_block(model));
            self.left -= 1;
            self.unsent.extend(frame(REQUEST, &request_body(block.0, block.1, block.2)));
            let asked = Asked { block, since_us: now_us, optional: false, cancelled: false };
            self.asked.push(asked);
            if self.random.hits(self.manner.cancels_per_mille) {
                self.cancel_one();
            }
        }
    }

    /// Requests in flight that must be answered.
    fn owed(&self) -> usize {
        self.asked.iter().filter(|asked| !asked.optional).count()
    }

    fn cancel_one(&mut self) {
        let at = self.random.below(self.asked.len() as u64) as usize;
        let block = self.asked[at].block;
        let same = self.asked.iter_mut().filter(|asked| asked.block == block);
        same.for_each(|asked| asked.cancelled = true);
        self.unsent.extend(frame(CANCEL, &request_body(block.0, block.1, block.2)));
        // BEP 6: each request has exactly one answer, a cancelled one too. Without it, none may come;
        // and of equal requests nobody can tell which one was cancelled.
        if !self.manner.fast {
            let same = self.asked.iter_mut().filter(|asked| asked.block == block);
            same.for_each(|asked| asked.optional = true);
        }
    }

    fn next_block(&mut self, model: &ModelTorrent) -> Block {
        let random = &mut self.random;
        let pieces = u64::from(model.piece_count);
        let (piece, begin) = match self.manner.pattern {
            Pattern::Sequential => self.next,
            Pattern::RandomBlocks => {
                let piece = random.below(pieces) as u32;
                (piece, 16384 * random.below(model.piece_bytes(piece).div_ceil(16384)) as u32)
            }
            Pattern::Odd => {
                let piece = random.below(pieces) as u32;
                (piece, random.below(model.piece_bytes(piece)) as u32)
            }
        };
        let rest = model.piece_bytes(piece) - u64::from(begin);
        let length = match self.manner.pattern {
            Pattern::Odd => random.of_any_size(rest.min(128 << 10)),
            _ => rest.min(16384),
        };
        let follows = u64::from(begin) + length < model.piece_bytes(piece);
        self.next = match follows {
            true => (piece, begin + length as u32),
            false => ((piece + 1) % model.piece_count, 0),
        };
        (piece, begin, length as u32)
    }

    fn leave(&mut self, now_us: u64) {
        self.left_us = Some(now_us);
        match self.random.below(3) {
            0 => self.remote.reset(),
            1 => self.remote.close(),
            _ => {
                self.remote.finish();
                self.remote.set_window(usize::MAX);
            }
        }
        self.excused = true;
        self.done = true;
    }

    /// Done: all was answered, or the connection is over.
    fn end_if_over(&mut self) {
        let over = self.remote.state() != RemoteState::Open && self.remote.unread() == 0;
        let answered = self.left == 0 && self.asked.iter().all(|asked| asked.optional);
        let idle = answered && self.unsent.is_empty() && self.metadata.is_none();
        if over {
            self.done = true;
        } else if idle && self.greeted && self.hash_requests == 0 && !self.manner.hostile {
            self.excused = true;
            self.remote.close();
            self.done = true;
        }
    }
}

fn block_of(body: &[u8]) -> Block {
    let number = |at: usize| {
        let bytes = body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u32::MAX, u32::from_be_bytes)
    };
    (number(0), number(4), number(8))
}
