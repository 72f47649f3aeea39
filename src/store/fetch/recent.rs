//! What was fetched within the last second, for files whose residency the system does not tell.

use std::time::Duration;

use hashbrown::HashMap;
use ringseed_meta::Instant;
use ringseed_ring::Run;

use super::limits::{RECENT_MAX, RECENT_PAGE_BYTES};
use super::stretches_of;
use crate::store::files::FileId;

/// How long a fetched run counts as resident where the system will not say.
const RECENT: Duration = Duration::from_secs(1);

/// When pages were last fetched.
#[derive(Default)]
pub(super) struct Recent {
    pages: HashMap<(FileId, u64), Instant>,
    swept: Instant,
}

impl Recent {
    /// Remembers that `run` was fetched just now.
    pub(super) fn note(&mut self, run: Run, file: FileId, now: Instant) {
        if now.since(self.swept) >= RECENT {
            self.swept = now;
            self.pages.retain(|_, at| now.since(*at) < RECENT);
        }
        if self.pages.len() >= RECENT_MAX {
            // What is not remembered is fetched again, which is cheap when it is there.
            return;
        }
        for page in stretches_of(run, RECENT_PAGE_BYTES) {
            self.pages.insert((file, page), now);
        }
    }

    /// Whether all of `run` was fetched within the last second.
    pub(super) fn has(&self, run: Run, file: FileId, now: Instant) -> bool {
        stretches_of(run, RECENT_PAGE_BYTES)
            .all(|page| self.pages.get(&(file, page)).is_some_and(|at| now.since(*at) < RECENT))
    }
}
