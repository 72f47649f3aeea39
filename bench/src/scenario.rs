//! Scenario files: phases and their loads in TOML. docs/scenarios.md describes them for those who
//! write them.

pub mod rounds;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::limits::{
    LOADS_MAX, NAME_BYTES_MAX, PHASE_CONNECTIONS_MAX, PHASE_SECONDS_MAX, PHASE_SECONDS_MIN,
    PHASES_MAX, ROUNDS_MAX, SCENARIO_BYTES_MAX,
};
use crate::modes::{Abuse, Announce, Churn, Flood, Idle, Latency, OutOfBounds, Slow, whole};
use crate::plan::{Kind, Load, Phase, Rate, Transport};

/// A scenario that can be run.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// What reports call it.
    pub title: Option<String>,
    /// How often its phases are run, one round after another.
    pub rounds: u32,
    /// The phases of one round.
    pub phases: Vec<Phase>,
}

/// Why a text is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or not of this form.
    #[error("{0}")]
    Form(#[from] toml::de::Error),
    /// A value that nothing can be made of.
    #[error("{place}{what}")]
    Value {
        /// `phase 'NAME', load 'NAME': `, as far as it concerns one.
        place: Place,
        what: String,
    },
}

/// What an error is about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    phase: Option<String>,
    load: Option<String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(phase) = &self.phase else { return Ok(()) };
        write!(f, "phase '{phase}'")?;
        if let Some(load) = &self.load {
            write!(f, ", load '{load}'")?;
        }
        f.write_str(": ")
    }
}

impl Place {
    fn error(&self, what: impl ToString) -> ScenarioError {
        ScenarioError::Value { place: self.clone(), what: what.to_string() }
    }
}

/// The form in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: Option<String>,
    #[serde(default = "once")]
    rounds: i64,
    #[serde(default)]
    defaults: Times,
    #[serde(default)]
    phase: Vec<WrittenPhase>,
}

fn once() -> i64 {
    1
}

/// Times of a phase, or of all that do not say otherwise. Seconds.
#[derive(Clone, Copy, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Times {
    seconds: Option<f64>,
    warm_up: Option<f64>,
    opening: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPhase {
    name: String,
    seconds: Option<f64>,
    warm_up: Option<f64>,
    opening: Option<f64>,
    #[serde(default)]
    load: Vec<Table>,
}

/// Times where neither the phase nor the defaults name one, in seconds. The flags have the same.
pub mod usual {
    /// That counts.
    pub const SECONDS: f64 = 10.0;
    /// Under load before that.
    pub const WARM_UP: f64 = 1.0;
    /// That the target may take to unchoke all.
    pub const OPENING: f64 = 20.0;
}

/// Reads the scenario in the file at `path`.
pub fn read(path: &Path) -> anyhow::Result<Scenario> {
    let read = || {
        let bytes = std::fs::metadata(path)?.len();
        anyhow::ensure!(
            bytes <= SCENARIO_BYTES_MAX,
            "{bytes} bytes; a scenario has at most {SCENARIO_BYTES_MAX}: use 'rounds' to repeat phases"
        );
        Ok(parse(&std::fs::read_to_string(path)?)?)
    };
    read().with_context(|| format!("scenario '{}'", path.display()))
}

/// Reads a scenario's text.
pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    let written: Written = toml::from_str(text)?;
    let nowhere = Place::default();
    if written.phase.is_empty() || written.phase.len() > PHASES_MAX {
        let count = written.phase.len();
        return Err(nowhere.error(format!(
            "{count} phases: 1 to {PHASES_MAX}; each begins with a line [[phase]]"
        )));
    }
    let phases: Vec<Phase> = written
        .phase
        .iter()
        .map(|phase| phase_of(phase, &written.defaults))
        .collect::<Result<_, _>>()?;
    let names = phases.iter().map(|phase| phase.name.as_str());
    if let Some(twice) = first_twice(names) {
        return Err(nowhere.error(format!("two phases are called '{twice}': rename one")));
    }
    peak_comes_first(&phases)?;
    let most = ROUNDS_MAX.min(rounds::most(&phases));
    let cure = "for longer soaks give the phases more seconds";
    let rounds =
        whole("rounds", written.rounds, 1, most, cure).map_err(|why| nowhere.error(why))?;
    Ok(Scenario { title: written.title, rounds, phases })
}

fn first_twice<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.find(|name| !seen.insert(*name))
}

fn phase_of(written: &WrittenPhase, defaults: &Times) -> Result<Phase, ScenarioError> {
    let mut place = Place { phase: Some(written.name.clone()), load: None };
    check_name(&written.name).map_err(|why| place.error(why))?;
    let time = |field, own: Option<f64>, of_all: Option<f64>, usual| {
        seconds(field, own.or(of_all).unwrap_or(usual)).map_err(|why| place.error(why))
    };
    let length = time("seconds", written.seconds, defaults.seconds, usual::SECONDS)?;
    let warm_up = time("warm_up", written.warm_up, defaults.warm_up, usual::WARM_UP)?;
    let opening = time("opening", written.opening, defaults.opening, usual::OPENING)?;
    if written.load.is_empty() || written.load.len() > LOADS_MAX {
        let count = written.load.len();
        return Err(place.error(format!(
            "{count} loads: 1 to {LOADS_MAX}; each begins with a line [[phase.load]]"
        )));
    }
    let mut loads = Vec::new();
    for table in &written.load {
        loads.push(load_of(table.clone(), &mut place)?);
    }
    place.load = None;
    if let Some(twice) = first_twice(loads.iter().map(|load| load.name.as_str())) {
        return Err(place.error(format!("two loads are called '{twice}': give one a 'name'")));
    }
    let is_abuse = |load: &Load| matches!(load.kind, Kind::Abuse { .. });
    if loads.len() > 1 && loads.iter().any(is_abuse) {
        return Err(place.error(
            "abuse beside other loads: it checks what memory and descriptors the target is left \
             with, and would see theirs; give it a phase of its own",
        ));
    }
    let connections: u32 = loads.iter().map(|load| load.kind.connections()).sum();
    if connections > PHASE_CONNECTIONS_MAX {
        return Err(place.error(format!(
            "connections {connections} in all loads: at most {PHASE_CONNECTIONS_MAX}; ask for fewer"
        )));
    }
    Ok(Phase { name: written.name.clone(), opening, warm_up, length, loads })
}

/// Names stand in reports, file names and lines of a terminal.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "a name of {} bytes: 1 to {NAME_BYTES_MAX}; choose another",
            name.len()
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("name {name:?}: control characters do not print; choose another"));
    }
    if rounds::round_of(name).is_some() {
        return Err(format!("name '{name}': ' #' and a number stand for a round; choose another"));
    }
    Ok(())
}

/// Checks a time that is given in seconds. The time that counts (`seconds`) may not be zero.
pub fn seconds(field: &'static str, value: f64) -> Result<Duration, OutOfBounds> {
    let from = if field == "seconds" { PHASE_SECONDS_MIN } else { 0.0 };
    if (from..=PHASE_SECONDS_MAX).contains(&value) {
        return Ok(Duration::from_secs_f64(value));
    }
    Err(OutOfBounds {
        field,
        value: value.to_string(),
        limit: format!("{from} to {PHASE_SECONDS_MAX} seconds"),
        cure: "a longer soak repeats its phases",
    })
}

const MODES: &str = "flood, verify, latency, churn, idle, slow, announce or abuse";

fn load_of(mut table: Table, place: &mut Place) -> Result<Load, ScenarioError> {
    let mode = text_field(&mut table, "mode", place)?;
    let name = text_field(&mut table, "name", place)?;
    place.load = name.clone().or(mode.clone());
    let Some(mode) = mode else { return Err(place.error(format!("no mode: give {MODES}"))) };
    let name = name.unwrap_or_else(|| mode.clone());
    check_name(&name).map_err(|why| place.error(why))?;
    let kind = match mode.as_str() {
        "flood" => fields::<Flood>(table, place)?.kind(false),
        "verify" => fields::<Flood>(table, place)?.kind(true),
        "latency" => fields::<Latency>(table, place)?.kind(),
        "churn" => fields::<Churn>(table, place)?.kind(),
        "idle" => fields::<Idle>(table, place)?.kind(),
        "slow" => fields::<Slow>(table, place)?.kind(),
        "abuse" => fields::<Abuse>(table, place)?.kind(),
        "announce" => {
            let transport = match text_field(&mut table, "transport", place)?.as_deref() {
                Some("http") => Transport::Http,
                Some("udp") => Transport::Udp,
                Some(other) => {
                    return Err(place.error(format!("transport '{other}': give http or udp")));
                }
                None => return Err(place.error("no transport: give http or udp")),
            };
            fields::<Announce>(table, place)?.kind(transport)
        }
        other => return Err(place.error(format!("mode '{other}' is none: give {MODES}"))),
    };
    Ok(Load { name, kind: kind.map_err(|why| place.error(why))? })
}

fn text_field(
    table: &mut Table,
    field: &str,
    place: &Place,
) -> Result<Option<String>, ScenarioError> {
    match table.remove(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(place.error(format!("{field} {other}: a text in quotes is needed"))),
    }
}

fn fields<T: DeserializeOwned>(table: Table, place: &Place) -> Result<T, ScenarioError> {
    // Its errors tell the field in a second line.
    table.try_into().map_err(|why| place.error(why.to_string().trim_end().replace('\n', " ")))
}

/// A share of the peak can only be had when there is one.
fn peak_comes_first(phases: &[Phase]) -> Result<(), ScenarioError> {
    for phase in phases {
        let is_flood = |load: &Load| matches!(load.kind, Kind::Flood { verify: false, .. });
        for load in &phase.loads {
            if let Kind::Latency { rate: Rate::OfPeak(share), .. } = load.kind {
                let place =
                    Place { phase: Some(phase.name.clone()), load: Some(load.name.clone()) };
                return Err(place.error(format!(
                    "rate {}%: a share of the peak, and no flood comes before; put a phase with one \
                     first, or give requests a second",
                    share * 100.0
                )));
            }
        }
        if phase.loads.iter().any(is_flood) {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "scenario/scenario_tests.rs"]
mod tests;
