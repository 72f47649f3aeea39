//! What is asked of the seeder: a torrent's name and the lengths of its pieces.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringseed_meta::{InfoHash, PieceIndex};

use crate::limits::BLOCK_BYTES;

/// Why a target cannot be asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// BEP 3 and BEP 52 leave piece lengths open; below a block they make no sense here.
    #[error("piece length {0}: a power of two of at least 16384 is needed")]
    PieceLength(u32),
    /// Nothing to ask for.
    #[error("the torrent has no bytes")]
    Empty,
    /// BEP 3 names a piece by 32 bits.
    #[error(
        "{0} pieces are more than a request can name (4294967295): give a larger --piece-length"
    )]
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
        Pieces::of_files(piece_bytes, [total_bytes])
    }

    /// Pieces as BEP 52 lays them: each file begins a piece of its own.
    pub fn of_files(
        piece_bytes: u32,
        files: impl IntoIterator<Item = u64>,
    ) -> Result<Pieces, TargetError> {
        if !piece_bytes.is_power_of_two() || piece_bytes < BLOCK_BYTES {
            return Err(TargetError::PieceLength(piece_bytes));
        }
        let (mut count, mut short) = (0_u64, BTreeMap::new());
        for file_bytes in files {
            count += file_bytes.div_ceil(u64::from(piece_bytes));
            let last = u32::try_from(count.saturating_sub(1))
                .map_err(|_| TargetError::TooManyPieces(count))?;
            let rest = (file_bytes % u64::from(piece_bytes)) as u32;
            if rest > 0 {
                short.insert(last, rest);
            }
        }
        let count = u32::try_from(count).map_err(|_| TargetError::TooManyPieces(count))?;
        if count == 0 {
            return Err(TargetError::Empty);
        }
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
    fn files_of_a_v2_torrent_begin_pieces_of_their_own() {
        let pieces = Pieces::of_files(1 << 15, [1, 0, 1 << 15, (1 << 15) + 5]).unwrap();
        let lengths: Vec<u32> = (0..pieces.count()).map(|p| pieces.length(PieceIndex(p))).collect();
        assert_eq!(lengths, [1, 1 << 15, 1 << 15, 5]);
        assert_eq!(pieces.block_count(), 6);
    }

    #[test]
    fn impossible_targets_are_refused_with_their_numbers() {
        assert_eq!(Pieces::even(0, 5).unwrap_err(), TargetError::PieceLength(0));
        assert_eq!(Pieces::even(8192, 5).unwrap_err(), TargetError::PieceLength(8192));
        assert_eq!(Pieces::even(1 << 14, 0).unwrap_err(), TargetError::Empty);
        let many = Pieces::even(1 << 14, u64::MAX).unwrap_err();
        assert_eq!(many, TargetError::TooManyPieces(1 << 50));
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
