//! The command line: flags and files into calls, no logic. One file a subcommand.

/// Prints a line. A reader that went away (`ringseed show x | head`) is no reason to panic.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod check;
mod create;
mod progress;
mod seed;
mod show;
mod torrent_file;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A BitTorrent seeder for a dedicated Linux box: blocks go from the page cache to the socket by reference.
#[derive(Parser)]
#[command(name = "ringseed", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(create::Arguments),
    Show(show::Arguments),
    Check(check::Arguments),
    Seed(seed::Arguments),
}

/// Runs the command that the arguments name. Errors go to stderr in one line, cause and cure;
/// docs/cli.md lists the exit codes.
pub fn main() -> ExitCode {
    // The allocator asks for huge pages. A kernel without them has none to refuse.
    let _ = ringseed_ring::system::no_huge_pages();
    let outcome = match Arguments::parse().command {
        Command::Create(arguments) => create::run(&arguments),
        Command::Show(arguments) => show::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Seed(arguments) => seed::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ringseed: {error:#}");
        ExitCode::from(2)
    })
}
