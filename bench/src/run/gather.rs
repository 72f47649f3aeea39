//! What the threads of one load have told, by interval and in all.

use std::collections::BTreeMap;
use std::thread::ThreadId;

use hdrhistogram::Histogram;

use super::timeline::Timeline;
use crate::limits::{ERROR_KINDS_MAX, ERRORS_TOLD_MAX};
use crate::note::Seen;
use crate::results::distribution::new_histogram;
use crate::results::{Check, Counts, ErrorCount, LoadResult};

/// A load in progress.
pub(super) struct Gathered {
    pub(super) result: LoadResult,
    /// Connections that the opening waits for.
    pub(super) expected: u64,
    pub(super) ready: u64,
    pub(super) lost: u64,
    /// Threads that have not ended.
    pub(super) threads: usize,
    /// The first reason for which a connection was lost, after which it may be called to account.
    pub(super) why_lost: Option<String>,
    errors: BTreeMap<String, u64>,
    /// What was seen of intervals that are not closed yet.
    open: BTreeMap<usize, Slot>,
    /// Connections of each thread, as it last told.
    connections: OfThreads,
}

/// An interval that is not closed yet.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) counts: Counts,
    /// Connections open at its end. Known when it is closed.
    pub(super) connections: u64,
    /// Of each thread that told; of a thread that told twice, since one note was late, the last.
    of_threads: OfThreads,
    latencies: BTreeMap<&'static str, Histogram<u64>>,
}

/// A number of each thread; there are few of them.
#[derive(Default)]
struct OfThreads(Vec<(ThreadId, u64)>);

impl OfThreads {
    /// The last one holds.
    fn set(&mut self, thread: ThreadId, number: u64) {
        match self.0.iter_mut().find(|(of, _)| *of == thread) {
            Some((_, before)) => *before = number,
            None => self.0.push((thread, number)),
        }
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|(_, number)| number).sum()
    }
}

impl Slot {
    /// The first of the distributions that the load is about.
    pub(super) fn latency(&self) -> Option<&Histogram<u64>> {
        ["request_to_piece", "announce", "scrape"].iter().find_map(|name| self.latencies.get(name))
    }

    fn add(&mut self, counts: &Counts, latencies: Vec<(&'static str, Histogram<u64>)>) {
        add_counts(&mut self.counts, counts);
        for (name, recorded) in latencies {
            // All histograms have one range, so nothing can fall outside.
            let _ = self.latencies.entry(name).or_insert_with(new_histogram).add(&recorded);
        }
    }
}

impl Gathered {
    pub(super) fn new(result: LoadResult, expected: u64) -> Gathered {
        Gathered {
            result,
            expected,
            ready: 0,
            lost: 0,
            threads: 0,
            why_lost: None,
            errors: BTreeMap::new(),
            open: BTreeMap::new(),
            connections: OfThreads::default(),
        }
    }

    /// All that the opening waits for has come, or will not.
    pub(super) fn is_settled(&self) -> bool {
        self.ready + self.lost >= self.expected
    }

    /// It had connections, and has none left.
    pub(super) fn is_bereft(&self) -> bool {
        self.expected > 0 && self.lost >= self.expected
    }

    pub(super) fn on_lost(&mut self, why: String) {
        self.lost += 1;
        self.why_lost.get_or_insert_with(|| why.clone());
        self.on_error(ErrorCount { what: why, times: 1 });
    }

    pub(super) fn on_error(&mut self, error: ErrorCount) {
        let ErrorCount { what, times } = error;
        let is_new = !self.errors.contains_key(&what);
        let what =
            if is_new && self.errors.len() >= ERROR_KINDS_MAX { OTHERS.into() } else { what };
        *self.errors.entry(what).or_default() += times;
    }

    pub(super) fn on_check(&mut self, check: Check) {
        self.result.checks.push(check);
    }

    /// `closed`: intervals that are closed already; what is told of them late counts in the next.
    pub(super) fn on_seen(
        &mut self,
        thread: ThreadId,
        seen: Seen,
        line: Option<Timeline>,
        closed: usize,
    ) {
        let Seen { until, counts, open, latencies, .. } = seen;
        add_counts(&mut self.result.counts, &counts);
        let index = line.map_or(0, |line| line.index_until(until).max(closed));
        let slot = self.open.entry(index).or_default();
        slot.add(&counts, latencies);
        slot.of_threads.set(thread, open);
    }

    /// Closes the intervals before `until`, which become one where they are several.
    pub(super) fn close(&mut self, from: usize, until: usize, line: Timeline) -> Slot {
        let mut sum = Slot::default();
        while let Some(entry) = self.open.first_entry() {
            if *entry.key() >= until {
                break;
            }
            let slot = entry.remove();
            slot.of_threads
                .0
                .into_iter()
                .for_each(|(thread, open)| self.connections.set(thread, open));
            sum.add(&slot.counts, slot.latencies.into_iter().collect());
        }
        sum.connections = self.connections.sum();
        let begin = line.interval * from as u32;
        let length = line.end_of(until.saturating_sub(1)).since(line.from.after(begin));
        for (name, recorded) in &sum.latencies {
            let of = self.result.latencies.entry((*name).into()).or_default();
            of.add(begin, length, recorded);
        }
        sum
    }

    /// What is left after the last interval: answers that were waited for, or a phase that ended
    /// before it counted.
    pub(super) fn finish(mut self) -> LoadResult {
        while let Some((_, slot)) = self.open.pop_first() {
            for (name, recorded) in slot.latencies {
                let of = self.result.latencies.entry(name.into()).or_default();
                let _ = of.total.add(&recorded);
            }
        }
        self.result.errors = told(self.errors);
        self.result
    }
}

/// What errors past the last kind are counted as.
const OTHERS: &str = "other errors";

/// The most frequent errors first; rarer kinds in the last.
fn told(errors: BTreeMap<String, u64>) -> Vec<ErrorCount> {
    let mut told: Vec<ErrorCount> =
        errors.into_iter().map(|(what, times)| ErrorCount { what, times }).collect();
    told.sort_by_key(|error| std::cmp::Reverse(error.times));
    if told.len() > ERRORS_TOLD_MAX {
        let rest = told.split_off(ERRORS_TOLD_MAX - 1);
        let times = rest.iter().map(|error| error.times).sum();
        told.push(ErrorCount { what: OTHERS.into(), times });
    }
    told
}

/// Adds what one thread counted to the sum.
pub(super) fn add_counts(sum: &mut Counts, more: &Counts) {
    let Counts {
        connections,
        unchoked,
        lost,
        requests,
        answers,
        payload_bytes,
        rejects,
        chokes,
        errors,
        pieces_verified,
        pieces_broken_off,
        distinct_bytes,
    } = more;
    for (sum, more) in [
        (&mut sum.connections, connections),
        (&mut sum.unchoked, unchoked),
        (&mut sum.lost, lost),
        (&mut sum.requests, requests),
        (&mut sum.answers, answers),
        (&mut sum.payload_bytes, payload_bytes),
        (&mut sum.rejects, rejects),
        (&mut sum.chokes, chokes),
        (&mut sum.errors, errors),
        (&mut sum.pieces_verified, pieces_verified),
        (&mut sum.pieces_broken_off, pieces_broken_off),
        (&mut sum.distinct_bytes, distinct_bytes),
    ] {
        *sum += more;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringseed_meta::Instant;

    use super::*;

    const LINE: Timeline = Timeline {
        from: Instant::from_us(1_000_000),
        until: Instant::from_us(4_000_000),
        interval: Duration::from_secs(1),
    };

    fn seen(until_us: u64, answers: u64, us: u64) -> Seen {
        let mut recorded = new_histogram();
        recorded.saturating_record(us);
        Seen {
            begin: Instant::ZERO,
            until: Instant::from_us(until_us),
            counts: Counts { answers, ..Counts::default() },
            open: 2,
            latencies: vec![("request_to_piece", recorded)],
        }
    }

    #[test]
    fn what_threads_saw_of_an_interval_is_one_and_nothing_gets_lost() {
        let mut load = Gathered::new(LoadResult::default(), 4);
        let [one, other] = threads();
        load.on_seen(one, seen(2_000_000, 5, 10), Some(LINE), 0);
        load.on_seen(other, seen(2_000_000, 7, 30), Some(LINE), 0);
        let first = load.close(0, 1, LINE);
        assert_eq!((first.counts.answers, first.connections), (12, 4));
        assert_eq!(first.latency().unwrap().max(), 30);
        // Told late, and one that was never closed.
        load.on_seen(one, seen(2_000_000, 1, 50), Some(LINE), 1);
        load.on_seen(one, seen(9_000_000, 2, 70), Some(LINE), 1);
        assert_eq!(load.close(1, 2, LINE).counts.answers, 1);
        let result = load.finish();
        assert_eq!(result.counts.answers, 15);
        let latency = &result.latencies["request_to_piece"];
        assert_eq!((latency.total.len(), latency.intervals.len()), (4, 2));
        assert_eq!(latency.intervals[1].begin, Duration::from_secs(1));
    }

    fn threads() -> [ThreadId; 2] {
        let id = || std::thread::spawn(|| ()).thread().id();
        [id(), id()]
    }

    #[test]
    fn a_thread_whose_note_comes_late_has_its_connections_once() {
        let mut load = Gathered::new(LoadResult::default(), 4);
        let [one, other] = threads();
        load.on_seen(one, seen(2_000_000, 5, 10), Some(LINE), 0);
        assert_eq!(load.close(0, 1, LINE).connections, 2);
        // Of the interval before, and of this one.
        load.on_seen(other, seen(2_000_000, 5, 10), Some(LINE), 1);
        load.on_seen(other, seen(3_000_000, 5, 10), Some(LINE), 1);
        load.on_seen(one, seen(3_000_000, 5, 10), Some(LINE), 1);
        assert_eq!(load.close(1, 2, LINE).connections, 4);
        // Nobody has told yet: what was last known.
        assert_eq!(load.close(2, 3, LINE).connections, 4);
    }

    #[test]
    fn errors_are_told_by_frequency_and_none_is_dropped() {
        let mut load = Gathered::new(LoadResult::default(), 0);
        for number in 0..(ERROR_KINDS_MAX as u64 + 50) {
            load.on_error(ErrorCount { what: format!("{number:04}"), times: number % 7 + 1 });
        }
        load.on_error(ErrorCount { what: "0000".into(), times: 5_000 });
        load.on_lost("gone".into());
        let total: u64 = load.errors.values().sum();
        let told = load.finish().errors;
        assert_eq!(told.len(), ERRORS_TOLD_MAX);
        assert_eq!((told[0].what.as_str(), told[0].times), ("0000", 5_001));
        assert_eq!(told.iter().map(|error| error.times).sum::<u64>(), total);
    }
}
