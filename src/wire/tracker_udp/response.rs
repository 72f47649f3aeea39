//! Responses of a UDP tracker.

use core::net::SocketAddr;

use bytes::BufMut;

use super::{ANNOUNCE, CONNECT, ERROR, Fields, SCRAPE};
use crate::limits;
use crate::tracker::{ScrapeStats, compact};

/// A response, as a client reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Response<'p> {
    /// A connection id, good for a minute.
    Connect {
        /// Of the request.
        transaction_id: u32,
        /// For the requests that follow.
        connection_id: u64,
    },
    /// An answer to an announce.
    Announce {
        /// Of the request.
        transaction_id: u32,
        /// Seconds until the next announce.
        interval_s: u32,
        /// Peers that lack something.
        leechers: u32,
        /// Peers that have all.
        seeders: u32,
        /// Packed peers: see [`Response::peers_v4`] and [`Response::peers_v6`].
        peers: &'p [u8],
    },
    /// An answer to a scrape.
    Scrape {
        /// Of the request.
        transaction_id: u32,
        /// Twelve bytes a torrent, in the order of the request: see [`Response::stats`].
        stats: &'p [u8],
    },
    /// The tracker refuses.
    Error {
        /// Of the request.
        transaction_id: u32,
        /// Text for the user, at most [`limits::TRACKER_TEXT_BYTES_MAX`] bytes.
        message: &'p [u8],
    },
}

/// Why a packet is no response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResponseError {
    /// It ends too soon for its action.
    #[error("a response of {bytes} bytes is too short")]
    TooShort {
        /// Its length.
        bytes: usize,
    },
    /// No action of BEP 15.
    #[error("a response has action {action}, which is not known")]
    UnknownAction {
        /// What stands at its place.
        action: u32,
    },
}

impl<'p> Response<'p> {
    /// Reads a packet. The caller compares the transaction id with the one it chose.
    ///
    /// # Errors
    /// The packet is none; it is to be passed over, as anyone may have sent it.
    pub fn parse(packet: &'p [u8]) -> Result<Response<'p>, ResponseError> {
        let too_short = ResponseError::TooShort { bytes: packet.len() };
        let mut fields = Fields(packet);
        let action = fields.u32().ok_or(too_short)?;
        let transaction_id = fields.u32().ok_or(too_short)?;
        match action {
            CONNECT => {
                let connection_id = fields.u64().ok_or(too_short)?;
                Ok(Response::Connect { transaction_id, connection_id })
            }
            ANNOUNCE => {
                let interval_s = fields.u32().ok_or(too_short)?;
                let leechers = fields.u32().ok_or(too_short)?;
                let seeders = fields.u32().ok_or(too_short)?;
                let peers = fields.0;
                Ok(Response::Announce { transaction_id, interval_s, leechers, seeders, peers })
            }
            SCRAPE => Ok(Response::Scrape { transaction_id, stats: fields.0 }),
            ERROR => {
                let message = fields.0;
                let message = message.get(..limits::TRACKER_TEXT_BYTES_MAX).unwrap_or(message);
                Ok(Response::Error { transaction_id, message })
            }
            _ => Err(ResponseError::UnknownAction { action }),
        }
    }

    /// Which request this answers.
    pub fn transaction_id(&self) -> u32 {
        match *self {
            Response::Connect { transaction_id, .. }
            | Response::Announce { transaction_id, .. }
            | Response::Scrape { transaction_id, .. }
            | Response::Error { transaction_id, .. } => transaction_id,
        }
    }

    /// The peers of an announce response that came from an IPv4 address.
    pub fn peers_v4(&self) -> impl Iterator<Item = SocketAddr> {
        compact::v4(self.packed_peers()).take(limits::ANSWER_PEERS_MAX)
    }

    /// The peers of an announce response that came from an IPv6 address.
    pub fn peers_v6(&self) -> impl Iterator<Item = SocketAddr> {
        compact::v6(self.packed_peers()).take(limits::ANSWER_PEERS_MAX)
    }

    fn packed_peers(&self) -> &'p [u8] {
        match *self {
            Response::Announce { peers, .. } => peers,
            _ => &[],
        }
    }

    /// The counts of a scrape response, in the order of the torrents asked for.
    pub fn stats(&self) -> impl Iterator<Item = ScrapeStats> {
        let stats = match *self {
            Response::Scrape { stats, .. } => stats,
            _ => &[],
        };
        stats.as_chunks::<12>().0.iter().take(limits::SCRAPE_MAX).map(|counts| {
            let mut fields = Fields(counts);
            let mut next = || fields.u32().unwrap_or(0);
            let (seeders, completed, leechers) = (next(), next(), next());
            ScrapeStats { seeders, completed, leechers, partial_seeds: 0 }
        })
    }
}

/// Appends a connect response.
pub fn write_connect_response(out: &mut impl BufMut, transaction_id: u32, connection_id: u64) {
    out.put_u32(CONNECT);
    out.put_u32(transaction_id);
    out.put_u64(connection_id);
}

/// Appends an announce response; `peers` are packed in the form of the client's address family.
pub fn write_announce_response(
    out: &mut impl BufMut,
    transaction_id: u32,
    interval_s: u32,
    stats: ScrapeStats,
    peers: &[u8],
) {
    out.put_u32(ANNOUNCE);
    out.put_u32(transaction_id);
    out.put_u32(interval_s);
    out.put_u32(stats.leechers);
    out.put_u32(stats.seeders);
    out.put_slice(peers);
}

/// Appends a scrape response, in the order of the torrents asked for.
pub fn write_scrape_response(
    out: &mut impl BufMut,
    transaction_id: u32,
    stats: impl IntoIterator<Item = ScrapeStats>,
) {
    out.put_u32(SCRAPE);
    out.put_u32(transaction_id);
    for stats in stats {
        out.put_u32(stats.seeders);
        out.put_u32(stats.completed);
        out.put_u32(stats.leechers);
    }
}

/// Appends an error response.
pub fn write_error(out: &mut impl BufMut, transaction_id: u32, message: &str) {
    out.put_u32(ERROR);
    out.put_u32(transaction_id);
    out.put_slice(message.as_bytes());
}
