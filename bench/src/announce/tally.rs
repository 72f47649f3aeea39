//! What a thread has seen of its tracker since it last told.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringseed_meta::Instant;

use super::crowd::{Ask, Topic};
use super::limits::{ANSWER_WITHIN, ERROR_KINDS_MAX};
use crate::note::{Event, Seen};
use crate::results::distribution::new_histogram;
use crate::results::{Counts, ErrorCount};

/// A request that is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    pub ask: Ask,
    /// When it was due: from here its answer is timed.
    pub due: Instant,
    /// When it was handed to the system.
    pub asked: Instant,
}

/// Counts and times of the requests whose time counts: those that were due within it, whenever
/// they are answered.
#[derive(Debug)]
pub struct Tally {
    counted: Range<Instant>,
    counts: Counts,
    announce: Histogram<u64>,
    scrape: Histogram<u64>,
    late: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    /// Nothing counted, nor to be counted until [`Tally::count_within`].
    pub fn new() -> Tally {
        Tally {
            counted: Instant::ZERO..Instant::ZERO,
            counts: Counts::default(),
            announce: new_histogram(),
            scrape: new_histogram(),
            late: new_histogram(),
            errors: BTreeMap::new(),
        }
    }

    /// Names the time that counts.
    pub fn count_within(&mut self, time: Range<Instant>) {
        self.counted = time;
    }

    /// A request whose time has come is begun, at `now`.
    pub fn begun(&mut self, due: Instant, now: Instant) {
        if self.counted.contains(&due) {
            self.counts.requests += 1;
            self.late.saturating_record(now.since(due).as_micros() as u64);
        }
    }

    /// A request is answered as it should be. It is timed whenever that is, but what comes after the
    /// time that counts is no part of its rate.
    pub fn answered(&mut self, question: &Question, now: Instant) {
        if !self.counted.contains(&question.due) {
            return;
        }
        self.counts.answers += u64::from(now < self.counted.end);
        self.record(Some(question.ask.topic), now.since(question.due));
    }

    /// A request that was due then gets no answer, or was not sent: an error. It is recorded with the
    /// time it has waited, and never as less than an answer may take, since to leave it out would
    /// flatter whoever does not answer. None: nobody has settled yet what it would have asked.
    pub fn unanswered(
        &mut self,
        due: Instant,
        topic: Option<Topic>,
        now: Instant,
        what: impl FnOnce() -> String,
    ) {
        if self.counted.contains(&due) {
            self.record(topic, now.since(due).max(ANSWER_WITHIN));
        }
        self.failed(due, what);
    }

    /// What is not settled is an announce, as most are.
    fn record(&mut self, topic: Option<Topic>, waited: Duration) {
        let histogram = match topic {
            Some(Topic::Scrape) => &mut self.scrape,
            Some(Topic::Announce(_)) | None => &mut self.announce,
        };
        histogram.saturating_record(waited.as_micros() as u64);
    }

    /// A request that was due then is answered as it should not be: with each of them one error is
    /// counted.
    pub fn failed(&mut self, due: Instant, what: impl FnOnce() -> String) {
        if self.counted.contains(&due) {
            self.counts.errors += 1;
            self.tell(what());
        }
    }

    /// Something is wrong that belongs to no request.
    pub fn wrong(&mut self, what: String) {
        self.tell(what);
    }

    fn tell(&mut self, what: String) {
        let kinds = self.errors.len();
        match self.errors.get_mut(&what) {
            Some(times) => *times += 1,
            None if kinds < ERROR_KINDS_MAX => drop(self.errors.insert(what, 1)),
            None => *self.errors.entry("errors of other kinds".into()).or_insert(0) += 1,
        }
    }

    /// The errors since the last call.
    pub fn take_errors(&mut self) -> impl Iterator<Item = Event> + use<> {
        let errors = std::mem::take(&mut self.errors).into_iter();
        errors.map(|(what, times)| Event::Error(ErrorCount { what, times }))
    }

    /// What was counted since the last call, as seen in `time` with so many connections open.
    pub fn take_seen(&mut self, time: Range<Instant>, open: u64) -> Seen {
        let named = [
            ("announce", &mut self.announce),
            ("scrape", &mut self.scrape),
            ("late", &mut self.late),
        ];
        let taken = named.into_iter().filter(|(_, histogram)| !histogram.is_empty());
        let latencies = taken
            .map(|(name, histogram)| (name, std::mem::replace(histogram, new_histogram())))
            .collect();
        Seen {
            begin: time.start,
            until: time.end,
            counts: std::mem::take(&mut self.counts),
            open,
            latencies,
        }
    }
}

impl Default for Tally {
    fn default() -> Tally {
        Tally::new()
    }
}
