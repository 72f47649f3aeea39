//! From the command line's paths to torrents that are known: .torrent files are read on all
//! cores, plain data gets its metainfo made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringseed_meta::InfoHash;

use super::library::{self, Known, Source};
use super::state::StateFolder;
use super::{Event, Options, ServiceError};

/// What the paths of the command line are. What fails is told and left out.
pub(super) fn find(options: &Options, on_event: &mut dyn FnMut(Event)) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in &options.paths {
        match library::find(path, options.data.as_deref()) {
            Ok(found) => sources.extend(found),
            Err(error) => tell(&error, path.clone(), on_event),
        }
    }
    sources
}

/// Whether something would have no tracker: plain data without `--tracker`; or one is asked for. A .torrent file that
/// names none was meant to be found by other means, and starts no server by itself.
pub(super) fn needs_tracker(sources: &[Source], options: &Options) -> bool {
    let is_bare = |source: &Source| matches!(source, Source::Data(_));
    options.tracker_listen.is_some() || (options.trackers.is_empty() && sources.iter().any(is_bare))
}

/// Everything that is to be seeded, in the order of the command line. What fails is told and left
/// out; a torrent that is named twice counts once.
pub(super) fn gather(
    sources: Vec<Source>,
    options: &Options,
    state: &StateFolder,
    announce_url: Option<&str>,
    on_event: &mut dyn FnMut(Event),
) -> Result<Vec<Known>, ServiceError> {
    let mut torrents: Vec<(PathBuf, PathBuf)> = Vec::new();
    for source in sources {
        match source {
            Source::Torrent { file, root } => torrents.push((file, root)),
            Source::Data(data) => {
                match super::making::torrent_for(&data, options, state, announce_url, on_event) {
                    Ok(made) => torrents.push(made),
                    Err(error @ ServiceError::Create { .. }) => tell(&error, data, on_event),
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(unique(read_all(&torrents, state, options.trust, on_event), on_event))
}

fn tell(error: &impl std::fmt::Display, file: PathBuf, on_event: &mut dyn FnMut(Event)) {
    let message = error.to_string();
    on_event(Event::Error { torrent: None, file: Some(file), message });
}

/// Reads .torrent files and verification records on all cores: both wait for the disk, and a
/// box may have 100,000 of them.
fn read_all(
    torrents: &[(PathBuf, PathBuf)],
    state: &StateFolder,
    trust: bool,
    on_event: &mut dyn FnMut(Event),
) -> Vec<Known> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(torrents.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((file, root)) = torrents.get(at) else { break };
                    let read = library::read(file, root, state, trust);
                    mine.push((at, read.map(|(known, _)| known)));
                }
                if let Ok(mut results) = results.lock() {
                    results.extend(mine);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_default();
    let mut known = Vec::with_capacity(results.len());
    for (at, result) in results {
        match result {
            Ok(torrent) => known.push(torrent),
            Err(error) => tell(&error, torrents[at].0.clone(), on_event),
        }
    }
    known
}

fn unique(torrents: Vec<Known>, on_event: &mut dyn FnMut(Event)) -> Vec<Known> {
    let mut seen: BTreeMap<InfoHash, PathBuf> = BTreeMap::new();
    torrents
        .into_iter()
        .filter(|torrent| match seen.get(&torrent.key()) {
            Some(first) => {
                on_event(Event::Note(format!(
                    "'{}' is the same torrent as '{}': seeded once",
                    torrent.torrent_file.display(),
                    first.display()
                )));
                false
            }
            None => {
                seen.insert(torrent.key(), torrent.torrent_file.clone());
                true
            }
        })
        .collect()
}
