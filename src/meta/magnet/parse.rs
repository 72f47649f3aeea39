//! Takes a magnet link apart. Keys we do not know are passed over.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::Magnet;
use crate::limits::{MAGNET_BYTES_MAX, MAGNET_PEERS_MAX, TRACKERS_MAX, WEB_SEEDS_MAX};
use crate::{InfoHash, InfoHashV2};

/// Why a link is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MagnetError {
    /// It does not begin with `magnet:?`.
    #[error("this is no magnet link; it must begin with 'magnet:?'")]
    NoMagnet,
    /// It is longer than the limit.
    #[error("a magnet link of {0} bytes; at most {MAGNET_BYTES_MAX} are read")]
    TooLong(usize),
    /// No `xt` names a torrent.
    #[error("the magnet link has no infohash; 'xt=urn:btih:' or 'xt=urn:btmh:' is needed")]
    NoInfoHash,
    /// An infohash cannot be read.
    #[error(
        "infohash '{0}' in the magnet link; 40 hex digits or 32 of base32 (btih), or 1220 and 64 \
         hex digits (btmh) are needed"
    )]
    BadInfoHash(Box<str>),
    /// Two different infohashes of one kind.
    #[error("the magnet link names two torrents; use a link for each")]
    TwoInfoHashes,
    /// A value cannot be read.
    #[error("'{key}={value}' in the magnet link cannot be read")]
    BadValue {
        /// The key.
        key: &'static str,
        /// As it was written.
        value: Box<str>,
    },
}

pub(super) fn parse(link: &str) -> Result<Magnet, MagnetError> {
    if link.len() > MAGNET_BYTES_MAX {
        return Err(MagnetError::TooLong(link.len()));
    }
    let (scheme, query) = link.split_once('?').ok_or(MagnetError::NoMagnet)?;
    if !scheme.eq_ignore_ascii_case("magnet:") {
        return Err(MagnetError::NoMagnet);
    }
    let mut magnet = Magnet::default();
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        take(&mut magnet, key, value)?;
    }
    if magnet.info_hash_v1.is_none() && magnet.info_hash_v2.is_none() {
        return Err(MagnetError::NoInfoHash);
    }
    Ok(magnet)
}

fn take(magnet: &mut Magnet, key: &str, value: &str) -> Result<(), MagnetError> {
    // "tr.1", "xt.2": numbered keys of older links.
    let plain = match key.rsplit_once('.') {
        Some((plain, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => plain,
        _ => key,
    };
    let bad = |key| MagnetError::BadValue { key, value: value.into() };
    match plain {
        "xt" => take_topic(magnet, value)?,
        "dn" => magnet.name = Some(unescape(value).ok_or(bad("dn"))?),
        "xl" => magnet.content_bytes = Some(value.parse().map_err(|_| bad("xl"))?),
        "tr" => keep(&mut magnet.trackers, unescape(value).ok_or(bad("tr"))?, TRACKERS_MAX),
        "ws" => keep(&mut magnet.web_seeds, unescape(value).ok_or(bad("ws"))?, WEB_SEEDS_MAX),
        "x.pe" => keep(&mut magnet.peers, unescape(value).ok_or(bad("x.pe"))?, MAGNET_PEERS_MAX),
        "so" => {
            for range in value.split(',') {
                magnet.files.push(file_range(range).ok_or(bad("so"))?);
            }
        }
        _ => {}
    }
    Ok(())
}

fn keep(list: &mut Vec<Box<str>>, value: Box<str>, limit: usize) {
    if list.len() < limit {
        list.push(value);
    }
}

/// BEP 53: "so=0,2,4,6-8".
fn file_range(range: &str) -> Option<(u32, u32)> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

fn take_topic(magnet: &mut Magnet, value: &str) -> Result<(), MagnetError> {
    let topic = unescape(value).ok_or_else(|| MagnetError::BadInfoHash(value.into()))?;
    let bad = || MagnetError::BadInfoHash(topic.clone());
    if let Some(hash) = strip_prefix_ignoring_case(&topic, "urn:btih:") {
        let bytes = from_hex(hash).or_else(|| from_base32(hash)).ok_or_else(bad)?;
        put(&mut magnet.info_hash_v1, InfoHash(bytes))
    } else if let Some(hash) = strip_prefix_ignoring_case(&topic, "urn:btmh:") {
        let digits = hash.strip_prefix("1220").ok_or_else(bad)?;
        put(&mut magnet.info_hash_v2, InfoHashV2(from_hex(digits).ok_or_else(bad)?))
    } else {
        // Some other network's name for the same content.
        Ok(())
    }
}

fn put<T: PartialEq>(place: &mut Option<T>, hash: T) -> Result<(), MagnetError> {
    match place {
        Some(known) if *known != hash => Err(MagnetError::TwoInfoHashes),
        _ => {
            *place = Some(hash);
            Ok(())
        }
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn from_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = hex_byte(*pair)?;
    }
    Some(bytes)
}

fn hex_byte([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// RFC 4648 base32, 32 digits for 20 bytes.
fn from_base32(digits: &str) -> Option<[u8; 20]> {
    let (groups, rest) = digits.as_bytes().as_chunks::<8>();
    if groups.len() != 4 || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; 20];
    for (out, group) in bytes.chunks_mut(5).zip(groups) {
        let mut word = 0u64;
        for digit in group {
            let value = match digit.to_ascii_uppercase() {
                letter @ b'A'..=b'Z' => letter.wrapping_sub(b'A'),
                number @ b'2'..=b'7' => number.wrapping_sub(b'2').wrapping_add(26),
                _ => return None,
            };
            word = word << 5 | u64::from(value);
        }
        out.iter_mut()
            .zip(word.to_be_bytes().into_iter().skip(3))
            .for_each(|(to, from)| *to = from);
    }
    Some(bytes)
}

/// Undoes percent-encoding, and `+` for a space. `None` for broken escapes and what is no UTF-8.
fn unescape(value: &str) -> Option<Box<str>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_byte([rest.next()?, rest.next()?])?,
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(String::into_boxed_str)
}
