//! Which bytes stand where, what to fetch, what was verified. Returns plans; calls no kernel.

pub mod catalog;
pub mod content;
pub mod creation;
pub mod devices;
pub mod fetch;
pub mod files;
pub mod flights;
pub mod hashing;
pub mod waiters;

/// Handles of files that no kernel has opened, for tests of what only keeps them.
#[cfg(test)]
pub(crate) fn test_files(count: usize) -> Vec<ringseed_ring::File> {
    (0..count as u32).map(ringseed_ring::File::for_tests).collect()
}
