//! Pieces, blocks and files: which bytes of which files a block is made of, and whether there is
//! such a block at all.
//!
//! All files of a torrent lie one behind the other in one line of bytes that is cut into pieces.
//! In v1 (BEP 3) they touch, unless pad files (BEP 47) stand between; in v2 (BEP 52) each file
//! begins a piece, and the gap behind it belongs to no piece. A hybrid is v1 with pads in the gaps:
//! v1 peers request them with the piece, v2 peers stop at the end of the file, both are served.

mod build;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests index what they made")]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test values are small"
)]
mod tests;

use alloc::boxed::Box;
use core::ops::Range;

pub use build::{GeometryBuilder, GeometryError};

use crate::limits::BLOCK_BYTES_MAX;
use crate::{BlockRef, FileIndex, PieceIndex};

/// The map between pieces and files of one torrent. 24 bytes a file, and its path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Geometry {
    piece_length: u32,
    piece_count: u32,
    layout: Layout,
    content_bytes: u64,
    /// Where the last file ends.
    end: u64,
    files: Box<[Slot]>,
    /// All paths, one behind the other.
    paths: Box<str>,
}

/// How files follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Each file begins where the one before it ends (v1, and hybrids with their pads).
    Packed,
    /// Each file that has bytes begins a piece (v2).
    Aligned,
}

/// What stands at a place in the file list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A file with content.
    Content,
    /// Zeros that are on no disk (BEP 47).
    Pad,
    /// A symbolic link (BEP 47): no bytes, never followed, never made.
    Symlink,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Slot {
    offset: u64,
    length: u64,
    path_end: u32,
    kind: FileKind,
}

impl Slot {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// One entry of the file list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File<'g> {
    /// Its place in the list.
    pub index: FileIndex,
    /// Where it belongs, relative to the data folder: clean names joined by `/`, the first being
    /// the torrent's name. Empty for a pad.
    pub path: &'g str,
    /// Bytes.
    pub length: u64,
    /// First byte in the torrent's line of bytes.
    pub offset: u64,
    /// Content, pad or symlink.
    pub kind: FileKind,
}

/// A part of one file that is a part of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The file.
    pub file: FileIndex,
    /// First byte within the file.
    pub offset: u64,
    /// Bytes, at least one.
    pub length: u32,
    /// The bytes are zeros that no disk holds.
    pub is_pad: bool,
}

/// Why a torrent has no such block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlockFault {
    /// The piece index is not below the number of pieces.
    #[error("piece {piece} of a torrent of {piece_count} pieces")]
    PieceOutOfRange {
        /// As requested.
        piece: u32,
        /// Pieces of the torrent.
        piece_count: u32,
    },
    /// No bytes are asked for.
    #[error("a block of 0 bytes")]
    Empty,
    /// More bytes than one message carries.
    #[error("a block of {length} bytes; at most {BLOCK_BYTES_MAX} are served")]
    TooLong {
        /// As requested.
        length: u32,
    },
    /// The block ends behind its piece.
    #[error("bytes {begin} to {end} of piece {piece}, which has {piece_bytes}")]
    PastPieceEnd {
        /// As requested.
        piece: u32,
        /// As requested.
        begin: u32,
        /// `begin` and the requested length.
        end: u64,
        /// Bytes of the piece.
        piece_bytes: u32,
    },
}

impl Geometry {
    /// Bytes of every piece but those that end early.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Pieces of the torrent.
    pub fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// How the files follow each other.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Bytes of all files that are on a disk: no pads, no gaps.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Bytes of all pieces: pads count, gaps of v2 do not. What `left` and BEP 3's lengths add
    /// up to in v1 and hybrids.
    pub fn total_bytes(&self) -> u64 {
        match self.layout {
            Layout::Packed => self.end,
            Layout::Aligned => self.content_bytes,
        }
    }

    /// Bytes of a piece; `None` when there is no such piece.
    pub fn piece_bytes(&self, piece: PieceIndex) -> Option<u32> {
        if piece.0 >= self.piece_count {
            return None;
        }
        let start = self.piece_start(piece);
        let end = match self.layout {
            Layout::Packed => self.end,
            Layout::Aligned => self.files.get(self.slot_at(start))?.end(),
        };
        let bytes = end.saturating_sub(start).min(u64::from(self.piece_length));
        u32::try_from(bytes).ok()
    }

    /// The whole piece as one block; `None` when there is no such piece. Longer than any block
    /// that is served, and what hashing reads.
    pub fn whole_piece(&self, piece: PieceIndex) -> Option<BlockRef> {
        let length = self.piece_bytes(piece)?;
        Some(BlockRef { piece, begin: 0, length })
    }

    /// Whether there is such a block and it may be asked for. An unaligned one is fine.
    ///
    /// # Errors
    /// [`BlockFault`] says what is wrong with it.
    pub fn check_block(&self, block: BlockRef) -> Result<(), BlockFault> {
        let BlockRef { piece, begin, length } = block;
        let Some(piece_bytes) = self.piece_bytes(piece) else {
            let piece_count = self.piece_count;
            return Err(BlockFault::PieceOutOfRange { piece: piece.0, piece_count });
        };
        if length == 0 {
            return Err(BlockFault::Empty);
        }
        if length > BLOCK_BYTES_MAX {
            return Err(BlockFault::TooLong { length });
        }
        let end = u64::from(begin).saturating_add(u64::from(length));
        if end > u64::from(piece_bytes) {
            return Err(BlockFault::PastPieceEnd { piece: piece.0, begin, end, piece_bytes });
        }
        Ok(())
    }

    /// The parts of files that the block is made of, in order. Their lengths add up to the
    /// block's when it passed [`Geometry::check_block`]; of any other, what exists is named.
    pub fn spans(&self, block: BlockRef) -> Spans<'_> {
        let at = self.piece_start(block.piece).saturating_add(u64::from(block.begin));
        let end = at.saturating_add(u64::from(block.length));
        Spans { files: &self.files, slot: self.slot_at(at), at, end }
    }

    /// Entries of the file list, pads included.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// One entry of the file list.
    pub fn file(&self, index: FileIndex) -> Option<File<'_>> {
        let at = index.0 as usize;
        let slot = self.files.get(at)?;
        let start = match at.checked_sub(1) {
            Some(before) => self.files.get(before)?.path_end,
            None => 0,
        };
        Some(File {
            index,
            path: self.paths.get(start as usize..slot.path_end as usize)?,
            length: slot.length,
            offset: slot.offset,
            kind: slot.kind,
        })
    }

    /// The whole file list in order, pads included.
    pub fn files(&self) -> impl ExactSizeIterator<Item = File<'_>> + DoubleEndedIterator + Clone {
        (0..self.files.len()).map(|at| {
            // Present by construction: `at` is below the number of files.
            let index = FileIndex(u32::try_from(at).unwrap_or(u32::MAX));
            self.file(index).unwrap_or(File {
                index,
                path: "",
                length: 0,
                offset: 0,
                kind: FileKind::Pad,
            })
        })
    }

    /// The pieces that hold a byte of the file; empty for an empty file.
    pub fn pieces_of(&self, file: FileIndex) -> Range<u32> {
        let Some(slot) = self.files.get(file.0 as usize) else { return 0..0 };
        let piece = |offset: u64| {
            let piece = offset.checked_div(u64::from(self.piece_length)).unwrap_or(0);
            u32::try_from(piece).unwrap_or(u32::MAX)
        };
        let first = piece(slot.offset);
        match slot.length {
            0 => first..first,
            _ => first..piece(slot.end().saturating_sub(1)).saturating_add(1),
        }
    }

    /// The file that holds the first byte of the piece: in v2 and hybrids the only one but pads.
    pub fn file_of(&self, piece: PieceIndex) -> Option<FileIndex> {
        if piece.0 >= self.piece_count {
            return None;
        }
        u32::try_from(self.slot_at(self.piece_start(piece))).ok().map(FileIndex)
    }

    /// Bytes of the piece that belong to its first file: what v2 hashes of it, in v2 and hybrids.
    pub fn file_bytes_in(&self, piece: PieceIndex) -> Option<u32> {
        let piece_bytes = self.piece_bytes(piece)?;
        let file_end = self.files.get(self.file_of(piece)?.0 as usize)?.end();
        let left = file_end.saturating_sub(self.piece_start(piece));
        u32::try_from(left.min(u64::from(piece_bytes))).ok()
    }

    fn piece_start(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0).saturating_mul(u64::from(self.piece_length))
    }

    /// The first file that ends behind the byte: it holds the byte, unless that is in a gap.
    fn slot_at(&self, byte: u64) -> usize {
        self.files.partition_point(|slot| slot.end() <= byte)
    }
}

/// What [`Geometry::spans`] returns.
#[derive(Clone, Debug)]
pub struct Spans<'g> {
    files: &'g [Slot],
    slot: usize,
    at: u64,
    end: u64,
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        while self.at < self.end {
            let index = self.slot;
            let slot = self.files.get(index)?;
            self.slot = index.saturating_add(1);
            let start = self.at.max(slot.offset);
            let stop = self.end.min(slot.end());
            if start >= stop {
                continue;
            }
            self.at = stop;
            return Some(Span {
                file: FileIndex(u32::try_from(index).ok()?),
                offset: start.saturating_sub(slot.offset),
                length: u32::try_from(stop.saturating_sub(start)).ok()?,
                is_pad: slot.kind == FileKind::Pad,
            });
        }
        None
    }
}
