//! Which requests of a peer are served. The table in docs/protocol.md says the same in words.

use core::ops::Range;

use ringseed_meta::BlockRef;

use super::{Peer, State};
use crate::{ProtocolError, limits};

/// What the caller knows of a requested piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PieceFacts {
    /// Length of the piece; the last one of a torrent may be shorter.
    pub piece_bytes: u32,
    /// Whether we have it, verified.
    pub is_held: bool,
}

/// What is to be done about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Queue it.
    Serve,
    /// Answer with a reject request.
    Reject(Refused),
    /// Do nothing: the peer knows no reject request.
    Ignore(Refused),
    /// Close the connection.
    Close(ProtocolError),
}

/// Why an honest request is not served now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// We are choking the peer, and the piece is not allowed fast.
    Choked,
    /// As many of its requests wait as it was told.
    QueueFull,
    /// We do not have the piece.
    PieceLacking,
}

/// How a request that will not be served is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// With a reject request.
    Reject,
    /// Not at all.
    Silence,
}

/// What is to be done about a metadata request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataVerdict {
    /// Answer with these bytes of the info dictionary, under the peer's id.
    Serve {
        /// Extended message id of the answer.
        their_id: u8,
        /// Which bytes.
        range: Range<u32>,
        /// Bytes of the whole info dictionary.
        total_bytes: u32,
    },
    /// Answer with a reject, under the peer's id.
    Reject {
        /// Extended message id of the answer.
        their_id: u8,
    },
    /// Do nothing: the peer gave no id under which it could be answered.
    Ignore,
    /// Close the connection.
    Close(ProtocolError),
}

impl Peer {
    /// Judges a request: `queued` is how many of this peer's wait. Of a piece that does not
    /// exist `piece` may say anything.
    #[inline]
    pub fn judge(&mut self, block: BlockRef, queued: usize, piece: PieceFacts) -> Verdict {
        if let Err(error) = self.state.check_block(block, piece.piece_bytes) {
            return Verdict::Close(error);
        }
        let refused = if !piece.is_held {
            Refused::PieceLacking
        } else if self.state.bits.am_choking && !self.keeps_while_choked(block.piece) {
            Refused::Choked
        } else if queued >= usize::from(self.state.requests_max) {
            Refused::QueueFull
        } else {
            self.state.refused = 0;
            return Verdict::Serve;
        };
        if self.state.refuse_once_more() {
            return Verdict::Close(ProtocolError::TooManyRefused);
        }
        match self.state.features.fast {
            true => Verdict::Reject(refused),
            false => Verdict::Ignore(refused),
        }
    }

    /// Judges a metadata request (BEP 9).
    pub fn judge_metadata(&mut self, piece: u32) -> MetadataVerdict {
        let state = &mut self.state;
        let their_id = match state.metadata_id {
            0 => {
                return match state.refuse_once_more() {
                    true => MetadataVerdict::Close(ProtocolError::TooManyRefused),
                    false => MetadataVerdict::Ignore,
                };
            }
            id => id,
        };
        if let Some(total_bytes) = state.torrent.metadata_bytes {
            let start = u64::from(piece).saturating_mul(u64::from(limits::METADATA_PIECE_BYTES));
            let piece_count = total_bytes.div_ceil(limits::METADATA_PIECE_BYTES);
            let served_max = piece_count.saturating_mul(limits::METADATA_ROUNDS_MAX);
            if let Ok(start) = u32::try_from(start)
                && start < total_bytes
                && state.metadata_served < served_max
            {
                state.metadata_served = state.metadata_served.saturating_add(1);
                let end = start.saturating_add(limits::METADATA_PIECE_BYTES).min(total_bytes);
                return MetadataVerdict::Serve { their_id, range: start..end, total_bytes };
            }
        }
        match state.refuse_once_more() {
            true => MetadataVerdict::Close(ProtocolError::TooManyRefused),
            false => MetadataVerdict::Reject { their_id },
        }
    }

    /// Counts a hash request that was answered with a hash reject.
    ///
    /// # Errors
    /// [`ProtocolError::TooManyRefused`] after [`limits::REFUSALS_MAX`] in a row.
    pub fn on_hash_refused(&mut self) -> Result<(), ProtocolError> {
        match self.state.refuse_once_more() {
            true => Err(ProtocolError::TooManyRefused),
            false => Ok(()),
        }
    }
}

impl State {
    /// Counts a refusal; whether it was one too many.
    fn refuse_once_more(&mut self) -> bool {
        self.refused = self.refused.saturating_add(1);
        self.refused > limits::REFUSALS_MAX
    }

    fn check_block(&self, block: BlockRef, piece_bytes: u32) -> Result<(), ProtocolError> {
        let piece = block.piece.0;
        let piece_count = self.torrent.piece_count;
        if piece >= piece_count {
            return Err(ProtocolError::PieceOutOfRange { piece, piece_count });
        }
        if block.length == 0 {
            return Err(ProtocolError::RequestEmpty { piece });
        }
        if block.length > limits::REQUEST_BYTES_MAX {
            return Err(ProtocolError::RequestTooLong { bytes: block.length });
        }
        let end = u64::from(block.begin).saturating_add(u64::from(block.length));
        if end > u64::from(piece_bytes) {
            return Err(ProtocolError::RequestPastEnd { piece, end, piece_bytes });
        }
        Ok(())
    }
}
