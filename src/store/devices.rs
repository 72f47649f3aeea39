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

    /// Devices told apart; all later ones share one budget, and are counted together.
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
    /// A readahead that waited, and took so long, makes its device slow. One that only worked for long took
    /// pages from others, which costs the same on a thread.
    pub const SLOW_CALL: Duration = Duration::from_millis(2);
    /// How long the readahead of such a device is made on a thread of its own, from the last that was
    /// slow on.
    pub const SLOW_FOR: Duration = Duration::from_secs(10);
}

/// The name of those that are not told apart; no st_dev is as large.
const OTHERS: u64 = u64::MAX;

/// A device, by its place in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Device(u8);

impl Device {
    /// From 0; [`limits::DEVICES_MAX`] is that of those that are not told apart.
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
    slow_calls: AtomicU64,
}

/// What was fetched from one device, since the start, by all workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchStats {
    pub place: Device,
    /// st_dev; `None`: all that are not told apart.
    pub device: Option<u64>,
    /// Fetches that ended.
    pub fetches: u64,
    /// Bytes that they were asked for.
    pub bytes: u64,
    /// Calls of readahead(2) that made their caller wait.
    pub slow_calls: u64,
    /// Gauge: bios in flight now, and how many may be.
    pub bios: u32,
    pub bios_max: u32,
}

/// All devices.
pub struct Devices {
    cells: [Cell; limits::DEVICES_MAX + 1],
}

impl Default for Devices {
    fn default() -> Devices {
        Devices { cells: std::array::from_fn(|_| Cell::default()) }
    }
}

impl Devices {
    fn cell(&self, device: Device) -> &Cell {
        &self.cells[device.place().min(limits::DEVICES_MAX)]
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
                cell.bios_max.store(bios_max(mount.tags), Ordering::Relaxed);
                return Device(at as u8);
            }
        }
        let others = Device(limits::DEVICES_MAX as u8);
        self.cell(others).name.store(OTHERS, Ordering::Release);
        self.cell(others).bios_max.store(bios_max(0), Ordering::Relaxed);
        others
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

    /// A readahead made its caller wait for so long.
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
    pub(super) fn fetched(&self, device: Device, bytes: u32) {
        let cell = self.cell(device);
        cell.fetches.fetch_add(1, Ordering::Relaxed);
        cell.bytes.fetch_add(u64::from(bytes), Ordering::Relaxed);
    }

    /// What was fetched, of each device that files were opened on.
    pub fn stats(&self) -> Vec<FetchStats> {
        let used = self.cells.iter().enumerate();
        let used = used.filter(|(_, cell)| cell.name.load(Ordering::Acquire) != 0);
        used.map(|(place, cell)| FetchStats {
            place: Device(place as u8),
            device: Some(cell.name.load(Ordering::Relaxed))
                .filter(|name| *name != OTHERS)
                .map(|name| name - 1),
            fetches: cell.fetches.load(Ordering::Relaxed),
            bytes: cell.bytes.load(Ordering::Relaxed),
            slow_calls: cell.slow_calls.load(Ordering::Relaxed),
            bios: cell.bios.load(Ordering::Relaxed),
            bios_max: cell.bios_max.load(Ordering::Relaxed),
        })
        .collect()
    }
}

/// Bios in flight that a device of so many tags (0: not known) may have of us.
fn bios_max(tags: u32) -> u32 {
    let tags = if tags == 0 { limits::TAGS_DEFAULT } else { tags };
    (tags / 4 * limits::TAGS_QUARTERS).max(1)
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
    fn a_device_keeps_its_place_and_those_beyond_the_last_share_one() {
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
        assert_eq!(devices.stats().len(), limits::DEVICES_MAX);
        let others = devices.place_of(1000, &mount(0));
        assert!(!places.contains(&others));
        assert_eq!(devices.place_of(1001, &mount(64)), others);
        for (place, bytes) in [(others, 5), (others, 6), (places[7], 8)] {
            devices.fetched(place, bytes);
        }
        let stats = devices.stats();
        assert_eq!(stats.len(), limits::DEVICES_MAX + 1);
        let of = |device| {
            let mut found = stats.iter().filter(|stats| stats.device == device);
            let (Some(only), None) = (found.next(), found.next()) else { panic!("{device:?}") };
            (only.place, only.fetches, only.bytes)
        };
        assert_eq!(of(None), (others, 2, 11));
        assert_eq!(of(Some(7)), (places[7], 1, 8));
        assert_eq!(of(Some(8)), (places[8], 0, 0));
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
