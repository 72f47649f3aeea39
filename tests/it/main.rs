//! The one integration test binary. A line of its own for each subject; `scripts/test.sh` runs
//! them in stages by their names.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step is a failed test")]

mod announce;
mod announces;
mod clients;
mod content;
mod cores;
mod counters;
mod create;
mod faults;
mod hostile;
mod interop;
mod kernel;
mod peer;
mod pipes;
mod sandbox;
mod seed;
mod seeder;
mod sim;
mod tidy;
