//! The .torrent file: v1 (BEP 3), v2 and hybrid (BEP 52), read and checked once.
//!
//! What passes [`Metainfo::parse`] is consistent: the number of hashes fits the files, piece
//! layers fold up to their roots, both halves of a hybrid describe the same files, and every path
//! is clean: relative, without `.`, `..`, separators in names or NUL, and no two collide. The
//! bytes of `info` are kept as they were read; nothing is ever written anew.

mod build;
mod error;
mod files;
mod layers;
mod names;
mod outer;
#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "test values")]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use sha1::{Digest, Sha1};
use sha2::Sha256;

pub use build::{Blueprint, BuildError, Format, PieceHashes, Root, piece_length_for};
pub use error::{MetainfoError, NameFault, Warning};
pub use outer::Outer;

use crate::bencode::{self, Value};
use crate::geometry::Layout;
use crate::limits::{PIECE_BYTES_MAX, PIECE_BYTES_MIN_V2, TORRENT_FILE, WARNINGS_MAX};
use crate::merkle::Hash;
use crate::{FileIndex, Geometry, InfoHash, InfoHashV2, PieceIndex};
use error::{need_bytes, need_dict, need_uint};
use files::FileList;
use layers::Layers;

/// Everything a .torrent file says that we use.
#[derive(Clone, Debug)]
pub struct Metainfo {
    name: Box<str>,
    info: Arc<[u8]>,
    /// The v1 hashes within `info`; empty without v1.
    pieces: Range<usize>,
    info_hash_v1: Option<InfoHash>,
    info_hash_v2: Option<InfoHashV2>,
    geometry: Arc<Geometry>,
    layers: Option<Layers>,
    private: bool,
    source: Option<Box<str>>,
    outer: Outer,
    warnings: Warnings,
}

/// What was odd but did no harm; at most [`WARNINGS_MAX`].
#[derive(Clone, Debug, Default)]
struct Warnings(Vec<Warning>);

impl Warnings {
    fn push(&mut self, warning: Warning) {
        if self.0.len() < WARNINGS_MAX {
            self.0.push(warning);
        }
    }
}

impl Metainfo {
    /// Reads a .torrent file.
    ///
    /// # Errors
    /// [`MetainfoError`] names what is wrong, where it stands, and what would be right.
    pub fn parse(bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
        let document = bencode::parse_prefix(bytes, &TORRENT_FILE)?;
        let mut warnings = Warnings::default();
        if let Some(offset) = document.unsorted_key() {
            warnings.push(Warning::UnsortedKeys { offset });
        }
        match bytes.len().saturating_sub(document.end()) {
            0 => {}
            count => warnings.push(Warning::TrailingBytes { offset: document.end(), count }),
        }
        let root = need_dict(document.root(), "the torrent")?.value();
        let info = need(root, "info")?;
        need_dict(info, "info")?;
        let mut metainfo = read_info(info, root.get(b"piece layers"), &mut warnings)?;
        metainfo.outer = Outer::read(root, &mut warnings);
        metainfo.warnings = warnings;
        Ok(metainfo)
    }

    /// The torrent's name: one clean path element.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes of the info dictionary, as peers ask for them (BEP 9).
    pub fn info_bytes(&self) -> &Arc<[u8]> {
        &self.info
    }

    /// SHA-1 of the info dictionary, if it describes a v1 torrent.
    pub fn info_hash_v1(&self) -> Option<InfoHash> {
        self.info_hash_v1
    }

    /// SHA-256 of the info dictionary, if it describes a v2 torrent.
    pub fn info_hash_v2(&self) -> Option<InfoHashV2> {
        self.info_hash_v2
    }

    /// v1, v2 or both.
    pub fn format(&self) -> Format {
        match (self.info_hash_v1, self.info_hash_v2) {
            (Some(_), Some(_)) => Format::Hybrid,
            (None, Some(_)) => Format::V2,
            (_, None) => Format::V1,
        }
    }

    /// The names of the torrent's swarms: one, or two for a hybrid, v1 first.
    pub fn swarms(&self) -> impl Iterator<Item = InfoHash> + Clone + use<> {
        let truncated = self.info_hash_v2.map(|hash| hash.truncated());
        self.info_hash_v1.into_iter().chain(truncated)
    }

    /// The map between pieces and files. A hybrid's has the pads of its v1 half.
    pub fn geometry(&self) -> &Arc<Geometry> {
        &self.geometry
    }

    /// SHA-1 of a piece, pads included, if this is v1 and has such a piece.
    pub fn piece_hash_v1(&self, piece: PieceIndex) -> Option<&[u8; 20]> {
        let hashes = self.info.get(self.pieces.clone())?;
        hashes.as_chunks().0.get(piece.0 as usize)
    }

    /// Merkle hash of a piece without pads, if this is v2 and has such a piece (see
    /// [`crate::merkle::piece_hash`]).
    pub fn piece_hash_v2(&self, piece: PieceIndex) -> Option<&Hash> {
        let file = self.geometry.file_of(piece)?;
        let first = self.geometry.pieces_of(file).start;
        self.piece_layer(file)?.get(piece.0.checked_sub(first)? as usize)
    }

    /// The root of a file's merkle tree, if this is v2 and the file is not empty.
    pub fn pieces_root(&self, file: FileIndex) -> Option<&Hash> {
        self.layers.as_ref()?.root(file)
    }

    /// The piece layer of a file, if this is v2 and the file is not empty. Of a file of at most
    /// one piece that is its root alone.
    pub fn piece_layer(&self, file: FileIndex) -> Option<&[Hash]> {
        self.layers.as_ref()?.layer(file, &self.geometry)
    }

    /// The first file with this pieces root, as hash requests name files (BEP 52).
    pub fn file_by_root(&self, root: &Hash) -> Option<FileIndex> {
        self.layers.as_ref()?.file_by_root(root)
    }

    /// Whether peers may come from trackers only (BEP 27).
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// Where it was published; part of the infohash.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// What stands outside the info dictionary: trackers, web seeds, remarks.
    pub fn outer(&self) -> &Outer {
        &self.outer
    }

    /// What was odd but did no harm.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings.0
    }
}

/// Reads the info dictionary and what belongs to its hashes; the rest is left empty.
fn read_info(
    info: Value<'_>,
    piece_layers: Option<Value<'_>>,
    warnings: &mut Warnings,
) -> Result<Metainfo, MetainfoError> {
    let is_v2 = match info.get(b"meta version") {
        Some(version) if version.as_int() == Some(2) => true,
        Some(version) => {
            let offset = version.offset();
            return Err(MetainfoError::Version { version: version.as_int(), offset });
        }
        None => false,
    };
    let pieces = info.get(b"pieces");
    if !is_v2 && pieces.is_none() {
        return Err(MetainfoError::NeitherFormat { offset: info.offset() });
    }
    let piece_length = piece_length(info, is_v2)?;
    let name_value = info.get(b"name.utf-8").or(info.get(b"name"));
    let name_value = name_value.ok_or(missing(info, "name"))?;
    let mut name = String::new();
    names::push_clean(&mut name, name_value, warnings)?;

    let v1 = pieces.map(|_| FileList::read_v1(info, &name, warnings)).transpose()?;
    let tree = if is_v2 { Some(need(info, "file tree")?) } else { None };
    let v2 = tree.map(|tree| FileList::read_v2(tree, &name, warnings)).transpose()?;
    let aligned = v2.as_ref().map(|list| list.geometry(piece_length, Layout::Aligned));
    let aligned = aligned.transpose()?;
    let packed = v1.as_ref().map(|list| list.geometry(piece_length, Layout::Packed));
    let packed = packed.transpose()?;
    if let (Some(v1), Some(v2)) = (&packed, &aligned) {
        files::same_content(v1, v2)?;
    }
    let geometry = packed.or(aligned).ok_or(missing(info, "pieces"))?;
    names::refuse_collisions(&geometry)?;
    let pieces = match pieces {
        Some(value) => v1_pieces(value, &geometry, info.offset())?,
        None => 0..0,
    };
    let layers = v2.map(|list| Layers::read(&list, &geometry, piece_layers)).transpose()?;
    let source = info.get(b"source").and_then(|source| source.as_str()).map(Box::from);
    Ok(Metainfo {
        name: name.into_boxed_str(),
        info: info.raw().into(),
        info_hash_v1: v1.is_some().then(|| InfoHash(Sha1::digest(info.raw()).into())),
        info_hash_v2: is_v2.then(|| InfoHashV2(Sha256::digest(info.raw()).into())),
        pieces,
        geometry: Arc::new(geometry),
        layers,
        private: info.get(b"private").and_then(|private| private.as_int()) == Some(1),
        source,
        outer: Outer::default(),
        warnings: Warnings::default(),
    })
}

fn missing(dict: Value<'_>, key: &'static str) -> MetainfoError {
    MetainfoError::Missing { key, offset: dict.offset() }
}

fn need<'d>(dict: Value<'d>, key: &'static str) -> Result<Value<'d>, MetainfoError> {
    dict.get(key.as_bytes()).ok_or(missing(dict, key))
}

fn piece_length(info: Value<'_>, is_v2: bool) -> Result<u64, MetainfoError> {
    let value = need(info, "piece length")?;
    let offset = value.offset();
    let length = match value.as_int() {
        Some(length) if length <= 0 => return Err(bad_piece_length(length, offset, is_v2)),
        _ => need_uint(value, "piece length")?,
    };
    let fits_v1 = length <= u64::from(PIECE_BYTES_MAX);
    let fits_v2 = length.is_power_of_two() && length >= u64::from(PIECE_BYTES_MIN_V2);
    if !fits_v1 || (is_v2 && !fits_v2) {
        return Err(bad_piece_length(i64::try_from(length).unwrap_or(i64::MAX), offset, is_v2));
    }
    Ok(length)
}

fn bad_piece_length(length: i64, offset: usize, is_v2: bool) -> MetainfoError {
    if is_v2 {
        MetainfoError::PieceLengthV2 { length, offset }
    } else {
        MetainfoError::PieceLengthV1 { length, offset }
    }
}

/// Where the v1 hashes stand within the info dictionary that begins at `info_offset`.
fn v1_pieces(
    value: Value<'_>,
    geometry: &Geometry,
    info_offset: usize,
) -> Result<Range<usize>, MetainfoError> {
    let bytes = need_bytes(value, "pieces")?.len();
    let piece_count = geometry.piece_count();
    if bytes as u64 != u64::from(piece_count).saturating_mul(20) {
        return Err(MetainfoError::PiecesLength { bytes, piece_count, offset: value.offset() });
    }
    let range = value.contents().unwrap_or_default();
    Ok(range.start.saturating_sub(info_offset)..range.end.saturating_sub(info_offset))
}
