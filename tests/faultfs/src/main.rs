//! `faultfs`: mounts a mirror until SIGTERM or SIGINT.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use ringseed_faultfs::{Command, Mount};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Mirrors a folder read-only on FUSE, with faults in its reads, until SIGTERM or SIGINT.
///
/// Faults are told in words, as arguments here or as lines written to the file `.faultfs` at the
/// mount's root: `delay MS [FILE]`, `delay-stat MS`, `delay-flush MS`, `hang VERB`,
/// `direct`, `error ERRNO FROM..TO FILE`, `end AT FILE`, `heal [FILE]`. VERB is lookup, getattr, open,
/// read or flush. Reading that file gives the counters of each file. FILE is a path below the root.
/// One line on standard output says that it is mounted.
#[derive(Parser)]
#[command(name = "faultfs")]
struct Arguments {
    /// The folder to mirror.
    source: PathBuf,
    /// An empty folder to mount it at.
    mountpoint: PathBuf,
    /// Faults from the start, each one argument, such as 'delay 200'.
    faults: Vec<Command>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot wait for signals")?;
    let (source, at) = (arguments.source, arguments.mountpoint);
    let mount = Mount::that_flushes(&source, &at).with_context(|| {
        format!(
            "cannot mount {} at {}; it needs /dev/fuse, and root or fusermount3",
            source.display(),
            at.display()
        )
    })?;
    arguments.faults.into_iter().for_each(|command| mount.obey(command));
    println!("mounted {}", mount.path().display());
    signals.forever().next();
    Ok(())
}
