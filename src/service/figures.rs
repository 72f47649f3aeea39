//! What was counted, for whoever shows it.

use ringseed_ring::system;

pub use crate::worker::counters::{DeviceFigures, Figures, Kind};
pub use crate::worker::histogram::Distribution;

/// All that a seeder has counted since its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Over all workers.
    pub total: Figures,
    /// Each worker's, with the core that it runs on.
    pub workers: Vec<(usize, Figures)>,
    /// Each device's that data files were opened on, by all workers.
    pub devices: Vec<DeviceFigures>,
    /// Gauge: threads that the system keeps for work of our rings that it could not do at once. It
    /// tells nobody how often it did so; such a thread stays for some seconds after its work. `None`:
    /// it cannot be read.
    pub io_worker_threads: Option<u64>,
}

impl Snapshot {
    pub(super) fn of(workers: Vec<(usize, Figures)>, devices: Vec<DeviceFigures>) -> Snapshot {
        let mut total = Figures::default();
        workers.iter().for_each(|(_, figures)| total.add(figures));
        let threads = system::io_worker_threads().ok();
        let io_worker_threads = threads.map(|threads| threads as u64);
        Snapshot { total, workers, devices, io_worker_threads }
    }
}
