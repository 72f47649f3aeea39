//! `ringseed-tracker user`: the users of a private tracker, from the shell, while it runs.

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Subcommand;
use ringseed_users::{Moved, Name, User, Users};

use crate::settings::users_file;

/// Adds, lists and revokes the users of a private tracker, whether it runs or not. A tracker that runs
/// knows of it within a second.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// File of users, as the tracker's own flag names it; it is made where there is none.
    #[arg(long, value_name = "FILE", global = true)]
    users: Option<PathBuf>,

    /// TOML file with settings, of which the line `users` counts.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Adds a user and prints its passkey, which is shown this once; whoever was revoked comes back
    /// with another one.
    Add {
        /// What the user is called.
        name: Name,
    },
    /// Prints all users, a line each: name, what it may, bytes uploaded, bytes downloaded.
    List,
    /// Makes a user's passkey worthless.
    Revoke {
        /// What the user is called.
        name: Name,
    },
}

pub(crate) fn run(arguments: Arguments, now: SystemTime) -> anyhow::Result<()> {
    let path = users_file(arguments.users, arguments.config.as_deref())?;
    let mut users = Users::open(&path)?;
    let mut out = std::io::stdout().lock();
    match arguments.action {
        Action::Add { name } => {
            writeln!(out, "{}", users.add(&name, now)?.reveal())?;
            // With stderr closed there is nobody to tell.
            let _ = writeln!(
                std::io::stderr(),
                "ringseed-tracker: the announce URL of {name} ends with /<this passkey>/announce; \
                 it is not shown again"
            );
        }
        Action::List => {
            for user in users.list()? {
                writeln!(out, "{}", line(&user))?;
            }
        }
        Action::Revoke { name } => users.revoke(&name, now)?,
    }
    Ok(())
}

fn line(user: &User) -> String {
    let User { name, revoked, moved: Moved { uploaded, downloaded }, created: _ } = user;
    let may = if revoked.is_some() { "revoked" } else { "may announce" };
    format!("{name}\t{may}\t{uploaded}\t{downloaded}")
}
