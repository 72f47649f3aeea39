//! What happened on a connection.

use alloc::boxed::Box;
use core::ops::Range;

use ringseed_meta::{BlockRef, PieceIndex};

use crate::hashes::HashRequest;
use crate::{ExtendedHandshake, Handshake};

/// What the bytes of a peer mean. Ranges point into the bytes given to
/// [`Peer::receive`](super::Peer::receive).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The other's handshake is whole; no byte behind it was read.
    Handshake(Handshake),
    /// It serves us no more.
    Choke,
    /// It serves us.
    Unchoke,
    /// It wants pieces.
    Interested,
    /// It wants none.
    NotInterested,
    /// It has one more piece.
    Have(PieceIndex),
    /// It told of all its pieces: see [`Peer::piece_count`](super::Peer::piece_count).
    Bitfield,
    /// It has all pieces (BEP 6).
    HaveAll,
    /// It has no pieces (BEP 6).
    HaveNone,
    /// It wants a block: see [`Peer::judge`](super::Peer::judge).
    Request(BlockRef),
    /// It no longer wants a block: see [`Peer::refusal`](super::Peer::refusal).
    Cancel(BlockRef),
    /// It will not serve our request (BEP 6).
    Reject(BlockRef),
    /// It proposes a piece (BEP 6).
    Suggest(PieceIndex),
    /// It serves this piece even while it chokes us (BEP 6).
    AllowedFast(PieceIndex),
    /// UDP port of its DHT node (BEP 5); only when we run one.
    Port(u16),
    /// Bytes of a block, as they arrive. Whether the block was asked for is the caller's to
    /// know (BEP 6: of one "that was never requested, the peer MUST close the connection").
    PieceData {
        /// The block that the message brings.
        block: BlockRef,
        /// Bytes of the block before these.
        at: u32,
        /// Where these stand.
        range: Range<usize>,
    },
    /// Its extended handshake, the first or a later one (BEP 10).
    ExtendedHandshake(Box<ExtendedHandshake>),
    /// It wants a piece of the metadata (BEP 9): see
    /// [`Peer::judge_metadata`](super::Peer::judge_metadata).
    MetadataRequest {
        /// Which.
        piece: u32,
    },
    /// Bytes of a piece of the metadata, as they arrive.
    MetadataData {
        /// Which.
        piece: u32,
        /// Bytes of the whole metadata, as the peer has it.
        total_bytes: u32,
        /// Bytes of the piece before these.
        at: u32,
        /// Where these stand.
        range: Range<usize>,
    },
    /// It will not send the piece of the metadata.
    MetadataReject {
        /// Which.
        piece: u32,
    },
    /// It wants hashes (BEP 52): each is answered with hashes or a hash reject.
    HashRequest(HashRequest),
    /// It sends hashes, which follow as [`Event::HashData`].
    Hashes(HashRequest),
    /// Bytes of the hashes, as they arrive.
    HashData {
        /// Bytes of the message's hashes before these.
        at: u32,
        /// Where these stand.
        range: Range<usize>,
    },
    /// It will not send the hashes.
    HashReject(HashRequest),
    /// A message of an unknown id, or an extended message that we did not offer; its payload is
    /// skipped.
    Skipped {
        /// Message id; 20 for an extended one.
        id: u8,
        /// Bytes skipped.
        bytes: u32,
    },
}
