//! What is answered to a request: the target names the page, wire knows the words.

use std::io::Write;
use std::net::IpAddr;

use ringseed_meta::Instant;
use ringseed_ring::Batch;
use ringseed_users::UserId;
use ringseed_wire::tracker_http::{
    AnnounceAnswer, Peers, Retry, parse_announce, parse_scrape, write_failure, write_scrape_answer,
};

use super::exchange::Next;
use super::request::{Persistence, Refusal, Request};
use crate::access::split_path;
use crate::desk::{Desk, Refused};
use crate::figures::Figures;

/// Status lines that we send. Tracker clients read the body of 200 only: what is wrong with an
/// announce or a scrape is told there, as a failure reason (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TargetTooLong,
    FieldsTooLarge,
}

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Media {
    /// Bencode as well, as trackers have always called it.
    Text,
    Html,
    Json,
    OpenMetrics,
}

/// An answer less its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reply {
    status: Status,
    media: Media,
}

/// One for a program or a reader of plain text.
const fn text(status: Status) -> Reply {
    Reply { status, media: Media::Text }
}

impl Media {
    /// Header fields. Figures are of their moment; a page may load and run nothing.
    fn fields(self) -> &'static [u8] {
        match self {
            Media::Text => b"Content-Type: text/plain; charset=utf-8\r\n",
            Media::Html => {
                b"Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n\
                  Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
            }
            Media::Json => b"Content-Type: application/json\r\nCache-Control: no-store\r\n",
            Media::OpenMetrics => {
                b"Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
                  Cache-Control: no-store\r\n"
            }
        }
    }
}

impl Status {
    fn line(self) -> &'static [u8] {
        match self {
            Status::Ok => b"HTTP/1.1 200 OK\r\n",
            Status::BadRequest => b"HTTP/1.1 400 Bad Request\r\n",
            Status::NotFound => b"HTTP/1.1 404 Not Found\r\n",
            // RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field".
            Status::MethodNotAllowed => b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n",
            Status::TargetTooLong => b"HTTP/1.1 414 URI Too Long\r\n",
            Status::FieldsTooLarge => b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
        }
    }
}

/// Writes the head of an answer whose body has `body_bytes`.
pub(super) fn write_head(answers: &mut Batch, reply: Reply, body_bytes: usize, next: Next) {
    answers.push_bytes(reply.status.line());
    answers.push_bytes(reply.media.fields());
    answers.push_bytes(match next {
        Next::Nothing => b"Connection: close\r\n",
        // Without this a client of HTTP/1.0 would wait for the end.
        Next::Request | Next::Rest | Next::Room => b"Connection: keep-alive\r\n",
    });
    let mut length = [0; 48];
    let mut rest = length.as_mut_slice();
    // There is room for the largest number.
    let _ = write!(rest, "Content-Length: {body_bytes}\r\n\r\n");
    let unused = rest.len();
    answers.push_bytes(length.split_at(48 - unused).0);
}

/// Answers a request that came from `peer`; its page comes into `body`, which is empty.
pub(super) fn to(
    desk: &mut Desk,
    now: Instant,
    peer: IpAddr,
    request: &Request<'_>,
    body: &mut Vec<u8>,
) -> (Reply, Next) {
    let proxies = desk.rules.proxies;
    // By the connection's own address: whom a proxy names is none, in whatever network it is.
    let is_unnamed =
        proxies.include(peer) && request.client.is_none() && request.forwarded.is_empty();
    let Some(peer) = proxies.client(request.client.unwrap_or(peer), &request.forwarded) else {
        desk.counters.refused_requests += 1;
        body.extend_from_slice(b"X-Forwarded-For of a trusted proxy: not an address\n");
        return (text(Status::BadRequest), Next::Nothing);
    };
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    let (passkey, page) = if desk.is_private() { split_path(path) } else { (None, path) };
    let reply = match page {
        "/announce" if is_unnamed && !desk.rules.ip_from_proxies => text(unnamed(desk, body)),
        "/announce" => match desk.user(passkey) {
            Ok(user) => {
                let client = Client { ip: peer, is_unnamed };
                text(announce(desk, now, (client, user), query, body))
            }
            Err(refused) => text(decline(refused, body)),
        },
        "/scrape" => match desk.user(passkey) {
            Ok(_) => text(scrape(desk, peer, query, body)),
            Err(refused) => text(decline(refused, body)),
        },
        "/" | "/metrics" | "/stats" if passkey.is_none() && desk.rules.pages.includes(peer) => {
            show(desk.figures(now), page, body)
        }
        _ => text(not_found(desk, body)),
    };
    match request.persistence {
        Persistence::KeepAlive if !desk.is_crowded() => (reply, Next::Request),
        _ => (reply, Next::Nothing),
    }
}

/// Says why a request is not served.
pub(super) fn refuse(desk: &mut Desk, refusal: Refusal, body: &mut Vec<u8>) -> Reply {
    desk.counters.refused_requests += 1;
    let (status, reason) = match refusal {
        Refusal::Malformed => (Status::BadRequest, "not an HTTP/1.1 request without a body\n"),
        Refusal::Method => (Status::MethodNotAllowed, "a tracker is only asked, by GET\n"),
        Refusal::Target => (Status::TargetTooLong, "scrape fewer torrents at once\n"),
        Refusal::Fields => (Status::FieldsTooLarge, "send fewer and shorter header fields\n"),
    };
    body.extend_from_slice(reason.as_bytes());
    text(status)
}

/// Who announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Client {
    ip: IpAddr,
    /// `ip` is that of a trusted proxy, which did not say who is behind it.
    is_unnamed: bool,
}

fn announce(
    desk: &mut Desk,
    now: Instant,
    (client, user): (Client, Option<UserId>),
    query: &str,
    body: &mut Vec<u8>,
) -> Status {
    let request = match parse_announce(query.as_bytes()) {
        Ok(request) => request,
        Err(error) => return fail(desk, &error.to_string(), Retry::Unsaid, body),
    };
    // Whoever else wrote it could name a victim.
    let may_tell = client.is_unnamed && desk.rules.ip_from_proxies;
    let peer = request.ip.filter(|_| may_tell).unwrap_or(client.ip);
    let stats = match desk.announce(now, peer, user, &request) {
        Ok(stats) => {
            desk.counters.http_announces += 1;
            stats
        }
        Err(refused) => return decline(refused, body),
    };
    if request.no_peer_id {
        desk.handed_out.iter_mut().for_each(|peer| peer.peer_id = None);
    }
    let (interval_s, min_interval_s) = (desk.interval_s(), desk.rules.min_interval_s());
    let peers = match (request.wants_compact, peer.to_canonical()) {
        (false, _) => Peers::Dicts(&desk.handed_out),
        (true, IpAddr::V4(_)) => Peers::Compact { v4: desk.pack_peers(), v6: &[] },
        (true, IpAddr::V6(_)) => Peers::Compact { v4: &[], v6: desk.pack_peers() },
    };
    let answer = AnnounceAnswer {
        interval_s,
        min_interval_s: Some(min_interval_s),
        seeders: stats.seeders,
        leechers: stats.leechers,
        completed: Some(stats.completed),
        warning: None,
        tracker_id: None,
        external_ip: Some(peer.to_canonical()),
        peers,
    };
    answer.write(body);
    Status::Ok
}

fn scrape(desk: &mut Desk, peer: IpAddr, query: &str, body: &mut Vec<u8>) -> Status {
    match parse_scrape(query.as_bytes()) {
        Ok(info_hashes) => {
            desk.counters.http_scrapes += info_hashes.len() as u64;
            let mut torrents: Vec<_> = info_hashes
                .into_iter()
                .map(|torrent| (torrent, desk.scrape(peer, &torrent)))
                .collect();
            write_scrape_answer(body, &mut torrents);
            Status::Ok
        }
        Err(error) => fail(desk, &error.to_string(), Retry::Unsaid, body),
    }
}

/// Refuses an announce of which nobody knows where it comes from: all behind the proxy would be one.
fn unnamed(desk: &mut Desk, body: &mut Vec<u8>) -> Status {
    desk.counters.refused_requests += 1;
    body.extend_from_slice(
        b"a trusted proxy does not say whom this comes from: make it set X-Forwarded-For or send \
          a PROXY header\n",
    );
    Status::BadRequest
}

/// Tells a client why it is not served, and when it may ask again.
fn decline(refused: Refused, body: &mut Vec<u8>) -> Status {
    write_failure(body, &refused.to_string(), refused.retry());
    Status::Ok
}

fn fail(desk: &mut Desk, reason: &str, retry: Retry, body: &mut Vec<u8>) -> Status {
    desk.counters.refused_requests += 1;
    write_failure(body, reason, retry);
    Status::Ok
}

/// The page of figures at a path that has one.
fn show(figures: Figures, path: &str, body: &mut Vec<u8>) -> Reply {
    let media = match path {
        "/metrics" => {
            figures.write_metrics(body);
            Media::OpenMetrics
        }
        "/stats" => {
            figures.write_json(body);
            Media::Json
        }
        _ => {
            figures.write_html(body);
            Media::Html
        }
    };
    Reply { status: Status::Ok, media }
}

fn not_found(desk: &mut Desk, body: &mut Vec<u8>) -> Status {
    desk.counters.refused_requests += 1;
    body.extend_from_slice(b"not here: /announce and /scrape are what there is\n");
    Status::NotFound
}
