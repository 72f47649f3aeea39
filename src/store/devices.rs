//! Devices that files are read from: how much each may be asked for at a time, whether it makes its
//! callers wait, and how long its fetches took. Shared by all workers without a lock.
//!
//! A block device has so many tags; readahead(2) that finds none left waits, and the worker with it.
//! So the bios in flight stay below the tags of each device, and a device whose queue is full holds up
//! nobody's fetches from another. A worker that has nothing in flight at a device may always begin
//! one fetch: who waits for the budget has a completion to come that lets it look again, so nobody
//! waits for another worker.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ringseed_meta::Instant;
use ringseed_ring::Mount;

pub mod limits {
    //! Bounds of devices.

    use std::time::Duration;

    /// Devices told apart; later ones share cells, and so budgets, with earlier ones.
    pub const DEVICES_MAX: usize = 64;
    /// Tags of a device that does not tell (btrfs, a network, no /sys): half of what the plainest
    /// disks have.
    pub const TAGS_DEFAULT: u32 = 32;
    /// Of its tags, in quarters, what our reads may take: the rest is everybody else's.
    pub const TAGS_QUARTERS: u32 = 3;
    /// Bytes of one readahead(2), which is a bio or more.
    pub const STEP_BYTES: u32 = 128 * 1024;
    /// Bytes: no extent is smaller.
    pub const PAGE_BYTES: u64 = 4096;
    /// Bytes that one bio brings where nobody knows the file's extents: eight pages.
    pub const BIO_BYTES_DEFAULT: u64 = 32 * 1024;
    /// A readahead that took its caller so long waited for something: asking for a run takes some
    /// ten microseconds of CPU, and a turn may have dozens of them.
    pub const SLOW_CALL: Duration = Duration::from_millis(2);
    /// How long the readahead of such a device is made on a thread of its own, from the last that was
    /// slow on.
    pub const SLOW_FOR: Duration = Duration::from_secs(10);
}

/// A device, by its place in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Device(u8);

impl Device {
    /// From 0, below [`limits::DEVICES_MAX`].
    pub fn place(self) -> usize {
        usize::from(self.0)
    }
}

#[derive(Default)]
#[repr(align(64))]
struct Cell {
    /// Its st_dev and one; 0: free.
    name: AtomicU64,
    bios_max: AtomicU32,
    bios: AtomicU32,
    /// Microseconds: the clocks of workers started within a moment of each other.
    slow_until_us: AtomicU64,
    fetches: AtomicU64,
    bytes: AtomicU64,
    total_us: AtomicU64,
    max_us: AtomicU64,
    slow_calls: AtomicU64,
}

/// What was fetched from one device, since the start, by all workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchStats {
    /// st_dev.
    pub device: u64,
    /// Fetches that ended.
    pub fetches: u64,
    /// Bytes that they were asked for.
    pub bytes: u64,
    /// From the first call to the verdict, microseconds: all together, and the longest.
    pub total_us: u64,
    pub max_us: u64,
    /// Calls of readahead(2) that made their caller wait.
    pub slow_calls: u64,
    /// Gauge: bios in flight now, and how many may be.
    pub bios: u32,
    pub bios_max: u32,
}

/// All devices.
pub struct Devices {
    cells: [Cell; limits::DEVICES_MAX],
}

impl Default for Devices {
    fn default() -> Devices {
        Devices { cells: std::array::from_fn(|_| Cell::default()) }
    }
}

impl Devices {
    fn cell(&self, device: Device) -> &Cell {
        &self.cells[device.place() % limits::DEVICES_MAX]
    }

    /// The place of a device, by the st_dev of a file on it.
    pub fn place_of(&self, name: u64, mount: &Mount) -> Device {
        let name = name.wrapping_add(1).max(1);
        let start = (name ^ name >> 8) as usize % limits::DEVICES_MAX;
        for step in 0..limits::DEVICES_MAX {
            let at = (start + step) % limits::DEVICES_MAX;
            let cell = &self.cells[at];
            let found = cell.name.compare_exchange(0, name, Ordering::AcqRel, Ordering::Acquire);
            if found.is_ok() || found == Err(name) {
                let tags = if mount.tags == 0 { limits::TAGS_DEFAULT } else { mount.tags };
                let bios_max = (tags / 4 * limits::TAGS_QUARTERS).max(1);
                cell.bios_max.store(bios_max, Ordering::Relaxed);
                return Device(at as u8);
            }
        }
        Device(start as u8)
    }

    /// Takes bios of a device's budget. `idle`: the caller has none in flight there, and gets them
    /// in any case.
    pub(super) fn take(&self, device: Device, bios: u32, idle: bool) -> bool {
        let cell = self.cell(device);
        let before = cell.bios.fetch_add(bios, Ordering::Relaxed);
        if idle || before.saturating_add(bios) <= cell.bios_max.load(Ordering::Relaxed) {
            return true;
        }
        cell.bios.fetch_sub(bios, Ordering::Relaxed);
        false
    }

    pub(super) fn give_back(&self, device: Device, bios: u32) {
        self.cell(device).bios.fetch_sub(bios, Ordering::Relaxed);
    }

    /// A readahead took its caller so long.
    pub fn asked(&self, device: Device, took: Duration, now: Instant) {
        if took >= limits::SLOW_CALL {
            let cell = self.cell(device);
            cell.slow_calls.fetch_add(1, Ordering::Relaxed);
            cell.slow_until_us.fetch_max(now.after(limits::SLOW_FOR).as_us(), Ordering::Relaxed);
        }
    }

    /// The device made a caller wait a short while ago: its readahead is to be made on a thread.
    pub fn is_slow(&self, device: Device, now: Instant) -> bool {
        self.cell(device).slow_until_us.load(Ordering::Relaxed) > now.as_us()
    }

    /// A fetch ended.
    pub(super) fn fetched(&self, device: Device, bytes: u32, took: Duration) {
        let cell = self.cell(device);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        cell.fetches.fetch_add(1, Ordering::Relaxed);
        cell.bytes.fetch_add(u64::from(bytes), Ordering::Relaxed);
        cell.total_us.fetch_add(us, Ordering::Relaxed);
        cell.max_us.fetch_max(us, Ordering::Relaxed);
    }

    /// What was fetched, of each device that files were opened on.
    pub fn stats(&self) -> Vec<FetchStats> {
        let used = self.cells.iter().filter(|cell| cell.name.load(Ordering::Acquire) != 0);
        used.map(|cell| FetchStats {
            device: cell.name.load(Ordering::Relaxed).wrapping_sub(1),
            fetches: cell.fetches.load(Ordering::Relaxed),
            bytes: cell.bytes.load(Ordering::Relaxed),
            total_us: cell.total_us.load(Ordering::Relaxed),
            max_us: cell.max_us.load(Ordering::Relaxed),
            slow_calls: cell.slow_calls.load(Ordering::Relaxed),
            bios: cell.bios.load(Ordering::Relaxed),
            bios_max: cell.bios_max.load(Ordering::Relaxed),
        })
        .collect()
    }
}

/// Bios that a run of so many bytes may be, of a file whose extents have `extent_bytes` in the mean
/// (0: not known).
pub fn bios_of(length: u32, extent_bytes: u64) -> u32 {
    let extent_bytes = if extent_bytes == 0 { limits::BIO_BYTES_DEFAULT } else { extent_bytes };
    let cuts = u64::from(length) / extent_bytes.max(limits::PAGE_BYTES);
    length.div_ceil(limits::STEP_BYTES).max(1) + cuts as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::from_us(1_000_000);

    fn mount(tags: u32) -> Mount {
        Mount { tags, ..Mount::default() }
    }

    #[test]
    fn a_device_keeps_its_place_and_shares_with_others_only_when_all_are_taken() {
        let devices = Devices::default();
        let places: Vec<Device> =
            (0..limits::DEVICES_MAX as u64).map(|name| devices.place_of(name, &mount(0))).collect();
        let mut different = places.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), limits::DEVICES_MAX);
        for (name, place) in places.iter().enumerate() {
            assert_eq!(devices.place_of(name as u64, &mount(0)), *place);
        }
        let shared = devices.place_of(u64::MAX, &mount(0));
        assert!(places.contains(&shared));
        assert_eq!(devices.stats().len(), limits::DEVICES_MAX);
    }

    #[test]
    fn bios_stay_below_the_tags_but_for_those_who_have_none_in_flight() {
        let devices = Devices::default();
        let device = devices.place_of(65_024, &mount(8));
        assert!(devices.take(device, 4, true) && devices.take(device, 2, false));
        assert!(!devices.take(device, 1, false), "6 of 8 tags are ours");
        assert!(devices.take(device, 100, true), "another worker always gets a first one");
        devices.give_back(device, 100);
        devices.give_back(device, 1);
        assert!(devices.take(device, 1, false));
        assert_eq!((devices.stats()[0].bios, devices.stats()[0].bios_max), (6, 6));
    }

    #[test]
    fn a_call_that_waited_makes_its_device_slow_for_a_while() {
        let devices = Devices::default();
        let [one, other] = [1, 2].map(|name| devices.place_of(name, &mount(0)));
        devices.asked(one, limits::SLOW_CALL - Duration::from_micros(1), T0);
        assert!(!devices.is_slow(one, T0));
        devices.asked(one, limits::SLOW_CALL, T0);
        assert!(devices.is_slow(one, T0) && !devices.is_slow(other, T0));
        let before = Duration::from_micros(1);
        assert!(devices.is_slow(one, T0.after(limits::SLOW_FOR - before)));
        assert!(!devices.is_slow(one, T0.after(limits::SLOW_FOR)));
        // A clock that is a little behind takes nothing back.
        devices.asked(one, limits::SLOW_CALL, T0.after(before));
        devices.asked(one, limits::SLOW_CALL, T0);
        assert!(devices.is_slow(one, T0.after(limits::SLOW_FOR)));
    }

    #[test]
    fn bios_are_counted_by_steps_and_extents() {
        assert_eq!(bios_of(1, 0), 1);
        assert_eq!(bios_of(16 << 10, 0), 1);
        assert_eq!(bios_of(128 << 10, 0), 5, "extents are not known: the worst is assumed");
        assert_eq!(bios_of(512 << 10, 1 << 30), 4, "one a readahead");
        assert_eq!(bios_of(128 << 10, 1), 33, "no extent is smaller than a page");
    }
}
