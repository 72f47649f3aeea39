//! How long a run of one load takes.

use clap::Args;

use crate::modes::OutOfBounds;
use crate::plan::{Load, Phase};
use crate::scenario::{seconds, usual};

/// The times of its phases.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Times")]
pub(super) struct Times {
    /// Length of the time that counts, seconds
    #[arg(long, value_name = "S", default_value_t = usual::SECONDS, allow_negative_numbers = true)]
    seconds: f64,
    /// Load before that time, seconds
    #[arg(long, value_name = "S", default_value_t = usual::WARM_UP, allow_negative_numbers = true)]
    warm_up: f64,
    /// How long the target may take to unchoke all connections, seconds
    #[arg(long, value_name = "S", default_value_t = usual::OPENING, allow_negative_numbers = true)]
    opening: f64,
}

impl Times {
    /// A phase of these times.
    pub(super) fn phase(&self, name: &str, loads: Vec<Load>) -> anyhow::Result<Phase> {
        let time = |field, value| {
            seconds(field, value).map_err(|why: OutOfBounds| anyhow::anyhow!(why.of_a_flag()))
        };
        Ok(Phase {
            name: name.into(),
            opening: time("opening", self.opening)?,
            warm_up: time("warm_up", self.warm_up)?,
            length: time("seconds", self.seconds)?,
            loads,
        })
    }
}
