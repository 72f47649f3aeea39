//! A tracker's bencoded answer, read by a client.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use ringseed_meta::InfoHash;
use ringseed_meta::bencode::{self, Document, Value};

use crate::extended::ip_address;
use crate::limits;
use crate::tracker::{ScrapeStats, compact};

/// Seconds between announces when an answer does not say: what trackers commonly give.
pub const INTERVAL_DEFAULT_S: u32 = 1800;

const LIMITS: bencode::Limits = bencode::Limits {
    bytes_max: limits::ANSWER_BYTES_MAX,
    depth_max: limits::ANSWER_DEPTH_MAX,
    // A peer as a dictionary has seven; the rest is for the answer's own keys.
    values_max: limits::ANSWER_PEERS_MAX * 8,
};

/// What a tracker answers to an announce.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    /// Seconds until the next announce; [`INTERVAL_DEFAULT_S`] when it does not say.
    pub interval_s: u32,
    /// Seconds that must pass before an announce for any reason.
    pub min_interval_s: Option<u32>,
    /// Peers that have all.
    pub seeders: Option<u32>,
    /// Peers that lack something.
    pub leechers: Option<u32>,
    /// Downloads completed ever.
    pub completed: Option<u32>,
    /// A text for the user; the announce counts.
    pub warning: Option<String>,
    /// To be sent back with each further announce.
    pub tracker_id: Option<Vec<u8>>,
    /// The address under which the tracker sees us (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// Peers with an address, at most [`limits::ANSWER_PEERS_MAX`]; names are passed over.
    pub peers: Vec<SocketAddr>,
}

/// When a refused request may be repeated (BEP 31).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The tracker does not say.
    Unsaid,
    /// After so many minutes.
    InMinutes(u32),
    /// "The client should never send this query again."
    Never,
}

/// Why an answer brings nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AnswerError {
    /// The tracker gives a failure reason.
    #[error("the tracker refuses: {reason}")]
    Refused {
        /// Its text, without control characters, cut at [`limits::TRACKER_TEXT_BYTES_MAX`].
        reason: String,
        /// BEP 31.
        retry: Retry,
    },
    /// The answer cannot be read.
    #[error("the tracker's answer is unreadable: {0}")]
    Bencode(#[from] bencode::Error),
    /// The answer is no dictionary, or a scrape without `files`.
    #[error("the tracker's answer is no dictionary with the key it needs")]
    Incomplete,
}

/// Reads the body of an answer to an announce.
///
/// # Errors
/// A failure reason, or what makes the answer unreadable.
pub fn parse_announce_answer(body: &[u8]) -> Result<Announced, AnswerError> {
    let document = parse(body)?;
    let mut announced = Announced { interval_s: INTERVAL_DEFAULT_S, ..Announced::default() };
    let entries = document.root().as_dict().ok_or(AnswerError::Incomplete)?;
    for (key, value) in entries.iter() {
        match key {
            b"interval" => announced.interval_s = number(value).unwrap_or(INTERVAL_DEFAULT_S),
            b"min interval" => announced.min_interval_s = number(value),
            b"complete" => announced.seeders = number(value),
            b"incomplete" => announced.leechers = number(value),
            b"downloaded" => announced.completed = number(value),
            b"warning message" => announced.warning = value.as_bytes().map(text),
            b"tracker id" => announced.tracker_id = value.as_bytes().and_then(tracker_id),
            b"external ip" => announced.external_ip = value.as_bytes().and_then(ip_address),
            b"peers" => match value.as_bytes() {
                Some(packed) => add(&mut announced.peers, compact::v4(packed)),
                None => add(&mut announced.peers, peer_dicts(value)),
            },
            b"peers6" => {
                add(&mut announced.peers, compact::v6(value.as_bytes().unwrap_or_default()));
            }
            _ => {}
        }
    }
    Ok(announced)
}

/// Reads the body of an answer to a scrape.
///
/// # Errors
/// A failure reason, or what makes the answer unreadable.
pub fn parse_scrape_answer(body: &[u8]) -> Result<Vec<(InfoHash, ScrapeStats)>, AnswerError> {
    let document = parse(body)?;
    let files = document.root().get(b"files").and_then(|files| files.as_dict());
    let files = files.ok_or(AnswerError::Incomplete)?;
    let count = |stats: Value<'_>, key: &[u8]| stats.get(key).and_then(number).unwrap_or(0);
    let torrents = files.iter().filter_map(|(info_hash, stats)| {
        let leechers = count(stats, b"incomplete");
        let downloaders = stats.get(b"downloaders").and_then(number).unwrap_or(leechers);
        let stats = ScrapeStats {
            seeders: count(stats, b"complete"),
            completed: count(stats, b"downloaded"),
            leechers,
            partial_seeds: leechers.saturating_sub(downloaders),
        };
        Some((InfoHash(info_hash.try_into().ok()?), stats))
    });
    Ok(torrents.take(limits::SCRAPE_MAX).collect())
}

fn parse(body: &[u8]) -> Result<Document<'_>, AnswerError> {
    // Some trackers put a line break behind the answer.
    let document = bencode::parse_prefix(body, &LIMITS)?;
    let root = document.root();
    let Some(reason) = root.get(b"failure reason") else {
        return Ok(document);
    };
    let reason = text(reason.as_bytes().unwrap_or_default());
    let retry = root.get(b"retry in").map_or(Retry::Unsaid, retry);
    Err(AnswerError::Refused { reason, retry })
}

fn retry(value: Value<'_>) -> Retry {
    let minutes = number(value).or_else(|| value.as_str()?.parse().ok());
    match (minutes, value.as_bytes()) {
        (Some(minutes), _) => Retry::InMinutes(minutes),
        (None, Some(b"never")) => Retry::Never,
        (None, _) => Retry::Unsaid,
    }
}

fn number(value: Value<'_>) -> Option<u32> {
    value.as_uint().and_then(|number| u32::try_from(number).ok())
}

/// Text of a stranger for a log: no control characters, and not too much of it.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..limits::TRACKER_TEXT_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect()
}

fn tracker_id(bytes: &[u8]) -> Option<Vec<u8>> {
    (1..=limits::TRACKER_ID_BYTES_MAX).contains(&bytes.len()).then(|| bytes.to_vec())
}

fn add(peers: &mut Vec<SocketAddr>, more: impl Iterator<Item = SocketAddr>) {
    let room = limits::ANSWER_PEERS_MAX.saturating_sub(peers.len());
    peers.extend(more.filter(|peer| peer.port() != 0).take(room));
}

fn peer_dicts(value: Value<'_>) -> impl Iterator<Item = SocketAddr> {
    let peers = value.as_list().into_iter().flat_map(|list| list.iter());
    peers.filter_map(|peer| {
        let ip: IpAddr = peer.get(b"ip")?.as_str()?.parse().ok()?;
        let port = u16::try_from(peer.get(b"port")?.as_uint()?).ok()?;
        Some(SocketAddr::from((ip, port)))
    })
}
