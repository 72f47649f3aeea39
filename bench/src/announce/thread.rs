//! A thread of the load: its ring, the times at which requests are due, and when it tells.

mod http_side;
mod udp_side;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use ringseed_meta::Instant;
use ringseed_ring::{Kernel, KernelOptions, UringKernel, Wait};

use super::limits::{
    ANSWER_WITHIN, ASKS_A_TURN, CATCH_UP, FILL_AT_ONCE, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS,
    RETRY_AFTER, UDP_BATCH_MAX,
};
use super::tally::Tally;
use super::{Announcers, Part};
use crate::clock::Stage;
use crate::context::Context;
use crate::limits::TURN_WAIT_MS;
use crate::note::Event;
use crate::pace::Pace;
use crate::plan::{self, Demand, Transport};

/// Runs a part to its end.
pub(super) fn run(context: &Context, whom: &Announcers, part: &Part) -> anyhow::Result<()> {
    let mut kernel = UringKernel::new(&KernelOptions {
        pipe_bytes: 0,
        scratch_count: 1,
        receive_buffers: RECEIVE_BUFFERS,
        receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
        ..KernelOptions::default()
    })?;
    let side = match part.all.transport {
        Transport::Udp => {
            let tracker = whom.tracker.udp.context("no UDP tracker is named")?;
            Side::Udp(udp_side::UdpSide::new(&mut kernel, whom, part, tracker)?)
        }
        Transport::Http => {
            let url = whom.tracker.http.as_ref().context("no HTTP tracker is named")?;
            Side::Http(http_side::HttpSide::new(whom, part, url, context.clock.now())?)
        }
    };
    let mut thread = Announcer { context, part, kernel, side, tally: Tally::new() };
    match thread.open()? {
        Stage::Closing => Ok(()),
        _ => thread.load(),
    }
}

/// What differs between the transports.
enum Side {
    Udp(udp_side::UdpSide),
    Http(http_side::HttpSide),
}

/// When the next request is begun.
enum Pacing {
    ByRate(Pace),
    /// When fewer than so many of this thread wait.
    AtOnce(usize),
}

impl Pacing {
    fn new(part: &Part, from: Instant) -> Pacing {
        let Part { place, places, .. } = *part;
        match part.all.demand {
            Demand::Rate(rate) => Pacing::ByRate(Pace::new(from, rate, place, places)),
            Demand::AtOnce(requests) => Pacing::AtOnce(requests.div_ceil(places.max(1)) as usize),
        }
    }

    /// The next request that was due at `now`. A closed loop has none.
    fn take_due(&mut self, now: Instant) -> Option<(Instant, u64)> {
        match self {
            Pacing::ByRate(pace) => pace.take_due(now),
            Pacing::AtOnce(_) => None,
        }
    }
}

struct Announcer<'a> {
    context: &'a Context,
    part: &'a Part,
    kernel: UringKernel,
    side: Side,
    tally: Tally,
}

impl Announcer<'_> {
    /// Until the load begins, or is called off.
    fn open(&mut self) -> anyhow::Result<Stage> {
        let mut ready = 0;
        let (mut fills, mut may_fill) = (self.part.all.fill, false);
        let mut next_errors = Instant::ZERO;
        loop {
            let now = self.context.clock.now();
            let stage = self.context.schedule.stage(now);
            if stage != Stage::Opening {
                return Ok(stage);
            }
            self.on_time(now)?;
            if now >= next_errors {
                next_errors = now.after(RETRY_AFTER);
                self.tell_errors();
            }
            // Trackers that close each connection have all open at the begin only.
            let all = self.part.sources() as usize;
            may_fill |= self.ready() == all;
            if fills && may_fill {
                fills = self.go_on_filling(now);
            }
            let is_filled = self.part.all.fill && !fills;
            while !fills && ready < if is_filled { all } else { self.ready() } {
                ready += 1;
                self.context.tell(Event::Ready);
            }
            self.turn(Wait::AtMost(Duration::from_millis(TURN_WAIT_MS)))?;
        }
    }

    /// Each peer announces once. `false`: all have, and were answered, or will not be; that counts for
    /// nothing, but what was wrong is told.
    fn go_on_filling(&mut self, now: Instant) -> bool {
        self.tally.count_within(Instant::ZERO..Instant::from_us(u64::MAX));
        if self.to_fill() > 0 {
            self.keep(FILL_AT_ONCE, now);
            return true;
        }
        if !self.is_quiet() {
            return true;
        }
        let _ = self.tally.take_seen(now..now, 0);
        false
    }

    /// Asks until so many requests wait, by whole batches of those that leave together.
    fn keep(&mut self, at_once: usize, now: Instant) {
        let (waiting, batch) = match &self.side {
            Side::Udp(side) => (side.waiting(), UDP_BATCH_MAX.min(at_once).max(1)),
            Side::Http(side) => (side.waiting(), 1),
        };
        let room = at_once.saturating_sub(waiting).min(ASKS_A_TURN) / batch * batch;
        (0..room).for_each(|_| self.ask(now, now));
        self.flush();
    }

    /// From the begin of the load until all that was due is answered, or will not be.
    fn load(&mut self) -> anyhow::Result<()> {
        let (begin, until) = (self.context.schedule.count_from(), self.context.schedule.until());
        self.tally.count_within(begin..until);
        let mut pace = Pacing::new(self.part, self.context.schedule.ask_from());
        let mut intervals = Intervals { begin, length: self.context.schedule.interval(), until };
        let mut next_look = Instant::ZERO;
        // Whether something is still to be begun.
        let is_behind = |pace: &Pacing, now| match pace {
            Pacing::ByRate(pace) => now < until.after(CATCH_UP) && pace.next_at() < until,
            Pacing::AtOnce(_) => now < until,
        };
        loop {
            let now = self.context.clock.now();
            if now >= next_look {
                next_look = now.after(Duration::from_millis(TURN_WAIT_MS));
                self.on_time(now)?;
                while let Some(time) = intervals.take_over(now) {
                    self.tell_interval(time);
                }
                let is_asked = now >= until && !is_behind(&pace, now);
                let is_closed = self.context.schedule.stage(now) == Stage::Closing;
                if is_closed && now < until {
                    // Called off: what is under way says nothing.
                    self.tell_interval(intervals.last());
                    return Ok(());
                }
                if is_asked && self.is_quiet() || is_closed && now >= until.after(ANSWER_WITHIN) {
                    break;
                }
            }
            let next = match is_behind(&pace, now).then_some(&mut pace) {
                Some(Pacing::ByRate(pace)) => self.ask_due(pace, now, until),
                Some(Pacing::AtOnce(requests)) => {
                    self.keep(*requests, now);
                    next_look
                }
                None => next_look,
            };
            self.turn(match next.min(next_look).since(now) {
                Duration::ZERO => Wait::No,
                wait => Wait::AtMost(wait),
            })?;
        }
        let now = self.context.clock.now();
        // What was due and never begun has failed too: it is our own fault, and is told as that.
        let last = Instant::from_us(until.as_us().saturating_sub(1));
        while let Some((due, _)) = pace.take_due(last) {
            self.tally.begun(due, until);
            let what = || "not sent: the load itself did not keep up".into();
            self.tally.unanswered(due, None, now, what);
        }
        self.give_up(now);
        self.tell_interval(intervals.last());
        Ok(())
    }

    /// Begins what is due, not too much at once. When to look again.
    fn ask_due(&mut self, pace: &mut Pace, now: Instant, until: Instant) -> Instant {
        let mut next = now;
        for _ in 0..ASKS_A_TURN {
            next = pace.next_at();
            if next > now || next >= until {
                break;
            }
            if let Some((due, _)) = pace.take_due(now) {
                self.ask(due, now);
            }
        }
        self.flush();
        next
    }

    fn flush(&mut self) {
        if let Side::Udp(side) = &mut self.side {
            side.flush(&mut self.kernel, &mut self.tally);
        }
    }

    /// Peers that have still to announce for the first time.
    fn to_fill(&self) -> u64 {
        match &self.side {
            Side::Udp(side) => side.to_fill(),
            Side::Http(side) => side.to_fill(),
        }
    }

    fn ask(&mut self, due: Instant, now: Instant) {
        match &mut self.side {
            Side::Udp(side) => side.ask(&mut self.kernel, due, now, &mut self.tally),
            Side::Http(side) => side.ask(due, now, &mut self.tally),
        }
    }

    /// Hands over, waits, and takes what has come.
    fn turn(&mut self, wait: Wait) -> anyhow::Result<()> {
        if let Side::Http(side) = &mut self.side {
            side.carry_out(&mut self.kernel, self.context.clock.now(), &mut self.tally)?;
        }
        self.kernel.enter(wait)?;
        while let Some(completion) = self.kernel.next() {
            let now = self.context.clock.now();
            match &mut self.side {
                Side::Udp(side) => {
                    side.on_completion(&mut self.kernel, completion, now, &mut self.tally)?;
                }
                Side::Http(side) => {
                    side.on_completion(&mut self.kernel, completion, now, &mut self.tally)?;
                }
            }
        }
        Ok(())
    }

    /// What time has made due.
    fn on_time(&mut self, now: Instant) -> anyhow::Result<()> {
        match &mut self.side {
            Side::Udp(side) => side.on_time(&mut self.kernel, now, &mut self.tally),
            Side::Http(side) => side.on_time(now, &mut self.tally),
        }
        Ok(())
    }

    /// Sources that could ask.
    fn ready(&self) -> usize {
        match &self.side {
            Side::Udp(side) => side.ready(),
            Side::Http(side) => side.open(),
        }
    }

    fn is_quiet(&self) -> bool {
        match &self.side {
            Side::Udp(side) => side.is_quiet(),
            Side::Http(side) => side.is_quiet(),
        }
    }

    fn give_up(&mut self, now: Instant) {
        match &mut self.side {
            Side::Udp(side) => side.give_up(now, &mut self.tally),
            Side::Http(side) => side.give_up(now, &mut self.tally),
        }
    }

    fn tell_interval(&mut self, time: std::ops::Range<Instant>) {
        let open = match &self.side {
            Side::Udp(side) => side.sources(),
            Side::Http(side) => side.open(),
        };
        let seen = self.tally.take_seen(time, open as u64);
        self.context.tell(Event::Interval(Box::new(seen)));
        self.tell_errors();
    }

    fn tell_errors(&mut self) {
        for event in self.tally.take_errors() {
            self.context.tell(event);
        }
    }
}

/// The intervals of the time that counts. The last one is open until all is answered.
struct Intervals {
    begin: Instant,
    length: Duration,
    until: Instant,
}

impl Intervals {
    /// The next one but the last, if it is over.
    fn take_over(&mut self, now: Instant) -> Option<std::ops::Range<Instant>> {
        let end = self.begin.after(self.length);
        if now < end || end >= self.until {
            return None;
        }
        Some(std::mem::replace(&mut self.begin, end)..end)
    }

    fn last(&self) -> std::ops::Range<Instant> {
        self.begin..self.until
    }
}

/// The address of connection `number`, with a port that the system picks. None: any address of the
/// family of `to`.
fn source_address(from: Option<(IpAddr, u32)>, number: u32, to: SocketAddr) -> SocketAddr {
    let ip = match (from, to) {
        (Some(from), _) => plan::source(from, number),
        (None, SocketAddr::V4(_)) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        (None, SocketAddr::V6(_)) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_interval_stays_open() {
        let us = Instant::from_us;
        let length = Duration::from_micros(10);
        let mut intervals = Intervals { begin: us(100), length, until: us(125) };
        assert_eq!(intervals.take_over(us(109)), None);
        assert_eq!(intervals.take_over(us(500)), Some(us(100)..us(110)));
        assert_eq!(intervals.take_over(us(500)), Some(us(110)..us(120)));
        assert_eq!(intervals.take_over(us(500)), None);
        assert_eq!(intervals.last(), us(120)..us(125));
    }

    #[test]
    fn sources_count_up_within_their_family() {
        let to = "127.0.0.1:80".parse().unwrap();
        let from = Some(("127.0.1.255".parse().unwrap(), 1));
        assert_eq!(source_address(from, 2, to).to_string(), "127.0.2.1:0");
        assert_eq!(source_address(None, 2, to).to_string(), "0.0.0.0:0");
        assert_eq!(source_address(None, 2, "[::1]:80".parse().unwrap()).to_string(), "[::]:0");
    }
}
