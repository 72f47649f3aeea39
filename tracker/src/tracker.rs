//! The tracker as a state machine over a kernel: one turn takes what has completed, answers it,
//! and hands the answers over. It owns no kernel and no thread, so it can share both.

use std::time::Duration;

use ringseed_meta::Instant;
use ringseed_ring::{Kernel, KernelError, Socket, Wait};

use crate::access::Published;
use crate::desk::{Desk, Rules, Secrets};
use crate::http::{Hall, Http};
use crate::limits;
use crate::outbox::Outbox;
use crate::snapshot::{Feed, Saver, SnapshotError};
use crate::token::Tag;
use crate::udp::Udp;

/// A tracker on sockets that are open already.
pub struct Tracker {
    desk: Desk,
    http: Http,
    udp: Udp,
    outbox: Outbox,
    saver: Option<Saver>,
}

impl Tracker {
    /// Begins to accept on `http` and to receive on `udp`, sockets of `kernel`.
    pub fn new<K: Kernel>(
        kernel: &mut K,
        http: &[Socket],
        udp: &[Socket],
        rules: Rules,
        access: &Published,
        secrets: &Secrets,
    ) -> Tracker {
        let mut outbox = Outbox::default();
        let http = Http::new(kernel, &mut outbox, http);
        let udp = Udp::new(kernel, &mut outbox, udp);
        Tracker { desk: Desk::new(rules, access, secrets), http, udp, outbox, saver: None }
    }

    /// Takes in what a snapshot holds, and tells what comes in from now on.
    ///
    /// # Errors
    /// Its disk does not answer.
    pub(crate) fn load(
        &mut self,
        feed: Feed,
        secrets: &Secrets,
        now: Instant,
    ) -> Result<(), SnapshotError> {
        self.desk.snapshots = feed.tally.clone();
        let rules = self.desk.rules;
        let make = || Desk::swarms(rules, secrets);
        self.saver = Some(Saver::load(feed, now, &mut self.desk.swarms, make)?);
        Ok(())
    }

    /// Tells the last snapshot, waiting for its disk. No announce is taken in any more.
    pub(crate) fn finish(&mut self, now: Instant) {
        if let Some(saver) = self.saver.take() {
            saver.finish(&self.desk.swarms, now);
        }
    }

    /// Whether [`Tracker::look_at_load`] is due.
    pub fn is_load_due(&self, now: Instant) -> bool {
        self.desk.load.is_due(now)
    }

    /// Has clients come back later when the thread, which has used so much CPU time since it began, is
    /// busy nearly all the time.
    pub fn look_at_load(&mut self, now: Instant, cpu: Duration) {
        self.desk.load.look(now, cpu);
    }

    /// One turn of the loop: answers what has completed (a bounded number), does what time has
    /// made due, hands both to the kernel, and waits there until there is more to do.
    ///
    /// # Errors
    /// The kernel cannot go on.
    pub fn turn<K: Kernel>(&mut self, kernel: &mut K, now: Instant) -> Result<(), KernelError> {
        self.outbox.retry(kernel);
        let mut wait = Wait::AtMost(Duration::ZERO);
        let mut left = limits::COMPLETIONS_PER_TURN;
        while let Some(completion) = kernel.next() {
            let tag = Tag::of(completion.token);
            let (desk, outbox) = (&mut self.desk, &mut self.outbox);
            let mut hall = Hall { kernel, outbox, desk, now };
            match tag {
                Tag::UdpReceive(_) | Tag::UdpSend(_) | Tag::UdpClose(_) => {
                    self.udp.on_completion(&mut hall, tag, completion);
                }
                _ => self.http.on_completion(&mut hall, tag, completion),
            }
            left -= 1;
            if left == 0 {
                wait = Wait::No;
                break;
            }
        }
        let (desk, outbox) = (&mut self.desk, &mut self.outbox);
        self.udp.answer_all(&mut Hall { kernel, outbox, desk, now });
        self.on_time(kernel, now);
        if wait != Wait::No && self.outbox.is_empty() {
            wait = Wait::AtMost(self.deadline().since(now));
        }
        kernel.enter(wait)
    }

    /// Closes all sockets; the turns that follow finish it.
    pub fn close<K: Kernel>(&mut self, kernel: &mut K, now: Instant) {
        let mut hall = Hall { kernel, outbox: &mut self.outbox, desk: &mut self.desk, now };
        self.http.close(&mut hall);
        self.udp.close(&mut hall);
    }

    /// Whether all sockets are closed.
    pub fn is_closed(&self) -> bool {
        self.http.is_closed() && self.udp.is_closed() && self.outbox.is_empty()
    }

    fn on_time<K: Kernel>(&mut self, kernel: &mut K, now: Instant) {
        let (desk, outbox) = (&mut self.desk, &mut self.outbox);
        desk.turn(now);
        if let Some(saver) = &mut self.saver {
            saver.turn(&desk.swarms, now);
        }
        let mut hall = Hall { kernel, outbox, desk, now };
        self.http.sweep(&mut hall);
        self.udp.sweep(&mut hall);
    }

    fn deadline(&self) -> Instant {
        let sockets = [self.http.deadline(), self.udp.deadline()];
        let others = [Some(self.desk.deadline()), self.saver.as_ref().map(Saver::deadline)];
        let next = sockets.into_iter().chain(others).flatten().min();
        next.unwrap_or(Instant::ZERO)
    }
}
