//! What a reader must know before believing the figures of a phase. Pure.

use std::collections::BTreeSet;

use crate::plan::Place;
use crate::results::{Cost, LoadResult, PhaseResult};

/// A core that is busy for this share of the time has nothing more to give.
const SATURATED: f64 = 0.9;
/// A share of busy time that belongs to neither side, from which on it disturbs.
const OTHERS_SHARE: f64 = 0.05;
/// A share of all time that the hypervisor has taken, from which on it disturbs.
const STEAL_SHARE: f64 = 0.02;
/// Microseconds that an open loop may be late at its 99th percentile.
const LATE_US: u64 = 1_000;

/// Remarks on a phase that is over; `places` are those of our threads.
pub(super) fn of(result: &PhaseResult, places: &[Place]) -> Vec<String> {
    let mut remarks = Vec::new();
    if result.cost.elapsed_s > 0.0 {
        remarks.extend(generator(result, places));
        remarks.extend(steal(&result.cost));
        remarks.extend(others(&result.cost));
    }
    result.loads.iter().for_each(|load| remarks.extend(of_load(load)));
    remarks
}

/// Whether our own threads were what limited the rate.
fn generator(result: &PhaseResult, places: &[Place]) -> Option<String> {
    let Cost { elapsed_s, own_s, .. } = result.cost;
    let cores: BTreeSet<Option<usize>> = places.iter().map(|place| place.core).collect();
    let own = own_s / (elapsed_s * cores.len().max(1) as f64);
    let busiest = result.target_threads.first().map(|thread| thread.cpu_s / elapsed_s);
    if own < SATURATED || busiest.is_some_and(|busiest| busiest >= SATURATED) {
        return None;
    }
    let target = busiest.map_or(String::new(), |busiest| {
        format!(", the target's busiest thread for {:.0} %", busiest * 100.0)
    });
    Some(format!(
        "the generator stood in the way: its cores were busy for {:.0} % of the time{target}; the \
         target can do more than these figures say",
        own * 100.0
    ))
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
    let others = (cost.busy_s - cost.own_s - target_s) / cost.busy_s;
    (others > OTHERS_SHARE).then(|| {
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
    use crate::results::{Counts, ThreadTime};

    fn phase(own_s: f64, target_s: f64, busy_s: f64) -> PhaseResult {
        let cost =
            Cost { elapsed_s: 10.0, own_s, target_s: Some(target_s), busy_s, ..Cost::default() };
        let target_threads = vec![ThreadTime { name: "worker-0".into(), cpu_s: target_s }];
        PhaseResult { cost, target_threads, ..PhaseResult::default() }
    }

    fn one_core() -> Vec<Place> {
        vec![Place { core: Some(1), namespace: None }]
    }

    #[test]
    fn a_quiet_phase_has_no_remarks() {
        assert_eq!(of(&phase(5.0, 9.9, 15.0), &one_core()), Vec::<String>::new());
    }

    #[test]
    fn a_generator_in_the_way_is_told_unless_the_target_is_at_its_end_too() {
        let told = of(&phase(9.8, 6.0, 16.0), &one_core());
        assert!(
            told[0].starts_with("the generator stood in the way: its cores were busy for 98 %"),
            "{told:?}"
        );
        assert!(told[0].contains("busiest thread for 60 %"), "{told:?}");
        assert_eq!(of(&phase(9.8, 9.7, 20.0), &one_core()), Vec::<String>::new());
        let two = [one_core(), vec![Place { core: Some(2), namespace: None }]].concat();
        assert_eq!(of(&phase(9.8, 6.0, 16.0), &two), Vec::<String>::new());
    }

    #[test]
    fn others_and_the_hypervisor_are_told() {
        let told = of(&phase(5.0, 4.0, 10.0), &one_core());
        assert!(told[0].starts_with("10 % of busy time belongs to other programs"), "{told:?}");
        let mut stolen = phase(5.0, 5.0, 10.0);
        stolen.cost.steal_s = 0.5;
        assert!(of(&stolen, &one_core())[0].starts_with("the hypervisor took 5 %"));
    }

    #[test]
    fn what_went_wrong_on_connections_is_told_with_its_load() {
        let counts = Counts { lost: 2, rejects: 3, ..Counts::default() };
        let load = LoadResult { name: "l".into(), counts, ..LoadResult::default() };
        let result = PhaseResult { loads: vec![load], ..PhaseResult::default() };
        assert_eq!(
            of(&result, &[]),
            ["'l': 2 connections were lost", "'l': 3 requests were rejected"]
        );
    }
}
