//! The client side of HTTP announces (BEP 3, 23, 48) on a bounded pool of connections, kept open
//! and pipelined where the tracker allows it. Pure: bytes and `now` in, bytes and wishes out.

use std::collections::VecDeque;

use ringseed_meta::Instant;
use ringseed_wire::tracker_http::{announce_target, scrape_target};

use super::check;
use super::crowd::{Ask, Crowd, Topic, info_hash};
use super::limits::{ANSWER_WITHIN, BACKLOG_MAX, PIPELINE_MAX, RETRY_AFTER};
use super::response;
use super::tally::{Question, Tally};
use super::udp::no_answer;

/// A tracker's announce URL, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// Host and port, as a Host header has them.
    pub host: String,
    /// Path and query.
    pub base: String,
}

impl Url {
    /// Takes `http://HOST[:PORT]/PATH` apart.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Url, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            format!("tracker URL '{url}': http://HOST:PORT/announce is needed (no TLS)")
        })?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if host.is_empty() || url.bytes().any(|byte| byte.is_ascii_whitespace()) {
            return Err(format!("tracker URL '{url}': no host, or a blank in it"));
        }
        let base = if path.is_empty() { "/announce" } else { path };
        Ok(Url { host: host.into(), base: base.into() })
    }

    /// Host and port to connect to.
    pub fn host_and_port(&self) -> String {
        let has_port =
            self.host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if has_port { self.host.clone() } else { format!("{}:80", self.host) }
    }

    /// Appends a request.
    fn write(&self, ask: &Ask, source: u32, out: &mut Vec<u8>) {
        let target = match ask.topic {
            Topic::Announce(_) => announce_target(&self.base, &ask.announce(source)),
            // That there is one was seen at the start.
            Topic::Scrape => {
                scrape_target(&self.base, &[info_hash(ask.torrent)]).unwrap_or_default()
            }
        };
        for part in ["GET ", &target, " HTTP/1.1\r\nHost: ", &self.host, FIELDS] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

const FIELDS: &str =
    concat!("\r\nUser-Agent: ringseed-swarm/", env!("CARGO_PKG_VERSION"), "\r\n\r\n");

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not to be made again before then.
    Closed {
        until: Instant,
    },
    Connecting,
    Open,
}

#[derive(Debug)]
struct Connection {
    state: State,
    /// Requests without an answer, in their order.
    questions: VecDeque<Question>,
    unsent: Vec<u8>,
    /// The beginning of an answer.
    carry: Vec<u8>,
    /// Answers that this connection has brought.
    answered: u64,
}

/// Whether more than one request may be on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pipelining {
    /// No answer has said yet that a connection is kept.
    Unknown,
    Works,
    /// A connection was closed with requests unanswered behind an answer.
    Fails,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    Connect(usize),
    /// [`Http::unsent`] has something.
    Send(usize),
    /// By RST: nothing on it is of use any more.
    Close(usize),
}

/// The connections of a thread.
#[derive(Debug)]
pub struct Http {
    url: Url,
    first_source: u32,
    crowd: Crowd,
    connections: Vec<Connection>,
    /// Open connections without a request, the one that has been so for longest first. May name
    /// some that are not so any more.
    idle: VecDeque<usize>,
    /// Where to look next for a connection that takes one more.
    next: usize,
    pipelining: Pipelining,
    /// When requests without a connection were due.
    backlog: VecDeque<Instant>,
    wishes: Vec<Wish>,
    /// Connections that are open.
    open: usize,
}

impl Http {
    /// Up to `count` connections to the tracker at `url`, each of which is a source of the crowd;
    /// the first has the number `first_source` among those of all threads.
    pub fn new(url: Url, crowd: Crowd, count: u32, first_source: u32) -> Http {
        let connection = || Connection {
            state: State::Closed { until: Instant::ZERO },
            questions: VecDeque::new(),
            unsent: Vec::new(),
            carry: Vec::new(),
            answered: 0,
        };
        Http {
            url,
            first_source,
            crowd,
            connections: std::iter::repeat_with(connection).take(count as usize).collect(),
            idle: VecDeque::new(),
            next: 0,
            pipelining: Pipelining::Unknown,
            backlog: VecDeque::new(),
            wishes: Vec::new(),
            open: 0,
        }
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Nothing waits for an answer or a connection.
    pub fn is_quiet(&self) -> bool {
        self.backlog.is_empty() && self.connections.iter().all(|one| one.questions.is_empty())
    }

    /// Requests that wait for an answer or a connection.
    pub fn waiting(&self) -> usize {
        let on_connections = self.connections.iter().map(|one| one.questions.len());
        self.backlog.len() + on_connections.sum::<usize>()
    }

    /// Peers that have not announced since the fill began.
    pub fn to_fill(&self) -> u64 {
        self.crowd.to_fill()
    }

    /// What is to be done now.
    pub fn take_wishes(&mut self) -> impl Iterator<Item = Wish> + use<> {
        std::mem::take(&mut self.wishes).into_iter()
    }

    /// Bytes that the connection has to send. What was sent is to be taken away.
    pub fn unsent(&mut self, index: usize) -> Option<&mut Vec<u8>> {
        self.connections.get_mut(index).map(|connection| &mut connection.unsent)
    }

    /// Makes a connection, so that the load need not begin with it.
    pub fn open_one(&mut self, now: Instant) -> bool {
        self.connect_one(now).is_some()
    }

    fn connect_one(&mut self, now: Instant) -> Option<usize> {
        let index =
            self.find(|one| matches!(one.state, State::Closed { until } if until <= now))?;
        self.connections.get_mut(index)?.state = State::Connecting;
        self.wishes.push(Wish::Connect(index));
        Some(index)
    }

    /// The next connection of this kind; they take turns.
    fn find(&mut self, is: impl Fn(&Connection) -> bool) -> Option<usize> {
        let count = self.connections.len();
        let mut from_next = (self.next..count).chain(0..self.next.min(count));
        let index = from_next.find(|index| self.connections.get(*index).is_some_and(&is))?;
        self.next = index + 1;
        Some(index)
    }

    /// A request has come due.
    pub fn ask(&mut self, due: Instant, now: Instant, tally: &mut Tally) {
        tally.begun(due, now);
        if self.backlog.is_empty()
            && let Some(index) = self.place(now)
        {
            return self.put(index, due, now);
        }
        if self.backlog.len() >= BACKLOG_MAX {
            return tally.unanswered(due, None, now, not_sent);
        }
        self.backlog.push_back(due);
    }

    /// A connection that takes a request now.
    fn place(&mut self, now: Instant) -> Option<usize> {
        while let Some(index) = self.idle.pop_front() {
            let one = self.connections.get(index)?;
            if one.state == State::Open && one.questions.is_empty() {
                return Some(index);
            }
        }
        if let Some(index) = self.connect_one(now) {
            return Some(index);
        }
        if self.pipelining != Pipelining::Works {
            return None;
        }
        self.find(|one| one.state == State::Open && one.questions.len() < PIPELINE_MAX)
    }

    fn put(&mut self, index: usize, due: Instant, now: Instant) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let ask = self.crowd.next(index as u32);
        connection.questions.push_back(Question { ask, due, asked: now });
        let had = !connection.unsent.is_empty();
        self.url.write(&ask, self.first_source + index as u32, &mut connection.unsent);
        if connection.state == State::Open && !had {
            self.wishes.push(Wish::Send(index));
        }
    }

    /// Requests that wait are put where there is room.
    pub fn go_on(&mut self, now: Instant) {
        while !self.backlog.is_empty() {
            let Some(index) = self.place(now) else { return };
            let Some(due) = self.backlog.pop_front() else { return };
            self.put(index, due, now);
        }
    }

    /// A connection is made.
    pub fn opened(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.state = State::Open;
        connection.answered = 0;
        self.open += 1;
        match connection.questions.is_empty() {
            true => self.idle.push_back(index),
            false => self.wishes.push(Wish::Send(index)),
        }
    }

    /// A connection could not be made: its requests have failed.
    pub fn not_opened(&mut self, index: usize, why: &str, now: Instant, tally: &mut Tally) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.state = State::Closed { until: now.after(RETRY_AFTER) };
        connection.unsent.clear();
        for question in std::mem::take(&mut connection.questions) {
            let what = || format!("cannot connect: {why}");
            tally.unanswered(question.due, Some(question.ask.topic), now, what);
        }
    }

    /// Bytes of the tracker on a connection.
    pub fn received(&mut self, index: usize, bytes: &[u8], now: Instant, tally: &mut Tally) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.state != State::Open {
            return;
        }
        let carry = std::mem::take(&mut connection.carry);
        let rest = if carry.is_empty() {
            self.take_answers(index, bytes, now, tally).map(<[u8]>::to_vec)
        } else {
            let whole = [carry.as_slice(), bytes].concat();
            self.take_answers(index, &whole, now, tally).map(<[u8]>::to_vec)
        };
        if let (Some(rest), Some(connection)) = (rest, self.connections.get_mut(index)) {
            connection.carry = rest;
        }
    }

    /// Takes all whole answers; the rest. `None`: the connection is over.
    fn take_answers<'b>(
        &mut self,
        index: usize,
        mut bytes: &'b [u8],
        now: Instant,
        tally: &mut Tally,
    ) -> Option<&'b [u8]> {
        while !bytes.is_empty() {
            let connection = self.connections.get_mut(index)?;
            let response = match response::parse(bytes, false) {
                Ok(Some(response)) => response,
                Ok(None) => return Some(bytes),
                Err(fault) => {
                    self.fail(index, now, tally, &|| fault.to_string());
                    return None;
                }
            };
            let Some(question) = connection.questions.pop_front() else {
                tally.wrong("an HTTP answer that was not asked for".into());
                self.fail(index, now, tally, &no_answer);
                return None;
            };
            connection.answered += 1;
            let is_idle = connection.questions.is_empty();
            verdict(&question, &response, now, tally);
            bytes = bytes.get(response.length..).unwrap_or_default();
            if !response.keeps {
                self.ended(index, "closed", now, tally);
                return None;
            }
            if self.pipelining == Pipelining::Unknown {
                self.pipelining = Pipelining::Works;
            }
            if is_idle {
                self.idle.push_back(index);
            }
        }
        Some(bytes)
    }

    /// The tracker has closed a connection, or it broke. An answer that ends with it counts, and
    /// requests behind an answer are asked again on a new connection, as clients do; others fail.
    pub fn ended(&mut self, index: usize, why: &str, now: Instant, tally: &mut Tally) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.state != State::Open {
            return;
        }
        let carry = std::mem::take(&mut connection.carry);
        if let Ok(Some(response)) = response::parse(&carry, true)
            && let Some(question) = connection.questions.pop_front()
        {
            connection.answered += 1;
            verdict(&question, &response, now, tally);
        } else if !carry.is_empty() || connection.answered == 0 {
            let without = || format!("the tracker closed the connection without an answer: {why}");
            return self.fail(index, now, tally, &without);
        }
        if connection.questions.len() > 1 {
            self.pipelining = Pipelining::Fails;
        }
        self.close(index, now);
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.questions.is_empty() {
            return;
        }
        connection.state = State::Connecting;
        let source = self.first_source + index as u32;
        for question in &connection.questions {
            self.url.write(&question.ask, source, &mut connection.unsent);
        }
        self.wishes.push(Wish::Connect(index));
    }

    /// All requests of a connection fail, and it is closed.
    fn fail(&mut self, index: usize, now: Instant, tally: &mut Tally, what: &dyn Fn() -> String) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        for question in std::mem::take(&mut connection.questions) {
            tally.unanswered(question.due, Some(question.ask.topic), now, what);
        }
        self.close(index, now);
    }

    fn close(&mut self, index: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        self.open -= usize::from(connection.state == State::Open);
        connection.state = State::Closed { until: now };
        connection.unsent.clear();
        connection.carry.clear();
        self.wishes.push(Wish::Close(index));
    }

    /// Gives up on what has waited for too long; a connection whose answer is overdue is closed.
    pub fn expire(&mut self, now: Instant, tally: &mut Tally) {
        while self.backlog.front().is_some_and(|due| due.after(ANSWER_WITHIN) <= now) {
            if let Some(due) = self.backlog.pop_front() {
                tally.unanswered(due, None, now, not_sent);
            }
        }
        for index in 0..self.connections.len() {
            let first = self.connections.get(index).and_then(|one| one.questions.front());
            if first.is_some_and(|question| question.asked.after(ANSWER_WITHIN) <= now) {
                self.fail(index, now, tally, &no_answer);
            }
        }
    }

    /// Gives up on all requests.
    pub fn give_up(&mut self, now: Instant, tally: &mut Tally) {
        for due in std::mem::take(&mut self.backlog) {
            tally.unanswered(due, None, now, not_sent);
        }
        for connection in &mut self.connections {
            for question in std::mem::take(&mut connection.questions) {
                tally.unanswered(question.due, Some(question.ask.topic), now, no_answer);
            }
        }
    }
}

fn verdict(
    question: &Question,
    response: &response::HttpResponse<'_>,
    now: Instant,
    tally: &mut Tally,
) {
    match check::body(&question.ask, response.status, &response.body) {
        Ok(()) => tally.answered(question, now),
        Err(fault) => tally.failed(question.due, || fault.to_string()),
    }
}

fn not_sent() -> String {
    format!("not sent within {} s: all connections were busy", ANSWER_WITHIN.as_secs())
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
