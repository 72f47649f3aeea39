//! What a thread counts while it reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use ringseed_meta::{Instant, PieceIndex};

use crate::results::Counts;
use crate::results::distribution::new_histogram;

/// Counts of one thread's connections. Taken and begun again at the end of each interval.
#[derive(Debug)]
pub struct Tally {
    /// Since they were last taken.
    pub counts: Counts,
    /// Of these, those that count since the phase began, whenever they happened.
    pub latencies: Latencies,
    /// Answers to what was asked for earlier are not recorded.
    pub record_from: Instant,
    /// The openings of connections that were due earlier are not recorded.
    pub openings_from: Instant,
    /// Answers that come later are recorded, and not counted: the time and the cost that counts are
    /// divided by end here.
    pub count_until: Instant,
    /// Which pieces of the torrent were verified, by any thread of the load.
    distinct: Arc<Distinct>,
}

/// Times, in microseconds.
#[derive(Debug)]
pub struct Latencies {
    /// From the request to the last byte of its block.
    pub request_to_piece: Histogram<u64>,
    /// From the time at which something was to happen to the time at which it did.
    pub late: Histogram<u64>,
    /// From the call of connect(2), in a churn from when the leecher was due, to the connection, the
    /// seeder's handshake, its first word on its pieces, its first unchoke.
    pub connected: Histogram<u64>,
    pub handshake: Histogram<u64>,
    pub bitfield: Histogram<u64>,
    pub unchoke: Histogram<u64>,
}

impl Latencies {
    fn new() -> Latencies {
        Latencies {
            request_to_piece: new_histogram(),
            late: new_histogram(),
            connected: new_histogram(),
            handshake: new_histogram(),
            bitfield: new_histogram(),
            unchoke: new_histogram(),
        }
    }

    fn all(&mut self) -> [(&'static str, &mut Histogram<u64>); 6] {
        [
            ("request_to_piece", &mut self.request_to_piece),
            ("late", &mut self.late),
            ("connected", &mut self.connected),
            ("handshake", &mut self.handshake),
            ("bitfield", &mut self.bitfield),
            ("unchoke", &mut self.unchoke),
        ]
    }

    /// Those in which something was recorded, which are empty then.
    fn take(&mut self) -> Vec<(&'static str, Histogram<u64>)> {
        let all = self.all().into_iter();
        let recorded = all.filter(|(_, histogram)| !histogram.is_empty());
        recorded
            .map(|(name, histogram)| (name, std::mem::replace(histogram, new_histogram())))
            .collect()
    }
}

/// Records a time.
#[inline]
pub fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(time.as_micros() as u64);
}

impl Tally {
    /// Nothing counted.
    pub fn new(distinct: Arc<Distinct>) -> Tally {
        Tally {
            counts: Counts::default(),
            latencies: Latencies::new(),
            record_from: Instant::ZERO,
            openings_from: Instant::ZERO,
            count_until: Instant::from_us(u64::MAX),
            distinct,
        }
    }

    /// What was counted and recorded since this was last called.
    pub fn take(&mut self) -> (Counts, Vec<(&'static str, Histogram<u64>)>) {
        (std::mem::take(&mut self.counts), self.latencies.take())
    }

    /// Begins again, but for what counts since the phase began.
    pub fn begin_counting(&mut self) {
        let Counts { connections, unchoked, lost, distinct_bytes, .. } = self.counts;
        self.counts = Counts { connections, unchoked, lost, distinct_bytes, ..Counts::default() };
        self.latencies.request_to_piece.reset();
        self.latencies.late.reset();
    }

    /// Forgets the times of connections that were due before: those that are due later count.
    pub fn record_openings_from(&mut self, time: Instant) {
        self.openings_from = time;
        let Latencies { connected, handshake, bitfield, unchoke, .. } = &mut self.latencies;
        [connected, handshake, bitfield, unchoke].into_iter().for_each(Histogram::reset);
    }

    #[inline]
    pub(crate) fn on_payload(&mut self, length: u32, now: Instant) {
        if now < self.count_until {
            self.counts.payload_bytes += u64::from(length);
        }
    }

    /// A block has come whole that was asked for, or was to be asked for, at `since`.
    #[inline]
    pub(crate) fn on_block(&mut self, since: Instant, now: Instant) {
        if now < self.count_until {
            self.counts.answers += 1;
        }
        if since >= self.record_from {
            record(&mut self.latencies.request_to_piece, now.since(since));
        }
    }

    /// What was asked for, or was to be asked for, at `since` will not come. It is recorded with the
    /// time it has waited, since to leave it out would flatter whoever does not answer.
    pub(crate) fn on_unanswered(&mut self, since: Instant, now: Instant) {
        if since >= self.record_from {
            self.counts.errors += 1;
            record(&mut self.latencies.request_to_piece, now.since(since));
        }
    }

    /// A peer that was due at `since` was not unchoked: recorded with the time it has waited, since
    /// to leave it out would flatter whoever does not serve.
    pub(crate) fn on_unserved(&mut self, since: Instant, now: Instant) {
        if since >= self.openings_from {
            self.counts.errors += 1;
            record(&mut self.latencies.unchoke, now.since(since));
        }
    }

    pub(crate) fn on_verified(&mut self, piece: PieceIndex, length: u32) {
        self.counts.pieces_verified += 1;
        if self.distinct.insert(piece) {
            self.counts.distinct_bytes += u64::from(length);
        }
    }
}

/// A set of pieces that threads share.
#[derive(Debug)]
pub struct Distinct(Vec<AtomicU64>);

impl Distinct {
    /// None of `count` pieces.
    pub fn new(count: u32) -> Distinct {
        Distinct((0..count.div_ceil(u64::BITS)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds a piece. Whether it was not there before.
    pub fn insert(&self, piece: PieceIndex) -> bool {
        let bit = 1 << (piece.0 % u64::BITS);
        let word = self.0.get((piece.0 / u64::BITS) as usize);
        word.is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Instant = Instant::from_us;

    #[test]
    fn a_piece_is_distinct_once_whoever_had_it() {
        let distinct = Arc::new(Distinct::new(65));
        let (mut first, mut second) = (Tally::new(distinct.clone()), Tally::new(distinct));
        first.on_verified(PieceIndex(64), 100);
        second.on_verified(PieceIndex(64), 100);
        second.on_verified(PieceIndex(0), 7);
        assert_eq!(first.counts.distinct_bytes, 100);
        assert_eq!((second.counts.pieces_verified, second.counts.distinct_bytes), (2, 7));
    }

    #[test]
    fn what_is_taken_is_counted_once_and_the_warm_up_not_at_all() {
        let mut tally = Tally::new(Arc::new(Distinct::new(1)));
        tally.counts.connections = 3;
        record(&mut tally.latencies.unchoke, Duration::from_micros(9));
        tally.on_block(AT(5), AT(10));
        tally.begin_counting();
        tally.on_block(AT(20), AT(27));
        let (counts, latencies) = tally.take();
        assert_eq!((counts.connections, counts.answers), (3, 1));
        let told: Vec<_> = latencies.iter().map(|(name, of)| (*name, of.len(), of.max())).collect();
        assert_eq!(told, [("request_to_piece", 1, 7), ("unchoke", 1, 9)]);
        let (counts, latencies) = tally.take();
        assert_eq!((counts, latencies.len()), (Counts::default(), 0));
    }

    #[test]
    fn answers_after_the_counted_time_are_recorded_and_not_counted() {
        let mut tally = Tally::new(Arc::new(Distinct::new(1)));
        tally.count_until = AT(100);
        for now in [99, 100] {
            tally.on_payload(7, AT(now));
            tally.on_block(AT(50), AT(now));
        }
        assert_eq!((tally.counts.answers, tally.counts.payload_bytes), (1, 7));
        assert_eq!((tally.counts.errors, tally.latencies.request_to_piece.len()), (0, 2));
    }

    #[test]
    fn answers_to_what_the_warm_up_asked_for_are_counted_but_not_recorded() {
        let mut tally = Tally::new(Arc::new(Distinct::new(1)));
        tally.record_from = AT(100);
        tally.on_block(AT(99), AT(500));
        tally.on_unanswered(AT(99), AT(500));
        tally.on_unanswered(AT(100), AT(500));
        assert_eq!((tally.counts.answers, tally.counts.errors), (1, 1));
        assert_eq!(tally.latencies.request_to_piece.len(), 1);
    }
}
