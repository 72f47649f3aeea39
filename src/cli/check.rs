//! `ringseed check`.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use ringseed_meta::Metainfo;
use ringseed_meta::geometry::FileKind;

use super::progress::HashingBar;
use super::torrent_file::{self, Pieces, Printable};
use crate::store::hashing::{Options, Reads, Runtime, Verified, verify};

/// Compares data on disk with its .torrent file. Exit code 1: something is bad.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The .torrent file.
    file: PathBuf,
    /// The folder that contains the torrent's file or folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Hashing threads; 0 takes one for each core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let metainfo = torrent_file::read(&arguments.file)?;
    let data = &arguments.data;
    anyhow::ensure!(
        data.is_dir(),
        "'{}' is no folder; --data names the folder that contains '{}'",
        data.display(),
        Printable(metainfo.name())
    );
    let mut bar = HashingBar::new();
    let never = AtomicBool::new(false);
    let runtime = Runtime::new(Reads::Ring)?;
    let options = Options { threads: arguments.threads, cancel: &never, runtime: &runtime };
    let verified = verify(&metainfo, data, &options, &mut |progress| bar.show(progress));
    bar.finish();
    let verified = verified.with_context(|| format!("cannot check '{}'", data.display()))?;
    print(&metainfo, &verified);
    Ok(if verified.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(metainfo: &Metainfo, verified: &Verified) {
    let (good, all) = (verified.have.count(), verified.have.piece_count());
    say!("{}: {good} of {all} pieces are good", Printable(metainfo.name()));
    for fault in &verified.faults {
        say!("{}", Printable(&fault.to_string()));
    }
    let bad = verified.bad_pieces();
    if bad.is_empty() {
        return;
    }
    say!("Bad pieces: {}", Pieces(&bad));
    let geometry = metainfo.geometry();
    for file in geometry.files().filter(|file| file.kind == FileKind::Content) {
        let pieces = geometry.pieces_of(file.index);
        let of_file: Vec<Range<u32>> = bad
            .iter()
            .map(|range| range.start.max(pieces.start)..range.end.min(pieces.end))
            .filter(|range| !range.is_empty())
            .collect();
        if !of_file.is_empty() {
            say!("  {}: {}", Printable(file.path), Pieces(&of_file));
        }
    }
}
