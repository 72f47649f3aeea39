//! HTTP/1 answers, cut from a stream of bytes. Pure; heads are read by httparse.

use std::borrow::Cow;

use ringseed_wire::limits::ANSWER_BYTES_MAX;

use super::limits::{HEAD_BYTES_MAX, HEADER_FIELDS_MAX};

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpResponse<'a> {
    pub status: u16,
    /// The server takes another request on this connection.
    pub keeps: bool,
    pub body: Cow<'a, [u8]>,
    /// Bytes of it all.
    pub length: usize,
}

/// Why a stream is no HTTP, or none that a client could use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HttpFault {
    /// The head.
    #[error("not HTTP: {0}")]
    Head(httparse::Error),
    /// The head does not end.
    #[error("the head of an HTTP answer has more than {HEAD_BYTES_MAX} bytes")]
    LongHead,
    /// The length, or that of a chunk, is no number.
    #[error("the length of an HTTP answer is no number")]
    Length,
    /// No client would read it all.
    #[error("an HTTP answer of more than {ANSWER_BYTES_MAX} bytes")]
    LongBody,
    /// Compressed although nobody asked for it, or worse.
    #[error("a transfer encoding that was not asked for")]
    Encoding,
}

/// How the end of a body is known.
enum Length {
    Bytes(usize),
    Chunked,
    UntilClose,
}

/// Reads the answer at the start of `bytes`; `None` while it is incomplete. `ended`: nothing comes
/// behind them.
///
/// # Errors
/// It will never be one.
pub fn parse(bytes: &[u8], ended: bool) -> Result<Option<HttpResponse<'_>>, HttpFault> {
    let mut fields = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let start = match head.parse(bytes).map_err(HttpFault::Head)? {
        httparse::Status::Complete(start) => start,
        httparse::Status::Partial if bytes.len() > HEAD_BYTES_MAX => {
            return Err(HttpFault::LongHead);
        }
        httparse::Status::Partial => return Ok(None),
    };
    let status = head.code.unwrap_or(0);
    let mut keeps = head.version == Some(1);
    let mut length = Length::UntilClose;
    for field in head.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("content-length") {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            length = Length::Bytes(number.ok_or(HttpFault::Length)?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HttpFault::Encoding);
            }
            length = Length::Chunked;
        } else if field.name.eq_ignore_ascii_case("connection") {
            keeps = if value.eq_ignore_ascii_case(b"close") {
                false
            } else {
                keeps || value.eq_ignore_ascii_case(b"keep-alive")
            };
        }
    }
    let rest = bytes.get(start..).unwrap_or_default();
    let (body, body_bytes) = match length {
        Length::Bytes(length) if length > ANSWER_BYTES_MAX => return Err(HttpFault::LongBody),
        Length::Bytes(length) => match rest.get(..length) {
            Some(body) => (Cow::Borrowed(body), length),
            None => return Ok(None),
        },
        Length::Chunked => match chunks(rest)? {
            Some((body, length)) => (Cow::Owned(body), length),
            None => return Ok(None),
        },
        Length::UntilClose if rest.len() > ANSWER_BYTES_MAX => return Err(HttpFault::LongBody),
        Length::UntilClose if ended => (Cow::Borrowed(rest), rest.len()),
        Length::UntilClose => return Ok(None),
    };
    let keeps = keeps && !matches!(length, Length::UntilClose);
    Ok(Some(HttpResponse { status, keeps, body, length: start + body_bytes }))
}

/// The body that chunks make, and the bytes that they take with all that is between them.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, HttpFault> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let (head, length) =
            match httparse::parse_chunk_size(rest).map_err(|_| HttpFault::Length)? {
                httparse::Status::Complete(size) => size,
                httparse::Status::Partial => return Ok(None),
            };
        if body.len() as u64 + length > ANSWER_BYTES_MAX as u64 {
            return Err(HttpFault::LongBody);
        }
        if length == 0 {
            return trailer_end(rest, head).map(|end| end.map(|end| (body, at + end)));
        }
        let end = head + length as usize;
        let Some(chunk) = rest.get(head..end).filter(|_| rest.len() >= end + 2) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        at += end + 2;
    }
}

/// Behind the last chunk: lines up to an empty one.
fn trailer_end(bytes: &[u8], start: usize) -> Result<Option<usize>, HttpFault> {
    let mut at = start;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(line) = rest.windows(2).position(|end| end == b"\r\n") else {
            let too_long = rest.len() > HEAD_BYTES_MAX;
            return if too_long { Err(HttpFault::LongHead) } else { Ok(None) };
        };
        at += line + 2;
        if line == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> HttpResponse<'_> {
        parse(bytes, false).unwrap().unwrap()
    }

    #[test]
    fn a_length_ends_a_body_and_the_next_answer_may_follow() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ndeHTTP/1.1";
        let answer = whole(bytes);
        assert_eq!((answer.status, answer.keeps, &*answer.body), (200, true, &b"de"[..]));
        assert_eq!(&bytes[answer.length..], b"HTTP/1.1");
    }

    #[test]
    fn chunks_are_put_together() {
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2;x=y\r\nd1\r\n3\r\n:ae\r\n0\r\nTrailer: 1\r\n\r\nrest";
        let answer = whole(bytes);
        assert_eq!((&*answer.body, answer.keeps), (&b"d1:ae"[..], true));
        assert_eq!(&bytes[answer.length..], b"rest");
    }

    #[test]
    fn whether_a_connection_is_kept_follows_version_and_header() {
        for (head, keeps) in [
            ("HTTP/1.1 200 OK\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: Close\r\n", false),
            ("HTTP/1.0 200 OK\r\n", false),
            ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n", true),
        ] {
            let bytes = format!("{head}Content-Length: 0\r\n\r\n");
            assert_eq!(whole(bytes.as_bytes()).keeps, keeps, "{head}");
        }
    }

    #[test]
    fn without_a_length_a_body_ends_with_the_connection() {
        let bytes = b"HTTP/1.1 200 OK\r\n\r\nde";
        assert_eq!(parse(bytes, false), Ok(None));
        let answer = parse(bytes, true).unwrap().unwrap();
        assert_eq!((&*answer.body, answer.keeps), (&b"de"[..], false));
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        let of = |text: &str| parse(text.as_bytes(), false).unwrap_err();
        assert!(matches!(of("SSH-2.0-x\r\n"), HttpFault::Head(_)));
        assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), HttpFault::Length);
        assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"), HttpFault::LongBody);
        assert_eq!(of("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"), HttpFault::Encoding);
        assert_eq!(
            of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxy\r\n"),
            HttpFault::Length
        );
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(of(&endless), HttpFault::LongHead);
    }

    proptest! {
        #[test]
        fn an_answer_is_the_same_however_it_is_chunked_and_never_read_too_early(
            body in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(1usize..80, 0..8),
        ) {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            let mut rest = &body[..];
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (chunk, behind) = rest.split_at(cut.min(rest.len()));
                if !chunk.is_empty() {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                rest = behind;
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let answer = whole(&bytes);
            prop_assert_eq!(&*answer.body, &body[..]);
            prop_assert_eq!(answer.length, bytes.len());
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut], false), Ok(None));
            }
        }

        #[test]
        fn noise_is_refused_or_waited_for(bytes in prop::collection::vec(any::<u8>(), 0..600), ended: bool) {
            if let Ok(Some(answer)) = parse(&bytes, ended) {
                prop_assert!(answer.length <= bytes.len());
            }
        }
    }
}
