//! What the threads of a load tell the main one.

use std::thread::ThreadId;

use hdrhistogram::Histogram;
use ringseed_meta::Instant;

use crate::results::{Check, Counts, ErrorCount};

/// A word from a thread about the load with this number within the phase.
#[derive(Debug)]
pub struct Note {
    /// Who tells it.
    pub thread: ThreadId,
    /// Index into [`Phase::loads`](crate::plan::Phase::loads).
    pub load: usize,
    pub event: Event,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A connection or announcer is ready: what the opening waits for.
    Ready,
    /// A connection failed or was ended by the target.
    Lost(String),
    /// Errors of a kind that end nothing, and how many since this kind was last told.
    Error(ErrorCount),
    /// What was seen since the last one; sent while the time counts, at the schedule's intervals.
    Interval(Box<Seen>),
    /// A question was answered.
    Checked(Check),
    /// The thread is at its end. An error ends the run as a failure.
    Ended(Result<(), String>),
}

/// What one thread saw of one load within an interval.
#[derive(Clone, Debug)]
pub struct Seen {
    pub begin: Instant,
    pub until: Instant,
    /// Only what was counted within it.
    pub counts: Counts,
    /// Connections open at its end.
    pub open: u64,
    /// Microseconds, by the names of [`LoadResult::latencies`](crate::results::LoadResult::latencies);
    /// empty histograms are left out.
    pub latencies: Vec<(&'static str, Histogram<u64>)>,
}
