//! Reads files and hashes pieces on all cores: for create, check and verification before seeding.

/// What tells that a file is the one that was verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileStamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mtime_ns: i128,
}
