//! From the bytes of a frame to the head of its message. Pure and restartable: told of too few
//! bytes, it says how many it needs.

use ringseed_meta::bencode::{self, Fault};
use ringseed_meta::{BlockRef, PieceIndex};

use super::{Message, id};
use crate::hashes::{HASH_REQUEST_BYTES, HashRequest};
use crate::{ProtocolError, extended, limits};

/// What bounds a frame besides the constants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameLimits {
    /// Bytes that a bitfield must have; `None` when the torrent is not known, then any up to
    /// the frame limit is read.
    pub bitfield_bytes: Option<u32>,
}

/// What `head` found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Head {
    /// The frame's first so many bytes are needed in one piece.
    Short(usize),
    /// All but the body is here.
    Whole {
        message: Message,
        /// Bytes from the length prefix to the body.
        bytes: usize,
        /// Bytes of the body.
        body_bytes: u32,
    },
}

/// Bytes before the payload: length prefix and id.
const PREFIX: usize = 5;

/// Reads the head of the frame that `frame` begins with.
pub(crate) fn head(frame: &[u8], limits: FrameLimits) -> Result<Head, ProtocolError> {
    let Some((length, rest)) = frame.split_first_chunk::<4>() else {
        return Ok(Head::Short(4));
    };
    let length = u32::from_be_bytes(*length);
    let Some(payload_bytes) = length.checked_sub(1) else {
        return Ok(Head::Whole { message: Message::KeepAlive, bytes: 4, body_bytes: 0 });
    };
    if length > limits::FRAME_BYTES_MAX {
        return Err(ProtocolError::FrameTooLong { bytes: length });
    }
    let Some((&id, payload)) = rest.split_first() else {
        return Ok(Head::Short(PREFIX));
    };
    let fixed_bytes = fixed_bytes(id, payload_bytes, limits)?;
    // The comparison above all parsing: a payload that is here may belong to the next frame.
    let Some(fixed) = payload.get(..fixed_bytes) else {
        return Ok(Head::Short(PREFIX.saturating_add(fixed_bytes)));
    };
    if id == id::EXTENDED {
        return extended_head(payload, payload_bytes);
    }
    let body_bytes = payload_bytes.saturating_sub(u32::try_from(fixed_bytes).unwrap_or(u32::MAX));
    let message = message(id, fixed, body_bytes);
    Ok(Head::Whole { message, bytes: PREFIX.saturating_add(fixed_bytes), body_bytes })
}

/// Bytes of the payload before the body, when the payload has a length that its kind may have.
fn fixed_bytes(id: u8, payload_bytes: u32, limits: FrameLimits) -> Result<usize, ProtocolError> {
    let length = |fits: bool, fixed: usize, needed| match fits {
        true => Ok(fixed),
        false => Err(ProtocolError::Length { id, bytes: payload_bytes, needed }),
    };
    match id {
        id::CHOKE | id::UNCHOKE | id::INTERESTED | id::NOT_INTERESTED => {
            length(payload_bytes == 0, 0, "it has none")
        }
        id::HAVE_ALL | id::HAVE_NONE => length(payload_bytes == 0, 0, "it has none"),
        id::HAVE | id::SUGGEST | id::ALLOWED_FAST => length(payload_bytes == 4, 4, "4 are needed"),
        id::REQUEST | id::CANCEL | id::REJECT => length(payload_bytes == 12, 12, "12 are needed"),
        id::PORT => length(payload_bytes == 2, 2, "2 are needed"),
        id::PIECE => {
            let block_bytes = payload_bytes.saturating_sub(8);
            let fits = (1..=limits::REQUEST_BYTES_MAX).contains(&block_bytes);
            length(fits, 8, "8 and a block of 1 to 131072 are needed")
        }
        id::BITFIELD => match limits.bitfield_bytes {
            Some(needed) if needed != payload_bytes => {
                Err(ProtocolError::BitfieldLength { bytes: payload_bytes, needed })
            }
            _ => Ok(0),
        },
        id::EXTENDED => length(payload_bytes >= 1, 1, "at least 1 is needed"),
        id::HASH_REQUEST | id::HASH_REJECT => length(payload_bytes == 48, 48, "48 are needed"),
        id::HASHES => {
            let hash_bytes = payload_bytes.saturating_sub(48);
            let most = limits::HASHES_MAX.saturating_add(limits::HASH_LAYERS_MAX);
            let fits = hash_bytes.is_multiple_of(32) && (1..=most).contains(&(hash_bytes / 32));
            length(fits, 48, "48 and 1 to 544 hashes are needed")
        }
        _ => Ok(0),
    }
}

fn message(id: u8, fixed: &[u8], body_bytes: u32) -> Message {
    let index = || PieceIndex(number(fixed, 0));
    let block = || BlockRef { piece: index(), begin: number(fixed, 4), length: number(fixed, 8) };
    match id {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have(index()),
        id::BITFIELD => Message::Bitfield { bytes: body_bytes },
        id::REQUEST => Message::Request(block()),
        id::PIECE => Message::Piece(BlockRef { length: body_bytes, ..block() }),
        id::CANCEL => Message::Cancel(block()),
        id::PORT => Message::Port(port(fixed)),
        id::SUGGEST => Message::Suggest(index()),
        id::HAVE_ALL => Message::HaveAll,
        id::HAVE_NONE => Message::HaveNone,
        id::REJECT => Message::Reject(block()),
        id::ALLOWED_FAST => Message::AllowedFast(index()),
        id::HASH_REQUEST | id::HASHES | id::HASH_REJECT => hash_message(id, fixed, body_bytes),
        _ => Message::Unknown { id, bytes: body_bytes },
    }
}

fn hash_message(id: u8, fixed: &[u8], bytes: u32) -> Message {
    let request = fixed.first_chunk::<HASH_REQUEST_BYTES>().map(HashRequest::parse);
    match (id, request) {
        (id::HASH_REQUEST, Some(request)) => Message::HashRequest(request),
        (id::HASHES, Some(request)) => Message::Hashes { request, bytes },
        (_, Some(request)) => Message::HashReject(request),
        // `fixed` has the 48 bytes that `fixed_bytes` asked for.
        (_, None) => Message::Unknown { id, bytes },
    }
}

/// The big-endian number at `at`; `fixed` is as long as its kind needs.
#[inline]
fn number(fixed: &[u8], at: usize) -> u32 {
    let bytes = fixed.get(at..).and_then(|rest| rest.first_chunk::<4>());
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn port(fixed: &[u8]) -> u16 {
    fixed.first_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// The head of an extended message. Of those we know, the dictionary belongs to it.
fn extended_head(payload: &[u8], payload_bytes: u32) -> Result<Head, ProtocolError> {
    let Some((&id, inner)) = payload.split_first() else {
        return Ok(Head::Short(PREFIX.saturating_add(1)));
    };
    let inner_bytes = payload_bytes.saturating_sub(1);
    let dict_bytes = match id {
        extended::HANDSHAKE_ID => {
            let limit = limits::EXTENDED_HANDSHAKE_BYTES_MAX;
            if inner_bytes > limit {
                return Err(ProtocolError::ExtendedTooLong { id, bytes: inner_bytes, limit });
            }
            inner_bytes as usize
        }
        extended::METADATA_ID => match metadata_dict_bytes(inner, inner_bytes)? {
            Some(bytes) => bytes,
            None => return Ok(Head::Short(PREFIX.saturating_add(payload.len()).saturating_add(1))),
        },
        _ => 0,
    };
    let bytes = dict_bytes.saturating_add(PREFIX).saturating_add(1);
    if inner.len() < dict_bytes {
        return Ok(Head::Short(bytes));
    }
    let body_bytes = inner_bytes.saturating_sub(u32::try_from(dict_bytes).unwrap_or(u32::MAX));
    let message = Message::Extended { id, bytes: body_bytes };
    Ok(Head::Whole { message, bytes, body_bytes })
}

/// Bytes of the dictionary before the raw bytes of a metadata message (BEP 9); `None` while its
/// end is not here.
fn metadata_dict_bytes(inner: &[u8], inner_bytes: u32) -> Result<Option<usize>, ProtocolError> {
    let id = extended::METADATA_ID;
    let most = limits::METADATA_HEAD_BYTES_MAX.min(inner_bytes as usize);
    let (seen, is_all) = match inner.get(..most) {
        Some(seen) => (seen, true),
        None => (inner, false),
    };
    match bencode::parse_prefix(seen, &extended::METADATA_LIMITS) {
        Ok(document) => Ok(Some(document.end())),
        Err(error) => match error.fault {
            Fault::Truncated | Fault::StringPastEnd { .. } if !is_all => Ok(None),
            _ => Err(ProtocolError::Extended { id, error }),
        },
    }
}
