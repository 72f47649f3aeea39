//! The HTTP side of one connection: received bytes, split anywhere, into requests in their order.
//! Pure; what is answered and how it is sent is decided elsewhere.

use super::request::{Head, Refusal, Request, read};

/// Bytes in, requests out. Keeps only the beginning of a request that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    carry: Vec<u8>,
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
    /// Nothing: the last request that this connection serves has come.
    Nothing,
}

impl Exchange {
    /// Calls `answer` for each request that `bytes` complete, in order, until it says
    /// [`Next::Nothing`] or a request is refused: what follows then is not looked at.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        mut answer: impl FnMut(Result<Request<'_>, Refusal>) -> Next,
    ) -> Progress {
        let mut looked_at = self.carry.len();
        let carried = looked_at > 0;
        if carried {
            self.carry.extend_from_slice(bytes);
        }
        let all = if carried { self.carry.as_slice() } else { bytes };
        let (mut rest, mut requests) = (all, 0);
        let next = loop {
            if rest.is_empty() {
                break Next::Request;
            }
            match read(rest, looked_at) {
                Head::Incomplete => break Next::Rest,
                Head::Refused(refusal) => {
                    requests += 1;
                    answer(Err(refusal));
                    break Next::Nothing;
                }
                Head::Complete { bytes, request } => {
                    requests += 1;
                    looked_at = 0;
                    if answer(Ok(request)) == Next::Nothing {
                        break Next::Nothing;
                    }
                    rest = rest.get(bytes..).unwrap_or_default();
                }
            }
        };
        self.keep(next, all.len() - rest.len(), bytes, carried);
        Progress { requests, next }
    }

    /// Drops what was read, and keeps the rest of an incomplete request.
    fn keep(&mut self, next: Next, read: usize, bytes: &[u8], carried: bool) {
        match next {
            Next::Rest if carried => drop(self.carry.drain(..read)),
            Next::Rest => self.carry.extend_from_slice(bytes.get(read..).unwrap_or_default()),
            Next::Request | Next::Nothing => self.carry = Vec::new(),
        }
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
