//! The HTTP side of one connection: received bytes, split anywhere, into requests in their order.
//! Pure; what is answered and how it is sent is decided elsewhere.

use std::net::IpAddr;

use super::proxy::{self, Preface};
use super::request::{Head, Refusal, Request, read};

/// Bytes in, requests out. Keeps the beginning of a request that is not complete yet, and what
/// follows when requests come faster than their answers are taken.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    carry: Vec<u8>,
    /// Bytes of `carry` that are known to hold no complete request.
    looked_at: usize,
    /// A proxy may say first whose connection it is.
    may_be_proxied: bool,
    /// What it said.
    client: Option<IpAddr>,
}

/// What the bytes of one `receive` came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    /// Requests that became complete or were refused.
    pub(super) requests: usize,
    pub(super) next: Next,
}

/// What the connection waits for after a `receive`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// The next request, of which nothing has come.
    Request,
    /// The rest of a request.
    Rest,
    /// Room for answers; requests that have come are held back.
    Room,
    /// Nothing: the last request that this connection serves has come.
    Nothing,
}

impl Exchange {
    /// `is_proxy`: a PROXY header is read.
    pub(super) fn new(is_proxy: bool) -> Exchange {
        Exchange { may_be_proxied: is_proxy, ..Exchange::default() }
    }

    /// Calls `answer` for each request that `bytes` complete, in order, until it says that there
    /// is no [`Next::Room`] for another answer, or that there is to be [`Next::Nothing`] more, or
    /// a request is refused: what follows then is not looked at.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        mut answer: impl FnMut(Result<Request<'_>, Refusal>) -> Next,
    ) -> Progress {
        // Taken out, so that a request may refer to it while what is left of it is kept.
        let mut carry = std::mem::take(&mut self.carry);
        let carried = !carry.is_empty();
        if carried {
            carry.extend_from_slice(bytes);
        }
        let all = if carried { carry.as_slice() } else { bytes };
        let (mut rest, mut requests) = (all, 0);
        let next = loop {
            if rest.is_empty() {
                break Next::Request;
            }
            if self.may_be_proxied {
                match proxy::preface(rest) {
                    Preface::Incomplete => break Next::Rest,
                    Preface::Absent => {}
                    Preface::Complete { bytes, client } => {
                        self.client = client;
                        rest = rest.get(bytes..).unwrap_or_default();
                    }
                    Preface::Malformed => {
                        requests += 1;
                        answer(Err(Refusal::Malformed));
                        break Next::Nothing;
                    }
                }
                // What was looked at before is no part of a request.
                (self.may_be_proxied, self.looked_at) = (false, 0);
                continue;
            }
            match read(rest, self.looked_at) {
                Head::Incomplete => break Next::Rest,
                Head::Refused(refusal) => {
                    requests += 1;
                    answer(Err(refusal));
                    break Next::Nothing;
                }
                Head::Complete { bytes, request } => {
                    requests += 1;
                    self.looked_at = 0;
                    rest = rest.get(bytes..).unwrap_or_default();
                    match answer(Ok(Request { client: self.client, ..request })) {
                        Next::Nothing => break Next::Nothing,
                        Next::Room if !rest.is_empty() => break Next::Room,
                        _ => {}
                    }
                }
            }
        };
        let (read, left) = (all.len() - rest.len(), rest.len());
        if matches!(next, Next::Rest | Next::Room) {
            if carried {
                carry.drain(..read);
                self.carry = carry;
            } else {
                self.carry.extend_from_slice(rest);
            }
        }
        self.looked_at = if next == Next::Rest { left } else { 0 };
        Progress { requests, next }
    }

    /// Keeps bytes behind those that are held back.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.carry.extend_from_slice(bytes);
    }

    /// Bytes of memory that it takes besides itself.
    pub(super) fn memory(&self) -> usize {
        self.carry.capacity()
    }

    /// Bytes that are held back.
    pub(super) fn held_bytes(&self) -> usize {
        self.carry.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
    }

    #[test]
    fn nothing_is_served_after_a_refused_request() {
        let mut answered = Vec::new();
        let stream = format!("{}NONSENSE\r\n\r\n{}", request("/1"), request("/2"));
        let progress = Exchange::default().receive(stream.as_bytes(), |request| {
            answered.push(request.map(|request| request.target.to_owned()));
            Next::Request
        });
        assert_eq!(answered, [Ok("/1".to_owned()), Err(Refusal::Malformed)]);
        assert_eq!(progress, Progress { requests: 2, next: Next::Nothing });
    }

    #[test]
    fn nothing_is_served_after_the_last_request_of_a_connection() {
        let stream = format!("{}{}", request("/1"), request("/2"));
        let mut answered = 0;
        let progress = Exchange::default().receive(stream.as_bytes(), |_| {
            answered += 1;
            Next::Nothing
        });
        assert_eq!((answered, progress.next), (1, Next::Nothing));
    }

    #[test]
    fn requests_without_room_for_their_answers_are_held_back() {
        let stream: String = (1..=4).map(|number| request(&format!("/{number}"))).collect();
        let mut exchange = Exchange::default();
        let mut answered = String::new();
        let mut take = |request: Result<Request<'_>, Refusal>| {
            answered += request.unwrap().target;
            Next::Room
        };
        let (now, later) = stream.as_bytes().split_at(stream.len() * 5 / 8);
        assert_eq!(exchange.receive(now, &mut take), Progress { requests: 1, next: Next::Room });
        exchange.hold(later);
        for next in [Next::Room, Next::Room, Next::Request] {
            assert_eq!(exchange.receive(&[], &mut take), Progress { requests: 1, next });
        }
        assert_eq!(exchange.receive(&[], &mut take), Progress { requests: 0, next: Next::Request });
        assert_eq!(answered, "/1/2/3/4");
    }

    proptest! {
        #[test]
        fn requests_come_in_order_however_they_are_split(
            targets in proptest::collection::vec("/[a-z]{0,30}", 1..12),
            sizes in proptest::collection::vec(1..60usize, 1..40),
        ) {
            let stream: String = targets.iter().map(|target| request(target)).collect();
            let mut rest = stream.as_bytes();
            let mut exchange = Exchange::default();
            let mut answered: Vec<String> = Vec::new();
            let mut requests = 0;
            for size in sizes.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                let progress = exchange.receive(now, |request| {
                    answered.push(request.unwrap().target.to_owned());
                    Next::Request
                });
                requests += progress.requests;
                prop_assert_eq!(progress.next == Next::Request, exchange.carry.is_empty());
            }
            prop_assert_eq!(requests, targets.len());
            prop_assert_eq!(answered, targets);
            prop_assert!(exchange.carry.is_empty());
        }
    }
}
