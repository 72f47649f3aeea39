//! The HTTP connections on the ring.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, bail};
use ringseed_meta::Instant;
use ringseed_ring::{Completion, Failure, Kernel, Op, OpId, Outcome, Socket, Token, UringKernel};
use ringseed_wire::tracker_http::scrape_target;
use socket2::SockRef;

use super::source_address;
use crate::announce::http::{Http, Url, Wish};
use crate::announce::limits::HTTP_CONNECTIONS;
use crate::announce::tally::Tally;
use crate::announce::{Announcers, Part};

pub(super) struct HttpSide {
    http: Http,
    to: SocketAddr,
    froms: Vec<Option<SocketAddr>>,
    links: Vec<Link>,
}

/// What a connection is on the ring.
#[derive(Clone, Copy, Default)]
struct Link {
    socket: Option<Socket>,
    connecting: Option<OpId>,
    waits_to_send: bool,
    /// Counts sockets, so that what is said of an earlier one is known.
    generation: u32,
}

/// Which of a connection's ops a completion ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Connect,
    Receive,
    Writable,
    Close,
}

/// EAGAIN: the socket takes nothing now.
const EAGAIN: i32 = 11;

impl HttpSide {
    pub(super) fn new(
        whom: &Announcers,
        part: &Part,
        url: &str,
        now: Instant,
    ) -> anyhow::Result<HttpSide> {
        let url = Url::parse(url).map_err(anyhow::Error::msg)?;
        if part.all.scrapes > 0.0 && scrape_target(&url.base, &[]).is_none() {
            bail!("tracker path '{}' has no scrape (BEP 48): scrapes must be 0", url.base);
        }
        let host = url.host_and_port();
        let to = host.to_socket_addrs().with_context(|| format!("cannot find {host}"))?.next();
        let to = to.with_context(|| format!("{host} has no address"))?;
        let first = whom.addresses_before + part.place * part.sources();
        let from = |number| whom.from.map(|_| source_address(whom.from, first + number, to));
        let mut http = Http::new(url, part.crowd(first), HTTP_CONNECTIONS, first);
        while http.open_one(now) {}
        Ok(HttpSide {
            http,
            to,
            froms: (0..HTTP_CONNECTIONS).map(from).collect(),
            links: vec![Link::default(); HTTP_CONNECTIONS as usize],
        })
    }

    pub(super) fn ask(&mut self, due: Instant, now: Instant, tally: &mut Tally) {
        self.http.ask(due, now, tally);
    }

    /// Does what the connections wish, until they wish no more.
    pub(super) fn carry_out(
        &mut self,
        kernel: &mut UringKernel,
        now: Instant,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        self.http.go_on(now);
        loop {
            let mut any = false;
            for wish in self.http.take_wishes() {
                any = true;
                match wish {
                    Wish::Connect(index) => self.connect(kernel, index)?,
                    Wish::Send(index) => self.send(kernel, index, now, tally)?,
                    Wish::Close(index) => self.close(kernel, index)?,
                }
            }
            if !any {
                return Ok(());
            }
        }
    }

    fn connect(&mut self, kernel: &mut UringKernel, index: usize) -> anyhow::Result<()> {
        let from = self.froms.get(index).copied().flatten();
        let op =
            push(kernel, self.token(index, Purpose::Connect), Op::Connect { to: self.to, from })?;
        if let Some(link) = self.links.get_mut(index) {
            link.connecting = Some(op);
        }
        Ok(())
    }

    fn send(
        &mut self,
        kernel: &mut UringKernel,
        index: usize,
        now: Instant,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let token = self.token(index, Purpose::Writable);
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        let (Some(socket), false) = (link.socket, link.waits_to_send) else { return Ok(()) };
        let Some(unsent) = self.http.unsent(index).filter(|unsent| !unsent.is_empty()) else {
            return Ok(());
        };
        match kernel.send_now(socket, unsent) {
            Ok(sent) => drop(unsent.drain(..sent)),
            Err(Failure::Os(EAGAIN)) => {}
            Err(why) => {
                self.http.ended(index, &why.to_string(), now, tally);
                return Ok(());
            }
        }
        if !unsent.is_empty() {
            link.waits_to_send = true;
            push(kernel, token, Op::PollWritable { socket })?;
        }
        Ok(())
    }

    fn close(&mut self, kernel: &mut UringKernel, index: usize) -> anyhow::Result<()> {
        let token = self.token(index, Purpose::Close);
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        let Link { socket, connecting, generation, .. } = *link;
        *link = Link { generation: generation.wrapping_add(1), ..Link::default() };
        if let Some(op) = connecting {
            push(kernel, token, Op::Cancel { op })?;
        }
        if let Some(socket) = socket {
            push(kernel, token, Op::Close { socket, reset: true })?;
        }
        Ok(())
    }

    pub(super) fn on_completion(
        &mut self,
        kernel: &mut UringKernel,
        completion: Completion,
        now: Instant,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let token = completion.token;
        let index = (token.0 >> 2) as usize & 0xffff;
        let purpose = token.0 & 3;
        if token == Token::WAKE || purpose == Purpose::Close as u64 {
            return Ok(());
        }
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        if link.generation != (token.0 >> 32) as u32 {
            if let Outcome::Connected { socket } = completion.outcome {
                let token = self.token(index, Purpose::Close);
                push(kernel, token, Op::Close { socket, reset: true })?;
            }
            return Ok(());
        }
        match completion.outcome {
            Outcome::Connected { socket } => {
                link.connecting = None;
                link.socket = Some(socket);
                if let Some(descriptor) = kernel.descriptor(socket) {
                    // It fails only on a connection that has failed, which the next call tells.
                    let _ = SockRef::from(&descriptor).set_tcp_nodelay(true);
                }
                push(kernel, self.token(index, Purpose::Receive), Op::Receive { socket })?;
                self.http.opened(index);
            }
            Outcome::Received { buffer } => self.http.received(index, &buffer, now, tally),
            Outcome::EndOfStream => {
                self.http.ended(index, "end of stream", now, tally);
            }
            Outcome::Done if purpose == Purpose::Writable as u64 => {
                link.waits_to_send = false;
                self.send(kernel, index, now, tally)?;
            }
            Outcome::Failed(why) if purpose == Purpose::Connect as u64 => {
                link.connecting = None;
                self.http.not_opened(index, &why.to_string(), now, tally);
                if self.http.is_quiet() {
                    tally.wrong(format!("cannot connect: {why}"));
                }
            }
            Outcome::Failed(why) => self.http.ended(index, &why.to_string(), now, tally),
            _ => {}
        }
        self.carry_out(kernel, now, tally)
    }

    pub(super) fn on_time(&mut self, now: Instant, tally: &mut Tally) {
        self.http.expire(now, tally);
        if self.http.open() == 0 {
            self.http.open_one(now);
        }
    }

    pub(super) fn open(&self) -> usize {
        self.http.open()
    }

    /// Requests without an answer.
    pub(super) fn waiting(&self) -> usize {
        self.http.waiting()
    }

    pub(super) fn to_fill(&self) -> u64 {
        self.http.to_fill()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.http.is_quiet()
    }

    pub(super) fn give_up(&mut self, now: Instant, tally: &mut Tally) {
        self.http.give_up(now, tally);
    }

    fn token(&self, index: usize, purpose: Purpose) -> Token {
        let generation = self.links.get(index).map_or(0, |link| link.generation);
        Token(u64::from(generation) << 32 | (index as u64) << 2 | purpose as u64)
    }
}

fn push(kernel: &mut UringKernel, token: Token, op: Op) -> anyhow::Result<OpId> {
    match kernel.push(op, token) {
        Ok(op) => Ok(op),
        Err(op) => bail!("the ring's op table is full at {op:?}"),
    }
}
