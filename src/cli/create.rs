//! `ringseed create`.

use std::process::ExitCode;

/// Makes a .torrent file of a file or folder.
#[derive(clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
