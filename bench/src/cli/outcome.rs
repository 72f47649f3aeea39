//! What comes of a run: files, a summary, an exit code.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::stop::UntilSignal;
use crate::output::{self, Progress};
use crate::plan::{Plan, Tracker};
use crate::results::Results;
use crate::watch::{leak, process};
use crate::{beside, run};

/// Where results go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub(super) struct Outcome {
    /// Write result.json, latency.hlog, *.hgrm and report.html into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Tell the result as one line of JSON instead of the summary
    #[arg(long)]
    json: bool,
    /// No progress and no summary
    #[arg(long, short)]
    quiet: bool,
}

impl Outcome {
    /// Runs the plan, and tells what came of it. A failure is success only of this program.
    pub(super) fn of(&self, plan: &Plan) -> anyhow::Result<ExitCode> {
        if let Some(dir) = &self.out {
            // Better now than after an hour of load.
            std::fs::create_dir_all(dir)
                .with_context(|| format!("--out '{}': cannot make the folder", dir.display()))?;
        }
        let mut observer = UntilSignal::new(Progress::new(self.quiet))?;
        let mut results = run::run(plan, &mut observer)?;
        if let (Some(signal), Some(last)) = (observer.signal(), results.phases.last_mut()) {
            last.remarks.push(format!("{signal} ended the run before its time"));
        }
        leak::check(&mut results);
        beside::compare(&mut results);
        let told = self.tell(&results);
        for failure in &results.failures {
            say(&format!("failed: {failure}"));
        }
        told?;
        Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Files first: they outlive a stdout that is full or closed, which costs the summary alone.
    fn tell(&self, results: &Results) -> anyhow::Result<()> {
        let written = self.out.as_deref().map(|dir| output::write(dir, results)).transpose();
        let files = written.as_ref().ok().and_then(|files| files.as_ref().map(Vec::len));
        let told = self.print(results, files).context("cannot write to stdout");
        written?;
        match told {
            Err(why) if !self.json => say(&format!("no summary: {why:#}")),
            // Whoever reads it has no result.
            told => told?,
        }
        Ok(())
    }

    fn print(&self, results: &Results, files: Option<usize>) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, results)?;
            writeln!(out)?;
        } else if !self.quiet {
            writeln!(out, "{}", output::summary(results))?;
            if let (Some(dir), Some(files)) = (&self.out, files) {
                let dir = dir.display();
                writeln!(out, "\n{files} files written to {dir}: open {dir}/report.html")?;
            }
        }
        Ok(out.flush()?)
    }

    /// Says what must be known before the run, unless nobody wants to.
    pub(super) fn warn(&self, what: &str) {
        if !self.quiet {
            say(what);
        }
    }
}

/// Says a line on stderr; nobody may be left who reads it.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "ringseed-swarm: {what}");
}

/// What a run is called when nobody says otherwise: the target's program, or where it is.
pub(super) fn usual_title(
    pid: Option<u32>,
    seeder: Option<SocketAddr>,
    tracker: &Option<Tracker>,
) -> String {
    if let Some(stat) = pid.and_then(|pid| process::stat(pid).ok()) {
        return stat.name;
    }
    let tracker = tracker.as_ref();
    let http = tracker.and_then(|tracker| tracker.http.clone());
    let udp = tracker.and_then(|tracker| tracker.udp).map(|udp| udp.to_string());
    seeder.map(|address| address.to_string()).or(http).or(udp).unwrap_or_default()
}

/// `ringseed-swarm report`
#[derive(Debug, Args)]
pub(super) struct Report {
    /// result.json of each run; the first is what the others are compared with
    #[arg(value_name = "RESULT.json", required = true)]
    results: Vec<PathBuf>,
    /// Write a page for a browser as well, one self-contained file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        output::report_main(&self.results, self.out.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}
