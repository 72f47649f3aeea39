//! What a reader must know before believing the figures of a phase. Pure.

use std::collections::BTreeMap;

use crate::plan::Place;
use crate::results::{Cost, LoadResult, PhaseResult, ThreadTime};

/// A core that is busy for this share of the time has nothing more to give.
const SATURATED: f64 = 0.9;
/// A share of busy time that belongs to neither side, from which on it disturbs.
const OTHERS_SHARE: f64 = 0.05;
/// A share of all time that the hypervisor has taken, from which on it disturbs.
const STEAL_SHARE: f64 = 0.02;
/// Microseconds that an open loop may be late at its 99th percentile.
const LATE_US: u64 = 1_000;

/// Where load and target ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'a> {
    /// Those of our threads: the thread named `...-N` is at place N, counted round.
    pub(super) places: &'a [Place],
    /// What our threads have spent. Empty: not to be had.
    pub(super) own_threads: &'a [ThreadTime],
    /// Cores that the target may use. 0: not known.
    pub(super) target_cores: usize,
}

/// Remarks on a phase that is over.
pub(super) fn of(result: &PhaseResult, sides: &Sides) -> Vec<String> {
    let mut remarks = Vec::new();
    if result.cost.elapsed_s > 0.0 {
        remarks.extend(generator(result, sides));
        remarks.extend(steal(&result.cost));
        remarks.extend(others(&result.cost));
    }
    result.loads.iter().for_each(|load| remarks.extend(of_load(load)));
    remarks
}

/// Whether our own threads were what limited the rate. Open loops and slow readers have a rate that
/// was asked for; how far an open loop fell behind it is told as its lateness.
fn generator(result: &PhaseResult, sides: &Sides) -> Option<String> {
    let is_greedy = |load: &LoadResult| matches!(load.mode.as_str(), "flood" | "verify");
    if !result.loads.iter().any(is_greedy) {
        return None;
    }
    let Cost { elapsed_s, target_s, .. } = result.cost;
    let own = busiest(&result.cost, sides) / elapsed_s;
    let thread = result.target_threads.first().map(|thread| thread.cpu_s / elapsed_s);
    let cores = target_s
        .filter(|_| sides.target_cores > 0)
        .map(|target_s| target_s / (elapsed_s * sides.target_cores as f64));
    let is_full = |share: Option<f64>| share.is_some_and(|share| share >= SATURATED);
    if own < SATURATED || is_full(thread) || is_full(cores) {
        return None;
    }
    let told = |what: &str, share: Option<f64>| {
        share.map_or(String::new(), |share| {
            format!(", the target's {what} for {:.0} %", share * 100.0)
        })
    };
    Some(format!(
        "the generator stood in the way: its busiest core was busy for {:.0} % of the time{}{}; the \
         target can do more than these figures say",
        own * 100.0,
        told("busiest thread", thread),
        told("cores", cores)
    ))
}

/// Seconds of the busiest of our cores: of all threads that are pinned to it together, or of one
/// thread that is pinned to none.
fn busiest(cost: &Cost, sides: &Sides) -> f64 {
    let mut by_core: BTreeMap<usize, f64> = BTreeMap::new();
    let mut most: f64 = 0.0;
    for thread in sides.own_threads {
        let place =
            thread.name.rsplit_once('-').and_then(|(_, number)| number.parse::<usize>().ok());
        let place = place.zip(sides.places.len().checked_sub(1));
        let core = place.and_then(|(number, last)| sides.places.get(number % (last + 1))?.core);
        let seconds = match core {
            Some(core) => {
                let sum = by_core.entry(core).or_default();
                *sum += thread.cpu_s;
                *sum
            }
            None => thread.cpu_s,
        };
        most = most.max(seconds);
    }
    // Never more than all of them together, which is known even where threads are not.
    if sides.own_threads.is_empty() { cost.own_s / sides.places.len().max(1) as f64 } else { most }
}

fn steal(cost: &Cost) -> Option<String> {
    let share = cost.steal_s / cost.elapsed_s;
    (share > STEAL_SHARE).then(|| {
        format!(
            "the hypervisor took {:.0} % of a core for others: do not trust ratios",
            share * 100.0
        )
    })
}

/// Known only where the target's own time is.
fn others(cost: &Cost) -> Option<String> {
    let target_s = cost.target_s?;
    let others_s = cost.busy_s - cost.own_s - target_s;
    let others = others_s / cost.busy_s;
    // On an idle machine a little is much of what there is, and disturbs nothing.
    let disturbs = others_s > OTHERS_SHARE * cost.elapsed_s;
    (others > OTHERS_SHARE && disturbs).then(|| {
        format!(
            "{:.0} % of busy time belongs to other programs or to the kernel on nobody's behalf",
            others * 100.0
        )
    })
}

fn of_load(load: &LoadResult) -> Vec<String> {
    let (name, counts) = (&load.name, &load.counts);
    let mut remarks = Vec::new();
    let counted = [
        (counts.lost, "connections were lost"),
        (counts.chokes, "chokes after the load began"),
        (counts.rejects, "requests were rejected"),
        (
            counts.pieces_broken_off,
            "pieces were not hashed, since the target refused blocks of them",
        ),
    ];
    for (times, what) in counted {
        if times > 0 {
            remarks.push(format!("'{name}': {times} {what}"));
        }
    }
    if matches!(load.mode.as_str(), "latency") && counts.errors > 0 {
        remarks.push(format!(
            "'{name}': {} requests were not answered; they are charged with the time they waited",
            counts.errors
        ));
    }
    let late = load.latencies.get("late").map(|late| late.total.value_at_quantile(0.99));
    if let Some(late_us) = late.filter(|late_us| *late_us > LATE_US) {
        remarks.push(format!(
            "'{name}': the load itself was late by {:.1} ms at its 99th percentile, which its \
             latencies contain",
            late_us as f64 / 1e3
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Counts;

    fn phase(own_s: f64, target_s: f64, busy_s: f64) -> PhaseResult {
        let cost =
            Cost { elapsed_s: 10.0, own_s, target_s: Some(target_s), busy_s, ..Cost::default() };
        let target_threads = vec![ThreadTime { name: "worker-0".into(), cpu_s: target_s }];
        let loads = vec![LoadResult { mode: "flood".into(), ..LoadResult::default() }];
        PhaseResult { cost, target_threads, loads, ..PhaseResult::default() }
    }

    /// The remarks on a phase whose threads, at these cores, have spent so much each.
    fn told(
        result: &PhaseResult,
        threads: &[(Option<usize>, f64)],
        target_cores: usize,
    ) -> Vec<String> {
        let places = threads.iter().map(|(core, _)| Place { core: *core, namespace: None });
        let places: Vec<Place> = places.collect();
        let own_threads = threads.iter().enumerate().map(|(number, (_, cpu_s))| ThreadTime {
            name: format!("flood-{number}"),
            cpu_s: *cpu_s,
        });
        let own_threads: Vec<ThreadTime> = own_threads.collect();
        of(result, &Sides { places: &places, own_threads: &own_threads, target_cores })
    }

    #[test]
    fn a_quiet_phase_has_no_remarks() {
        assert_eq!(told(&phase(5.0, 9.9, 15.0), &[(Some(1), 5.0)], 1), Vec::<String>::new());
    }

    #[test]
    fn a_generator_in_the_way_is_told_unless_the_target_is_at_its_end_too() {
        let remarks = told(&phase(9.8, 6.0, 16.0), &[(Some(1), 9.8)], 1);
        let right = "the generator stood in the way: its busiest core was busy for 98 % of the time, the \
                     target's busiest thread for 60 %, the target's cores for 60 %;";
        assert!(remarks[0].starts_with(right), "{remarks:?}");
        let none = Vec::<String>::new();
        assert_eq!(told(&phase(9.8, 9.7, 20.0), &[(Some(1), 9.8)], 2), none);
        assert_eq!(told(&phase(9.8, 6.0, 16.0), &[(Some(1), 4.9), (Some(2), 4.9)], 1), none);
    }

    #[test]
    fn two_threads_of_the_target_on_one_core_are_at_its_end() {
        let mut result = phase(9.8, 9.4, 19.2);
        result.target_threads[0].cpu_s = 4.7;
        assert_eq!(told(&result, &[(Some(1), 9.8)], 1), Vec::<String>::new());
        // With another core to run on they were not.
        assert!(
            told(&result, &[(Some(1), 9.8)], 2)[0].starts_with("the generator stood in the way")
        );
    }

    #[test]
    fn a_rate_that_was_asked_for_is_not_the_generators_limit() {
        let mut result = phase(9.8, 5.0, 14.8);
        assert_eq!(told(&result, &[(Some(1), 9.8)], 1).len(), 1);
        result.loads[0].mode = "latency".into();
        assert!(told(&result, &[(Some(1), 9.8)], 1).is_empty());
    }

    #[test]
    fn own_threads_are_told_by_core_and_each_that_has_none_by_itself() {
        let is_told = |threads: &[(Option<usize>, f64)]| {
            let own_s = threads.iter().map(|(_, cpu_s)| cpu_s).sum::<f64>();
            !told(&phase(own_s, 5.0, own_s + 5.0), threads, 1).is_empty()
        };
        // Several on one core; one out of four; without cores.
        assert!(is_told(&[(Some(1), 4.8), (Some(1), 4.8), (Some(2), 1.0)]));
        assert!(is_told(&[(Some(1), 1.0), (Some(2), 9.6), (Some(3), 1.0), (Some(4), 1.0)]));
        assert!(is_told(&[(None, 9.6), (None, 0.5)]));
        assert!(!is_told(&[(None, 5.0), (None, 5.0)]));
        let sides = Sides { places: &[], own_threads: &[], target_cores: 0 };
        assert!(!of(&phase(9.8, 5.0, 14.8), &sides).is_empty(), "threads are not to be had");
    }

    #[test]
    fn others_and_the_hypervisor_are_told() {
        let own = [(Some(1), 5.0)];
        let remarks = told(&phase(5.0, 4.0, 10.0), &own, 1);
        assert!(
            remarks[0].starts_with("10 % of busy time belongs to other programs"),
            "{remarks:?}"
        );
        assert!(told(&phase(0.02, 0.01, 0.2), &own, 1).is_empty(), "an idle machine");
        let mut stolen = phase(5.0, 5.0, 10.0);
        stolen.cost.steal_s = 0.5;
        assert!(told(&stolen, &own, 1)[0].starts_with("the hypervisor took 5 %"));
    }

    #[test]
    fn what_went_wrong_on_connections_is_told_with_its_load() {
        let counts = Counts { lost: 2, rejects: 3, ..Counts::default() };
        let load = LoadResult { name: "l".into(), counts, ..LoadResult::default() };
        let result = PhaseResult { loads: vec![load], ..PhaseResult::default() };
        assert_eq!(
            told(&result, &[], 0),
            ["'l': 2 connections were lost", "'l': 3 requests were rejected"]
        );
    }
}
