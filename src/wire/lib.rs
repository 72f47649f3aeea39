//! The BitTorrent peer and tracker protocols, pure: bytes and the time in, events and bytes out.
//!
//! No socket, no clock, no thread. [`Peer`] is one connection's state machine, [`message`] and
//! [`extended`] write what it sends; [`tracker_http`] and [`tracker_udp`] hold both sides of an
//! announce. Which fault has which consequence stands in docs/protocol.md.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod allowed_fast;
pub mod error;
pub mod extended;
pub mod frame;
pub mod handshake;
pub mod hashes;
pub mod limits;
pub mod message;
pub mod peer;
mod pieces;
pub mod tracker;
pub mod tracker_http;
pub mod tracker_udp;

pub use error::ProtocolError;
pub use extended::ExtendedHandshake;
pub use handshake::{Features, Handshake};
pub use hashes::HashRequest;
pub use peer::{Event, Peer, PeerOptions, Torrent};
