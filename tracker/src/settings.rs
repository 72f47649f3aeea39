//! What can be set, by flags and by a TOML file with the same names: the flags count first, then
//! the file, then `PORT` of the environment, then the defaults of the library.

use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ringseed_ring::KernelChoice;
use ringseed_tracker::{
    Audience, ListFile, Listed, Options, Prefix, Proxies, Rules, SnapshotFile, limits,
};
use serde::{Deserialize, Serialize};

/// A BitTorrent tracker: announce and scrape over HTTP (BEP 3, 7, 23, 48) and UDP (BEP 15).
///
/// Serves every torrent, or those that a list says; keeps all in memory. The first line it prints names the announce URLs,
/// with the ports that the system picked where 0 was asked for.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Arguments {
    /// TOML file with settings, by the names of the flags: interval = 900. Flags count before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Prints all settings as such a file, those not given with their defaults, and exits.
    #[arg(long)]
    pub(crate) print_config: bool,

    #[command(flatten)]
    settings: Settings,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else the program does.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Adds, lists and revokes the users of a private tracker, whether it runs or not.
    User(crate::user::Arguments),
}

/// The file of users that is named by a flag, or in the settings in `config`.
pub(crate) fn users_file(users: Option<PathBuf>, config: Option<&Path>) -> anyhow::Result<PathBuf> {
    let named = match (users, config) {
        (Some(users), _) => Some(users),
        (None, Some(config)) => read(config)?.users,
        (None, None) => None,
    };
    named
        .context("no file of users is named: give --users FILE, or --config FILE with a line users")
}

const AFTER_HELP: &str = "\
Environment:
  PORT  port of the addresses that are listened on when neither --http nor --udp is given,
        instead of 6969: hosting platforms set it

Exit codes:
  0  stopped by SIGTERM or SIGINT, or printed what was asked for
  1  failed while it was running
  2  did not start: a setting, an address or the kernel; stderr says which, and what to do";

/// The settings that were given. Their help texts are the comments of a printed file as well.
#[derive(Args, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Address for HTTP; repeatable. With neither --http nor --udp: port 6969 of all addresses, of
    /// IPv6 where the system has it, for both.
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<Vec<SocketAddr>>,

    /// Address for UDP; repeatable.
    #[arg(long, value_name = "ADDR:PORT")]
    udp: Option<Vec<SocketAddr>>,

    /// Seconds after which clients are asked to announce again; default: 1800.
    #[arg(long, value_name = "SECONDS")]
    interval: Option<u64>,

    /// Seconds that clients are asked to wait in any case; default: 300, or the interval if that is
    /// shorter.
    #[arg(long, value_name = "SECONDS")]
    min_interval: Option<u64>,

    /// Torrents of each address family; default: 1048576. The one that was silent for the longest
    /// makes room for another.
    #[arg(long, value_name = "NUMBER")]
    torrents_max: Option<usize>,

    /// Peers of one torrent and family; default: 262144.
    #[arg(long, value_name = "NUMBER")]
    torrent_peers_max: Option<usize>,

    /// Peers of all torrents of a family; default: 4194304, some 160 MB for IPv4.
    #[arg(long, value_name = "NUMBER")]
    peers_max: Option<usize>,

    /// HTTP connections at a time; default: 8192, at most 10000. From half of them on, none is kept for another
    /// request.
    #[arg(long, value_name = "NUMBER")]
    connections_max: Option<usize>,

    /// The lowest TCP port that a peer may announce; default: 1024. Lower ones belong to services.
    #[arg(long, value_name = "PORT")]
    port_min: Option<u16>,

    /// Address or network of a proxy that is believed when it says whom a request comes from; repeatable,
    /// at most 16.
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Option<Vec<Prefix>>,

    /// Believe the parameter `ip` of an announce that a trusted proxy brings without saying from whom;
    /// default: false, it is refused. For proxies that write `ip` themselves: else clients name victims.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ip_from_proxies: Option<bool>,

    /// Who is shown figures at /, /metrics and /stats; default: all.
    #[arg(long, value_name = "WHO")]
    pages: Option<Pages>,

    /// File with the infohashes of the torrents that are served, one a line; no others are. Looked
    /// at each second; a change counts at once.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_list: Option<PathBuf>,

    /// File with the infohashes of the torrents that are not served, as above.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    deny_list: Option<PathBuf>,

    /// File of users: only they may announce, each with a passkey of its own in the URL. It is made
    /// where there is none; `ringseed-tracker user` changes it at any time.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<PathBuf>,
    /// File in which the swarms are kept over a restart: written beside and renamed, at times and at a
    /// stop. A file of its own for each tracker.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<PathBuf>,

    /// Seconds between two snapshots; default: 300.
    #[arg(long, value_name = "SECONDS")]
    snapshot_every: Option<u64>,

    /// By what sockets are used: io_uring where it can be had and epoll elsewhere (auto, the
    /// default), or one of them.
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<Kernel>,
}

/// [`Audience`], with names.
#[derive(ValueEnum, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
enum Pages {
    /// Whoever asks.
    All,
    /// Who asks from this host.
    Local,
    /// Nobody.
    None,
}

/// [`KernelChoice`], with names.
#[derive(ValueEnum, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
enum Kernel {
    Auto,
    IoUring,
    Epoll,
}

/// The port that trackers are expected at.
const DEFAULT_PORT: u16 = 6969;

impl Arguments {
    /// What is to be run: flags, file, `port` (the value of `PORT`) and defaults together.
    pub(crate) fn options(self, port: Option<&str>) -> anyhow::Result<Options> {
        let file = match &self.config {
            Some(file) => read(file)?,
            None => Settings::default(),
        };
        let settings = self.settings.or(file);
        // One that is not needed stops nobody.
        let is_needed = settings.http.is_none() && settings.udp.is_none();
        let port = match port.filter(|_| is_needed) {
            None => DEFAULT_PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).with_context(|| {
                format!("PORT in the environment is {port:?}: a port is 1 to 65535; unset it")
            })?,
        };
        settings.options(port, UdpSocket::bind("[::1]:0").is_ok())
    }
}

fn read(file: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("cannot read the settings {}; --print-config writes such a file", file.display())
    })?;
    toml::from_str(&text).with_context(|| format!("settings {}", file.display()))
}

impl Settings {
    /// These, and those of `other` where nothing was given.
    fn or(self, other: Settings) -> Settings {
        Settings {
            http: self.http.or(other.http),
            udp: self.udp.or(other.udp),
            interval: self.interval.or(other.interval),
            min_interval: self.min_interval.or(other.min_interval),
            torrents_max: self.torrents_max.or(other.torrents_max),
            torrent_peers_max: self.torrent_peers_max.or(other.torrent_peers_max),
            peers_max: self.peers_max.or(other.peers_max),
            connections_max: self.connections_max.or(other.connections_max),
            port_min: self.port_min.or(other.port_min),
            trusted_proxy: self.trusted_proxy.or(other.trusted_proxy),
            ip_from_proxies: self.ip_from_proxies.or(other.ip_from_proxies),
            pages: self.pages.or(other.pages),
            allow_list: self.allow_list.or(other.allow_list),
            deny_list: self.deny_list.or(other.deny_list),
            users: self.users.or(other.users),
            snapshot: self.snapshot.or(other.snapshot),
            snapshot_every: self.snapshot_every.or(other.snapshot_every),
            kernel: self.kernel.or(other.kernel),
        }
    }

    fn options(self, port: u16, has_ipv6: bool) -> anyhow::Result<Options> {
        let list = match (self.allow_list, self.deny_list) {
            (Some(_), Some(_)) => bail!("allow-list and deny-list are both set: leave one out"),
            (Some(path), None) => Some(ListFile { path, listed: Listed::Allowed }),
            (None, Some(path)) => Some(ListFile { path, listed: Listed::Denied }),
            (None, None) => None,
        };
        let (http, udp) = match (self.http, self.udp) {
            (None, None) => (everywhere(port, has_ipv6), everywhere(port, has_ipv6)),
            (http, udp) => (http.unwrap_or_default(), udp.unwrap_or_default()),
        };
        let defaults = Rules::default();
        let interval = self.interval.map_or(defaults.interval, Duration::from_secs);
        let min_interval = self.min_interval.map(Duration::from_secs);
        let mut rules =
            Rules::every(interval, min_interval.unwrap_or(defaults.min_interval.min(interval)));
        let bounds = &mut rules.bounds;
        bounds.torrents_max = self.torrents_max.unwrap_or(bounds.torrents_max);
        bounds.torrent_peers_max = self.torrent_peers_max.unwrap_or(bounds.torrent_peers_max);
        bounds.peers_max = self.peers_max.unwrap_or(bounds.peers_max);
        rules.connections_max = self.connections_max.unwrap_or(rules.connections_max);
        rules.port_min = self.port_min.unwrap_or(rules.port_min);
        let proxies = self.trusted_proxy.unwrap_or_default();
        rules.proxies = Proxies::new(&proxies).with_context(|| {
            let (most, named) = (limits::PROXIES_MAX, proxies.len());
            format!("trusted-proxy: {most} at most, {named} are named: name networks")
        })?;
        rules.ip_from_proxies = self.ip_from_proxies.unwrap_or(rules.ip_from_proxies);
        rules.pages = self.pages.map_or(rules.pages, Audience::from);
        let kernel = self.kernel.map_or(KernelChoice::default(), KernelChoice::from);
        let every = self.snapshot_every.map_or(limits::SNAPSHOT_EVERY, Duration::from_secs);
        let snapshot = self.snapshot.map(|path| SnapshotFile { path, every });
        Ok(Options { http, udp, rules, list, users: self.users, snapshot, tell: None, kernel })
    }

    /// All of them, as they are in `options`.
    fn of(options: &Options) -> Settings {
        let Options { http, udp, rules, list, users, snapshot, tell: _, kernel } = options;
        let every = snapshot.as_ref().map_or(limits::SNAPSHOT_EVERY, |snapshot| snapshot.every);
        let list = |listed| {
            list.as_ref().filter(|list| list.listed == listed).map(|list| list.path.clone())
        };
        Settings {
            http: Some(http.clone()),
            udp: Some(udp.clone()),
            interval: Some(rules.interval.as_secs()),
            min_interval: Some(rules.min_interval.as_secs()),
            torrents_max: Some(rules.bounds.torrents_max),
            torrent_peers_max: Some(rules.bounds.torrent_peers_max),
            peers_max: Some(rules.bounds.peers_max),
            connections_max: Some(rules.connections_max),
            port_min: Some(rules.port_min),
            trusted_proxy: Some(rules.proxies.prefixes().collect()),
            ip_from_proxies: Some(rules.ip_from_proxies),
            pages: Some(rules.pages.into()),
            allow_list: list(Listed::Allowed),
            deny_list: list(Listed::Denied),
            users: users.clone(),
            snapshot: snapshot.as_ref().map(|snapshot| snapshot.path.clone()),
            snapshot_every: Some(every.as_secs()),
            kernel: Some((*kernel).into()),
        }
    }
}

fn everywhere(port: u16, has_ipv6: bool) -> Vec<SocketAddr> {
    let any = [SocketAddr::from(([0; 4], port)), SocketAddr::from(([0u8; 16], port))];
    any.into_iter().filter(|address| address.is_ipv4() || has_ipv6).collect()
}

/// A file that sets what `options` say, each setting below its help text; what is not set stands
/// there as a comment.
pub(crate) fn print(options: &Options) -> anyhow::Result<String> {
    let written = toml::to_string(&Settings::of(options)).context("cannot write the settings")?;
    let mut printed = String::new();
    for setting in Settings::augment_args(clap::Command::new("settings")).get_arguments() {
        let name = setting.get_long().unwrap_or_default();
        let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
        let mut lines = written.lines();
        // Appending to memory does not fail.
        let _ = match lines.find(|line| line.split(" = ").next() == Some(name)) {
            Some(line) => writeln!(printed, "# {help}\n{line}\n"),
            None => writeln!(printed, "# {help}\n# {name} = \"FILE\"\n"),
        };
    }
    Ok(printed)
}

impl From<Pages> for Audience {
    fn from(pages: Pages) -> Audience {
        match pages {
            Pages::All => Audience::All,
            Pages::Local => Audience::Local,
            Pages::None => Audience::None,
        }
    }
}

impl From<Audience> for Pages {
    fn from(audience: Audience) -> Pages {
        match audience {
            Audience::All => Pages::All,
            Audience::Local => Pages::Local,
            Audience::None => Pages::None,
        }
    }
}

impl From<Kernel> for KernelChoice {
    fn from(kernel: Kernel) -> KernelChoice {
        match kernel {
            Kernel::Auto => KernelChoice::Auto,
            Kernel::IoUring => KernelChoice::IoUring,
            Kernel::Epoll => KernelChoice::Epoll,
        }
    }
}

impl From<KernelChoice> for Kernel {
    fn from(kernel: KernelChoice) -> Kernel {
        match kernel {
            KernelChoice::Auto => Kernel::Auto,
            KernelChoice::IoUring => Kernel::IoUring,
            KernelChoice::Epoll => Kernel::Epoll,
        }
    }
}

#[cfg(test)]
mod tests;
