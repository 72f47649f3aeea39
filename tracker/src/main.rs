//! The ringseed-tracker program: allocator, arguments, signals, exit code.
#![forbid(unsafe_code)]

mod settings;
mod user;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ringseed_ring::system::raise_fd_limit;
use ringseed_tracker::{Notice, Options, Server};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use settings::{Arguments, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Descriptors besides those of connections: listeners, the ring, the standard ones.
const DESCRIPTORS_BESIDE: usize = 64;

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if let Some(Command::User(arguments)) = arguments.command.take() {
        return match user::run(arguments, std::time::SystemTime::now()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        };
    }
    let server = match begin(arguments) {
        Ok(Some(server)) => server,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return fail(&error, 2),
    };
    match server.join() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.into(), 1),
    }
}

/// Says what became of a list or of users that have changed.
fn tell(notice: &Notice) {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "ringseed-tracker: {notice}");
}

/// The server, if there is to be one.
fn begin(arguments: Arguments) -> anyhow::Result<Option<Server>> {
    let print_config = arguments.print_config;
    let port = std::env::var_os("PORT").map(|port| port.to_string_lossy().into_owned());
    let options = Options { tell: Some(tell), ..arguments.options(port.as_deref())? };
    if !print_config {
        return start(options).map(Some);
    }
    options.rules.check()?;
    // Whoever asked and does not listen misses nothing else.
    let _ = write!(std::io::stdout(), "{}", settings::print(&options)?);
    Ok(None)
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "ringseed-tracker: {error:#}");
    ExitCode::from(code)
}

fn start(options: Options) -> anyhow::Result<Server> {
    // Before the first line is printed: whoever reads it may send a signal at once.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot catch SIGINT and SIGTERM")?;
    // With fewer descriptors newcomers wait until others have gone: no reason not to start.
    let _ = raise_fd_limit(options.rules.connections_max.saturating_add(DESCRIPTORS_BESIDE) as u64);
    let server = Server::start(options)?;
    let stopper = server.stopper();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|_| stopper.stop()))
        .context("cannot start the thread that waits for signals")?;
    let urls = [("http", server.http_addrs()), ("udp", server.udp_addrs())];
    let urls = urls.iter().flat_map(|(scheme, addresses)| {
        addresses.iter().map(move |address| format!("{scheme}://{address}/announce"))
    });
    // A closed stdout is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "{}", urls.collect::<Vec<_>>().join(" "));
    Ok(server)
}
