//! Datagrams that come together.

use ringseed_meta::{InfoHash, PeerId};
use ringseed_wire::tracker::{AnnounceEvent, AnnounceRequest};
use ringseed_wire::tracker_udp::{
    Response, write_announce_request, write_connect_request, write_scrape_request,
};

use super::*;

/// What a client says in one datagram after another, and the answers: all at once, or one by one.
fn answers_to(requests: &[(SocketAddr, Vec<u8>)], at_once: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut stage = Stage::new(Options::calm(1));
    let mut answers = Vec::new();
    for together in requests.chunks(at_once) {
        for (from, request) in together {
            stage.world.deliver_datagram(stage.udp, *from, request);
        }
        stage.run_ms(1);
        answers.extend(stage.world.datagrams_sent(stage.udp));
    }
    stage.end();
    answers
}

#[test]
fn datagrams_that_come_together_are_answered_as_if_they_came_one_by_one() {
    let mut connects = Vec::new();
    for port in 1..=5 {
        let mut request = Vec::new();
        write_connect_request(&mut request, u32::from(port));
        connects.push((client(port), request));
    }
    let ids = answers_to(&connects, 1);
    let Ok(Response::Connect { connection_id, .. }) = Response::parse(&ids[0].1) else { panic!() };
    // Peers come, find each other, finish and leave, in torrents that come and go; some have no
    // good id, some are no requests.
    let requests: Vec<_> = (0..600u32)
        .map(|number| {
            let event = match number % 7 {
                0..3 => AnnounceEvent::Started,
                3 => AnnounceEvent::Completed,
                4 => AnnounceEvent::Stopped,
                _ => AnnounceEvent::None,
            };
            let torrent = InfoHash([(number * number % 11) as u8; 20]);
            let announce = AnnounceRequest {
                left: u64::from(number % 3),
                uploaded: 1,
                key: Some(number % 40),
                event,
                numwant: Some(number % 9),
                ..AnnounceRequest::new(torrent, PeerId([1; 20]), 2000 + (number % 40) as u16)
            };
            let id = if number % 13 == 0 { 5 } else { connection_id };
            let mut request = Vec::new();
            match number % 10 {
                0 => write_scrape_request(&mut request, id, number, &[torrent]),
                1 => request.extend_from_slice(b"no request"),
                _ => write_announce_request(&mut request, id, number, &announce, ""),
            }
            (client(1 + (number % 40) as u16), request)
        })
        .collect();
    let expected = answers_to(&requests, 1);
    assert!(expected.len() > 400);
    for at_once in [2, 63, 64, 65, 600] {
        assert_eq!(answers_to(&requests, at_once), expected, "{at_once} at once");
    }
}
