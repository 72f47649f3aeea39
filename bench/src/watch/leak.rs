//! Does a target keep what it should have let go? Judged from what it held before each round of a
//! soak, when nothing was asked of it. Pure.
//!
//! A program that has warmed up goes up and down; one that leaks goes up for good. So the first
//! rounds are left out, the slope is a robust one, and a rise counts only where the end lies above
//! the beginning and is still rising: a cache that fills up is no leak.

use crate::limits::{LEAK_BYTES_MIN, LEAK_COUNT_MIN, LEAK_PAIRS_ROUNDS_MAX, LEAK_ROUNDS_MIN};
use crate::results::{Check, Memory, Results};
use crate::scenario::rounds::round_of;

/// Share of the rounds that are warm-up.
const WARM_UP_SHARE: usize = 4;

/// Share of the level that a rise must exceed too: large programs go up and down by more.
const RELATIVE: f64 = 0.02;

/// What is watched for leaks.
struct Quantity {
    name: &'static str,
    /// The smallest rise that counts.
    rise_min: f64,
    of: fn(&Memory) -> Option<u64>,
    text: fn(f64) -> String,
}

const QUANTITIES: [Quantity; 4] = [
    Quantity {
        name: "anonymous memory",
        rise_min: LEAK_BYTES_MIN,
        of: |memory| memory.anonymous_bytes,
        text: mib,
    },
    Quantity {
        name: "memory of the cgroup less file pages",
        rise_min: LEAK_BYTES_MIN,
        of: |memory| memory.cgroup_less_file_bytes,
        text: mib,
    },
    Quantity {
        name: "descriptors",
        rise_min: LEAK_COUNT_MIN,
        of: |memory| memory.descriptors,
        text: number,
    },
    Quantity {
        name: "connections",
        rise_min: LEAK_COUNT_MIN,
        of: |memory| memory.connections,
        text: number,
    },
];

fn mib(bytes: f64) -> String {
    format!("{:.3} MiB", bytes / f64::from(1 << 20))
}

fn number(count: f64) -> String {
    format!("{count:.1}")
}

/// What a row of values over the rounds shows.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Verdict {
    leaks: bool,
    /// Robust slope a round, after warm-up.
    a_round: f64,
    /// Medians of the first and the last third of the rounds after warm-up.
    early: f64,
    late: f64,
}

/// The median; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    if values.len() % 2 == 1 { at(half) } else { (at(half.wrapping_sub(1)) + at(half)) / 2.0 }
}

/// Theil-Sen: the median of the slopes between all pairs. Up to 29 % of the values may be anything.
fn slope(values: &[f64]) -> f64 {
    // The number of pairs grows with the square; of many values each nth tells as much.
    let stride = values.len().div_ceil(LEAK_PAIRS_ROUNDS_MAX).max(1);
    let thinned: Vec<(usize, f64)> = values.iter().copied().enumerate().step_by(stride).collect();
    let mut slopes = Vec::new();
    for (at, (earlier, low)) in thinned.iter().enumerate() {
        let later = thinned.iter().skip(at + 1);
        slopes.extend(later.map(|(later, high)| (high - low) / (later - earlier) as f64));
    }
    median(slopes)
}

/// Judges what was held before each round. None: too few rounds.
fn judge(values: &[f64], rise_min: f64) -> Option<Verdict> {
    if values.len() < LEAK_ROUNDS_MIN {
        return None;
    }
    let warm = values.get(values.len() / WARM_UP_SHARE..)?;
    let third = warm.len() / 3;
    let early = median(warm.get(..third)?.to_vec());
    let middle = median(warm.get(third..warm.len() - third)?.to_vec());
    let late = median(warm.get(warm.len() - third..)?.to_vec());
    let a_round = slope(warm);
    let rise = a_round * (warm.len() - 1) as f64;
    let counts = rise_min.max(RELATIVE * early.abs());
    let rose = rise > counts && late - early > counts;
    // Of a steady rise the second half is half of it.
    let still_rising = late - middle > (late - early) / 4.0;
    Some(Verdict { leaks: rose && still_rising, a_round, early, late })
}

/// What the target held before the first connection of each round.
fn at_rest(results: &Results) -> Vec<Memory> {
    let rounds = results.phases.iter().filter_map(|phase| {
        let (name, round) = round_of(&phase.name)?;
        Some((name, round, phase.memory_before))
    });
    let mut first = None;
    let mut held = Vec::new();
    for (name, _, memory) in rounds {
        if *first.get_or_insert(name) == name {
            held.push(memory);
        }
    }
    held
}

/// Why so many rounds tell nothing about leaks, and what would help. None: they are enough.
pub fn too_few(rounds: usize) -> Option<String> {
    (rounds < LEAK_ROUNDS_MIN).then(|| {
        format!(
            "no verdict on leaks: it takes {LEAK_ROUNDS_MIN} rounds, not {rounds}; run for longer \
             (--for), or give the phases fewer seconds"
        )
    })
}

/// Why a run in rounds ends without a verdict on leaks. None: it has one, or none was to be had.
pub fn no_verdict(results: &Results) -> Option<String> {
    results.target.pid?;
    let rounds = at_rest(results).len();
    too_few(rounds).filter(|_| rounds > 0)
}

/// Adds checks for leaks to the last load of a run in rounds, and to its failures where one fails.
/// Without rounds there is nothing to judge; with too few a remark says so.
pub fn check(results: &mut Results) {
    let (held, no_verdict) = (at_rest(results), no_verdict(results));
    let Some(last) = results.phases.last_mut() else { return };
    if held.is_empty() || results.target.pid.is_none() {
        return;
    }
    if let Some(why) = no_verdict {
        last.remarks.push(why);
        return;
    }
    for quantity in &QUANTITIES {
        let Some(check) = check_of(quantity, &held) else { continue };
        if !check.passed {
            results.failures.push(format!("the target leaks {}: {}", quantity.name, check.saw));
        }
        if let Some(load) = last.loads.last_mut() {
            load.checks.push(check);
        }
    }
}

fn check_of(quantity: &Quantity, held: &[Memory]) -> Option<Check> {
    let values: Vec<f64> =
        held.iter().filter_map(|memory| Some((quantity.of)(memory)? as f64)).collect();
    let Verdict { leaks, a_round, early, late } = judge(&values, quantity.rise_min)?;
    let text = quantity.text;
    let rounds = values.len();
    Some(Check {
        name: format!("no leak of {}", quantity.name),
        passed: !leaks,
        saw: format!(
            "{} a round over {rounds} rounds, from {} to {}, before each round",
            text(a_round),
            text(early),
            text(late)
        ),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::results::{LoadResult, PhaseResult, Target};

    const RISE_MIN: f64 = 100.0;

    fn leaks(values: &[f64]) -> bool {
        judge(values, RISE_MIN).unwrap().leaks
    }

    /// Twenty rounds at least, each with a noise of at most 1.
    fn noise() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-1.0..=1.0, 20..200)
    }

    proptest! {
        #[test]
        fn a_constant_with_noise_never_leaks(noise in noise(), level in 0.0..1e9_f64) {
            // Even if all of the noise were on one side at first and on the other at the end.
            let values: Vec<f64> = noise.iter().map(|noise| level + noise * RISE_MIN / 2.0).collect();
            prop_assert!(!leaks(&values));
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            prop_assert!(!leaks(&sorted));
        }

        #[test]
        fn a_leak_a_round_is_found(noise in noise(), level in 0.0..1e3_f64, warm_up in 0.0..1e6_f64) {
            // Over the judged rounds it leaks six times what counts; the noise is what counts, both
            // ways.
            let a_round = 6.0 * RISE_MIN / (noise.len() as f64 * 0.75 - 2.0);
            let values: Vec<f64> = noise
                .iter()
                .enumerate()
                .map(|(round, noise)| {
                    let cold = if round == 0 { -warm_up.min(level) } else { 0.0 };
                    level + cold + a_round * round as f64 + noise * RISE_MIN / 2.0
                })
                .collect();
            let verdict = judge(&values, RISE_MIN).unwrap();
            prop_assert!(verdict.leaks, "{verdict:?}");
            prop_assert!((verdict.a_round / a_round - 1.0).abs() < 0.5, "{verdict:?} {a_round}");
        }

        #[test]
        fn a_cache_that_has_filled_up_is_no_leak(noise in noise(), filled in 1e3..1e9_f64) {
            let rounds = noise.len() as f64;
            let values: Vec<f64> = noise
                .iter()
                .enumerate()
                .map(|(round, noise)| filled * (round as f64 / (rounds * 0.5)).min(1.0) + noise)
                .collect();
            prop_assert!(!leaks(&values));
        }

        #[test]
        fn some_rounds_may_show_anything(at in prop::collection::vec(0_usize..40, 0..4), peak in -1e9..1e9_f64) {
            let mut values = [5_000.0; 40];
            at.iter().for_each(|round| values[*round] = peak);
            prop_assert!(!leaks(&values));
            let mut values: Vec<f64> = (0..40).map(|round| f64::from(round * 20)).collect();
            at.iter().for_each(|round| values[*round] = peak);
            prop_assert!(leaks(&values));
        }
    }

    #[test]
    fn a_descriptor_a_round_is_found_and_one_in_all_is_not() {
        let count =
            |of: fn(u32) -> u32| -> Vec<f64> { (0..40).map(|n| f64::from(of(n))).collect() };
        let leaks = |values: &[f64]| judge(values, LEAK_COUNT_MIN).unwrap().leaks;
        assert!(leaks(&count(|round| 20 + round)));
        assert!(!leaks(&count(|round| 20 + round / 39)));
        assert!(!leaks(&count(|round| 20 + round % 3)));
    }

    #[test]
    fn few_rounds_tell_nothing() {
        assert_eq!(judge(&[0.0; LEAK_ROUNDS_MIN - 1], 1.0), None);
        assert_eq!(judge(&[0.0; LEAK_ROUNDS_MIN], 1.0).map(|verdict| verdict.leaks), Some(false));
    }

    #[test]
    fn many_rounds_are_judged_by_each_nth() {
        let values: Vec<f64> = (0..100_000).map(f64::from).collect();
        assert!(leaks(&values) && (slope(&values) - 1.0).abs() < 1e-9);
    }

    /// Two phases a round, of which the second holds a connection for each round past.
    fn soak(rounds: u32, bytes: fn(u64) -> u64) -> Results {
        let phase = |name: &str, round: u32| PhaseResult {
            name: format!("{name} #{round}"),
            memory_before: Memory {
                anonymous_bytes: Some(bytes(round.into())),
                descriptors: Some(if name == "b" { 1_000 * u64::from(round) } else { 9 }),
                ..Memory::default()
            },
            loads: vec![LoadResult::default(), LoadResult::default()],
            ..PhaseResult::default()
        };
        let phases = (1..=rounds).flat_map(|round| [phase("a", round), phase("b", round)]);
        let target = Target { pid: Some(1), ..Target::default() };
        Results { target, phases: phases.collect(), ..Results::default() }
    }

    #[test]
    fn the_last_load_is_told_what_was_found() {
        let mut results = soak(30, |round| (50 << 20) + (round << 20));
        check(&mut results);
        assert_eq!(results.failures.len(), 1, "{:?}", results.failures);
        let failure = &results.failures[0];
        assert!(
            failure
                .starts_with("the target leaks anonymous memory: 1.000 MiB a round over 30 rounds")
        );
        let checks = &results.phases.last().unwrap().loads[1].checks;
        let told: Vec<(&str, bool)> = checks.iter().map(|c| (c.name.as_str(), c.passed)).collect();
        assert_eq!(
            told,
            [("no leak of anonymous memory", false), ("no leak of descriptors", true)]
        );
    }

    #[test]
    fn a_run_without_rounds_or_process_is_not_judged() {
        for of in [soak(0, |_| 0), Results { target: Target::default(), ..soak(30, |_| 0) }] {
            let mut results = of.clone();
            check(&mut results);
            assert_eq!(results, of);
        }
        let mut few = soak(3, |_| 0);
        check(&mut few);
        assert!(few.failures.is_empty());
        let remarks = &few.phases[5].remarks;
        assert!(
            remarks.len() == 1 && remarks[0].contains("it takes 8 rounds, not 3; "),
            "{remarks:?}"
        );
        assert_eq!(no_verdict(&few).as_ref(), remarks.first());
        assert_eq!(too_few(LEAK_ROUNDS_MIN), None);
    }
}
