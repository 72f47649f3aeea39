//! The subcommands whose load are peers of a seeder.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use super::seeder::{Torrent, address};
use super::times::Times;
use super::{Shared, Wanted};
use crate::modes::{self, AskedRate, OutOfBounds};
use crate::order::Order;
use crate::plan::{Kind, Load, Phase, Rate};

/// What all of them have.
#[derive(Debug, Args)]
struct Peers {
    /// Address and port of the seeder
    #[arg(value_name = "ADDR:PORT", value_parser = address)]
    target: SocketAddr,
    #[command(flatten)]
    torrent: Torrent,
    #[command(flatten)]
    times: Times,
    #[command(flatten)]
    shared: Shared,
}

impl Peers {
    /// One phase, called as its mode.
    fn run(&self, mode: &str, kind: Result<Kind, OutOfBounds>) -> anyhow::Result<ExitCode> {
        self.run_all(vec![self.times.phase(mode, vec![load(mode, kind)?])?])
    }

    fn run_all(&self, phases: Vec<Phase>) -> anyhow::Result<ExitCode> {
        let seeder = Some(self.torrent.at(self.target)?);
        self.shared.run(Wanted { seeder, tracker: None, phases, scenario: None })
    }

    /// A phase that finds the peak that a rate is a share of.
    fn peak(&self) -> anyhow::Result<Phase> {
        self.times.phase("peak", vec![load("flood", modes::Flood::default().kind(false))?])
    }
}

fn load(name: &str, kind: Result<Kind, OutOfBounds>) -> anyhow::Result<Load> {
    let kind = kind.map_err(|why| anyhow::anyhow!(why.of_a_flag()))?;
    Ok(Load { name: name.into(), kind })
}

/// `ringseed-swarm flood`
#[derive(Debug, Args)]
pub(super) struct Flood {
    #[command(flatten)]
    load: modes::Flood,
    #[command(flatten)]
    peers: Peers,
}

impl Flood {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.peers.run("flood", self.load.kind(false))
    }
}

/// `ringseed-swarm verify`
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    load: modes::Flood,
    #[command(flatten)]
    peers: Peers,
}

impl Verify {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.peers.run("verify", self.load.kind(true))
    }
}

/// `ringseed-swarm latency`
#[derive(Debug, Args)]
pub(super) struct Latency {
    #[command(flatten)]
    load: modes::Latency,
    #[command(flatten)]
    peers: Peers,
}

impl Latency {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let phase = self.peers.times.phase("latency", vec![load("latency", self.load.kind())?])?;
        let mut phases = vec![phase];
        if let Rate::OfPeak(_) = self.load.rate.0 {
            phases.insert(0, self.peers.peak()?);
        }
        self.peers.run_all(phases)
    }
}

/// `ringseed-swarm churn`
#[derive(Debug, Args)]
pub(super) struct Churn {
    #[command(flatten)]
    load: modes::Churn,
    #[command(flatten)]
    peers: Peers,
}

impl Churn {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.peers.run("churn", self.load.kind())
    }
}

/// `ringseed-swarm idle`
#[derive(Debug, Args)]
pub(super) struct Idle {
    #[command(flatten)]
    load: modes::Idle,
    #[command(flatten)]
    peers: Peers,
}

impl Idle {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.peers.run("idle", self.load.kind())
    }
}

/// `ringseed-swarm slow`
#[derive(Debug, Args)]
pub(super) struct Slow {
    #[command(flatten)]
    load: modes::Slow,
    /// Fast readers, whose requests are timed
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true)]
    fast_connections: i64,
    /// Requests a second of all fast readers, at fixed times; or a share of the peak, such as 25%
    #[arg(long, value_name = "N|N%", default_value = "1000", allow_negative_numbers = true)]
    fast_rate: AskedRate,
    #[command(flatten)]
    peers: Peers,
}

impl Slow {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let times = &self.peers.times;
        let slow = load("slow", self.load.kind())?;
        let fast = modes::Latency {
            connections: self.fast_connections,
            rate: self.fast_rate,
            order: Order::Random,
        };
        let named = |why: OutOfBounds| OutOfBounds {
            field: if why.field == "rate" { "fast_rate" } else { "fast_connections" },
            ..why
        };
        let fast = load("fast", fast.kind().map_err(named))?;
        let mut phases = vec![
            times.phase("fast-alone", vec![fast.clone()])?,
            times.phase("fast-beside-slow", vec![fast, slow])?,
        ];
        if let Rate::OfPeak(_) = self.fast_rate.0 {
            phases.insert(0, self.peers.peak()?);
        }
        self.peers.run_all(phases)
    }
}

/// `ringseed-swarm abuse`
#[derive(Debug, Args)]
pub(super) struct Abuse {
    #[command(flatten)]
    load: modes::Abuse,
    #[command(flatten)]
    peers: Peers,
}

impl Abuse {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.peers.run("abuse", self.load.kind())
    }
}
