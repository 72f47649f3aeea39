//! What a thread counts while it reads.

use std::collections::BTreeSet;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringseed_meta::PieceIndex;

use crate::limits::LATENCY_US_MAX;

/// Counts of one thread's connections; begun again at the end of the warm-up.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Bytes of blocks, headers not counted.
    pub payload_bytes: u64,
    /// Blocks whose last byte came.
    pub blocks: u64,
    /// Requests refused by name (BEP 6).
    pub rejects: u64,
    /// Times that a seeder choked us.
    pub chokes: u64,
    /// Pieces that came whole and have the torrent's hash (`--verify`).
    pub pieces_verified: u64,
    /// Which pieces were verified since the load began, each once whoever received it.
    pub distinct: BTreeSet<PieceIndex>,
    /// Pieces whose blocks came in another order than asked, so that they could not be hashed.
    pub pieces_broken_off: u64,
    /// From the request to the last byte of its block. Microseconds.
    pub latency_us: Histogram<u64>,
}

impl Tally {
    /// Nothing counted.
    pub fn new() -> Tally {
        Tally {
            payload_bytes: 0,
            blocks: 0,
            rejects: 0,
            chokes: 0,
            pieces_verified: 0,
            pieces_broken_off: 0,
            distinct: BTreeSet::new(),
            latency_us: new_histogram(),
        }
    }

    #[inline]
    pub(crate) fn on_payload(&mut self, length: u32) {
        self.payload_bytes += u64::from(length);
    }

    #[inline]
    pub(crate) fn on_block(&mut self, latency: Duration) {
        self.blocks += 1;
        self.latency_us.saturating_record(latency.as_micros() as u64);
    }

    pub(crate) fn on_reject(&mut self) {
        self.rejects += 1;
    }

    pub(crate) fn on_verified(&mut self, piece: PieceIndex) {
        self.pieces_verified += 1;
        self.distinct.insert(piece);
    }

    /// Begins again; only what was received since the load began stays.
    pub fn restart(&mut self) {
        let distinct = std::mem::take(&mut self.distinct);
        *self = Tally { distinct, ..Tally::new() };
    }

    pub(crate) fn on_choke(&mut self) {
        self.chokes += 1;
    }

    /// Adds another thread's counts.
    pub fn add(&mut self, other: &Tally) {
        self.payload_bytes += other.payload_bytes;
        self.blocks += other.blocks;
        self.rejects += other.rejects;
        self.chokes += other.chokes;
        self.pieces_verified += other.pieces_verified;
        self.pieces_broken_off += other.pieces_broken_off;
        self.distinct.extend(&other.distinct);
        // Both histograms have one range, so nothing can fall outside.
        let _ = self.latency_us.add(&other.latency_us);
    }
}

impl Default for Tally {
    fn default() -> Tally {
        Tally::new()
    }
}

/// A histogram of times in microseconds with three significant digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    // The only errors are a bound below 2 and more than 5 digits.
    Histogram::new_with_max(LATENCY_US_MAX, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}
