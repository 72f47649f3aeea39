//! A BitTorrent tracker, HTTP (BEP 3, 7, 23, 48) and UDP (BEP 15), on the kernel of ringseed-ring:
//! a program, and a library that the seeder embeds.
//!
//! [`swarm`] and [`connection_id`] are pure; `http` and `udp` turn completions into answers, in
//! wire's words; [`Tracker`] is one turn of a loop over any kernel, and [`Server`] a thread that
//! runs it. Whoever can reach it may announce any torrent, or those that a list lets be served.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod access;
pub mod connection_id;
mod desk;
mod figures;
mod http;
pub mod limits;
mod load;
mod outbox;
pub mod random;
mod server;
pub mod snapshot;
mod source;
pub mod swarm;
#[cfg(test)]
mod tests;
mod token;
mod tracker;
mod udp;

pub use access::{ListError, ListFile, Listed, Notice, Published};
pub use desk::{Audience, Rules, RulesError, Secrets};
pub use http::{Prefix, PrefixError, Proxies};
pub use server::{Options, Server, StartError, Stopper};
pub use snapshot::{SnapshotError, SnapshotFile, SnapshotNotice};
pub use tracker::Tracker;
