//! Which bytes stand in which buffer: several small pieces side by side, or a part of a large one.

use ringseed_meta::geometry::Span;
use ringseed_meta::{BlockRef, FileIndex, Geometry, PieceIndex};

use super::limits::{PIECES_PER_READ_MAX, READ_BYTES};

/// What one buffer holds: the same range of bytes of each piece of a range. Of several pieces
/// that is all of them, of one it may be a part.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pieces: std::ops::Range<u32>,
    begin: u32,
}

/// What a part holds of one piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    /// Position of the piece in the part, for bit masks.
    pub place: u32,
    pub block: BlockRef,
    /// First byte in the buffer.
    pub at: usize,
    /// Whether the piece ends here.
    pub is_last: bool,
}

/// Bytes of one file that are read at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub file: FileIndex,
    pub offset: u64,
    pub at: usize,
    pub length: usize,
    /// The pieces of the part that need it.
    pub places: u64,
}

/// The pieces that one buffer takes at once, beginning with `first`.
pub(super) fn group(geometry: &Geometry, first: u32) -> std::ops::Range<u32> {
    first..first.saturating_add(pieces_per_read(geometry)).min(geometry.piece_count())
}

/// How many groups there are.
pub(super) fn group_count(geometry: &Geometry) -> usize {
    geometry.piece_count().div_ceil(pieces_per_read(geometry)) as usize
}

fn pieces_per_read(geometry: &Geometry) -> u32 {
    (READ_BYTES / geometry.piece_length()).clamp(1, PIECES_PER_READ_MAX)
}

impl Part {
    /// The first part of these pieces.
    pub(super) fn first(pieces: std::ops::Range<u32>) -> Part {
        Part { pieces, begin: 0 }
    }

    /// The part that follows, when this is a part of one large piece and not its last.
    pub(super) fn next(&self, geometry: &Geometry) -> Option<Part> {
        let begin = self.begin.saturating_add(READ_BYTES);
        let is_alone = self.pieces.len() == 1;
        let piece_bytes = geometry.piece_bytes(PieceIndex(self.pieces.start))?;
        (is_alone && begin < piece_bytes).then(|| Part { pieces: self.pieces.clone(), begin })
    }

    /// What it holds of each piece.
    pub(super) fn slices(&self, geometry: &Geometry) -> impl Iterator<Item = Slice> {
        let begin = self.begin;
        let mut at = 0;
        self.pieces.clone().zip(0u32..).map(move |(piece, place)| {
            let piece = PieceIndex(piece);
            let left = geometry.piece_bytes(piece).unwrap_or(0).saturating_sub(begin);
            let length = left.min(READ_BYTES);
            let slice = Slice {
                place,
                block: BlockRef { piece, begin, length },
                at,
                is_last: length == left,
            };
            at += length as usize;
            slice
        })
    }

    /// Bytes in the buffer.
    pub(super) fn bytes(&self, geometry: &Geometry) -> u64 {
        self.slices(geometry).map(|slice| u64::from(slice.block.length)).sum()
    }

    /// What is to be read, as few reads as possible. Pads are reported to `pad` instead, and
    /// pieces with bytes behind the end of a file (`size` tells it) are left out of the mask that
    /// is returned.
    pub(super) fn runs(
        &self,
        geometry: &Geometry,
        size: impl Fn(FileIndex) -> u64,
        mut pad: impl FnMut(std::ops::Range<usize>),
    ) -> (Vec<Run>, u64) {
        let mut runs: Vec<Run> = Vec::new();
        let mut readable = 0u64;
        for slice in self.slices(geometry) {
            let place = 1u64 << slice.place;
            readable |= place;
            let mut at = slice.at;
            for Span { file, offset, length, is_pad } in geometry.spans(slice.block) {
                let (start, length) = (at, length as usize);
                at += length;
                if is_pad {
                    pad(start..at);
                    continue;
                }
                if offset + length as u64 > size(file) {
                    readable &= !place;
                    continue;
                }
                match runs.last_mut() {
                    Some(run)
                        if run.file == file
                            && run.offset + run.length as u64 == offset
                            && run.at + run.length == start =>
                    {
                        run.length += length;
                        run.places |= place;
                    }
                    _ => runs.push(Run { file, offset, at: start, length, places: place }),
                }
            }
        }
        (runs, readable)
    }
}
