//! What is asked of the seeder: a torrent's name and the lengths of its pieces.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringseed_meta::limits::{BLOCK_BYTES, PIECES_MAX};
use ringseed_meta::{Geometry, InfoHash, PieceIndex};

/// Why a target cannot be asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing to ask for.
    #[error("{total_bytes} bytes in pieces of {piece_bytes}: neither may be 0")]
    Empty {
        /// Bytes of a piece.
        piece_bytes: u32,
        /// Bytes of all.
        total_bytes: u64,
    },
    /// More than any torrent has.
    #[error("{0} pieces; a torrent has at most {PIECES_MAX}: give a larger --piece-length")]
    TooManyPieces(u64),
    /// Not 20 bytes in hexadecimal.
    #[error("infohash '{0}': 40 hexadecimal digits are needed")]
    InfoHash(String),
}

/// The lengths of a torrent's pieces.
#[derive(Clone, Debug)]
pub struct Pieces {
    piece_bytes: u32,
    count: u32,
    /// The pieces that are shorter, by index: the last one, and in a v2 torrent the last of each file.
    short: Arc<BTreeMap<u32, u32>>,
}

impl Pieces {
    /// Pieces of `piece_bytes` each over `total_bytes`, the last one shorter where that leaves a rest.
    pub fn even(piece_bytes: u32, total_bytes: u64) -> Result<Pieces, TargetError> {
        if piece_bytes == 0 || total_bytes == 0 {
            return Err(TargetError::Empty { piece_bytes, total_bytes });
        }
        let count = total_bytes.div_ceil(u64::from(piece_bytes));
        let count = u32::try_from(count).ok().filter(|count| *count <= PIECES_MAX);
        let Some(count) = count else {
            return Err(TargetError::TooManyPieces(total_bytes.div_ceil(u64::from(piece_bytes))));
        };
        let rest = (total_bytes % u64::from(piece_bytes)) as u32;
        let short = (rest > 0).then_some((count - 1, rest)).into_iter().collect();
        Ok(Pieces { piece_bytes, count, short: Arc::new(short) })
    }

    /// The pieces of a torrent.
    pub fn of(geometry: &Geometry) -> Result<Pieces, TargetError> {
        let (piece_bytes, count) = (geometry.piece_length(), geometry.piece_count());
        if piece_bytes == 0 || count == 0 {
            return Err(TargetError::Empty { piece_bytes, total_bytes: geometry.total_bytes() });
        }
        let lengths =
            (0..count).filter_map(|piece| Some((piece, geometry.piece_bytes(PieceIndex(piece))?)));
        let short = lengths.filter(|(_, length)| *length < piece_bytes).collect();
        Ok(Pieces { piece_bytes, count, short: Arc::new(short) })
    }

    /// How many there are; at least one.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of one.
    pub fn length(&self, piece: PieceIndex) -> u32 {
        self.short.get(&piece.0).copied().unwrap_or(self.piece_bytes)
    }

    /// Bytes of the shortest.
    pub fn shortest(&self) -> u32 {
        self.short.values().min().copied().unwrap_or(self.piece_bytes)
    }

    /// Bytes of all.
    pub fn total_bytes(&self) -> u64 {
        let whole = u64::from(self.count) - self.short.len() as u64;
        whole * u64::from(self.piece_bytes)
            + self.short.values().map(|rest| u64::from(*rest)).sum::<u64>()
    }

    /// Bytes of each but the short ones.
    pub fn piece_bytes(&self) -> u32 {
        self.piece_bytes
    }

    /// Blocks in all.
    pub fn block_count(&self) -> u64 {
        let whole = u64::from(self.count) - self.short.len() as u64;
        let blocks = |bytes: u32| u64::from(bytes.div_ceil(BLOCK_BYTES));
        whole * blocks(self.piece_bytes)
            + self.short.values().map(|rest| blocks(*rest)).sum::<u64>()
    }
}

/// Reads an infohash as people write it.
pub fn parse_info_hash(text: &str) -> Result<InfoHash, TargetError> {
    let wrong = || TargetError::InfoHash(text.into());
    if text.len() != 40 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut bytes = [0; 20];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        let digits = text.get(at..at + 2).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(InfoHash(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_holds_what_is_left() {
        let pieces = Pieces::even(1 << 16, (3 << 16) + 20_000).unwrap();
        assert_eq!((pieces.count(), pieces.block_count()), (4, 14));
        assert_eq!(pieces.length(PieceIndex(2)), 1 << 16);
        assert_eq!(pieces.length(PieceIndex(3)), 20_000);
    }

    #[test]
    fn impossible_targets_are_refused_with_their_numbers() {
        let empty = |piece_bytes, total_bytes| TargetError::Empty { piece_bytes, total_bytes };
        assert_eq!(Pieces::even(0, 5).unwrap_err(), empty(0, 5));
        assert_eq!(Pieces::even(1 << 14, 0).unwrap_err(), empty(1 << 14, 0));
        let many = Pieces::even(1 << 14, 1 << 40).unwrap_err();
        assert_eq!(many, TargetError::TooManyPieces(1 << 26));
    }

    #[test]
    fn an_infohash_is_forty_hexadecimal_digits() {
        let text = "00ff10a000000000000000000000000000000001";
        assert_eq!(parse_info_hash(text).unwrap().to_string(), text);
        for wrong in ["", "00", &"x".repeat(40), &"+1".repeat(20), &"é".repeat(20)] {
            assert_eq!(parse_info_hash(wrong).unwrap_err(), TargetError::InfoHash(wrong.into()));
        }
    }
}
