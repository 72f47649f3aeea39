//! What is shown of a tracker: for a monitoring system, for a program, for people.

use crate::http::{Answer, Client, announce};
use crate::program::Program;

fn page(client: &mut Client, path: &str, content_type: &str) -> String {
    let Answer { status, close, content_type: given, body } = client.get(path);
    assert_eq!((status, close, given.as_str()), (200, false, content_type), "{path}");
    String::from_utf8(body).unwrap()
}

#[test]
fn figures_are_shown_to_monitoring_to_programs_and_to_people() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    client.get(&announce('t', 's', 7000, "&left=0"));
    client.get(&announce('t', 'l', 7001, "&left=5"));
    client.get(&announce('t', 'l', 1, "&left=5"));
    client.get(&format!("/scrape?info_hash={0}&info_hash={0}", "t".repeat(20)));
    client.get("/nowhere");
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let metrics = page(&mut client, "/metrics", open_metrics);
    for sample in [
        "ringseed_tracker_torrents 1\n",
        "ringseed_tracker_peers 2\n",
        "ringseed_tracker_announces_total{protocol=\"http\"} 2\n",
        "ringseed_tracker_announces_total{protocol=\"udp\"} 0\n",
        "ringseed_tracker_scraped_torrents_total{protocol=\"http\"} 2\n",
        "ringseed_tracker_refused_requests_total 2\n",
        "ringseed_tracker_connections 1\n",
        "ringseed_tracker_accepted_connections_total 1\n",
    ] {
        assert!(metrics.contains(sample), "{sample}: {metrics}");
    }
    let stats = page(&mut client, "/stats", "application/json");
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!((&stats["peers"], &stats["announces"]["http"]), (&2.into(), &2.into()));
    let people = page(&mut client, "/", "text/html; charset=utf-8");
    assert!(people.contains("<tr><th>Peers of all torrents<td>2\n"), "{people}");
}
