//! The hashes of a v2 torrent: roots from the info dictionary, piece layers from outside it,
//! believed only after they fold up to the roots (BEP 52).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::MetainfoError;
use super::files::FileList;
use crate::bencode::Value;
use crate::geometry::FileKind;
use crate::merkle::{self, Hash};
use crate::{FileIndex, Geometry};

/// Roots and piece layers of all files that are not empty.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    /// In the order of the files.
    files: Box<[FileRoot]>,
    /// Places in `files`, in the order of the roots.
    by_root: Box<[u32]>,
    /// The layers of all files of more than one piece; equal files share one.
    hashes: Box<[Hash]>,
}

#[derive(Clone, Debug)]
struct FileRoot {
    file: FileIndex,
    root: Hash,
    /// First hash of its layer in `hashes`; unused for a file of at most one piece.
    layer: u32,
}

/// An entry of `piece layers`.
struct Given<'d> {
    root: &'d [u8],
    layer: &'d [u8],
    /// Its place in `hashes`, once a file has used it.
    kept: Option<u32>,
}

impl Layers {
    pub(super) fn read(
        list: &FileList,
        geometry: &Geometry,
        piece_layers: Option<Value<'_>>,
    ) -> Result<Layers, MetainfoError> {
        let entries = piece_layers.and_then(|layers| layers.as_dict());
        let mut given: Vec<Given<'_>> = entries
            .into_iter()
            .flat_map(|entries| entries.iter())
            .filter_map(|(root, layer)| Some(Given { root, layer: layer.as_bytes()?, kept: None }))
            .collect();
        given.sort_unstable_by_key(|given| given.root);

        let mut files = Vec::new();
        let mut hashes: Vec<Hash> = Vec::new();
        // In a hybrid the geometry has pads that the list has not.
        let content = geometry.files().filter(|file| file.kind != FileKind::Pad);
        for (file, entry) in content.zip(&list.entries) {
            let Some(root) = entry.root else { continue };
            let mut layer = 0;
            if file.length > u64::from(geometry.piece_length()) {
                let found = given.binary_search_by_key(&&root[..], |given| given.root);
                let place = found.ok().and_then(|at| given.get_mut(at));
                let place = place.ok_or(MetainfoError::LayerMissing { path: file.path.into() })?;
                // For each file anew: an equal root says nothing about the length.
                let checked = check(place.layer, &root, file.path, file.length, geometry)?;
                layer = *place.kept.get_or_insert_with(|| {
                    let start = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
                    hashes.extend_from_slice(checked);
                    start
                });
            }
            files.push(FileRoot { file: file.index, root, layer });
        }
        let mut by_root: Box<[u32]> = (0u32..).take(files.len()).collect();
        by_root.sort_by_key(|&at| files.get(at as usize).map(|file| file.root));
        Ok(Layers { files: files.into(), by_root, hashes: hashes.into() })
    }

    fn entry(&self, file: FileIndex) -> Option<&FileRoot> {
        let at = self.files.binary_search_by_key(&file, |entry| entry.file).ok()?;
        self.files.get(at)
    }

    pub(super) fn root(&self, file: FileIndex) -> Option<&Hash> {
        self.entry(file).map(|entry| &entry.root)
    }

    pub(super) fn layer(&self, file: FileIndex, geometry: &Geometry) -> Option<&[Hash]> {
        let entry = self.entry(file)?;
        let pieces = geometry.pieces_of(file).len();
        if pieces <= 1 {
            return Some(core::slice::from_ref(&entry.root));
        }
        let start = entry.layer as usize;
        self.hashes.get(start..start.saturating_add(pieces))
    }

    pub(super) fn file_by_root(&self, root: &Hash) -> Option<FileIndex> {
        let root_at = |at: u32| self.files.get(at as usize).map(|file| file.root);
        let first = self.by_root.partition_point(|&at| root_at(at) < Some(*root));
        let entry = self.files.get(*self.by_root.get(first)? as usize)?;
        (entry.root == *root).then_some(entry.file)
    }
}

fn check<'d>(
    layer: &'d [u8],
    root: &Hash,
    path: &str,
    file_bytes: u64,
    geometry: &Geometry,
) -> Result<&'d [Hash], MetainfoError> {
    let needed = file_bytes.div_ceil(u64::from(geometry.piece_length())).saturating_mul(32);
    if layer.len() as u64 != needed {
        return Err(MetainfoError::LayerLength { path: path.into(), bytes: layer.len(), needed });
    }
    let hashes = layer.as_chunks().0;
    if merkle::root(hashes, geometry.piece_length(), file_bytes) != *root {
        return Err(MetainfoError::LayerMismatch { path: path.into() });
    }
    Ok(hashes)
}
