//! Metainfo for plain data: made once, kept in the state folder, made again when the data changed.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ringseed_meta::bencode::Writer;
use ringseed_meta::geometry::FileKind;
use ringseed_meta::metainfo::{Format, Metainfo, Outer};

use super::state::{Record, Source, StateFolder};
use super::{Event, Hashing, Options, ServiceError, starting};
use crate::store::creation::{CreateOptions, create};
use crate::store::hashing::survey;

/// The .torrent file of plain data, and the folder that its paths start from.
pub(super) fn torrent_for(
    data: &Path,
    options: &Options,
    state: &StateFolder,
    announce_url: Option<&str>,
    on_event: &mut dyn FnMut(Event),
) -> Result<(PathBuf, PathBuf), ServiceError> {
    let failed = |message| ServiceError::Create { path: data.to_owned(), message };
    let path = data.canonicalize().map_err(|error| failed(error.to_string()))?;
    let trackers: Vec<&str> = match options.trackers.is_empty() {
        true => announce_url.into_iter().collect(),
        false => options.trackers.iter().map(String::as_str).collect(),
    };
    if let Some(kept) = kept(&path, state) {
        let file = with_trackers(&kept.metainfo, &kept.bytes, &trackers, state)?;
        return Ok((file, kept.root));
    }
    let what = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let create_options = CreateOptions {
        format: Format::V1,
        piece_length: None,
        private: false,
        source: None,
        outer: outer(&trackers),
        tracker_set: Vec::new(),
        threads: 0,
        reads: starting::reads(options.kernel),
    };
    let mut progress = |progress: crate::store::hashing::Progress| {
        let (done_bytes, total_bytes) = (progress.done_bytes, progress.total_bytes);
        let progress = Hashing { done_bytes, total_bytes };
        on_event(Event::Hashing { what: what.clone(), progress });
    };
    let created = create(&path, &create_options, &AtomicBool::new(false), &mut progress)
        .map_err(|error| failed(error.to_string()))?;
    for skipped in &created.skipped {
        on_event(Event::Note(format!("'{}' is no regular file: left out", skipped.display())));
    }
    let key = key(&created.metainfo).ok_or_else(|| failed("it has no infohash".into()))?;
    let file = state.write_torrent(&key, &created.torrent)?;
    let root = created.data_dir;
    state.write_record(&key, &Record { root: root.clone(), stamps: created.files })?;
    state.write_source(&Source { path, info_hash: key })?;
    Ok((file, root))
}

fn key(metainfo: &Metainfo) -> Option<ringseed_meta::InfoHash> {
    metainfo.swarms().next()
}

fn outer(trackers: &[&str]) -> Outer {
    Outer {
        tiers: trackers.iter().map(|url| vec![(*url).into()]).collect(),
        created_by: Some(concat!("ringseed ", env!("CARGO_PKG_VERSION")).into()),
        ..Outer::default()
    }
}

/// What was made for a path before, when its files are still the same.
struct Kept {
    metainfo: Metainfo,
    bytes: Vec<u8>,
    root: PathBuf,
}

fn kept(path: &Path, state: &StateFolder) -> Option<Kept> {
    let source = state.source(path)?;
    let bytes = std::fs::read(state.torrent_file(&source.info_hash)).ok()?;
    let metainfo = Metainfo::parse(&bytes).ok()?;
    let record = state.record(&source.info_hash).ok()??;
    let geometry = metainfo.geometry();
    let (stamps, faults) = survey(geometry, &record.root);
    let known = geometry.files().filter(|file| file.kind == FileKind::Content).count();
    let is_same = faults.is_empty() && stamps == record.stamps && count_files(path) == Some(known);
    is_same.then_some(Kept { metainfo, bytes, root: record.root })
}

/// Regular files at or below a path, as a torrent of it would have them.
fn count_files(path: &Path) -> Option<usize> {
    let meta = std::fs::metadata(path).ok()?;
    if meta.is_file() {
        return Some(1);
    }
    let mut count = 0;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()? {
            let entry = entry.ok()?;
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                folders.push(entry.path());
            }
            count += usize::from(kind.is_file());
        }
    }
    Some(count)
}

/// The kept .torrent file, naming the trackers of this run. The info dictionary stays as it is,
/// byte for byte.
fn with_trackers(
    metainfo: &Metainfo,
    bytes: &[u8],
    trackers: &[&str],
    state: &StateFolder,
) -> Result<PathBuf, ServiceError> {
    let key = key(metainfo).unwrap_or(ringseed_meta::InfoHash([0; 20]));
    let is_same = metainfo.outer().trackers().eq(trackers.iter().copied());
    if is_same {
        return Ok(state.torrent_file(&key));
    }
    let limits = ringseed_meta::limits::TORRENT_FILE;
    let layers = ringseed_meta::bencode::parse(bytes, &limits).ok().and_then(|document| {
        document.root().get(b"piece layers").map(|value| value.raw().to_vec())
    });
    let mut writer = Writer::new();
    writer.dict(|dict| {
        if let Some(first) = trackers.first() {
            dict.bytes(b"announce", first.as_bytes());
        }
        if trackers.len() > 1 {
            dict.list(b"announce-list", |tiers| {
                for tracker in trackers {
                    tiers.list(|tier| tier.bytes(tracker.as_bytes()));
                }
            });
        }
        dict.bytes(b"created by", concat!("ringseed ", env!("CARGO_PKG_VERSION")).as_bytes());
        dict.raw(b"info", metainfo.info_bytes());
        if let Some(layers) = &layers {
            dict.raw(b"piece layers", layers);
        }
    });
    Ok(state.write_torrent(&key, &writer.finish())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringseed_sched::choke::Slots;

    fn options(trackers: &[&str]) -> Options {
        Options {
            paths: Vec::new(),
            data: None,
            listen: Vec::new(),
            cores: None,
            slots: Slots::Unlimited,
            trust: false,
            trackers: trackers.iter().map(|url| (*url).to_owned()).collect(),
            state_dir: None,
            kernel: ringseed_ring::KernelChoice::Auto,
            sandbox: Default::default(),
            zero_copy: ringseed_ring::ZeroCopy::Auto,
            congestion: None,
            connections_max: 1,
            connections_per_address_max: 0,
            tracker_listen: None,
            announce_host: None,
        }
    }

    struct Bench {
        _folder: tempfile::TempDir,
        data: PathBuf,
        state: StateFolder,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("set");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("a"), [7; 40_000]).unwrap();
        let state = StateFolder::open(folder.path().join("state")).unwrap();
        Bench { _folder: folder, data, state }
    }

    /// The metainfo made for the bench's data, and how often hashing was told of.
    fn make(bench: &Bench, trackers: &[&str]) -> (Metainfo, usize) {
        let mut hashings = 0;
        let (file, root) =
            torrent_for(&bench.data, &options(trackers), &bench.state, None, &mut |event| {
                hashings += usize::from(matches!(event, Event::Hashing { .. }));
            })
            .unwrap();
        assert_eq!(Some(root.as_path()), bench.data.canonicalize().unwrap().parent());
        (Metainfo::parse(&std::fs::read(file).unwrap()).unwrap(), hashings)
    }

    #[test]
    fn unchanged_data_is_not_hashed_again() {
        let bench = bench();
        let (first, hashings) = make(&bench, &["http://a/announce"]);
        assert!(hashings > 0);
        let (second, hashings) = make(&bench, &["http://a/announce"]);
        assert_eq!(hashings, 0);
        assert_eq!(first.info_bytes(), second.info_bytes());
    }

    #[test]
    fn another_tracker_changes_the_file_but_not_the_infohash() {
        let bench = bench();
        let (first, _) = make(&bench, &["http://a/announce"]);
        let (second, hashings) = make(&bench, &["http://b/announce", "udp://c:1"]);
        assert_eq!(hashings, 0);
        assert_eq!(first.info_hash_v1(), second.info_hash_v1());
        let trackers: Vec<&str> = second.outer().trackers().collect();
        assert_eq!(trackers, ["http://b/announce", "udp://c:1"]);
    }

    #[test]
    fn data_that_changed_or_grew_gets_a_torrent_of_its_own() {
        let bench = bench();
        let (first, _) = make(&bench, &[]);
        std::fs::write(bench.data.join("b"), b"new").unwrap();
        let (second, hashings) = make(&bench, &[]);
        assert!(hashings > 0);
        assert_ne!(first.info_hash_v1(), second.info_hash_v1());
        std::fs::write(bench.data.join("b"), b"changed").unwrap();
        let (third, _) = make(&bench, &[]);
        assert_ne!(second.info_hash_v1(), third.info_hash_v1());
    }
}
