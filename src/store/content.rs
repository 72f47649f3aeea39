//! What is known of one torrent while anybody uses it: geometry, info dictionary, paths, and what
//! its files were like when they were verified.

use std::path::Path;
use std::sync::Arc;

use ringseed_meta::geometry::Geometry;
use ringseed_meta::metainfo::Metainfo;
use ringseed_meta::{Bitfield, FileIndex, TorrentId};
use ringseed_ring::{Directory, FileStat};

use super::hashing::FileStamp;

/// A torrent's content, loaded from its .torrent file and its verification record.
#[derive(Debug)]
pub struct Content {
    pub torrent: TorrentId,
    pub root: Arc<Directory>,
    metainfo: Metainfo,
    /// One for each file of the list, pads included; empty when nothing was verified (`--trust`).
    stamps: Vec<FileStamp>,
}

impl Content {
    /// `stamps` in the order of the torrent's files, or empty.
    pub fn new(
        torrent: TorrentId,
        root: Arc<Directory>,
        metainfo: Metainfo,
        stamps: Vec<FileStamp>,
    ) -> Content {
        Content { torrent, root, metainfo, stamps }
    }

    pub fn metainfo(&self) -> &Metainfo {
        &self.metainfo
    }

    pub fn geometry(&self) -> &Geometry {
        self.metainfo.geometry()
    }

    /// The raw info dictionary, which is the metadata of BEP 9.
    pub fn info(&self) -> &[u8] {
        self.metainfo.info_bytes()
    }

    /// Where a file is, below the root.
    pub fn path(&self, file: FileIndex) -> Arc<Path> {
        let path = self.geometry().file(file).map_or("", |file| file.path);
        Arc::from(Path::new(path))
    }

    /// What the file was like when it was verified, if it was.
    pub fn verified(&self, file: FileIndex) -> Option<FileStat> {
        FileStamp::as_stat(self.stamps.get(file.0 as usize)?)
    }

    /// A bitfield of all pieces, for peers without the fast extension.
    pub fn full_bitfield(&self) -> Bitfield {
        Bitfield::full(self.geometry().piece_count())
    }
}
