//! `ringseed show`.

use std::process::ExitCode;

/// Prints what a .torrent file or magnet link says.
#[derive(clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
