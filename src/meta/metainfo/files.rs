//! The two ways to list files: the list of v1 (BEP 3, 47) and the tree of v2 (BEP 52).

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::error::{need_dict, need_list, need_uint};
use super::names::{push_clean, push_clean_bytes};
use super::{MetainfoError, Warning, Warnings, missing, need};
use crate::Geometry;
use crate::bencode::{Dict, Value};
use crate::geometry::{FileKind, GeometryBuilder, Layout};
use crate::limits::{PATH_BYTES_MAX, PATH_DEPTH_MAX};
use crate::merkle::Hash;

/// Files in their order, with clean paths.
pub(super) struct FileList {
    paths: String,
    pub(super) entries: Vec<Entry>,
}

pub(super) struct Entry {
    path: Range<usize>,
    length: u64,
    kind: FileKind,
    /// v2 only, and not of an empty file.
    pub(super) root: Option<Hash>,
}

impl FileList {
    /// Reads `length` or `files` of a v1 info dictionary.
    pub(super) fn read_v1(
        info: Value<'_>,
        name: &str,
        warnings: &mut Warnings,
    ) -> Result<FileList, MetainfoError> {
        let mut list = FileList { paths: String::new(), entries: Vec::new() };
        let Some(files) = info.get(b"files") else {
            let length = info.get(b"length").ok_or(missing(info, "length' or 'files"))?;
            let length = need_uint(length, "length")?;
            list.paths.push_str(name);
            list.push(0, length, FileKind::Content, None);
            return Ok(list);
        };
        for file in need_list(files, "files")?.iter() {
            list.read_v1_file(file, name, warnings)?;
        }
        Ok(list)
    }

    fn read_v1_file(
        &mut self,
        file: Value<'_>,
        name: &str,
        warnings: &mut Warnings,
    ) -> Result<(), MetainfoError> {
        need_dict(file, "a file of 'files'")?;
        let kind = kind(file);
        let length = match file.get(b"length") {
            Some(length) => need_uint(length, "length")?,
            // BEP 47: a symlink's length may be left out.
            None if kind == FileKind::Symlink => 0,
            None => return Err(missing(file, "length")),
        };
        let start = self.paths.len();
        if kind != FileKind::Pad {
            let path = file.get(b"path.utf-8").or(file.get(b"path"));
            self.read_v1_path(path.ok_or(missing(file, "path"))?, name, warnings)?;
        }
        if kind == FileKind::Symlink {
            self.note_symlink(start, length, file, warnings)?;
        }
        self.push(start, length, kind, None);
        Ok(())
    }

    fn read_v1_path(
        &mut self,
        path: Value<'_>,
        name: &str,
        warnings: &mut Warnings,
    ) -> Result<(), MetainfoError> {
        let start = self.paths.len();
        self.paths.push_str(name);
        let mut depth = 1usize;
        for element in need_list(path, "path")?.iter() {
            self.paths.push('/');
            push_clean(&mut self.paths, element, warnings)?;
            depth = depth.saturating_add(1);
        }
        let bytes = self.paths.len().saturating_sub(start);
        if !(2..=PATH_DEPTH_MAX).contains(&depth) || bytes > PATH_BYTES_MAX {
            let depth = depth.saturating_sub(1);
            return Err(MetainfoError::Path { depth, bytes, offset: path.offset() });
        }
        Ok(())
    }

    /// Reads the file tree of a v2 info dictionary.
    pub(super) fn read_v2(
        tree: Value<'_>,
        name: &str,
        warnings: &mut Warnings,
    ) -> Result<FileList, MetainfoError> {
        let mut list = FileList { paths: String::new(), entries: Vec::new() };
        let root = need_dict(tree, "file tree")?;
        if tree.get(b"").is_some() {
            return Err(MetainfoError::FileWithSiblings { offset: tree.offset() });
        }
        // BEP 52: a tree of one file and no folder is "a single-file torrent".
        let mut entries = root.iter();
        let only = entries.next().filter(|_| entries.next().is_none());
        let is_single = only.is_some_and(|(_, value)| value.get(b"").is_some());
        let mut path = String::new();
        let mut depth = 0;
        if !is_single {
            path.push_str(name);
            depth = 1;
        }
        list.read_v2_folder(root, &mut path, depth, warnings)?;
        Ok(list)
    }

    /// Recursion is bounded: the tree is no deeper than bencode is read.
    fn read_v2_folder(
        &mut self,
        folder: Dict<'_>,
        path: &mut String,
        depth: usize,
        warnings: &mut Warnings,
    ) -> Result<(), MetainfoError> {
        let (before, depth) = (path.len(), depth.saturating_add(1));
        for (name, value) in folder.iter() {
            if before > 0 {
                path.push('/');
            }
            push_clean_bytes(path, name, value.offset().saturating_sub(name.len()), warnings)?;
            if depth > PATH_DEPTH_MAX || path.len() > PATH_BYTES_MAX {
                let offset = value.offset();
                return Err(MetainfoError::Path { depth, bytes: path.len(), offset });
            }
            let entry = need_dict(value, "an entry of 'file tree'")?;
            match value.get(b"") {
                Some(_) if entry.iter().count() > 1 => {
                    return Err(MetainfoError::FileWithSiblings { offset: value.offset() });
                }
                Some(file) => self.read_v2_file(file, path, warnings)?,
                None => self.read_v2_folder(entry, path, depth, warnings)?,
            }
            path.truncate(before);
        }
        Ok(())
    }

    fn read_v2_file(
        &mut self,
        file: Value<'_>,
        path: &str,
        warnings: &mut Warnings,
    ) -> Result<(), MetainfoError> {
        need_dict(file, "a file of 'file tree'")?;
        let kind = match kind(file) {
            FileKind::Symlink => FileKind::Symlink,
            // v2 has no pads: whatever is in the tree has a hash.
            _ => FileKind::Content,
        };
        let length = match file.get(b"length") {
            None if kind == FileKind::Symlink => 0,
            _ => need_uint(need(file, "length")?, "length")?,
        };
        let start = self.paths.len();
        self.paths.push_str(path);
        if kind == FileKind::Symlink {
            self.note_symlink(start, length, file, warnings)?;
        }
        let root = file.get(b"pieces root").and_then(|root| root.as_bytes());
        let root = root.and_then(|root| Hash::try_from(root).ok());
        if root.is_none() && length > 0 {
            return Err(MetainfoError::PiecesRoot { offset: file.offset() });
        }
        self.push(start, length, kind, root.filter(|_| length > 0));
        Ok(())
    }

    fn note_symlink(
        &self,
        start: usize,
        length: u64,
        file: Value<'_>,
        warnings: &mut Warnings,
    ) -> Result<(), MetainfoError> {
        if length > 0 {
            return Err(MetainfoError::SymlinkWithBytes { length, offset: file.offset() });
        }
        let path = self.paths.get(start..).unwrap_or_default().into();
        warnings.push(Warning::Symlink { path });
        Ok(())
    }

    fn push(&mut self, start: usize, length: u64, kind: FileKind, root: Option<Hash>) {
        self.entries.push(Entry { path: start..self.paths.len(), length, kind, root });
    }

    /// Lays the files out.
    pub(super) fn geometry(
        &self,
        piece_length: u64,
        layout: Layout,
    ) -> Result<Geometry, MetainfoError> {
        let mut builder = GeometryBuilder::new(piece_length, layout)?;
        for entry in &self.entries {
            let path = self.paths.get(entry.path.clone()).unwrap_or_default();
            builder.push(path, entry.length, entry.kind)?;
        }
        Ok(builder.finish()?)
    }
}

/// BEP 47: "p = padding file", "l = symlink"; "unknown characters should be ignored".
fn kind(file: Value<'_>) -> FileKind {
    let attributes = file.get(b"attr").and_then(|attr| attr.as_bytes()).unwrap_or_default();
    if attributes.contains(&b'p') {
        FileKind::Pad
    } else if attributes.contains(&b'l') {
        FileKind::Symlink
    } else {
        FileKind::Content
    }
}

/// BEP 52: clients "must validate that the content (file names, order, piece alignment) is
/// identical" in both halves of a hybrid.
pub(super) fn same_content(v1: &Geometry, v2: &Geometry) -> Result<(), MetainfoError> {
    let differ = |path: &str, what| MetainfoError::HybridMismatch { path: path.into(), what };
    let mut theirs = v2.files();
    for ours in v1.files().filter(|file| file.kind != FileKind::Pad) {
        let Some(other) = theirs.next() else {
            return Err(differ(ours.path, "only v1 has it"));
        };
        // A folder with one file looks like a single file in v2: compare without the folder.
        let is_same_path = ours.path == other.path
            || (v2.file_count() == 1
                && ours.path.split_once('/').is_some_and(|(_, rest)| rest == other.path));
        if !is_same_path {
            return Err(differ(ours.path, "another name or order in v2"));
        }
        if ours.length != other.length || ours.kind != other.kind {
            return Err(differ(ours.path, "another length or kind in v2"));
        }
        if ours.length > 0 && ours.offset != other.offset {
            return Err(differ(
                ours.path,
                "it begins no piece in v1: a pad is missing or too long",
            ));
        }
    }
    if let Some(other) = theirs.next() {
        return Err(differ(other.path, "only v2 has it"));
    }
    if v1.piece_count() != v2.piece_count() {
        return Err(differ("", "the numbers of pieces"));
    }
    Ok(())
}
