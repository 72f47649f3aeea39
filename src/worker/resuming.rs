//! The rest of a batch of which the socket took a part: sent when the socket takes more, once its pages
//! are there.

use ringseed_meta::Instant;
use ringseed_ring::{Batch, Kernel, Outcome, Part, Verb};

use super::Worker;
use super::closing::How;
use super::connection::{Connection, Outgoing};
use super::mailbox::ConnectionId;

impl<K: Kernel> Worker<K> {
    pub(super) fn on_writable(&mut self, id: ConnectionId, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Failed(_) => self.close(id, How::Reset),
            _ => self.resume_if_room(id, now),
        }
    }

    /// The socket takes bytes again, or the pages of the rest came back: asks once more whether
    /// they are resident (they may have gone while the peer was slow), and sends the rest.
    pub(super) fn resume(&mut self, id: ConnectionId, now: Instant) {
        let Some(mut connection) = self.take(id) else { return };
        let waits = matches!(connection.outgoing, Outgoing::Blocked(_) | Outgoing::Refetching(_));
        if waits && connection.is_paused() {
            // By another worker, for data that changed: nothing of it leaves here either.
            self.finish(&mut connection, How::Reset);
            self.put(connection);
            return;
        }
        let was_fetched = matches!(connection.outgoing, Outgoing::Refetching(_));
        let batch = match std::mem::replace(&mut connection.outgoing, Outgoing::Nothing) {
            Outgoing::Blocked(batch) | Outgoing::Refetching(batch) => batch,
            other => {
                connection.outgoing = other;
                self.put(connection);
                return;
            }
        };
        if was_fetched && std::mem::take(&mut connection.copy_next) {
            self.copy_rest(&mut connection);
        }
        if batch.is_empty() {
            self.end_batch(&mut connection, batch);
        } else if connection.verb == Verb::Copy || self.rest_can_go(&mut connection, &batch, now) {
            let verb = connection.verb;
            self.hand_over(&mut connection, batch, verb);
        } else {
            connection.outgoing = Outgoing::Refetching(batch);
        }
        self.put(connection);
    }

    /// The rest of a batch goes by the copying verb.
    fn copy_rest(&mut self, connection: &mut Connection) {
        if connection.verb != Verb::Copy {
            connection.verb = Verb::Copy;
            self.shared.counters.copied_batches.add(1);
        }
    }

    /// Whether the rest of a batch can be sent now: its pages are there, or it is copied since they went
    /// again and again. Otherwise they are fetched.
    fn rest_can_go(&mut self, connection: &mut Connection, batch: &Batch, now: Instant) -> bool {
        let mut resident = true;
        for part in batch.remaining() {
            if let Part::Run(run) = part
                && !self.is_resident(run, now)
            {
                if resident && connection.vain.must_copy_rest() {
                    self.copy_rest(connection);
                    return true;
                }
                resident = false;
                connection.waits += self.fetch(run, connection.id, now);
            }
        }
        resident || connection.waits == 0
    }
}
