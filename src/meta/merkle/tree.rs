//! Answers hash requests (BEP 52) from the piece layer and, below it, the leaves of a few pieces.

use alloc::vec::Vec;
use core::ops::Range;

use super::{Hash, block_count, fold, fold_row, height, pad_hash, parent, piece_layer};
use crate::limits::HASHES_PER_REQUEST_MAX;

/// A hash request, named as in BEP 52. The file is named by its pieces root, outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HashRequest {
    /// Lowest layer asked for, 0 being the leaves.
    pub base_layer: u32,
    /// First hash within the base layer; a multiple of `length`.
    pub index: u32,
    /// Hashes of the base layer: a power of two, at least 2.
    pub length: u32,
    /// Layers above the base layer whose uncle hashes are asked for.
    pub proof_layers: u32,
}

/// Why a hash request is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HashFault {
    /// `length` is no power of two of at least 2, or past the limit.
    #[error("{0} hashes; a power of two from 2 to {HASHES_PER_REQUEST_MAX} is needed")]
    Length(u32),
    /// `index` is no multiple of `length`.
    #[error("hash index {index} is no multiple of the length {length}")]
    Unaligned {
        /// As requested.
        index: u32,
        /// As requested.
        length: u32,
    },
    /// The file has no such hashes.
    #[error("hashes {index} and on of layer {base_layer} lie outside the tree of the file")]
    OutOfRange {
        /// As requested.
        base_layer: u32,
        /// As requested.
        index: u32,
    },
    /// More proof layers than there are between the base layer and the root.
    #[error("{proof_layers} proof layers; at most {most} lie below the root")]
    ProofLayers {
        /// As requested.
        proof_layers: u32,
        /// As many as there are.
        most: u32,
    },
    /// The leaves that were handed in are not those that [`FileTree::leaves_needed`] names.
    #[error("{given} leaves were read for a request that needs {needed}")]
    WrongLeaves {
        /// Leaves handed in.
        given: usize,
        /// Leaves named.
        needed: u64,
    },
}

/// The upper part of a file's tree: from the piece layer to the root. 64 bytes a piece.
#[derive(Clone, Debug)]
pub struct FileTree {
    /// The piece layer first, the root last, without padding.
    rows: Vec<Vec<Hash>>,
    /// Layer of the first row.
    piece_layer: u32,
    height: u32,
    blocks: u64,
}

impl FileTree {
    /// The tree over the piece layer of a file; of a file of at most one piece that is its root.
    pub fn new(piece_hashes: &[Hash], piece_length: u32, file_bytes: u64) -> FileTree {
        let blocks = block_count(file_bytes);
        let height = height(blocks);
        let piece_layer = piece_layer(piece_length).min(height);
        let mut row = piece_hashes.to_vec();
        let mut pad = pad_hash(piece_layer);
        let mut rows = Vec::new();
        for _ in piece_layer..height {
            let above = {
                let mut above = row.clone();
                fold_row(&mut above, &pad);
                above
            };
            rows.push(core::mem::replace(&mut row, above));
            pad = parent(&pad, &pad);
        }
        rows.push(row);
        FileTree { rows, piece_layer, height, blocks }
    }

    /// The pieces root.
    pub fn root(&self) -> Hash {
        self.rows.last().and_then(|row| row.first()).copied().unwrap_or_default()
    }

    /// Whether the request can be answered.
    ///
    /// # Errors
    /// [`HashFault`] says what is wrong with it.
    pub fn check(&self, request: HashRequest) -> Result<(), HashFault> {
        let HashRequest { base_layer, index, length, proof_layers } = request;
        if !length.is_power_of_two() || !(2..=HASHES_PER_REQUEST_MAX).contains(&length) {
            return Err(HashFault::Length(length));
        }
        if !index.is_multiple_of(length) {
            return Err(HashFault::Unaligned { index, length });
        }
        let levels = self.height.checked_sub(base_layer).filter(|&levels| levels > 0);
        let outside = HashFault::OutOfRange { base_layer, index };
        let most = levels.ok_or(outside)?.saturating_sub(1);
        // Wider than the padded layer, or padding alone.
        let width = 1u64.checked_shl(most.saturating_add(1)).unwrap_or(u64::MAX);
        let first_leaf = u64::from(index).checked_shl(base_layer).unwrap_or(u64::MAX);
        if u64::from(length) > width || first_leaf >= self.blocks {
            return Err(outside);
        }
        if proof_layers > most {
            return Err(HashFault::ProofLayers { proof_layers, most });
        }
        Ok(())
    }

    /// The leaves that must be read from the file for the answer, in whole pieces and cut at the
    /// end of the file; empty when the piece layer suffices.
    ///
    /// # Errors
    /// As [`FileTree::check`].
    pub fn leaves_needed(&self, request: HashRequest) -> Result<Range<u64>, HashFault> {
        self.check(request)?;
        if request.base_layer >= self.piece_layer {
            return Ok(0..0);
        }
        let leaf = |at: u32| u64::from(at) << request.base_layer;
        let end = leaf(request.index.saturating_add(request.length)).min(self.blocks);
        let piece = 1u64 << self.piece_layer;
        let start = leaf(request.index) & !(piece.saturating_sub(1));
        Ok(start..end.next_multiple_of(piece).min(self.blocks))
    }

    /// The hashes of the answer: the base layer, then uncles from below to above.
    ///
    /// # Errors
    /// As [`FileTree::check`], and [`HashFault::WrongLeaves`].
    pub fn answer(&self, request: HashRequest, leaves: &[Hash]) -> Result<Vec<Hash>, HashFault> {
        let range = self.leaves_needed(request)?;
        let needed = range.end.saturating_sub(range.start);
        if leaves.len() as u64 != needed {
            return Err(HashFault::WrongLeaves { given: leaves.len(), needed });
        }
        let HashRequest { base_layer, index, length, proof_layers } = request;
        let below = Leaves { first: range.start, hashes: leaves };
        let end = index.saturating_add(length);
        let base = (index..end).map(|at| self.node(base_layer, u64::from(at), below));
        // "A proof layer is omitted if the requested hashes include the entire child layer.
        // [..] The ommitted layers are still counted towards the requested proof layers."
        let first = length.trailing_zeros();
        let uncles = (first..=proof_layers).map(|up| {
            let ancestor = u64::from(index).checked_shr(up).unwrap_or(0);
            self.node(base_layer.saturating_add(up), ancestor ^ 1, below)
        });
        Ok(base.chain(uncles).collect())
    }

    fn node(&self, layer: u32, index: u64, leaves: Leaves<'_>) -> Hash {
        if let Some(up) = layer.checked_sub(self.piece_layer) {
            let row = self.rows.get(up as usize);
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            return row.and_then(|row| row.get(at)).copied().unwrap_or_else(|| pad_hash(layer));
        }
        let first = (index << layer).saturating_sub(leaves.first);
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let end = first.saturating_add(1 << layer).min(leaves.hashes.len());
        fold(leaves.hashes.get(first..end).unwrap_or_default(), 0, layer)
    }
}

#[derive(Clone, Copy)]
struct Leaves<'a> {
    first: u64,
    hashes: &'a [Hash],
}

/// The node that the hashes of an answer prove: the pieces root when all proof layers were asked
/// for. `None` when their number does not fit the request.
pub fn proof_root(request: HashRequest, hashes: &[Hash]) -> Option<Hash> {
    let HashRequest { base_layer, index, length, proof_layers } = request;
    if !length.is_power_of_two() || length < 2 {
        return None;
    }
    let first = length.trailing_zeros();
    let (base, uncles) = hashes.split_at_checked(length as usize)?;
    if uncles.len() as u64 != u64::from(proof_layers.saturating_add(1).saturating_sub(first)) {
        return None;
    }
    let mut node = fold(base, base_layer, base_layer.checked_add(first)?);
    let mut at = u64::from(index).checked_shr(first)?;
    for uncle in uncles {
        node = if at & 1 == 0 { parent(&node, uncle) } else { parent(uncle, &node) };
        at >>= 1;
    }
    Some(node)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "test values")]
#[allow(clippy::cast_possible_truncation, reason = "test values")]
mod tests {
    use proptest::prelude::*;

    use super::super::{block_hash, piece_hash};
    use super::*;
    use crate::limits::BLOCK_BYTES;

    fn leaves(blocks: u64) -> Vec<Hash> {
        (0..blocks).map(|at| block_hash(&at.to_be_bytes())).collect()
    }

    fn tree(blocks: u64, piece_shift: u32) -> FileTree {
        let (bytes, piece_length) = (blocks * u64::from(BLOCK_BYTES), BLOCK_BYTES << piece_shift);
        let leaves = leaves(blocks);
        let pieces = leaves.chunks(1 << piece_shift);
        let pieces: Vec<Hash> = pieces.map(|l| piece_hash(l, piece_length, bytes)).collect();
        FileTree::new(&pieces, piece_length, bytes)
    }

    fn request(base_layer: u32, index: u32, length: u32, proof_layers: u32) -> HashRequest {
        HashRequest { base_layer, index, length, proof_layers }
    }

    #[test]
    fn requests_outside_the_tree_are_refused() {
        let tree = tree(12, 1);
        assert_eq!(tree.check(request(0, 0, 3, 0)), Err(HashFault::Length(3)));
        assert_eq!(tree.check(request(0, 0, 1, 0)), Err(HashFault::Length(1)));
        assert_eq!(tree.check(request(0, 0, 1024, 0)), Err(HashFault::Length(1024)));
        let unaligned = HashFault::Unaligned { index: 2, length: 4 };
        assert_eq!(tree.check(request(0, 2, 4, 0)), Err(unaligned));
        let most = HashFault::ProofLayers { proof_layers: 4, most: 3 };
        assert_eq!(tree.check(request(0, 0, 2, 4)), Err(most));
        for outside in [request(4, 0, 2, 0), request(0, 12, 2, 0), request(u32::MAX, 0, 2, 0)] {
            assert!(matches!(tree.check(outside), Err(HashFault::OutOfRange { .. })));
        }
        assert!(matches!(tree.check(request(0, 0, 32, 0)), Err(HashFault::OutOfRange { .. })));
        assert_eq!(tree.check(request(0, 0, 16, 3)), Ok(()));
    }

    #[test]
    fn the_piece_layer_needs_no_leaves_and_leaves_come_in_whole_pieces() {
        let tree = tree(13, 2);
        assert_eq!(tree.leaves_needed(request(2, 0, 4, 1)), Ok(0..0));
        assert_eq!(tree.leaves_needed(request(0, 2, 2, 3)), Ok(0..4));
        assert_eq!(tree.leaves_needed(request(0, 8, 8, 3)), Ok(8..13));
        let wrong = HashFault::WrongLeaves { given: 0, needed: 4 };
        assert_eq!(tree.answer(request(0, 0, 2, 3), &[]), Err(wrong));
    }

    proptest! {
        #[test]
        fn every_answer_with_all_proof_layers_proves_the_root(
            blocks in 2u64..100, piece_shift in 0u32..4, base_layer: u32,
            shift: u32, index: u32, fewer in 0u32..3,
        ) {
            let tree = tree(blocks, piece_shift);
            let base_layer = base_layer % tree.height;
            let length = 2 << (shift % (tree.height - base_layer));
            let present = blocks.div_ceil(1 << base_layer) as u32;
            let index = index % present.div_ceil(length) * length;
            let most = tree.height - base_layer - 1;
            let mut request = request(base_layer, index, length, most);
            prop_assert_eq!(tree.check(request), Ok(()));
            let range = tree.leaves_needed(request).unwrap();
            let leaves = &leaves(blocks)[range.start as usize..range.end as usize];
            let hashes = tree.answer(request, leaves).unwrap();
            prop_assert_eq!(proof_root(request, &hashes), Some(tree.root()));
            // Fewer proof layers leave out the upper uncles.
            request.proof_layers = most.saturating_sub(fewer);
            let shorter = tree.answer(request, leaves).unwrap();
            prop_assert!(hashes.starts_with(&shorter));
            prop_assert!(proof_root(request, &shorter).is_some());
        }

        #[test]
        fn any_request_is_answered_or_refused(
            base_layer: u32, index: u32, length: u32, proof_layers: u32,
        ) {
            let tree = tree(20, 1);
            let request = HashRequest { base_layer, index, length, proof_layers };
            let _ = tree.answer(request, &[]);
            let _ = proof_root(request, &[[0; 32]; 3]);
        }
    }
}
