//! A BitTorrent tracker, HTTP (BEP 3, 7, 23, 48) and UDP (BEP 15), on the kernel of ringseed-ring:
//! a program, and a library that the seeder embeds. `swarm` and `connection_id` are pure; `http`
//! and `udp` are loops over wire's words; nothing here waits but the kernel.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod connection_id;
pub mod limits;
pub mod random;
pub mod swarm;
