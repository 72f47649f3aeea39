//! Which bytes stand where, what to fetch, what was verified. Returns plans; calls no kernel.

pub mod hashing;
