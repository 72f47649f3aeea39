//! The subcommand whose load are announces, and how a tracker is named.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::seeder::address;
use super::times::Times;
use super::{Shared, Wanted};
use crate::modes;
use crate::plan::{Load, Tracker, Transport};

/// Which tracker.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tracker")]
pub(super) struct TrackerFlags {
    /// Announce URL for HTTP (BEP 3), such as http://127.0.0.1:6969/announce
    #[arg(long, value_name = "URL", value_parser = url)]
    http: Option<String>,
    /// Address and port for UDP (BEP 15)
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    udp: Option<SocketAddr>,
}

impl TrackerFlags {
    /// None: no flag names one.
    pub(super) fn tracker(&self) -> Option<Tracker> {
        let tracker = Tracker { http: self.http.clone(), udp: self.udp };
        (tracker.http.is_some() || tracker.udp.is_some()).then_some(tracker)
    }
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://");
    let authority = rest.and_then(|rest| rest.split('/').next());
    match authority.map(|authority| authority.parse::<SocketAddr>()) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("an URL such as http://127.0.0.1:6969/announce is needed, with an address for \
                  the name and without TLS"
            .into()),
    }
}

/// `ringseed-swarm announce`
#[derive(Debug, Args)]
pub(super) struct Announce {
    #[command(flatten)]
    load: modes::Announce,
    #[command(flatten)]
    tracker: TrackerFlags,
    #[command(flatten)]
    times: Times,
    #[command(flatten)]
    shared: Shared,
}

impl Announce {
    /// A phase for each of the protocols, so that their costs are told apart.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Some(tracker) = self.tracker.tracker() else {
            bail!("which tracker? Give --http, --udp or both");
        };
        let mut phases = Vec::new();
        let asked = [
            ("announce-http", Transport::Http, tracker.http.is_some()),
            ("announce-udp", Transport::Udp, tracker.udp.is_some()),
        ];
        for (name, transport, _) in asked.into_iter().filter(|(.., is_asked)| *is_asked) {
            let kind = self.load.kind(transport);
            let kind = kind.map_err(|why| anyhow::anyhow!(why.of_a_flag()))?;
            let load = Load { name: "announce".into(), kind };
            phases.push(self.times.phase(name, vec![load])?);
        }
        self.shared.run(Wanted { seeder: None, tracker: Some(tracker), phases, scenario: None })
    }
}
