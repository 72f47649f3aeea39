//! Content to seed: files of known bytes, and the comparison of what came back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes that look random and are the same in each run.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*: period 2^64 - 1, so no block repeats.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A temporary folder with what is seeded, the seeder's state and what clients fetch.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// A folder with nothing in it.
    pub(crate) fn empty() -> World {
        World { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder of six files in three folders: block and piece borders fall inside files, files
    /// inside pieces; names with a space and beyond ASCII; an empty file.
    pub(crate) fn with_folder() -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        let sizes = [
            ("large.bin", 12 * 1024 * 1024 + 1234),
            ("nested/deeper/odd.bin", 1_000_003),
            ("nested/name with space.bin", 65_536),
            ("nested/größe.bin", 300_007),
            ("tiny.txt", 5),
            ("empty", 0),
        ];
        for (seed, (name, length)) in (1..).zip(sizes) {
            write(&world.content().join(name), &noise(seed, length));
        }
        world
    }

    /// The same and a file of 384 MiB.
    pub(crate) fn with_large_folder() -> World {
        let world = World::with_folder();
        let mebibytes = (0..384_u64).flat_map(|number| noise(number + 1000, 1024 * 1024));
        write(&world.content().join("huge.bin"), &mebibytes.collect::<Vec<u8>>());
        world
    }

    /// Three hundred files of a few kilobytes: most pieces hold parts of many.
    pub(crate) fn with_many_files() -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        for number in 0..300_u64 {
            let name = format!("{}/{number}.bin", number % 7);
            write(&world.content().join(name), &noise(number + 1, (number * 37 % 9000) as usize));
        }
        world
    }

    /// One file of `length` bytes.
    pub(crate) fn with_file(length: usize) -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        write(&world.content(), &noise(99, length));
        world
    }

    /// The file or folder that is seeded.
    pub(crate) fn content(&self) -> PathBuf {
        self.path("data/content")
    }

    /// The folder in which the content stands: `--data`.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A path inside the temporary folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder for one client's download, made.
    pub(crate) fn download_folder(&self, name: &str) -> PathBuf {
        let folder = self.path("downloads").join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Fails unless `folder` (a client's download folder) holds the content: the SHA-256 of every
    /// file is equal. Some clients make no empty files.
    #[track_caller]
    pub(crate) fn assert_downloaded(&self, folder: &Path) {
        let seeded = hashes(&self.data(), &self.data());
        let found = hashes(folder, folder);
        assert!(!seeded.is_empty(), "nothing was seeded");
        for (name, (length, hash)) in &seeded {
            match found.get(name) {
                None if *length == 0 => {}
                None => panic!("{name} was not downloaded; there are {:?}", found.keys()),
                Some((other_length, other)) => assert!(
                    other == hash,
                    "{name}: SHA-256 differs ({length} bytes seeded, {other_length} downloaded)"
                ),
            }
        }
    }
}

/// Writes a file, its folders made.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Length and SHA-256 of every file below `folder`, by its path from `root`.
fn hashes(root: &Path, folder: &Path) -> BTreeMap<String, (usize, String)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(hashes(root, &path));
        } else {
            let bytes = fs::read(&path).unwrap();
            let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(name, (bytes.len(), hash));
        }
    }
    found
}

#[test]
#[should_panic(expected = "SHA-256 differs")]
fn one_changed_byte_is_seen() {
    let world = World::with_file(100_000);
    let folder = world.download_folder("x");
    let mut bytes = fs::read(world.content()).unwrap();
    bytes[70_000] ^= 1;
    write(&folder.join("content"), &bytes);
    world.assert_downloaded(&folder);
}

#[test]
#[should_panic(expected = "was not downloaded")]
fn a_missing_file_is_seen() {
    let world = World::with_folder();
    world.assert_downloaded(&world.download_folder("x"));
}
