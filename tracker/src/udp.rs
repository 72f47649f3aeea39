//! The UDP side (BEP 15): a datagram in, at most one out. Nothing is kept between them.

use std::net::SocketAddr;

use ringseed_meta::Instant;
use ringseed_ring::{Completion, Kernel, Op, Outcome, Socket};
use ringseed_wire::tracker::ScrapeStats;
use ringseed_wire::tracker_udp::{
    Request, RequestError, write_announce_response, write_connect_response, write_error,
    write_scrape_response,
};

use crate::desk::Desk;
use crate::http::Hall;
use crate::limits;
use crate::outbox::Outbox;
use crate::source::Source;
use crate::token::Tag;

/// All UDP sockets of a loop.
pub(crate) struct Udp {
    sockets: Vec<Source>,
    /// When receives that ended are begun again.
    next_sweep: Option<Instant>,
}

impl Udp {
    /// Begins to receive on sockets that are bound already.
    pub(crate) fn new<K: Kernel>(kernel: &mut K, outbox: &mut Outbox, sockets: &[Socket]) -> Udp {
        for (place, socket) in sockets.iter().enumerate() {
            let op = Op::ReceiveDatagram { socket: *socket };
            outbox.push(kernel, op, Tag::UdpReceive(place as u32));
        }
        let sockets = sockets.iter().map(|socket| Source::running(*socket)).collect();
        Udp { sockets, next_sweep: None }
    }

    pub(crate) fn on_completion<K: Kernel>(
        &mut self,
        hall: &mut Hall<'_, K>,
        tag: Tag,
        completion: Completion,
    ) {
        let (Tag::UdpReceive(place) | Tag::UdpClose(place)) = tag else { return };
        let Some(source) = self.sockets.get_mut(place as usize) else { return };
        if let Tag::UdpClose(_) = tag {
            return source.closed();
        }
        if !completion.more && source.ended() {
            self.next_sweep.get_or_insert(hall.now.after(limits::SWEEP));
        }
        let Outcome::Datagram { buffer, from } = completion.outcome else { return };
        if source.is_open()
            && let Some(bytes) = answer(hall.desk, hall.now, from, &buffer)
        {
            let op = Op::SendDatagram { socket: source.socket, to: from, bytes: bytes.into() };
            // A datagram may be lost anywhere; when the kernel is at its limit, here.
            let _ = hall.kernel.push(op, Tag::Ignored.token());
        }
    }

    /// When [`Udp::sweep`] next has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Receives again where that had ended.
    pub(crate) fn sweep<K: Kernel>(&mut self, hall: &mut Hall<'_, K>) {
        if self.next_sweep.is_none_or(|deadline| hall.now < deadline) {
            return;
        }
        self.next_sweep = None;
        for (place, source) in self.sockets.iter_mut().enumerate() {
            if source.begin_again() {
                let op = Op::ReceiveDatagram { socket: source.socket };
                hall.outbox.push(hall.kernel, op, Tag::UdpReceive(place as u32));
            }
        }
    }

    /// Closes all sockets.
    pub(crate) fn close<K: Kernel>(&mut self, hall: &mut Hall<'_, K>) {
        for (place, source) in self.sockets.iter_mut().enumerate() {
            if source.close() {
                let op = Op::Close { socket: source.socket, reset: false };
                hall.outbox.push(hall.kernel, op, Tag::UdpClose(place as u32));
            }
        }
    }

    /// All sockets are closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.sockets.iter().all(Source::is_closed)
    }
}

/// The answer to a datagram; `None` when there is to be none. Whoever has not proven that it
/// receives at `from` gets a connection id and nothing else.
fn answer(desk: &mut Desk, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
    if from.port() == 0 {
        return None;
    }
    let ip = from.ip();
    let mut out = Vec::new();
    match Request::parse(datagram) {
        Ok(Request::Connect { transaction_id }) => {
            write_connect_response(&mut out, transaction_id, desk.ids.issue(now, ip));
        }
        Ok(Request::Announce { connection_id, transaction_id, announce, .. }) => {
            prove(desk, now, from, connection_id)?;
            let stats = match desk.announce(now, ip, &announce) {
                Ok(stats) => stats,
                Err(refused) => {
                    write_error(&mut out, transaction_id, &refused.to_string());
                    return Some(out);
                }
            };
            desk.handed_out.truncate(peers_max(from));
            let interval_s = desk.rules.interval_s();
            let peers = desk.pack_peers();
            write_announce_response(&mut out, transaction_id, interval_s, stats, peers);
        }
        Ok(Request::Scrape { connection_id, transaction_id, info_hashes }) => {
            prove(desk, now, from, connection_id)?;
            let stats: Vec<ScrapeStats> =
                info_hashes.iter().map(|info_hash| desk.scrape(ip, &info_hash)).collect();
            write_scrape_response(&mut out, transaction_id, stats);
        }
        Err(error) => {
            let (transaction_id, connection_id) = of(error)?;
            prove(desk, now, from, connection_id)?;
            desk.counters.refused_requests += 1;
            write_error(&mut out, transaction_id, &error.to_string());
        }
    }
    Some(out)
}

fn prove(desk: &mut Desk, now: Instant, from: SocketAddr, connection_id: u64) -> Option<()> {
    if desk.ids.accepts(now, from.ip(), connection_id) {
        return Some(());
    }
    desk.counters.dropped_datagrams += 1;
    None
}

/// Transaction and connection id of a request that is wrong otherwise.
fn of(error: RequestError) -> Option<(u32, u64)> {
    match error {
        RequestError::NotARequest { .. } => None,
        RequestError::UnknownAction { transaction_id, connection_id, .. }
        | RequestError::TooShort { transaction_id, connection_id, .. }
        | RequestError::PortZero { transaction_id, connection_id } => {
            Some((transaction_id, connection_id))
        }
    }
}

/// Peers that an answer has room for without being cut into fragments.
fn peers_max(to: SocketAddr) -> usize {
    use ringseed_wire::tracker::compact::{V4_BYTES, V6_BYTES};
    const HEAD_BYTES: usize = 20;
    let peer_bytes = if to.ip().to_canonical().is_ipv4() { V4_BYTES } else { V6_BYTES };
    (limits::DATAGRAM_BYTES_MAX - HEAD_BYTES) / peer_bytes
}
