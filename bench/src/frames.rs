//! The few frames that a leecher writes, and the heads of those it reads (BEP 3, BEP 6).

use ringseed_meta::{BlockRef, InfoHash, PeerId, PieceIndex};

use crate::fault::Fault;

/// A handshake (BEP 3).
pub const HANDSHAKE_BYTES: usize = 68;
/// Length, id, index and begin of a piece message, before its block.
pub const PIECE_HEADER_BYTES: usize = 13;
/// What the length of a piece message counts beside the block: id, index, begin.
pub const PIECE_FRAME_BYTES: u32 = 9;
/// Index, begin, length: the body of a request, and of its reject.
pub const REQUEST_BODY_BYTES: usize = 12;

/// Message ids.
pub mod id {
    /// BEP 3.
    pub const CHOKE: u8 = 0;
    /// BEP 3.
    pub const UNCHOKE: u8 = 1;
    /// BEP 3.
    pub const INTERESTED: u8 = 2;
    /// BEP 3.
    pub const HAVE: u8 = 4;
    /// BEP 3.
    pub const BITFIELD: u8 = 5;
    /// BEP 3.
    pub const REQUEST: u8 = 6;
    /// BEP 3.
    pub const PIECE: u8 = 7;
    /// BEP 6.
    pub const HAVE_ALL: u8 = 14;
    /// BEP 6.
    pub const HAVE_NONE: u8 = 15;
    /// BEP 6.
    pub const REJECT: u8 = 16;
    /// BEP 10.
    pub const EXTENDED: u8 = 20;
}

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// Reserved byte 5, 0x10: extension protocol (BEP 10). Byte 7, 0x04: fast extension (BEP 6).
const RESERVED: [u8; 8] = [0, 0, 0, 0, 0, 0x10, 0, 0x04];

/// What a handshake says that matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// The torrent spoken of.
    pub info_hash: InfoHash,
    /// BEP 6 is spoken.
    pub fast: bool,
}

/// Everything a leecher says before it may ask: handshake, an extended handshake that offers
/// nothing, have none, interested.
pub fn opening(info_hash: InfoHash, peer_id: PeerId) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(PROTOCOL);
    bytes.extend_from_slice(&RESERVED);
    bytes.extend_from_slice(&info_hash.0);
    bytes.extend_from_slice(&peer_id.0);
    push_frame(&mut bytes, id::HAVE_NONE, &[]);
    push_frame(&mut bytes, id::EXTENDED, b"\0d1:mde1:v14:ringseed-swarme");
    push_frame(&mut bytes, id::INTERESTED, &[]);
    bytes
}

/// Reads the seeder's handshake.
pub fn parse_handshake(bytes: &[u8; HANDSHAKE_BYTES]) -> Result<Greeting, Fault> {
    let (protocol, rest) = bytes.split_at(PROTOCOL.len());
    if protocol != PROTOCOL {
        return Err(Fault::Protocol(protocol.into()));
    }
    let (reserved, rest) = rest.split_at(RESERVED.len());
    let mut info_hash = [0; 20];
    info_hash.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    Ok(Greeting { info_hash: InfoHash(info_hash), fast: reserved[7] & RESERVED[7] != 0 })
}

/// Appends a request for a block.
pub fn push_request(out: &mut Vec<u8>, block: BlockRef) {
    let mut body = [0; REQUEST_BODY_BYTES];
    body[..4].copy_from_slice(&block.piece.0.to_be_bytes());
    body[4..8].copy_from_slice(&block.begin.to_be_bytes());
    body[8..].copy_from_slice(&block.length.to_be_bytes());
    push_frame(out, id::REQUEST, &body);
}

fn push_frame(out: &mut Vec<u8>, id: u8, body: &[u8]) {
    out.extend_from_slice(&(body.len() as u32 + 1).to_be_bytes());
    out.push(id);
    out.extend_from_slice(body);
}

/// The length that a frame of this kind must state, where there is only one right one.
pub fn length_of(id: u8, piece_count: u32) -> Option<u32> {
    match id {
        id::CHOKE | id::UNCHOKE | id::HAVE_ALL | id::HAVE_NONE => Some(1),
        id::HAVE => Some(5),
        id::BITFIELD => Some(1 + piece_count.div_ceil(8)),
        id::REJECT => Some(1 + REQUEST_BODY_BYTES as u32),
        _ => None,
    }
}

/// The big-endian number at byte `at` of a head that has arrived.
#[inline]
pub fn u32_at(bytes: &[u8; HANDSHAKE_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The block that the body of a reject names.
pub fn block_at(bytes: &[u8; HANDSHAKE_BYTES]) -> BlockRef {
    BlockRef {
        piece: PieceIndex(u32_at(bytes, 0)),
        begin: u32_at(bytes, 4),
        length: u32_at(bytes, 8),
    }
}
