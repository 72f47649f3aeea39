//! What it costs to wake a kernel's thread from another one: by its eventfd, and by a message from
//! ring to ring. `cargo run --release -p ringseed-ring --example wake_up -- CORE CORE [ROUNDS]`
//!
//! Two threads wake each other in turn, each asleep in `enter` when its turn comes.
#![allow(clippy::expect_used, reason = "a measurement that cannot go on has nothing to say")]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use ringseed_ring::{Kernel, KernelOptions, Outcome, UringKernel, Wait, system};

#[derive(Clone, Copy, PartialEq)]
enum How {
    Eventfd,
    Message,
}

/// Turns until woken.
fn sleep(kernel: &mut UringKernel) {
    loop {
        while let Some(completion) = kernel.next() {
            if matches!(completion.outcome, Outcome::Woken) {
                return;
            }
        }
        kernel.enter(Wait::AtMost(Duration::from_secs(10))).expect("the ring works");
    }
}

fn play(core: usize, how: How, rounds: u32, first: bool, wires: Wires) -> Duration {
    system::pin_thread(core).expect("the core is ours");
    let mut kernel = UringKernel::new(&KernelOptions::default()).expect("there is io_uring");
    wires.ours.send((kernel.waker(), kernel.bell())).expect("the other thread lives");
    let (waker, bell) = wires.theirs.recv().expect("the other thread lives");
    let wake = |kernel: &mut UringKernel| match how {
        How::Eventfd => waker.wake(),
        How::Message => kernel.ring(&bell),
    };
    #[expect(clippy::disallowed_methods, reason = "measures")]
    let begun = Instant::now();
    for _ in 0..rounds {
        if first {
            wake(&mut kernel);
        }
        sleep(&mut kernel);
        if !first {
            wake(&mut kernel);
        }
    }
    // The last message goes with an enter.
    kernel.enter(Wait::No).expect("the ring works");
    begun.elapsed()
}

struct Wires {
    ours: mpsc::Sender<(ringseed_ring::Waker, ringseed_ring::Bell)>,
    theirs: mpsc::Receiver<(ringseed_ring::Waker, ringseed_ring::Bell)>,
}

/// What this process has used so far, user and system.
fn cpu() -> Duration {
    let (user, system) = system::process_cpu().expect("the system tells");
    user + system
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).flat_map(|text| text.parse()).collect();
    let [one, other, rest @ ..] = numbers.as_slice() else {
        eprintln!("usage: wake_up CORE CORE [ROUNDS]");
        return;
    };
    let (one, other) = (*one, *other);
    let rounds = rest.first().map_or(50_000, |rounds| *rounds as u32);
    for (name, how) in [("eventfd", How::Eventfd), ("message", How::Message)].repeat(3) {
        let (to_other, from_one) = mpsc::channel();
        let (to_one, from_other) = mpsc::channel();
        let before = cpu();
        let answers = std::thread::spawn(move || {
            play(other, how, rounds, false, Wires { ours: to_one, theirs: from_one })
        });
        let begins = std::thread::spawn(move || {
            play(one, how, rounds, true, Wires { ours: to_other, theirs: from_other })
        });
        let (time, _) = (begins.join().expect("it plays"), answers.join().expect("it plays"));
        let cpu = cpu() - before;
        let each = |of: Duration| of.as_nanos() as f64 / f64::from(rounds) / 2000.0;
        println!("{name}: {:.2} us and {:.2} us of CPU for each wake-up", each(time), each(cpu));
    }
}
