//! Which bytes stand where, what to fetch, what was verified. Returns plans; calls no kernel.

pub mod catalog;
pub mod content;
pub mod creation;
pub mod fetch;
pub mod files;
pub mod hashing;
