//! Reads files and hashes pieces on all cores: for create, check and verification before seeding.
//!
//! The calling thread reads through io_uring, a few buffers at once (or plainly, where it is denied); plain threads hash. A buffer
//! travels with the state of its piece: read, sent to the next free thread, and back. So memory
//! is bounded by the number of buffers, a large piece keeps its order, and all cores have work
//! whatever the size of pieces and files.
//!
//! Call it from a thread that runs no async runtime of its own.

mod hasher;
mod layout;
mod reader;
mod source;
mod survey;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use ringseed_meta::metainfo::{Format, PieceHashes};
use ringseed_meta::{Bitfield, Geometry, Metainfo, PieceIndex};

pub use source::Runtime;
pub use survey::{FileFault, FileProblem, FileStamp, survey};

use hasher::PieceDigest;

pub mod limits {
    //! Bounds of hashing.

    /// Bytes of one read and of one buffer: large enough that its cost does not count, small
    /// enough that a buffer read is still in a core's cache when it is hashed.
    pub const READ_BYTES: u32 = 1 << 20;
    /// Small pieces that share a buffer; one bit each tells which could be read.
    pub const PIECES_PER_READ_MAX: u32 = 64;
    /// Buffers for each hashing thread: one is hashed while the other is read.
    pub const BUFFERS_PER_THREAD: usize = 2;
    /// Further buffers, so that a disk has several reads to choose from with one thread too.
    pub const BUFFERS_MORE: usize = 4;
    /// Hashing threads. Beyond it the one reading thread is the limit.
    pub const THREADS_MAX: usize = 64;
    /// Files kept open at once; small files come and go in order.
    pub const OPEN_FILES_MAX: usize = 64;

    const _: () = assert!(PIECES_PER_READ_MAX <= u64::BITS);
}

/// How to hash.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Hashing threads; 0 takes one for each core that this process may use.
    pub threads: usize,
    /// Set it to stop early with [`HashingError::Cancelled`].
    pub cancel: &'a AtomicBool,
    /// Made on the calling thread.
    pub runtime: &'a Runtime,
}

/// How files are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reads {
    /// Through io_uring, several at once; where it cannot be had, as [`Reads::Plain`].
    #[default]
    Ring,
    /// By plain calls, one after the other, as the system reads ahead.
    Plain,
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes hashed or found unreadable, pads included.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum HashingError {
    #[error("hashing was cancelled")]
    Cancelled,
    /// Hashes cannot be made of a file that is not there as it should be.
    #[error(transparent)]
    File(#[from] FileFault),
    #[error("cannot start the threads that hash: {0}; is a limit of processes reached?")]
    Threads(#[source] std::io::Error),
    /// Cannot happen short of a bug: the error that stopped the thread is on stderr.
    #[error("a hashing thread ended early")]
    ThreadLost,
}

/// What was found on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The pieces whose hashes are right, by all hashes that the torrent has.
    pub have: Bitfield,
    /// What each file of the list was like, before it was read and after; empty for pads and
    /// missing files.
    pub files: Vec<FileStamp>,
    /// Files that are not as the torrent says; their good pieces count nevertheless.
    pub faults: Vec<FileFault>,
}

impl Verified {
    /// Whether all pieces are right and all files as the torrent says.
    pub fn is_complete(&self) -> bool {
        self.have.is_full() && self.faults.is_empty()
    }

    /// The pieces that are wrong or missing, as ranges of indices, the end excluded.
    pub fn bad_pieces(&self) -> Vec<std::ops::Range<u32>> {
        let mut ranges: Vec<std::ops::Range<u32>> = Vec::new();
        for piece in (0..self.have.piece_count()).filter(|&piece| !self.have.get(PieceIndex(piece)))
        {
            match ranges.last_mut() {
                Some(last) if last.end == piece => last.end += 1,
                _ => ranges.push(piece..piece + 1),
            }
        }
        ranges
    }
}

/// What hashing made of files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hashed {
    pub pieces: PieceHashes,
    /// What each file of the list was like, before it was read and after; empty for pads.
    pub files: Vec<FileStamp>,
}

/// Compares the files below `data_dir` with the torrent's hashes; a hybrid's with both kinds.
///
/// # Errors
/// [`HashingError`]; files that are missing, short, long or unreadable are no error but stand in
/// [`Verified::faults`].
pub fn verify(
    metainfo: &Metainfo,
    data_dir: &Path,
    options: &Options<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verified, HashingError> {
    let geometry = metainfo.geometry();
    let (files, mut faults) = survey(geometry, data_dir);
    let job = reader::Job { geometry, format: metainfo.format(), data_dir, stamps: &files };
    let mut have = Bitfield::new(geometry.piece_count());
    let read_faults = reader::run(&job, options, progress, &mut |digest| {
        let (v1, v2) = (metainfo.piece_hash_v1(digest.piece), metainfo.piece_hash_v2(digest.piece));
        if digest.v1.as_ref() == v1 && digest.v2.as_ref() == v2 {
            have.set(digest.piece);
        }
    })?;
    merge(&mut faults, read_faults);
    for fault in changed(geometry, data_dir, &files) {
        for piece in geometry.pieces_of(fault.file) {
            have.unset(PieceIndex(piece));
        }
        merge(&mut faults, vec![fault]);
    }
    Ok(Verified { have, files, faults })
}

/// Hashes the files below `data_dir`.
///
/// # Errors
/// [`HashingError`]; the first file that is not as the geometry says is one.
pub fn hash(
    geometry: &Geometry,
    format: Format,
    data_dir: &Path,
    options: &Options<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Hashed, HashingError> {
    let refuse = |mut faults: Vec<FileFault>| match faults.is_empty() {
        true => Ok(()),
        false => Err(HashingError::File(faults.swap_remove(0))),
    };
    let (files, faults) = survey(geometry, data_dir);
    refuse(faults)?;
    let count = |wanted: bool| if wanted { geometry.piece_count() as usize } else { 0 };
    let mut pieces = PieceHashes {
        v1: vec![[0; 20]; count(format.has_v1())],
        v2: vec![[0; 32]; count(format.has_v2())],
    };
    let job = reader::Job { geometry, format, data_dir, stamps: &files };
    let faults = reader::run(&job, options, progress, &mut |digest: &PieceDigest| {
        let at = digest.piece.0 as usize;
        if let (Some(place), Some(hash)) = (pieces.v1.get_mut(at), digest.v1) {
            *place = hash;
        }
        if let (Some(place), Some(hash)) = (pieces.v2.get_mut(at), digest.v2) {
            *place = hash;
        }
    })?;
    refuse(faults)?;
    refuse(changed(geometry, data_dir, &files))?;
    Ok(Hashed { pieces, files })
}

/// The files that are not what they were at the survey.
fn changed(geometry: &Geometry, data_dir: &Path, before: &[FileStamp]) -> Vec<FileFault> {
    let (after, _) = survey(geometry, data_dir);
    let differ = geometry.files().zip(before.iter().zip(&after)).filter(|(_, (was, is))| was != is);
    let fault = |file: ringseed_meta::geometry::File<'_>| FileFault {
        file: file.index,
        path: data_dir.join(file.path),
        problem: FileProblem::Changed,
    };
    differ.map(|(file, _)| fault(file)).collect()
}

/// One fault a file is enough: the first.
fn merge(faults: &mut Vec<FileFault>, more: Vec<FileFault>) {
    for fault in more {
        if let Err(at) = faults.binary_search_by_key(&fault.file, |known| known.file) {
            faults.insert(at, fault);
        }
    }
}
