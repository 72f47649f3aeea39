//! How long a worker's turns take: its own processor time and the waits it chose, not the time for
//! which the system ran others on its core. Pure: readings come in, times go out.

use std::time::Duration;

/// How often the thread gave its core away by itself, and how often it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Switches {
    pub voluntary: u64,
    pub involuntary: u64,
}

/// Turns shorter than this by the clock are as long as the clock says, whatever happened in them:
/// finding out costs a system call.
const LONG: Duration = Duration::from_micros(500);

/// How old what is known of the thread's processor time may be. Reading it takes about as long as
/// sending a block, so it is not read every turn.
const REFERENCE_AGE: Duration = Duration::from_millis(1);

/// One turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Processor time and voluntary waits. Where the system took the core in a long turn it is an
    /// upper bound.
    pub time: Duration,
    /// Voluntary waits.
    pub waits: u64,
    /// The core was taken in a long turn.
    pub was_preempted: bool,
}

/// Times one turn after the other.
#[derive(Default)]
pub struct Turns {
    began: Duration,
    switches: Switches,
    /// Processor time when it was last read, and when that was.
    reference: Option<(Duration, Duration)>,
    /// Of the processor time since then, what is known to have been spent in other turns.
    known: Duration,
}

impl Turns {
    /// A turn begins at `now` of a clock that never stands still; `cpu` reads the thread's
    /// processor time.
    pub fn begin(&mut self, now: Duration, switches: Switches, cpu: impl FnOnce() -> Duration) {
        self.began = now;
        self.switches = switches;
        let is_fresh = |(_, at): (Duration, Duration)| now.saturating_sub(at) < REFERENCE_AGE;
        if !self.reference.is_some_and(is_fresh) {
            self.reference = Some((cpu(), now));
            self.known = Duration::ZERO;
        }
    }

    /// It ends.
    pub fn end(
        &mut self,
        now: Duration,
        switches: Switches,
        cpu: impl FnOnce() -> Duration,
    ) -> Turn {
        let elapsed = now.saturating_sub(self.began);
        let waits = switches.voluntary.saturating_sub(self.switches.voluntary);
        let taken = switches.involuntary > self.switches.involuntary;
        if !taken && waits == 0 {
            self.known += elapsed;
        }
        let was_preempted = taken && elapsed >= LONG;
        let time = match (was_preempted, waits) {
            // The rest of what the thread has run since the reference is this turn's, and `enter`'s.
            (true, 0) => {
                let since = self.reference.map_or(Duration::ZERO, |(reference, _)| reference);
                elapsed.min(cpu().saturating_sub(since).saturating_sub(self.known))
            }
            _ => elapsed,
        };
        Turn { time, waits, was_preempted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    const fn switches(voluntary: u64, involuntary: u64) -> Switches {
        Switches { voluntary, involuntary }
    }

    fn never() -> Duration {
        panic!("the processor time was read")
    }

    #[test]
    fn an_undisturbed_turn_is_as_long_as_the_clock_says() {
        let mut turns = Turns::default();
        turns.begin(us(10), switches(1, 1), || us(5));
        let turn = turns.end(us(3_010), switches(1, 1), never);
        assert_eq!(turn, Turn { time: us(3_000), waits: 0, was_preempted: false });
    }

    #[test]
    fn waits_count_and_time_that_others_had_does_not() {
        let mut turns = Turns::default();
        turns.begin(us(0), switches(0, 0), || us(0));
        assert_eq!(turns.end(us(6_000), switches(2, 0), never).waits, 2);
        turns.begin(us(6_000), switches(2, 0), || us(100));
        // Eight milliseconds by the clock, of which it ran one.
        let turn = turns.end(us(14_000), switches(2, 1), || us(1_100));
        assert_eq!(turn, Turn { time: us(1_000), waits: 0, was_preempted: true });
        // Both: nobody knows how long each was, so all of it counts.
        turns.begin(us(20_000), switches(2, 1), || us(1_100));
        let turn = turns.end(us(28_000), switches(3, 2), never);
        assert_eq!(turn, Turn { time: us(8_000), waits: 1, was_preempted: true });
    }

    #[test]
    fn between_two_readings_of_the_processor_time_other_turns_are_left_out() {
        let mut turns = Turns::default();
        turns.begin(us(0), switches(0, 0), || us(0));
        turns.end(us(300), switches(0, 0), never);
        turns.begin(us(310), switches(0, 0), never);
        turns.end(us(600), switches(0, 0), never);
        turns.begin(us(610), switches(0, 0), never);
        // It ran for 590 us in the turns before, for at most 20 in `enter`, and for 700 now.
        let turn = turns.end(us(9_000), switches(0, 1), || us(590 + 20 + 700));
        assert_eq!(turn.time, us(720));
        turns.begin(us(9_100), switches(0, 1), || us(1_400));
        assert_eq!(turns.end(us(9_200), switches(0, 2), never).time, us(100), "short");
    }
}
