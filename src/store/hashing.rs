//! Reads files and hashes pieces on all cores: for create, check and verification before seeding.

mod survey;

pub use survey::{FileFault, FileProblem, FileStamp, survey};
