//! Which seeder, and which torrent is asked for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use ringseed_meta::Metainfo;
use ringseed_meta::limits::TORRENT_FILE_BYTES_MAX;

use crate::plan::Seeder;
use crate::target::{Pieces, parse_info_hash};

/// The torrent: its file, or what a request needs to know of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Torrent")]
pub(super) struct Torrent {
    /// The .torrent file (of a hybrid, its v1 swarm is asked for)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["info_hash", "piece_length", "total_bytes"])]
    torrent: Option<PathBuf>,
    /// Without the file: infohash of the torrent (v2: the first 40 digits)
    #[arg(long, value_name = "HEX", requires_all = ["piece_length", "total_bytes"])]
    info_hash: Option<String>,
    /// Without the file: bytes of a piece
    #[arg(long, value_name = "BYTES", requires = "info_hash")]
    piece_length: Option<u32>,
    /// Without the file: bytes of all pieces
    #[arg(long, value_name = "BYTES", requires = "info_hash")]
    total_bytes: Option<u64>,
}

impl Torrent {
    /// The seeder at `address` with this torrent.
    pub(super) fn at(&self, address: SocketAddr) -> anyhow::Result<Seeder> {
        if let Some(path) = &self.torrent {
            return of_file(address, path)
                .with_context(|| format!("--torrent '{}'", path.display()));
        }
        let (Some(info_hash), Some(piece_length), Some(total_bytes)) =
            (&self.info_hash, self.piece_length, self.total_bytes)
        else {
            bail!(
                "which torrent? Give --torrent, or --info-hash, --piece-length and --total-bytes"
            );
        };
        let info_hash = parse_info_hash(info_hash).context("--info-hash")?;
        let pieces =
            Pieces::even(piece_length, total_bytes).context("--piece-length, --total-bytes")?;
        Ok(Seeder { address, info_hash, pieces, metainfo: None })
    }

    /// Whether no flag names one.
    pub(super) fn is_absent(&self) -> bool {
        self.torrent.is_none() && self.info_hash.is_none()
    }
}

fn of_file(address: SocketAddr, path: &Path) -> anyhow::Result<Seeder> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > TORRENT_FILE_BYTES_MAX as u64 {
        bail!("{bytes} bytes; a torrent file has at most {TORRENT_FILE_BYTES_MAX}: give another");
    }
    let metainfo = Metainfo::parse(&std::fs::read(path)?)?;
    let info_hash = metainfo.swarms().next().context("it names no swarm")?;
    let pieces = Pieces::of(metainfo.geometry())?;
    Ok(Seeder { address, info_hash, pieces, metainfo: Some(Arc::new(metainfo)) })
}

/// Reads an address with its port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let form = "an address with a port is needed, such as 127.0.0.1:6881 or [::1]:6881";
    let address: SocketAddr = text.parse().map_err(|_| form.to_owned())?;
    if address.port() == 0 { Err(format!("port 0 is none: {form}")) } else { Ok(address) }
}
