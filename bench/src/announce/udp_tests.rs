use std::time::Duration;

use proptest::prelude::*;
use ringseed_meta::Instant;
use ringseed_wire::tracker::{AnnounceEvent, ScrapeStats};
use ringseed_wire::tracker_udp::{
    Request, write_announce_response, write_connect_response, write_error, write_scrape_response,
};

use super::*;
use crate::announce::crowd::Peer;
use crate::note::{Event, Seen};

const DAY: std::ops::Range<Instant> = Instant::ZERO..Instant::from_us(86_400_000_000);
const ANNOUNCE: Ask =
    Ask { torrent: 3, peer: Peer::Only, topic: Topic::Announce(AnnounceEvent::Started) };
const SCRAPE: Ask = Ask { torrent: 3, peer: Peer::Only, topic: Topic::Scrape };

fn at_s(seconds: f64) -> Instant {
    Instant::from_us((seconds * 1e6) as u64)
}

/// One source with a connection id that came at 0, and its tally.
struct Client {
    udp: Udp,
    tally: Tally,
    out: Vec<u8>,
}

impl Client {
    fn new() -> Client {
        let mut tally = Tally::new();
        tally.count_within(DAY);
        Client { udp: Udp::new(1, 40, 6, 9), tally, out: Vec::new() }
    }

    fn connected() -> Client {
        let mut client = Client::new();
        client.connect(at_s(0.0), 77);
        assert_eq!(client.udp.ready(), 1);
        client
    }

    fn connect(&mut self, now: Instant, id: u64) {
        assert_eq!(self.udp.connect(now, &mut self.out), Some(0));
        let Ok(Request::Connect { transaction_id }) = Request::parse(&self.out) else { panic!() };
        let mut answer = Vec::new();
        write_connect_response(&mut answer, transaction_id, id);
        self.udp.received(0, &answer, now, &mut self.tally);
    }

    /// Sends a request and returns its connection and transaction id.
    #[track_caller]
    fn ask(&mut self, ask: Ask, now: Instant) -> (u64, u32) {
        self.out.clear();
        assert!(self.udp.ask(0, ask, now, now, &mut self.tally, &mut self.out));
        match Request::parse(&self.out).unwrap() {
            Request::Announce { connection_id, transaction_id, announce, .. } => {
                assert_eq!(announce, ask.announce(40));
                (connection_id, transaction_id)
            }
            Request::Scrape { connection_id, transaction_id, info_hashes } => {
                assert_eq!(info_hashes.iter().collect::<Vec<_>>(), [info_hash(ask.torrent)]);
                (connection_id, transaction_id)
            }
            Request::Connect { .. } => panic!(),
        }
    }

    fn receive(&mut self, datagram: &[u8], now: Instant) {
        self.udp.received(0, datagram, now, &mut self.tally);
    }

    fn seen(&mut self) -> (Seen, Vec<(String, u64)>) {
        let errors = self.tally.take_errors().map(|event| match event {
            Event::Error(error) => (error.what, error.times),
            other => panic!("{other:?}"),
        });
        (self.tally.take_seen(DAY, 1), errors.collect())
    }

    #[track_caller]
    fn assert_error(&mut self, wanted: &str) {
        let (seen, errors) = self.seen();
        assert_eq!((seen.counts.answers, seen.counts.errors), (0, 1), "{errors:?}");
        assert!(errors.len() == 1 && errors[0].0.contains(wanted), "{wanted}: {errors:?}");
        assert_eq!(self.udp.open(), 0);
    }
}

fn announce_answer(transaction_id: u32, interval_s: u32, peers: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    write_announce_response(&mut answer, transaction_id, interval_s, ScrapeStats::default(), peers);
    answer
}

#[test]
fn an_answer_is_timed_from_when_its_request_was_due() {
    let mut client = Client::connected();
    let (due, asked) = (at_s(1.0), at_s(1.25));
    client.out.clear();
    assert!(client.udp.ask(0, ANNOUNCE, due, asked, &mut client.tally, &mut client.out));
    let Ok(Request::Announce { transaction_id, connection_id: 77, .. }) =
        Request::parse(&client.out)
    else {
        panic!()
    };
    client.receive(&announce_answer(transaction_id, 1800, &[1; 12]), at_s(1.5));
    let (seen, errors) = client.seen();
    assert_eq!((seen.counts.requests, seen.counts.answers, seen.counts.errors), (1, 1, 0));
    assert!(errors.is_empty(), "{errors:?}");
    let of = |name| seen.latencies.iter().find(|(found, _)| *found == name).map(|(_, h)| h.max());
    let about = |us: Option<u64>, right: u64| us.is_some_and(|us| us.abs_diff(right) < right / 500);
    assert!(about(of("announce"), 500_000) && about(of("late"), 250_000), "{:?}", seen.latencies);
    assert_eq!(of("scrape"), None);
}

#[test]
fn a_scrape_is_answered_by_twelve_bytes_or_more() {
    let mut client = Client::connected();
    let (_, id) = client.ask(SCRAPE, at_s(1.0));
    let mut answer = Vec::new();
    write_scrape_response(&mut answer, id, [ScrapeStats::default()]);
    client.receive(&answer, at_s(1.0));
    assert_eq!(client.seen().0.counts.answers, 1);
    let (_, id) = client.ask(SCRAPE, at_s(1.0));
    let mut answer = Vec::new();
    write_scrape_response(&mut answer, id, []);
    client.receive(&answer, at_s(1.0));
    client.assert_error("without the torrent");
}

#[test]
fn answers_that_are_wrong_are_told_by_what_is_wrong_with_them() {
    type Answer = fn(u32) -> Vec<u8>;
    let cases: [(Answer, &str); 7] = [
        (|id| announce_answer(id, 0, &[]), "interval of 0"),
        (|id| announce_answer(id, 9, &[1; 7]), "7 bytes of compact peers"),
        (|id| announce_answer(id, 9, &[1; 6 * 51]), "51 peers where 50"),
        (|id| announce_answer(id, 9, &[])[..16].to_vec(), "16 bytes is too short"),
        (|id| [&9u32.to_be_bytes()[..], &id.to_be_bytes()].concat(), "action 9"),
        (
            |id| {
                let mut answer = Vec::new();
                write_scrape_response(&mut answer, id, [ScrapeStats::default()]);
                answer
            },
            "action scrape answers an announce",
        ),
        (
            |id| {
                let mut answer = Vec::new();
                write_error(&mut answer, id, "go away\n");
                answer
            },
            "refused: go away",
        ),
    ];
    for (answer, wanted) in cases {
        let mut client = Client::connected();
        let (_, id) = client.ask(ANNOUNCE, at_s(1.0));
        client.receive(&answer(id), at_s(1.1));
        client.assert_error(wanted);
    }
}

#[test]
fn a_wrong_transaction_id_answers_nothing_and_the_request_runs_out() {
    let mut client = Client::connected();
    let (_, id) = client.ask(ANNOUNCE, at_s(1.0));
    client.receive(&announce_answer(id ^ 1, 9, &[]), at_s(1.1));
    let (seen, errors) = client.seen();
    assert_eq!((seen.counts.answers, seen.counts.errors), (0, 0));
    assert!(errors[0].0.contains("wrong transaction id"), "{errors:?}");
    client.udp.expire(at_s(1.0).after(ANSWER_WITHIN), &mut client.tally);
    client.assert_error("no answer within 2 s");
    // Too late now, and neither an answer nor a second error of the request.
    client.receive(&announce_answer(id, 9, &[]), at_s(9.0));
    assert_eq!(client.seen().0.counts, crate::results::Counts::default());
}

#[test]
fn an_id_is_renewed_within_its_minute_and_not_used_after_it() {
    let mut client = Client::connected();
    assert_eq!(client.udp.connect(at_s(44.9), &mut client.out), None);
    assert_eq!(client.ask(ANNOUNCE, at_s(44.9)).0, 77);
    // Asked again each half second while no answer comes; the old one serves until its minute is over.
    for tried in [45.0, 45.5, 46.0] {
        assert_eq!(client.udp.connect(at_s(tried), &mut client.out), Some(0), "at {tried} s");
        assert_eq!(client.udp.connect(at_s(tried), &mut client.out), None);
    }
    assert_eq!(client.ask(ANNOUNCE, at_s(59.9)).0, 77);
    client.seen();
    let at = at_s(60.0);
    assert!(!client.udp.ask(0, ANNOUNCE, at, at, &mut client.tally, &mut client.out));
    let (seen, errors) = client.seen();
    assert_eq!(seen.counts.errors, 1);
    assert!(errors[0].0.contains("no connection id"), "{errors:?}");
    client.connect(at_s(61.0), 78);
    assert_eq!(client.ask(ANNOUNCE, at_s(61.0)).0, 78);
}

#[test]
fn a_refused_connect_is_told_and_tried_again() {
    let mut client = Client::new();
    assert_eq!(client.udp.connect(at_s(0.0), &mut client.out), Some(0));
    let Ok(Request::Connect { transaction_id }) = Request::parse(&client.out) else { panic!() };
    let mut answer = Vec::new();
    write_error(&mut answer, transaction_id, "full");
    client.receive(&answer, at_s(0.0));
    assert!(client.seen().1[0].0.contains("connect refused: full"));
    assert_eq!(client.udp.ready(), 0);
    assert_eq!(client.udp.connect(at_s(0.0).after(RETRY_AFTER), &mut client.out), Some(0));
}

#[test]
fn requests_outside_the_time_that_counts_are_not_counted() {
    let mut client = Client::connected();
    client.tally.count_within(at_s(10.0)..at_s(20.0));
    let (_, early) = client.ask(ANNOUNCE, at_s(9.9));
    let (_, last) = client.ask(ANNOUNCE, at_s(19.9));
    client.ask(ANNOUNCE, at_s(20.0));
    client.receive(&announce_answer(early, 9, &[]), at_s(10.5));
    client.receive(&announce_answer(last, 9, &[]), at_s(20.5));
    client.udp.give_up(at_s(22.0), &mut client.tally);
    let (seen, errors) = client.seen();
    // The last one is answered behind that time: it is timed, and not of its rate.
    assert_eq!((seen.counts.requests, seen.counts.answers, seen.counts.errors), (1, 0, 0));
    let timed: Vec<_> = seen.latencies.iter().map(|(name, us)| (*name, us.len())).collect();
    assert_eq!(timed, [("announce", 1), ("late", 1)]);
    assert!(errors.is_empty(), "{errors:?}");
}

proptest! {
    /// Whatever comes, and however often: each request ends once, as an answer or an error.
    #[test]
    fn every_request_ends_once(
        asks in 1usize..40,
        datagrams in prop::collection::vec((0usize..40, prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..80),
    ) {
        let mut client = Client::connected();
        let ids: Vec<u32> = (0..asks).map(|number| {
            client.ask(if number % 2 == 0 { ANNOUNCE } else { SCRAPE }, at_s(1.0)).1
        }).collect();
        for (which, noise, is_good) in datagrams {
            let id = ids[which % asks];
            let good = announce_answer(id, 5, &[]);
            let bytes = if is_good { good } else { [&noise[..noise.len().min(4)], &id.to_be_bytes(), &noise].concat() };
            client.receive(&bytes, at_s(1.1));
            client.receive(&noise, at_s(1.1));
        }
        client.udp.expire(at_s(1.0).after(Duration::from_secs(60)), &mut client.tally);
        let counts = client.seen().0.counts;
        prop_assert_eq!(client.udp.open(), 0);
        prop_assert_eq!(counts.requests, asks as u64);
        prop_assert_eq!(counts.answers + counts.errors, asks as u64);
    }
}
