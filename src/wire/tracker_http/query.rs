//! The request target of an announce or scrape: written by a client, read by a tracker.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{Display, Write};
use core::net::IpAddr;

use ringseed_meta::{InfoHash, PeerId};

use crate::limits;
use crate::tracker::{AnnounceEvent, AnnounceRequest};

/// Why a query is no announce or scrape. Its text is the failure reason for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueryError {
    /// The query is longer than [`limits::QUERY_BYTES_MAX`].
    #[error("the query has {bytes} bytes; at most {most} are read", most = limits::QUERY_BYTES_MAX)]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// There are more parameters than [`limits::QUERY_PARAMETERS_MAX`].
    #[error("the query has too many parameters; at most {} are read", limits::QUERY_PARAMETERS_MAX)]
    TooManyParameters,
    /// A scrape names more torrents than [`limits::SCRAPE_MAX`].
    #[error("the scrape names too many torrents; at most {} are answered", limits::SCRAPE_MAX)]
    TooManyTorrents,
    /// A parameter is needed.
    #[error("parameter {0} is missing")]
    Missing(&'static str),
    /// A parameter may stand there once.
    #[error("parameter {0} stands there twice")]
    Duplicate(&'static str),
    /// A percent sign without two hexadecimal digits, or a value that is too long.
    #[error("parameter {0} is not escaped as it should be")]
    Escape(&'static str),
    /// An infohash or peer id has another length.
    #[error("parameter {0} needs exactly 20 bytes")]
    Length(&'static str),
    /// A value is no decimal number, or out of range.
    #[error("parameter {0} is no decimal number in its range")]
    Number(&'static str),
}

/// The request target of an announce: `base` is path and query of the tracker's URL.
pub fn announce_target(base: &str, request: &AnnounceRequest) -> String {
    let mut query = QueryWriter::new(base);
    query.escaped("info_hash", &request.info_hash.0);
    query.escaped("peer_id", &request.peer_id.0);
    query.plain("port", request.port);
    query.plain("uploaded", request.uploaded);
    query.plain("downloaded", request.downloaded);
    query.plain("left", request.left);
    if let Some(key) = request.key {
        query.plain("key", format_args!("{key:08X}"));
    }
    match request.event {
        AnnounceEvent::None => {}
        AnnounceEvent::Completed => query.plain("event", "completed"),
        AnnounceEvent::Started => query.plain("event", "started"),
        AnnounceEvent::Stopped => query.plain("event", "stopped"),
        AnnounceEvent::Paused => query.plain("event", "paused"),
    }
    if let Some(numwant) = request.numwant {
        query.plain("numwant", numwant);
    }
    query.plain("compact", u8::from(request.wants_compact));
    if request.no_peer_id {
        query.plain("no_peer_id", 1);
    }
    match request.ip {
        Some(IpAddr::V4(ip)) => query.plain("ip", ip),
        Some(IpAddr::V6(ip)) => query.plain("ip", ip),
        None => {}
    }
    if !request.tracker_id.is_empty() {
        query.escaped("trackerid", &request.tracker_id);
    }
    query.target
}

/// The request target of a scrape; `None` when the tracker cannot be scraped: BEP 48 replaces
/// `announce` in the path by `scrape`, by convention only where the last segment begins with it.
pub fn scrape_target(base: &str, info_hashes: &[InfoHash]) -> Option<String> {
    let (path, query) = base.split_once('?').map_or((base, None), |(p, q)| (p, Some(q)));
    let (folder, last) = path.rsplit_once('/')?;
    let rest = last.strip_prefix("announce")?;
    let mut scrape = String::with_capacity(base.len());
    scrape.extend([folder, "/scrape", rest]);
    if let Some(query) = query {
        scrape.extend(["?", query]);
    }
    let mut writer = QueryWriter::new(&scrape);
    info_hashes.iter().for_each(|info_hash| writer.escaped("info_hash", &info_hash.0));
    Some(writer.target)
}

struct QueryWriter {
    target: String,
    separator: char,
}

impl QueryWriter {
    fn new(base: &str) -> QueryWriter {
        let base = base.split('#').next().unwrap_or_default();
        let separator = if base.contains('?') { '&' } else { '?' };
        let mut target = String::with_capacity(base.len().saturating_add(384));
        if !base.starts_with('/') {
            target.push('/');
        }
        target.push_str(base);
        QueryWriter { target, separator }
    }

    fn plain(&mut self, name: &str, value: impl Display) {
        self.target.push(self.separator);
        self.separator = '&';
        // Writing to a String does not fail.
        let _ = write!(self.target, "{name}={value}");
    }

    fn escaped(&mut self, name: &str, value: &[u8]) {
        self.plain(name, "");
        for byte in value {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    self.target.push(char::from(*byte));
                }
                _ => {
                    let _ = write!(self.target, "%{byte:02X}");
                }
            }
        }
    }
}

/// Reads an announce from what stands behind the `?`. `uploaded` and `downloaded` may be
/// missing, as some clients leave them out; unknown parameters are passed over.
///
/// # Errors
/// The first thing wrong, as a text for the client.
pub fn parse_announce(query: &[u8]) -> Result<AnnounceRequest, QueryError> {
    let mut seen = Announce::default();
    for parameter in parameters(query)? {
        let (name, value) = parameter?;
        seen.take(name, value)?;
    }
    let wants_compact = seen.compact.is_none_or(|value| value != b"0");
    Ok(AnnounceRequest {
        info_hash: InfoHash(seen.info_hash.ok_or(QueryError::Missing("info_hash"))?),
        peer_id: PeerId(seen.peer_id.ok_or(QueryError::Missing("peer_id"))?),
        port: seen.port.ok_or(QueryError::Missing("port"))?,
        uploaded: seen.uploaded.unwrap_or(0),
        downloaded: seen.downloaded.unwrap_or(0),
        left: seen.left.ok_or(QueryError::Missing("left"))?,
        event: seen.event.unwrap_or_default(),
        key: seen.key,
        numwant: seen.numwant.flatten(),
        ip: seen.ip.flatten(),
        tracker_id: seen.tracker_id.unwrap_or_default(),
        wants_compact,
        no_peer_id: seen.no_peer_id.is_some_and(|value| value != b"0"),
    })
}

/// Reads the torrents of a scrape from what stands behind the `?`. None at all would be a scrape
/// of the whole tracker, which is not offered.
///
/// # Errors
/// The first thing wrong, as a text for the client.
pub fn parse_scrape(query: &[u8]) -> Result<Vec<InfoHash>, QueryError> {
    let mut info_hashes = Vec::new();
    for parameter in parameters(query)? {
        let (name, value) = parameter?;
        if name != b"info_hash" {
            continue;
        }
        if info_hashes.len() == limits::SCRAPE_MAX {
            return Err(QueryError::TooManyTorrents);
        }
        info_hashes.push(InfoHash(twenty_bytes("info_hash", value)?));
    }
    match info_hashes.is_empty() {
        true => Err(QueryError::Missing("info_hash")),
        false => Ok(info_hashes),
    }
}

type Parameter<'q> = Result<(&'q [u8], &'q [u8]), QueryError>;

fn parameters(query: &[u8]) -> Result<impl Iterator<Item = Parameter<'_>>, QueryError> {
    let bytes = query.len();
    if bytes > limits::QUERY_BYTES_MAX {
        return Err(QueryError::TooLong { bytes });
    }
    let pairs = query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    Ok(pairs.enumerate().map(|(count, pair)| {
        if count >= limits::QUERY_PARAMETERS_MAX {
            return Err(QueryError::TooManyParameters);
        }
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        Ok((halves.next().unwrap_or_default(), halves.next().unwrap_or_default()))
    }))
}

/// The parameters of an announce that were seen so far.
#[derive(Default)]
struct Announce<'q> {
    info_hash: Option<[u8; 20]>,
    peer_id: Option<[u8; 20]>,
    port: Option<u16>,
    uploaded: Option<u64>,
    downloaded: Option<u64>,
    left: Option<u64>,
    event: Option<AnnounceEvent>,
    key: Option<u32>,
    numwant: Option<Option<u32>>,
    ip: Option<Option<IpAddr>>,
    tracker_id: Option<Vec<u8>>,
    compact: Option<&'q [u8]>,
    no_peer_id: Option<&'q [u8]>,
}

impl<'q> Announce<'q> {
    fn take(&mut self, name: &'q [u8], value: &'q [u8]) -> Result<(), QueryError> {
        match name {
            b"info_hash" => once("info_hash", &mut self.info_hash, value, twenty_bytes),
            b"peer_id" => once("peer_id", &mut self.peer_id, value, twenty_bytes),
            b"port" => once("port", &mut self.port, value, port),
            b"uploaded" => once("uploaded", &mut self.uploaded, value, decimal),
            b"downloaded" => once("downloaded", &mut self.downloaded, value, decimal),
            b"left" => once("left", &mut self.left, value, decimal),
            b"event" => once("event", &mut self.event, value, event),
            b"key" => once("key", &mut self.key, value, key),
            b"numwant" => once("numwant", &mut self.numwant, value, numwant),
            b"ip" => once("ip", &mut self.ip, value, ip),
            b"trackerid" => once("trackerid", &mut self.tracker_id, value, tracker_id),
            b"compact" => once("compact", &mut self.compact, value, |_, value| Ok(value)),
            b"no_peer_id" => once("no_peer_id", &mut self.no_peer_id, value, |_, value| Ok(value)),
            _ => Ok(()),
        }
    }
}

fn once<'q, T>(
    name: &'static str,
    place: &mut Option<T>,
    value: &'q [u8],
    parse: impl FnOnce(&'static str, &'q [u8]) -> Result<T, QueryError>,
) -> Result<(), QueryError> {
    match place.replace(parse(name, value)?) {
        None => Ok(()),
        Some(_) => Err(QueryError::Duplicate(name)),
    }
}

/// The bytes of an escaped value. A plus is a plus: peers escape bytes, not form fields.
fn unescape(value: &[u8]) -> impl Iterator<Item = Option<u8>> {
    let mut rest = value;
    core::iter::from_fn(move || {
        let (&first, behind) = rest.split_first()?;
        rest = behind;
        if first != b'%' {
            return Some(Some(first));
        }
        let Some(([high, low], behind)) = behind.split_first_chunk::<2>() else {
            rest = &[];
            return Some(None);
        };
        rest = behind;
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        Some(digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low))
    })
}

fn twenty_bytes(name: &'static str, value: &[u8]) -> Result<[u8; 20], QueryError> {
    let mut bytes = [0; 20];
    let mut places = bytes.iter_mut();
    for byte in unescape(value) {
        let byte = byte.ok_or(QueryError::Escape(name))?;
        *places.next().ok_or(QueryError::Length(name))? = byte;
    }
    match places.len() {
        0 => Ok(bytes),
        _ => Err(QueryError::Length(name)),
    }
}

/// A value without escapes, as numbers and addresses are written.
fn text<'q>(name: &'static str, value: &'q [u8]) -> Result<&'q str, QueryError> {
    core::str::from_utf8(value).map_err(|_| QueryError::Escape(name))
}

fn decimal(name: &'static str, value: &[u8]) -> Result<u64, QueryError> {
    let value = text(name, value)?;
    // `parse` would take a plus.
    let is_decimal = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|_| is_decimal).ok_or(QueryError::Number(name))
}

fn port(name: &'static str, value: &[u8]) -> Result<u16, QueryError> {
    let port = u16::try_from(decimal(name, value)?).ok().filter(|port| *port != 0);
    port.ok_or(QueryError::Number(name))
}

/// Unknown events count as none.
fn event(_: &'static str, value: &[u8]) -> Result<AnnounceEvent, QueryError> {
    Ok(match value {
        b"completed" => AnnounceEvent::Completed,
        b"started" => AnnounceEvent::Started,
        b"stopped" => AnnounceEvent::Stopped,
        b"paused" => AnnounceEvent::Paused,
        _ => AnnounceEvent::None,
    })
}

/// The key is eight hexadecimal digits for most clients, any text for some: those are folded
/// (FNV-1a), since nothing but equality counts.
fn key(name: &'static str, value: &[u8]) -> Result<u32, QueryError> {
    let hex = text(name, value)?;
    if (1..=8).contains(&hex.len())
        && let Ok(key) = u32::from_str_radix(hex, 16)
    {
        return Ok(key);
    }
    Ok(value
        .iter()
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)))
}

/// -1 leaves the number to the tracker, as in BEP 15.
fn numwant(name: &'static str, value: &[u8]) -> Result<Option<u32>, QueryError> {
    if value.is_empty() || value == b"-1" {
        return Ok(None);
    }
    let wanted = decimal(name, value)?;
    Ok(Some(u32::try_from(wanted).unwrap_or(u32::MAX)))
}

/// A DNS name, which BEP 3 allows, is passed over: nobody resolves names for a stranger.
fn ip(name: &'static str, value: &[u8]) -> Result<Option<IpAddr>, QueryError> {
    let bytes: Option<Vec<u8>> = unescape(value).collect();
    let bytes = bytes.ok_or(QueryError::Escape(name))?;
    Ok(core::str::from_utf8(&bytes).ok().and_then(|ip| ip.parse().ok()))
}

fn tracker_id(name: &'static str, value: &[u8]) -> Result<Vec<u8>, QueryError> {
    let id: Option<Vec<u8>> = unescape(value).collect();
    let id = id.filter(|id| id.len() <= limits::TRACKER_ID_BYTES_MAX);
    id.ok_or(QueryError::Escape(name))
}
