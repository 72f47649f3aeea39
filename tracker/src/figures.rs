//! What a tracker counts, as it is shown: for a monitoring system, for a program, for people.
//! Each figure is one line of [`Figures::rows`]; the pages are made of them.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::Serialize;

/// The figures of one moment. The thread that counts copies them out when they are asked for, so
/// that counting costs an addition and no one waits for anyone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Seconds since the first turn.
    pub(crate) uptime_seconds: u64,
    /// Torrents that have peers, by address family.
    pub(crate) torrents: u64,
    /// Peers of all torrents.
    pub(crate) peers: u64,
    /// Peers that made room for others at a bound.
    pub(crate) displaced_peers: u64,
    pub(crate) announces: ByProtocol,
    /// Torrents asked after.
    pub(crate) scraped_torrents: ByProtocol,
    /// Of torrents that a list does not let be served.
    pub(crate) unserved_announces: u64,
    /// Torrents on the list.
    pub(crate) listed_torrents: u64,
    /// 1 when the list's file has changed and could not be read.
    pub(crate) stale_list: u64,
    /// Those that may announce where a tracker is private.
    pub(crate) users: u64,
    /// Announces and scrapes without the passkey of a user, where one is needed.
    pub(crate) strangers: u64,
    /// Requests that were not understood or not allowed.
    pub(crate) refused_requests: u64,
    /// HTTP connections that are open.
    pub(crate) connections: u64,
    pub(crate) accepted_connections: u64,
    /// Over the bound of connections, or the share of their host in a crowded tracker: closed at once.
    pub(crate) refused_connections: u64,
    /// Closed since a request, a reader or the next request did not come in time.
    pub(crate) overdue_connections: u64,
    /// Closed since all together held too much.
    pub(crate) overfull_connections: u64,
    /// Of requests and answers, in HTTP connections.
    pub(crate) waiting_bytes: u64,
    /// Not answered: without a good connection id, or not of BEP 15.
    pub(crate) dropped_datagrams: u64,
    /// Answers that no socket had room for.
    pub(crate) lost_datagrams: u64,
    /// Written and put in the place of the one before.
    pub(crate) snapshots: u64,
    /// Not written; the one before was kept.
    pub(crate) failed_snapshots: u64,
}

/// One count for each protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct ByProtocol {
    pub(crate) http: u64,
    pub(crate) udp: u64,
}

fn row(name: &'static str, help: &'static str, value: Value) -> Row {
    Row { name, help, value }
}

/// Name, meaning and value of a figure.
struct Row {
    name: &'static str,
    help: &'static str,
    value: Value,
}

enum Value {
    /// What is now.
    Gauge(u64),
    /// What was counted since the start.
    Counter(u64),
    Counters(ByProtocol),
}

impl Figures {
    fn rows(&self) -> Vec<Row> {
        self.of_swarms().into_iter().chain(self.of_sockets()).collect()
    }

    fn of_swarms(&self) -> [Row; 14] {
        use Value::{Counter, Counters, Gauge};
        [
            row("uptime_seconds", "Time since the tracker started", Gauge(self.uptime_seconds)),
            row("torrents", "Torrents that have peers, by address family", Gauge(self.torrents)),
            row("peers", "Peers of all torrents", Gauge(self.peers)),
            row(
                "displaced_peers",
                "Peers that made room for others because a bound was reached",
                Counter(self.displaced_peers),
            ),
            row("announces", "Announces taken in", Counters(self.announces)),
            row("scraped_torrents", "Torrents scraped", Counters(self.scraped_torrents)),
            row(
                "unserved_announces",
                "Announces of torrents that a list does not let be served",
                Counter(self.unserved_announces),
            ),
            row(
                "listed_torrents",
                "Torrents on the list of those that are served, or are not",
                Gauge(self.listed_torrents),
            ),
            row(
                "stale_list",
                "Whether the list has changed and could not be read: 1, else 0",
                Gauge(self.stale_list),
            ),
            row("users", "Users that may announce; 0 where everybody may", Gauge(self.users)),
            row("strangers", "Announces and scrapes without a passkey", Counter(self.strangers)),
            row(
                "refused_requests",
                "Requests that were not understood or not allowed",
                Counter(self.refused_requests),
            ),
            row("snapshots", "Snapshots of the swarms that were written", Counter(self.snapshots)),
            row(
                "failed_snapshots",
                "Snapshots that could not be written; the one before was kept",
                Counter(self.failed_snapshots),
            ),
        ]
    }

    fn of_sockets(&self) -> [Row; 8] {
        use Value::{Counter, Gauge};
        [
            row("connections", "HTTP connections that are open", Gauge(self.connections)),
            row(
                "accepted_connections",
                "HTTP connections that were served",
                Counter(self.accepted_connections),
            ),
            row(
                "refused_connections",
                "HTTP connections closed at once because a bound was reached",
                Counter(self.refused_connections),
            ),
            row(
                "overdue_connections",
                "HTTP connections closed because a client was too slow or idle for too long",
                Counter(self.overdue_connections),
            ),
            row(
                "overfull_connections",
                "HTTP connections closed because clients left too much waiting in all of them",
                Counter(self.overfull_connections),
            ),
            row(
                "waiting_bytes",
                "Bytes of requests and answers that wait in HTTP connections",
                Gauge(self.waiting_bytes),
            ),
            row(
                "dropped_datagrams",
                "UDP packets not answered for want of a good connection id or of sense",
                Counter(self.dropped_datagrams),
            ),
            row(
                "lost_datagrams",
                "UDP answers that the socket had no room for, or that the system would not send",
                Counter(self.lost_datagrams),
            ),
        ]
    }

    /// Appends the OpenMetrics text that Prometheus and its kin read.
    pub(crate) fn write_metrics(&self, page: &mut Vec<u8>) {
        let mut registry = Registry::with_prefix("ringseed_tracker");
        registry.register_collector(Box::new(*self));
        let mut written = String::new();
        // Appending to memory does not fail.
        let _ = text::encode(&mut written, &registry);
        page.extend_from_slice(written.as_bytes());
    }

    /// Appends a JSON object with the names of the fields.
    pub(crate) fn write_json(&self, page: &mut Vec<u8>) {
        // Numbers into memory: neither can fail.
        let _ = serde_json::to_writer_pretty(&mut *page, self);
        page.push(b'\n');
    }

    /// Appends a page without anything to load or run.
    pub(crate) fn write_html(&self, page: &mut Vec<u8>) {
        page.extend_from_slice(HTML_BEFORE.as_bytes());
        let mut rows = String::new();
        for Row { name: _, help, value } in self.rows() {
            // Appending to memory does not fail.
            let _ = match value {
                Value::Gauge(value) | Value::Counter(value) => {
                    writeln!(rows, "<tr><th>{help}<td>{value}")
                }
                Value::Counters(ByProtocol { http, udp }) => {
                    writeln!(rows, "<tr><th>{help}<td>{http} over HTTP, {udp} over UDP")
                }
            };
        }
        page.extend_from_slice(rows.as_bytes());
        page.extend_from_slice(HTML_AFTER.as_bytes());
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Row { name, help, value } in self.rows() {
            match value {
                Value::Gauge(value) => {
                    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                    let kind = gauge.metric_type();
                    gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
                }
                Value::Counter(value) => {
                    let counter = ConstCounter::new(value);
                    let kind = counter.metric_type();
                    counter.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
                }
                Value::Counters(ByProtocol { http, udp }) => {
                    let kind = ConstCounter::new(http).metric_type();
                    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
                    for (protocol, value) in [("http", http), ("udp", udp)] {
                        let labels = [("protocol", protocol)];
                        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

const HTML_BEFORE: &str = "\
<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content=\"width=device-width\">
<title>BitTorrent tracker</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: normal }
td { text-align: right; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #8884; padding: .3rem 0 }
</style>
<h1>BitTorrent tracker</h1>
<p>Clients announce at <code>/announce</code> and scrape at <code>/scrape</code>.
<table>
";

const HTML_AFTER: &str = "\
</table>
<p>The same for programs: <a href=/metrics>/metrics</a>, <a href=/stats>/stats</a>.
";

#[cfg(test)]
mod tests {
    use super::*;

    /// Each field has a number of its own.
    fn figures() -> Figures {
        Figures {
            uptime_seconds: 1,
            torrents: 2,
            peers: 3,
            displaced_peers: 4,
            announces: ByProtocol { http: 5, udp: 6 },
            scraped_torrents: ByProtocol { http: 7, udp: 8 },
            refused_requests: 9,
            connections: 10,
            accepted_connections: 11,
            refused_connections: 12,
            overdue_connections: 13,
            dropped_datagrams: 14,
            unserved_announces: 15,
            listed_torrents: 16,
            stale_list: 17,
            lost_datagrams: 18,
            overfull_connections: 21,
            waiting_bytes: 22,
            snapshots: 19,
            failed_snapshots: 20,
            users: 23,
            strangers: 24,
        }
    }

    fn page(write: impl FnOnce(&Figures, &mut Vec<u8>)) -> String {
        let mut page = Vec::new();
        write(&figures(), &mut page);
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn metrics_are_what_prometheus_reads() {
        let page = page(Figures::write_metrics);
        let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "ringseed_tracker_uptime_seconds 1",
                "ringseed_tracker_torrents 2",
                "ringseed_tracker_peers 3",
                "ringseed_tracker_displaced_peers_total 4",
                "ringseed_tracker_announces_total{protocol=\"http\"} 5",
                "ringseed_tracker_announces_total{protocol=\"udp\"} 6",
                "ringseed_tracker_scraped_torrents_total{protocol=\"http\"} 7",
                "ringseed_tracker_scraped_torrents_total{protocol=\"udp\"} 8",
                "ringseed_tracker_unserved_announces_total 15",
                "ringseed_tracker_listed_torrents 16",
                "ringseed_tracker_stale_list 17",
                "ringseed_tracker_users 23",
                "ringseed_tracker_strangers_total 24",
                "ringseed_tracker_refused_requests_total 9",
                "ringseed_tracker_snapshots_total 19",
                "ringseed_tracker_failed_snapshots_total 20",
                "ringseed_tracker_connections 10",
                "ringseed_tracker_accepted_connections_total 11",
                "ringseed_tracker_refused_connections_total 12",
                "ringseed_tracker_overdue_connections_total 13",
                "ringseed_tracker_overfull_connections_total 21",
                "ringseed_tracker_waiting_bytes 22",
                "ringseed_tracker_dropped_datagrams_total 14",
                "ringseed_tracker_lost_datagrams_total 18",
            ]
        );
        assert!(page.contains("# TYPE ringseed_tracker_peers gauge\n"), "{page}");
        assert!(page.contains("# TYPE ringseed_tracker_announces counter\n"), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    #[test]
    fn the_manual_names_every_figure() {
        let manual = include_str!("../../docs/tracker.md");
        for Row { name, .. } in figures().rows() {
            assert!(manual.contains(&format!("`{name}`")), "docs/tracker.md does not name {name}");
        }
    }

    #[test]
    fn json_has_every_figure_by_its_name() {
        let read: serde_json::Value = serde_json::from_str(&page(Figures::write_json)).unwrap();
        assert_eq!(read["announces"]["udp"], 6);
        assert_eq!(read["dropped_datagrams"], 14);
        let read = read.as_object().unwrap();
        assert_eq!(read.len(), figures().rows().len());
        assert!(figures().rows().iter().all(|row| read.contains_key(row.name)), "{read:?}");
    }

    #[test]
    fn people_are_shown_every_figure() {
        let page = page(Figures::write_html);
        for row in figures().rows() {
            assert!(page.contains(row.help), "{}: {page}", row.name);
        }
        assert!(page.contains("5 over HTTP, 6 over UDP") && page.contains("<td>14\n"), "{page}");
    }
}
