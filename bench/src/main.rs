//! `ringseed-swarm`: load for BitTorrent seeders, and what it costs them.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use ringseed_swarm::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringseed-swarm: {error:#}");
            ExitCode::FAILURE
        }
    }
}
