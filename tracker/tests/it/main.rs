//! The real program, driven over loopback by raw sockets and by real clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what it found by panicking"
)]

mod failover;
mod http;
mod interop;
mod kernel;
mod pages;
mod private;
mod program;
mod proxies;
mod restart;
mod udp;
