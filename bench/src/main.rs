//! `ringseed-swarm`: load for BitTorrent seeders, and what it costs them.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use ringseed_swarm::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage, or it could not go on: no result. (1 stands for a result that is a failure.)
const NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // Nobody may be left who reads it; the exit code says it too.
            let _ = writeln!(std::io::stderr(), "ringseed-swarm: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}
