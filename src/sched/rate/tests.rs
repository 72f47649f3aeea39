use super::*;
use proptest::prelude::*;

fn at_ms(ms: u64) -> Instant {
    Instant::from_us(ms * 1000)
}

#[test]
fn a_steady_flow_is_told_within_a_few_percent_from_the_first_second_on() {
    for every_ms in [1, 20, 100, 250] {
        let mut meter = Meter::new(at_ms(0));
        for ms in (0..20_000).step_by(every_ms) {
            meter.add(1000 * every_ms as u64, at_ms(ms as u64));
            if ms >= 1000 {
                let rate = meter.bytes_per_s(at_ms(ms as u64));
                // An addition stands for the time until the next one, hence a coarse feed reads
                // up to one addition high.
                let high = 1_050_000 + every_ms as u64 * 1_100;
                assert!((900_000..high).contains(&rate), "{rate} at {ms} ms, every {every_ms} ms");
            }
        }
    }
}

#[test]
fn a_flow_that_ends_is_halved_every_2_2_seconds_and_reaches_zero() {
    let mut meter = Meter::new(at_ms(0));
    (0..10_000).for_each(|ms| meter.add(1000, at_ms(ms)));
    let full = meter.bytes_per_s(at_ms(9_999));
    let half = meter.bytes_per_s(at_ms(9_999 + 2_200));
    assert!((full * 48 / 100..full * 53 / 100).contains(&half), "{half} of {full}");
    assert_eq!(meter.bytes_per_s(at_ms(10_000 + 200_000)), 0);
    assert_eq!(meter.bytes_per_s(Instant::from_us(u64::MAX)), 0);
}

#[test]
fn a_clock_that_steps_back_changes_nothing() {
    let mut meter = Meter::new(at_ms(5_000));
    meter.add(1 << 20, at_ms(5_000));
    let rate = meter.bytes_per_s(at_ms(5_000));
    assert_eq!(meter.bytes_per_s(at_ms(0)), rate);
}

#[test]
fn a_meter_is_small() {
    assert!(size_of::<Meter>() <= 24);
}

proptest! {
    #[test]
    fn no_input_overflows_a_meter(
        adds in prop::collection::vec((any::<u64>(), any::<u64>()), 0..50)
    ) {
        let mut meter = Meter::new(Instant::ZERO);
        for (bytes, us) in adds {
            meter.add(bytes, Instant::from_us(us));
            meter.bytes_per_s(Instant::from_us(us));
        }
    }

    /// Over any stretch from the start, a bucket gives at most its burst and what flowed in.
    #[test]
    fn a_bucket_never_gives_more_than_burst_and_rate(
        rate in 1u64..1_000_000,
        burst in 1u64..100_000,
        takes in prop::collection::vec((1u64..200_000, 0u64..3_000_000), 1..100),
    ) {
        let mut bucket = Bucket::new(rate, burst, Instant::ZERO);
        let (mut now_us, mut given) = (0u64, 0u64);
        for (tokens, wait_us) in takes {
            now_us += wait_us;
            if bucket.take(tokens, Instant::from_us(now_us)) == Taken::Yes {
                given += tokens;
            }
            prop_assert!(given <= burst + rate * now_us / MILLION);
        }
    }

    /// The time a bucket names is right to the microsecond: there it gives, before it does not.
    #[test]
    fn a_refused_caller_is_told_the_first_moment_that_serves(
        rate in 1u64..100_000, burst in 1u64..1000, tokens in 1u64..1000,
    ) {
        prop_assume!(tokens <= burst);
        let mut bucket = Bucket::new(rate, burst, Instant::ZERO);
        let mut now = Instant::ZERO;
        for _ in 0..10 {
            while let Taken::NotBefore(then) = bucket.take(tokens, now) {
                prop_assert!(then > now);
                let early = Instant::from_us(then.as_us() - 1);
                prop_assert!(bucket.clone().take(tokens, early) != Taken::Yes);
                now = then;
            }
        }
    }
}

#[test]
fn slow_buckets_lose_nothing_to_rounding() {
    let mut bucket = Bucket::new(1, 1, Instant::ZERO);
    assert_eq!(bucket.take(1, Instant::ZERO), Taken::Yes);
    // Asked every 300 ms, it gives after one second all the same, then every second.
    let given = (1..=100u64).filter(|step| bucket.take(1, at_ms(step * 300)) == Taken::Yes).count();
    assert!((25..=30).contains(&given), "{given}");
    assert_eq!(bucket.take(2, at_ms(60_000)), Taken::NotBefore(at_ms(60_000)));
}
