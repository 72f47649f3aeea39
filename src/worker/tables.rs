//! How much a worker keeps of its connections, for tests that see that nothing is left of them.

use ringseed_ring::Kernel;

use super::Worker;

/// How many entries a worker's tables have that grow with its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tables {
    /// For connections, taken or free.
    pub places: usize,
    /// That are here.
    pub connections: usize,
    /// Of connections, those that have gone among them.
    pub deadlines: usize,
    /// Connections that wait for their turn.
    pub ready: usize,
    /// That hold their share, those that have gone among them.
    pub held_back: usize,
    pub fetches: usize,
    pub opens: usize,
    /// Connections that wait for the next tick.
    pub for_next_tick: usize,
    /// Ops and reports that nobody had room for.
    pub postponed: usize,
}

impl<K: Kernel> Worker<K> {
    /// What its tables have, for tests.
    pub fn tables(&self) -> Tables {
        Tables {
            places: self.places.len(),
            connections: self.places.len() - self.free.len(),
            deadlines: self.deadlines.len(),
            ready: self.fair.len(),
            held_back: self.held_back.len(),
            fetches: self.fetches.len(),
            opens: self.opens.len(),
            for_next_tick: self.for_next_tick.len(),
            postponed: self.deferred.len() + self.unreported.len(),
        }
    }
}
