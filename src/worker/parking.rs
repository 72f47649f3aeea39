//! When a thread must be woken by those who put something into its queues: only while it waits, and
//! once.
//!
//! The owner says that it will wait ([`Parking::park`]), looks into its queues once more, and waits
//! only if they are empty. The others put something in, then ask [`Parking::must_ring`]. Of these two,
//! each writes first and reads what the other wrote second, with a full fence between: at least one
//! sees the other, so nothing lies in a queue whose owner sleeps. A ring too many costs a turn.
//!
//! Who is told to ring may do so late: a message from ring to ring leaves with the sender's next enter.
//! Others who put something in meanwhile find the owner rung, and wait for that as well: for the rest of
//! one turn of the sender, and no longer, since it enters or ends.

use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether the owner of some queues waits, or is about to.
#[derive(Debug, Default)]
pub struct Parking {
    is_parked: AtomicBool,
}

impl Parking {
    /// The owner is about to wait. Its queues are to be looked into after this and before the wait.
    pub fn park(&self) {
        self.is_parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake and will look into its queues.
    pub fn unpark(&self) {
        self.is_parked.store(false, Ordering::Relaxed);
    }

    /// Whether the owner must be rung, after something was put into a queue of it. Of several who
    /// ask while it waits, one is told so.
    pub fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_parked.load(Ordering::Relaxed) && self.is_parked.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::{Condvar, Mutex};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Things that each of two threads puts into the queue.
    const THINGS: u32 = 100_000;

    /// A wait that would end by a ring, and does not.
    const FOR_EVER: Duration = Duration::from_secs(5);

    #[test]
    fn nothing_lies_in_a_queue_whose_owner_sleeps() {
        let (parking, queue) = (Parking::default(), AtomicU32::new(0));
        let (rung, bell) = (Mutex::new(false), Condvar::new());
        let put = || {
            for thing in 0..THINGS {
                queue.fetch_add(1, Ordering::Relaxed);
                if parking.must_ring() {
                    *rung.lock().unwrap() = true;
                    bell.notify_one();
                }
                if thing % 16 == 0 {
                    thread::yield_now();
                }
            }
        };
        thread::scope(|scope| {
            scope.spawn(put);
            scope.spawn(put);
            let mut taken = 0;
            while taken < 2 * THINGS {
                parking.park();
                if queue.load(Ordering::Relaxed) == 0 {
                    let rung = rung.lock().unwrap();
                    let (mut rung, end) =
                        bell.wait_timeout_while(rung, FOR_EVER, |rung| !*rung).unwrap();
                    assert!(!end.timed_out(), "it slept over what came after {taken}");
                    *rung = false;
                }
                parking.unpark();
                taken += queue.swap(0, Ordering::Relaxed);
            }
        });
    }

    #[test]
    fn of_a_last_look_and_a_ring_at_the_same_time_one_sees_the_other() {
        const ROUNDS: u32 = 50_000;
        let (parking, queue) = (Parking::default(), AtomicU32::new(0));
        let (begun, ended, told) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
        let wait = |counter: &AtomicU32, round| {
            for spins in 1.. {
                if counter.load(Ordering::Acquire) >= round {
                    return;
                }
                if spins % 4_096 == 0 { thread::yield_now() } else { std::hint::spin_loop() }
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    wait(&begun, round);
                    queue.store(round, Ordering::Relaxed);
                    told.store(parking.must_ring(), Ordering::Relaxed);
                    ended.store(round, Ordering::Release);
                }
            });
            let mut missed = 0;
            for round in 1..=ROUNDS {
                begun.store(round, Ordering::Release);
                // Each time a little later, so that they meet.
                (0..round % 128).for_each(|_| std::hint::spin_loop());
                parking.park();
                let sees = queue.load(Ordering::Relaxed) == round;
                wait(&ended, round);
                missed += u32::from(!sees && !told.load(Ordering::Relaxed));
                parking.unpark();
            }
            assert_eq!(missed, 0, "neither saw the other");
        });
    }

    #[test]
    fn only_a_sleeper_is_rung_and_by_one_alone() {
        let parking = Parking::default();
        assert!(!parking.must_ring(), "it is awake");
        parking.park();
        assert!(parking.must_ring());
        assert!(!parking.must_ring(), "it was rung already");
        parking.park();
        parking.unpark();
        assert!(!parking.must_ring());
    }
}
