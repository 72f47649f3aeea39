//! Content of any size that is known byte for byte without being kept, or read again: a read would
//! bring into the page cache what a test wants out of it.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use crate::content::noise;

/// Bytes after which the content repeats. A prime, so that no two places of a file that are whole
/// blocks apart are the same below 15 GiB.
const PERIOD: usize = 1_000_003;

/// What a file is to hold.
#[derive(Debug)]
pub(crate) struct Truth {
    /// The period twice, so that a stretch is found in one piece.
    pattern: Vec<u8>,
    /// What it is made from.
    pub(crate) seed: u64,
    pub(crate) length: u64,
}

impl Truth {
    pub(crate) fn new(seed: u64, length: u64) -> Truth {
        let once = noise(seed, PERIOD);
        Truth { pattern: [once.as_slice(), &once].concat(), seed, length }
    }

    pub(crate) fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        assert!(length <= PERIOD && offset + length as u64 <= self.length);
        let start = (offset % PERIOD as u64) as usize;
        &self.pattern[start..start + length]
    }

    /// Writes it to a new file, through to the disk and out of the page cache.
    pub(crate) fn write(&self, path: &Path) {
        self.write_part(path, 0..self.length);
    }

    /// The same of a part of it.
    pub(crate) fn write_part(&self, path: &Path, part: Range<u64>) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::create(path).unwrap();
        let mut offset = part.start;
        while offset < part.end {
            let length = (part.end - offset).min(PERIOD as u64) as usize;
            file.write_all(self.bytes(offset, length)).unwrap();
            offset += length as u64;
        }
        drop(file);
        evict(path);
    }
}

/// Drops a file's pages from the page cache, those that nobody holds.
pub(crate) fn evict(file: &Path) {
    ringseed_ring::system::drop_from_page_cache(file).unwrap();
}

#[test]
fn a_place_is_not_taken_for_another() {
    let truth = Truth::new(1, 4 << 20);
    let folder = tempfile::tempdir().unwrap();
    truth.write(&folder.path().join("x"));
    let bytes = fs::read(folder.path().join("x")).unwrap();
    assert_eq!(bytes.len(), 4 << 20);
    for offset in [0, 999_999, 1_000_003, 3 << 20] {
        let at = offset as usize;
        assert_eq!(truth.bytes(offset, 16_384), &bytes[at..at + 16_384]);
        assert_ne!(truth.bytes(offset, 16_384), truth.bytes(offset + 16_384, 16_384));
    }
}
