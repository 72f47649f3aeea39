//! A load as it was asked for, for readers of results.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::plan::{Announces, Demand, Kind, Rate, Transport};

/// Names and values. `rate` is what a rate came to that is a share of the peak.
pub(super) fn of(kind: &Kind, rate: f64) -> BTreeMap<String, Value> {
    let pairs: Vec<(&str, Value)> = match kind {
        Kind::Flood { connections, depth, order, verify } => vec![
            ("connections", json!(connections)),
            ("depth", json!(depth)),
            ("order", json!(order.to_string())),
            ("verify", json!(verify)),
        ],
        Kind::Latency { connections, rate: asked, order } => {
            let share = match asked {
                Rate::PerSecond(_) => None,
                Rate::OfPeak(share) => Some(("share_of_peak", json!(share))),
            };
            [
                ("connections", json!(connections)),
                ("rate_per_s", json!(rate)),
                ("order", json!(order.to_string())),
            ]
            .into_iter()
            .chain(share)
            .collect()
        }
        Kind::Churn { rate, blocks } => {
            vec![("rate_per_s", json!(rate)), ("blocks", json!(blocks))]
        }
        Kind::Idle { connections } => vec![("connections", json!(connections))],
        Kind::Slow { connections, depth, bytes_per_s } => vec![
            ("connections", json!(connections)),
            ("depth", json!(depth)),
            ("bytes_per_s", json!(bytes_per_s)),
        ],
        Kind::Announce(announces) => of_announces(announces),
        Kind::Abuse { only } => vec![("only", json!(only))],
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn of_announces(announces: &Announces) -> Vec<(&'static str, Value)> {
    let Announces { transport, demand, torrents, peers, scrapes, fill } = *announces;
    let transport = match transport {
        Transport::Http => "http",
        Transport::Udp => "udp",
    };
    let demand = match demand {
        Demand::Rate(rate) => ("rate_per_s", json!(rate)),
        Demand::AtOnce(requests) => ("at_once", json!(requests)),
    };
    vec![
        ("transport", json!(transport)),
        demand,
        ("torrents", json!(torrents)),
        ("peers", json!(peers)),
        ("scrapes", json!(scrapes)),
        ("fill", json!(fill)),
    ]
}
