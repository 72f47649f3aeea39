//! A set of pieces in the bit order of BEP 3. Spare bits are zero by construction.

use alloc::boxed::Box;
use alloc::vec;

use crate::PieceIndex;

/// Which pieces of a torrent somebody has.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Box<[u8]>,
    piece_count: u32,
    set_count: u32,
}

/// Why the payload of a bitfield message is not acceptable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BitfieldFault {
    /// Another number of bytes than the torrent's pieces need.
    #[error("a bitfield of {bytes} bytes for {piece_count} pieces; {needed} are needed")]
    WrongLength {
        /// Bytes received.
        bytes: usize,
        /// Pieces of the torrent.
        piece_count: u32,
        /// Bytes expected.
        needed: usize,
    },
    /// BEP 3: "Spare bits at the end are set to zero."
    #[error("a bitfield has spare bits set behind piece {last_piece}; they must be zero")]
    SpareBits {
        /// The last piece of the torrent.
        last_piece: u32,
    },
}

/// Bytes that a bitfield of so many pieces takes.
pub const fn bitfield_bytes(piece_count: u32) -> usize {
    piece_count.div_ceil(8) as usize
}

impl Bitfield {
    /// None of `piece_count` pieces.
    pub fn new(piece_count: u32) -> Bitfield {
        let bytes = vec![0; bitfield_bytes(piece_count)].into_boxed_slice();
        Bitfield { bytes, piece_count, set_count: 0 }
    }

    /// All of `piece_count` pieces.
    pub fn full(piece_count: u32) -> Bitfield {
        let mut bytes = vec![0xff; bitfield_bytes(piece_count)].into_boxed_slice();
        if let Some(last) = bytes.last_mut() {
            *last &= !spare_bits(piece_count);
        }
        Bitfield { bytes, piece_count, set_count: piece_count }
    }

    /// The set that a peer sent.
    ///
    /// # Errors
    /// [`BitfieldFault`] when the length does not fit or spare bits are set.
    pub fn from_wire(bytes: &[u8], piece_count: u32) -> Result<Bitfield, BitfieldFault> {
        let needed = bitfield_bytes(piece_count);
        if bytes.len() != needed {
            return Err(BitfieldFault::WrongLength { bytes: bytes.len(), piece_count, needed });
        }
        if bytes.last().is_some_and(|last| last & spare_bits(piece_count) != 0) {
            let last_piece = piece_count.saturating_sub(1);
            return Err(BitfieldFault::SpareBits { last_piece });
        }
        let set_count = bytes.iter().fold(0u32, |sum, byte| sum.saturating_add(byte.count_ones()));
        Ok(Bitfield { bytes: bytes.into(), piece_count, set_count })
    }

    /// The payload of a bitfield message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Pieces of the torrent.
    pub fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Whether the piece is in the set. A piece out of range never is.
    pub fn get(&self, piece: PieceIndex) -> bool {
        self.bytes.get(byte_of(piece)).is_some_and(|byte| byte & bit_of(piece) != 0)
    }

    /// Puts the piece in; says whether it is new. A piece out of range is refused and not new.
    pub fn set(&mut self, piece: PieceIndex) -> bool {
        if piece.0 >= self.piece_count || self.get(piece) {
            return false;
        }
        if let Some(byte) = self.bytes.get_mut(byte_of(piece)) {
            *byte |= bit_of(piece);
            self.set_count = self.set_count.saturating_add(1);
        }
        true
    }

    /// Takes the piece out; says whether it was there.
    pub fn unset(&mut self, piece: PieceIndex) -> bool {
        if !self.get(piece) {
            return false;
        }
        if let Some(byte) = self.bytes.get_mut(byte_of(piece)) {
            *byte &= !bit_of(piece);
            self.set_count = self.set_count.saturating_sub(1);
        }
        true
    }

    /// Pieces in the set.
    pub fn count(&self) -> u32 {
        self.set_count
    }

    /// Whether all pieces are in the set: whose it is, is a seed.
    pub fn is_full(&self) -> bool {
        self.set_count == self.piece_count
    }

    /// Whether no piece is in the set.
    pub fn is_empty(&self) -> bool {
        self.set_count == 0
    }

    /// The pieces in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        (0..self.piece_count).map(PieceIndex).filter(|&piece| self.get(piece))
    }
}

impl core::fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Bitfield({} of {})", self.set_count, self.piece_count)
    }
}

const fn byte_of(piece: PieceIndex) -> usize {
    (piece.0 / 8) as usize
}

/// BEP 3: "The first byte of the bitfield corresponds to indices 0 - 7 from high bit to low bit".
const fn bit_of(piece: PieceIndex) -> u8 {
    0x80 >> (piece.0 % 8)
}

/// The bits of the last byte that stand for no piece.
const fn spare_bits(piece_count: u32) -> u8 {
    match piece_count % 8 {
        0 => 0,
        used => 0xff >> used,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_piece_is_the_highest_bit() {
        let mut field = Bitfield::new(10);
        assert!(field.set(PieceIndex(0)));
        assert!(field.set(PieceIndex(9)));
        assert!(!field.set(PieceIndex(9)));
        assert!(!field.set(PieceIndex(10)));
        assert_eq!(field.as_bytes(), [0x80, 0x40]);
        assert_eq!(field.count(), 2);
    }

    #[test]
    fn a_full_one_has_its_spare_bits_zero() {
        assert_eq!(Bitfield::full(10).as_bytes(), [0xff, 0xc0]);
        assert_eq!(Bitfield::full(8).as_bytes(), [0xff]);
        assert!(Bitfield::full(0).as_bytes().is_empty());
        assert!(Bitfield::full(10).is_full());
    }

    #[test]
    fn spare_bits_and_wrong_lengths_are_refused() {
        let spare = Bitfield::from_wire(&[0xff, 0xe0], 10);
        assert_eq!(spare, Err(BitfieldFault::SpareBits { last_piece: 9 }));
        let short = Bitfield::from_wire(&[0xff], 10);
        let fault = BitfieldFault::WrongLength { bytes: 1, piece_count: 10, needed: 2 };
        assert_eq!(short, Err(fault));
        assert!(Bitfield::from_wire(&[0xff, 0xc0, 0], 10).is_err());
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_set_and_survives_the_wire(
            piece_count in 0u32..70,
            steps in prop::collection::vec((0u32..80, any::<bool>()), 0..60),
        ) {
            let mut field = Bitfield::new(piece_count);
            let mut model = BTreeSet::new();
            for (piece, add) in steps {
                let index = PieceIndex(piece);
                if add {
                    let new = piece < piece_count && model.insert(piece);
                    prop_assert_eq!(field.set(index), new);
                } else {
                    prop_assert_eq!(field.unset(index), model.remove(&piece));
                }
            }
            prop_assert_eq!(field.count() as usize, model.len());
            prop_assert_eq!(field.is_full(), model.len() == piece_count as usize);
            let pieces: Vec<u32> = field.iter().map(|piece| piece.0).collect();
            prop_assert!(pieces.into_iter().eq(model));
            let back = Bitfield::from_wire(field.as_bytes(), piece_count);
            prop_assert_eq!(back, Ok(field));
        }
    }
}
