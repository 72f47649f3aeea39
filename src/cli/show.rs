//! `ringseed show`.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use indicatif::BinaryBytes;
use ringseed_meta::geometry::FileKind;
use ringseed_meta::metainfo::Format;
use ringseed_meta::{Magnet, Metainfo};

use super::torrent_file::{self, Date, Printable};

/// Prints what a .torrent file or magnet link says.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A .torrent file or a magnet link.
    #[arg(value_name = "FILE|MAGNET")]
    torrent: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let torrent = &arguments.torrent;
    let scheme = torrent.get(.."magnet:".len()).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("magnet:") {
        show_magnet(&Magnet::parse(torrent)?);
    } else {
        show_metainfo(&torrent_file::read(Path::new(torrent))?);
    }
    Ok(ExitCode::SUCCESS)
}

/// One field a line, values in a column.
fn line(name: &str, value: impl Display) {
    say!("{name:<14}{value}");
}

/// A field that may be absent.
fn optional(name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        line(name, value);
    }
}

/// A field with several values, the name before the first.
fn list<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) {
    for (at, value) in values.into_iter().enumerate() {
        line(if at == 0 { name } else { "" }, Printable(value));
    }
}

fn show_magnet(magnet: &Magnet) {
    optional("Name", magnet.name.as_deref().map(Printable));
    optional("Infohash v1", magnet.info_hash_v1);
    optional("Infohash v2", magnet.info_hash_v2);
    optional("Size", magnet.content_bytes.map(size));
    list("Trackers", magnet.trackers.iter().map(AsRef::as_ref));
    list("Web seeds", magnet.web_seeds.iter().map(AsRef::as_ref));
    list("Peers", magnet.peers.iter().map(AsRef::as_ref));
    if !magnet.files.is_empty() {
        let ranges = magnet.files.iter().map(|(first, last)| match first == last {
            true => format!("{first}"),
            false => format!("{first}-{last}"),
        });
        line("Files wanted", ranges.collect::<Vec<_>>().join(", "));
    }
}

fn show_metainfo(metainfo: &Metainfo) {
    let (outer, geometry) = (metainfo.outer(), metainfo.geometry());
    line("Name", Printable(metainfo.name()));
    line(
        "Format",
        match metainfo.format() {
            Format::V1 => "v1",
            Format::V2 => "v2",
            Format::Hybrid => "hybrid (v1 and v2)",
        },
    );
    optional("Infohash v1", metainfo.info_hash_v1());
    optional("Infohash v2", metainfo.info_hash_v2());
    line("Size", size(geometry.content_bytes()));
    let piece_length = BinaryBytes(u64::from(geometry.piece_length()));
    line("Pieces", format!("{} of {piece_length}", geometry.piece_count()));
    line("Private", if metainfo.is_private() { "yes: peers from trackers only" } else { "no" });
    optional("Source", metainfo.source().map(Printable));
    optional("Comment", outer.comment.as_deref().map(Printable));
    optional("Created by", outer.created_by.as_deref().map(Printable));
    optional("Created", outer.creation_date.map(Date));
    for (number, tier) in (1..).zip(&outer.tiers) {
        list(&format!("Tier {number}"), tier.iter().map(AsRef::as_ref));
    }
    list("Web seeds", outer.web_seeds.iter().map(AsRef::as_ref));
    line("Magnet", Magnet::of(metainfo));
    show_files(metainfo);
}

fn show_files(metainfo: &Metainfo) {
    let files = metainfo.geometry().files().filter(|file| file.kind != FileKind::Pad);
    let pads = metainfo.geometry().file_count() - files.clone().count();
    let and_pads = if pads > 0 { format!(", and {pads} pads") } else { String::new() };
    let count = match files.clone().count() {
        1 => "1 file".into(),
        many => format!("{many} files"),
    };
    say!("\n{count}{and_pads}:");
    let width = files.clone().map(|file| file.length.to_string().len()).max().unwrap_or(0);
    for file in files {
        let arrow = if file.kind == FileKind::Symlink { " (symlink, ignored)" } else { "" };
        say!("  {:>width$}  {}{arrow}", file.length, Printable(file.path));
    }
}

fn size(bytes: u64) -> String {
    format!("{bytes} bytes ({})", BinaryBytes(bytes))
}
