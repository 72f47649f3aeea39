//! `ringseed seed`.

mod people;
mod programs;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use ringseed_ring::sandbox::SandboxChoice;
use ringseed_ring::{KernelChoice, ZeroCopy};
use ringseed_sched::choke::Slots;

use crate::service::{self, Ending, Options, ServiceError, limits};

/// Serves torrents, folders of them, or plain data to BitTorrent clients.
///
/// PATH is a .torrent file, a folder of .torrent files, or plain data. For plain data the torrent
/// is made and kept in the state folder, and unless trackers are named, a tracker starts beside
/// the seeder. Data is verified first unless it has not changed since the last time.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What to seed: .torrent files, folders of them, or data.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The folder that the data of .torrent files is in [default: where the .torrent file is].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Accept peers here; repeatable; port 0 picks a free one [default: port 6881 of all addresses].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<SocketAddr>,
    /// Worker threads, each pinned to a core [default: every core this process may use].
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Upload slots of each torrent; 0: unlimited.
    #[arg(long, value_name = "N", default_value_t = 0)]
    slots: u32,
    /// Seed without verifying the data first.
    #[arg(long)]
    trust: bool,
    /// Announce to this tracker; repeatable. Torrents made for plain data name it; to those of
    /// .torrent files it is added as a last tier (BEP 12), to private ones only if they name none.
    #[arg(long, value_name = "URL")]
    tracker: Vec<String>,
    /// Where made torrents and verification records are kept [default:
    /// $XDG_STATE_HOME/ringseed or ~/.local/state/ringseed].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// What sockets and files are used by: io_uring where it can be had and epoll elsewhere,
    /// io_uring or nothing, or epoll.
    #[arg(long, value_name = "KERNEL", value_enum, default_value_t = KernelArgument::Auto)]
    kernel: KernelArgument,
    /// How blocks reach the socket: by reference where that works, by reference or not at all,
    /// or copied (for data that is edited in place).
    #[arg(long, value_name = "VERB", value_enum, default_value_t = ZeroCopyArgument::Auto)]
    zero_copy: ZeroCopyArgument,
    /// Deny this process, once it runs, all system calls that it needs no longer (seccomp), where
    /// the system can; or do not.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = SandboxArgument::Auto)]
    sandbox: SandboxArgument,
    /// TCP congestion control of peers' connections [default: the system's].
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// Connections in all.
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS_MAX,
          value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Connections of one address (of an IPv6 /64); 0: no limit.
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS_PER_ADDRESS_MAX)]
    connections_per_address: u32,
    /// Start the embedded tracker, and let it listen here [default: port 6969 of all addresses,
    /// when plain data is seeded and no tracker is named].
    #[arg(long, value_name = "ADDR:PORT")]
    tracker_listen: Option<SocketAddr>,
    /// The address in announce URLs of the embedded tracker [default: that of the default route].
    #[arg(long, value_name = "ADDR")]
    announce_host: Option<IpAddr>,
    /// Tell what happens as JSON, an object a line, on standard output.
    #[arg(long)]
    json: bool,
    /// Tell also of each connection that was closed for a fault of the peer's.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ZeroCopyArgument {
    Auto,
    Splice,
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum KernelArgument {
    Auto,
    IoUring,
    Epoll,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SandboxArgument {
    Auto,
    Off,
}

impl Arguments {
    fn options(&self) -> Options {
        Options {
            paths: self.paths.clone(),
            data: self.data.clone(),
            listen: self.listen.clone(),
            cores: self.cores,
            slots: match self.slots {
                0 => Slots::Unlimited,
                slots => Slots::Limited(slots),
            },
            trust: self.trust,
            trackers: self.tracker.clone(),
            state_dir: self.state_dir.clone(),
            kernel: match self.kernel {
                KernelArgument::Auto => KernelChoice::Auto,
                KernelArgument::IoUring => KernelChoice::IoUring,
                KernelArgument::Epoll => KernelChoice::Epoll,
            },
            zero_copy: match self.zero_copy {
                ZeroCopyArgument::Auto => ZeroCopy::Auto,
                ZeroCopyArgument::Splice => ZeroCopy::Splice,
                ZeroCopyArgument::Off => ZeroCopy::Off,
            },
            sandbox: match self.sandbox {
                SandboxArgument::Auto => SandboxChoice::Auto,
                SandboxArgument::Off => SandboxChoice::Off,
            },
            congestion: self.congestion.clone(),
            connections_max: self.connections,
            connections_per_address_max: self.connections_per_address,
            tracker_listen: self.tracker_listen,
            announce_host: self.announce_host,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = arguments.options();
    let ending = if arguments.json {
        let mut voice = programs::Voice::new(arguments.verbose);
        service::run(&options, &mut |event| voice.tell(&event))
    } else {
        let mut voice = people::Voice::new(arguments.verbose);
        let ending = service::run(&options, &mut |event| voice.tell(event));
        voice.end();
        ending
    };
    let ending = match ending {
        Err(error @ ServiceError::NothingToSeed) => {
            eprintln!("ringseed: {error}");
            return Ok(ExitCode::from(1));
        }
        ending => ending?,
    };
    Ok(match ending {
        Ending::Clean => ExitCode::SUCCESS,
        Ending::DataFaults => ExitCode::from(1),
    })
}
