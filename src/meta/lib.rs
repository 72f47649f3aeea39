//! The nouns of a torrent, pure: no socket, no file, no clock.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bencode;
pub mod bitfield;
pub mod geometry;
pub mod limits;
pub mod magnet;
pub mod merkle;
pub mod metainfo;
pub mod tracker_set;
pub mod units;

pub use bitfield::Bitfield;
pub use geometry::Geometry;
pub use magnet::Magnet;
pub use metainfo::Metainfo;
pub use units::{
    BlockRef, FileIndex, InfoHash, InfoHashV2, Instant, PeerId, PieceIndex, TorrentId,
};
