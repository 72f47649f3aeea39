//! `ringseed check`.

use std::process::ExitCode;

/// Compares data on disk with its .torrent file.
#[derive(clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
