//! The announces under way, each a task, so that they wait side by side.

use super::reply::{Failed, Reply};
use super::state::Announce;
use ringseed_sched::announce::Event;
use tokio::task::{AbortHandle, Id, JoinSet};

struct Flight {
    announce: Announce,
    abort: AbortHandle,
}

/// Tasks and what they announce. Dropped, they end.
#[derive(Default)]
pub(super) struct Flights {
    tasks: JoinSet<Reply>,
    flights: hashbrown::HashMap<Id, Flight>,
}

impl Flights {
    pub(super) fn begin(
        &mut self,
        announce: Announce,
        task: impl Future<Output = Reply> + Send + 'static,
    ) {
        let abort = self.tasks.spawn(task);
        self.flights.insert(abort.id(), Flight { announce, abort });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// The next one that ends, and how; `None` when none is under way. May be dropped and called
    /// again.
    pub(super) async fn next(&mut self) -> Option<(Announce, Reply)> {
        loop {
            let (id, reply) = match self.tasks.join_next_with_id().await? {
                Ok(ended) => ended,
                Err(error) if error.is_cancelled() => (error.id(), Err(Failed::broken_off())),
                // A bug below us is this announce's end and nobody else's.
                Err(error) => (error.id(), Err(Failed::refused("its answer could not be read"))),
            };
            if let Some(flight) = self.flights.remove(&id) {
                return Some((flight.announce, reply));
            }
        }
    }

    /// Ends all that are no last words.
    pub(super) fn break_off(&mut self) {
        let others = self.flights.values().filter(|flight| flight.announce.event != Event::Stopped);
        others.for_each(|flight| flight.abort.abort());
    }
}
