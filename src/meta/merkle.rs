//! The merkle trees of BEP 52: one for each file, a leaf for each 16 KiB block, SHA-256.
//!
//! Layer 0 is the leaves. A tree has as many leaves as the next power of two of the file's
//! blocks; leaves behind the end are 32 zero bytes. The piece layer is the one whose hashes cover
//! a piece each; a file of at most one piece has none, its root stands for the piece.

mod tree;

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::limits::BLOCK_BYTES;

pub use tree::{FileTree, HashFault, HashRequest, proof_root};

/// A leaf or node of a tree: SHA-256.
pub type Hash = [u8; 32];

/// The leaf of a block of file data, shorter than 16 KiB only at the end of the file.
pub fn block_hash(block: &[u8]) -> Hash {
    Sha256::digest(block).into()
}

/// The node above two nodes.
pub fn parent(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The node at the top of `layer` layers over leaves that all lie behind the end of the file.
pub fn pad_hash(layer: u32) -> Hash {
    (0..layer).fold([0; 32], |below, _| parent(&below, &below))
}

/// Blocks of a file: its leaves without padding.
pub const fn block_count(file_bytes: u64) -> u64 {
    file_bytes.div_ceil(BLOCK_BYTES as u64)
}

/// The layer of the root over so many leaves.
pub const fn height(leaves: u64) -> u32 {
    match leaves.checked_next_power_of_two() {
        Some(width) => width.trailing_zeros(),
        None => 64,
    }
}

/// The layer whose hashes cover a piece each. The length is a power of two of at least 16 KiB.
pub const fn piece_layer(piece_length: u32) -> u32 {
    height((piece_length / BLOCK_BYTES) as u64)
}

/// Folds the first hashes of layer `from` up to the one hash of layer `to` that they lie under.
/// What is missing at the right is padding. No hashes give padding; more than fit under one hash
/// are a caller's mistake and are folded no further than `to`.
pub fn fold(hashes: &[Hash], from: u32, to: u32) -> Hash {
    let mut row = hashes.to_vec();
    let mut pad = pad_hash(from);
    for _ in from..to {
        fold_row(&mut row, &pad);
        pad = parent(&pad, &pad);
    }
    row.first().copied().unwrap_or(pad)
}

/// Replaces a row of nodes by the row above it.
fn fold_row(row: &mut Vec<Hash>, pad: &Hash) {
    let above = row.chunks(2).map(|pair| match pair {
        [left, right] => parent(left, right),
        [left] => parent(left, pad),
        _ => *pad,
    });
    *row = above.collect();
}

/// What a torrent file says of a piece: the root over the leaves of one piece of a file.
/// In a file of at most one piece that is the file's root, whose tree may be lower.
pub fn piece_hash(leaves: &[Hash], piece_length: u32, file_bytes: u64) -> Hash {
    fold(leaves, 0, piece_layer(piece_length).min(height(block_count(file_bytes))))
}

/// The root of a file over its piece layer (BEP 52 "pieces root").
pub fn root(piece_hashes: &[Hash], piece_length: u32, file_bytes: u64) -> Hash {
    let top = height(block_count(file_bytes));
    fold(piece_hashes, piece_layer(piece_length).min(top), top)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "test values")]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heights_are_those_of_the_padded_tree() {
        let heights: Vec<u32> = [0, 1, 2, 3, 4, 5, 8, 9].into_iter().map(height).collect();
        assert_eq!(heights, [0, 0, 1, 2, 2, 3, 3, 4]);
        assert_eq!(piece_layer(16 << 10), 0);
        assert_eq!(piece_layer(64 << 10), 2);
        assert_eq!(block_count(0), 0);
        assert_eq!(block_count((16 << 10) + 1), 2);
    }

    #[test]
    fn a_missing_right_half_is_padding() {
        let leaf = block_hash(b"a");
        let by_hand = parent(&parent(&leaf, &[0; 32]), &pad_hash(1));
        assert_eq!(fold(&[leaf], 0, 2), by_hand);
        assert_eq!(fold(&[], 0, 2), pad_hash(2));
        assert_eq!(pad_hash(1), parent(&[0; 32], &[0; 32]));
    }

    proptest! {
        #[test]
        fn the_root_over_pieces_is_the_root_over_leaves(
            blocks in 1u64..70, piece_shift in 0u32..5,
        ) {
            let leaves: Vec<Hash> = (0..blocks).map(|at| block_hash(&at.to_be_bytes())).collect();
            let file_bytes = blocks * u64::from(BLOCK_BYTES) - 1;
            let piece_length = BLOCK_BYTES << piece_shift;
            let pieces: Vec<Hash> = leaves
                .chunks(1 << piece_shift)
                .map(|leaves| piece_hash(leaves, piece_length, file_bytes))
                .collect();
            let mut padded = leaves.clone();
            padded.resize(leaves.len().next_power_of_two(), [0; 32]);
            while padded.len() > 1 {
                padded = padded.chunks(2).map(|pair| parent(&pair[0], &pair[1])).collect();
            }
            prop_assert_eq!(vec![root(&pieces, piece_length, file_bytes)], padded);
        }
    }
}
