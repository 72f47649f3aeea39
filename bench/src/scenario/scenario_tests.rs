//! What scenario files may say, and how they are refused.

use proptest::prelude::*;

use super::*;
use crate::order::Order;
use crate::plan::{Announces, Demand};

const WHOLE: &str = r#"
title = "all modes"
rounds = 2

[defaults]
seconds = 5
opening = 30.5

[[phase]]
name = "peak"
warm_up = 0
[[phase.load]]
mode = "flood"
connections = 100
depth = 16
order = "random"

[[phase]]
name = "mixed"
seconds = 0.25
load = [
    { mode = "latency", rate = "25%" },
    { mode = "latency", name = "fixed", rate = 2000, connections = 7 },
    { mode = "slow", bytes_per_s = 4096 },
    { mode = "idle", connections = 10000 },
    { mode = "churn", rate = 12.5, blocks = 0 },
    { mode = "verify" },
    { mode = "announce", transport = "udp", torrents = 3, scrapes = 1 },
]

[[phase]]
name = "hostile"
load = [{ mode = "abuse", only = ["drip-handshake"] }]
"#;

#[test]
fn a_scenario_with_all_modes_is_read() {
    let scenario = parse(WHOLE).unwrap();
    assert_eq!((scenario.title.as_deref(), scenario.rounds), (Some("all modes"), 2));
    let [peak, mixed, hostile] = scenario.phases.as_slice() else { panic!("{scenario:?}") };
    let ms = Duration::from_millis;
    assert_eq!((peak.opening, peak.warm_up, peak.length), (ms(30_500), ms(0), ms(5_000)));
    assert_eq!((mixed.opening, mixed.warm_up, mixed.length), (ms(30_500), ms(1_000), ms(250)));
    assert_eq!(
        peak.loads,
        [Load {
            name: "flood".into(),
            kind: Kind::Flood { connections: 100, depth: 16, order: Order::Random, verify: false },
        }]
    );
    let kinds: Vec<&Kind> = mixed.loads.iter().map(|load| &load.kind).collect();
    assert_eq!(
        kinds,
        [
            &Kind::Latency { connections: 100, rate: Rate::OfPeak(0.25), order: Order::Random },
            &Kind::Latency { connections: 7, rate: Rate::PerSecond(2e3), order: Order::Random },
            &Kind::Slow { connections: 100, depth: 64, bytes_per_s: 4096 },
            &Kind::Idle { connections: 10_000 },
            &Kind::Churn { rate: 12.5, blocks: 0 },
            &Kind::Flood { connections: 100, depth: 64, order: Order::Sequential, verify: true },
            &Kind::Announce(Announces {
                transport: Transport::Udp,
                demand: Demand::Rate(1e3),
                torrents: 3,
                peers: 0,
                scrapes: 1.0,
                fill: false,
            }),
        ]
    );
    let [Load { kind: Kind::Abuse { only }, .. }] = hostile.loads.as_slice() else { panic!() };
    assert_eq!(only, &["drip-handshake"]);
    let names: Vec<&str> = mixed.loads.iter().map(|load| load.name.as_str()).collect();
    assert_eq!(names[..3], ["latency", "fixed", "slow"]);
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let error = parse(text).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "'{part}' is missing in: {error}");
    }
}

/// A scenario of one phase with this load.
fn with_load(load: &str) -> String {
    format!("[[phase]]\nname = \"p\"\n[[phase.load]]\n{load}")
}

#[test]
fn a_value_out_of_bounds_names_phase_load_field_value_and_limit() {
    let place = "phase 'p', load 'big': ";
    let check = |fields: &str, parts: &[&str]| {
        refused(&with_load(&format!("name = \"big\"\n{fields}")), &[&[place], parts].concat());
    };
    check("mode = \"flood\"\nconnections = 0", &["connections 0", "1 to 60000"]);
    check("mode = \"flood\"\ndepth = -4", &["depth -4", "1 to 2048"]);
    check("mode = \"latency\"\nrate = 0", &["rate 0", "over 0, up to 1000000"]);
    check("mode = \"latency\"\nrate = nan", &["rate NaN", "over 0"]);
    check("mode = \"slow\"\nbytes_per_s = 0", &["bytes_per_s 0", "1 to 1073741824"]);
    check("mode = \"churn\"\nblocks = 5000", &["blocks 5000", "0 to 1024"]);
    check("mode = \"announce\"\ntransport = \"udp\"\nscrapes = 1.5", &["scrapes 1.5", "0 to 1"]);
    check(
        "mode = \"announce\"\ntransport = \"udp\"\ntorrents = 0",
        &["torrents 0", "1 to 1000000"],
    );
    check("mode = \"announce\"\ntransport = \"tcp\"", &["transport 'tcp'", "http or udp"]);
    check("mode = \"announce\"", &["no transport", "http or udp"]);
    check("mode = \"latency\"\nrate = \"quick\"", &["rate 'quick'", "50%"]);
    check("mode = \"latency\"\nrate = \"150%\"", &["rate 150%", "up to 100 %"]);
    check("mode = \"abuse\"\nonly = [\"no\"]", &["only 'no'", "there are wrong-infohash, "]);
}

#[test]
fn hostile_peers_have_a_phase_to_themselves() {
    let beside = with_load("mode = \"abuse\"\n[[phase.load]]\nmode = \"idle\"");
    let wanted = ["phase 'p': abuse beside other loads", "descriptors", "a phase of its own"];
    refused(&beside, &wanted);
}

#[test]
fn what_does_not_belong_is_named() {
    refused(&with_load("mode = \"food\""), &["phase 'p', load 'food'", "mode 'food'", "flood"]);
    refused(&with_load("connections = 3"), &["phase 'p': no mode", "flood, verify"]);
    refused(&with_load("mode = 3"), &["phase 'p': mode 3", "quotes"]);
    refused(
        &with_load("mode = \"idle\"\ndepth = 3"),
        &["phase 'p', load 'idle'", "unknown field `depth`", "connections"],
    );
    refused(
        &with_load("mode = \"idle\"\nconnections = \"3\""),
        &["phase 'p', load 'idle'", "string \"3\"", "connections"],
    );
    refused("[[phase]]\nname = \"p\"\nlenght = 3\n", &["line 3", "lenght", "warm_up"]);
    refused("[defaults]\nrounds = 3\n", &["line 2", "rounds"]);
    refused("[[phase]", &["line 1"]);
}

#[test]
fn phases_need_loads_times_and_names_of_their_own() {
    refused("", &["0 phases", "[[phase]]"]);
    refused("[[phase]]\nname = \"p\"\n", &["phase 'p': 0 loads", "[[phase.load]]"]);
    let load = "load = [{ mode = \"idle\" }]\n";
    let phase = |fields: &str| format!("[[phase]]\n{load}{fields}\n");
    refused(&phase(""), &["missing field `name`"]);
    refused(&phase("name = \"\""), &["phase ''", "0 bytes", "1 to 100"]);
    refused(&phase("name = \"a #2\""), &["phase 'a #2'", "stand for a round"]);
    refused(&phase("name = \"a\\tb\""), &["control characters"]);
    refused(&phase("name = \"p\"\nseconds = 0"), &["phase 'p': seconds 0", "0.01 to 604800"]);
    refused(&phase("name = \"p\"\nwarm_up = -1"), &["phase 'p': warm_up -1", "0 to 604800"]);
    refused(&phase("name = \"p\"\nopening = inf"), &["phase 'p': opening inf", "0 to 604800"]);
    refused(&phase("name = \"p\"").repeat(2), &["two phases are called 'p'"]);
    let twice = "load = [{ mode = \"idle\" }, { mode = \"idle\" }]\nname = \"p\"\n";
    refused(&format!("[[phase]]\n{twice}"), &["phase 'p': two loads are called 'idle'", "'name'"]);
    refused(&format!("rounds = 0\n{}", phase("name = \"p\"")), &["rounds 0", "1 to 3000"]);
}

#[test]
fn a_phase_has_a_bounded_number_of_connections() {
    let load =
        |number: u32| format!("{{ mode = \"idle\", name = \"{number}\", connections = 50000 }}");
    let loads = (0..3).map(load).collect::<Vec<_>>().join(", ");
    refused(
        &format!("[[phase]]\nname = \"p\"\nload = [{loads}]\n"),
        &["phase 'p': connections 150000", "at most 100000"],
    );
}

#[test]
fn a_share_of_the_peak_needs_a_flood_before() {
    let latency = "[[phase]]\nname = \"half\"\nload = [{ mode = \"latency\", rate = \"50%\" }]\n";
    let beside = latency.replace("[{", "[{ mode = \"flood\" }, {");
    let flood = "[[phase]]\nname = \"peak\"\nload = [{ mode = \"flood\" }]\n";
    let verify = flood.replace("mode = \"flood\"", "mode = \"verify\"");
    let parts = ["phase 'half', load 'latency': rate 50%", "put a phase with one first"];
    for text in [latency, &beside, &format!("{verify}{latency}"), &format!("{latency}{flood}")] {
        refused(text, &parts);
    }
    assert!(parse(&format!("{flood}{latency}")).is_ok());
}

#[test]
fn a_file_that_is_too_large_or_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.toml");
    std::fs::write(&path, " ".repeat(SCENARIO_BYTES_MAX as usize + 1)).unwrap();
    let error = format!("{:#}", read(&path).unwrap_err());
    assert!(error.contains("large.toml") && error.contains("at most 1048576"), "{error}");
    let error = format!("{:#}", read(&folder.path().join("none.toml")).unwrap_err());
    assert!(error.contains("none.toml") && error.contains("No such file"), "{error}");
}

/// The blocks of a document that are marked as TOML.
fn examples(document: &str) -> Vec<&str> {
    let blocks = document.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn every_example_of_the_manual_is_a_scenario() {
    let manual = include_str!("../../../docs/scenarios.md");
    let examples = examples(manual);
    assert!(examples.len() >= 3, "the manual shows how it is done");
    for example in &examples {
        parse(example).unwrap_or_else(|error| panic!("{error}\nin\n{example}"));
    }
    for mode in MODES.split([',', ' ']).filter(|word| !matches!(*word, "" | "or")) {
        let asks = examples.iter().any(|example| example.contains(&format!("\"{mode}\"")));
        assert!(asks, "no example of mode {mode}");
        assert!(manual.contains(&format!("\n### {mode}\n")), "no section about mode {mode}");
    }
}

#[test]
fn the_profiles_are_scenarios() {
    let profiles = [
        include_str!("../../profiles/quick.toml"),
        include_str!("../../profiles/full.toml"),
        include_str!("../../profiles/soak.toml"),
    ];
    let [quick, full, soak] = profiles.map(|text| parse(text).unwrap());
    let time = |scenario: &Scenario| -> Duration {
        scenario.phases.iter().map(|phase| phase.warm_up + phase.length).sum()
    };
    let s = Duration::from_secs;
    assert!(time(&quick) <= s(70), "quick takes {:?}", time(&quick));
    assert!((s(600)..=s(1_200)).contains(&time(&full)), "full takes {:?}", time(&full));
    assert!((s(30)..=s(300)).contains(&time(&soak)), "a round of soak takes {:?}", time(&soak));
}

#[test]
fn every_field_stands_in_the_manual() {
    let manual = include_str!("../../../docs/scenarios.md");
    for mode in ["flood", "verify", "latency", "churn", "idle", "slow", "announce", "abuse"] {
        let wrong = with_load(&format!("mode = \"{mode}\"\ntransport = \"udp\"\nwrong = 1"));
        let wrong =
            if mode == "announce" { wrong } else { wrong.replace("transport = \"udp\"", "") };
        let error = parse(&wrong).unwrap_err().to_string();
        let (_, expected) = error.split_once("expected").unwrap();
        let fields: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        assert!(!fields.is_empty(), "{error}");
        let section = manual.split(&format!("\n### {mode}\n")).nth(1).unwrap();
        let section = section.split("\n### ").next().unwrap();
        for field in fields {
            assert!(section.contains(&format!("`{field}`")), "{mode}: {field} is missing");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_a_scenario_or_an_error(text in "[a-z\\[\\]\\.=\"\n0-9 {}#-]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_two_numbers_make_phases_within_bounds_or_errors(
        connections in any::<i32>(), seconds in any::<f32>(),
    ) {
        let text = format!(
            "[defaults]\nseconds = {seconds:?}\n{}",
            with_load(&format!("mode = \"idle\"\nconnections = {connections}")),
        );
        if let Ok(scenario) = parse(&text.replace("NaN", "nan")) {
            let phase = &scenario.phases[0];
            prop_assert!(phase.length > Duration::ZERO && phase.length.as_secs() <= 604_800);
            prop_assert!((1..=60_000).contains(&phase.loads[0].kind.connections()));
        }
    }
}
