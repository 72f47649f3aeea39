//! Why a peer is closed.

use crate::limits;

/// What a peer did that ends its connection. Each is counted and logged by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtocolError {
    /// Not a BitTorrent handshake.
    #[error("byte {at} of the handshake differs from BitTorrent's protocol string")]
    WrongProtocol {
        /// Position of the first byte that differs.
        at: u8,
    },
    /// The first bytes look like message stream encryption.
    #[error("the peer opens with message stream encryption, which is not offered")]
    Encrypted,
    /// The answer to our handshake names another swarm.
    #[error("the peer answered our handshake with another infohash")]
    WrongInfoHash,
    /// A frame is longer than any message.
    #[error("a frame of {bytes} bytes is announced; at most {} are read", limits::FRAME_BYTES_MAX)]
    FrameTooLong {
        /// The length prefix.
        bytes: u32,
    },
    /// A message does not have the length of its kind.
    #[error("message {id} has a payload of {bytes} bytes; {needed}")]
    Length {
        /// Message id (BEP 3).
        id: u8,
        /// Bytes behind the id.
        bytes: u32,
        /// What its kind needs.
        needed: &'static str,
    },
    /// A bitfield does not fit the torrent.
    #[error("a bitfield has {bytes} bytes; the torrent's pieces need {needed}")]
    BitfieldLength {
        /// Bytes of the bitfield.
        bytes: u32,
        /// Bytes that the piece count needs.
        needed: u32,
    },
    /// BEP 3: "Spare bits at the end are set to zero".
    #[error("the spare bits at the end of a bitfield are not zero")]
    SpareBits,
    /// A message of the fast extension without it (BEP 6: "MUST close the connection").
    #[error("message {id} needs the fast extension, which was not agreed on")]
    FastNotAgreed {
        /// Message id.
        id: u8,
    },
    /// A piece index outside the torrent.
    #[error("piece {piece} is named; the torrent has {piece_count}")]
    PieceOutOfRange {
        /// The index.
        piece: u32,
        /// Pieces of the torrent.
        piece_count: u32,
    },
    /// A request of nothing.
    #[error("a request asks for 0 bytes of piece {piece}")]
    RequestEmpty {
        /// The piece.
        piece: u32,
    },
    /// A request of too much.
    #[error("a request asks for {bytes} bytes; at most {} are served", limits::REQUEST_BYTES_MAX)]
    RequestTooLong {
        /// Bytes asked for.
        bytes: u32,
    },
    /// A request beyond its piece.
    #[error("a request ends at byte {end} of piece {piece}, which has {piece_bytes}")]
    RequestPastEnd {
        /// The piece.
        piece: u32,
        /// First byte behind the request.
        end: u64,
        /// Length of the piece.
        piece_bytes: u32,
    },
    /// Requests go on although none can be served.
    #[error("{} requests in a row were refused", limits::REFUSALS_MAX)]
    TooManyRefused,
    /// The dictionary of an extended handshake or metadata message cannot be read.
    #[error("extended message {id} is not readable: {error}")]
    Extended {
        /// Extended message id, ours.
        id: u8,
        /// Where the bencode breaks.
        error: ringseed_meta::bencode::Error,
    },
    /// The dictionary of an extended message is too long.
    #[error("extended message {id} has {bytes} bytes; at most {limit} are read")]
    ExtendedTooLong {
        /// Extended message id, ours.
        id: u8,
        /// Its bytes.
        bytes: u32,
        /// The limit.
        limit: u32,
    },
    /// An extended handshake or metadata message that is no dictionary, or lacks what it must have.
    #[error("extended message {id} lacks its dictionary or one of its keys")]
    ExtendedIncomplete {
        /// Extended message id, ours.
        id: u8,
    },
}
