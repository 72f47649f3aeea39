//! A whole run: phases one after another, and what is known of target and machine.

mod gather;
mod parameters;
mod phase;
mod remarks;
mod timeline;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use ringseed_ring::system;

use crate::clock::Clock;
use crate::engine;
use crate::limits::{DESCRIPTORS_A_THREAD, DESCRIPTORS_BESIDE, RING_CONNECTIONS_MAX};
use crate::observer::Observer;
use crate::plan::{Kind, Phase, Place, Plan, Rate};
use crate::results::{PhaseResult, Results, SCHEMA, Target};
use crate::watch::{machine, process};

/// Carries a plan out. Errors are those of the plan and of this machine, up to the first phase; what
/// the target did wrong, and what went wrong later, stands in the results' `failures`, after which no
/// further phase is begun.
pub fn run(plan: &Plan, observer: &mut dyn Observer) -> anyhow::Result<Results> {
    check(plan)?;
    let places: Arc<[Place]> = match plan.places.as_slice() {
        [] => [Place::default()].into(),
        places => places.into(),
    };
    raise_descriptors(plan, places.len() as u32)?;
    let clock = Clock::start();
    let address = plan.seeder.as_ref().map(|seeder| seeder.address);
    let mut results = Results {
        schema: SCHEMA.into(),
        program: concat!("ringseed-swarm ", env!("CARGO_PKG_VERSION")).into(),
        title: plan.title.clone(),
        command: std::env::args().collect(),
        started_unix_ms: unix_ms(),
        elapsed_s: 0.0,
        machine: machine::look(address, plan.pid, &places),
        target: target_of(plan),
        phases: Vec::new(),
        failures: Vec::new(),
    };
    for (phase, number) in plan.phases.iter().zip(1..) {
        observer.phase(phase, number, plan.phases.len());
        let carried = rates_of(plan, phase, &results.phases).and_then(|rates| {
            let target_cores = results.machine.target_cores.len();
            phase::Run { plan, phase, places: &places, target_cores, clock, rates: &rates }
                .carry_out(observer)
        });
        let over = match carried {
            Ok(over) => over,
            Err(why) if results.phases.is_empty() => return Err(why),
            Err(why) => {
                // What was seen before is worth telling: a target that ends in the tenth hour.
                results.failures.push(format!("{}: {why:#}", phase.name));
                break;
            }
        };
        observer.phase_over(&over.result);
        results.phases.push(over.result);
        results.failures.extend(over.failures);
        if !results.failures.is_empty() || observer.wants_end() {
            break;
        }
    }
    results.elapsed_s = seconds(clock.now().since(ringseed_meta::Instant::ZERO));
    Ok(results)
}

/// Of each load of a phase, requests or connections a second.
fn rates_of(
    plan: &Plan,
    phase: &Phase,
    so_far: &[PhaseResult],
) -> anyhow::Result<BTreeMap<usize, f64>> {
    let peak = peak_of(so_far, &plan.phases);
    let rate = |kind: &Kind| match kind {
        Kind::Latency { rate: Rate::PerSecond(rate), .. } | Kind::Churn { rate, .. } => Some(*rate),
        // Its own, if it has one.
        Kind::Announce(_) => Some(0.0),
        Kind::Latency { rate: Rate::OfPeak(share), .. } => Some(share * peak?),
        Kind::Flood { .. } | Kind::Idle { .. } | Kind::Slow { .. } | Kind::Abuse { .. } => {
            Some(0.0)
        }
    };
    let rates = phase.loads.iter().enumerate().map(|(at, load)| Some((at, rate(&load.kind)?)));
    rates.collect::<Option<_>>().with_context(|| {
        format!(
            "phase '{}': a rate is a share of the peak, and no flood of this run has answers: let a \
             phase with one come before",
            phase.name
        )
    })
}

/// The most answers a second of any flood so far.
fn peak_of(results: &[PhaseResult], phases: &[Phase]) -> Option<f64> {
    let floods = results.iter().zip(phases).flat_map(|(result, phase)| {
        let loads = result.loads.iter().zip(&phase.loads);
        loads
            .filter(|(_, load)| matches!(load.kind, Kind::Flood { .. }))
            .map(|(load, _)| load.counts.answers as f64 / result.seconds)
    });
    floods.filter(|rate| *rate > 0.0 && rate.is_finite()).max_by(f64::total_cmp)
}

/// What no run can be made of.
fn check(plan: &Plan) -> anyhow::Result<()> {
    for phase in &plan.phases {
        for load in &phase.loads {
            let of = || format!("phase '{}', load '{}'", phase.name, load.name);
            match &load.kind {
                Kind::Announce(_) if plan.tracker.is_none() => {
                    bail!("{}: it announces, and no tracker is given", of())
                }
                Kind::Announce(_) => {}
                _ if plan.seeder.is_none() => bail!("{}: no seeder is given", of()),
                _ => check_peers(plan, &load.kind).with_context(of)?,
            }
        }
    }
    Ok(())
}

fn check_peers(plan: &Plan, kind: &Kind) -> anyhow::Result<()> {
    let Some(seeder) = &plan.seeder else { return Ok(()) };
    match kind {
        Kind::Flood { verify: true, .. } if seeder.metainfo.is_none() => {
            bail!("it verifies, and hashes stand in the .torrent file alone: give it")
        }
        Kind::Latency { rate: Rate::PerSecond(rate), .. } | Kind::Churn { rate, .. }
            if !(rate.is_finite() && *rate > 0.0) =>
        {
            bail!("a rate of {rate} a second: it must be over 0")
        }
        Kind::Latency { rate: Rate::OfPeak(share), .. } if !(share.is_finite() && *share > 0.0) => {
            bail!("a share of {share} of the peak: it must be over 0")
        }
        Kind::Flood { depth, order, .. }
            if u64::from(*depth) > order.blocks_apart(&seeder.pieces) =>
        {
            let blocks = order.blocks_apart(&seeder.pieces);
            bail!(
                "depth {depth}: in the order {order} a leecher asks for one of {blocks} blocks again \
                 after that many, and none may be outstanding twice: lower the depth"
            )
        }
        Kind::Slow { bytes_per_s: 0, .. } => bail!("0 bytes a second: use idle connections"),
        _ => Ok(()),
    }
}

/// Descriptors for the phase that needs most.
fn raise_descriptors(plan: &Plan, places: u32) -> anyhow::Result<()> {
    let of_load = |kind: &Kind| {
        let connections = engine::connections_of(kind, places);
        let threads = u64::from(places + connections / RING_CONNECTIONS_MAX);
        u64::from(connections) + threads * DESCRIPTORS_A_THREAD
    };
    let of_phase = |phase: &Phase| phase.loads.iter().map(|load| of_load(&load.kind)).sum::<u64>();
    let wanted = plan.phases.iter().map(of_phase).max().unwrap_or(0) + DESCRIPTORS_BESIDE;
    let limit = system::raise_fd_limit(wanted).context("cannot read the limit of descriptors")?;
    if limit < wanted {
        bail!("{wanted} descriptors are needed; the limit is {limit}: raise `ulimit -n`");
    }
    Ok(())
}

fn target_of(plan: &Plan) -> Target {
    let seeder = plan.seeder.as_ref();
    let tracker = plan.tracker.iter().flat_map(|tracker| {
        let udp = tracker.udp.map(|udp| format!("udp://{udp}/announce"));
        tracker.http.clone().into_iter().chain(udp)
    });
    Target {
        address: seeder.map(|seeder| seeder.address.to_string()),
        info_hash: seeder.map(|seeder| seeder.info_hash.to_string()),
        total_bytes: seeder.map_or(0, |seeder| seeder.pieces.total_bytes()),
        piece_bytes: seeder.map_or(0, |seeder| seeder.pieces.piece_bytes()),
        tracker: tracker.collect(),
        pid: plan.pid,
        command: plan.pid.and_then(process::command),
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
