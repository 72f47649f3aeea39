//! What a worker counts, each cell written by one thread and read by any: relaxed atomics.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringseed_ring::Counters as KernelCounters;

use super::histogram::{Distribution, Histogram};
use super::turns::Turn;
use crate::store::devices::{self, Device, FetchStats};

/// One counter or gauge of one worker.
#[derive(Default, Debug)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds; only the owning worker calls it, so no read-modify-write is needed.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a figure only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Since the start.
    Counter,
    /// Now.
    Gauge,
}

/// One list for the cells, for what they held at a moment, and for their names.
macro_rules! counters {
    ($($(#[doc = $meaning:literal])+ $name:ident: $kind:ident,)+) => {
        /// Counters of one worker, and gauges. docs/counters.md says what each means.
        #[derive(Default, Debug)]
        #[repr(align(128))]
        pub struct Counters {
            $($(#[doc = $meaning])+ pub $name: Cell,)+
            /// How long turns took: processor time and voluntary waits.
            pub turn: Histogram,
            /// How long fetches took, from the first who wanted it to the verdict.
            pub fetch: Histogram,
            /// The same of each device.
            pub(super) by_device: ByDevice,
        }

        /// What the counters of a worker held at one moment; of several workers the sums.
        #[derive(Clone, PartialEq, Eq, Default, Debug)]
        pub struct Figures {
            $($(#[doc = $meaning])+ pub $name: u64,)+
            /// How long turns took.
            pub turn: Distribution,
            /// How long fetches took.
            pub fetch: Distribution,
        }

        impl Counters {
            /// What they hold now. Each is right for itself; they are not of one instant.
            pub fn read(&self) -> Figures {
                Figures {
                    $($name: self.$name.read(),)+
                    turn: self.turn.read(),
                    fetch: self.fetch.read(),
                }
            }
        }

        impl Figures {
            /// Adds those of another worker.
            pub fn add(&mut self, other: &Figures) {
                $(self.$name = self.$name.wrapping_add(other.$name);)+
                self.turn.add(&other.turn);
                self.fetch.add(&other.fetch);
            }

            /// All but the distributions: name, kind, value.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, Kind, u64)> {
                [$((stringify!($name), Kind::$kind, self.$name),)+].into_iter()
            }

            /// The distributions, in microseconds.
            pub fn distributions(&self) -> [(&'static str, &Distribution); 2] {
                [("turn_us", &self.turn), ("fetch_us", &self.fetch)]
            }
        }
    };
}

counters! {
    /// Connections open now.
    connections: Gauge,
    /// Connections past the handshake.
    peers: Gauge,
    /// Connections accepted.
    accepted: Counter,
    /// Connections refused at a limit.
    refused: Counter,
    /// Connections given to another worker.
    moved_away: Counter,
    /// Connections taken from other workers.
    moved_here: Counter,
    /// Connections that another worker had no room for: they stayed.
    moves_refused: Counter,
    /// Connections closed for a fault of the peer.
    peer_faults: Counter,
    /// Connections held back now: they hold their share of what sockets may hold.
    held_back: Gauge,
    /// How often a connection was held back.
    share_waits: Counter,
    /// Connections reset because they held too many unacknowledged bytes.
    resets_for_memory: Counter,
    /// Requests judged: served, rejected, ignored.
    requests: Counter,
    /// Of these, rejected.
    requests_rejected: Counter,
    /// Of these, ignored.
    requests_ignored: Counter,
    /// Bytes received.
    received_bytes: Counter,
    /// Blocks handed to sockets in full.
    blocks: Counter,
    /// Bytes of these blocks.
    block_bytes: Counter,
    /// All bytes handed to sockets.
    sent_bytes: Counter,
    /// Of these, in batches that went by page references, with their headers.
    spliced_bytes: Counter,
    /// Of these, in batches that were copied, with their headers.
    copied_bytes: Counter,
    /// Batches begun.
    batches: Counter,
    /// Batches that went by the copying verb.
    copied_batches: Counter,
    /// Sends after which the socket had not taken all.
    partial_sends: Counter,
    /// Bytes handed to sockets that peers had not acknowledged when they were last asked for.
    unacknowledged_bytes: Gauge,
    /// Runs of which it was asked whether they are in the page cache.
    runs_asked: Counter,
    /// Of these, there.
    runs_resident: Counter,
    /// Fetches begun.
    fetches: Counter,
    /// Fetches, or sends, that met a fault of the data.
    fetch_faults: Counter,
    /// Bytes of files read into the program's own memory.
    read_bytes: Counter,
    /// Reads for the copying verb that had to wait for a disk.
    scratch_reads: Counter,
    /// Batches that waited for memory to copy through.
    scratch_waits: Counter,
    /// Files that turned out not to splice.
    splice_refusals: Counter,
    /// splice(2) calls from files.
    file_splices: Counter,
    /// splice(2) calls to sockets.
    socket_splices: Counter,
    /// Voluntary context switches outside of `enter`: waits for a disk or a lock.
    voluntary_switches: Counter,
    /// Turns of the loop.
    turns: Counter,
    /// Turns of half a millisecond and more in which the system ran another thread on the core.
    preempted_turns: Counter,
    /// io_uring_enter(2) or epoll_wait(2) calls.
    enters: Counter,
    /// Microseconds within them, waiting included.
    enter_us: Counter,
    /// Events taken from the kernel.
    completions: Counter,
    /// Events of ops that were gone: always 0, or the op table is wrong.
    stale_completions: Counter,
    /// Ops refused because the op table was full; they were tried again.
    ops_refused: Counter,
    /// Receives that found no buffer (ENOBUFS); they went on later.
    buffers_short: Counter,
    /// Times that the submission queue was full.
    submissions_full: Counter,
    /// Enters that found more completions than their queue holds.
    completions_full: Counter,
}

/// Histograms by the place of their device, made when they are first used.
#[derive(Debug)]
pub(super) struct ByDevice([OnceLock<Box<Histogram>>; devices::limits::DEVICES_MAX + 1]);

impl Default for ByDevice {
    fn default() -> ByDevice {
        ByDevice(array::from_fn(|_| OnceLock::new()))
    }
}

/// What was fetched from one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceFigures {
    pub stats: FetchStats,
    /// How long its fetches took.
    pub fetch: Distribution,
}

impl DeviceFigures {
    /// Its numbers as in /proc/self/mountinfo and `lsblk`, or `others` for all that are not told apart.
    pub fn name(&self) -> String {
        let Some(device) = self.stats.device else { return "others".to_owned() };
        // As the system's makedev(3) has it.
        let major = device >> 8 & 0xfff | device >> 32 & !0xfff;
        let minor = device & 0xff | device >> 12 & !0xff;
        format!("{major}:{}", minor & 0xffff_ffff)
    }

    /// All but the distribution: name, kind, value.
    pub fn each(&self) -> [(&'static str, Kind, u64); 5] {
        let stats = &self.stats;
        [
            ("fetches", Kind::Counter, stats.fetches),
            ("fetched_bytes", Kind::Counter, stats.bytes),
            ("slow_readaheads", Kind::Counter, stats.slow_calls),
            ("bios", Kind::Gauge, u64::from(stats.bios)),
            ("bios_max", Kind::Gauge, u64::from(stats.bios_max)),
        ]
    }

    /// The distribution, in microseconds.
    pub fn distributions(&self) -> [(&'static str, &Distribution); 1] {
        [("fetch_us", &self.fetch)]
    }
}

impl Counters {
    /// A fetch has ended.
    pub(super) fn count_fetch(&self, device: Device, took: Duration) {
        self.fetch.record(took);
        if let Some(histogram) = self.by_device.0.get(device.place()) {
            histogram.get_or_init(Box::default).record(took);
        }
    }

    /// How long fetches from one device took.
    pub fn fetch_from(&self, device: Device) -> Distribution {
        let histogram = self.by_device.0.get(device.place()).and_then(OnceLock::get);
        histogram.map(|histogram| histogram.read()).unwrap_or_default()
    }

    /// One turn has ended.
    pub(super) fn count_turn(&self, turn: Turn) {
        self.turn.record(turn.time);
        if turn.waits > 0 {
            self.voluntary_switches.add(turn.waits);
        }
        if turn.was_preempted {
            self.preempted_turns.add(1);
        }
    }

    /// A run is there, or it is not.
    pub(super) fn count_residency(&self, is_resident: bool) {
        self.runs_asked.add(1);
        self.runs_resident.add(u64::from(is_resident));
    }

    /// Takes over what the worker's kernel has counted.
    pub(super) fn take_over(&self, kernel: &KernelCounters) {
        let pairs = [
            (&self.received_bytes, kernel.bytes_received),
            (&self.spliced_bytes, kernel.bytes_spliced),
            (&self.copied_bytes, kernel.bytes_copied),
            (&self.read_bytes, kernel.bytes_read),
            (&self.scratch_reads, kernel.scratch_reads),
            (&self.scratch_waits, kernel.scratch_waits),
            (&self.splice_refusals, kernel.splice_refusals),
            (&self.file_splices, kernel.file_splices),
            (&self.socket_splices, kernel.socket_splices),
            (&self.enters, kernel.enters),
            (&self.completions, kernel.completions),
            (&self.stale_completions, kernel.stale_completions),
            (&self.ops_refused, kernel.ops_refused),
            (&self.buffers_short, kernel.buffers_short),
            (&self.submissions_full, kernel.submissions_full),
            (&self.completions_full, kernel.completions_full),
        ];
        for (cell, count) in pairs {
            cell.set(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/counters.md");

    /// Names in the first cells of the document's tables, and whether they are marked as gauges.
    fn documented() -> BTreeSet<(String, bool)> {
        let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let names = cells.flat_map(|cell| {
            let is_gauge = cell.trim().ends_with(" g");
            let names = cell.split('`').skip(1).step_by(2);
            names.map(move |name| (name.to_owned(), is_gauge)).collect::<Vec<_>>()
        });
        names.collect()
    }

    #[test]
    fn each_figure_is_documented_and_each_documented_one_exists() {
        let figures = Figures::default();
        let counted = figures.each().map(|(name, kind, _)| (name, kind == Kind::Gauge));
        let times = figures.distributions().map(|(name, _)| (name, false));
        let of_process = [("io_worker_threads", true)];
        let stats = crate::store::devices::Devices::default();
        stats.place_of(1, &ringseed_ring::Mount::default());
        let device = DeviceFigures { stats: stats.stats()[0], fetch: Distribution::default() };
        let of_device = device.each().map(|(name, kind, _)| (name, kind == Kind::Gauge));
        let all = counted.chain(times).chain(of_process).chain(of_device);
        let all: BTreeSet<_> = all.map(|(name, is_gauge)| (name.to_owned(), is_gauge)).collect();
        assert_eq!(documented(), all);
    }

    #[test]
    fn what_a_kernel_counted_stands_under_its_name() {
        let counters = Counters::default();
        counters.blocks.add(1);
        let kernel = KernelCounters {
            enters: 2,
            submissions_full: 3,
            completions_full: 4,
            completions: 5,
            ops_refused: 6,
            buffers_short: 7,
            bytes_spliced: 8,
            bytes_copied: 9,
            bytes_received: 10,
            ..KernelCounters::default()
        };
        counters.take_over(&kernel);
        counters.take_over(&kernel);
        let mut figures = counters.read();
        figures.add(&counters.read());
        let wanted = Figures {
            blocks: 2,
            enters: 4,
            submissions_full: 6,
            completions_full: 8,
            completions: 10,
            ops_refused: 12,
            buffers_short: 14,
            spliced_bytes: 16,
            copied_bytes: 18,
            received_bytes: 20,
            turn: figures.turn.clone(),
            fetch: figures.fetch.clone(),
            ..Figures::default()
        };
        assert_eq!(figures, wanted);
    }

    #[test]
    fn fetches_are_timed_by_device_and_devices_named_as_the_system_does() {
        let devices = devices::Devices::default();
        let [one, other] =
            [0xfe01, 0x0010_0123].map(|name| devices.place_of(name, &Default::default()));
        let counters = Counters::default();
        counters.count_fetch(one, Duration::from_micros(5));
        counters.count_fetch(one, Duration::from_micros(7));
        counters.count_fetch(other, Duration::from_secs(1));
        let counts = [one, other].map(|device| counters.fetch_from(device).count());
        assert_eq!((counts, counters.fetch.read().count()), ([2, 1], 3));
        assert_eq!(counters.fetch_from(one).max_us(), 7);
        let nobodys = counters.fetch_from(devices.place_of(3, &Default::default()));
        assert_eq!(nobodys, Distribution::default());
        let figures = devices.stats().into_iter();
        let figures =
            figures.map(|stats| DeviceFigures { fetch: counters.fetch_from(stats.place), stats });
        let mut names: Vec<String> = figures.map(|figures| figures.name()).collect();
        names.sort_unstable();
        assert_eq!(names, ["0:3", "1:291", "254:1"]);
    }

    #[test]
    fn a_turn_is_counted_with_its_waits() {
        let counters = Counters::default();
        let time = std::time::Duration::from_micros(700);
        counters.count_turn(Turn { time, waits: 2, was_preempted: true });
        counters.count_turn(Turn { time, waits: 0, was_preempted: false });
        let figures = counters.read();
        assert_eq!((figures.voluntary_switches, figures.preempted_turns), (2, 1));
        assert_eq!((figures.turn.count(), figures.turn.max_us()), (2, 700));
    }
}
