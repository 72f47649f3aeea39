//! What each kind of load counts, and how a run ends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringseed_swarm::observer::{Nobody, Observer};
use ringseed_swarm::order::Order;
use ringseed_swarm::plan::{Kind, Load, Phase, Place, Plan, Rate, Seeder};
use ringseed_swarm::results::{LoadResult, PhaseResult, Results, Sample};
use ringseed_swarm::run::run;
use ringseed_swarm::target::Pieces;

use crate::stub::{self, NAME, QUIET, Stub};

const MS: fn(u64) -> Duration = Duration::from_millis;

pub(crate) fn load(name: &str, kind: Kind) -> Load {
    Load { name: name.into(), kind }
}

pub(crate) fn flood(connections: u32, depth: u32) -> Load {
    load("flood", Kind::Flood { connections, depth, order: Order::Random, verify: false })
}

pub(crate) fn phase(name: &str, length: Duration, loads: Vec<Load>) -> Phase {
    Phase { name: name.into(), opening: MS(10_000), warm_up: MS(20), length, loads }
}

pub(crate) fn plan(target: SocketAddr, phases: Vec<Phase>) -> Plan {
    Plan {
        title: "test".into(),
        seeder: Some(Seeder {
            address: target,
            info_hash: NAME,
            pieces: Pieces::even(1 << 16, (50 << 16) + 100).unwrap(),
            metainfo: None,
        }),
        tracker: None,
        pid: Some(std::process::id()),
        from: Some((IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1)), 1)),
        places: vec![Place::default(), Place::default()],
        phases,
    }
}

pub(crate) fn carry_out(plan: &Plan) -> Results {
    let _noisy = QUIET.read();
    run(plan, &mut Nobody).unwrap()
}

/// The only phase of a run that passed.
#[track_caller]
fn passed(results: &Results) -> &PhaseResult {
    assert_eq!(results.failures, Vec::<String>::new());
    assert_eq!(results.phases.len(), 1);
    &results.phases[0]
}

#[track_caller]
fn latency_count(load: &LoadResult, name: &str) -> u64 {
    load.latencies.get(name).map_or(0, |latency| latency.total.len())
}

#[test]
fn a_flood_is_measured_with_its_milestones_costs_and_series() {
    let (target, seen) = stub::start(Stub::default());
    let results = carry_out(&plan(target, vec![phase("p", MS(600), vec![flood(3, 4)])]));
    let phase = passed(&results);
    let load = &phase.loads[0];
    let counts = load.counts;
    assert_eq!((counts.connections, counts.unchoked, counts.lost), (3, 3, 0));
    assert!(
        counts.answers > 0 && counts.payload_bytes <= (counts.answers + 12) << 14,
        "{counts:?}"
    );
    for name in ["connected", "handshake", "bitfield", "unchoke"] {
        assert_eq!(latency_count(load, name), 3, "{name}");
    }
    let latency = &load.latencies["request_to_piece"];
    assert_eq!(latency.total.len(), counts.answers);
    let by_interval: u64 =
        latency.intervals.iter().map(|interval| interval.recorded().unwrap().len()).sum();
    assert_eq!(by_interval, counts.answers);
    // Fewer where this machine slept through the end of one.
    assert!((1..=3).contains(&phase.series.len()), "{:?}", phase.series);
    let of_series: f64 = phase.series.iter().map(|s| s.answers_per_s * s.length_s).sum();
    assert!((of_series - counts.answers as f64).abs() < 0.5, "{of_series} of {counts:?}");
    // A thread's word on an interval may come too late for it, but for none of the last.
    let connections: Vec<u64> = phase.series.iter().map(|sample| sample.connections).collect();
    assert!(connections.iter().all(|open| *open <= 3), "{connections:?}");
    assert_eq!(connections.last(), Some(&3));
    let cost = &phase.cost;
    assert!((0.3..5.0).contains(&cost.elapsed_s) && cost.gb_per_s > 0.0, "{cost:?}");
    assert!(phase.memory_after.anonymous_bytes.is_some());
    assert_eq!(seen.interested.load(Ordering::Relaxed), 3);
    let peers = seen.peers.lock().unwrap();
    // The first one shows the congestion control, and is closed before the phases.
    let mut addresses: Vec<_> = peers[1..].iter().map(|peer| peer.ip().to_string()).collect();
    addresses.sort();
    assert_eq!(addresses, ["127.0.1.1", "127.0.1.2", "127.0.1.3"]);
}

#[test]
fn a_wrong_answer_ends_the_run_with_what_was_seen() {
    let (target, _) = stub::start(Stub { confuses: Some(300), ..Stub::default() });
    let phases =
        vec![phase("first", MS(5_000), vec![flood(3, 4)]), phase("second", MS(10), vec![])];
    let results = carry_out(&plan(target, phases));
    let failure = &results.failures[0];
    assert!(failure.starts_with("first, 'flood': connection "), "{failure}");
    assert!(failure.contains("the block header 0000"), "{failure}");
    assert_eq!(results.phases.len(), 1, "no further phase is begun");
    let counts = results.phases[0].loads[0].counts;
    assert_eq!((counts.connections, counts.unchoked), (3, 3));
}

#[test]
fn a_lost_connection_is_counted_and_told_and_the_others_go_on() {
    let (target, _) = stub::start(Stub { leaves: Some(8), ..Stub::default() });
    let mut plan = plan(target, vec![phase("p", MS(100), vec![flood(3, 4)])]);
    plan.phases[0].warm_up = MS(200);
    let results = carry_out(&plan);
    let phase = passed(&results);
    let load = &phase.loads[0];
    assert_eq!((load.counts.unchoked, load.counts.lost), (3, 1));
    assert!(load.counts.answers > 0);
    assert_eq!(load.errors.iter().map(|error| error.times).sum::<u64>(), 1, "{:?}", load.errors);
    assert!(phase.remarks.contains(&"'flood': 1 connections were lost".into()), "{phase:?}");
}

#[test]
fn a_seeder_that_keeps_choking_is_a_failure() {
    let (target, _) = stub::start(Stub { unchokes: false, ..Stub::default() });
    let mut plan = plan(target, vec![phase("p", MS(100), vec![flood(3, 4)])]);
    plan.phases[0].opening = MS(50);
    let failures = carry_out(&plan).failures;
    assert!(failures[0].contains("has unchoked none of 3 connections"), "{failures:?}");
}

#[test]
fn a_port_that_nobody_listens_on_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let results = carry_out(&plan(target, vec![phase("p", MS(100), vec![flood(3, 4)])]));
    let failure = &results.failures[0];
    assert!(failure.contains("Connection refused"), "{failure}");
    assert!(failure.contains(&target.to_string()), "{failure}");
    assert_eq!(results.phases[0].loads[0].counts.lost, 3);
}

#[test]
fn rejects_and_chokes_are_understood() {
    let stub = Stub { rejects_every: Some(7), chokes_every: Some(50), ..Stub::default() };
    let (target, _) = stub::start(stub);
    let results = carry_out(&plan(target, vec![phase("p", MS(300), vec![flood(2, 4)])]));
    let counts = passed(&results).loads[0].counts;
    assert!(counts.answers > 100, "{counts:?}");
    assert!(counts.rejects > counts.answers / 20 && counts.chokes > 0, "{counts:?}");
    assert_eq!(counts.lost, 0);
}

#[test]
fn an_open_loop_keeps_its_rate_and_its_count_in_the_face_of_chokes() {
    for chokes_every in [None, Some(20)] {
        let (target, _) = stub::start(Stub { chokes_every, ..Stub::default() });
        let rate = Rate::PerSecond(2_000.0);
        let kind = Kind::Latency { connections: 5, rate, order: Order::Sequential };
        let results = carry_out(&plan(target, vec![phase("p", MS(500), vec![load("l", kind)])]));
        let load = &passed(&results).loads[0];
        // 500 ms of 2,000 a second: each recorded once, whatever became of it.
        let recorded = latency_count(load, "request_to_piece");
        assert!((999..=1_001).contains(&recorded), "{recorded}");
        assert_eq!(load.counts.errors, 0, "{load:?}");
        assert!(latency_count(load, "late") >= recorded);
        assert_eq!(load.parameters["rate_per_s"], 2_000.0);
    }
}

#[test]
fn a_share_of_the_peak_needs_a_flood_before() {
    let (target, _) = stub::start(Stub::default());
    let kind = Kind::Latency { connections: 2, rate: Rate::OfPeak(0.05), order: Order::Sequential };
    let latency = || phase("latency", MS(300), vec![load("l", kind.clone())]);
    let error = run(&plan(target, vec![latency()]), &mut Nobody).unwrap_err().to_string();
    assert!(error.contains("share of the peak"), "{error}");
    let phases = vec![phase("flood", MS(300), vec![flood(2, 4)]), latency()];
    let results = carry_out(&plan(target, phases));
    assert_eq!(results.failures, Vec::<String>::new());
    let peak = results.phases[0].loads[0].counts.answers as f64 / results.phases[0].seconds;
    let rate = results.phases[1].loads[0].parameters["rate_per_s"].as_f64().unwrap();
    assert!((rate - peak * 0.05).abs() < 1e-6, "{rate} of {peak}");
}

#[test]
fn a_silent_seeder_does_not_look_good_in_an_open_loop() {
    // It answers nothing at all.
    let stall = Some((Duration::from_secs(100), Duration::from_secs(100)));
    let (target, _) = stub::start(Stub { stall, ..Stub::default() });
    let kind =
        Kind::Latency { connections: 2, rate: Rate::PerSecond(500.0), order: Order::Sequential };
    let results = carry_out(&plan(target, vec![phase("p", MS(400), vec![load("l", kind)])]));
    let failure = &results.failures[0];
    let right = format!("p, 'l': {target} answered none of ");
    assert!(failure.starts_with(&right), "{failure}");
    let load = &results.phases[0].loads[0];
    let latency = &load.latencies["request_to_piece"].total;
    assert!((199..=201).contains(&latency.len()), "{}", latency.len());
    assert_eq!(load.counts.errors, latency.len());
    // The last second of waiting for answers is charged to each.
    assert!(latency.min() >= 990_000, "{} us", latency.min());
}

#[test]
fn answers_after_the_counted_time_have_latencies_and_no_rate() {
    // Each answer comes when the counted time is over.
    let (target, _) = stub::start(Stub { delay: MS(600), ..Stub::default() });
    let kind =
        Kind::Latency { connections: 2, rate: Rate::PerSecond(500.0), order: Order::Sequential };
    let results = carry_out(&plan(target, vec![phase("p", MS(400), vec![load("l", kind)])]));
    let phase = passed(&results);
    let load = &phase.loads[0];
    let recorded = latency_count(load, "request_to_piece");
    assert!((199..=201).contains(&recorded), "{recorded}");
    let counts = load.counts;
    assert_eq!((counts.answers, counts.payload_bytes, counts.errors), (0, 0, 0), "{counts:?}");
    assert_eq!(phase.cost.gb_per_s, 0.0);
    assert!(phase.series.iter().all(|sample| sample.answers_per_s == 0.0));
}

#[test]
fn a_churn_fetches_its_blocks_and_leaves_by_fin_and_by_reset() {
    let (target, seen) = stub::start(Stub::default());
    let kind = Kind::Churn { rate: 200.0, blocks: 3 };
    let results = carry_out(&plan(target, vec![phase("p", MS(500), vec![load("c", kind)])]));
    let load = &passed(&results).loads[0];
    let counts = load.counts;
    // 100 in 500 ms and 4 in the warm-up: begun in time even where the seeder is slow.
    assert!((95..=106).contains(&counts.connections), "{counts:?}");
    assert_eq!(counts.lost, 0);
    let unchoked = latency_count(load, "unchoke");
    assert!((50..=104).contains(&unchoked), "{unchoked}");
    assert!((150..=312).contains(&counts.answers), "{counts:?}");
    let [finished, reset] =
        [&seen.finished, &seen.reset].map(|end| end.load(Ordering::Relaxed) as i64);
    // The last ones are reset at the end of the phase, whatever they are at.
    assert!(finished >= 25 && (reset - finished).abs() <= 55, "{finished} {reset}");
}

#[test]
fn leechers_that_are_never_unchoked_are_charged_with_their_wait() {
    let (target, _) = stub::start(Stub { unchokes: false, ..Stub::default() });
    let kind = Kind::Churn { rate: 200.0, blocks: 1 };
    let results = carry_out(&plan(target, vec![phase("p", MS(500), vec![load("c", kind)])]));
    let load = &results.phases[0].loads[0];
    let unchoke = &load.latencies["unchoke"].total;
    // Those that were due in the counted time, and no others.
    assert!((99..=101).contains(&unchoke.len()), "{}", unchoke.len());
    assert_eq!((load.counts.errors, load.counts.unchoked), (unchoke.len(), 0));
    assert!(unchoke.min() >= 990_000, "{} us", unchoke.min());
    assert!(unchoke.max() >= 1_400_000, "{} us", unchoke.max());
    assert_eq!(latency_count(load, "handshake"), unchoke.len());
    let right = format!("p, 'c': {target} unchoked none of {} leechers", unchoke.len());
    assert_eq!(results.failures, [right]);
}

#[test]
fn a_churn_against_nobody_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let kind = Kind::Churn { rate: 100.0, blocks: 1 };
    let results = carry_out(&plan(target, vec![phase("p", MS(300), vec![load("c", kind)])]));
    let failure = &results.failures[0];
    assert!(failure.contains("unchoked none of"), "{failure}");
    let load = &results.phases[0].loads[0];
    assert!(load.errors[0].what.contains("Connection refused"), "{:?}", load.errors);
}

#[test]
fn idle_connections_say_hello_and_nothing_more() {
    let (target, seen) = stub::start(Stub { unchokes: false, ..Stub::default() });
    let kind = Kind::Idle { connections: 50 };
    let results = carry_out(&plan(target, vec![phase("p", MS(200), vec![load("i", kind)])]));
    let phase = passed(&results);
    let load = &phase.loads[0];
    assert_eq!((load.counts.connections, load.counts.requests), (50, 0));
    assert_eq!(latency_count(load, "handshake"), 50);
    assert_eq!(phase.series[0].connections, 50);
    // One more shows the congestion control before the phases.
    assert_eq!(seen.accepted.load(Ordering::Relaxed), 51);
    let said = [&seen.interested, &seen.keep_alives].map(|said| said.load(Ordering::Relaxed));
    assert_eq!(said, [0, 0]);
}

#[test]
fn slow_readers_take_what_they_may_beside_fast_ones() {
    let (target, _) = stub::start(Stub::default());
    let slow = Kind::Slow { connections: 4, depth: 2, bytes_per_s: 100_000 };
    let loads = vec![load("slow", slow), flood(2, 4)];
    let mut phase = phase("p", MS(2_000), loads);
    phase.warm_up = MS(500);
    let results = carry_out(&plan(target, vec![phase]));
    let [slow, fast] = passed(&results).loads.as_slice() else { panic!("{results:?}") };
    // 4 x 100,000 bytes a second, headers included, for 2 s; one burst more at most.
    let bytes = slow.counts.payload_bytes;
    assert!((700_000..=880_000).contains(&bytes), "{bytes}");
    assert_eq!(latency_count(slow, "request_to_piece"), 0, "its own pace is no latency");
    assert!(fast.counts.payload_bytes > 20 * bytes);
}

#[test]
fn more_connections_than_a_ring_holds_are_carried_on_one_core() {
    let core = ringseed_ring::system::affinity().unwrap()[0];
    // Nobody accepts them, which is enough to see that each is begun.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let kind = Kind::Idle { connections: 12_000 };
    let mut plan = plan(target, vec![phase("p", MS(10), vec![load("i", kind)])]);
    plan.places = vec![Place { core: Some(core), namespace: None }];
    plan.phases[0].opening = MS(300);
    match run(&plan, &mut Nobody) {
        Ok(results) => {
            assert!(results.failures[0].contains("none of 12000"), "{:?}", results.failures);
        }
        // Where so many descriptors are not to be had, that is what it says.
        Err(error) => assert!(error.to_string().contains("descriptors are needed"), "{error}"),
    }
}

/// Ends a process as soon as there is something to tell.
struct Killer(std::process::Child);

impl Observer for Killer {
    fn interval(&mut self, _: &Sample, _: Option<&Histogram<u64>>) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_target_that_ends_is_a_failure_with_what_was_seen_before() {
    let (target, _) = stub::start(Stub::default());
    let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut plan = plan(target, vec![phase("p", MS(4_000), vec![flood(2, 4)])]);
    plan.pid = Some(child.id());
    let _noisy = QUIET.read();
    let results = run(&plan, &mut Killer(child)).unwrap();
    let [failure] = results.failures.as_slice() else { panic!("{:?}", results.failures) };
    assert!(failure.starts_with("p: process ") && failure.contains("has ended"), "{failure}");
    let phase = &results.phases[0];
    assert!(phase.loads[0].counts.answers > 0);
    assert!(!phase.series.is_empty());
}

#[test]
fn plans_that_cannot_be_carried_out_are_refused_with_the_cure() {
    let (target, _) = stub::start(Stub::default());
    let cases = [
        (Kind::Flood { connections: 1, depth: 4, order: Order::Random, verify: true }, "give it"),
        (
            Kind::Flood { connections: 1, depth: 300, order: Order::Random, verify: false },
            "lower the depth",
        ),
        (Kind::Churn { rate: 0.0, blocks: 1 }, "must be over 0"),
        (Kind::Slow { connections: 1, depth: 1, bytes_per_s: 0 }, "idle connections"),
    ];
    for (kind, cure) in cases {
        let plan = plan(target, vec![phase("p", MS(10), vec![load("l", kind)])]);
        let error = format!("{:#}", run(&plan, &mut Nobody).unwrap_err());
        assert!(error.starts_with("phase 'p', load 'l': ") && error.contains(cure), "{error}");
    }
}
