//! Flags into a plan; no more.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use ringseed_meta::limits::TORRENT_FILE_BYTES_MAX;
use ringseed_meta::{InfoHash, Metainfo};

use crate::limits::{CONNECTIONS_MAX, DEPTH_MAX};
use crate::observer::Nobody;
use crate::order::Order;
use crate::plan::{Kind, Load, Phase, Place, Plan, Seeder};
use crate::run::run;
use crate::target::{Pieces, parse_info_hash};

/// Load generator for BitTorrent seeders.
#[derive(Debug, Parser)]
#[command(name = "ringseed-swarm", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep requests outstanding on many connections, drop the blocks that come, and tell rate,
    /// latency and CPU cost. Every block's header is checked; its bytes are not.
    Flood(Flood),
}

#[derive(Debug, Args)]
struct Flood {
    /// Address and port of the seeder
    #[arg(value_name = "ADDR:PORT")]
    target: SocketAddr,
    /// Leechers to run
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    connections: u32,
    /// Requests that each keeps outstanding
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=i64::from(DEPTH_MAX)))]
    depth: u32,
    /// Length of the time that counts, seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Load before that time, seconds
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// How long the seeder may take to unchoke all connections, seconds
    #[arg(long, default_value_t = 20)]
    opening: u64,
    /// Process of the seeder: its CPU time is told apart
    #[arg(long)]
    pid: Option<u32>,
    /// Source address of the connections; with '..' behind it each has its own, counting up
    #[arg(long, value_name = "ADDR[..]")]
    from: Option<From>,
    /// Order in which pieces are asked for: sequential, random, hot-set[:R:P]
    #[arg(long, default_value = "sequential")]
    order: Order,
    /// Cores to run on, a thread on each [default: one thread on no core in particular]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    core: Vec<usize>,
    /// Hash every piece that comes, and end the run at a wrong one; needs --torrent. The load then
    /// costs more than most seeders: its CPU figures are no measure of them
    #[arg(long, requires = "torrent")]
    verify: bool,
    /// Tell the result as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    torrent: Torrent,
}

/// The torrent: its file, or what a request needs to know of it.
#[derive(Debug, Args)]
struct Torrent {
    /// The .torrent file (of a hybrid, its v1 swarm is asked for)
    #[arg(long, value_name = "FILE", conflicts_with = "info_hash")]
    torrent: Option<PathBuf>,
    /// Without the file: infohash of the torrent (v2: the first 40 digits)
    #[arg(long, value_name = "HEX", requires_all = ["piece_length", "total_bytes"])]
    info_hash: Option<String>,
    /// Bytes of a piece
    #[arg(long, value_name = "BYTES")]
    piece_length: Option<u32>,
    /// Bytes of all pieces
    #[arg(long, value_name = "BYTES")]
    total_bytes: Option<u64>,
}

impl Torrent {
    fn read(&self) -> anyhow::Result<Asked> {
        if let Some(path) = &self.torrent {
            return read_file(path).with_context(|| format!("cannot ask for '{}'", path.display()));
        }
        let (Some(info_hash), Some(piece_length), Some(total_bytes)) =
            (&self.info_hash, self.piece_length, self.total_bytes)
        else {
            bail!(
                "which torrent? Give --torrent, or --info-hash, --piece-length and --total-bytes"
            );
        };
        let pieces = Pieces::even(piece_length, total_bytes)?;
        Ok(Asked { info_hash: parse_info_hash(info_hash)?, pieces, metainfo: None })
    }
}

/// What a torrent is to a leecher.
struct Asked {
    info_hash: InfoHash,
    pieces: Pieces,
    metainfo: Option<Arc<Metainfo>>,
}

fn read_file(path: &Path) -> anyhow::Result<Asked> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > TORRENT_FILE_BYTES_MAX as u64 {
        bail!("{bytes} bytes; a torrent file has at most {TORRENT_FILE_BYTES_MAX}");
    }
    let metainfo = Metainfo::parse(&std::fs::read(path)?)?;
    let info_hash = metainfo.swarms().next().context("it names no swarm")?;
    let pieces = Pieces::of(metainfo.geometry())?;
    Ok(Asked { info_hash, pieces, metainfo: Some(Arc::new(metainfo)) })
}

/// A source address, or the first of many.
#[derive(Clone, Copy, Debug)]
struct From {
    first: IpAddr,
    counting_up: bool,
}

impl std::str::FromStr for From {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<From, Self::Err> {
        let first = text.strip_suffix("..");
        Ok(From { first: first.unwrap_or(text).parse()?, counting_up: first.is_some() })
    }
}

impl Cli {
    /// Does what the flags say; prints the result.
    pub fn run(self) -> anyhow::Result<()> {
        let Command::Flood(flood) = self.command;
        let results = run(&flood.plan()?, &mut Nobody)?;
        let mut out = std::io::stdout();
        if flood.json {
            serde_json::to_writer(&mut out, &results)?;
        } else {
            serde_json::to_writer_pretty(&mut out, &results)?;
        }
        writeln!(out)?;
        match results.failures.first() {
            Some(failure) => bail!("{failure}"),
            None => Ok(()),
        }
    }
}

impl Flood {
    fn plan(&self) -> anyhow::Result<Plan> {
        let Asked { info_hash, pieces, metainfo } = self.torrent.read()?;
        let place = |core| Place { core, namespace: None };
        let places = match self.core.is_empty() {
            true => vec![place(None)],
            false => self.core.iter().map(|core| place(Some(*core))).collect(),
        };
        let kind = Kind::Flood {
            connections: self.connections,
            depth: self.depth,
            order: self.order,
            verify: self.verify,
        };
        Ok(Plan {
            title: "flood".into(),
            seeder: Some(Seeder { address: self.target, info_hash, pieces, metainfo }),
            tracker: None,
            pid: self.pid,
            from: self.from.map(|from| (from.first, u32::from(from.counting_up))),
            places,
            phases: vec![Phase {
                name: "flood".into(),
                opening: Duration::from_secs(self.opening),
                warm_up: Duration::from_secs(self.warm_up),
                length: Duration::from_secs(self.seconds),
                loads: vec![Load { name: "flood".into(), kind }],
            }],
        })
    }
}
