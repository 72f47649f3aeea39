//! Peers against small seeders of plain sockets: what they count, how they end, and whether they
//! tell the truth where it is known.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod loads;
mod program;
mod stub;
mod truths;
