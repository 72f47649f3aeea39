//! Makes .torrent files: a [`Blueprint`] lays the files out, hashing follows its geometry, and
//! the hashes make it a metainfo.
//!
//! A hybrid has a pad behind each file that does not end a piece, the last one included unless
//! it is the only one: so does libtorrent 2.1, and the infohashes are the same.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::names::check_name;
use super::{NameFault, Outer};
use crate::bencode::{DictWriter, Writer};
use crate::geometry::{FileKind, GeometryBuilder, GeometryError, Layout};
use crate::limits::{
    PATH_BYTES_MAX, PATH_DEPTH_MAX, PIECE_BYTES_MAX, PIECE_BYTES_MIN_V2, PIECES_MAX,
};
use crate::merkle::{self, Hash};
use crate::{FileIndex, Geometry};

/// Which generations of the protocol a torrent is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// BEP 3: SHA-1. All clients read it.
    V1,
    /// BEP 52: SHA-256 merkle trees.
    V2,
    /// Both at once, with two infohashes and two swarms.
    Hybrid,
}

impl Format {
    /// Whether pieces have SHA-1 hashes.
    pub fn has_v1(self) -> bool {
        self != Format::V2
    }

    /// Whether files have merkle trees.
    pub fn has_v2(self) -> bool {
        self != Format::V1
    }
}

/// What the name of the torrent stands for on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root {
    /// One file.
    File,
    /// A folder of files.
    Folder,
}

/// Why there can be no such torrent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BuildError {
    /// The layout has an error of its own.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A path has a name that no client would accept.
    #[error("the name in '{path}' {fault}")]
    Name {
        /// The file.
        path: String,
        /// What is wrong.
        fault: NameFault,
    },
    /// A path is too long or too deep.
    #[error(
        "the path '{path}' is too long; at most {PATH_BYTES_MAX} bytes and {PATH_DEPTH_MAX} names \
         are supported"
    )]
    Path {
        /// The file.
        path: String,
    },
    /// v2 and hybrids need a power of two.
    #[error(
        "piece length {0}; a power of two from {PIECE_BYTES_MIN_V2} to {PIECE_BYTES_MAX} is needed"
    )]
    PieceLength(u32),
    /// The hashes are not those of this blueprint's pieces.
    #[error("{given} piece hashes for {needed} pieces")]
    Hashes {
        /// Handed in.
        given: usize,
        /// Pieces of the blueprint.
        needed: u32,
    },
}

/// The hashes of all pieces, in order. What the format does not need stays empty.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PieceHashes {
    /// SHA-1 over the piece, pads included.
    pub v1: Vec<[u8; 20]>,
    /// Merkle hash over the piece, pads excluded (see [`merkle::piece_hash`]).
    pub v2: Vec<Hash>,
}

/// A torrent whose files are known and whose hashes are not.
#[derive(Clone, Debug)]
pub struct Blueprint {
    format: Format,
    root: Root,
    name: String,
    /// Bytes of `name/` at the beginning of each path.
    folder_bytes: usize,
    geometry: Geometry,
}

/// The piece length that fits content of so many bytes: a power of two from 32 KiB that gives at
/// most some 2,000 pieces, so that the .torrent stays small; from 16 MiB on it grows only to stay
/// within the limit of pieces.
pub fn piece_length_for(content_bytes: u64) -> u32 {
    let mut length: u32 = 32 << 10;
    let most = |length: u32| if length < 16 << 20 { 2048 } else { u64::from(PIECES_MAX) / 2 };
    while content_bytes.div_ceil(u64::from(length).max(1)) > most(length) {
        match length.checked_mul(2).filter(|&longer| longer <= PIECE_BYTES_MAX) {
            Some(longer) => length = longer,
            None => break,
        }
    }
    length
}

impl Blueprint {
    /// Lays out files. Their paths are relative to the folder `name`, with `/` between names; for
    /// [`Root::File`] there is one, and its path is `name`. Any order will do: they come to stand
    /// in the order of their names' bytes, which is the order of a v2 file tree.
    ///
    /// # Errors
    /// [`BuildError`], before anything is hashed.
    pub fn new(
        format: Format,
        root: Root,
        name: &str,
        piece_length: u32,
        mut files: Vec<(String, u64)>,
    ) -> Result<Blueprint, BuildError> {
        let is_v2_length = piece_length.is_power_of_two() && piece_length >= PIECE_BYTES_MIN_V2;
        if format.has_v2() && !is_v2_length {
            return Err(BuildError::PieceLength(piece_length));
        }
        check_name(name.as_bytes())
            .map_err(|fault| BuildError::Name { path: name.to_string(), fault })?;
        files.sort_unstable_by(|(one, _), (two, _)| one.split('/').cmp(two.split('/')));
        let folder = match root {
            // BEP 52: a tree of one file and no folder is "a single-file torrent".
            Root::Folder if format == Format::V2 && is_alone(&files) => String::new(),
            Root::Folder => format!("{name}/"),
            Root::File => String::new(),
        };
        let layout = if format == Format::V2 { Layout::Aligned } else { Layout::Packed };
        let mut builder = GeometryBuilder::new(u64::from(piece_length), layout)?;
        let pads = format == Format::Hybrid && files.len() > 1;
        for (path, length) in files {
            let path = format!("{folder}{path}");
            check_path(&path)?;
            builder.push(&path, length, FileKind::Content)?;
            let pad_bytes = builder.pad_bytes();
            if pads && pad_bytes > 0 {
                builder.push("", pad_bytes, FileKind::Pad)?;
            }
        }
        let (name, folder_bytes) = (name.to_string(), folder.len());
        Ok(Blueprint { format, root, name, folder_bytes, geometry: builder.finish()? })
    }

    /// Which hashes are needed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The map that hashing follows. Paths begin with the torrent's name, except in a v2 torrent
    /// of a folder with one file only, where BEP 52 leaves the folder out.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether the paths of the geometry begin with the torrent's name.
    pub fn paths_begin_with_name(&self) -> bool {
        self.root == Root::File || self.folder_bytes > 0
    }

    fn content(&self) -> impl Iterator<Item = (&str, u64, FileIndex)> {
        let content = self.geometry.files().filter(|file| file.kind == FileKind::Content);
        content.map(|file| (file.path, file.length, file.index))
    }

    /// The .torrent file.
    ///
    /// # Errors
    /// [`BuildError::Hashes`] when a needed list of hashes has not one for each piece.
    pub fn write(
        &self,
        hashes: &PieceHashes,
        private: bool,
        source: Option<&str>,
        outer: &Outer,
    ) -> Result<Vec<u8>, BuildError> {
        let needed = self.geometry.piece_count();
        let counts = [
            self.format.has_v1().then_some(hashes.v1.len()),
            self.format.has_v2().then_some(hashes.v2.len()),
        ];
        for given in counts.into_iter().flatten() {
            if given as u64 != u64::from(needed) {
                return Err(BuildError::Hashes { given, needed });
            }
        }
        let roots = self.roots(hashes);
        let mut writer = Writer::new();
        writer.dict(|torrent| {
            write_outer(torrent, outer);
            torrent.dict(b"info", |info| {
                info.bytes(b"name", self.name.as_bytes());
                info.int(b"piece length", i64::from(self.geometry.piece_length()));
                if self.format.has_v1() {
                    self.write_v1(info, hashes);
                }
                if self.format.has_v2() {
                    info.int(b"meta version", 2);
                    info.dict(b"file tree", |tree| write_folder(tree, &roots, 0));
                }
                if private {
                    info.int(b"private", 1);
                }
                if let Some(source) = source {
                    info.bytes(b"source", source.as_bytes());
                }
            });
            if self.format.has_v2() {
                torrent.dict(b"piece layers", |layers| {
                    for file in roots.iter().filter(|file| file.layer.len() > 1) {
                        layers.bytes(&file.root, file.layer.as_flattened());
                    }
                });
            }
        });
        Ok(writer.finish())
    }

    fn write_v1(&self, info: &mut DictWriter<'_>, hashes: &PieceHashes) {
        info.bytes(b"pieces", hashes.v1.as_flattened());
        if self.root == Root::File {
            info.int(b"length", signed(self.geometry.content_bytes()));
            return;
        }
        let folder = self.folder_bytes;
        info.list(b"files", |files| {
            for file in self.geometry.files() {
                files.dict(|entry| {
                    entry.int(b"length", signed(file.length));
                    if file.kind == FileKind::Pad {
                        entry.bytes(b"attr", b"p");
                        // BEP 47: "The recommended path is [".pad", "N"]".
                        entry.list(b"path", |path| {
                            path.bytes(b".pad");
                            path.bytes(file.length.to_string().as_bytes());
                        });
                    } else {
                        let names = file.path.get(folder..).unwrap_or_default().split('/');
                        entry.list(b"path", |path| names.for_each(|n| path.bytes(n.as_bytes())));
                    }
                });
            }
        });
    }

    fn roots<'a>(&'a self, hashes: &'a PieceHashes) -> Vec<TreeFile<'a>> {
        let folder = self.folder_bytes;
        let tree_file = |(path, length, index): (&'a str, u64, FileIndex)| {
            let pieces = self.geometry.pieces_of(index);
            let layer = hashes.v2.get(pieces.start as usize..pieces.end as usize);
            let layer = layer.unwrap_or_default();
            let root = merkle::root(layer, self.geometry.piece_length(), length);
            TreeFile { path: path.get(folder..).unwrap_or_default(), length, root, layer }
        };
        self.content().map(tree_file).collect()
    }
}

struct TreeFile<'a> {
    path: &'a str,
    length: u64,
    root: Hash,
    layer: &'a [Hash],
}

/// Writes the entries of one folder; its files are neighbours, since they are sorted, and their
/// paths go on at `from`. Recursion is bounded by the depth of paths.
fn write_folder(folder: &mut DictWriter<'_>, files: &[TreeFile<'_>], from: usize) {
    for group in files.chunk_by(|one, two| name_at(one, from) == name_at(two, from)) {
        let Some(first) = group.first() else { continue };
        let name = name_at(first, from);
        let below = from.saturating_add(name.len()).saturating_add(1);
        folder.dict(name.as_bytes(), |entry| {
            if first.path.len() >= below {
                return write_folder(entry, group, below);
            }
            entry.dict(b"", |file| {
                file.int(b"length", signed(first.length));
                if first.length > 0 {
                    file.bytes(b"pieces root", &first.root);
                }
            });
        });
    }
}

fn name_at<'a>(file: &TreeFile<'a>, from: usize) -> &'a str {
    let rest = file.path.get(from..).unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

fn write_outer(torrent: &mut DictWriter<'_>, outer: &Outer) {
    if let Some(first) = outer.trackers().next() {
        torrent.bytes(b"announce", first.as_bytes());
    }
    if outer.trackers().nth(1).is_some() {
        torrent.list(b"announce-list", |tiers| {
            for tier in &outer.tiers {
                tiers.list(|urls| tier.iter().for_each(|url| urls.bytes(url.as_bytes())));
            }
        });
    }
    match &outer.web_seeds[..] {
        [] => {}
        [seed] => torrent.bytes(b"url-list", seed.as_bytes()),
        seeds => torrent.list(b"url-list", |list| {
            seeds.iter().for_each(|seed| list.bytes(seed.as_bytes()));
        }),
    }
    let texts = [(&b"comment"[..], &outer.comment), (b"created by", &outer.created_by)];
    for (key, text) in texts {
        if let Some(text) = text {
            torrent.bytes(key, text.as_bytes());
        }
    }
    if let Some(date) = outer.creation_date {
        torrent.int(b"creation date", date);
    }
}

fn is_alone(files: &[(String, u64)]) -> bool {
    matches!(files, [(path, _)] if !path.contains('/'))
}

fn check_path(path: &str) -> Result<(), BuildError> {
    for name in path.split('/') {
        check_name(name.as_bytes())
            .map_err(|fault| BuildError::Name { path: path.to_string(), fault })?;
    }
    if path.len() > PATH_BYTES_MAX || path.split('/').count() > PATH_DEPTH_MAX {
        return Err(BuildError::Path { path: path.to_string() });
    }
    Ok(())
}

/// Lengths fit: geometry holds them below 2^50.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
