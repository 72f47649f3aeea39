//! What hash request, hashes and hash reject carry (BEP 52): which part of which file's tree.

use bytes::BufMut;
use ringseed_meta::merkle;

/// Bytes of a hash request behind its id.
pub(crate) const HASH_REQUEST_BYTES: usize = 48;

/// The payload that hash request, hashes and hash reject share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HashRequest {
    /// Root hash of the file.
    pub pieces_root: merkle::Hash,
    /// Layers between the leaves and the hashes asked for.
    pub base_layer: u32,
    /// First hash of the base layer asked for.
    pub index: u32,
    /// Hashes of the base layer asked for.
    pub length: u32,
    /// Layers of ancestors asked for, counted from the one above the base layer.
    pub proof_layers: u32,
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

    /// The request within its file, as [`FileTree::check`](merkle::FileTree::check) judges and
    /// answers it.
    pub fn in_file(&self) -> merkle::HashRequest {
        let HashRequest { base_layer, index, length, proof_layers, .. } = *self;
        merkle::HashRequest { base_layer, index, length, proof_layers }
    }
}
