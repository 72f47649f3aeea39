//! What distributions are called outside `result.json`: tags of the interval log and names of
//! percentile files, from phase, load and metric.

use std::collections::BTreeSet;

use crate::results::{Distribution, PhaseResult, Results};

/// A distribution that has recorded something, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded<'a> {
    pub(super) phase: &'a PhaseResult,
    pub(super) load: &'a str,
    pub(super) metric: &'a str,
    pub(super) distribution: &'a Distribution,
}

/// All of them, in the order of the file.
pub(super) fn recorded(results: &Results) -> impl Iterator<Item = Recorded<'_>> {
    let loads = results.phases.iter().flat_map(|phase| phase.loads.iter().map(move |l| (phase, l)));
    let all = loads.flat_map(|(phase, load)| {
        load.latencies.iter().map(move |(metric, distribution)| Recorded {
            phase,
            load: &load.name,
            metric,
            distribution,
        })
    });
    all.filter(|recorded| !recorded.distribution.total.is_empty())
}

/// Gives out names that differ. Interval logs end tags at commas and spaces, and file names must not
/// leave their folder: other characters become `-`, and a number tells apart what is then the same.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// The parts, joined by `separator`.
    pub(super) fn take(&mut self, recorded: &Recorded<'_>, separator: &str) -> String {
        let parts = [recorded.phase.name.as_str(), recorded.load, recorded.metric].map(plain);
        let wanted = parts.join(separator);
        let mut name = wanted.clone();
        let mut number = 1_u32;
        while !self.0.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}-{number}");
        }
        name
    }
}

fn plain(part: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let text: String = part.chars().map(|c| if keep(c) { c } else { '-' }).collect();
    if text.trim_matches('.').is_empty() { "-".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_differ() {
        let distribution = Distribution::new();
        let mut names = Names::default();
        let mut take = |phase: &str, load| {
            let phase = PhaseResult { name: phase.into(), ..PhaseResult::default() };
            let metric = "connected";
            let recorded = Recorded { phase: &phase, load, metric, distribution: &distribution };
            names.take(&recorded, "-")
        };
        assert_eq!(take("flood 100", "a,b"), "flood-100-a-b-connected");
        assert_eq!(take("flood", "100-a-b"), "flood-100-a-b-connected-2");
        assert_eq!(take("../..", "\u{e9}"), "..-..---connected");
        assert_eq!(take("..", ""), "----connected");
    }
}
