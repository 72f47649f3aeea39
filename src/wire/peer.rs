//! One peer's connection as a state machine: received bytes and the time in, [`Event`]s out.
//!
//! A connection goes through three phases: the other's handshake; a stop behind it, until
//! [`Peer::attach`] tells of the torrent; messages. What we send is written by the caller with
//! [`message`](crate::message); the four state bits are kept here.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use ringseed_meta::{InfoHash, Instant, PieceIndex};

use crate::frame::FrameReader;
use crate::message::{FrameLimits, StateMessage};
use crate::pieces::{RemotePieces, bitfield_bytes};
use crate::{Features, ProtocolError, limits};

mod event;
mod inbound;
mod judge;
#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "test values")]
#[allow(clippy::cast_possible_truncation, reason = "test values")]
mod tests;

pub use crate::pieces::PieceMemory;
pub use event::Event;
pub use judge::{MetadataVerdict, PieceFacts, Refusal, Refused, Verdict};

/// What holds for all peers of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerOptions {
    /// What our handshake says that we can do.
    pub features: Features,
    /// Requests queued for one peer, told to it as `reqq`.
    pub requests_max: u16,
    /// How much of a peer's pieces is remembered.
    pub piece_memory: PieceMemory,
    /// Seconds until the other's handshake must be whole.
    pub handshake_timeout_s: u16,
    /// Seconds without a whole message or bytes of a block before a peer is closed.
    pub idle_timeout_s: u16,
    /// Seconds without anything sent before a keep-alive is due.
    pub keep_alive_s: u16,
}

impl Default for PeerOptions {
    fn default() -> PeerOptions {
        PeerOptions {
            features: Features::ours(),
            requests_max: limits::REQUESTS_MAX,
            piece_memory: PieceMemory::Count,
            handshake_timeout_s: limits::HANDSHAKE_TIMEOUT_S,
            idle_timeout_s: limits::IDLE_TIMEOUT_S,
            keep_alive_s: limits::KEEP_ALIVE_S,
        }
    }
}

/// What a peer's messages are checked against, once its torrent is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Torrent {
    /// Pieces of the torrent.
    pub piece_count: u32,
    /// Bytes of the info dictionary; `None` while it is not served.
    pub metadata_bytes: Option<u32>,
}

/// What is due at a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Close: the handshake was not whole in time.
    CloseHandshakeTimeout,
    /// Close: nothing came for the idle timeout.
    CloseIdle,
    /// Send a keep-alive, then call [`Peer::on_sent`].
    SendKeepAlive,
    /// Nothing: the deadline has moved meanwhile.
    Nothing,
}

/// One connection. Small, since there are 100,000 of them; plain, since it moves between cores.
#[derive(Debug)]
pub struct Peer {
    reader: FrameReader,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Handshake,
    Attach,
    Messages,
}

/// Whose state each bit is: `am_` ours, `peer_` the other's (BEP 3).
#[derive(Clone, Copy, Debug)]
struct Bits {
    am_choking: bool,
    am_interested: bool,
    peer_choking: bool,
    peer_interested: bool,
    /// It told of its pieces, or asked for some.
    has_spoken: bool,
    upload_only: bool,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    bits: Bits,
    /// Ours until the other's handshake is here; then what both can do.
    features: Features,
    /// The swarm that an outgoing connection is for.
    expected: Option<Box<InfoHash>>,
    requests_max: u16,
    /// Requests refused since one was served.
    refused: u16,
    handshake_timeout_s: u16,
    idle_timeout_s: u16,
    keep_alive_s: u16,
    /// Start of the connection until the handshake is whole.
    last_received: Instant,
    last_sent: Instant,
    torrent: Torrent,
    pieces: RemotePieces,
    /// What the bytes of the body under way are.
    body: inbound::Body,
    /// Their id for metadata messages; 0 while they take none.
    metadata_id: u8,
    metadata_served: u32,
    allowed_fast: Box<[PieceIndex]>,
}

const _: () = assert!(size_of::<Peer>() <= 208, "100,000 peers are to fit in 20 MB");
const _: () = assert!(size_of::<Event>() <= 64, "events are written by the thousand");

impl Peer {
    /// A connection that was accepted: the other's handshake comes first.
    pub fn incoming(options: &PeerOptions, now: Instant) -> Peer {
        Peer::new(options, None, now)
    }

    /// A connection that we opened, our handshake sent: the answer must name the same swarm.
    pub fn outgoing(info_hash: InfoHash, options: &PeerOptions, now: Instant) -> Peer {
        Peer::new(options, Some(Box::new(info_hash)), now)
    }

    fn new(options: &PeerOptions, expected: Option<Box<InfoHash>>, now: Instant) -> Peer {
        let bits = Bits {
            am_choking: true,
            am_interested: false,
            peer_choking: true,
            peer_interested: false,
            has_spoken: false,
            upload_only: false,
        };
        let state = State {
            phase: Phase::Handshake,
            bits,
            features: options.features,
            expected,
            requests_max: options.requests_max,
            refused: 0,
            handshake_timeout_s: options.handshake_timeout_s,
            idle_timeout_s: options.idle_timeout_s,
            keep_alive_s: options.keep_alive_s,
            last_received: now,
            last_sent: now,
            torrent: Torrent { piece_count: 0, metadata_bytes: None },
            pieces: RemotePieces::new(options.piece_memory),
            body: inbound::Body::Skipped,
            metadata_id: 0,
            metadata_served: 0,
            allowed_fast: Box::default(),
        };
        Peer { reader: FrameReader::new(), state }
    }

    /// Consumes bytes in place, appends what happened: at most one event for four bytes, and
    /// two more. Returns the bytes consumed, which are all of them but behind a handshake: call
    /// again with the rest after [`Peer::attach`]. Ranges in events point into `bytes`.
    ///
    /// # Errors
    /// What the peer did wrong. Events appended before are valid; the connection is to be
    /// closed, and the peer is of no use afterwards.
    pub fn receive(
        &mut self,
        now: Instant,
        bytes: &mut [u8],
        events: &mut Vec<Event>,
    ) -> Result<usize, ProtocolError> {
        let Peer { reader, state } = self;
        let mut at = 0;
        match state.phase {
            Phase::Attach => {}
            Phase::Handshake => {
                if let Some(handshake) = reader.handshake(bytes, &mut at)? {
                    state.on_handshake(now, handshake, events)?;
                }
            }
            Phase::Messages => {
                let bitfield_bytes = Some(bitfield_bytes(state.torrent.piece_count));
                let limits = FrameLimits { bitfield_bytes };
                while let Some(frame) = reader.next(bytes, &mut at, limits)? {
                    state.take(now, frame, bytes, events)?;
                }
            }
        }
        Ok(at)
    }

    /// Tells of the torrent that the other's handshake names; messages are read from now on.
    pub fn attach(&mut self, torrent: Torrent) {
        debug_assert_eq!(self.state.phase, Phase::Attach, "attach follows a handshake, once");
        self.state.phase = Phase::Messages;
        self.state.torrent = torrent;
    }

    /// When to call [`Peer::on_deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        let state = &self.state;
        Some(match state.phase {
            Phase::Handshake | Phase::Attach => state.handshake_deadline(),
            Phase::Messages => state.idle_deadline().min(state.keep_alive_deadline()),
        })
    }

    /// What is due now.
    pub fn on_deadline(&mut self, now: Instant) -> Due {
        let state = &self.state;
        match state.phase {
            Phase::Handshake | Phase::Attach if now >= state.handshake_deadline() => {
                Due::CloseHandshakeTimeout
            }
            Phase::Messages if now >= state.idle_deadline() => Due::CloseIdle,
            Phase::Messages if now >= state.keep_alive_deadline() => Due::SendKeepAlive,
            _ => Due::Nothing,
        }
    }

    /// Bytes went out: moves our keep-alive.
    #[inline]
    pub fn on_sent(&mut self, now: Instant) {
        self.state.last_sent = now;
    }

    /// What both sides can do; before the handshake, what we can do.
    pub fn features(&self) -> Features {
        self.state.features
    }

    /// We serve it no requests but allowed fast ones.
    pub fn am_choking(&self) -> bool {
        self.state.bits.am_choking
    }

    /// We want pieces of it.
    pub fn am_interested(&self) -> bool {
        self.state.bits.am_interested
    }

    /// It serves us no requests.
    pub fn peer_choking(&self) -> bool {
        self.state.bits.peer_choking
    }

    /// It wants pieces of us.
    pub fn peer_interested(&self) -> bool {
        self.state.bits.peer_interested
    }

    /// Chokes it; the message that is due. BEP 6: with the fast extension each queued request
    /// but those of [`Peer::keeps_while_choked`] is then to be rejected.
    #[must_use = "the message has to be sent"]
    pub fn choke(&mut self) -> Option<StateMessage> {
        set(&mut self.state.bits.am_choking, true, StateMessage::Choke)
    }

    /// Unchokes it; the message that is due.
    #[must_use = "the message has to be sent"]
    pub fn unchoke(&mut self) -> Option<StateMessage> {
        set(&mut self.state.bits.am_choking, false, StateMessage::Unchoke)
    }

    /// We want its pieces; the message that is due.
    #[must_use = "the message has to be sent"]
    pub fn set_interested(&mut self) -> Option<StateMessage> {
        set(&mut self.state.bits.am_interested, true, StateMessage::Interested)
    }

    /// We want none of its pieces; the message that is due.
    #[must_use = "the message has to be sent"]
    pub fn set_not_interested(&mut self) -> Option<StateMessage> {
        set(&mut self.state.bits.am_interested, false, StateMessage::NotInterested)
    }

    /// Grants pieces while choked (BEP 6); an allowed fast for each is to be sent. Of no effect
    /// without the fast extension.
    pub fn allow_fast(&mut self, pieces: Vec<PieceIndex>) {
        self.state.allowed_fast = pieces.into_boxed_slice();
    }

    /// Whether a queued request of this piece outlives a choke.
    pub fn keeps_while_choked(&self, piece: PieceIndex) -> bool {
        self.state.features.fast && self.state.allowed_fast.contains(&piece)
    }

    /// How a request that will not be served is answered: after a cancel or a choke, too.
    /// BEP 6: "every request is guaranteed to result in EXACTLY ONE response".
    pub fn refusal(&self) -> Refusal {
        match self.state.features.fast {
            true => Refusal::Reject,
            false => Refusal::Silence,
        }
    }

    /// Pieces it told of.
    pub fn piece_count(&self) -> u32 {
        self.state.pieces.count(self.state.torrent.piece_count)
    }

    /// Whether it has the piece, with [`PieceMemory::Set`]; else whether it is known to have all.
    pub fn has_piece(&self, piece: PieceIndex) -> bool {
        self.state.pieces.contains(piece)
    }

    /// It has all pieces. Where haves are only counted, a peer that is interested is none.
    pub fn is_seed(&self) -> bool {
        let counted = self.piece_count() == self.state.torrent.piece_count;
        self.state.pieces.has_all()
            || (self.state.bits.has_spoken && counted && !self.state.bits.peer_interested)
    }

    /// It said that it will download nothing more (BEP 21).
    pub fn is_upload_only(&self) -> bool {
        self.state.bits.upload_only
    }

    /// Bytes on the heap: the carry of a split message, the set of pieces, the allowed fast set.
    pub fn heap_bytes(&self) -> usize {
        let allowed_fast = size_of_val(&*self.state.allowed_fast);
        let sets = self.state.pieces.heap_bytes().saturating_add(allowed_fast);
        self.reader.heap_bytes().saturating_add(sets)
    }

    /// Their id for metadata messages, when they take them.
    pub fn metadata_id(&self) -> Option<u8> {
        Some(self.state.metadata_id).filter(|id| *id != 0)
    }
}

impl State {
    fn handshake_deadline(&self) -> Instant {
        self.last_received.after(Duration::from_secs(u64::from(self.handshake_timeout_s)))
    }

    fn idle_deadline(&self) -> Instant {
        self.last_received.after(Duration::from_secs(u64::from(self.idle_timeout_s)))
    }

    fn keep_alive_deadline(&self) -> Instant {
        self.last_sent.after(Duration::from_secs(u64::from(self.keep_alive_s)))
    }
}

fn set(bit: &mut bool, to: bool, message: StateMessage) -> Option<StateMessage> {
    let is_change = *bit != to;
    *bit = to;
    is_change.then_some(message)
}
