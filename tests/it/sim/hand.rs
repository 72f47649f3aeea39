//! A worker of the simulated program and the thread that it is on.

use std::sync::Arc;
use std::time::Duration;

use ringseed::worker::counters::Counters;
use ringseed::worker::mailbox::Mailbox;
use ringseed::worker::{Options, Shared, Worker};
use ringseed_meta::Instant;
use ringseed_ring::sim::{Random, SimKernel, World};
use ringseed_ring::{Kernel, Wait, Waker};

/// A worker and the thread that it is on: asleep until a time, or until its kernel has something.
pub(crate) struct Hand {
    pub(crate) worker: Worker<SimKernel>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) waker: Waker,
    pub(crate) until_us: u64,
    /// Its busy time until now, and when it is looked at again.
    busy_us: u64,
    look_at: Instant,
    pub(crate) stopped: bool,
}

impl Hand {
    pub(crate) fn new(
        world: &World,
        listen: std::net::SocketAddr,
        options: Options,
        shared: Shared,
    ) -> Hand {
        let kernel = world.kernel();
        let listener = world.listen_beside(listen, options.place).unwrap();
        let (waker, mailbox, counters) =
            (kernel.waker(), Arc::clone(&shared.mailbox), Arc::clone(&shared.counters));
        let worker = Worker::new(kernel, vec![listener], options, shared);
        Hand {
            worker,
            mailbox,
            counters,
            waker,
            until_us: 0,
            busy_us: 0,
            look_at: Instant::ZERO,
            stopped: false,
        }
    }

    /// It wakes up, works, and lies down.
    pub(crate) fn turn(&mut self, now_us: u64, random: &mut Random) {
        let now = Instant::from_us(now_us);
        self.worker.get_up();
        if now >= self.look_at {
            self.busy_us += random.below(250_000);
            self.look_at = self.worker.note_busy(self.busy_us, now);
        }
        let wait = self.worker.turn(now);
        let wait = match self.worker.is_stopped() {
            true => Wait::AtMost(Duration::from_secs(60)),
            false => self.worker.lie_down(wait),
        };
        self.until_us = match wait {
            Wait::No => now_us,
            Wait::AtMost(wait) => now_us + (wait.as_micros() as u64).max(1),
        };
    }
}
