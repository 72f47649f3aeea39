//! What slow readers did to the others beside them: the same load alone, and with them. Pure.

use hdrhistogram::Histogram;

use crate::results::{LoadResult, PhaseResult, Results};
use crate::scenario::rounds::round_of;

/// The latency that is compared.
const LATENCY: &str = "request_to_piece";

/// Adds a remark to each phase with slow readers for each load that an earlier phase of the same
/// round had without them.
pub fn compare(results: &mut Results) {
    for number in 0..results.phases.len() {
        let (earlier, rest) = results.phases.split_at_mut(number);
        let Some(phase) = rest.first_mut() else { return };
        if has_slow(phase) {
            let remarks: Vec<String> = phase
                .loads
                .iter()
                .filter_map(|load| remark(load, alone(load, phase, earlier)?))
                .collect();
            phase.remarks.extend(remarks);
        }
    }
}

fn has_slow(phase: &PhaseResult) -> bool {
    phase.loads.iter().any(|load| load.mode == "slow")
}

/// The last phase with the same load and no slow ones.
fn alone<'a>(
    load: &LoadResult,
    beside: &PhaseResult,
    earlier: &'a [PhaseResult],
) -> Option<(&'a str, &'a LoadResult)> {
    let round = |phase: &PhaseResult| round_of(&phase.name).map(|(_, round)| round);
    let same = |other: &&LoadResult| {
        other.name == load.name && other.mode == load.mode && other.parameters == load.parameters
    };
    let candidates = earlier.iter().rev();
    candidates
        .filter(|phase| round(phase) == round(beside) && !has_slow(phase))
        .find_map(|phase| Some((phase.name.as_str(), phase.loads.iter().find(same)?)))
}

fn remark(load: &LoadResult, (phase, alone): (&str, &LoadResult)) -> Option<String> {
    let (beside, alone) =
        (&load.latencies.get(LATENCY)?.total, &alone.latencies.get(LATENCY)?.total);
    if beside.is_empty() || alone.is_empty() {
        return None;
    }
    let told = |quantile| {
        let ms = |histogram: &Histogram<u64>| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let (beside, alone) = (ms(beside), ms(alone));
        format!("{beside:.2} ms to {alone:.2} ms alone (x{:.2})", beside / alone.max(0.001))
    };
    Some(format!(
        "slow readers beside '{}' (alone: phase '{phase}'): p99 {}, p50 {}",
        load.name,
        told(0.99),
        told(0.5)
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::results::distribution::{Distribution, new_histogram};

    fn load(name: &str, mode: &str, us: u64) -> LoadResult {
        let mut distribution = Distribution::new();
        let mut recorded = new_histogram();
        recorded.saturating_record_n(us, 100);
        distribution.add(Duration::ZERO, Duration::from_secs(1), &recorded);
        let latencies = [(LATENCY.to_owned(), distribution)].into();
        LoadResult { name: name.into(), mode: mode.into(), latencies, ..LoadResult::default() }
    }

    fn phase(name: &str, loads: Vec<LoadResult>) -> PhaseResult {
        PhaseResult { name: name.into(), loads, ..PhaseResult::default() }
    }

    fn remarks(phases: Vec<PhaseResult>) -> Vec<Vec<String>> {
        let mut results = Results { phases, ..Results::default() };
        compare(&mut results);
        results.phases.into_iter().map(|phase| phase.remarks).collect()
    }

    #[test]
    fn the_same_load_alone_and_beside_is_compared() {
        let slow = || load("slow", "slow", 900_000);
        let told = remarks(vec![
            phase("other", vec![load("fast", "flood", 7)]),
            phase("alone", vec![load("fast", "latency", 100)]),
            phase("beside", vec![load("fast", "latency", 250), slow()]),
        ]);
        assert_eq!(told[..2], [Vec::<String>::new(), Vec::new()]);
        assert_eq!(
            told[2],
            [
                "slow readers beside 'fast' (alone: phase 'alone'): p99 0.25 ms to 0.10 ms alone (x2.50), \
              p50 0.25 ms to 0.10 ms alone (x2.50)"
            ]
        );
    }

    #[test]
    fn each_round_is_compared_with_itself() {
        let slow = || load("slow", "slow", 900_000);
        let told = remarks(vec![
            phase("alone #1", vec![load("fast", "latency", 100)]),
            phase("beside #1", vec![load("fast", "latency", 200), slow()]),
            phase("alone #2", vec![load("fast", "latency", 50)]),
            phase("beside #2", vec![load("fast", "latency", 200), slow()]),
            phase("beside #3", vec![load("fast", "latency", 200), slow()]),
        ]);
        assert!(told[1][0].contains("(x2.00)") && told[3][0].contains("(x4.00)"), "{told:?}");
        assert!(told[4].is_empty(), "{told:?}");
    }
}
