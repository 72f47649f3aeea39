//! Results like those of a real run, made from a seed: what the pages are looked at with.

use std::collections::BTreeMap;
use std::time::Duration;

use ringseed_swarm::results::distribution::new_histogram;
use ringseed_swarm::results::*;
use serde_json::{Value, json};

/// How a made program differs from the next.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) title: String,
    pub(crate) seed: u64,
    /// 1.0: as fast as the first.
    pub(crate) speed: f64,
}

/// Random numbers by splitmix64.
struct Dice(u64);

impl Dice {
    /// From 0 to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Around 0, with a standard deviation of 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.roll()).sum::<f64>() - 6.0
    }

    /// A second of latencies around `median_us`; in `stall` some wait for hundreds of milliseconds.
    fn latencies(&mut self, values: u32, median_us: f64, width: f64, stall: bool) -> Distribution {
        let mut distribution = Distribution::new();
        self.add_second(&mut distribution, 0, values, (median_us, width), stall);
        distribution
    }

    fn add_second(
        &mut self,
        distribution: &mut Distribution,
        second: u32,
        values: u32,
        (median_us, width): (f64, f64),
        stall: bool,
    ) {
        let mut recorded = new_histogram();
        for _ in 0..values {
            let rare = if self.roll() < 0.002 { 6.0 } else { 1.0 };
            let us = median_us * (self.normal() * width).exp() * rare;
            recorded.saturating_record(us as u64);
        }
        if stall {
            for _ in 0..values / 12 {
                recorded.saturating_record((self.roll() * 450_000.0) as u64);
            }
        }
        let length = Duration::from_secs(1);
        distribution.add(length * second, length, &recorded);
    }

    fn over_time(
        &mut self,
        seconds: u32,
        shape: (f64, f64),
        stall_at: Option<u32>,
    ) -> Distribution {
        let mut distribution = Distribution::new();
        for second in 0..seconds {
            let stall = stall_at.is_some_and(|every| second % every == every - 1);
            self.add_second(&mut distribution, second, 1_500, shape, stall);
        }
        distribution
    }
}

/// A run of all modes.
pub(crate) fn run(made: &Made) -> Results {
    let mut dice = Dice(made.seed);
    let mut phases = Vec::new();
    for (connections, gb, ms) in [(10, 4.1, 2.4), (100, 4.6, 21.0), (1_000, 3.9, 260.0)] {
        phases.push(flood(&mut dice, connections, gb * made.speed, ms / made.speed * 1e3));
    }
    for (share, us, width) in [(25, 95.0, 0.25), (50, 130.0, 0.35), (75, 240.0, 0.5)] {
        phases.push(latency(&mut dice, share, us / made.speed, width));
    }
    phases.push(idle(&mut dice, made.speed));
    phases.push(churn(&mut dice, made.speed));
    phases.push(slow(&mut dice, made.speed));
    phases.push(announce(&mut dice));
    phases.push(abuse());
    let mut at = 0.0;
    for phase in &mut phases {
        phase.started_s = at;
        phase.counted_from_s = at + 1.4;
        phase.warm_up_s = 1.0;
        at += 1.5 + phase.seconds;
    }
    Results {
        schema: SCHEMA.into(),
        program: "ringseed-swarm 0.1.0".into(),
        title: made.title.clone(),
        command: [
            "ringseed-swarm",
            "run",
            "bench/profiles/quick.toml",
            "--target",
            "127.0.0.1:6881",
        ]
        .into_iter()
        .chain(["--torrent", "data.torrent", "--pid", "4711", "--core", "1", "--out", "reports"])
        .map(str::to_owned)
        .collect(),
        started_unix_ms: 1_795_563_383_000 + made.seed * 90_000,
        elapsed_s: at,
        machine: machine(),
        target: target(),
        phases,
        failures: Vec::new(),
    }
}

fn machine() -> Machine {
    Machine {
        kernel: Some("Linux 6.12.48 x86_64".into()),
        processor: Some("AMD EPYC 9R14".into()),
        cores: 2,
        memory_bytes: Some(24 << 30),
        congestion_control: Some("cubic".into()),
        qdisc: Some("noqueue".into()),
        governor: None,
        swarm_cores: vec![1],
        target_cores: vec![0],
        namespaces: 1,
    }
}

fn target() -> Target {
    Target {
        address: Some("127.0.0.1:6881".into()),
        info_hash: Some("5f5e8848426129ab63cb4db717bb54193c1c1ad7".into()),
        total_bytes: 1 << 30,
        piece_bytes: 1 << 20,
        tracker: vec!["http://127.0.0.1:6969/announce".into()],
        pid: Some(4_711),
        command: Some("target/release/ringseed seed data.torrent --listen 127.0.0.1:6881".into()),
    }
}

fn parameters(of: &[(&str, Value)]) -> BTreeMap<String, Value> {
    of.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// A load, its connections all unchoked.
fn load(name: &str, mode: &str, of: &[(&str, Value)], connections: u64) -> LoadResult {
    LoadResult {
        name: name.into(),
        mode: mode.into(),
        parameters: parameters(of),
        counts: Counts { connections, unchoked: connections, ..Counts::default() },
        ..LoadResult::default()
    }
}

fn receive(load: &mut LoadResult, gb: f64) {
    load.counts.payload_bytes = (gb * 1e9) as u64;
    load.counts.answers = load.counts.payload_bytes >> 14;
    load.counts.requests = load.counts.answers;
}

fn opening(dice: &mut Dice, load: &mut LoadResult, us: f64) {
    for (name, times) in
        [("connected", 0.3), ("handshake", 0.7), ("bitfield", 0.8), ("unchoke", 1.0)]
    {
        let values = dice.latencies(load.counts.connections as u32, us * times, 0.4, false);
        load.latencies.insert(name.into(), values);
    }
}

const MIB: u64 = 1 << 20;

/// A phase with its time series: rate, cores of target and load, connections.
fn phase(
    dice: &mut Dice,
    name: &str,
    seconds: u32,
    loads: Vec<LoadResult>,
    (target, own): (f64, f64),
) -> PhaseResult {
    let s = f64::from(seconds);
    let gb = loads.iter().map(|load| load.counts.payload_bytes).sum::<u64>() as f64 / 1e9;
    let answers = loads.iter().map(|load| load.counts.answers).sum::<u64>() as f64;
    let connections = loads.iter().map(|load| load.counts.connections).sum::<u64>();
    let busy = target + own + 0.21;
    let memory = |share: f64| Memory {
        anonymous_bytes: Some(11 * MIB + (connections as f64 * share * 1_900.0) as u64),
        cgroup_less_file_bytes: Some(19 * MIB + (connections as f64 * share * 9_800.0) as u64),
        descriptors: Some(31 + (connections as f64 * share) as u64),
        connections: None,
    };
    let series = (1..=seconds).map(|second| {
        let mut around = |mean: f64| mean * (1.0 + dice.normal() * 0.02);
        Sample {
            at_s: f64::from(second),
            length_s: 1.0,
            gb_per_s: around(gb / s),
            answers_per_s: around(answers / s),
            busy_cores: around(busy),
            target_cores: Some(around(target)),
            own_cores: around(own),
            connections,
            errors: 0,
            memory: memory(1.0),
        }
    });
    let series = series.collect();
    let by = |cores: f64| (gb > 0.0).then(|| gb / (cores * s));
    PhaseResult {
        name: name.into(),
        seconds: s,
        loads,
        cost: Cost {
            elapsed_s: s,
            busy_s: busy * s,
            busy_sampled_s: busy * s * 0.93,
            user_s: target * s * 0.2,
            system_s: target * s * 0.75,
            irq_s: 0.0,
            softirq_s: 0.31 * s,
            steal_s: 0.01 * s,
            target_s: Some(target * s),
            own_s: own * s,
            gb_per_s: gb / s,
            gb_per_cpu_s: by(busy),
            gb_per_target_cpu_s: by(target),
            gb_per_own_cpu_s: by(own),
        },
        target_threads: [("worker-0", 0.97), ("ringseed", 0.03)]
            .map(|(name, share)| ThreadTime { name: name.into(), cpu_s: target * s * share })
            .into(),
        memory_before: Memory { connections: Some(0), ..memory(0.0) },
        memory_after: Memory { connections: Some(0), ..memory(0.002) },
        series,
        ..PhaseResult::default()
    }
}

fn flood(dice: &mut Dice, connections: u64, gb_per_s: f64, us: f64) -> PhaseResult {
    let asked =
        [("connections", json!(connections)), ("depth", json!(64)), ("order", json!("sequential"))];
    let mut load = load("flood", "flood", &asked, connections);
    receive(&mut load, gb_per_s * 10.0);
    load.latencies.insert("request_to_piece".into(), dice.over_time(10, (us, 0.3), None));
    opening(dice, &mut load, 900.0 + connections as f64 * 40.0);
    let own = gb_per_s / 13.4;
    let mut phase = phase(dice, &format!("flood-{connections}"), 10, vec![load], (0.99, own));
    if connections == 1_000 {
        phase
            .remarks
            .push("busy time that is neither the target's nor the load's: 7 % of a core".into());
    }
    phase
}

fn latency(dice: &mut Dice, share: u32, us: f64, width: f64) -> PhaseResult {
    let asked = [("connections", json!(100)), ("rate_per_s", json!(2_600 * share))];
    let mut load = load("latency", "latency", &asked, 100);
    receive(&mut load, 0.045 * f64::from(share) * 10.0);
    let stall = (share == 75).then_some(5);
    load.latencies.insert("request_to_piece".into(), dice.over_time(10, (us, width), stall));
    load.latencies.insert("late".into(), dice.over_time(10, (9.0, 0.5), None));
    opening(dice, &mut load, 1_100.0);
    let cores = (f64::from(share) / 100.0, f64::from(share) / 260.0);
    phase(dice, &format!("latency-{share}"), 10, vec![load], cores)
}

fn idle(dice: &mut Dice, speed: f64) -> PhaseResult {
    let mut load = load("idle", "idle", &[("connections", json!(10_000))], 10_000);
    opening(dice, &mut load, 14_000.0 / speed);
    phase(dice, "idle-10000", 10, vec![load], (0.01, 0.01))
}

fn churn(dice: &mut Dice, speed: f64) -> PhaseResult {
    let mut load =
        load("churn", "churn", &[("rate_per_s", json!(500)), ("blocks", json!(4))], 5_012);
    load.counts.lost = 12;
    load.errors
        .push(ErrorCount { what: "connection reset by peer before the unchoke".into(), times: 12 });
    receive(&mut load, 0.33);
    for (name, times) in
        [("connected", 0.2), ("handshake", 0.6), ("bitfield", 0.8), ("unchoke", 1.0)]
    {
        let values = dice.over_time(10, (320.0 * times / speed, 0.3), None);
        load.latencies.insert(name.into(), values);
    }
    load.latencies.insert("request_to_piece".into(), dice.over_time(10, (140.0, 0.3), None));
    phase(dice, "churn", 10, vec![load], (0.22, 0.15))
}

fn slow(dice: &mut Dice, speed: f64) -> PhaseResult {
    let asked = [("connections", json!(200)), ("depth", json!(16)), ("bytes_per_s", json!(65_536))];
    let mut slow = load("slow", "slow", &asked, 200);
    receive(&mut slow, 0.131);
    slow.latencies.insert("request_to_piece".into(), dice.over_time(10, (3.9e6, 0.1), None));
    let mut fast =
        load("fast", "latency", &[("connections", json!(20)), ("rate_per_s", json!(20_000))], 20);
    receive(&mut fast, 3.27);
    fast.latencies
        .insert("request_to_piece".into(), dice.over_time(10, (120.0 / speed, 0.4), None));
    phase(dice, "slow", 10, vec![fast, slow], (0.21, 0.17))
}

fn announce(dice: &mut Dice) -> PhaseResult {
    let mut loads = Vec::new();
    for (transport, us) in [("http", 210.0), ("udp", 70.0)] {
        let asked = [
            ("rate_per_s", json!(20_000)),
            ("torrents", json!(1_000)),
            ("transport", json!(transport)),
        ];
        let mut load = load(transport, "announce", &asked, 0);
        load.counts.requests = 200_000;
        load.counts.answers = 199_998;
        load.counts.errors = 2;
        load.errors.push(ErrorCount { what: "no answer within 5 s".into(), times: 2 });
        load.latencies.insert("announce".into(), dice.over_time(10, (us, 0.4), None));
        load.latencies.insert("scrape".into(), dice.over_time(10, (us * 0.8, 0.4), None));
        loads.push(load);
    }
    phase(dice, "announce", 10, loads, (0.61, 0.44))
}

fn abuse() -> PhaseResult {
    let mut load = load("abuse", "abuse", &[], 0);
    for (name, saw) in [
        ("frame of 2 GiB", "closed after 0.1 ms, 4 bytes read"),
        ("request beyond the end of the piece", "closed after 0.2 ms"),
        ("10,000 requests without reading", "no more than 64 KiB unsent; closed after 30 s"),
        ("one byte a second of a handshake", "closed after 10.0 s"),
        ("a bitfield with spare bits set", "closed after 0.1 ms"),
    ] {
        load.checks.push(Check { name: name.into(), passed: true, saw: saw.into() });
    }
    PhaseResult { name: "abuse".into(), seconds: 41.0, loads: vec![load], ..PhaseResult::default() }
}
