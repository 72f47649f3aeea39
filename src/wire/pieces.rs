//! Which pieces the other side has, as far as we need to know.

use alloc::boxed::Box;
use alloc::vec;

use ringseed_meta::PieceIndex;

use crate::ProtocolError;

/// How much of a peer's pieces is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PieceMemory {
    /// How many: all that a seed asks of its leechers. A have told twice counts twice.
    #[default]
    Count,
    /// Which: a bit a piece, once the peer has told of one.
    Set,
}

/// The pieces of a peer.
#[derive(Debug)]
pub(crate) struct RemotePieces {
    memory: PieceMemory,
    has_all: bool,
    count: u32,
    /// BEP 3 bit order. Empty until needed.
    set: Box<[u8]>,
}

/// Bytes of the bitfield of a torrent of so many pieces.
pub(crate) const fn bitfield_bytes(piece_count: u32) -> u32 {
    piece_count.div_ceil(8)
}

impl RemotePieces {
    pub(crate) fn new(memory: PieceMemory) -> RemotePieces {
        RemotePieces { memory, has_all: false, count: 0, set: Box::default() }
    }

    /// It starts to tell anew: what it told before counts no longer.
    pub(crate) fn forget(&mut self) {
        *self = RemotePieces::new(self.memory);
    }

    pub(crate) fn set_all(&mut self) {
        self.has_all = true;
    }

    pub(crate) fn insert(&mut self, piece: PieceIndex, piece_count: u32) {
        if self.has_all {
            return;
        }
        let mut is_new = true;
        if self.memory == PieceMemory::Set {
            self.ensure_set(piece_count);
            let mask = 0x80u8.checked_shr(piece.0 % 8).unwrap_or(0);
            if let Some(byte) = self.set.get_mut((piece.0 / 8) as usize) {
                is_new = *byte & mask == 0;
                *byte |= mask;
            }
        }
        if is_new {
            self.count = self.count.saturating_add(1).min(piece_count);
        }
    }

    /// Takes bytes of a bitfield that stand `at` its byte; the last ones may not have spare bits.
    pub(crate) fn take_field(
        &mut self,
        at: u32,
        field: &[u8],
        piece_count: u32,
    ) -> Result<(), ProtocolError> {
        let total = bitfield_bytes(piece_count) as usize;
        let end = (at as usize).saturating_add(field.len());
        if end >= total
            && let Some(last) = field.last()
        {
            // 0 when the last byte is full.
            let used = piece_count % 8;
            let spare = if used == 0 { 0 } else { 0xffu8.checked_shr(used).unwrap_or(0) };
            if last & spare != 0 {
                return Err(ProtocolError::SpareBits);
            }
        }
        let ones: u32 = field.iter().map(|byte| byte.count_ones()).sum();
        self.count = self.count.saturating_add(ones).min(piece_count);
        if self.memory == PieceMemory::Set {
            self.ensure_set(piece_count);
            if let Some(to) = self.set.get_mut(at as usize..end) {
                to.copy_from_slice(field);
            }
        }
        if end >= total && self.count == piece_count {
            self.has_all = true;
            self.set = Box::default();
        }
        Ok(())
    }

    fn ensure_set(&mut self, piece_count: u32) {
        if self.set.is_empty() {
            self.set = vec![0; bitfield_bytes(piece_count) as usize].into_boxed_slice();
        }
    }

    pub(crate) fn count(&self, piece_count: u32) -> u32 {
        if self.has_all { piece_count } else { self.count }
    }

    pub(crate) fn contains(&self, piece: PieceIndex) -> bool {
        let mask = 0x80u8.checked_shr(piece.0 % 8).unwrap_or(0);
        let byte = self.set.get((piece.0 / 8) as usize);
        self.has_all || byte.is_some_and(|byte| byte & mask != 0)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.set.len()
    }

    pub(crate) fn has_all(&self) -> bool {
        self.has_all
    }
}
