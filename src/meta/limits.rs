//! What a torrent may contain at most, and why. Reaching a limit is an error that names it.

use crate::bencode;

/// Bytes of a .torrent file. 2 Mi v1 piece hashes are 40 MiB, the v2 layer of as many pieces
/// 64 MiB; real ones with more than 20 MiB are unheard of.
pub const TORRENT_FILE_BYTES_MAX: usize = 64 << 20;

/// Values in a .torrent file: some 30 for each file of a hybrid with its pad.
/// Each costs 16 bytes while it is parsed.
pub const TORRENT_FILE_VALUES_MAX: usize = 8 << 20;

/// Files of a torrent, pads included (a hybrid of 100,000 files has 100,000 pads).
pub const FILES_MAX: usize = 1 << 18;

/// Pieces of a torrent. The bitfield of as many takes 256 KiB, the largest message a peer sends.
pub const PIECES_MAX: u32 = 1 << 21;

/// Bytes of a piece, so that all positions within a piece fit 32 bits with room to add.
pub const PIECE_BYTES_MAX: u32 = 512 << 20;

/// Bytes of a v2 piece at least: one leaf of its merkle tree (BEP 52).
pub const PIECE_BYTES_MIN_V2: u32 = 16 << 10;

/// Bytes of the block that a merkle leaf covers (BEP 52) and that peers request.
pub const BLOCK_BYTES: u32 = 16 << 10;

/// Bytes of a block that is served. All clients ask for 16 KiB; 128 KiB was the old custom's end.
pub const BLOCK_BYTES_MAX: u32 = 128 << 10;

/// Directories within each other in a torrent, the file included.
pub const PATH_DEPTH_MAX: usize = 100;

/// Bytes of a file or directory name: Linux's NAME_MAX.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a path within a torrent: Linux's PATH_MAX less room for the folder it stands in.
pub const PATH_BYTES_MAX: usize = 3 << 10;

/// Bytes of all paths of a torrent together: nested dictionaries share names, our list does not.
pub const PATHS_BYTES_MAX: usize = 64 << 20;

/// Hashes of the base layer that one hash request may ask for. BEP 52: "Length SHOULD NOT be
/// greater than 512."
pub const HASHES_PER_REQUEST_MAX: u32 = 512;

/// Trackers of a torrent, all tiers together (BEP 12). Each costs connections and time.
pub const TRACKERS_MAX: usize = 256;

/// Trackers of a set that a torrent lists, those that come first for it: a client that finds the first
/// silent goes on to the next, and three that are silent at a time are no accident.
pub const TRACKER_SET_LISTED: usize = 4;

/// Web seeds of a torrent (BEP 19).
pub const WEB_SEEDS_MAX: usize = 256;

/// Warnings kept of one .torrent file; the first ones tell what is wrong with it.
pub const WARNINGS_MAX: usize = 16;

/// Bytes of one URL.
pub const URL_BYTES_MAX: usize = 2 << 10;

/// Bytes of a magnet link.
pub const MAGNET_BYTES_MAX: usize = 64 << 10;

/// Peers named in a magnet link (BEP 9, x.pe).
pub const MAGNET_PEERS_MAX: usize = 256;

/// Containers within each other in a .torrent file: the file tree (BEP 52) takes one for each
/// directory; dictionary, info, file tree, file and its properties come on top.
pub const TORRENT_FILE_DEPTH_MAX: usize = PATH_DEPTH_MAX + 8;

/// The three that bound the parsing of a .torrent file.
pub const TORRENT_FILE: bencode::Limits = bencode::Limits {
    bytes_max: TORRENT_FILE_BYTES_MAX,
    depth_max: TORRENT_FILE_DEPTH_MAX,
    values_max: TORRENT_FILE_VALUES_MAX,
};

// Geometry keeps the ends of paths and the places of piece layers in 32 bits.
const _: () = assert!(PATHS_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(TORRENT_FILE_BYTES_MAX <= u32::MAX as usize);
// A piece index and a byte in a torrent never overflow.
const _: () = assert!((PIECES_MAX as u64) * (PIECE_BYTES_MAX as u64) <= 1 << 50);
const _: () = assert!(BLOCK_BYTES_MAX <= PIECE_BYTES_MAX);
