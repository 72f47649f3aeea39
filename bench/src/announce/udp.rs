//! The client side of BEP 15 for many sources: connection ids kept and renewed, transaction ids,
//! time. Pure: datagrams and `now` in, datagrams out.

use ringseed_meta::Instant;
use ringseed_wire::tracker_udp::{
    Response, write_announce_request, write_connect_request, write_scrape_request,
};

use super::check::{self, AnswerFault};
use super::crowd::{Ask, Random, Topic, info_hash};
use super::limits::{ANSWER_WITHIN, ID_RENEWED_AT, ID_USED_FOR, RETRY_AFTER};
use super::tally::{Question, Tally};
use super::waiting::Waiting;

/// What a source has of the tracker.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// A connection id, and when it came.
    id: Option<(u64, Instant)>,
    /// The transaction id of a connect request without an answer.
    connecting: Option<u32>,
    /// When the next connect request is due.
    next_connect: Instant,
}

/// The sources of a thread.
#[derive(Debug)]
pub struct Udp {
    sources: Vec<Source>,
    /// Number of the first source among those of all threads.
    first_source: u32,
    waiting: Waiting,
    random: Random,
    /// When the next source has to connect.
    next_connect: Instant,
    /// Bytes of a compact peer.
    a_peer: usize,
}

impl Udp {
    /// `count` sources, the first of which has this number. `a_peer`: bytes of a compact peer in
    /// the tracker's address family.
    pub fn new(count: u32, first_source: u32, a_peer: usize, seed: u64) -> Udp {
        let mut random = Random::new(seed);
        Udp {
            sources: vec![Source::default(); count as usize],
            first_source,
            waiting: Waiting::new(random.below(1 << 32) as u32),
            random,
            next_connect: Instant::ZERO,
            a_peer,
        }
    }

    /// Sources that have been given a connection id.
    pub fn ready(&self) -> usize {
        self.sources.iter().filter(|source| source.id.is_some()).count()
    }

    /// Requests without an answer.
    pub fn open(&self) -> usize {
        self.waiting.open()
    }

    /// Writes the next connect request that is due to `out`, alone: the source that it goes from.
    pub fn connect(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<usize> {
        if now < self.next_connect {
            return None;
        }
        let due = self.sources.iter().position(|source| source.next_connect <= now);
        let Some(index) = due else {
            let next = self.sources.iter().map(|source| source.next_connect).min();
            self.next_connect = next.unwrap_or(now.after(RETRY_AFTER));
            return None;
        };
        let transaction_id = self.random.below(1 << 32) as u32;
        let source = self.sources.get_mut(index)?;
        source.connecting = Some(transaction_id);
        source.next_connect = now.after(RETRY_AFTER);
        out.clear();
        write_connect_request(out, transaction_id);
        Some(index)
    }

    /// Appends the request that was due at `due` to `out`, from this source. `false`: it fails.
    pub fn ask(
        &mut self,
        source: usize,
        ask: Ask,
        due: Instant,
        now: Instant,
        tally: &mut Tally,
        out: &mut Vec<u8>,
    ) -> bool {
        tally.begun(due, now);
        let id = self.sources.get(source).and_then(|source| source.id);
        let Some((id, _)) = id.filter(|(_, since)| now < since.after(ID_USED_FOR)) else {
            let what = || "no connection id: the tracker does not answer".into();
            tally.unanswered(due, Some(ask.topic), now, what);
            return false;
        };
        let Some(transaction_id) = self.waiting.push(Question { ask, due, asked: now }) else {
            let what = || "not sent: too many requests are without an answer".into();
            tally.unanswered(due, Some(ask.topic), now, what);
            return false;
        };
        match ask.topic {
            Topic::Announce(_) => {
                let announce = ask.announce(self.first_source + source as u32);
                write_announce_request(out, id, transaction_id, &announce, "");
            }
            Topic::Scrape => {
                write_scrape_request(out, id, transaction_id, &[info_hash(ask.torrent)]);
            }
        }
        true
    }

    /// A datagram of the tracker to this source.
    pub fn received(&mut self, source: usize, datagram: &[u8], now: Instant, tally: &mut Tally) {
        let response = Response::parse(datagram);
        // What cannot be read otherwise may still say what it answers.
        let named = datagram.get(4..8).and_then(|bytes| bytes.first_chunk::<4>());
        let Some(transaction_id) = named.map(|bytes| u32::from_be_bytes(*bytes)) else {
            return tally.wrong(format!("a datagram of {} bytes", datagram.len()));
        };
        if let Some(source) = self.sources.get_mut(source)
            && source.connecting == Some(transaction_id)
        {
            match response {
                Ok(Response::Connect { connection_id, .. }) => {
                    source.id = Some((connection_id, now));
                    source.connecting = None;
                    source.next_connect = now.after(ID_RENEWED_AT);
                }
                Ok(Response::Error { message, .. }) => tally.wrong(format!(
                    "connect refused: {}",
                    String::from_utf8_lossy(message).escape_debug()
                )),
                Ok(_) => tally.wrong("another action answers a connect".into()),
                Err(fault) => tally.wrong(format!("to a connect: {fault}")),
            }
            return;
        }
        let Some(question) = self.waiting.take(transaction_id) else {
            let what = "an answer to no open request: late, twice, or with a wrong transaction id";
            return tally.wrong(what.into());
        };
        let verdict = response.map_err(AnswerFault::from);
        let verdict =
            verdict.and_then(|response| check::datagram(&question.ask, &response, self.a_peer));
        match verdict {
            Ok(()) => tally.answered(&question, now),
            Err(fault) => tally.failed(question.due, || fault.to_string()),
        }
    }

    /// Gives up on requests that have waited for too long.
    pub fn expire(&mut self, now: Instant, tally: &mut Tally) {
        while let Some(question) = self.waiting.take_overdue(now) {
            tally.unanswered(question.due, Some(question.ask.topic), now, no_answer);
        }
    }

    /// Gives up on all requests.
    pub fn give_up(&mut self, now: Instant, tally: &mut Tally) {
        while let Some(question) = self.waiting.take_first() {
            tally.unanswered(question.due, Some(question.ask.topic), now, no_answer);
        }
    }
}

/// What a request is called that was not answered.
pub(super) fn no_answer() -> String {
    format!("no answer within {} s", ANSWER_WITHIN.as_secs())
}

#[cfg(test)]
#[path = "udp_tests.rs"]
mod tests;
