//! What a leecher says before it may ask, and the heads of the frames that come back (BEP 3, 6, 10).

use ringseed_meta::{BlockRef, InfoHash, PeerId, PieceIndex};
use ringseed_wire::handshake::HANDSHAKE_BYTES;
use ringseed_wire::message::{self, id};
use ringseed_wire::{ExtendedHandshake, Features, Handshake};

use crate::leecher::Interest;
use crate::limits::HEAD_BYTES_MAX;

/// The extensions that our handshake offers (BEP 6, BEP 10).
const OFFERED: Features = Features { fast: true, extended: true, dht: false, v2: false };

/// Length, id, index and begin of a piece message, before its block.
pub const PIECE_HEADER_BYTES: usize = 13;
/// What the length of a piece message counts beside the block: id, index, begin.
pub const PIECE_FRAME_BYTES: u32 = 9;
/// Index, begin, length: the body of a request, and of its reject.
pub const REQUEST_BODY_BYTES: usize = 12;
/// A whole request: length, id, body.
pub const REQUEST_BYTES: usize = 5 + REQUEST_BODY_BYTES;
/// BEP 3, peer messages: "Messages of length zero are keepalives".
pub const KEEP_ALIVE: [u8; 4] = [0; 4];

/// What opens a connection.
pub fn handshake(info_hash: InfoHash, peer_id: PeerId) -> [u8; HANDSHAKE_BYTES] {
    Handshake { info_hash, peer_id, features: OFFERED }.encode()
}

/// Appends all else that is said before the first request: in the extensions that both sides speak
/// an extended handshake that offers nothing, and have none; then interested, unless we are silent.
pub fn write_greeting(theirs: Features, interest: Interest, out: &mut Vec<u8>) {
    let agreed = OFFERED.both(theirs);
    if agreed.fast {
        message::write_have_none(out);
    }
    if agreed.extended {
        let client = concat!("ringseed-swarm ", env!("CARGO_PKG_VERSION")).into();
        ExtendedHandshake { client, ..ExtendedHandshake::default() }.write(out);
    }
    if interest == Interest::Told {
        message::write_interested(out);
    }
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
pub fn u32_at(head: &[u8; HEAD_BYTES_MAX], at: usize) -> u32 {
    u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

/// The block that the body of a reject names.
pub fn block_at(head: &[u8; HEAD_BYTES_MAX]) -> BlockRef {
    BlockRef { piece: PieceIndex(u32_at(head, 0)), begin: u32_at(head, 4), length: u32_at(head, 8) }
}
