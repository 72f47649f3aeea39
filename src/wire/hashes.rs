//! Hash requests (BEP 52): which part of a file's merkle tree is asked for, and how much answers it.

use bytes::BufMut;

use crate::limits;

/// Bytes of a hash request behind its id.
pub(crate) const HASH_REQUEST_BYTES: usize = 48;

/// Bytes of a leaf's block (BEP 52).
const LEAF_BYTES: u64 = 16 * 1024;

/// The payload that hash request, hashes and hash reject share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HashRequest {
    /// Root hash of the file.
    pub pieces_root: [u8; 32],
    /// Layers between the leaves and the hashes asked for.
    pub base_layer: u32,
    /// First hash of the base layer asked for.
    pub index: u32,
    /// Hashes of the base layer asked for.
    pub length: u32,
    /// Layers of ancestors asked for, counted from the one above the base layer.
    pub proof_layers: u32,
}

/// Why a hash request is answered with a hash reject.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HashRefusal {
    /// BEP 52: "Length MUST be equal-to-or-greater-than two and a power of two."
    #[error("{0} hashes are asked for; a power of two of at least 2 is needed")]
    Length(u32),
    /// BEP 52: "Length SHOULD NOT be greater than 512."
    #[error("{0} hashes are asked for; at most {most} are served", most = limits::HASHES_MAX)]
    TooMany(u32),
    /// BEP 52: "Index MUST be a multiple of length".
    #[error("hash {index} is no multiple of the {length} asked for")]
    Index {
        /// First hash.
        index: u32,
        /// Hashes.
        length: u32,
    },
    /// The hashes do not lie within the file's tree.
    #[error("hashes {index} and on of layer {base_layer} lie outside the file's tree")]
    OutsideTree {
        /// First hash.
        index: u32,
        /// The layer.
        base_layer: u32,
    },
    /// More ancestors are asked for than the tree has.
    #[error("{0} proof layers are asked for, more than the file's tree has")]
    ProofLayers(u32),
}

impl HashRequest {
    pub(crate) fn parse(payload: &[u8; HASH_REQUEST_BYTES]) -> HashRequest {
        let mut pieces_root = [0; 32];
        let (root, numbers) = payload.split_at(32);
        pieces_root.iter_mut().zip(root).for_each(|(to, from)| *to = *from);
        let mut numbers =
            numbers.as_chunks::<4>().0.iter().map(|number| u32::from_be_bytes(*number));
        let mut next = || numbers.next().unwrap_or(0);
        HashRequest {
            pieces_root,
            base_layer: next(),
            index: next(),
            length: next(),
            proof_layers: next(),
        }
    }

    pub(crate) fn write(&self, out: &mut impl BufMut) {
        out.put_slice(&self.pieces_root);
        out.put_u32(self.base_layer);
        out.put_u32(self.index);
        out.put_u32(self.length);
        out.put_u32(self.proof_layers);
    }

    /// Judges the request against the file of `file_bytes` that has this root, and tells how
    /// many uncle hashes the answer has behind its `length` hashes of the base layer.
    ///
    /// # Errors
    /// Why it is to be rejected.
    pub fn judge(&self, file_bytes: u64) -> Result<u32, HashRefusal> {
        let HashRequest { base_layer, index, length, proof_layers, .. } = *self;
        if length < 2 || !length.is_power_of_two() {
            return Err(HashRefusal::Length(length));
        }
        if length > limits::HASHES_MAX {
            return Err(HashRefusal::TooMany(length));
        }
        if !index.is_multiple_of(length) {
            return Err(HashRefusal::Index { index, length });
        }
        let leaves = file_bytes.div_ceil(LEAF_BYTES).max(1).checked_next_power_of_two();
        let leaves = leaves.unwrap_or(0);
        let layer_hashes = leaves.checked_shr(base_layer).unwrap_or(0);
        let end = u64::from(index).saturating_add(u64::from(length));
        if end > layer_hashes {
            return Err(HashRefusal::OutsideTree { index, base_layer });
        }
        // Between the base layer and the root; `layer_hashes` is a power of two, at least 2.
        let layers_above = layer_hashes.trailing_zeros().saturating_sub(1);
        if proof_layers > layers_above {
            return Err(HashRefusal::ProofLayers(proof_layers));
        }
        // BEP 52: "the first log2(length)-1 proof layers are omitted".
        let omitted = length.trailing_zeros().saturating_sub(1);
        Ok(proof_layers.saturating_sub(omitted))
    }
}
