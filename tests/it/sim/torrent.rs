//! Torrents of the simulated world, and what every block of them must hold: worked out apart from
//! `ringseed_meta`, from the list of files alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringseed::store::catalog::Entry;
use ringseed::store::content::Content;
use ringseed::store::hashing::FileStamp;
use ringseed_meta::geometry::{FileKind, Layout};
use ringseed_meta::metainfo::{Blueprint, Format, Metainfo, Outer, PieceHashes, Root};
use ringseed_meta::{FileIndex, TorrentId};
use ringseed_ring::Directory;
use ringseed_ring::sim::{self, Random, Watched, World};

/// Where all data lives.
pub(crate) const ROOT: &str = "/data";

/// A file of a torrent, in the order of the torrent.
pub(crate) struct ModelFile {
    pub(crate) index: FileIndex,
    pub(crate) path: PathBuf,
    /// Where it begins in the stream of pieces.
    pub(crate) start: u64,
    pub(crate) length: u64,
    content: sim::Content,
    pub(crate) watched: Watched,
    /// When the scene changed it, if it did.
    pub(crate) changed_us: Option<u64>,
    /// It was changed when nobody could know how it had been.
    pub(crate) unnoticed: bool,
}

/// A torrent and its model.
pub(crate) struct ModelTorrent {
    pub(crate) id: TorrentId,
    pub(crate) info_hash: [u8; 20],
    pub(crate) content: Arc<Content>,
    pub(crate) files: Vec<ModelFile>,
    pub(crate) piece_length: u64,
    pub(crate) piece_count: u32,
    aligned: bool,
    /// How its files were when they were verified is recorded.
    pub(crate) stamped: bool,
    /// Where the last piece ends in the stream.
    end: u64,
}

fn random_files(random: &mut Random) -> Vec<(String, u64)> {
    let count = if random.hits(300) { 1 } else { random.between(2, 9) };
    let length = |random: &mut Random| match random.below(8) {
        0 => 0,
        1 | 2 => random.between(1, 300),
        3 => 16384 * random.between(1, 8),
        _ => random.of_any_size(400 << 10),
    };
    let mut files: Vec<(String, u64)> = (0..count)
        .map(|number| (format!("{}/file {number}", random.below(3)), length(random)))
        .collect();
    if files.iter().all(|(_, length)| *length == 0) {
        files[0].1 = random.between(1, 100_000);
    }
    files
}

impl ModelTorrent {
    pub(crate) fn new(world: &World, random: &mut Random, id: TorrentId) -> ModelTorrent {
        let format = [Format::V1, Format::V2, Format::Hybrid][random.below(3) as usize];
        let piece_length = 16384 << random.below(4);
        let name = format!("torrent {}", id.0);
        let files = random_files(random);
        let blueprint =
            Blueprint::new(format, Root::Folder, &name, piece_length as u32, files).unwrap();
        // A seeder never looks at piece hashes, so any will do.
        let pieces = blueprint.geometry().piece_count();
        let hashes = PieceHashes {
            v1: (0..pieces).map(|piece| [piece as u8; 20]).collect(),
            v2: (0..pieces).map(|piece| [piece as u8 ^ id.0 as u8; 32]).collect(),
        };
        let torrent = blueprint.write(&hashes, false, None, &Outer::default()).unwrap();
        let metainfo = Metainfo::parse(&torrent).unwrap();
        let geometry = Arc::clone(metainfo.geometry());
        let aligned = geometry.layout() == Layout::Aligned;
        let mut files = Vec::new();
        let mut stamps = Vec::new();
        let mut end = 0u64;
        for file in geometry.files() {
            if aligned {
                end = end.next_multiple_of(piece_length);
            }
            let path = Path::new(ROOT).join(file.path);
            let noise = u64::from(id.0) << 32 | u64::from(file.index.0);
            if file.kind == FileKind::Content {
                world.add_file(&path, sim::Content::Noise(noise), file.length);
                let watched = world.watch(&path).unwrap();
                stamps.push(stamp(world, &path));
                files.push(ModelFile {
                    index: file.index,
                    path,
                    start: end,
                    length: file.length,
                    content: sim::Content::Noise(noise),
                    watched,
                    changed_us: None,
                    unnoticed: false,
                });
            } else {
                stamps.push(FileStamp::default());
            }
            end += file.length;
        }
        let info_hash = metainfo.swarms().last().unwrap().0;
        let stamped = random.hits(500);
        let stamps = if stamped { stamps } else { Vec::new() };
        let root = Directory::new(ROOT.into());
        ModelTorrent {
            id,
            info_hash,
            content: Arc::new(Content::new(id, root, metainfo, stamps)),
            files,
            piece_length,
            piece_count: pieces,
            aligned,
            stamped,
            end,
        }
    }

    /// What every worker knows of it.
    pub(crate) fn entry(&self) -> Entry {
        let swarms = self.content.metainfo().swarms().collect();
        let torrent_file = Path::new("/torrents/simulated").into();
        let entry = Entry::new(self.id, swarms, torrent_file, Arc::clone(&self.content.root));
        entry.start_seeding();
        entry
    }

    /// Bytes of a piece; 0 when there is no such piece.
    pub(crate) fn piece_bytes(&self, piece: u32) -> u64 {
        let start = u64::from(piece) * self.piece_length;
        let end = match self.aligned {
            false => self.end,
            true => {
                let holds =
                    |file: &&ModelFile| (file.start..file.start + file.length).contains(&start);
                self.files.iter().find(holds).map_or(start, |file| file.start + file.length)
            }
        };
        end.saturating_sub(start).min(self.piece_length)
    }

    /// The files that hold bytes of a block.
    pub(crate) fn files_of(
        &self,
        (piece, begin, length): (u32, u32, u32),
    ) -> impl Iterator<Item = &ModelFile> {
        let start = u64::from(piece) * self.piece_length + u64::from(begin);
        let end = start + u64::from(length);
        self.files.iter().filter(move |file| file.start < end && start < file.start + file.length)
    }

    /// What a block must hold.
    pub(crate) fn block(&self, block: (u32, u32, u32)) -> Vec<u8> {
        let (piece, begin, length) = block;
        let start = u64::from(piece) * self.piece_length + u64::from(begin);
        let mut bytes = vec![0; length as usize];
        for file in self.files_of(block) {
            let from = start.max(file.start);
            let to = (start + u64::from(length)).min(file.start + file.length);
            let part = &mut bytes[(from - start) as usize..(to - start) as usize];
            file.content.fill(from - file.start, part);
        }
        bytes
    }
}

fn stamp(world: &World, path: &Path) -> FileStamp {
    let stat = world.stat(path).unwrap();
    FileStamp { device: stat.device, inode: stat.inode, size: stat.size, mtime_ns: stat.mtime_ns }
}
