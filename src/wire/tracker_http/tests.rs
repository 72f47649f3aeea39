//! Both sides of an announce and a scrape over HTTP.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use ringseed_meta::{InfoHash, PeerId};

use super::*;
use crate::limits;
use crate::tracker::{AnnounceEvent, AnnounceRequest, ScrapeStats, compact};

const HASH: InfoHash = InfoHash(*b"\x124Vx\x9a\xbc\xde\xf1#Eg\x89\xab\xcd\xef\x124Vx\x9a");
const ID: PeerId = PeerId(*b"-RS0001-%&=+ #?/~._a");

fn query_of(target: &str) -> &[u8] {
    target.split_once('?').unwrap().1.as_bytes()
}

fn answer<'a>(peers: Peers<'a>) -> AnnounceAnswer<'a> {
    AnnounceAnswer {
        interval_s: 1800,
        min_interval_s: Some(60),
        seeders: 3,
        leechers: 4,
        completed: Some(5),
        warning: Some("slow down"),
        tracker_id: Some(b"abc"),
        external_ip: Some(IpAddr::from([192, 0, 2, 1])),
        peers,
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

#[test]
fn an_announce_is_written_as_trackers_expect_it() {
    let request = AnnounceRequest {
        uploaded: 7,
        event: AnnounceEvent::Started,
        key: Some(0xbeef),
        numwant: Some(50),
        ..AnnounceRequest::new(HASH, ID, 6881)
    };
    let target = announce_target("/announce", &request);
    let expected = "/announce?info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A\
        &peer_id=-RS0001-%25%26%3D%2B%20%23%3F%2F~._a&port=6881&uploaded=7&downloaded=0&left=0\
        &key=0000BEEF&event=started&numwant=50&compact=1&no_peer_id=1";
    assert_eq!(target, expected);
}

#[test]
fn the_query_of_the_trackers_own_url_is_kept() {
    let request = AnnounceRequest::new(HASH, ID, 1);
    assert!(announce_target("/a?passkey=1", &request).starts_with("/a?passkey=1&info_hash="));
    assert!(announce_target("/a#part", &request).starts_with("/a?info_hash="));
    assert!(announce_target("", &request).starts_with("/?info_hash="));
}

#[test]
fn only_announce_in_the_last_segment_becomes_scrape() {
    let target = |base: &str| scrape_target(base, &[HASH]);
    let query = "info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";
    assert_eq!(target("/announce"), Some(["/scrape?", query].concat()));
    let with_key = target("/x/announce.php?passkey=a/announce");
    assert_eq!(with_key, Some(["/x/scrape.php?passkey=a/announce&", query].concat()));
    assert_eq!(target("/a"), None);
    assert_eq!(target("/announce/x"), None);
    assert_eq!(target("announce"), None);
}

#[test]
fn what_is_missing_twice_or_out_of_range_is_named() {
    let hash = "info_hash=aaaaaaaaaaaaaaaaaaaa";
    let id = "peer_id=bbbbbbbbbbbbbbbbbbbb";
    let good = [hash, id, "port=1&left=0"].join("&");
    assert_eq!(parse_announce(good.as_bytes()).map(|announce| announce.port), Ok(1));
    let fault = |query: &str| parse_announce(query.as_bytes()).unwrap_err();
    assert_eq!(fault(""), QueryError::Missing("info_hash"));
    assert_eq!(fault(hash), QueryError::Missing("peer_id"));
    assert_eq!(fault(&[hash, id].join("&")), QueryError::Missing("port"));
    assert_eq!(fault(&[hash, id, "port=1"].join("&")), QueryError::Missing("left"));
    let twice = ["port=1", "left=0", "event=stopped", "compact=1", hash, id];
    for parameter in twice {
        let name = parameter.split('=').next().unwrap();
        let error = fault(&[&good, parameter, parameter].join("&"));
        assert!(matches!(error, QueryError::Duplicate(at) if at == name), "{error}");
    }
    for number in ["port=0", "port=65536", "port=-1", "port=+1", "port=", "left=1e3", "left=-5"] {
        let name = number.split('=').next().unwrap();
        let error = fault(&[hash, id, number].join("&"));
        assert!(matches!(error, QueryError::Number(at) if at == name), "{number}: {error}");
    }
    assert_eq!(fault("info_hash=aaa"), QueryError::Length("info_hash"));
    assert_eq!(fault("info_hash=aaaaaaaaaaaaaaaaaaaaa"), QueryError::Length("info_hash"));
    assert_eq!(fault("info_hash=%4"), QueryError::Escape("info_hash"));
    assert_eq!(fault("peer_id=%zz"), QueryError::Escape("peer_id"));
    let numwant = [&good, "numwant=99999999999999999999999"].join("&");
    assert_eq!(fault(&numwant), QueryError::Number("numwant"));
}

#[test]
fn what_clients_write_in_their_own_ways_is_understood() {
    let good = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=-XX1234-%2b%2B+bbbbbbbbb&port=1&left=9";
    let parse = |more: &str| parse_announce([good, more].join("&").as_bytes()).unwrap();
    assert_eq!(parse("").peer_id, PeerId(*b"-XX1234-+++bbbbbbbbb"));
    let plain = parse("supportcrypto=1&&x&event=paused&numwant=-1&ip=example.org");
    assert_eq!((plain.event, plain.numwant, plain.ip), (AnnounceEvent::Paused, None, None));
    assert!(plain.wants_compact && !plain.no_peer_id);
    assert!(!parse("compact=0").wants_compact);
    assert_eq!(parse("ip=2001%3Adb8::1").ip, Some("2001:db8::1".parse().unwrap()));
    assert_eq!(parse("key=BEEF").key, Some(0xbeef));
    assert_ne!(parse("key=not-hex").key, parse("key=no-hex").key);
    assert_eq!(parse("numwant=5000000000").numwant, Some(u32::MAX));
}

#[test]
fn a_query_beyond_the_limits_is_refused() {
    let long = vec![b'a'; limits::QUERY_BYTES_MAX + 1];
    assert_eq!(parse_announce(&long), Err(QueryError::TooLong { bytes: 8193 }));
    let many = "a=1&".repeat(limits::QUERY_PARAMETERS_MAX + 1);
    assert_eq!(parse_scrape(many.as_bytes()), Err(QueryError::TooManyParameters));
    let torrents = ["info_hash=aaaaaaaaaaaaaaaaaaaa"; limits::SCRAPE_MAX + 1];
    let scrape = |count: usize| parse_scrape(torrents[..count].join("&").as_bytes());
    assert_eq!(scrape(limits::SCRAPE_MAX).map(|torrents| torrents.len()), Ok(74));
    assert_eq!(scrape(limits::SCRAPE_MAX + 1), Err(QueryError::TooManyTorrents));
    assert_eq!(parse_scrape(b"x=1"), Err(QueryError::Missing("info_hash")));
}

#[test]
fn an_answer_is_canonical_bencode_and_reads_back() {
    let peers: [SocketAddr; 3] = [
        "192.0.2.7:6881".parse().unwrap(),
        "[2001:db8::7]:51413".parse().unwrap(),
        "192.0.2.8:1".parse().unwrap(),
    ];
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for peer in peers {
        compact::push(if peer.is_ipv4() { &mut v4 } else { &mut v6 }, peer);
    }
    let packed = written(|out| answer(Peers::Compact { v4: &v4, v6: &v6 }).write(out));
    let entries = peers.map(|address| PeerEntry { address, peer_id: Some(ID) });
    let dicts = written(|out| answer(Peers::Dicts(&entries)).write(out));
    let short = entries.map(|entry| PeerEntry { peer_id: None, ..entry });
    let short = written(|out| answer(Peers::Dicts(&short)).write(out));
    for body in [&packed, &dicts, &short] {
        let document = ringseed_meta::bencode::parse(
            body,
            &ringseed_meta::bencode::Limits { bytes_max: 4096, depth_max: 4, values_max: 100 },
        );
        assert_eq!(document.unwrap().unsorted_key(), None);
        let read = parse_announce_answer(body).unwrap();
        assert_eq!((read.interval_s, read.min_interval_s), (1800, Some(60)));
        assert_eq!((read.seeders, read.leechers, read.completed), (Some(3), Some(4), Some(5)));
        assert_eq!(read.warning.as_deref(), Some("slow down"));
        assert_eq!(read.tracker_id.as_deref(), Some(&b"abc"[..]));
        assert_eq!(read.external_ip, Some(IpAddr::from([192, 0, 2, 1])));
        let mut found = read.peers;
        found.sort();
        let mut expected = peers;
        expected.sort();
        assert_eq!(found, expected);
    }
    let start = String::from_utf8_lossy(&dicts).into_owned();
    assert!(start.contains("5:peersld2:ip9:192.0.2.77:peer id20:-RS0001-"), "{start}");
}

#[test]
fn the_example_of_bep_7_is_read() {
    let body = b"d8:intervali1800e5:peers6:iiiipp6:peers618:iiiiiiiiiiiiiiiippe";
    let read = parse_announce_answer(body).unwrap();
    let ports: Vec<u16> = read.peers.iter().map(SocketAddr::port).collect();
    assert_eq!(ports, [0x7070, 0x7070]);
    assert!(read.peers[0].is_ipv4() && read.peers[1].is_ipv6());
}

#[test]
fn odd_answers_lose_only_what_is_odd() {
    let body =
        b"d8:completei-1e8:interval4:soon5:peersld2:ip11:example.org4:porti1eed2:ip9:192.0.2.1\
        4:porti99999eed2:ip9:192.0.2.14:porti7eee15:warning message4:\x01\xffok6:peers63:abce\r\n";
    let read = parse_announce_answer(body).unwrap();
    assert_eq!(read.interval_s, INTERVAL_DEFAULT_S);
    assert_eq!((read.seeders, read.warning.as_deref()), (None, Some("\u{fffd}ok")));
    assert_eq!(read.peers, ["192.0.2.1:7".parse().unwrap()]);
    assert_eq!(parse_announce_answer(b"de").unwrap().peers, []);
    assert_eq!(parse_announce_answer(b"le"), Err(AnswerError::Incomplete));
    assert_eq!(parse_scrape_answer(b"de"), Err(AnswerError::Incomplete));
    assert!(matches!(parse_announce_answer(b"<html>"), Err(AnswerError::Bencode(_))));
}

#[test]
fn a_failure_says_why_and_when_to_come_back() {
    let said = |retry| {
        let body = written(|out| write_failure(out, "not\nhere", retry));
        let AnswerError::Refused { reason, retry } = parse_announce_answer(&body).unwrap_err()
        else {
            panic!("no failure")
        };
        assert_eq!(reason, "nothere");
        assert_eq!(
            parse_scrape_answer(&body).unwrap_err().to_string(),
            "the tracker refuses: nothere"
        );
        retry
    };
    for retry in [Retry::Unsaid, Retry::InMinutes(5), Retry::Never] {
        assert_eq!(said(retry), retry);
    }
    // BEP 31's example writes the minutes as a string.
    let body = b"d14:failure reason10:Overloaded8:retry in1:5e";
    let error = parse_announce_answer(body).unwrap_err();
    assert!(matches!(error, AnswerError::Refused { retry: Retry::InMinutes(5), .. }));
}

#[test]
fn a_scrape_answer_reads_back_sorted_and_once_each() {
    let stats = |seeders| ScrapeStats { seeders, completed: 2, leechers: 3, partial_seeds: 1 };
    let (one, two) = (InfoHash([1; 20]), InfoHash([2; 20]));
    let mut torrents = [(two, stats(8)), (one, stats(9)), (two, stats(8))];
    let body = written(|out| write_scrape_answer(out, &mut torrents));
    assert!(body.starts_with(b"d5:filesd20:\x01\x01"));
    assert!(body.windows(18).any(|bytes| bytes == b"11:downloadersi2e1"));
    assert_eq!(parse_scrape_answer(&body), Ok(vec![(one, stats(9)), (two, stats(8))]));
    let empty = written(|out| write_scrape_answer(out, &mut []));
    assert_eq!(parse_scrape_answer(&empty), Ok(vec![]));
}

#[test]
fn a_list_of_peers_that_never_ends_is_cut() {
    let packed = [1u8; 6 * 3000];
    let body = written(|out| answer(Peers::Compact { v4: &packed, v6: &[] }).write(out));
    assert_eq!(parse_announce_answer(&body).unwrap().peers.len(), limits::ANSWER_PEERS_MAX);
}

fn any_request() -> impl Strategy<Value = AnnounceRequest> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<Option<u32>>());
    let events = prop_oneof![
        Just(AnnounceEvent::None),
        Just(AnnounceEvent::Completed),
        Just(AnnounceEvent::Started),
        Just(AnnounceEvent::Stopped),
        Just(AnnounceEvent::Paused),
    ];
    let ids = (any::<[u8; 20]>(), any::<[u8; 20]>(), prop::collection::vec(any::<u8>(), 0..256));
    let rest = (1u16.., events, any::<Option<u32>>(), any::<Option<IpAddr>>(), any::<[bool; 2]>());
    (ids, numbers, rest).prop_map(|((info_hash, peer_id, tracker_id), numbers, rest)| {
        let (uploaded, downloaded, left, key) = numbers;
        let (port, event, numwant, ip, [wants_compact, no_peer_id]) = rest;
        AnnounceRequest {
            info_hash: InfoHash(info_hash),
            peer_id: PeerId(peer_id),
            port,
            uploaded,
            downloaded,
            left,
            event,
            key,
            numwant,
            ip,
            tracker_id,
            wants_compact,
            no_peer_id,
        }
    })
}

proptest! {
    #[test]
    fn what_a_client_writes_a_tracker_reads(request in any_request()) {
        let target = announce_target("/announce", &request);
        prop_assert!(target.is_ascii() && !target.contains([' ', '#', '\n']));
        prop_assert_eq!(parse_announce(query_of(&target)), Ok(request));
    }

    #[test]
    fn torrents_of_a_scrape_come_through(hashes in prop::collection::vec(any::<[u8; 20]>(), 1..74)) {
        let hashes: Vec<InfoHash> = hashes.into_iter().map(InfoHash).collect();
        let target = scrape_target("/announce", &hashes).unwrap();
        prop_assert_eq!(parse_scrape(query_of(&target)), Ok(hashes));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_announce(&bytes);
        let _ = parse_scrape(&bytes);
        let _ = parse_announce_answer(&bytes);
        let _ = parse_scrape_answer(&bytes);
    }
}
