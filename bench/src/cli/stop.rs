//! How a run is ended early: the first SIGINT or SIGTERM ends it with what was seen so far, the
//! second one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::observer::Observer;
use crate::plan::Phase;
use crate::results::{Check, PhaseResult, Sample};

/// What a shell shows for a program that a signal ended: 128 and its number.
fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// Passes everything on to another observer, and ends the run when a signal came.
pub(super) struct UntilSignal<O> {
    observer: O,
    came: Arc<AtomicBool>,
    /// Its number; 0: none yet.
    which: Arc<AtomicUsize>,
}

impl<O: Observer> UntilSignal<O> {
    /// From now on.
    pub(super) fn new(observer: O) -> anyhow::Result<UntilSignal<O>> {
        let (came, which) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for signal in [SIGINT, SIGTERM] {
            // In the order of their calls: the first signal finds the flag down.
            flag::register_conditional_shutdown(signal, exit_code(signal), came.clone())
                .and_then(|_| flag::register(signal, came.clone()))
                .and_then(|_| flag::register_usize(signal, which.clone(), signal as usize))
                .context("cannot set up signals")?;
        }
        Ok(UntilSignal { observer, came, which })
    }

    /// The signal that came, by name: whoever did not send it learns that it was not the target.
    pub(super) fn signal(&self) -> Option<&'static str> {
        let which = i32::try_from(self.which.load(Ordering::Relaxed)).unwrap_or_default();
        [(SIGINT, "SIGINT"), (SIGTERM, "SIGTERM")]
            .into_iter()
            .find_map(|(signal, name)| (signal == which).then_some(name))
    }
}

impl<O: Observer> Observer for UntilSignal<O> {
    fn phase(&mut self, phase: &Phase, number: usize, of: usize) {
        self.observer.phase(phase, number, of);
    }
    fn opening(&mut self, ready: u64, lost: u64, of: u64) {
        self.observer.opening(ready, lost, of);
    }
    fn interval(&mut self, sample: &Sample, latency: Option<&Histogram<u64>>) {
        self.observer.interval(sample, latency);
    }
    fn checked(&mut self, check: &Check) {
        self.observer.checked(check);
    }
    fn phase_over(&mut self, result: &PhaseResult) {
        self.observer.phase_over(result);
    }
    fn wants_end(&self) -> bool {
        self.came.load(Ordering::Relaxed) || self.observer.wants_end()
    }
}
