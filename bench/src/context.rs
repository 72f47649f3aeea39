//! What the threads of a load are given, and how they are started.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::Context as _;
use ringseed_ring::system;

use crate::clock::{Clock, Schedule};
use crate::note::{Event, Note};
use crate::plan::Place;

/// The surroundings of a load's threads within a phase.
#[derive(Clone, Debug)]
pub struct Context {
    /// Index of the load within the phase.
    pub load: usize,
    /// The run's clock.
    pub clock: Clock,
    /// The phase's times.
    pub schedule: Arc<Schedule>,
    /// Where threads run; at least one.
    pub places: Arc<[Place]>,
    /// To the main thread.
    pub tell: Sender<Note>,
}

impl Context {
    /// Tells the main thread.
    pub fn tell(&self, event: Event) {
        // The main thread has gone only when the run has failed.
        let _ =
            self.tell.send(Note { thread: std::thread::current().id(), load: self.load, event });
    }

    /// Starts a thread of the load at a place. Its end, and its error, are told for it.
    pub fn spawn(
        &self,
        name: String,
        place: Place,
        work: impl FnOnce(&Context) -> Result<(), String> + Send + 'static,
    ) -> anyhow::Result<()> {
        let context = self.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let result = settle(&place).and_then(|()| work(&context));
            context.tell(Event::Ended(result));
        });
        thread.map(drop).context("cannot start a thread")
    }
}

/// Takes this thread to its place.
fn settle(place: &Place) -> Result<(), String> {
    if let Some(core) = place.core {
        system::pin_thread(core).map_err(|why| format!("cannot run on core {core}: {why}"))?;
    }
    if let Some(namespace) = &place.namespace {
        system::enter_network_namespace(namespace).map_err(|why| {
            let path = namespace.display();
            format!(
                "cannot enter the network namespace '{path}': {why} (it needs CAP_SYS_ADMIN, and a \
                 namespace that `ip netns add` made)"
            )
        })?;
    }
    // An open loop is to be on time; it fails on no system that has the call.
    let _ = system::set_timer_slack(std::time::Duration::from_nanos(1));
    Ok(())
}
