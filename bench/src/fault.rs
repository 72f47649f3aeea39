//! What a seeder may say that ends the run.

use std::fmt::Write as _;

use ringseed_meta::{BlockRef, InfoHash, PieceIndex};

/// A message that does not fit what was asked. Holds what was seen, for the person who must find out why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Not a BitTorrent handshake.
    #[error(transparent)]
    Handshake(#[from] ringseed_wire::ProtocolError),
    /// Another torrent.
    #[error("the handshake answers infohash {answered}; {asked} was asked for")]
    InfoHash {
        /// What we sent.
        asked: InfoHash,
        /// What came back.
        answered: InfoHash,
    },
    /// A length that no frame of a seed needs: the stream is out of step.
    #[error("a frame of {length} bytes; at most {limit} are expected")]
    FrameTooLong {
        /// Stated.
        length: u32,
        /// [`FRAME_BYTES_MAX`](crate::limits::FRAME_BYTES_MAX).
        limit: u32,
    },
    /// A frame of a fixed length with another one.
    #[error("message {id} states a length of {length}; {right} is right")]
    FrameLength {
        /// The message id.
        id: u8,
        /// Stated.
        length: u32,
        /// As the BEP has it.
        right: u32,
    },
    /// A piece message that answers none of our requests.
    #[error("the block header {} answers none of {outstanding} requests{}", hex(header), oldest_of(*oldest))]
    NotAsked {
        /// Its bytes.
        header: Box<[u8]>,
        /// How many requests could have been answered.
        outstanding: usize,
        /// The one that is due first.
        oldest: Option<BlockRef>,
    },
    /// A reject (BEP 6) of something we have not asked for.
    #[error("a reject of piece {} begin {} length {}, which was not asked for", .0.piece.0, .0.begin, .0.length)]
    RejectNotAsked(BlockRef),
    /// The bytes of a piece are not the torrent's.
    #[error("piece {}, bytes from {offset} of the torrent{}, does not have the torrent's hash", piece.0, places_of(places))]
    WrongPiece {
        piece: PieceIndex,
        /// Where it begins in the torrent.
        offset: u64,
        /// Where its parts lie in the torrent's files.
        places: Vec<String>,
    },
    /// A request lies while later ones are answered, and what has come cannot be hashed before it.
    #[error(
        "piece {} lacks its block at {begin}, while blocks that were asked for later have come, more \
         than {max} of them: they cannot be kept until it is there to be verified",
        piece.0
    )]
    OrderTooWide {
        piece: PieceIndex,
        /// What lacks, within the piece.
        begin: u32,
        /// Blocks that are kept.
        max: usize,
    },
    /// The load asks for every piece.
    #[error("the target has {has} of {of} pieces; a flood needs all")]
    NotASeed {
        /// Pieces it says it has.
        has: u32,
        /// Pieces of the torrent.
        of: u32,
    },
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn places_of(places: &[String]) -> String {
    match places {
        [] => String::new(),
        [one] => format!(" ({one})"),
        [first, rest @ ..] => format!(" ({first}, and {} more files)", rest.len()),
    }
}

fn oldest_of(oldest: Option<BlockRef>) -> String {
    oldest.map_or_else(String::new, |block| {
        format!(
            "; the oldest is piece {} begin {} length {}",
            block.piece.0, block.begin, block.length
        )
    })
}
