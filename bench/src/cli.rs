//! Flags into a plan, results into text and an exit code; no logic. docs/swarm.md describes all of
//! them.

mod announce;
mod checks;
mod outcome;
mod peers;
mod scenario;
mod seeder;
mod stop;
mod threads;
mod times;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::outcome::Outcome;
use crate::abuse;
use crate::plan::{Phase, Plan, Seeder, Tracker};
use crate::scenario::check_name;

const EXAMPLES: &str = "\
Examples:
  ringseed-swarm flood 127.0.0.1:6881 --torrent a.torrent --connections 100 --core 1 --pid PID
  ringseed-swarm latency 127.0.0.1:6881 --torrent a.torrent --rate 50% --out report
  ringseed-swarm run bench/profiles/soak.toml 127.0.0.1:6881 --torrent a.torrent --for 2h --pid PID

Exit code: 0 the run passed, 1 it failed (wrong bytes, a failed check, a leak), 2 there is no result.";

/// Load generator for BitTorrent seeders and trackers: tells rate, latency, and what the load cost
/// the machine and the target.
#[derive(Debug, Parser)]
#[command(name = "ringseed-swarm", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep requests outstanding on many connections: how much does the seeder give, at what cost?
    /// Every block's header is checked; its bytes are dropped unseen
    Flood(peers::Flood),
    /// Send requests at fixed times, whatever has been answered: how long does an answer take?
    Latency(peers::Latency),
    /// Hash every piece that comes: are the bytes right? The load then costs more than most seeders
    Verify(peers::Verify),
    /// Connect, fetch and leave at a rate
    Churn(peers::Churn),
    /// Hold silent connections: what does each cost the seeder's memory?
    Idle(peers::Idle),
    /// Time fast readers alone, then beside slow ones: do the slow ones hurt the others' p99?
    Slow(peers::Slow),
    /// Announce and scrape at a rate, over HTTP, UDP or both
    Announce(announce::Announce),
    /// Send hostile peers: what does the seeder do to each?
    #[command(after_help = hostile_peers())]
    Abuse(peers::Abuse),
    /// Run the phases of a scenario file (docs/scenarios.md)
    Run(scenario::Run),
    /// Put runs side by side, with ratios
    Report(outcome::Report),
}

impl Cli {
    /// Does what the flags say.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Flood(flags) => flags.run(),
            Command::Latency(flags) => flags.run(),
            Command::Verify(flags) => flags.run(),
            Command::Churn(flags) => flags.run(),
            Command::Idle(flags) => flags.run(),
            Command::Slow(flags) => flags.run(),
            Command::Announce(flags) => flags.run(),
            Command::Abuse(flags) => flags.run(),
            Command::Run(flags) => flags.run(),
            Command::Report(flags) => flags.run(),
        }
    }
}

/// Names for `--only`, and what each does.
fn hostile_peers() -> String {
    let width = abuse::catalogue().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = abuse::catalogue().map(|(name, what)| format!("\n  {name:width$}  {what}"));
    format!("Hostile peers (docs/abuse.md tells why):{}", lines.collect::<String>())
}

/// What every run has.
#[derive(Debug, Args)]
#[command(next_help_heading = "The run")]
struct Shared {
    /// Process of the target: its CPU time, memory and descriptors are told apart
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// What reports call the run [default: the target's program]
    #[arg(long, value_name = "TEXT", value_parser = title)]
    title: Option<String>,
    #[command(flatten)]
    threads: threads::Threads,
    #[command(flatten)]
    outcome: Outcome,
}

fn title(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

/// What a subcommand makes of its flags.
struct Wanted {
    seeder: Option<Seeder>,
    tracker: Option<Tracker>,
    phases: Vec<Phase>,
    /// The scenario's title and file; None: the load was made of flags.
    scenario: Option<(Option<String>, PathBuf)>,
}

impl Shared {
    /// Runs what is wanted and tells what came of it.
    fn run(&self, wanted: Wanted) -> anyhow::Result<ExitCode> {
        let plan = self.plan(wanted)?;
        self.outcome.of(&plan)
    }

    fn plan(&self, wanted: Wanted) -> anyhow::Result<Plan> {
        let Wanted { seeder, tracker, phases, scenario } = wanted;
        checks::process(self.pid)?;
        let target = seeder.as_ref().map(|seeder| seeder.address);
        let from = self.threads.from(target)?;
        let titled = scenario.as_ref().and_then(|(title, _)| title.clone());
        let title = self.title.clone().or(titled);
        let title = title.unwrap_or_else(|| outcome::usual_title(self.pid, target, &tracker));
        let places = self.threads.places()?;
        let plan = Plan { title, seeder, tracker, pid: self.pid, from, places, phases };
        checks::fit(&plan).map_err(|misfit| match &scenario {
            Some((_, path)) => {
                anyhow::anyhow!("scenario '{}': {}", path.display(), misfit.of_a_scenario())
            }
            None => anyhow::anyhow!(misfit.of_flags()),
        })?;
        Ok(plan)
    }
}
