//! The UDP sources on the ring: a connected socket each, sends at once, receives by multishot.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use ringseed_meta::Instant;
use ringseed_ring::{Completion, Failure, Kernel, Op, Outcome, Socket, Token, UringKernel};
use ringseed_wire::tracker::compact::{V4_BYTES, V6_BYTES};
use ringseed_wire::tracker_udp::ANNOUNCE_REQUEST_BYTES;
use socket2::{Domain, Type};

use super::source_address;
use crate::announce::crowd::{Crowd, Topic};
use crate::announce::limits::{UDP_BATCH_MAX, UDP_SOCKET_BYTES, UDP_SOURCES};
use crate::announce::tally::Tally;
use crate::announce::udp::Udp;
use crate::announce::{Announcers, Part};

pub(super) struct UdpSide {
    udp: Udp,
    crowd: Crowd,
    sockets: Vec<Socket>,
    /// The source of the next requests.
    next: usize,
    /// What it has to send: announces, and perhaps a scrape behind them.
    batch: Vec<u8>,
    /// Datagrams that one send carries.
    batch_max: usize,
    connect: Vec<u8>,
}

impl UdpSide {
    pub(super) fn new(
        kernel: &mut UringKernel,
        whom: &Announcers,
        part: &Part,
        tracker: SocketAddr,
    ) -> anyhow::Result<UdpSide> {
        let first = whom.addresses_before + part.place * part.sources();
        let open = |number| {
            let from = source_address(whom.from, first + number, tracker);
            let socket = open_socket(from, tracker)
                .with_context(|| format!("a UDP socket from {} to {tracker}", from.ip()))?;
            kernel.adopt(socket.into()).context("the ring does not take a socket")
        };
        let sockets = (0..UDP_SOURCES).map(open).collect::<anyhow::Result<Vec<Socket>>>()?;
        let mut batch_max = UDP_BATCH_MAX;
        for (index, socket) in sockets.iter().enumerate() {
            receive(kernel, *socket, index)?;
            if kernel.cut_into_datagrams(*socket, ANNOUNCE_REQUEST_BYTES as u16).is_err() {
                batch_max = 1;
            }
        }
        let a_peer = if tracker.ip().to_canonical().is_ipv4() { V4_BYTES } else { V6_BYTES };
        Ok(UdpSide {
            udp: Udp::new(UDP_SOURCES, first, a_peer, u64::from(part.place)),
            crowd: part.crowd(first),
            sockets,
            next: 0,
            batch: Vec::new(),
            batch_max,
            connect: Vec::new(),
        })
    }

    /// Begins a request; it leaves with those that follow, at the latest by
    /// [`flush`](UdpSide::flush).
    pub(super) fn ask(
        &mut self,
        kernel: &mut UringKernel,
        due: Instant,
        now: Instant,
        tally: &mut Tally,
    ) {
        let ask = self.crowd.next(self.next as u32);
        if !self.udp.ask(self.next, ask, due, now, tally, &mut self.batch) {
            return self.next_source(kernel, tally);
        }
        // Only the last datagram of a send may be a shorter one.
        let is_full = self.batch.len() >= self.batch_max * ANNOUNCE_REQUEST_BYTES;
        if is_full || ask.topic == Topic::Scrape {
            self.flush(kernel, tally);
        }
    }

    /// Sends what was begun; the next source follows.
    pub(super) fn flush(&mut self, kernel: &mut UringKernel, tally: &mut Tally) {
        if !self.batch.is_empty() {
            self.next_source(kernel, tally);
        }
    }

    fn next_source(&mut self, kernel: &mut UringKernel, tally: &mut Tally) {
        if !self.batch.is_empty() {
            self.send(kernel, self.next, &self.batch, tally);
            self.batch.clear();
        }
        self.next = (self.next + 1) % self.sockets.len().max(1);
    }

    fn send(&self, kernel: &mut UringKernel, source: usize, bytes: &[u8], tally: &mut Tally) {
        let Some(socket) = self.sockets.get(source) else { return };
        match kernel.send_now(*socket, bytes) {
            // A full socket loses datagrams, as networks do: its request runs out.
            Ok(_) | Err(Failure::Os(EAGAIN)) => {}
            // An earlier datagram was refused (ICMP): nobody listens there. This one was not sent.
            Err(why) => tally.wrong(format!("cannot send: {why}")),
        }
    }

    pub(super) fn on_completion(
        &mut self,
        kernel: &mut UringKernel,
        completion: Completion,
        now: Instant,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let index = completion.token.0 as usize;
        match completion.outcome {
            Outcome::Datagram { buffer, .. } => self.udp.received(index, &buffer, now, tally),
            Outcome::Failed(why) => tally.wrong(format!("cannot receive: {why}")),
            _ => {}
        }
        if !completion.more
            && let Some(socket) = self.sockets.get(index)
        {
            receive(kernel, *socket, index)?;
        }
        Ok(())
    }

    pub(super) fn on_time(&mut self, kernel: &mut UringKernel, now: Instant, tally: &mut Tally) {
        while let Some(source) = self.udp.connect(now, &mut self.connect) {
            self.send(kernel, source, &self.connect, tally);
        }
        self.udp.expire(now, tally);
    }

    pub(super) fn ready(&self) -> usize {
        self.udp.ready()
    }

    /// Requests without an answer.
    pub(super) fn waiting(&self) -> usize {
        self.udp.open()
    }

    pub(super) fn to_fill(&self) -> u64 {
        self.crowd.to_fill()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.udp.open() == 0
    }

    pub(super) fn give_up(&mut self, now: Instant, tally: &mut Tally) {
        self.udp.give_up(now, tally);
    }

    pub(super) fn sources(&self) -> usize {
        self.sockets.len()
    }
}

/// EAGAIN: the socket takes nothing now.
const EAGAIN: i32 = 11;

fn receive(kernel: &mut UringKernel, socket: Socket, index: usize) -> anyhow::Result<()> {
    match kernel.push(Op::ReceiveDatagram { socket }, Token(index as u64)) {
        Ok(_) => Ok(()),
        Err(_) => bail!("the ring's op table is full"),
    }
}

/// Bound and connected: the kernel then looks up no route for each datagram, drops what others
/// send, and tells when nobody listens.
fn open_socket(from: SocketAddr, to: SocketAddr) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(to), Type::DGRAM.cloexec(), None)?;
    // What the system does not grant is only a shorter queue.
    let _ = socket.set_recv_buffer_size(UDP_SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(UDP_SOCKET_BYTES);
    socket.bind(&from.into())?;
    socket.connect(&to.into())?;
    Ok(socket)
}
