//! Who looks on while a run goes: the progress in the terminal, or nobody.

use hdrhistogram::Histogram;

use crate::plan::Phase;
use crate::results::{Check, PhaseResult, Sample};

/// Is told as things happen, by the main thread. Must be quick.
pub trait Observer {
    /// A phase begins, number `number` (from 1) of `of`.
    fn phase(&mut self, _phase: &Phase, _number: usize, _of: usize) {}
    /// It is opening: so many of what it waits for are ready, so many lost.
    fn opening(&mut self, _ready: u64, _lost: u64, _of: u64) {}
    /// An interval of the counted time is over. `latency`: what was recorded in it, of the first
    /// load that measures one.
    fn interval(&mut self, _sample: &Sample, _latency: Option<&Histogram<u64>>) {}
    /// A question was answered.
    fn checked(&mut self, _check: &Check) {}
    /// The phase is over.
    fn phase_over(&mut self, _result: &PhaseResult) {}
    /// Whether the run shall end now, with what was seen so far: asked several times a second, in
    /// the opening and the warm-up too.
    fn wants_end(&self) -> bool {
        false
    }
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Observer for Nobody {}
