//! Whether a load was served at all: figures of one that was not would be those of nothing. Pure.

use crate::results::{Counts, LoadResult};

/// Why the load of a phase that came to its end is no measurement of `target`.
pub(super) fn of(load: &LoadResult, target: &str) -> Option<String> {
    let recorded = |name: &str| load.latencies.get(name).map_or(0, |latency| latency.total.len());
    let Counts { unchoked, answers, payload_bytes, errors, pieces_verified, .. } = load.counts;
    if answers > 0 || payload_bytes > 0 {
        let is_unseen = load.mode == "verify" && pieces_verified == 0;
        return is_unseen.then(|| {
            format!(
                "{answers} blocks came from {target}, and no piece was verified, since of none all blocks \
                 came in the counted time: let it be longer, or the connections fewer"
            )
        });
    }
    let blocks = recorded("request_to_piece");
    let none = |what: String| Some(format!("{target} {what}"));
    match load.mode.as_str() {
        "flood" | "verify" | "slow" if unchoked > 0 => {
            none(format!("sent not one block to {unchoked} connections that it had unchoked"))
        }
        // Answers that came after the counted time are among those recorded, and are no errors.
        "latency" if blocks > 0 && errors >= blocks => {
            none(format!("answered none of {blocks} requests"))
        }
        "churn" => {
            let leechers = recorded("unchoke");
            if leechers > 0 && blocks == 0 && errors >= leechers {
                none(format!("unchoked none of {leechers} leechers"))
            } else if blocks > 0 && errors == blocks {
                none(format!("answered none of {blocks} requests"))
            } else {
                None
            }
        }
        "announce" => {
            let requests = recorded("announce") + recorded("scrape");
            let is_unserved = requests > 0 && errors >= requests;
            is_unserved.then(|| format!("the tracker gave no answer to {requests} requests"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::distribution::Distribution;

    fn load(mode: &str, counts: Counts, recorded: &[(&str, u64)]) -> LoadResult {
        let latencies = recorded.iter().map(|(name, times)| {
            let mut distribution = Distribution::default();
            (0..*times).for_each(|_| distribution.total.saturating_record(1_000));
            ((*name).to_owned(), distribution)
        });
        LoadResult {
            mode: mode.into(),
            counts,
            latencies: latencies.collect(),
            ..LoadResult::default()
        }
    }

    #[track_caller]
    fn says(load: &LoadResult, right: Option<&str>) {
        let told = of(load, "it");
        match right {
            Some(right) => {
                assert!(told.as_ref().is_some_and(|told| told.contains(right)), "{told:?}")
            }
            None => assert_eq!(told, None),
        }
    }

    #[test]
    fn a_load_that_nobody_served_is_none() {
        let errors = |errors| Counts { errors, ..Counts::default() };
        let unchoked = Counts { unchoked: 3, ..Counts::default() };
        says(&load("flood", unchoked, &[]), Some("not one block to 3 connections"));
        let asked = [("request_to_piece", 5)];
        says(&load("latency", errors(5), &asked), Some("none of 5 requests"));
        let came = [("unchoke", 4)];
        says(&load("churn", errors(4), &came), Some("none of 4 leechers"));
        let both = [("unchoke", 4), ("request_to_piece", 8)];
        says(&load("churn", errors(8), &both), Some("none of 8 requests"));
        let told = [("announce", 4), ("scrape", 1)];
        says(&load("announce", errors(5), &told), Some("no answer to 5 requests"));
        let blocks = Counts { answers: 9, payload_bytes: 9 << 14, ..unchoked };
        says(&load("verify", blocks, &[]), Some("no piece was verified"));
    }

    #[test]
    fn one_that_was_served_or_asked_for_nothing_is_fine() {
        let served = Counts { unchoked: 3, answers: 1, errors: 9, ..Counts::default() };
        for mode in ["flood", "latency", "churn", "slow", "announce"] {
            says(&load(mode, served, &[("request_to_piece", 9), ("unchoke", 3)]), None);
        }
        // Late, but answered.
        let late = Counts { errors: 4, ..Counts::default() };
        says(&load("latency", late, &[("request_to_piece", 5)]), None);
        for mode in ["latency", "churn", "announce", "idle", "abuse"] {
            says(&load(mode, Counts::default(), &[]), None);
        }
        let verified = Counts { pieces_verified: 1, ..served };
        says(&load("verify", verified, &[]), None);
    }
}
