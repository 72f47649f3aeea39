use std::ops::Range;

use proptest::prelude::*;
use ringseed_meta::Instant;
use ringseed_wire::tracker_http::{parse_announce, parse_scrape};

use super::*;
use crate::announce::crowd::Size;
use crate::note::{Event, Seen};

const DAY: Range<Instant> = Instant::ZERO..Instant::from_us(86_400_000_000);
const T0: Instant = Instant::from_us(1_000_000);
const GOOD: &str = "d8:intervali1800e5:peers6:aaaabbe";

fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A pool and its tally; scrapes or nothing but announces.
struct Client {
    http: Http,
    tally: Tally,
}

impl Client {
    fn new(connections: u32, scrapes: f64) -> Client {
        let url = Url::parse("http://tracker.test:80/announce?pass=1").unwrap();
        let size = Size { torrents: 1, sources: connections, first_source: 10, peers_a_source: 0 };
        let crowd = Crowd::new(size, scrapes, 5);
        let mut tally = Tally::new();
        tally.count_within(DAY);
        Client { http: Http::new(url, crowd, connections, 10), tally }
    }

    /// One with all connections open.
    fn open(connections: u32) -> Client {
        let mut client = Client::new(connections, 0.0);
        while client.http.open_one(T0) {}
        for wish in client.wishes() {
            let Wish::Connect(index) = wish else { panic!("{wish:?}") };
            client.http.opened(index);
        }
        assert_eq!(client.http.open(), connections as usize);
        client
    }

    fn wishes(&mut self) -> Vec<Wish> {
        self.http.take_wishes().collect()
    }

    fn ask(&mut self, due: Instant) {
        self.http.ask(due, T0, &mut self.tally);
    }

    /// The requests that a connection has to send, taken away.
    fn sent(&mut self, index: usize) -> Vec<String> {
        let bytes = std::mem::take(self.http.unsent(index).unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.split_inclusive("\r\n\r\n").map(str::to_owned).collect()
    }

    fn receive(&mut self, index: usize, text: &str) {
        self.http.received(index, text.as_bytes(), T0, &mut self.tally);
    }

    fn end(&mut self, index: usize) {
        self.http.ended(index, "end of stream", T0, &mut self.tally);
    }

    fn seen(&mut self) -> (Seen, Vec<(String, u64)>) {
        let errors = self.tally.take_errors().map(|event| match event {
            Event::Error(error) => (error.what, error.times),
            other => panic!("{other:?}"),
        });
        (self.tally.take_seen(DAY, 1), errors.collect())
    }

    #[track_caller]
    fn assert_counts(&mut self, requests: u64, answers: u64, errors: u64) -> Vec<(String, u64)> {
        let (seen, told) = self.seen();
        let counts = seen.counts;
        assert_eq!(
            (counts.requests, counts.answers, counts.errors),
            (requests, answers, errors),
            "{told:?}"
        );
        told
    }
}

#[test]
fn a_url_is_taken_apart_or_refused() {
    let url = Url::parse("http://[::1]:6969/x/announce?p=1").unwrap();
    assert_eq!((url.host.as_str(), url.base.as_str()), ("[::1]:6969", "/x/announce?p=1"));
    assert_eq!(Url::parse("http://a.b").unwrap().host_and_port(), "a.b:80");
    assert_eq!(Url::parse("http://a.b").unwrap().base, "/announce");
    assert_eq!(Url::parse("http://a.b:8/announce").unwrap().host_and_port(), "a.b:8");
    for wrong in ["https://a.b/announce", "udp://a.b:1", "http:///announce", "http://a b/announce"]
    {
        assert!(Url::parse(wrong).unwrap_err().contains(wrong));
    }
}

#[test]
fn requests_are_what_a_tracker_reads() {
    let mut client = Client::open(1);
    client.ask(T0);
    assert_eq!(client.wishes(), [Wish::Send(0)]);
    let sent = client.sent(0);
    let target = sent[0].strip_prefix("GET /announce?pass=1&").unwrap();
    let (query, rest) = target.split_once(" HTTP/1.1\r\n").unwrap();
    assert!(rest.starts_with("Host: tracker.test:80\r\nUser-Agent: ringseed-swarm/"), "{rest}");
    let announce = parse_announce(query.as_bytes()).unwrap();
    assert_eq!((announce.info_hash, announce.numwant), (info_hash(0), Some(50)));
    let mut client = Client::new(1, 1.0);
    client.ask(T0);
    client.http.opened(0);
    let sent = client.sent(0);
    let query = sent[0].strip_prefix("GET /scrape?pass=1&").unwrap().split(' ').next().unwrap();
    assert_eq!(parse_scrape(query.as_bytes()).unwrap(), [info_hash(0)]);
}

#[test]
fn connections_take_turns_and_share_only_when_all_are_busy_and_kept() {
    let mut client = Client::open(2);
    for _ in 0..3 {
        client.ask(T0);
    }
    assert_eq!(client.wishes(), [Wish::Send(0), Wish::Send(1)]);
    assert_eq!((client.sent(0).len(), client.sent(1).len()), (1, 1));
    // Nothing is known of pipelining: the third waits for a free connection.
    client.http.go_on(T0);
    assert_eq!(client.wishes(), []);
    client.receive(1, &http(GOOD));
    client.http.go_on(T0);
    assert_eq!(client.wishes(), [Wish::Send(1)]);
    // Kept open, so from now on they are shared, up to a bound.
    for _ in 0..100 {
        client.ask(T0);
    }
    client.http.go_on(T0);
    assert_eq!(client.sent(0).len() + client.sent(1).len(), 2 * PIPELINE_MAX - 1);
    client.receive(0, &http(GOOD).repeat(PIPELINE_MAX));
    client.http.go_on(T0);
    assert_eq!(client.sent(0).len(), PIPELINE_MAX);
    client.assert_counts(103, 17, 0);
}

#[test]
fn answers_may_come_in_any_pieces() {
    let mut client = Client::open(1);
    for _ in 0..2 {
        client.ask(T0);
    }
    for byte in http(GOOD).bytes() {
        client.http.received(0, &[byte], T0, &mut client.tally);
    }
    client.http.go_on(T0);
    client.receive(0, &http(GOOD));
    client.assert_counts(2, 2, 0);
    assert!(client.http.is_quiet());
}

#[test]
fn answers_that_are_wrong_are_told_by_what_is_wrong_with_them() {
    let cases = [
        (http("d14:failure reason4:fulle"), "refused: full"),
        (http("d8:intervali0e5:peers0:e"), "interval of 0"),
        (http("d5:peers0:e"), "interval of 0 s, or none"),
        (http("d8:intervali9e5:peers7:aaaabbbe"), "7 bytes of compact peers"),
        (http("d8:intervali9e6:peers617:aaaabbbbccccddddee"), "17 bytes of compact peers"),
        (http(&format!("d8:intervali9e5:peers306:{}e", "a".repeat(306))), "51 peers where 50"),
        (http("d8:interval"), "unreadable"),
        (http("le"), "no dictionary"),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into(), "HTTP status 503"),
        ("220 smtp\r\n\r\n".into(), "not HTTP"),
        (http(GOOD).replace("Content-Length: 3", "Content-Length: x"), "no number"),
    ];
    for (answer, wanted) in cases {
        let mut client = Client::open(1);
        client.ask(T0);
        client.receive(0, &answer);
        let told = client.assert_counts(1, 0, 1);
        assert!(told.len() == 1 && told[0].0.contains(wanted), "{wanted}: {told:?}");
    }
    let mut client = Client::open(1);
    client.receive(0, &http(GOOD));
    assert!(client.seen().1[0].0.contains("not asked for"));
    assert_eq!(client.wishes(), [Wish::Close(0)]);
}

#[test]
fn a_scrape_must_name_the_torrent() {
    let hash = info_hash(0).0;
    for (hash, answers) in [(hash, 1), ([7; 20], 0)] {
        let mut client = Client::new(1, 1.0);
        client.ask(T0);
        client.http.opened(0);
        let files =
            [b"d5:filesd20:", &hash[..], b"d8:completei1e10:downloadedi0e10:incompletei0eeee"]
                .concat();
        let answer = [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", files.len()).as_bytes(),
            &files,
        ]
        .concat();
        client.http.received(0, &answer, T0, &mut client.tally);
        client.assert_counts(1, answers, 1 - answers);
    }
}

#[test]
fn a_tracker_that_closes_after_each_answer_is_connected_to_again() {
    let mut client = Client::open(1);
    let close = http(GOOD).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    for _ in 0..3 {
        client.ask(T0);
    }
    for round in 0..3 {
        client.http.go_on(T0);
        if round > 0 {
            assert_eq!(client.wishes(), [Wish::Connect(0)]);
            client.http.opened(0);
        }
        assert_eq!((client.wishes(), client.sent(0).len()), (vec![Wish::Send(0)], 1));
        client.receive(0, &close);
        assert_eq!(client.wishes(), [Wish::Close(0)]);
    }
    client.assert_counts(3, 3, 0);
    assert!(client.http.is_quiet());
}

#[test]
fn what_a_tracker_drops_behind_an_answer_is_asked_again_and_no_more_is_pipelined() {
    let mut client = Client::open(1);
    client.ask(T0);
    client.receive(0, &http(GOOD));
    for _ in 0..3 {
        client.ask(T0);
    }
    client.wishes();
    let asked = client.sent(0);
    client.receive(0, &http(GOOD));
    client.end(0);
    assert_eq!(client.wishes(), [Wish::Close(0), Wish::Connect(0)]);
    client.http.opened(0);
    assert_eq!(client.sent(0), asked[asked.len() - 2..], "the same requests");
    client.receive(0, &http(GOOD).repeat(2));
    for _ in 0..3 {
        client.ask(T0);
    }
    client.http.go_on(T0);
    assert_eq!(client.sent(0).len(), 1);
    client.assert_counts(7, 4, 0);
}

#[test]
fn a_connection_that_ends_without_an_answer_fails_its_request() {
    let mut client = Client::open(1);
    client.ask(T0);
    client.end(0);
    let told = client.assert_counts(1, 0, 1);
    assert!(told[0].0.contains("without an answer: end of stream"), "{told:?}");
    // Cut within an answer: the same, even after good ones.
    let mut client = Client::open(1);
    client.ask(T0);
    client.receive(0, &http(GOOD));
    client.ask(T0);
    client.receive(0, &http(GOOD)[..30]);
    client.end(0);
    client.assert_counts(2, 1, 1);
    // But an idle one may go, and an answer may end with its connection.
    let mut client = Client::open(2);
    client.end(0);
    client.ask(T0);
    client.receive(1, &format!("HTTP/1.0 200 OK\r\n\r\n{GOOD}"));
    client.end(1);
    client.assert_counts(1, 1, 0);
}

#[test]
fn a_tracker_that_is_not_there_is_an_error_for_each_request_and_tried_again_later() {
    let mut client = Client::new(1, 0.0);
    client.ask(T0);
    client.ask(T0);
    assert_eq!(client.wishes(), [Wish::Connect(0)]);
    client.http.not_opened(0, "refused", T0, &mut client.tally);
    client.http.go_on(T0);
    assert_eq!(client.wishes(), []);
    let told = client.assert_counts(2, 0, 1);
    assert_eq!(told, [("cannot connect: refused".to_owned(), 1)]);
    client.http.go_on(T0.after(RETRY_AFTER));
    assert_eq!(client.wishes(), [Wish::Connect(0)]);
}

#[test]
fn what_takes_too_long_fails_and_its_connection_is_closed() {
    let mut client = Client::open(1);
    client.ask(T0);
    client.ask(T0);
    client.http.expire(Instant::from_us(T0.after(ANSWER_WITHIN).as_us() - 1), &mut client.tally);
    client.assert_counts(2, 0, 0);
    client.http.expire(T0.after(ANSWER_WITHIN), &mut client.tally);
    let told = client.assert_counts(0, 0, 2);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(client.wishes().contains(&Wish::Close(0)));
    assert!(client.http.is_quiet() && client.http.open() == 0);
}

proptest! {
    /// Whatever the tracker does, each request ends once, and answers are counted for what was asked.
    #[test]
    fn every_request_ends_once(steps in prop::collection::vec((0u8..9, 0usize..3), 1..200)) {
        let mut client = Client::new(3, 0.0);
        let mut asked = 0;
        for (step, index) in steps {
            match step {
                0..=2 => {
                    client.ask(T0);
                    asked += 1;
                }
                3 => client.receive(index, &http(GOOD)),
                4 => client.receive(index, &http(GOOD).repeat(2)[..70]),
                5 => client.end(index),
                6 => client.receive(index, "noise\r\n\r\n"),
                7 => client.http.go_on(T0),
                _ => {}
            }
            for wish in client.wishes() {
                match wish {
                    Wish::Connect(index) if step == 2 => {
                        client.http.not_opened(index, "no", T0, &mut client.tally);
                    }
                    Wish::Connect(index) => client.http.opened(index),
                    Wish::Send(index) => drop(client.sent(index)),
                    Wish::Close(_) => {}
                }
            }
            prop_assert!(client.http.open() <= 3);
        }
        client.http.give_up(T0, &mut client.tally);
        let counts = client.seen().0.counts;
        prop_assert_eq!(counts.requests, asked);
        prop_assert_eq!(counts.answers + counts.errors, asked);
        prop_assert!(client.http.is_quiet());
    }
}
