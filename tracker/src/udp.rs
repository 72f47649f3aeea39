//! The UDP side (BEP 15): a datagram in, at most one out. Nothing is kept between them.
//!
//! What came together is answered together, in three passes: all are read and their connection ids
//! checked, then their torrents are looked up, then they are answered. A table of a million peers misses
//! the caches, and the second pass has those of all fetched at once.

use std::net::{IpAddr, SocketAddr};

use ringseed_meta::{InfoHash, Instant};
use ringseed_ring::{Completion, Datagrams, Kernel, Op, Outcome, RecvBuffer, Socket};
use ringseed_wire::tracker_udp::{
    Request, RequestError, write_announce_response, write_connect_response, write_error,
    write_scrape_response,
};

use crate::desk::Desk;
use crate::http::Hall;
use crate::limits;
use crate::outbox::Outbox;
use crate::source::Source;
use crate::swarm::Hint;
use crate::token::Tag;

/// All UDP sockets of a loop.
pub(crate) struct Udp {
    sockets: Vec<Source>,
    /// What came in this turn and has no answer yet: at most [`limits::DATAGRAMS_TOGETHER`].
    arrived: Vec<Arrived>,
    /// Answers, by socket.
    #[expect(clippy::vec_box, reason = "they come and go boxed")]
    answers: Vec<Box<Datagrams>>,
    /// Their memory while it is not used.
    #[expect(clippy::vec_box, reason = "they come and go boxed")]
    spare: Vec<Box<Datagrams>>,
    /// When receives that ended are begun again.
    next_sweep: Option<Instant>,
}

struct Arrived {
    /// Of the socket.
    place: u32,
    from: SocketAddr,
    datagram: RecvBuffer,
}

/// A datagram that is to be answered.
struct Asked<'d> {
    place: u32,
    from: SocketAddr,
    request: Result<Request<'d>, RequestError>,
    hint: Hint,
}

impl Udp {
    /// Begins to receive on sockets that are bound already.
    pub(crate) fn new<K: Kernel>(kernel: &mut K, outbox: &mut Outbox, sockets: &[Socket]) -> Udp {
        for (place, socket) in sockets.iter().enumerate() {
            let op = Op::ReceiveDatagram { socket: *socket };
            outbox.push(kernel, op, Tag::UdpReceive(place as u32));
        }
        let answers = sockets.iter().map(|_| Box::default()).collect();
        let sockets = sockets.iter().map(|socket| Source::running(*socket)).collect();
        Udp { sockets, arrived: Vec::new(), answers, spare: Vec::new(), next_sweep: None }
    }

    pub(crate) fn on_completion<K: Kernel>(
        &mut self,
        hall: &mut Hall<'_, K>,
        tag: Tag,
        completion: Completion,
    ) {
        let (Tag::UdpReceive(place) | Tag::UdpSend(place) | Tag::UdpClose(place)) = tag else {
            return;
        };
        let Some(source) = self.sockets.get_mut(place as usize) else { return };
        match (tag, completion.outcome) {
            (Tag::UdpClose(_), _) => return source.closed(),
            (Tag::UdpSend(_), Outcome::DatagramsSent { datagrams, lost }) => {
                hall.desk.counters.lost_datagrams += u64::from(lost);
                if self.spare.len() < self.sockets.len() {
                    self.spare.push(datagrams);
                }
                return;
            }
            (Tag::UdpSend(_), _) => return,
            (_, Outcome::Datagram { buffer, from }) if source.is_open() => {
                self.arrived.push(Arrived { place, from, datagram: buffer });
            }
            _ => {}
        }
        if !completion.more && source.ended() {
            self.next_sweep.get_or_insert(hall.now.after(limits::SWEEP));
        }
        if self.arrived.len() >= limits::DATAGRAMS_TOGETHER {
            self.answer_all(hall);
        }
    }

    /// Answers what has arrived.
    pub(crate) fn answer_all<K: Kernel>(&mut self, hall: &mut Hall<'_, K>) {
        if self.arrived.is_empty() {
            return;
        }
        let (desk, now) = (&mut *hall.desk, hall.now);
        desk.ids.renew(now, desk.fresh_key);
        answer_together(desk, now, &self.arrived, &mut self.answers);
        self.arrived.clear();
        for (place, (source, answers)) in self.sockets.iter().zip(&mut self.answers).enumerate() {
            if answers.is_empty() {
                continue;
            }
            let datagrams = std::mem::replace(answers, self.spare.pop().unwrap_or_default());
            if source.is_open() {
                let op = Op::SendDatagrams { socket: source.socket, datagrams };
                // A datagram may be lost anywhere; when the kernel is at its limit, here.
                if let Err(Op::SendDatagrams { datagrams, .. }) =
                    hall.kernel.push(op, Tag::UdpSend(place as u32).token())
                {
                    hall.desk.counters.lost_datagrams += datagrams.len() as u64;
                }
            }
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

/// Appends the answers to all of them to those of their sockets.
fn answer_together(
    desk: &mut Desk,
    now: Instant,
    arrived: &[Arrived],
    answers: &mut [Box<Datagrams>],
) {
    let mut asked = [const { None }; limits::DATAGRAMS_TOGETHER];
    for (place, arrived) in asked.iter_mut().zip(arrived) {
        *place = read(desk, now, arrived);
    }
    for asked in asked.iter_mut().flatten() {
        if let Some(info_hash) = asked.info_hash() {
            asked.hint = desk.swarms.look_up(asked.from.ip(), &info_hash);
            desk.swarms.prefetch(asked.from.ip(), asked.hint);
        }
    }
    for asked in asked.iter().flatten() {
        desk.swarms.prefetch_peers(asked.from.ip(), asked.hint);
    }
    for asked in asked.iter_mut().flatten() {
        if let Some(answers) = answers.get_mut(asked.place as usize) {
            answers.push(asked.from, |out| answer(desk, now, asked, out));
        }
    }
}

/// Reads a datagram; `None` when it is not to be answered. Whoever has not proven that it receives at
/// its address gets a connection id and nothing else.
fn read<'d>(desk: &mut Desk, now: Instant, arrived: &'d Arrived) -> Option<Asked<'d>> {
    let Arrived { place, from, datagram } = arrived;
    let request = Request::parse(datagram);
    let proof = match &request {
        Ok(Request::Connect { .. }) => None,
        Ok(Request::Announce { connection_id, .. } | Request::Scrape { connection_id, .. }) => {
            Some(Some(*connection_id))
        }
        Err(error) => Some(of(*error).map(|(_, connection_id)| connection_id)),
    };
    let proves = |id: u64| desk.ids.accepts(now, from.ip(), id);
    if from.port() == 0 || proof.is_some_and(|id| !id.is_some_and(proves)) {
        desk.counters.dropped_datagrams += 1;
        return None;
    }
    Some(Asked { place: *place, from: *from, request, hint: Hint::default() })
}

impl Asked<'_> {
    /// The torrent that it is about.
    fn info_hash(&self) -> Option<InfoHash> {
        match &self.request {
            Ok(Request::Announce { announce, .. }) => Some(announce.info_hash),
            // Of many torrents the first.
            Ok(Request::Scrape { info_hashes, .. }) => info_hashes.iter().next(),
            _ => None,
        }
    }
}

/// Appends the answer to a request whose connection id is good. `false`: there is none.
fn answer(desk: &mut Desk, now: Instant, asked: &mut Asked<'_>, out: &mut Vec<u8>) -> bool {
    let ip = asked.from.ip();
    match &mut asked.request {
        Ok(Request::Connect { transaction_id }) => {
            write_connect_response(out, *transaction_id, desk.ids.issue(now, ip));
        }
        Ok(Request::Announce { transaction_id, announce, options, .. }) => {
            let wanted = announce.numwant.unwrap_or(limits::HANDED_OUT_DEFAULT as u32);
            announce.numwant = Some(wanted.min(peers_max(ip)));
            let interval_s = desk.interval_s();
            let user = match desk.user_of_url(*options) {
                Ok(user) => user,
                Err(refused) => {
                    write_error(out, *transaction_id, &refused.to_string());
                    return true;
                }
            };
            match desk.announce_packed(now, ip, user, announce, asked.hint) {
                Ok((stats, peers)) => {
                    write_announce_response(out, *transaction_id, interval_s, stats, peers);
                }
                Err(refused) => write_error(out, *transaction_id, &refused.to_string()),
            }
        }
        Ok(Request::Scrape { transaction_id, info_hashes, .. }) => {
            if let Err(refused) = desk.may_scrape_udp() {
                write_error(out, *transaction_id, &refused.to_string());
                return true;
            }
            let stats = info_hashes.iter().map(|info_hash| desk.scrape(ip, &info_hash));
            write_scrape_response(out, *transaction_id, stats);
        }
        Err(error) => {
            let Some((transaction_id, _)) = of(*error) else { return false };
            desk.counters.refused_requests += 1;
            write_error(out, transaction_id, &error.to_string());
        }
    }
    true
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
fn peers_max(to: IpAddr) -> u32 {
    use ringseed_wire::tracker::compact::{V4_BYTES, V6_BYTES};
    const HEAD_BYTES: usize = 20;
    let peer_bytes = if to.to_canonical().is_ipv4() { V4_BYTES } else { V6_BYTES };
    ((limits::DATAGRAM_BYTES_MAX - HEAD_BYTES) / peer_bytes) as u32
}
