//! Fetching ahead for a peer that reads on.

use ringseed_meta::Instant;
use ringseed_ring::{Kernel, Residency, Run};

use super::Worker;
use super::connection::Connection;
use crate::store::content::Content;
use crate::store::fetch::Rest;

impl<K: Kernel> Worker<K> {
    /// `runs` were planned for the next batch, and the queue goes on behind its first `planned` blocks.
    /// Where the last of them is being fetched, what the peer reads next is fetched with it.
    pub(super) fn read_on(
        &mut self,
        connection: &mut Connection,
        content: &Content,
        runs: impl Iterator<Item = Run>,
        planned: usize,
        now: Instant,
    ) {
        runs.for_each(|run| connection.onward.planned(run));
        if !connection.onward.is_due(connection.waits > 0) {
            return;
        }
        let Some(rest) = self.rest_of_file(connection, content, planned) else { return };
        let Some(run) = connection.onward.next(rest) else { return };
        let Some(source) = self.files.source_of(run.file).filter(|source| source.is_kept(now))
        else {
            return;
        };
        if self.kernel.residency(run) == Residency::Resident {
            connection.onward.fetched_to(None);
            return;
        }
        let mut steps = std::mem::take(&mut self.scratch.steps);
        if self.fetches.read_ahead(run, source, now, &mut steps) {
            self.shared.counters.fetches.add(1);
            self.files.pin(run.file);
            connection.onward.fetched_to(Some(run));
        }
        self.take_steps(&mut steps, now);
        self.scratch.steps = steps;
    }

    /// How far the peer's queue goes on in the file that it reads, and where that ends.
    fn rest_of_file(
        &self,
        connection: &Connection,
        content: &Content,
        planned: usize,
    ) -> Option<Rest> {
        let last = connection.onward.last()?;
        let (_, index) = self.files.key_of(last.file)?;
        let geometry = content.geometry();
        let mut asked_end = last.offset + u64::from(last.length);
        'queue: for block in connection.requests.iter().skip(planned) {
            for span in geometry.spans(*block) {
                if span.is_pad || span.file != index || span.offset != asked_end {
                    break 'queue;
                }
                asked_end += u64::from(span.length);
            }
        }
        let file_bytes = geometry.file(index)?.length;
        Some(Rest { asked_end, file_bytes, piece_bytes: geometry.piece_length() })
    }
}
