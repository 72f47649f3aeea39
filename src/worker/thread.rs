//! The outer loop of a worker's thread: the one place that reads its clock and enters its kernel.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ringseed_meta::Instant;
use ringseed_ring::{
    AnyKernel, Kernel, KernelChoice, KernelOptions, KernelPlan, Socket, Wait, Waker, system,
};

use super::counters::Counters;
use super::mailbox::{Mailbox, Report};
use super::turns::{Switches, Turns};
use super::{Options, Shared, Worker};

/// What a worker says once it stands.
pub struct Started {
    pub waker: Waker,
    /// The kernel in use and why.
    pub kernel: KernelPlan,
    /// One line: the verb in use and why.
    pub plan: String,
}

/// Runs a worker on this thread until it has stopped: pins it to `core`, makes its kernel, takes
/// the listeners over, tells `started`, turns.
pub fn run(
    core: Option<usize>,
    (wanted, sizes): (KernelChoice, &KernelOptions),
    listeners: Vec<OwnedFd>,
    options: Options,
    shared: Shared,
    started: impl FnOnce(Result<Started, String>),
) {
    let prepared = pin(core).and_then(|()| prepare(wanted, sizes, listeners));
    let (kernel, plan, listeners) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return started(Err(error)),
    };
    let options = Options { verb: kernel.plan().verb, ..options };
    let verb_plan = kernel.plan().reason.clone();
    started(Ok(Started { waker: kernel.waker(), kernel: plan, plan: verb_plan }));
    match kernel {
        AnyKernel::Uring(kernel) => turn(Worker::new(*kernel, listeners, options, shared)),
        AnyKernel::Epoll(kernel) => turn(Worker::new(*kernel, listeners, options, shared)),
    }
}

/// Turns until the worker has stopped. A bug that panics must not take a core away in silence.
fn turn<K: Kernel>(worker: Worker<K>) {
    let shared = worker.shared();
    let (mailbox, counters, notify) =
        (shared.mailbox.clone(), shared.counters.clone(), shared.notify.clone());
    let turns = AssertUnwindSafe(|| turn_until_stopped(worker, &counters));
    let outcome = catch_unwind(turns)
        .unwrap_or_else(|_| Err("it panicked (see above); this is a bug, please report it".into()));
    if let Err(error) = outcome {
        tell(&mailbox, Report::Died(error));
        notify();
    }
}

fn pin(core: Option<usize>) -> Result<(), String> {
    let Some(core) = core else { return Ok(()) };
    system::pin_thread(core).map_err(|error| format!("cannot pin to core {core}: {error}"))
}

fn prepare(
    wanted: KernelChoice,
    sizes: &KernelOptions,
    listeners: Vec<OwnedFd>,
) -> Result<(AnyKernel, KernelPlan, Vec<Socket>), String> {
    let opened = AnyKernel::open(wanted, sizes);
    let (mut kernel, plan) = opened.map_err(|error| error.to_string())?;
    let adopted: Result<Vec<Socket>, _> =
        listeners.into_iter().map(|listener| kernel.adopt(listener)).collect();
    let listeners = adopted.map_err(|error| format!("cannot take a listener over: {error}"))?;
    Ok((kernel, plan, listeners))
}

fn turn_until_stopped<K: Kernel>(mut worker: Worker<K>, counters: &Counters) -> Result<(), String> {
    let start = worker.shared().crew.start(clock);
    let busy = system::BusyTime::of_thread();
    let mut look_at = Instant::ZERO;
    let (mut turns, mut in_enter) = (Turns::default(), Duration::ZERO);
    let (mut now, mut left) = (start.elapsed(), switches());
    loop {
        turns.begin(now, left, processor_time);
        let instant = Instant::from_us(now.as_micros() as u64);
        if instant >= look_at {
            look_at = worker.note_busy(busy.read().as_micros() as u64, instant);
        }
        let wait = worker.turn(instant);
        let (ended, entered) = (start.elapsed(), switches());
        counters.count_turn(turns.end(ended, entered, processor_time));
        if worker.is_stopped() {
            worker.publish();
            return Ok(());
        }
        worker.enter(wait).map_err(|error| error.to_string())?;
        now = start.elapsed();
        in_enter += now.saturating_sub(ended);
        counters.enter_us.set(in_enter.as_micros() as u64);
        // Asking is a system call; what did not wait did not give the core away.
        left = if wait == Wait::No { entered } else { switches() };
    }
}

/// A thread that cannot be asked counts nothing.
fn switches() -> Switches {
    let (voluntary, involuntary) = system::thread_switches().unwrap_or_default();
    Switches { voluntary, involuntary }
}

/// As above.
fn processor_time() -> Duration {
    system::thread_cpu().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "the one place where a worker reads the clock")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

/// The last words of a worker: it must be heard, so the oldest reports give way.
fn tell(mailbox: &Arc<Mailbox>, report: Report) {
    let mut report = report;
    while let Err(back) = mailbox.report(report) {
        report = back;
        let _ = mailbox.next_report();
    }
}
