//! Checks received pieces against the torrent's hashes (`--verify`). Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringseed_meta::limits::BLOCK_BYTES;
use ringseed_meta::merkle::{self, Hash};
use ringseed_meta::{BlockRef, Metainfo, PieceIndex};
use sha1::{Digest, Sha1};

use crate::fault::Fault;
use crate::limits::{AHEAD_BLOCKS_MIN, AHEAD_DEPTHS};

/// How a stretch of bytes left the piece it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to come.
    Within,
    /// It is whole, so many bytes, and right.
    Verified(u32),
    /// All of it has come that will come, and there are holes where the seeder refused.
    BrokenOff,
}

/// Hashes the pieces of one connection as they come. Blocks may come in any order: those that are
/// ahead of what has been hashed are kept, within a bound.
#[derive(Debug)]
pub struct Verifier {
    metainfo: Arc<Metainfo>,
    /// Pieces in progress, in the order in which their first blocks came.
    parts: Vec<Part>,
    /// Bytes that are kept ahead, of all pieces, and at most.
    ahead_bytes: usize,
    ahead_bytes_max: usize,
}

/// A piece in progress.
#[derive(Debug)]
struct Part {
    piece: PieceIndex,
    /// Bytes that have come or will not come.
    settled: u32,
    /// Some of them will not come.
    has_holes: bool,
    /// Bytes hashed so far, from the first one on.
    position: u32,
    sha1: Sha1,
    leaves: Vec<Hash>,
    /// What has come of the next leaf.
    leaf: Vec<u8>,
    /// Blocks that came before those in front of them, by where they begin.
    ahead: BTreeMap<u32, Vec<u8>>,
}

impl Part {
    fn new(piece: PieceIndex) -> Part {
        Part {
            piece,
            settled: 0,
            has_holes: false,
            position: 0,
            sha1: Sha1::new(),
            leaves: Vec::new(),
            leaf: Vec::new(),
            ahead: BTreeMap::new(),
        }
    }

    /// Whether the bytes that stand `at` bytes into a block are its next ones of it.
    fn lacks(&self, block: BlockRef, at: u32) -> bool {
        let is_kept_until = |kept: &Vec<u8>| kept.len() == at as usize;
        self.piece == block.piece
            && (self.has_holes
                || block.begin + at >= self.position
                    && self.ahead.get(&block.begin).is_none_or(is_kept_until))
    }

    /// Takes bytes that follow those which were hashed.
    fn hash(&mut self, is_v1: bool, mut bytes: &[u8]) {
        self.position += bytes.len() as u32;
        if is_v1 {
            self.sha1.update(bytes);
            return;
        }
        while !bytes.is_empty() {
            let room = BLOCK_BYTES as usize - self.leaf.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.leaf.extend_from_slice(now);
            if self.leaf.len() == BLOCK_BYTES as usize {
                self.close_leaf();
            }
            bytes = later;
        }
    }

    fn close_leaf(&mut self) {
        self.leaves.push(merkle::block_hash(&self.leaf));
        self.leaf.clear();
    }

    fn ahead_bytes(&self) -> usize {
        self.ahead.values().map(Vec::len).sum()
    }
}

/// Bytes that are kept ahead at most, where so many requests may be outstanding.
fn bound_for(depth: u32) -> usize {
    let blocks = depth.saturating_mul(AHEAD_DEPTHS).max(AHEAD_BLOCKS_MIN);
    blocks as usize * BLOCK_BYTES as usize
}

impl Verifier {
    /// Nothing begun.
    pub fn new(metainfo: Arc<Metainfo>) -> Verifier {
        Verifier { metainfo, parts: Vec::new(), ahead_bytes: 0, ahead_bytes_max: bound_for(0) }
    }

    /// For a connection that keeps at most `depth` requests outstanding.
    pub fn for_depth(metainfo: Arc<Metainfo>, depth: u32) -> Verifier {
        Verifier { ahead_bytes_max: bound_for(depth), ..Verifier::new(metainfo) }
    }

    /// Takes the bytes that stand `at` bytes into a block. The blocks of a connection come one after
    /// another, each of them in order.
    pub fn take(&mut self, block: BlockRef, at: u32, bytes: &[u8]) -> Result<Progress, Fault> {
        let (begin, is_v1) = (block.begin + at, self.is_v1());
        let index = self.part_of(block, at);
        let Some(part) = self.parts.get_mut(index) else { return Ok(Progress::Within) };
        part.settled += bytes.len() as u32;
        if part.has_holes {
            // It cannot be hashed any more.
        } else if begin == part.position {
            part.hash(is_v1, bytes);
            // The block that comes is not among those that are kept: all of these are whole.
            while let Some(next) = part.ahead.remove(&part.position) {
                self.ahead_bytes -= next.len();
                part.hash(is_v1, &next);
            }
        } else {
            let kept = part.ahead.entry(block.begin).or_default();
            self.ahead_bytes += bytes.len();
            kept.extend_from_slice(bytes);
            if self.ahead_bytes > self.ahead_bytes_max {
                let max = self.ahead_bytes_max / BLOCK_BYTES as usize;
                let first = self.parts.iter().find(|part| !part.ahead.is_empty());
                let lacks = first.map_or((block.piece, 0), |part| (part.piece, part.position));
                return Err(Fault::OrderTooWide { piece: lacks.0, begin: lacks.1, max });
            }
        }
        self.close_when_settled(index)
    }

    /// A block that was asked for will not come.
    pub fn lose(&mut self, block: BlockRef) -> Progress {
        let index = self.part_of(block, 0);
        let Some(part) = self.parts.get_mut(index) else { return Progress::Within };
        self.ahead_bytes -= part.ahead_bytes();
        part.ahead.clear();
        part.has_holes = true;
        part.settled += block.length;
        // With holes there is nothing that could be wrong.
        self.close_when_settled(index).unwrap_or(Progress::BrokenOff)
    }

    /// Which piece in progress the bytes belong to; it is begun if need be. A small torrent is asked
    /// for again soon, so that a piece may be in progress twice.
    fn part_of(&mut self, block: BlockRef, at: u32) -> usize {
        let found = self.parts.iter().position(|part| part.lacks(block, at));
        found.unwrap_or_else(|| {
            self.parts.push(Part::new(block.piece));
            self.parts.len() - 1
        })
    }

    fn close_when_settled(&mut self, index: usize) -> Result<Progress, Fault> {
        let is_settled = self.parts.get(index).is_some_and(|part| {
            self.metainfo.geometry().piece_bytes(part.piece) == Some(part.settled)
        });
        if !is_settled {
            return Ok(Progress::Within);
        }
        let part = self.parts.remove(index);
        if part.has_holes {
            return Ok(Progress::BrokenOff);
        }
        let (piece, length) = (part.piece, part.settled);
        if self.is_right(part) {
            Ok(Progress::Verified(length))
        } else {
            Err(self.wrong_piece(piece))
        }
    }

    /// Where the piece lies, for the person who must find out why.
    fn wrong_piece(&self, piece: PieceIndex) -> Fault {
        let geometry = self.metainfo.geometry();
        let offset = u64::from(piece.0) * u64::from(geometry.piece_length());
        let whole = geometry.whole_piece(piece);
        let spans = whole.into_iter().flat_map(|whole| geometry.spans(whole));
        let places = spans.filter(|span| !span.is_pad).filter_map(|span| {
            let path = geometry.file(span.file)?.path;
            Some(format!("'{path}' at byte {}", span.offset))
        });
        Fault::WrongPiece { piece, offset, places: places.collect() }
    }

    fn is_v1(&self) -> bool {
        self.metainfo.info_hash_v1().is_some()
    }

    /// Whether the piece that has come to its end has the torrent's hash.
    fn is_right(&self, mut part: Part) -> bool {
        if self.is_v1() {
            let is = part.sha1.finalize();
            return self.metainfo.piece_hash_v1(part.piece).is_some_and(|right| *right == is[..]);
        }
        if !part.leaf.is_empty() {
            part.close_leaf();
        }
        let geometry = self.metainfo.geometry();
        let file = geometry.file_of(part.piece).and_then(|file| geometry.file(file));
        let Some(file) = file else { return false };
        let is = merkle::piece_hash(&part.leaves, geometry.piece_length(), file.length);
        self.metainfo.piece_hash_v2(part.piece) == Some(&is)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringseed_meta::metainfo::{Blueprint, Format, Outer, PieceHashes, Root};

    use super::*;

    const PIECE: u32 = 32 << 10;

    fn byte_at(offset: u64) -> u8 {
        (offset % 251) as u8
    }

    /// Two files whose bytes follow one rule, through v1's one line or v2's own pieces.
    fn torrent(format: Format) -> Arc<Metainfo> {
        let files = vec![("a".into(), 70_000), ("b".into(), 40_000)];
        let blueprint = Blueprint::new(format, Root::Folder, "t", PIECE, files).unwrap();
        let geometry = blueprint.geometry();
        let pieces = (0..geometry.piece_count()).map(PieceIndex);
        let bytes = pieces.map(|piece| (piece, content(geometry.piece_bytes(piece).unwrap())));
        let mut hashes = PieceHashes { v1: Vec::new(), v2: Vec::new() };
        for (piece, bytes) in bytes {
            if format.has_v1() {
                hashes.v1.push(Sha1::digest(&bytes).into());
            }
            if format.has_v2() {
                let leaves: Vec<Hash> = bytes.chunks(16 << 10).map(merkle::block_hash).collect();
                let file = geometry.file(geometry.file_of(piece).unwrap()).unwrap();
                hashes.v2.push(merkle::piece_hash(&leaves, PIECE, file.length));
            }
        }
        let bytes = blueprint.write(&hashes, false, None, &Outer::default()).unwrap();
        Arc::new(Metainfo::parse(&bytes).unwrap())
    }

    fn content(length: u32) -> Vec<u8> {
        (0..u64::from(length)).map(byte_at).collect()
    }

    fn blocks_of(metainfo: &Metainfo, piece: u32) -> Vec<BlockRef> {
        let length = metainfo.geometry().piece_bytes(PieceIndex(piece)).unwrap();
        let block = |begin: u32| BlockRef {
            piece: PieceIndex(piece),
            begin,
            length: BLOCK_BYTES.min(length - begin),
        };
        (0..length).step_by(BLOCK_BYTES as usize).map(block).collect()
    }

    /// Gives a block's bytes in steps; the last answer.
    fn give(verifier: &mut Verifier, block: BlockRef, step: usize) -> Result<Progress, Fault> {
        let bytes: Vec<u8> =
            (0..u64::from(block.length)).map(|at| byte_at(u64::from(block.begin) + at)).collect();
        let mut progress = Progress::Within;
        for (chunk, at) in bytes.chunks(step).zip((0..).step_by(step)) {
            progress = verifier.take(block, at, chunk)?;
        }
        Ok(progress)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn whole_pieces_are_verified_in_v1_and_v2_however_they_are_cut(step in 1_usize..20_000) {
            for format in [Format::V1, Format::V2] {
                let metainfo = torrent(format);
                let mut verifier = Verifier::for_depth(metainfo.clone(), 8);
                for piece in 0..metainfo.geometry().piece_count() {
                    let ends: Vec<_> = blocks_of(&metainfo, piece)
                        .into_iter()
                        .map(|block| give(&mut verifier, block, step).unwrap())
                        .collect();
                    let (last, before) = ends.split_last().unwrap();
                    let length = metainfo.geometry().piece_bytes(PieceIndex(piece)).unwrap();
                    prop_assert_eq!(*last, Progress::Verified(length));
                    prop_assert!(before.iter().all(|end| *end == Progress::Within));
                }
            }
        }
    }

    #[test]
    fn one_wrong_byte_is_a_fault_that_names_the_piece() {
        for format in [Format::V1, Format::V2] {
            let metainfo = torrent(format);
            let mut verifier = Verifier::for_depth(metainfo.clone(), 8);
            let blocks = blocks_of(&metainfo, 1);
            give(&mut verifier, blocks[0], 16 << 10).unwrap();
            let mut bytes = content(PIECE)[16 << 10..].to_vec();
            bytes[77] ^= 1;
            let fault = verifier.take(blocks[1], 0, &bytes).unwrap_err();
            assert_eq!(
                fault.to_string(),
                "piece 1, bytes from 32768 of the torrent ('t/a' at byte 32768), does not have the torrent's hash"
            );
        }
    }

    #[test]
    fn blocks_in_any_order_are_verified_and_a_wrong_byte_among_them_is_found() {
        for format in [Format::V1, Format::V2] {
            let metainfo = torrent(format);
            let mut verifier = Verifier::for_depth(metainfo.clone(), 8);
            let (first, second) = (blocks_of(&metainfo, 0), blocks_of(&metainfo, 1));
            assert_eq!(give(&mut verifier, first[1], 5_000), Ok(Progress::Within));
            assert_eq!(give(&mut verifier, second[1], 7_000), Ok(Progress::Within));
            assert_eq!(give(&mut verifier, first[0], 3_000), Ok(Progress::Verified(PIECE)));
            let mut bytes = content(PIECE)[..16 << 10].to_vec();
            bytes[16_000] ^= 1;
            let fault = verifier.take(second[0], 0, &bytes).unwrap_err();
            assert!(matches!(fault, Fault::WrongPiece { piece: PieceIndex(1), .. }), "{fault}");
            assert_eq!((verifier.parts.len(), verifier.ahead_bytes), (0, 0));
        }
    }

    #[test]
    fn a_piece_that_is_asked_for_again_while_it_is_in_progress_is_verified_twice() {
        let metainfo = torrent(Format::V2);
        let mut verifier = Verifier::for_depth(metainfo.clone(), 8);
        let blocks = blocks_of(&metainfo, 0);
        for again in [0, 1] {
            assert_eq!(give(&mut verifier, blocks[again], 5_000), Ok(Progress::Within));
            assert_eq!(give(&mut verifier, blocks[again], 7_000), Ok(Progress::Within));
            let other = blocks[1 - again];
            assert_eq!(give(&mut verifier, other, 3_000), Ok(Progress::Verified(PIECE)));
            assert_eq!(give(&mut verifier, other, 9_000), Ok(Progress::Verified(PIECE)));
        }
        assert_eq!((verifier.parts.len(), verifier.ahead_bytes), (0, 0));
    }

    #[test]
    fn a_refused_block_breaks_its_piece_off_and_no_other() {
        let metainfo = torrent(Format::V1);
        let mut verifier = Verifier::for_depth(metainfo.clone(), 8);
        let (first, second) = (blocks_of(&metainfo, 0), blocks_of(&metainfo, 1));
        assert_eq!(give(&mut verifier, first[1], 16 << 10), Ok(Progress::Within));
        assert_eq!(give(&mut verifier, second[0], 16 << 10), Ok(Progress::Within));
        assert_eq!(verifier.lose(first[0]), Progress::BrokenOff);
        assert_eq!(give(&mut verifier, second[1], 16 << 10), Ok(Progress::Verified(PIECE)));
        assert_eq!((verifier.parts.len(), verifier.ahead_bytes), (0, 0));
    }

    #[test]
    fn what_is_kept_ahead_has_a_bound_and_the_fault_names_what_lacks() {
        let metainfo = torrent(Format::V1);
        let mut verifier = Verifier::for_depth(metainfo.clone(), 8);
        verifier.ahead_bytes_max = BLOCK_BYTES as usize;
        let (first, second) = (blocks_of(&metainfo, 0), blocks_of(&metainfo, 1));
        assert_eq!(give(&mut verifier, first[1], 16 << 10), Ok(Progress::Within));
        let fault = give(&mut verifier, second[1], 16 << 10).unwrap_err();
        assert!(fault.to_string().contains("piece 0 lacks its block at 0"), "{fault}");
    }
}
