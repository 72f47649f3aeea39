//! `ringseed create`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use ringseed_meta::Magnet;
use ringseed_meta::limits::{TRACKER_SET_LISTED, TRACKERS_MAX, URL_BYTES_MAX, WEB_SEEDS_MAX};
use ringseed_meta::metainfo::{Format, Outer};

use super::progress::HashingBar;
use super::torrent_file::Printable;
use crate::store::creation::{CreateOptions, Created, create};
use crate::store::hashing::Reads;

/// Makes a .torrent file of a file or folder.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The file or folder to share. Symlinks in a folder are left out.
    path: PathBuf,
    /// Where to write the .torrent file [default: the name of PATH and .torrent, here].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrites the output if it exists.
    #[arg(long)]
    force: bool,
    /// BitTorrent v1 (SHA-1), which all clients read; the default.
    #[arg(long, group = "format")]
    v1: bool,
    /// BitTorrent v2 (SHA-256 merkle trees), for clients that know BEP 52.
    #[arg(long, group = "format")]
    v2: bool,
    /// Both in one file: two infohashes and two swarms, and pad files that older clients see.
    #[arg(long, group = "format")]
    hybrid: bool,
    /// Bytes of a piece; a power of two from 16384 for v2 and hybrid [default: by size].
    #[arg(long, value_name = "BYTES")]
    piece_length: Option<u32>,
    /// A tracker to announce to. Repeat it for more: each is a tier of its own, tried in order.
    #[arg(long, value_name = "URL", value_parser = url)]
    tracker: Vec<String>,
    /// Trackers that share all torrents among them: URLs with commas between, or a file with one a line.
    /// Those that come first by the infohash are tiers, before those of --tracker (docs/scaling.md).
    #[arg(long, value_name = "FILE|URL,URL,..")]
    tracker_set: Option<String>,
    /// Peers come from the trackers only: no DHT, no exchange of peers (BEP 27).
    #[arg(long)]
    private: bool,
    /// A remark for those who open the file.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Where it is published; makes the infohash another one.
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// A web server that has the content (BEP 19). Repeat it for more.
    #[arg(long, value_name = "URL", value_parser = url)]
    web_seed: Vec<String>,
    /// Hashing threads; 0 takes one for each core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

fn url(text: &str) -> Result<String, String> {
    if !text.contains("://") || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a URL like http://host:port/announce or udp://host:port is needed".into());
    }
    if text.len() > URL_BYTES_MAX {
        return Err(format!("{} bytes; at most {URL_BYTES_MAX} are allowed", text.len()));
    }
    Ok(text.into())
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let path = &arguments.path;
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => default_output(path)?,
    };
    // Before the hashing, which may take hours; and again when the file is made.
    if !arguments.force && output.exists() {
        anyhow::bail!("'{}' exists; --force overwrites it", output.display());
    }
    let options = options(arguments)?;
    let mut bar = HashingBar::new();
    let never = AtomicBool::new(false);
    let created = create(path, &options, &never, &mut |progress| bar.show(progress));
    bar.finish();
    let created =
        created.with_context(|| format!("cannot make a torrent of '{}'", path.display()))?;
    for skipped in &created.skipped {
        eprintln!("ringseed: '{}' is no regular file and was left out", skipped.display());
    }
    write(&output, &created.torrent, arguments.force)
        .with_context(|| format!("cannot write '{}'", output.display()))?;
    print(&created, &output);
    Ok(ExitCode::SUCCESS)
}

fn default_output(path: &Path) -> anyhow::Result<PathBuf> {
    let named = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().with_context(|| format!("cannot read '{}'", path.display()))?,
    };
    let mut name = named.file_name().unwrap_or_default().to_owned();
    name.push(".torrent");
    Ok(name.into())
}

/// The URLs of a set, given as they are or in a file.
fn tracker_set(given: &str) -> anyhow::Result<Vec<Box<str>>> {
    let named = |text: &str| {
        let named = url(text).map(Into::into);
        named.map_err(|wrong| anyhow::anyhow!("--tracker-set: '{}': {wrong}", Printable(text)))
    };
    let set: Vec<Box<str>> = if given.contains("://") {
        given.split(',').map(named).collect::<Result<_, _>>()?
    } else {
        let text = std::fs::read_to_string(given).with_context(|| {
            format!("--tracker-set: cannot read '{given}'; name a file with a URL a line, or URLs")
        })?;
        let lines = text.lines().map(str::trim);
        let urls = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        urls.map(named).collect::<Result<_, _>>()?
    };
    anyhow::ensure!(!set.is_empty(), "--tracker-set: '{given}' names no tracker: add a URL a line");
    Ok(set)
}

fn options(arguments: &Arguments) -> anyhow::Result<CreateOptions> {
    let Arguments { tracker, web_seed, .. } = arguments;
    let set = arguments.tracker_set.as_deref().map(tracker_set).transpose()?.unwrap_or_default();
    for (what, count, limit) in [
        ("trackers", tracker.len() + TRACKER_SET_LISTED.min(set.len()), TRACKERS_MAX),
        ("trackers of a set", set.len(), TRACKERS_MAX),
        ("web seeds", web_seed.len(), WEB_SEEDS_MAX),
    ] {
        anyhow::ensure!(count <= limit, "{count} {what}; at most {limit} are supported");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(CreateOptions {
        format: match (arguments.v2, arguments.hybrid) {
            (true, _) => Format::V2,
            (_, true) => Format::Hybrid,
            _ => Format::V1,
        },
        piece_length: arguments.piece_length,
        private: arguments.private,
        source: arguments.source.clone(),
        outer: Outer {
            tiers: tracker.iter().map(|url| vec![url.as_str().into()]).collect(),
            web_seeds: web_seed.iter().map(|url| url.as_str().into()).collect(),
            comment: arguments.comment.as_deref().map(Box::from),
            created_by: Some(concat!("ringseed ", env!("CARGO_PKG_VERSION")).into()),
            creation_date: i64::try_from(now).ok(),
        },
        tracker_set: set,
        threads: arguments.threads,
        reads: Reads::Ring,
    })
}

/// Writes beside the place and renames, so that nobody ever reads half a torrent.
fn write(output: &Path, torrent: &[u8], force: bool) -> std::io::Result<()> {
    let mut beside = output.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside)?;
    let written = file.write_all(torrent).and_then(|()| file.sync_all()).and_then(|()| {
        // A link refuses to replace a file that came to be while we hashed.
        if force { std::fs::rename(&beside, output) } else { std::fs::hard_link(&beside, output) }
    });
    if !force || written.is_err() {
        std::fs::remove_file(&beside)?;
    }
    written
}

fn print(created: &Created, output: &Path) {
    let metainfo = &created.metainfo;
    say!("{:<10}{}", "Name", Printable(metainfo.name()));
    if let Some(hash) = metainfo.info_hash_v1() {
        say!("{:<10}{hash}", "Infohash");
    }
    if let Some(hash) = metainfo.info_hash_v2() {
        say!("{:<10}{hash}", "v2");
    }
    say!("{:<10}{}", "Magnet", Magnet::of(metainfo));
    say!("{:<10}{}", "Written", output.display());
}
