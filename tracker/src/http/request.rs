//! The head of an HTTP/1 request: where it ends, what of it counts, and what is refused (RFC 9112).

use std::net::IpAddr;

use super::proxy::Forwarded;
use crate::limits;

/// A request for a target, its head read and judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request<'a> {
    /// Path and query as sent: `/announce?info_hash=..`.
    pub(super) target: &'a str,
    pub(super) persistence: Persistence,
    /// Whose connection it is, when a proxy said so at its beginning.
    pub(super) client: Option<IpAddr>,
    pub(super) forwarded: Forwarded<'a>,
}

/// Whether the client would use the connection again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Persistence {
    KeepAlive,
    Close,
}

/// Why a request is not served. The connection is closed after the answer, since where the next
/// request would begin cannot be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Not HTTP/1, no or two `Host` fields, or a body.
    Malformed,
    /// Anything but GET.
    Method,
    /// Longer than [`limits::TARGET_BYTES_MAX`].
    Target,
    /// Longer than [`limits::REQUEST_BYTES_MAX`], or more than [`limits::HEADER_FIELDS_MAX`], or than
    /// [`limits::FORWARDED_FIELDS_MAX`] of one kind.
    Fields,
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Head<'a> {
    /// A request that takes `bytes` bytes.
    Complete {
        bytes: usize,
        request: Request<'a>,
    },
    /// The beginning of one.
    Incomplete,
    Refused(Refusal),
}

/// Reads a request head. The first `looked_at` bytes were found incomplete before: a head is
/// read when it begins (nonsense is refused at once) and when it is complete, not at every byte
/// that a slow client sends.
pub(super) fn read(bytes: &[u8], looked_at: usize) -> Head<'_> {
    // RFC 9112, 2.2: "a server ... SHOULD ignore at least one empty line (CRLF) received prior
    // to the request-line."
    let empty_lines = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let (Some(head), true) = (bytes.get(empty_lines..), empty_lines <= EMPTY_LINE_BYTES_MAX) else {
        return Head::Refused(Refusal::Malformed);
    };
    let complete = ends_at(head, looked_at.saturating_sub(empty_lines));
    if head.is_empty() || (complete.is_none() && looked_at > 0) {
        return refuse_long(head).map_or(Head::Incomplete, Head::Refused);
    }
    let mut fields = [httparse::EMPTY_HEADER; limits::HEADER_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head) {
        Err(httparse::Error::TooManyHeaders) => Head::Refused(Refusal::Fields),
        Err(_) => Head::Refused(Refusal::Malformed),
        Ok(httparse::Status::Partial) => refuse_long(head).map_or(Head::Incomplete, Head::Refused),
        Ok(httparse::Status::Complete(bytes)) => match judge(&parsed, bytes) {
            Ok(request) => Head::Complete { bytes: empty_lines + bytes, request },
            Err(refusal) => Head::Refused(refusal),
        },
    }
}

/// Two empty lines before a request; no client sends more.
const EMPTY_LINE_BYTES_MAX: usize = 4;

/// Where the first empty line after `looked_at` (less the few bytes that may belong to it) ends.
fn ends_at(head: &[u8], looked_at: usize) -> Option<usize> {
    let first = looked_at.saturating_sub(3);
    let mut line_ends = (first..head.len()).filter(|at| head.get(*at) == Some(&b'\n'));
    line_ends.find_map(|at| match head.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// A head that has become too long without being complete.
fn refuse_long(head: &[u8]) -> Option<Refusal> {
    const LINE_BYTES_MAX: usize = limits::TARGET_BYTES_MAX + "GET  HTTP/1.1\r".len();
    if head.len() > LINE_BYTES_MAX && !head.iter().take(LINE_BYTES_MAX + 1).any(|b| *b == b'\n') {
        return Some(Refusal::Target);
    }
    (head.len() > limits::REQUEST_BYTES_MAX).then_some(Refusal::Fields)
}

fn judge<'a>(parsed: &httparse::Request<'_, 'a>, bytes: usize) -> Result<Request<'a>, Refusal> {
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Refusal::Malformed);
    };
    if target.len() > limits::TARGET_BYTES_MAX {
        return Err(Refusal::Target);
    }
    if bytes > limits::REQUEST_BYTES_MAX {
        return Err(Refusal::Fields);
    }
    if method != "GET" {
        return Err(Refusal::Method);
    }
    let (mut hosts, mut persistence) = (
        0,
        match version {
            0 => Persistence::Close,
            _ => Persistence::KeepAlive,
        },
    );
    let mut forwarded = Forwarded::default();
    for field in parsed.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
        } else if is("transfer-encoding") || (is("content-length") && field.value != b"0") {
            return Err(Refusal::Malformed);
        } else if is("connection") {
            persistence = named_persistence(field.value).unwrap_or(persistence);
        } else if is("x-forwarded-for") && !forwarded.push(field.value) {
            return Err(Refusal::Fields);
        }
    }
    // RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    // request message that lacks a Host header field and to any request message that contains
    // more than one Host header field line".
    if hosts > 1 || (hosts == 0 && version == 1) {
        return Err(Refusal::Malformed);
    }
    Ok(Request { target, persistence, client: None, forwarded })
}

fn named_persistence(value: &[u8]) -> Option<Persistence> {
    let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    options.find_map(|option| {
        if option.eq_ignore_ascii_case(b"close") {
            Some(Persistence::Close)
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            Some(Persistence::KeepAlive)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(head: &str) -> Refusal {
        match read(head.as_bytes(), 0) {
            Head::Refused(refusal) => refusal,
            other => panic!("{head:?}: {other:?}"),
        }
    }

    fn persistence(head: &str) -> Persistence {
        match read(head.as_bytes(), 0) {
            Head::Complete { bytes, request } => {
                assert_eq!((bytes, request.target), (head.len(), "/a?b"));
                request.persistence
            }
            other => panic!("{head:?}: {other:?}"),
        }
    }

    #[test]
    fn a_connection_persists_as_its_version_and_its_client_say() {
        use Persistence::{Close, KeepAlive};
        assert_eq!(persistence("GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"), KeepAlive);
        assert_eq!(persistence("\r\nGET /a?b HTTP/1.1\nhost: x\n\n"), KeepAlive);
        assert_eq!(persistence("GET /a?b HTTP/1.0\r\n\r\n"), Close);
        assert_eq!(persistence("GET /a?b HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), KeepAlive);
        let close = "GET /a?b HTTP/1.1\r\nHOST: x\r\nConnection: TE, CLOSE\r\n\r\n";
        assert_eq!(persistence(close), Close);
    }

    #[test]
    fn what_is_no_get_of_a_target_is_refused() {
        assert_eq!(refusal("GET / HTTP/1.1\r\n\r\n"), Refusal::Malformed);
        assert_eq!(refusal("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), Refusal::Malformed);
        assert_eq!(refusal("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Refusal::Malformed);
        assert_eq!(refusal("\u{16}\u{3}\u{1}"), Refusal::Malformed);
        assert_eq!(refusal("\r\n\r\n\r\n"), Refusal::Malformed);
        assert_eq!(refusal("POST / HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::Method);
        let length = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(refusal(length), Refusal::Malformed);
        let chunked = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refusal(chunked), Refusal::Malformed);
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_complete() {
        let target = "a".repeat(limits::TARGET_BYTES_MAX);
        assert_eq!(refusal(&format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n")), Refusal::Target);
        assert_eq!(refusal(&format!("GET /{target}aaaaaaaaaaaaaa")), Refusal::Target);
        let field =
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(limits::REQUEST_BYTES_MAX));
        assert_eq!(refusal(&field), Refusal::Fields);
        assert_eq!(refusal(&format!("{field}\r\n\r\n")), Refusal::Fields);
        let fields = "X: a\r\n".repeat(limits::HEADER_FIELDS_MAX);
        assert_eq!(refusal(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")), Refusal::Fields);
        let fields = "X-Forwarded-For: a\r\n".repeat(limits::FORWARDED_FIELDS_MAX + 1);
        assert_eq!(refusal(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")), Refusal::Fields);
    }

    proptest! {
        #[test]
        fn a_head_is_found_complete_at_its_last_byte_and_never_before(
            head in prop_oneof![
                Just("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"),
                Just("\r\n\r\nGET /a HTTP/1.1\nHost: x\r\nA: b\n\n"),
                Just("GET /a HTTP/1.0\n\r\n"),
            ],
            cuts in proptest::collection::btree_set(0..40usize, 0..40),
        ) {
            let mut looked_at = 0;
            for cut in cuts.into_iter().filter(|cut| *cut < head.len()) {
                prop_assert_eq!(read(&head.as_bytes()[..cut], looked_at), Head::Incomplete);
                looked_at = cut;
            }
            let complete = matches!(
                read(head.as_bytes(), looked_at),
                Head::Complete { bytes, .. } if bytes == head.len()
            );
            prop_assert!(complete);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, looked_at in 0..100usize) {
            read(&bytes, looked_at.min(bytes.len()));
        }
    }
}
