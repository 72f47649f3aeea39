//! A tracker's bencoded answer, written by a tracker: straight into its buffer, keys in order.

use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::net::{IpAddr, SocketAddr};

use ringseed_meta::{InfoHash, PeerId};

use super::Retry;
use crate::tracker::ScrapeStats;

/// An answer to an announce.
#[derive(Clone, Copy, Debug)]
pub struct AnnounceAnswer<'a> {
    /// Seconds until the next announce.
    pub interval_s: u32,
    /// Seconds that must pass before an announce for any reason.
    pub min_interval_s: Option<u32>,
    /// Peers that have all.
    pub seeders: u32,
    /// Peers that lack something.
    pub leechers: u32,
    /// Downloads completed ever.
    pub completed: Option<u32>,
    /// A text for the user.
    pub warning: Option<&'a str>,
    /// To be sent back with each further announce.
    pub tracker_id: Option<&'a [u8]>,
    /// The client's address as we see it (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// The swarm.
    pub peers: Peers<'a>,
}

/// The peers of an answer, in one of their two forms.
#[derive(Clone, Copy, Debug)]
pub enum Peers<'a> {
    /// Packed (BEP 23, BEP 7), see [`compact`](crate::tracker::compact).
    Compact {
        /// 6 bytes a peer.
        v4: &'a [u8],
        /// 18 bytes a peer; left out when empty.
        v6: &'a [u8],
    },
    /// A dictionary each (BEP 3).
    Dicts(&'a [PeerEntry]),
}

/// A peer for [`Peers::Dicts`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerEntry {
    /// Where it is.
    pub address: SocketAddr,
    /// How it calls itself; `None` for a client that asked to leave it out.
    pub peer_id: Option<PeerId>,
}

impl AnnounceAnswer<'_> {
    /// Appends the answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'd');
        int(out, "complete", self.seeders);
        if let Some(completed) = self.completed {
            int(out, "downloaded", completed);
        }
        match self.external_ip {
            Some(IpAddr::V4(ip)) => bytes(out, "external ip", &ip.octets()),
            Some(IpAddr::V6(ip)) => bytes(out, "external ip", &ip.octets()),
            None => {}
        }
        int(out, "incomplete", self.leechers);
        int(out, "interval", self.interval_s);
        if let Some(min_interval_s) = self.min_interval_s {
            int(out, "min interval", min_interval_s);
        }
        self.peers.write(out);
        if let Some(tracker_id) = self.tracker_id {
            bytes(out, "tracker id", tracker_id);
        }
        if let Some(warning) = self.warning {
            bytes(out, "warning message", warning.as_bytes());
        }
        out.push(b'e');
    }
}

impl Peers<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Peers::Compact { v4, v6 } => {
                bytes(out, "peers", v4);
                if !v6.is_empty() {
                    bytes(out, "peers6", v6);
                }
            }
            Peers::Dicts(entries) => {
                string(out, b"peers");
                out.push(b'l');
                entries.iter().for_each(|entry| entry.write(out));
                out.push(b'e');
            }
        }
    }
}

impl PeerEntry {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'd');
        string(out, b"ip");
        // An address is text of unknown length: written behind a copy of itself, then cut.
        let start = out.len();
        text(out, format_args!("{}", self.address.ip()));
        let length = out.len().saturating_sub(start);
        text(out, format_args!("{length}:"));
        let written = out.len().saturating_sub(start);
        if let Some(place) = out.get_mut(start..) {
            place.rotate_right(written.saturating_sub(length));
        }
        if let Some(peer_id) = self.peer_id {
            bytes(out, "peer id", &peer_id.0);
        }
        int(out, "port", self.address.port());
        out.push(b'e');
    }
}

/// Appends a failure: the reason for the user, and when to try again (BEP 31).
pub fn write_failure(out: &mut Vec<u8>, reason: &str, retry: Retry) {
    out.push(b'd');
    bytes(out, "failure reason", reason.as_bytes());
    match retry {
        Retry::Unsaid => {}
        Retry::InMinutes(minutes) => int(out, "retry in", minutes),
        Retry::Never => bytes(out, "retry in", b"never"),
    }
    out.push(b'e');
}

/// Appends an answer to a scrape (BEP 48), with `downloaders` (BEP 21) where they are not all that
/// are incomplete. Sorts `torrents` by infohash, as bencode wants keys;
/// one that stands there twice is written once.
pub fn write_scrape_answer(out: &mut Vec<u8>, torrents: &mut [(InfoHash, ScrapeStats)]) {
    torrents.sort_unstable_by_key(|(info_hash, _)| *info_hash);
    out.push(b'd');
    string(out, b"files");
    out.push(b'd');
    let mut last = None;
    for (info_hash, stats) in torrents {
        if last.replace(*info_hash) == Some(*info_hash) {
            continue;
        }
        string(out, &info_hash.0);
        out.push(b'd');
        int(out, "complete", stats.seeders);
        int(out, "downloaded", stats.completed);
        if stats.partial_seeds > 0 {
            int(out, "downloaders", stats.leechers.saturating_sub(stats.partial_seeds));
        }
        int(out, "incomplete", stats.leechers);
        out.push(b'e');
    }
    out.extend_from_slice(b"ee");
}

fn int(out: &mut Vec<u8>, key: &str, value: impl Into<u64>) {
    string(out, key.as_bytes());
    text(out, format_args!("i{}e", value.into()));
}

fn bytes(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    string(out, key.as_bytes());
    string(out, value);
}

fn string(out: &mut Vec<u8>, value: &[u8]) {
    text(out, format_args!("{}:", value.len()));
    out.extend_from_slice(value);
}

/// Formats into bytes; appending to a `Vec` does not fail.
fn text(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    struct Bytes<'a>(&'a mut Vec<u8>);
    impl Write for Bytes<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    let _ = Bytes(out).write_fmt(text);
}
