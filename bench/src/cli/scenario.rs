//! The subcommand that runs a scenario file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::announce::TrackerFlags;
use super::seeder::{Torrent, address};
use super::{Shared, Wanted};
use crate::scenario::{self, rounds};
use crate::watch::leak;

/// `ringseed-swarm run`
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The scenario, a TOML file
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    /// Address and port of the seeder, for loads that are peers
    #[arg(value_name = "ADDR:PORT", value_parser = address)]
    target: Option<SocketAddr>,
    /// Repeat the phases for about so long, in whole rounds: 90s, 30m, 2h [default: the scenario's
    /// 'rounds']
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
    #[command(flatten)]
    torrent: Torrent,
    #[command(flatten)]
    tracker: TrackerFlags,
    #[command(flatten)]
    shared: Shared,
}

impl Run {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let scenario = scenario::read(&self.scenario)?;
        let seeder = match self.target {
            Some(address) => Some(self.torrent.at(address)?),
            None if self.torrent.is_absent() => None,
            None => bail!("a torrent, and no seeder: give its ADDR:PORT behind the scenario"),
        };
        let rounds = match self.time {
            Some(time) => rounds::within(&scenario.phases, time),
            None => scenario.rounds,
        };
        let is_soak = self.time.is_some() || rounds > 1;
        if is_soak
            && self.shared.pid.is_some()
            && let Some(why) = leak::too_few(rounds as usize)
        {
            // Better now than after two hours.
            self.shared.outcome.warn(&why);
        }
        self.shared.run(Wanted {
            seeder,
            tracker: self.tracker.tracker(),
            phases: rounds::repeat(&scenario.phases, rounds),
            scenario: Some((scenario.title, self.scenario.clone())),
        })
    }
}

/// Reads `90s`, `30m`, `1h 30m`.
fn time(text: &str) -> Result<Duration, String> {
    let form = || "a time such as 90s, 30m or 2h is needed".to_owned();
    humantime::parse_duration(text).ok().filter(|time| !time.is_zero()).ok_or_else(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let s = Duration::from_secs;
        assert_eq!([time("90s"), time("30m"), time("2h")], [Ok(s(90)), Ok(s(1_800)), Ok(s(7_200))]);
        for wrong in ["", "h", "2", "0s", "-1s", "99999999999999999999h", "2é"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
