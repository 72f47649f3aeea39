//! Where the load comes from: threads, cores, network namespaces and addresses.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::Args;
use ringseed_ring::system;

use crate::limits::THREADS_MAX;
use crate::plan::Place;

/// Where `ip netns add NAME` puts namespaces.
const NAMESPACES: &str = "/run/netns";

/// Threads, and where their connections come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where the load comes from")]
pub(super) struct Threads {
    /// Cores to run on, a thread on each [default: one thread on no core in particular]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    core: Vec<usize>,
    /// Network namespaces to connect from, one for each thread in turn: files, or names as of
    /// `ip netns`
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    netns: Vec<String>,
    /// Source address of the connections; with '..' behind it each has its own, counting up
    #[arg(long, value_name = "ADDR[..]")]
    from: Option<From>,
}

/// A source address, or the first of many.
#[derive(Clone, Copy, Debug)]
struct From {
    first: IpAddr,
    counting_up: bool,
}

impl FromStr for From {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<From, Self::Err> {
        let first = text.strip_suffix("..");
        let counting_up = first.is_some();
        match first.unwrap_or(text).parse() {
            Ok(first) => Ok(From { first, counting_up }),
            Err(_) => Err("an address is needed, such as 127.0.1.1, or 127.0.1.1.. to count up"),
        }
    }
}

impl Threads {
    /// A thread for each core and each namespace, whichever are more; the others are gone through
    /// again.
    pub(super) fn places(&self) -> anyhow::Result<Vec<Place>> {
        let allowed = system::affinity().context("cannot read which cores are allowed")?;
        if let Some(core) = self.core.iter().find(|core| !allowed.contains(core)) {
            bail!("--core {core}: only cores {allowed:?} are there and allowed; give one of them");
        }
        let count = self.core.len().max(self.netns.len()).max(1);
        if count > THREADS_MAX {
            bail!("{count} threads by --core or --netns: at most {THREADS_MAX}; name fewer");
        }
        let namespaces: Vec<PathBuf> =
            self.netns.iter().map(|name| namespace(name)).collect::<Result<_, _>>()?;
        let mut cores = self.core.iter().copied().cycle();
        let mut namespaces = namespaces.into_iter().cycle();
        Ok((0..count).map(|_| Place { core: cores.next(), namespace: namespaces.next() }).collect())
    }

    /// The first source address and the step to the next, for connections to `target`.
    pub(super) fn from(&self, target: Option<SocketAddr>) -> anyhow::Result<Option<(IpAddr, u32)>> {
        let Some(From { first, counting_up }) = self.from else { return Ok(None) };
        if let Some(target) = target
            && target.is_ipv4() != first.is_ipv4()
        {
            let family = if target.is_ipv4() { "IPv4" } else { "IPv6" };
            bail!(
                "--from {first}: the target {target} is reached by {family}; give such an address"
            );
        }
        Ok(Some((first, u32::from(counting_up))))
    }
}

/// The file of a namespace that is given as a file or by name.
fn namespace(text: &str) -> anyhow::Result<PathBuf> {
    let is_file = text.contains('/');
    let path = if is_file { PathBuf::from(text) } else { PathBuf::from(NAMESPACES).join(text) };
    if text.is_empty() || !path.exists() {
        let cure = if is_file {
            "a namespace is a file such as /proc/PID/ns/net".to_owned()
        } else {
            format!("make it with `ip netns add {text}`")
        };
        bail!("--netns '{text}': there is no {}; {cure}", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(core: &[usize], netns: &[&str]) -> Threads {
        let netns = netns.iter().map(|name| (*name).to_owned()).collect();
        Threads { core: core.to_vec(), netns, from: None }
    }

    #[test]
    fn a_thread_for_each_core_and_namespace_in_turn() {
        let core = system::affinity().unwrap()[0];
        let ours = "/proc/self/ns/net";
        let place =
            |core, namespace: Option<&str>| Place { core, namespace: namespace.map(PathBuf::from) };
        assert_eq!(threads(&[], &[]).places().unwrap(), [place(None, None)]);
        assert_eq!(
            threads(&[core], &[ours, "/proc/thread-self/ns/net"]).places().unwrap(),
            [place(Some(core), Some(ours)), place(Some(core), Some("/proc/thread-self/ns/net"))]
        );
        assert_eq!(threads(&[core; 3], &[ours]).places().unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = threads(&[4_000], &[]).places().unwrap_err().to_string();
        assert!(error.starts_with("--core 4000: only cores ["), "{error}");
        let error = threads(&[], &["no-such"]).places().unwrap_err().to_string();
        assert!(error.contains("--netns 'no-such': there is no /run/netns/no-such"), "{error}");
        assert!(error.contains("ip netns add no-such"), "{error}");
        assert!(threads(&[], &["/proc/self/ns/none"]).places().is_err());
        assert!(threads(&[], &[""]).places().is_err());
    }

    #[test]
    fn a_source_address_is_of_the_targets_family() {
        let from = |text: &str| Threads { from: Some(text.parse().unwrap()), ..threads(&[], &[]) };
        let target = Some("127.0.0.1:1".parse().unwrap());
        let first = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(from("127.0.1.1..").from(target).unwrap(), Some((first("127.0.1.1"), 1)));
        assert_eq!(from("127.0.1.1").from(None).unwrap(), Some((first("127.0.1.1"), 0)));
        let error = from("::1").from(target).unwrap_err().to_string();
        assert!(error.contains("--from ::1") && error.contains("IPv4"), "{error}");
        assert!("127.0.1".parse::<From>().is_err());
    }
}
