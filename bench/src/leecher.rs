//! One connection of the load: asks for blocks, and checks the frame of every answer. Pure: bytes
//! and the time go in, requests come out; who reads the socket may drop payloads unseen.

use ringseed_meta::{BlockRef, InfoHash, Instant, PieceIndex};
use ringseed_wire::handshake::HANDSHAKE_BYTES;
use ringseed_wire::message::id;
use ringseed_wire::{Features, Handshake};

use crate::fault::Fault;
use crate::frames;
use crate::limits::{FRAME_BYTES_MAX, HEAD_BYTES_MAX, SCRATCH_BYTES};
use crate::requests::{Request, Requests};
use crate::tally::Tally;
use crate::verify::{Progress, Verifier};

/// What the connection wants from its socket next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Up to this many bytes, for [`Leecher::received`].
    Read(usize),
    /// Up to this many bytes that nobody looks at, counted by [`Leecher::discarded`].
    Discard(usize),
}

/// When the seeder first said what it must say before blocks can come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Milestones {
    /// Its handshake.
    pub handshake: Option<Instant>,
    /// Which pieces it has: a bitfield, or have all (BEP 6).
    pub bitfield: Option<Instant>,
    /// That we may ask.
    pub unchoke: Option<Instant>,
}

/// Whether the seeder is told that we want something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// As leechers do.
    Told,
    /// It is not: a connection that only is there.
    Silent,
}

/// Where in the stream the connection stands.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Within the 68 bytes of the handshake.
    Handshake,
    /// Within a frame's length, id and, for a piece, index and begin.
    Header,
    /// Within a block: these bytes of it are still to come.
    Payload { answers: Request, left: u32 },
    /// Within the body of another frame.
    Body { id: u8, left: u32 },
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Leecher {
    info_hash: InfoHash,
    piece_count: u32,
    requests: Requests,
    verifier: Option<Verifier>,
    interest: Interest,
    phase: Phase,
    /// The beginning of a handshake, header or small body that has not arrived in full.
    carry: [u8; HEAD_BYTES_MAX],
    carried: usize,
    /// Pieces that a bitfield in arrival has named so far.
    pieces_named: u32,
    choked: bool,
    /// The seeder's handshake has come, and our greeting is due.
    greets: Option<Features>,
    /// BEP 6 was agreed: a choke rejects each request by name, rather than dropping all.
    fast: bool,
    milestones: Milestones,
    /// Bytes received so far, and how many there were when the present frame began.
    offset: u64,
    frame_at: u64,
}

impl Leecher {
    /// A connection that makes these requests whenever it may. With a verifier no payload is dropped
    /// unseen.
    pub fn new(
        info_hash: InfoHash,
        piece_count: u32,
        requests: Requests,
        interest: Interest,
        verifier: Option<Verifier>,
    ) -> Leecher {
        Leecher {
            verifier,
            info_hash,
            piece_count,
            requests,
            interest,
            phase: Phase::Handshake,
            carry: [0; HEAD_BYTES_MAX],
            carried: 0,
            pieces_named: 0,
            choked: true,
            greets: None,
            fast: false,
            milestones: Milestones::default(),
            offset: 0,
            frame_at: 0,
        }
    }

    /// What was said so far.
    pub fn milestones(&self) -> Milestones {
        self.milestones
    }

    /// What it asks for.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Open loop: a request was due at `at`.
    pub fn arrive(&mut self, at: Instant) {
        self.requests.arrive(at);
    }

    /// Takes all that will not be answered, half answered blocks included: when each was due.
    pub fn give_up(&mut self) -> Vec<Instant> {
        let mut since = self.requests.give_up();
        if let Phase::Payload { answers, .. } = self.phase {
            since.push(answers.since);
        }
        since
    }

    /// Nothing is on its way to us that we asked for.
    pub fn is_idle(&self) -> bool {
        self.requests.outstanding() == 0 && self.is_between_messages()
    }

    /// The last message has come whole.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.phase, Phase::Header) && self.carried == 0
    }

    /// What comes next belongs to a block, whose time is taken at its last byte.
    #[inline]
    pub fn is_in_block(&self) -> bool {
        matches!(self.phase, Phase::Payload { .. })
    }

    /// Where in the stream the present frame began: what a fault speaks of.
    pub fn frame_at(&self) -> u64 {
        self.frame_at
    }

    /// What to do with the socket next. Any amount up to the answer may be given.
    #[inline]
    pub fn need(&self) -> Need {
        match self.phase {
            Phase::Handshake => Need::Read(HANDSHAKE_BYTES - self.carried),
            Phase::Header => Need::Read(frames::PIECE_HEADER_BYTES - self.carried),
            Phase::Payload { left, .. } if self.verifier.is_some() => {
                Need::Read((left as usize).min(SCRATCH_BYTES))
            }
            Phase::Payload { left, .. } => Need::Discard(left as usize),
            Phase::Body { id: id::BITFIELD | id::REJECT, left } => {
                Need::Read((left as usize).min(SCRATCH_BYTES))
            }
            Phase::Body { left, .. } => Need::Discard(left as usize),
        }
    }

    /// Appends the greeting when it is due: once, after the seeder's handshake.
    #[inline]
    pub fn greet(&mut self, out: &mut Vec<u8>) {
        if let Some(theirs) = self.greets.take() {
            frames::write_greeting(theirs, self.interest, out);
        }
    }

    /// Appends the requests that may be made now: how many. None while choked.
    pub fn ask(&mut self, now: Instant, out: &mut Vec<u8>) -> u64 {
        if self.choked {
            return 0;
        }
        self.requests.ask(now, usize::from(self.is_in_block()), out)
    }

    /// `length` bytes were dropped where [`Leecher::need`] allowed it.
    #[inline]
    pub fn discarded(&mut self, length: u32, now: Instant, tally: &mut Tally) {
        self.offset += u64::from(length);
        let left = match &mut self.phase {
            Phase::Payload { answers, left } => {
                *left -= length;
                tally.on_payload(length, now);
                if *left == 0 {
                    tally.on_block(answers.since, now);
                }
                *left
            }
            Phase::Body { left, .. } => {
                *left -= length;
                *left
            }
            Phase::Handshake | Phase::Header => {
                debug_assert!(false, "bytes dropped that are to be looked at");
                return;
            }
        };
        if left == 0 {
            self.phase = Phase::Header;
        }
    }

    /// Bytes of the stream, in order, however they were cut.
    pub fn received(
        &mut self,
        mut bytes: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let taken = match self.phase {
                Phase::Handshake => self.on_handshake_bytes(bytes, now)?,
                Phase::Header => self.on_header_bytes(bytes, now, tally)?,
                Phase::Body { id: id @ (id::BITFIELD | id::REJECT), left } => {
                    self.on_body_bytes(id, left, bytes, now, tally)?
                }
                Phase::Payload { left, .. } | Phase::Body { left, .. } => {
                    let length = left.min(u32::try_from(bytes.len()).unwrap_or(left));
                    self.verify(bytes.get(..length as usize).unwrap_or_default(), tally)?;
                    self.discarded(length, now, tally);
                    self.offset -= u64::from(length);
                    length as usize
                }
            };
            self.offset += taken as u64;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Bytes of a block on their way to being counted.
    fn verify(&mut self, bytes: &[u8], tally: &mut Tally) -> Result<(), Fault> {
        let (Some(verifier), Phase::Payload { answers, left }) = (&mut self.verifier, self.phase)
        else {
            return Ok(());
        };
        match verifier.take(answers.block, answers.block.length - left, bytes)? {
            Progress::Within => {}
            Progress::Verified(length) => tally.on_verified(answers.block.piece, length),
            Progress::BrokenOff => tally.counts.pieces_broken_off += 1,
        }
        Ok(())
    }

    /// A block will not come.
    fn lose(&mut self, block: BlockRef, tally: &mut Tally) {
        let Some(verifier) = &mut self.verifier else { return };
        if verifier.lose(block) == Progress::BrokenOff {
            tally.counts.pieces_broken_off += 1;
        }
    }

    /// Moves bytes into the carry until it holds `until`; says how many.
    fn fill(&mut self, bytes: &[u8], until: usize) -> usize {
        let room = self.carry.get_mut(self.carried..until).unwrap_or_default();
        let taken = room.len().min(bytes.len());
        room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.carried += taken;
        taken
    }

    fn on_handshake_bytes(&mut self, bytes: &[u8], now: Instant) -> Result<usize, Fault> {
        let taken = self.fill(bytes, HANDSHAKE_BYTES);
        if let Some(answer) = Handshake::parse(&self.carry[..self.carried])? {
            if answer.info_hash != self.info_hash {
                let (asked, answered) = (self.info_hash, answer.info_hash);
                return Err(Fault::InfoHash { asked, answered });
            }
            self.milestones.handshake = Some(now);
            self.fast = answer.features.fast;
            self.greets = Some(answer.features);
            self.carried = 0;
            self.phase = Phase::Header;
        }
        Ok(taken)
    }

    #[inline]
    fn on_header_bytes(
        &mut self,
        bytes: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) -> Result<usize, Fault> {
        if self.carried == 0 {
            self.frame_at = self.offset;
        }
        let until = match (self.carried, bytes) {
            // The common case: the header of a piece in one read.
            (0, [0, 0, (1..), _, id::PIECE, ..]) => frames::PIECE_HEADER_BYTES,
            (0..4, _) => 4,
            (4, _) => 5,
            _ => frames::PIECE_HEADER_BYTES,
        };
        let taken = self.fill(bytes, until);
        if self.carried < 4 {
            return Ok(taken);
        }
        let length = frames::u32_at(&self.carry, 0);
        if length == 0 {
            self.carried = 0; // BEP 3, peer messages: length zero is a keep-alive.
            return Ok(taken);
        }
        if length > FRAME_BYTES_MAX {
            return Err(Fault::FrameTooLong { length, limit: FRAME_BYTES_MAX });
        }
        match self.carried {
            frames::PIECE_HEADER_BYTES => self.on_piece_header()?,
            5 if self.carry[4] == id::PIECE && length < frames::PIECE_FRAME_BYTES => {
                return Err(self.mismatch());
            }
            5 if self.carry[4] != id::PIECE => {
                self.on_control(self.carry[4], length, now, tally)?;
            }
            _ => {}
        }
        Ok(taken)
    }

    /// Finds the request that a piece header answers: the oldest one, unless the seeder chose another.
    #[inline]
    fn on_piece_header(&mut self) -> Result<(), Fault> {
        let length = frames::u32_at(&self.carry, 0);
        let piece = PieceIndex(frames::u32_at(&self.carry, 5));
        let begin = frames::u32_at(&self.carry, 9);
        let answers = self.requests.answered(piece, begin, length);
        let Some(answers) = answers else { return Err(self.mismatch()) };
        self.carried = 0;
        self.phase = Phase::Payload { answers, left: answers.block.length };
        Ok(())
    }

    fn mismatch(&self) -> Fault {
        Fault::NotAsked {
            header: self.carry[..self.carried].into(),
            outstanding: self.requests.outstanding(),
            oldest: self.requests.oldest().map(|asked| asked.block),
        }
    }

    fn on_body_bytes(
        &mut self,
        id: u8,
        left: u32,
        bytes: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) -> Result<usize, Fault> {
        let body = bytes.get(..left as usize).unwrap_or(bytes);
        let length = if id == id::BITFIELD {
            self.pieces_named += body.iter().map(|byte| byte.count_ones()).sum::<u32>();
            body.len()
        } else {
            self.fill(body, frames::REQUEST_BODY_BYTES)
        };
        let left = left - length as u32;
        self.phase = Phase::Body { id, left };
        if left == 0 {
            self.phase = Phase::Header;
            if id == id::BITFIELD { self.on_bitfield(now)? } else { self.on_reject(tally)? }
        }
        Ok(length)
    }

    /// The head of a frame other than a piece is complete.
    fn on_control(
        &mut self,
        id: u8,
        length: u32,
        now: Instant,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        match frames::length_of(id, self.piece_count) {
            Some(right) if right != length => return Err(Fault::FrameLength { id, length, right }),
            _ => {}
        }
        match id {
            id::CHOKE => {
                tally.counts.chokes += 1;
                self.choked = true;
                if !self.fast {
                    let fell = self.requests.fall();
                    fell.into_iter().for_each(|block| self.lose(block, tally));
                }
            }
            id::UNCHOKE => {
                self.choked = false;
                self.milestones.unchoke.get_or_insert(now);
            }
            id::HAVE_ALL => {
                self.milestones.bitfield.get_or_insert(now);
            }
            id::HAVE_NONE => return Err(Fault::NotASeed { has: 0, of: self.piece_count }),
            _ => {}
        }
        (self.carried, self.pieces_named) = (0, 0);
        if length > 1 {
            self.phase = Phase::Body { id, left: length - 1 };
        }
        Ok(())
    }

    fn on_bitfield(&mut self, now: Instant) -> Result<(), Fault> {
        if self.pieces_named != self.piece_count {
            return Err(Fault::NotASeed { has: self.pieces_named, of: self.piece_count });
        }
        self.milestones.bitfield.get_or_insert(now);
        Ok(())
    }

    /// BEP 6, Reject Request: of a request of ours, and each only once. Those that come with a choke
    /// are made again when it ends, as clients do; else the seeder has refused, and that is the answer.
    fn on_reject(&mut self, tally: &mut Tally) -> Result<(), Fault> {
        self.carried = 0;
        let block = frames::block_at(&self.carry);
        let Some(request) = self.requests.rejected(block) else {
            return Err(Fault::RejectNotAsked(block));
        };
        tally.counts.rejects += 1;
        self.lose(block, tally);
        if self.choked {
            self.requests.again(request);
        } else {
            tally.counts.errors += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "leecher_tests.rs"]
mod tests;
