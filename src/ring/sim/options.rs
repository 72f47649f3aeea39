//! What a simulated world is like: sizes, speeds and faults, drawn from its seed.

use super::disk::DiskSpeed;
use super::faults::{Break, Faults};
use super::random::Random;

/// A world's measures. [`Options::calm`] for tests of one thing, [`Options::swarm`] for a seed
/// out of many.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that happens by chance.
    pub seed: u64,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// A mistake built in on purpose.
    pub broken: Option<Break>,
    /// Ops in flight.
    pub ops_max: u32,
    /// Receive buffers.
    pub buffers: u16,
    /// Bytes of a receive buffer.
    pub buffer_bytes: usize,
    /// Pages and headers a pipe holds: no more goes out with one send.
    pub pipe_slots: usize,
    /// Pages of a chunk of write-once memory.
    pub chunk_pages: usize,
    /// Bytes of scratch memory for one send of the copying verb.
    pub scratch_bytes: u64,
    /// Bytes a socket holds until they are acknowledged, from and to.
    pub send_bytes: (u64, u64),
    /// Bytes a socket holds until they are received, from and to.
    pub receive_bytes: (u64, u64),
    /// Bytes a remote end holds until the test reads them, from and to.
    pub window_bytes: (u64, u64),
    /// How long bytes are on their way, from and to.
    pub latency_us: (u64, u64),
    /// How fast files are read.
    pub disk: DiskSpeed,
    /// A peer that acknowledges nothing for so long loses its connection (TCP_USER_TIMEOUT).
    pub user_timeout_us: u64,
    /// Whether anybody knows what all sockets hold.
    pub tells_tcp_bytes: bool,
    /// Prints each push and completion to standard error.
    pub trace: bool,
}

impl Options {
    /// Nothing goes wrong, everything has room.
    pub fn calm(seed: u64) -> Options {
        Options {
            seed,
            faults: Faults::none(),
            broken: None,
            ops_max: crate::limits::OPS_MAX,
            buffers: 64,
            buffer_bytes: 2048,
            pipe_slots: 256,
            chunk_pages: 4,
            scratch_bytes: 544 << 10,
            send_bytes: (1 << 20, 1 << 20),
            receive_bytes: (128 << 10, 128 << 10),
            window_bytes: (1 << 20, 1 << 20),
            latency_us: (50, 50),
            disk: DiskSpeed { seek_us: 100, page_us: 2 },
            user_timeout_us: 45_000_000,
            tells_tcp_bytes: true,
            trace: false,
        }
    }

    /// Sizes, speeds and faults that the seed draws: some seeds are cramped, some roomy, and each
    /// has its own few kinds of faults.
    pub fn swarm(seed: u64) -> Options {
        let mut random = Random::new(seed).fork();
        let faults = Faults::swarm(&mut random);
        let seek_us = *random.pick(&[20, 100, 1000, 10_000]).unwrap_or(&100);
        let mut size = |from: u64, to: u64| {
            let least = random.between(from, to);
            (least, random.between(least, to))
        };
        let (send_bytes, receive_bytes) = (size(4 << 10, 1 << 20), size(256, 64 << 10));
        let (window_bytes, latency_us) = (size(1 << 10, 512 << 10), size(10, 20_000));
        Options {
            faults,
            buffers: random.between(2, 64) as u16,
            buffer_bytes: *random.pick(&[64, 512, 2048]).unwrap_or(&2048),
            pipe_slots: random.between(64, 256) as usize,
            chunk_pages: random.between(1, 4) as usize,
            scratch_bytes: random.between(17 << 10, 544 << 10),
            send_bytes,
            receive_bytes,
            window_bytes,
            latency_us,
            disk: DiskSpeed { seek_us, page_us: random.between(1, 20) },
            user_timeout_us: 500_000 + random.of_any_size(45_000_000),
            tells_tcp_bytes: random.hits(700),
            ..Options::calm(seed)
        }
    }
}
