//! The messages of BEP 3, 5, 6, 10 and 52: their heads read, and all of them written.
//!
//! The head of a message is all but its body; bodies (bitfield, block, hashes, metadata) stream.
//! Writers append to a buffer that grows, such as `Vec<u8>` or `BytesMut`.

use bytes::BufMut;
use ringseed_meta::{BlockRef, PieceIndex, merkle};

use crate::hashes::HashRequest;

mod head;
mod print;
#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "test values")]
mod tests;

pub use head::FrameLimits;
pub(crate) use head::{Head, head};

/// Message ids, by their names in the BEPs.
pub mod id {
    #![allow(missing_docs, reason = "each is named after the message of its BEP")]
    pub const CHOKE: u8 = 0;
    pub const UNCHOKE: u8 = 1;
    pub const INTERESTED: u8 = 2;
    pub const NOT_INTERESTED: u8 = 3;
    pub const HAVE: u8 = 4;
    pub const BITFIELD: u8 = 5;
    pub const REQUEST: u8 = 6;
    pub const PIECE: u8 = 7;
    pub const CANCEL: u8 = 8;
    pub const PORT: u8 = 9;
    pub const SUGGEST: u8 = 13;
    pub const HAVE_ALL: u8 = 14;
    pub const HAVE_NONE: u8 = 15;
    pub const REJECT: u8 = 16;
    pub const ALLOWED_FAST: u8 = 17;
    pub const EXTENDED: u8 = 20;
    pub const HASH_REQUEST: u8 = 21;
    pub const HASHES: u8 = 22;
    pub const HASH_REJECT: u8 = 23;
}

/// The head of a received message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// A frame of length 0 (BEP 3).
    KeepAlive,
    /// BEP 3.
    Choke,
    /// BEP 3.
    Unchoke,
    /// BEP 3.
    Interested,
    /// BEP 3.
    NotInterested,
    /// BEP 3.
    Have(PieceIndex),
    /// BEP 3; its body is the field.
    Bitfield {
        /// Bytes of the body.
        bytes: u32,
    },
    /// BEP 3.
    Request(BlockRef),
    /// BEP 3; its body is the block.
    Piece(BlockRef),
    /// BEP 3.
    Cancel(BlockRef),
    /// BEP 5: the UDP port of the peer's DHT node.
    Port(u16),
    /// BEP 6.
    Suggest(PieceIndex),
    /// BEP 6.
    HaveAll,
    /// BEP 6.
    HaveNone,
    /// BEP 6 "Reject Request".
    Reject(BlockRef),
    /// BEP 6.
    AllowedFast(PieceIndex),
    /// BEP 10. What we know of by its id is given as [`Frame::Extended`](crate::frame::Frame);
    /// this is the head of the others.
    Extended {
        /// Extended message id.
        id: u8,
        /// Bytes of the body.
        bytes: u32,
    },
    /// BEP 52.
    HashRequest(HashRequest),
    /// BEP 52; its body is the hashes.
    Hashes {
        /// What they answer.
        request: HashRequest,
        /// Bytes of the body.
        bytes: u32,
    },
    /// BEP 52.
    HashReject(HashRequest),
    /// An id of no BEP that we speak; its body is skipped.
    Unknown {
        /// Message id.
        id: u8,
        /// Bytes of the body.
        bytes: u32,
    },
}

/// One of the four messages that change a state bit (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateMessage {
    /// We choke.
    Choke,
    /// We no longer choke.
    Unchoke,
    /// We are interested.
    Interested,
    /// We are no longer interested.
    NotInterested,
}

impl StateMessage {
    /// Appends the message.
    pub fn write(self, out: &mut impl BufMut) {
        let id = match self {
            StateMessage::Choke => id::CHOKE,
            StateMessage::Unchoke => id::UNCHOKE,
            StateMessage::Interested => id::INTERESTED,
            StateMessage::NotInterested => id::NOT_INTERESTED,
        };
        write_empty(out, id);
    }
}

fn write_empty(out: &mut impl BufMut, id: u8) {
    out.put_slice(&[0, 0, 0, 1, id]);
}

fn write_index(out: &mut impl BufMut, id: u8, piece: PieceIndex) {
    out.put_slice(&[0, 0, 0, 5, id]);
    out.put_u32(piece.0);
}

fn write_block(out: &mut impl BufMut, id: u8, block: BlockRef) {
    out.put_slice(&[0, 0, 0, 13, id]);
    out.put_u32(block.piece.0);
    out.put_u32(block.begin);
    out.put_u32(block.length);
}

/// Appends a keep-alive.
pub fn write_keep_alive(out: &mut impl BufMut) {
    out.put_u32(0);
}

/// Appends a choke.
pub fn write_choke(out: &mut impl BufMut) {
    write_empty(out, id::CHOKE);
}

/// Appends an unchoke.
pub fn write_unchoke(out: &mut impl BufMut) {
    write_empty(out, id::UNCHOKE);
}

/// Appends an interested.
pub fn write_interested(out: &mut impl BufMut) {
    write_empty(out, id::INTERESTED);
}

/// Appends a not interested.
pub fn write_not_interested(out: &mut impl BufMut) {
    write_empty(out, id::NOT_INTERESTED);
}

/// Appends a have.
pub fn write_have(out: &mut impl BufMut, piece: PieceIndex) {
    write_index(out, id::HAVE, piece);
}

/// Appends a bitfield: `field` in BEP 3's bit order, its spare bits zero.
pub fn write_bitfield(out: &mut impl BufMut, field: &[u8]) {
    out.put_u32(frame_bytes(field.len(), 1));
    out.put_u8(id::BITFIELD);
    out.put_slice(field);
}

/// Appends a request.
pub fn write_request(out: &mut impl BufMut, block: BlockRef) {
    write_block(out, id::REQUEST, block);
}

/// Appends a cancel.
pub fn write_cancel(out: &mut impl BufMut, block: BlockRef) {
    write_block(out, id::CANCEL, block);
}

/// What stands before the bytes of `block` in a piece message: length prefix, id, index, begin.
#[inline]
pub fn piece_header(block: BlockRef) -> [u8; 13] {
    let [a, b, c, d] = block.length.saturating_add(9).to_be_bytes();
    let [e, f, g, h] = block.piece.0.to_be_bytes();
    let [i, j, k, l] = block.begin.to_be_bytes();
    [a, b, c, d, id::PIECE, e, f, g, h, i, j, k, l]
}

/// Appends the UDP port of our DHT node (BEP 5).
pub fn write_port(out: &mut impl BufMut, port: u16) {
    out.put_slice(&[0, 0, 0, 3, id::PORT]);
    out.put_u16(port);
}

/// Appends a have all; only to a peer with the fast extension, as all below.
pub fn write_have_all(out: &mut impl BufMut) {
    write_empty(out, id::HAVE_ALL);
}

/// Appends a have none.
pub fn write_have_none(out: &mut impl BufMut) {
    write_empty(out, id::HAVE_NONE);
}

/// Appends a suggest piece.
pub fn write_suggest(out: &mut impl BufMut, piece: PieceIndex) {
    write_index(out, id::SUGGEST, piece);
}

/// Appends a reject request.
pub fn write_reject(out: &mut impl BufMut, block: BlockRef) {
    write_block(out, id::REJECT, block);
}

/// Appends an allowed fast.
pub fn write_allowed_fast(out: &mut impl BufMut, piece: PieceIndex) {
    write_index(out, id::ALLOWED_FAST, piece);
}

/// Appends a hash request (BEP 52).
pub fn write_hash_request(out: &mut impl BufMut, request: &HashRequest) {
    out.put_slice(&[0, 0, 0, 49, id::HASH_REQUEST]);
    request.write(out);
}

/// Appends a hashes message: those of the base layer, then the uncles towards the root.
pub fn write_hashes(out: &mut impl BufMut, request: &HashRequest, hashes: &[merkle::Hash]) {
    out.put_u32(frame_bytes(hashes.len().saturating_mul(32), 49));
    out.put_u8(id::HASHES);
    request.write(out);
    hashes.iter().for_each(|hash| out.put_slice(hash));
}

/// Appends a hash reject.
pub fn write_hash_reject(out: &mut impl BufMut, request: &HashRequest) {
    out.put_slice(&[0, 0, 0, 49, id::HASH_REJECT]);
    request.write(out);
}

/// The length prefix of a frame whose head has `head` bytes behind it. What we write is within
/// the limits; a longer body would be cut off by the reader, so saturating is as good as any.
pub(crate) fn frame_bytes(body: usize, head: u32) -> u32 {
    u32::try_from(body).unwrap_or(u32::MAX).saturating_add(head)
}
