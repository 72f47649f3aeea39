//! Frames as text, for logs and for looking at a stream.

use core::fmt;

use ringseed_meta::BlockRef;

use super::Message;
use crate::frame::Frame;
use crate::hashes::HashRequest;

struct Block(BlockRef);

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockRef { piece, begin, length } = self.0;
        write!(f, "piece {} begin {begin} length {length}", piece.0)
    }
}

struct Hashes(HashRequest);

impl fmt::Display for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HashRequest { pieces_root, base_layer, index, length, proof_layers } = self.0;
        pieces_root.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, " layer {base_layer} index {index} length {length} proof {proof_layers}")
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Message::KeepAlive => f.write_str("keep-alive"),
            Message::Choke => f.write_str("choke"),
            Message::Unchoke => f.write_str("unchoke"),
            Message::Interested => f.write_str("interested"),
            Message::NotInterested => f.write_str("not interested"),
            Message::Have(piece) => write!(f, "have {}", piece.0),
            Message::Bitfield { bytes } => write!(f, "bitfield of {bytes} bytes"),
            Message::Request(block) => write!(f, "request {}", Block(block)),
            Message::Piece(block) => write!(f, "piece message {}", Block(block)),
            Message::Cancel(block) => write!(f, "cancel {}", Block(block)),
            Message::Port(port) => write!(f, "port {port}"),
            Message::Suggest(piece) => write!(f, "suggest {}", piece.0),
            Message::HaveAll => f.write_str("have all"),
            Message::HaveNone => f.write_str("have none"),
            Message::Reject(block) => write!(f, "reject {}", Block(block)),
            Message::AllowedFast(piece) => write!(f, "allowed fast {}", piece.0),
            Message::Extended { id, bytes } => write!(f, "extended {id} of {bytes} bytes"),
            Message::HashRequest(request) => write!(f, "hash request {}", Hashes(request)),
            Message::Hashes { request, bytes } => {
                write!(f, "hashes {} of {bytes} bytes", Hashes(request))
            }
            Message::HashReject(request) => write!(f, "hash reject {}", Hashes(request)),
            Message::Unknown { id, bytes } => write!(f, "unknown {id} of {bytes} bytes"),
        }
    }
}

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Message(message) => message.fmt(f),
            Frame::Extended { id, dict, body_bytes } => {
                write!(f, "extended {id} {}", dict.escape_ascii())?;
                match body_bytes {
                    0 => Ok(()),
                    bytes => write!(f, " and {bytes} bytes"),
                }
            }
            Frame::Body { at, range, left } => {
                write!(f, "  {} bytes at {at}, {left} left", range.len())
            }
        }
    }
}
