//! Checks received pieces against the torrent's hashes (`--verify`). Pure.

use std::sync::Arc;

use ringseed_meta::limits::BLOCK_BYTES;
use ringseed_meta::merkle::{self, Hash};
use ringseed_meta::{BlockRef, Metainfo, PieceIndex};
use sha1::{Digest, Sha1};

use crate::fault::Fault;

/// How a stretch of bytes left the piece it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to come.
    Within,
    /// It is whole, so many bytes, and right.
    Verified(u32),
    /// Bytes came out of order, and an earlier piece can no longer be hashed.
    BrokenOff,
}

/// Hashes the pieces of one connection as they come: blocks of a piece in order, pieces one after
/// another. Seeders may answer otherwise; such pieces are broken off, and counted.
#[derive(Debug)]
pub struct Verifier {
    metainfo: Arc<Metainfo>,
    piece: PieceIndex,
    /// Bytes of it so far; 0: none is begun.
    position: u32,
    sha1: Sha1,
    leaves: Vec<Hash>,
    /// What has come of the next leaf.
    leaf: Vec<u8>,
}

impl Verifier {
    /// Nothing begun.
    pub fn new(metainfo: Arc<Metainfo>) -> Verifier {
        Verifier {
            metainfo,
            piece: PieceIndex(0),
            position: 0,
            sha1: Sha1::new(),
            leaves: Vec::new(),
            leaf: Vec::new(),
        }
    }

    /// Takes the bytes that stand `at` bytes into a block.
    pub fn take(&mut self, block: BlockRef, at: u32, bytes: &[u8]) -> Result<Progress, Fault> {
        let begin = block.begin + at;
        let mut progress = Progress::Within;
        if (block.piece, begin) != (self.piece, self.position) || self.position == 0 {
            if self.position > 0 {
                progress = Progress::BrokenOff;
            }
            (self.piece, self.position) = (block.piece, 0);
            self.sha1 = Sha1::new();
            self.leaves.clear();
            self.leaf.clear();
            if begin > 0 {
                return Ok(progress);
            }
        }
        self.position += bytes.len() as u32;
        self.hash(bytes);
        if self.metainfo.geometry().piece_bytes(self.piece) != Some(self.position) {
            return Ok(progress);
        }
        let length = std::mem::take(&mut self.position);
        if self.is_right() { Ok(Progress::Verified(length)) } else { Err(self.wrong_piece()) }
    }

    /// Where the piece lies, for the person who must find out why.
    fn wrong_piece(&self) -> Fault {
        let geometry = self.metainfo.geometry();
        let offset = u64::from(self.piece.0) * u64::from(geometry.piece_length());
        let whole = geometry.whole_piece(self.piece);
        let spans = whole.into_iter().flat_map(|whole| geometry.spans(whole));
        let places = spans.filter(|span| !span.is_pad).filter_map(|span| {
            let path = geometry.file(span.file)?.path;
            Some(format!("'{path}' at byte {}", span.offset))
        });
        Fault::WrongPiece { piece: self.piece, offset, places: places.collect() }
    }

    fn is_v1(&self) -> bool {
        self.metainfo.info_hash_v1().is_some()
    }

    fn hash(&mut self, mut bytes: &[u8]) {
        if self.is_v1() {
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

    /// Whether the piece that has come to its end has the torrent's hash.
    fn is_right(&mut self) -> bool {
        if self.is_v1() {
            let is = self.sha1.finalize_reset();
            return self.metainfo.piece_hash_v1(self.piece).is_some_and(|right| *right == is[..]);
        }
        if !self.leaf.is_empty() {
            self.close_leaf();
        }
        let geometry = self.metainfo.geometry();
        let file = geometry.file_of(self.piece).and_then(|file| geometry.file(file));
        let Some(file) = file else { return false };
        let is = merkle::piece_hash(&self.leaves, geometry.piece_length(), file.length);
        self.metainfo.piece_hash_v2(self.piece) == Some(&is)
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
                let mut verifier = Verifier::new(metainfo.clone());
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
            let mut verifier = Verifier::new(metainfo.clone());
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
    fn a_piece_out_of_order_is_broken_off_and_the_next_one_is_verified() {
        let metainfo = torrent(Format::V1);
        let mut verifier = Verifier::new(metainfo.clone());
        let (first, second) = (blocks_of(&metainfo, 0), blocks_of(&metainfo, 1));
        assert_eq!(give(&mut verifier, first[1], 16 << 10), Ok(Progress::Within));
        assert_eq!(give(&mut verifier, first[0], 16 << 10), Ok(Progress::Within));
        assert_eq!(give(&mut verifier, second[0], 16 << 10), Ok(Progress::BrokenOff));
        assert_eq!(give(&mut verifier, second[1], 16 << 10), Ok(Progress::Verified(PIECE)));
    }
}
