//! Announce and scrape over UDP (BEP 15), with the path and query of the URL as options (BEP 41).
//!
//! Requests are written by a client and read by a tracker, responses the other way round. No
//! length is expected to be exact: "Future extensions could increase the size of packets."

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use bytes::BufMut;
use ringseed_meta::{InfoHash, PeerId};

use crate::limits;
use crate::tracker::{AnnounceEvent, AnnounceRequest};

mod response;
#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "test values")]
mod tests;

pub use response::{
    Response, ResponseError, write_announce_response, write_connect_response, write_error,
    write_scrape_response,
};

/// What a connect request begins with (BEP 15 "magic constant").
pub const PROTOCOL_ID: u64 = 0x0417_2710_1980;

pub(crate) const CONNECT: u32 = 0;
pub(crate) const ANNOUNCE: u32 = 1;
pub(crate) const SCRAPE: u32 = 2;
pub(crate) const ERROR: u32 = 3;

/// The event of a partial seed. BEP 21 gives it a name for HTTP only; this is libtorrent's number.
const PAUSED: u32 = 4;

/// Bytes of an announce request before its options.
pub const ANNOUNCE_REQUEST_BYTES: usize = 98;

/// A request, as a tracker reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'p> {
    /// Asks for a connection id.
    Connect {
        /// To be sent back.
        transaction_id: u32,
    },
    /// Announces.
    Announce {
        /// What the tracker gave.
        connection_id: u64,
        /// To be sent back.
        transaction_id: u32,
        /// The announce.
        announce: AnnounceRequest,
        /// Path and query of the URL that the client used, when it says so.
        options: Options<'p>,
    },
    /// Scrapes.
    Scrape {
        /// What the tracker gave.
        connection_id: u64,
        /// To be sent back.
        transaction_id: u32,
        /// Which torrents.
        info_hashes: InfoHashes<'p>,
    },
}

/// Why a packet is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// It is not worth an answer: it may not be of this protocol at all.
    #[error("a packet of {bytes} bytes is no request")]
    NotARequest {
        /// Its length.
        bytes: usize,
    },
    /// The action is not known. The text is for the client.
    #[error("action {action} is not known")]
    UnknownAction {
        /// What stands at its place.
        action: u32,
        /// For the error response.
        transaction_id: u32,
        /// For the check that comes before any error response.
        connection_id: u64,
    },
    /// The packet ends too soon. The text is for the client.
    #[error("a request of {bytes} bytes is too short for action {action}")]
    TooShort {
        /// Its length.
        bytes: usize,
        /// What it wants.
        action: u32,
        /// For the error response.
        transaction_id: u32,
        /// For the check that comes before any error response.
        connection_id: u64,
    },
    /// Port 0 cannot be handed out. The text is for the client.
    #[error("port 0 is announced; a port of 1 to 65535 is needed")]
    PortZero {
        /// For the error response.
        transaction_id: u32,
        /// For the check that comes before any error response.
        connection_id: u64,
    },
}

impl<'p> Request<'p> {
    /// Reads a packet. Whether a connection id is good is the caller's to know.
    ///
    /// # Errors
    /// What is wrong; only what names a transaction id may be answered, and only once its
    /// connection id was found good: else a spoofed address would be sent our errors.
    pub fn parse(packet: &'p [u8]) -> Result<Request<'p>, RequestError> {
        let bytes = packet.len();
        let mut fields = Fields(packet);
        let header = (fields.u64(), fields.u32(), fields.u32());
        let (Some(connection_id), Some(action), Some(transaction_id)) = header else {
            return Err(RequestError::NotARequest { bytes });
        };
        let too_short = RequestError::TooShort { bytes, action, transaction_id, connection_id };
        match action {
            CONNECT if connection_id == PROTOCOL_ID => Ok(Request::Connect { transaction_id }),
            CONNECT => Err(RequestError::NotARequest { bytes }),
            ANNOUNCE => {
                let announce = announce(&mut fields).ok_or(too_short)?;
                if announce.port == 0 {
                    return Err(RequestError::PortZero { transaction_id, connection_id });
                }
                let options = Options(fields.0);
                Ok(Request::Announce { connection_id, transaction_id, announce, options })
            }
            SCRAPE if fields.0.len() < 20 => Err(too_short),
            SCRAPE => {
                let info_hashes = InfoHashes(fields.0);
                Ok(Request::Scrape { connection_id, transaction_id, info_hashes })
            }
            _ => Err(RequestError::UnknownAction { action, transaction_id, connection_id }),
        }
    }
}

fn announce(fields: &mut Fields<'_>) -> Option<AnnounceRequest> {
    let info_hash = InfoHash(fields.take()?);
    let peer_id = PeerId(fields.take()?);
    let (downloaded, left, uploaded) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let event = match fields.u32()? {
        1 => AnnounceEvent::Completed,
        2 => AnnounceEvent::Started,
        3 => AnnounceEvent::Stopped,
        PAUSED => AnnounceEvent::Paused,
        _ => AnnounceEvent::None,
    };
    let ip = Some(fields.u32()?).filter(|ip| *ip != 0).map(|ip| IpAddr::V4(Ipv4Addr::from(ip)));
    let key = Some(fields.u32()?);
    // "-1 // default"; other negative numbers mean no more than that.
    let numwant = Some(fields.u32()?).filter(|numwant| *numwant <= i32::MAX.unsigned_abs());
    let port = u16::from_be_bytes(fields.take()?);
    Some(AnnounceRequest {
        uploaded,
        downloaded,
        left,
        event,
        key,
        numwant,
        ip,
        ..AnnounceRequest::new(info_hash, peer_id, port)
    })
}

/// The options of an announce (BEP 41).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'p>(&'p [u8]);

impl<'p> Options<'p> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const URL_DATA: u8 = 2;

    /// The parts of path and query, to be put together in this order. Ends at the first option
    /// that is cut off.
    pub fn url_data(&self) -> impl Iterator<Item = &'p [u8]> + use<'p> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            loop {
                let (&option, behind) = rest.split_first()?;
                match option {
                    Options::END => return None,
                    Options::NOP => rest = behind,
                    _ => {
                        let (&length, behind) = behind.split_first()?;
                        let (data, behind) = behind.split_at_checked(usize::from(length))?;
                        rest = behind;
                        if option == Options::URL_DATA {
                            return Some(data);
                        }
                    }
                }
            }
        })
    }
}

/// The torrents of a scrape: at most [`limits::SCRAPE_MAX`], the rest is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InfoHashes<'p>(&'p [u8]);

impl<'p> InfoHashes<'p> {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = InfoHash> + use<'p> {
        self.0.as_chunks::<20>().0.iter().take(limits::SCRAPE_MAX).map(|bytes| InfoHash(*bytes))
    }
}

/// Appends a connect request.
pub fn write_connect_request(out: &mut impl BufMut, transaction_id: u32) {
    out.put_u64(PROTOCOL_ID);
    out.put_u32(CONNECT);
    out.put_u32(transaction_id);
}

/// Appends an announce request. `url_data` is path and query of the tracker's URL, cut at
/// [`limits::URL_DATA_BYTES_MAX`]; empty for none.
pub fn write_announce_request(
    out: &mut impl BufMut,
    connection_id: u64,
    transaction_id: u32,
    announce: &AnnounceRequest,
    url_data: &str,
) {
    out.put_u64(connection_id);
    out.put_u32(ANNOUNCE);
    out.put_u32(transaction_id);
    out.put_slice(&announce.info_hash.0);
    out.put_slice(&announce.peer_id.0);
    out.put_u64(announce.downloaded);
    out.put_u64(announce.left);
    out.put_u64(announce.uploaded);
    out.put_u32(match announce.event {
        AnnounceEvent::None => 0,
        AnnounceEvent::Completed => 1,
        AnnounceEvent::Started => 2,
        AnnounceEvent::Stopped => 3,
        AnnounceEvent::Paused => PAUSED,
    });
    out.put_u32(match announce.ip {
        Some(IpAddr::V4(ip)) => u32::from(ip),
        _ => 0,
    });
    out.put_u32(announce.key.unwrap_or(0));
    out.put_u32(announce.numwant.map_or(u32::MAX, |numwant| numwant.min(i32::MAX.unsigned_abs())));
    out.put_u16(announce.port);
    let url_data = url_data.as_bytes();
    for part in url_data.get(..limits::URL_DATA_BYTES_MAX).unwrap_or(url_data).chunks(255) {
        out.put_u8(Options::URL_DATA);
        out.put_u8(u8::try_from(part.len()).unwrap_or(u8::MAX));
        out.put_slice(part);
    }
}

/// Appends a scrape request of the first [`limits::SCRAPE_MAX`] torrents.
pub fn write_scrape_request(
    out: &mut impl BufMut,
    connection_id: u64,
    transaction_id: u32,
    info_hashes: &[InfoHash],
) {
    out.put_u64(connection_id);
    out.put_u32(SCRAPE);
    out.put_u32(transaction_id);
    info_hashes.iter().take(limits::SCRAPE_MAX).for_each(|hash| out.put_slice(&hash.0));
}

/// Takes fields from the front of a packet.
pub(crate) struct Fields<'p>(pub(crate) &'p [u8]);

impl Fields<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}

/// Puts together the URL data of an announce.
pub fn url_data(options: Options<'_>) -> Vec<u8> {
    options.url_data().flatten().copied().take(limits::URL_DATA_BYTES_MAX).collect()
}
