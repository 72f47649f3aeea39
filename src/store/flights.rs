//! What any worker is fetching, by device and inode, shared without a lock: the system counts pages
//! that are still being read as resident, whoever asked for them, and a worker that spliced them would
//! wait for the disk. It waits by a read of a byte of each instead, which the system ends when they are
//! there, and asks for none of them again.
//!
//! A counting Bloom filter: a window has two cells, and others have them too. A hit may be false, and then
//! costs a fetch of what is there already; a miss is true.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::DefaultHashBuilder;

use super::devices::Devices;
use super::files::FileId;

pub mod limits {
    //! Bounds of the table.

    /// Cells, of four bytes. With three thousand windows on their way (a hundred peers that wait for half a
    /// megabyte each) one run of 32 windows in fifty is a false hit; with a single cell for a window, and
    /// an eighth of the cells, it was nearly each.
    pub const CELLS: usize = 1 << 18;
}

/// Windows of files that are on their way.
pub struct Flights {
    windows: AtomicU32,
    cells: Box<[AtomicU32]>,
    hasher: DefaultHashBuilder,
    devices: Devices,
}

impl Default for Flights {
    fn default() -> Flights {
        Flights {
            windows: AtomicU32::new(0),
            cells: (0..limits::CELLS).map(|_| AtomicU32::new(0)).collect(),
            hasher: DefaultHashBuilder::default(),
            devices: Devices::default(),
        }
    }
}

impl Flights {
    /// What they are read from.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    fn cells(&self, file: FileId, window: u64) -> [&AtomicU32; 2] {
        let hash = self.hasher.hash_one((file, window));
        [hash, hash >> 32].map(|part| &self.cells[part as usize % self.cells.len()])
    }

    /// A window is asked for.
    pub(super) fn begin(&self, file: FileId, window: u64) {
        self.windows.fetch_add(1, Ordering::Relaxed);
        for cell in self.cells(file, window) {
            cell.fetch_add(1, Ordering::Release);
        }
    }

    /// A window has come, or will not.
    pub(super) fn end(&self, file: FileId, window: u64) {
        for cell in self.cells(file, window) {
            cell.fetch_sub(1, Ordering::Release);
        }
        self.windows.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether any worker has one of the windows on its way.
    pub(super) fn is_any(&self, file: FileId, mut windows: std::ops::RangeInclusive<u64>) -> bool {
        self.windows.load(Ordering::Relaxed) > 0
            && windows.any(|window| {
                let cells = self.cells(file, window);
                cells.iter().all(|cell| cell.load(Ordering::Acquire) > 0)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_hits_are_false() {
        let flights = Flights::default();
        let file = |inode| FileId { device: 1, inode };
        (0..3_000).for_each(|window| flights.begin(file(1), window));
        assert!((0..3_000).all(|window| flights.is_any(file(1), window..=window)));
        let runs = (0..1_000).map(|run| 32 * run..=32 * run + 31);
        let hits = runs.filter(|run| flights.is_any(file(2), run.clone())).count();
        assert!(hits < 50, "{hits} of 1,000");
    }

    #[test]
    fn a_window_is_under_way_until_all_who_asked_for_it_have_it() {
        let flights = Flights::default();
        let file = FileId { device: 1, inode: 2 };
        assert!(!flights.is_any(file, 0..=9));
        flights.begin(file, 4);
        flights.begin(file, 4);
        assert!(flights.is_any(file, 0..=9));
        flights.end(file, 4);
        assert!(flights.is_any(file, 4..=4));
        flights.end(file, 4);
        assert!(!flights.is_any(file, 0..=9));
    }
}
