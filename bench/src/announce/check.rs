//! Whether an answer is one: what an announce and a scrape must bring, over either protocol.

use ringseed_meta::bencode::{self, Value};
use ringseed_wire::limits as wire;
use ringseed_wire::tracker::compact::{V4_BYTES, V6_BYTES};
use ringseed_wire::tracker_http::{AnswerError, parse_announce_answer, parse_scrape_answer};
use ringseed_wire::tracker_udp::{Response, ResponseError};

use super::crowd::{Ask, Topic, info_hash};

/// What is wrong with an answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AnswerFault {
    /// The tracker refuses, in its own words.
    #[error("refused: {0}")]
    Refused(String),
    /// An answer of BEP 15 that is none.
    #[error(transparent)]
    Datagram(#[from] ResponseError),
    /// The body of an HTTP answer that is none.
    #[error(transparent)]
    Body(AnswerError),
    /// Not 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// An answer to another kind of request.
    #[error("action {found} answers an {asked}")]
    Action { asked: &'static str, found: &'static str },
    /// Clients would ask again at once, for ever.
    #[error("an interval of 0 s, or none")]
    Interval,
    /// Compact peers that are cut.
    #[error("{bytes} bytes of compact peers; a peer has {a_peer}")]
    Compact { bytes: usize, a_peer: usize },
    /// More peers than were asked for.
    #[error("{found} peers where {numwant} were asked for")]
    TooMany { found: usize, numwant: u32 },
    /// A scrape that says nothing of the torrent asked for.
    #[error("a scrape without the torrent that was asked for")]
    NotScraped,
}

/// Checks a datagram whose transaction id is the question's. `a_peer`: bytes of a compact peer in
/// the address family of the socket.
///
/// # Errors
/// What is wrong with it.
pub fn datagram(ask: &Ask, response: &Response<'_>, a_peer: usize) -> Result<(), AnswerFault> {
    match (ask.topic, response) {
        (_, Response::Error { message, .. }) => {
            let text = String::from_utf8_lossy(message);
            Err(AnswerFault::Refused(text.chars().filter(|c| !c.is_control()).collect()))
        }
        (Topic::Announce(_), Response::Announce { interval_s, peers, .. }) => {
            if *interval_s == 0 {
                return Err(AnswerFault::Interval);
            }
            number_of(ask, packed(peers, a_peer)?)
        }
        (Topic::Scrape, Response::Scrape { stats, .. }) => match stats.len() {
            // "Future extensions could increase the size of packets" (BEP 15).
            12.. => Ok(()),
            _ => Err(AnswerFault::NotScraped),
        },
        (topic, response) => {
            Err(AnswerFault::Action { asked: name_of(topic), found: action_of(response) })
        }
    }
}

/// Checks the answer to an HTTP request.
///
/// # Errors
/// What is wrong with it.
pub fn body(ask: &Ask, status: u16, body: &[u8]) -> Result<(), AnswerFault> {
    if status != 200 {
        return Err(AnswerFault::Status(status));
    }
    let refused = |error| match error {
        AnswerError::Refused { reason, .. } => AnswerFault::Refused(reason),
        error => AnswerFault::Body(error),
    };
    match ask.topic {
        Topic::Announce(_) => {
            parse_announce_answer(body).map_err(refused)?;
            raw_announce(ask, body)
        }
        Topic::Scrape => {
            let files = parse_scrape_answer(body).map_err(refused)?;
            let asked = info_hash(ask.torrent);
            let is_there = files.iter().any(|(found, _)| *found == asked);
            if is_there { Ok(()) } else { Err(AnswerFault::NotScraped) }
        }
    }
}

/// What the reader of a client is lenient with and a tracker should not do.
fn raw_announce(ask: &Ask, body: &[u8]) -> Result<(), AnswerFault> {
    let limits = bencode::Limits {
        bytes_max: wire::ANSWER_BYTES_MAX,
        depth_max: wire::ANSWER_DEPTH_MAX,
        values_max: wire::ANSWER_PEERS_MAX * 8,
    };
    let document = bencode::parse_prefix(body, &limits)
        .map_err(|error| AnswerFault::Body(AnswerError::Bencode(error)))?;
    let root = document.root();
    if root.get(b"interval").and_then(|interval| interval.as_uint()).is_none_or(|s| s == 0) {
        return Err(AnswerFault::Interval);
    }
    let peers = |key, a_peer| match root.get(key) {
        None => Ok(0),
        Some(value) => peers_of(value, a_peer),
    };
    number_of(ask, peers(b"peers", V4_BYTES)? + peers(b"peers6", V6_BYTES)?)
}

fn peers_of(value: Value<'_>, a_peer: usize) -> Result<usize, AnswerFault> {
    match value.as_bytes() {
        Some(bytes) => packed(bytes, a_peer),
        None => Ok(value.as_list().map_or(0, |list| list.iter().count())),
    }
}

fn packed(peers: &[u8], a_peer: usize) -> Result<usize, AnswerFault> {
    if !peers.len().is_multiple_of(a_peer) {
        return Err(AnswerFault::Compact { bytes: peers.len(), a_peer });
    }
    Ok(peers.len() / a_peer)
}

fn number_of(ask: &Ask, found: usize) -> Result<(), AnswerFault> {
    let numwant = ask.numwant();
    // A peer that leaves asks for none; some trackers tell it their default number all the same,
    // and it will not look.
    if numwant > 0 && found > numwant as usize {
        return Err(AnswerFault::TooMany { found, numwant });
    }
    Ok(())
}

fn name_of(topic: Topic) -> &'static str {
    match topic {
        Topic::Announce(_) => "announce",
        Topic::Scrape => "scrape",
    }
}

fn action_of(response: &Response<'_>) -> &'static str {
    match response {
        Response::Connect { .. } => "connect",
        Response::Announce { .. } => "announce",
        Response::Scrape { .. } => "scrape",
        Response::Error { .. } => "error",
    }
}
