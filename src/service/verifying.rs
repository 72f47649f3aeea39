//! Verification of data before it is seeded, on a thread of its own, one torrent after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringseed_meta::Metainfo;
use tokio::sync::mpsc;

use super::Hashing;
use super::library::Known;
use super::state::{Record, StateFolder};
use crate::store::hashing::{self, HashingError, Reads, Runtime, Verified};

/// Verdicts that wait to be read; progress beyond it is dropped.
const VERDICTS_MAX: usize = 64;

/// Ranges of bad pieces that an error names.
const RANGES_NAMED_MAX: usize = 8;

/// What verification says, as it goes.
pub(super) enum Verdict {
    Progress { what: String, progress: Hashing },
    Good(usize),
    Bad { index: usize, file: Option<PathBuf>, message: String },
}

/// Verification under way.
pub(super) struct Verifier {
    verdicts: mpsc::Receiver<Verdict>,
    cancel: Arc<AtomicBool>,
}

impl Verifier {
    /// Verifies these torrents (by their index) in order, and records what was good. Returns when
    /// it has begun: its thread has the ring that it needs.
    pub(super) fn start(
        torrents: Vec<(usize, Known)>,
        state: Arc<StateFolder>,
        reads: Reads,
    ) -> Result<Verifier, HashingError> {
        let (tell, verdicts) = mpsc::channel(VERDICTS_MAX);
        let cancel = Arc::new(AtomicBool::new(false));
        if torrents.is_empty() {
            return Ok(Verifier { verdicts, cancel });
        }
        let cancelled = cancel.clone();
        let (begun, begin) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("verify".into());
        let work = move || {
            let runtime = match Runtime::new(reads) {
                Ok(runtime) => runtime,
                Err(error) => return drop(begun.send(Err(error))),
            };
            let _ = begun.send(Ok(()));
            for (index, torrent) in torrents {
                let options =
                    hashing::Options { threads: 0, cancel: &cancelled, runtime: &runtime };
                let verdict = verify(index, &torrent, &state, &options, &tell);
                if cancelled.load(Ordering::Relaxed) || tell.blocking_send(verdict).is_err() {
                    return;
                }
            }
        };
        thread.spawn(work).map_err(HashingError::Threads)?;
        begin.recv().unwrap_or(Err(HashingError::ThreadLost))?;
        Ok(Verifier { verdicts, cancel })
    }

    /// The next word, or `None` when all is verified.
    pub(super) async fn next(&mut self) -> Option<Verdict> {
        self.verdicts.recv().await
    }

    /// Ends it soon; what is under way is not recorded.
    pub(super) fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

fn verify(
    index: usize,
    torrent: &Known,
    state: &StateFolder,
    options: &hashing::Options<'_>,
    tell: &mpsc::Sender<Verdict>,
) -> Verdict {
    let path = &torrent.torrent_file;
    let bad = |file, message| Verdict::Bad { index, file, message };
    let metainfo = super::library::read_torrent(path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| Metainfo::parse(&bytes).map_err(|error| error.to_string()));
    let metainfo = match metainfo {
        Ok(metainfo) => metainfo,
        Err(error) => {
            let message = format!("cannot seed '{}': {error}", path.display());
            return bad(Some(path.clone()), message);
        }
    };
    let what = torrent.name.to_string();
    let mut progress = |progress: hashing::Progress| {
        let (done_bytes, total_bytes) = (progress.done_bytes, progress.total_bytes);
        let progress = Hashing { done_bytes, total_bytes };
        let _ = tell.try_send(Verdict::Progress { what: what.clone(), progress });
    };
    match hashing::verify(&metainfo, &torrent.root, options, &mut progress) {
        Ok(verified) if verified.is_complete() => {
            let record = Record { root: torrent.root.clone(), stamps: verified.files };
            match state.write_record(&torrent.key(), &record) {
                Ok(()) => Verdict::Good(index),
                Err(error) => bad(None, error.to_string()),
            }
        }
        Ok(verified) => {
            let file = verified.faults.first().map(|fault| fault.path.clone());
            bad(file, describe(torrent, &verified))
        }
        Err(HashingError::Cancelled) => bad(None, "verification was cancelled".into()),
        Err(error) => bad(None, format!("cannot verify '{}': {error}", torrent.name)),
    }
}

/// What is wrong with the data, in one line.
fn describe(torrent: &Known, verified: &Verified) -> String {
    let fault = verified.faults.first().map(|fault| format!(": {fault}"));
    let all = verified.have.piece_count();
    let lacking = all - verified.have.count();
    let ranges = verified.bad_pieces();
    let mut named: Vec<String> = ranges
        .iter()
        .take(RANGES_NAMED_MAX)
        .map(|range| match range.len() {
            1 => range.start.to_string(),
            _ => format!("{}-{}", range.start, range.end - 1),
        })
        .collect();
    if ranges.len() > RANGES_NAMED_MAX {
        named.push("...".into());
    }
    format!(
        "cannot seed '{}' from '{}': {lacking} of {all} pieces are bad ({}){}; only whole \
         torrents are seeded, 'ringseed check' lists what is bad",
        torrent.name,
        torrent.root.display(),
        named.join(", "),
        fault.unwrap_or_default()
    )
}
