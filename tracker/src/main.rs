//! The ringseed-tracker program: allocator, arguments, signals, exit code.
#![forbid(unsafe_code)]

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use ringseed_ring::KernelChoice;
use ringseed_ring::system::raise_fd_limit;
use ringseed_tracker::{Options, Rules, Server};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A BitTorrent tracker: announce and scrape over HTTP (BEP 3, 7, 23, 48) and UDP (BEP 15).
///
/// Open to every torrent; keeps all in memory. The first line it prints names the announce URLs,
/// with the ports that the system picked where 0 was asked for.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
struct Arguments {
    /// Address for HTTP; repeatable. With neither --http nor --udp: 0.0.0.0:6969 and, where the
    /// system has IPv6, [::]:6969 for both.
    #[arg(long, value_name = "ADDR:PORT")]
    http: Vec<SocketAddr>,

    /// Address for UDP; repeatable.
    #[arg(long, value_name = "ADDR:PORT")]
    udp: Vec<SocketAddr>,

    /// Seconds after which clients are asked to announce again.
    #[arg(long, value_name = "SECONDS", default_value_t = Rules::default().interval.as_secs())]
    interval: u64,

    /// Seconds that clients are asked to wait in any case.
    #[arg(long, value_name = "SECONDS", default_value_t = Rules::default().min_interval.as_secs())]
    min_interval: u64,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped by SIGTERM or SIGINT
  1  failed while it was running
  2  did not start: an argument, an address or io_uring; stderr says which, and what to do";

/// The port that trackers are expected at.
const DEFAULT_PORT: u16 = 6969;

/// Descriptors besides those of connections: listeners, the ring, the standard ones.
const DESCRIPTORS_BESIDE: usize = 64;

fn main() -> ExitCode {
    let server = match start(Arguments::parse()) {
        Ok(server) => server,
        Err(error) => return fail(&error, 2),
    };
    match server.join() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.into(), 1),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "ringseed-tracker: {error:#}");
    ExitCode::from(code)
}

fn start(arguments: Arguments) -> anyhow::Result<Server> {
    // Before the first line is printed: whoever reads it may send a signal at once.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot catch SIGINT and SIGTERM")?;
    let (mut http, mut udp) = (arguments.http, arguments.udp);
    if http.is_empty() && udp.is_empty() {
        http = default_addresses();
        udp = default_addresses();
    }
    let rules = Rules::every(
        Duration::from_secs(arguments.interval),
        Duration::from_secs(arguments.min_interval),
    );
    // With fewer descriptors newcomers wait until others have gone: no reason not to start.
    let _ = raise_fd_limit((rules.connections_max + DESCRIPTORS_BESIDE) as u64);
    let server = Server::start(Options { http, udp, rules, kernel: KernelChoice::Auto })?;
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

fn default_addresses() -> Vec<SocketAddr> {
    let any =
        [SocketAddr::from(([0; 4], DEFAULT_PORT)), SocketAddr::from(([0u8; 16], DEFAULT_PORT))];
    let has_ipv6 = UdpSocket::bind("[::1]:0").is_ok();
    any.into_iter().filter(|address| address.is_ipv4() || has_ipv6).collect()
}
