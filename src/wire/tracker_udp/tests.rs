//! Both sides of the UDP protocol.

use core::net::{IpAddr, SocketAddr};
use std::vec;

use proptest::prelude::*;

use super::*;
use crate::tracker::{ScrapeStats, compact};

fn announce() -> AnnounceRequest {
    AnnounceRequest {
        uploaded: 3,
        downloaded: 1,
        left: 2,
        event: AnnounceEvent::Started,
        key: Some(9),
        numwant: Some(50),
        ip: Some(IpAddr::from([192, 0, 2, 1])),
        ..AnnounceRequest::new(InfoHash([1; 20]), PeerId([2; 20]), 6881)
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn announce_packet(url_data: &str) -> Vec<u8> {
    written(|out| write_announce_request(out, 77, 88, &announce(), url_data))
}

#[test]
fn fields_stand_at_the_offsets_of_bep_15() {
    let packet = announce_packet("");
    assert_eq!(packet.len(), ANNOUNCE_REQUEST_BYTES);
    let field = |at: usize, bytes: usize| {
        packet[at..at + bytes].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    assert_eq!([field(0, 8), field(8, 4), field(12, 4)], [77, 1, 88]);
    assert_eq!((packet[16], packet[35], packet[36], packet[55]), (1, 1, 2, 2));
    assert_eq!([field(56, 8), field(64, 8), field(72, 8)], [1, 2, 3]);
    let rest = [field(80, 4), field(84, 4), field(88, 4), field(92, 4), field(96, 2)];
    assert_eq!(rest, [2, 0xc000_0201, 9, 50, 6881]);
    let connect = written(|out| write_connect_request(out, 5));
    assert_eq!(connect, [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0, 0, 0, 5]);
}

#[test]
fn what_a_client_writes_a_tracker_reads() {
    let connect = written(|out| write_connect_request(out, 5));
    assert_eq!(Request::parse(&connect), Ok(Request::Connect { transaction_id: 5 }));
    let packet = announce_packet("/announce?auth=x");
    let Ok(Request::Announce { connection_id, transaction_id, announce: read, options }) =
        Request::parse(&packet)
    else {
        panic!("no announce")
    };
    assert_eq!((connection_id, transaction_id, read), (77, 88, announce()));
    assert_eq!(url_data(options), b"/announce?auth=x");
    let hashes = [InfoHash([3; 20]), InfoHash([4; 20])];
    let scrape = written(|out| write_scrape_request(out, 7, 8, &hashes));
    let Ok(Request::Scrape { connection_id: 7, transaction_id: 8, info_hashes }) =
        Request::parse(&scrape)
    else {
        panic!("no scrape")
    };
    assert!(info_hashes.iter().eq(hashes));
}

#[test]
fn defaults_of_an_announce_are_those_of_the_bep() {
    let plain = AnnounceRequest::new(InfoHash([1; 20]), PeerId([2; 20]), 1);
    let packet = written(|out| write_announce_request(out, 1, 2, &plain, ""));
    assert_eq!(packet[80..88], [0; 8]);
    assert_eq!(packet[92..96], [0xff; 4]);
    let Ok(Request::Announce { announce, .. }) = Request::parse(&packet) else { panic!() };
    assert_eq!((announce.numwant, announce.ip, announce.key), (None, None, Some(0)));
    assert_eq!(announce.event, AnnounceEvent::None);
}

#[test]
fn the_options_of_bep_41_are_read_as_its_examples() {
    let data = |options: &[u8]| url_data(Options(options));
    let dir = b"\x02\x0c/dir?a=b&c=d";
    assert_eq!(data(dir), b"/dir?a=b&c=d");
    assert_eq!(data(&[&dir[..], &[1, 1, 0]].concat()), b"/dir?a=b&c=d");
    assert_eq!(data(&[2, 0]), b"");
    assert_eq!(data(&[1, 2, 1, b'a', 1, 1, 2, 1, b'b']), b"ab");
    assert_eq!(data(&[2, 1, b'a', 200, 2, 9, 9, 2, 1, b'b', 0, 2, 1, b'c']), b"ab");
    assert_eq!(data(&[2, 5, b'a']), b"", "an option that is cut off is none");
    assert_eq!(data(&[7]), b"");
}

#[test]
fn a_long_url_is_split_into_options_and_cut_at_the_limit() {
    let url = "x".repeat(600);
    let packet = announce_packet(&url);
    assert_eq!(packet.len(), ANNOUNCE_REQUEST_BYTES + 600 + 3 * 2);
    let Ok(Request::Announce { options, .. }) = Request::parse(&packet) else { panic!() };
    assert_eq!(url_data(options), url.as_bytes());
    let packet = announce_packet(&"x".repeat(5000));
    assert_eq!(packet.len(), ANNOUNCE_REQUEST_BYTES + limits::URL_DATA_BYTES_MAX + 8 * 2);
}

#[test]
fn requests_that_are_wrong_name_what_an_error_needs() {
    let short = &announce_packet("")[..97];
    let error = Request::parse(short).unwrap_err();
    let expected =
        RequestError::TooShort { bytes: 97, action: 1, transaction_id: 88, connection_id: 77 };
    assert_eq!(error, expected);
    let mut port_zero = announce_packet("");
    port_zero[96..].fill(0);
    let expected = RequestError::PortZero { transaction_id: 88, connection_id: 77 };
    assert_eq!(Request::parse(&port_zero), Err(expected));
    let mut unknown = announce_packet("");
    unknown[11] = 9;
    let expected = RequestError::UnknownAction { action: 9, transaction_id: 88, connection_id: 77 };
    assert_eq!(Request::parse(&unknown), Err(expected));
    let scrape = written(|out| write_scrape_request(out, 7, 8, &[]));
    assert!(matches!(Request::parse(&scrape), Err(RequestError::TooShort { action: 2, .. })));
    let mut connect = written(|out| write_connect_request(out, 5));
    connect[0] = 1;
    assert_eq!(Request::parse(&connect), Err(RequestError::NotARequest { bytes: 16 }));
    assert_eq!(Request::parse(&connect[..15]), Err(RequestError::NotARequest { bytes: 15 }));
}

#[test]
fn what_a_tracker_writes_a_client_reads() {
    let connect = written(|out| write_connect_response(out, 5, 6));
    let expected = Response::Connect { transaction_id: 5, connection_id: 6 };
    assert_eq!(Response::parse(&connect), Ok(expected));

    let stats = ScrapeStats { seeders: 1, completed: 2, leechers: 3, partial_seeds: 0 };
    for peer in ["192.0.2.7:6881", "[2001:db8::7]:51413"] {
        let peer: SocketAddr = peer.parse().unwrap();
        let mut packed = Vec::new();
        compact::push(&mut packed, peer);
        let packet = written(|out| write_announce_response(out, 5, 1800, stats, &packed));
        assert_eq!(packet.len(), if peer.is_ipv4() { 26 } else { 38 });
        let read = Response::parse(&packet).unwrap();
        let Response::Announce { interval_s: 1800, leechers: 3, seeders: 1, .. } = read else {
            panic!("{read:?}")
        };
        match peer.is_ipv4() {
            true => assert!(read.peers_v4().eq([peer])),
            false => assert!(read.peers_v6().eq([peer])),
        }
        assert_eq!((read.transaction_id(), read.stats().count()), (5, 0));
    }

    let packet = written(|out| write_scrape_response(out, 5, [stats, ScrapeStats::default()]));
    let read = Response::parse(&packet).unwrap();
    assert!(read.stats().eq([stats, ScrapeStats::default()]));
    assert_eq!(read.peers_v4().count(), 0);

    let packet = written(|out| write_error(out, 5, "no"));
    let expected = Response::Error { transaction_id: 5, message: b"no" };
    assert_eq!(Response::parse(&packet), Ok(expected));
}

#[test]
fn a_long_error_message_and_a_long_scrape_are_cut() {
    let packet = written(|out| write_error(out, 5, &"x".repeat(9000)));
    let Ok(Response::Error { message, .. }) = Response::parse(&packet) else { panic!() };
    assert_eq!(message.len(), limits::TRACKER_TEXT_BYTES_MAX);
    let hashes = vec![InfoHash([1; 20]); 100];
    let packet = written(|out| write_scrape_request(out, 1, 2, &hashes));
    assert_eq!(packet.len(), 16 + 20 * limits::SCRAPE_MAX);
    let long = [packet, vec![1; 20 * 30]].concat();
    let Ok(Request::Scrape { info_hashes, .. }) = Request::parse(&long) else { panic!() };
    assert_eq!(info_hashes.iter().count(), limits::SCRAPE_MAX);
}

/// Reads a packet as both sides would, all that can be taken from it included.
fn read_all(packet: &[u8]) -> usize {
    let request = match Request::parse(packet) {
        Ok(Request::Announce { options, .. }) => url_data(options).len(),
        Ok(Request::Scrape { info_hashes, .. }) => info_hashes.iter().count(),
        Ok(Request::Connect { .. }) | Err(_) => 0,
    };
    let response = match Response::parse(packet) {
        Ok(read) => read.peers_v4().count() + read.peers_v6().count() + read.stats().count(),
        Err(_) => 0,
    };
    request + response
}

#[test]
fn every_action_at_every_length_is_read_without_a_panic() {
    let actions = [0, 1, 2, 3, 4, u32::MAX];
    for action in actions {
        for length in 0..256usize {
            for fill in [0u8, 1, 2, 0xff] {
                let mut request = PROTOCOL_ID.to_be_bytes().to_vec();
                request.extend(action.to_be_bytes());
                let mut response = action.to_be_bytes().to_vec();
                for packet in [&mut request, &mut response] {
                    packet.resize(256, fill);
                    assert!(read_all(&packet[..length]) <= 256);
                }
            }
        }
    }
}

fn any_event() -> impl Strategy<Value = AnnounceEvent> {
    use AnnounceEvent::*;
    prop_oneof![Just(None), Just(Completed), Just(Started), Just(Stopped), Just(Paused)]
}

proptest! {
    #[test]
    fn arbitrary_packets_never_panic(packet in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(read_all(&packet) <= 2000);
    }

    #[test]
    fn any_announce_comes_through(
        numbers: [u64; 3], ids: [[u8; 20]; 2], port in 1u16.., key: u32, numwant in 0u32..0x8000_0000,
        ip in 1u32.., url in "[ -~]{0,700}", event in any_event(),
    ) {
        let announce = AnnounceRequest {
            uploaded: numbers[0],
            downloaded: numbers[1],
            left: numbers[2],
            event,
            key: Some(key),
            numwant: Some(numwant),
            ip: Some(IpAddr::from(ip.to_be_bytes())),
            ..AnnounceRequest::new(InfoHash(ids[0]), PeerId(ids[1]), port)
        };
        let packet = written(|out| write_announce_request(out, 1, 2, &announce, &url));
        let Ok(Request::Announce { announce: read, options, .. }) = Request::parse(&packet) else {
            return Err(TestCaseError::fail("no announce"));
        };
        prop_assert_eq!(read, announce);
        prop_assert_eq!(url_data(options), url.as_bytes());
    }
}
