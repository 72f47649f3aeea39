//! What `ringseed seed --json` prints: one object a line, described in docs/cli.md.

use std::io::Write;

use serde_json::{Map, Value, json};

use crate::service::figures::{Distribution, Figures, Kind, Snapshot};
use crate::service::{Event, TorrentReady};

/// Collects what the `ready` event repeats.
pub(super) struct Voice {
    verbose: bool,
    torrents: Vec<Value>,
    listening: Value,
}

impl Voice {
    pub(super) fn new(verbose: bool) -> Voice {
        Voice { verbose, torrents: Vec::new(), listening: Value::Null }
    }

    pub(super) fn tell(&mut self, event: &Event) {
        if let Some(line) = self.line(event) {
            let mut out = std::io::stdout().lock();
            // A reader that went away does not stop a seeder.
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }

    fn line(&mut self, event: &Event) -> Option<Value> {
        Some(match event {
            Event::Listening { addresses, trackers, kernel, kernel_reason, plan, sandbox } => {
                let (verb, why) = plan.split_once(": ").unwrap_or((plan, ""));
                let line = json!({
                    "event": "listening", "listen": addresses, "tracker": trackers,
                    "kernel": kernel, "kernel_why": kernel_reason, "verb": verb, "why": why,
                    "sandbox": sandbox.name(), "sandbox_why": sandbox.reason,
                });
                self.listening = line.clone();
                line
            }
            Event::Hashing { what, progress } => json!({
                "event": "hashing", "torrent": what,
                "done_bytes": progress.done_bytes, "total_bytes": progress.total_bytes,
            }),
            Event::Torrent(torrent) => {
                let mut line = describe(torrent);
                self.torrents.push(line.clone());
                line["event"] = "torrent".into();
                line
            }
            Event::Ready { seeding, failed } => {
                let mut line = self.listening.clone();
                line["event"] = "ready".into();
                line["torrents"] = std::mem::take(&mut self.torrents).into();
                line["seeding"] = (*seeding).into();
                line["failed"] = (*failed).into();
                line
            }
            Event::Rate(rate) => json!({
                "event": "rate", "connections": rate.connections, "peers": rate.peers,
                "bytes_per_s": rate.bytes_per_s, "sent_bytes": rate.sent_bytes,
                "torrents": rate.torrents, "disk_waits": rate.disk_waits,
            }),
            Event::Counters { snapshot, .. } => counters(snapshot),
            Event::Error { torrent, file, message } => json!({
                "event": "error", "torrent": torrent, "message": message,
                "file": file.as_ref().map(|path| path.to_string_lossy()),
            }),
            Event::PeerFault { peer, fault } if self.verbose => json!({
                "event": "peer_fault", "peer": peer, "fault": fault,
            }),
            Event::PeerFault { .. } => return None,
            Event::Note(message) => json!({ "event": "note", "message": message }),
            Event::Stopped { sent_bytes, announces_given_up } => json!({
                "event": "stopped", "sent_bytes": sent_bytes,
                "announces_given_up": announces_given_up,
            }),
        })
    }
}

fn counters(snapshot: &Snapshot) -> Value {
    let workers = snapshot.workers.iter().map(|(core, of_worker)| {
        let mut worker = figures(of_worker);
        worker["core"] = (*core).into();
        worker
    });
    let devices = snapshot.devices.iter().map(|device| {
        let mut line = named(device.each(), device.distributions());
        line["device"] = device.name().into();
        line
    });
    json!({
        "event": "counters", "io_worker_threads": snapshot.io_worker_threads,
        "total": figures(&snapshot.total), "workers": workers.collect::<Vec<_>>(),
        "devices": devices.collect::<Vec<_>>(),
    })
}

fn figures(figures: &Figures) -> Value {
    named(figures.each(), figures.distributions())
}

fn named<'a>(
    numbers: impl IntoIterator<Item = (&'static str, Kind, u64)>,
    distributions: impl IntoIterator<Item = (&'static str, &'a Distribution)>,
) -> Value {
    let numbers = numbers.into_iter();
    let mut line: Map<String, Value> =
        numbers.map(|(name, _, value)| (name.to_owned(), value.into())).collect();
    for (name, of) in distributions {
        let buckets: Vec<Value> = of.buckets().map(|(us, count)| json!([us, count])).collect();
        let percentile = |of_ten_thousand| of.percentile_us(of_ten_thousand);
        let distribution = json!({
            "count": of.count(), "sum": of.sum_us(), "p50": percentile(5_000),
            "p99": percentile(9_900), "p9999": percentile(9_999), "max": of.max_us(),
            "buckets": buckets,
        });
        line.insert(name.to_owned(), distribution);
    }
    line.into()
}

fn describe(torrent: &TorrentReady) -> Value {
    json!({
        "name": torrent.name,
        "info_hash_v1": torrent.info_hash_v1.map(|hash| hash.to_string()),
        "info_hash_v2": torrent.info_hash_v2.map(|hash| hash.to_string()),
        "magnet": torrent.magnet,
        "torrent_file": torrent.torrent_file.to_string_lossy(),
    })
}
