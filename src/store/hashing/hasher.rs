//! What a hashing thread does.

use crossbeam::channel::Receiver;
use ringseed_meta::limits::BLOCK_BYTES;
use ringseed_meta::merkle::{self, Hash};
use ringseed_meta::metainfo::Format;
use ringseed_meta::{Geometry, PieceIndex};
use sha1::{Digest, Sha1};
use tokio::sync::oneshot;

use super::layout::{Part, Slice};

/// A buffer on its way through a hashing thread.
pub(super) struct Work {
    pub part: Part,
    pub buffer: Vec<u8>,
    /// The pieces of the part whose bytes could be read; the others are passed over.
    pub readable: u64,
    /// Of the piece that an earlier part of it began.
    pub state: PieceState,
    /// The pieces that end in this part.
    pub digests: Vec<PieceDigest>,
    /// Where it comes back.
    pub reply: oneshot::Sender<Answer>,
}

/// What comes back.
pub(super) struct Answer {
    pub buffer: Vec<u8>,
    pub state: PieceState,
    pub digests: Vec<PieceDigest>,
}

/// A piece that is not at its end yet.
#[derive(Default)]
pub(super) struct PieceState {
    v1: Sha1,
    leaves: Vec<Hash>,
}

/// The hashes of a piece; those that the format has.
pub(super) struct PieceDigest {
    pub piece: PieceIndex,
    pub v1: Option<[u8; 20]>,
    pub v2: Option<Hash>,
}

/// Hashes until the other end is gone.
pub(super) fn work(geometry: &Geometry, format: Format, queue: &Receiver<Work>) {
    for work in queue {
        let Work { part, buffer, readable, mut state, mut digests, reply } = work;
        for slice in part.slices(geometry).filter(|slice| readable & (1 << slice.place) != 0) {
            let end = slice.at + slice.block.length as usize;
            state.update(geometry, format, &slice, buffer.get(slice.at..end).unwrap_or_default());
            if slice.is_last {
                digests.push(state.finish(geometry, format, slice.block.piece));
            }
        }
        // The reader is gone only when it gave up.
        let _ = reply.send(Answer { buffer, state, digests });
    }
}

impl PieceState {
    fn update(&mut self, geometry: &Geometry, format: Format, slice: &Slice, bytes: &[u8]) {
        if format.has_v1() {
            self.v1.update(bytes);
        }
        if format.has_v2() {
            // Pads are in no merkle tree.
            let content = geometry.file_bytes_in(slice.block.piece).unwrap_or(0);
            let left = content.saturating_sub(slice.block.begin) as usize;
            let content = bytes.get(..left).unwrap_or(bytes);
            self.leaves.extend(content.chunks(BLOCK_BYTES as usize).map(merkle::block_hash));
        }
    }

    fn finish(&mut self, geometry: &Geometry, format: Format, piece: PieceIndex) -> PieceDigest {
        let v1 = format.has_v1().then(|| self.v1.finalize_reset().into());
        let v2 = format.has_v2().then(|| {
            let file = geometry.file_of(piece).and_then(|file| geometry.file(file));
            let file_bytes = file.map_or(0, |file| file.length);
            let hash = merkle::piece_hash(&self.leaves, geometry.piece_length(), file_bytes);
            self.leaves.clear();
            hash
        });
        PieceDigest { piece, v1, v2 }
    }
}
