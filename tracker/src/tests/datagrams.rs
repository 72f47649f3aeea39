//! Datagrams that nobody should send: forged, stale, said again, cut short; and a clock that jumps.

use std::time::Duration;

use ringseed_meta::{InfoHash, PeerId};
use ringseed_wire::tracker::{AnnounceEvent, AnnounceRequest};
use ringseed_wire::tracker_udp::{
    Response, write_announce_request, write_connect_request, write_scrape_request,
};

use super::*;

const TORRENT: InfoHash = InfoHash([5; 20]);

/// What is answered to a datagram.
fn ask(stage: &mut Stage, from: SocketAddr, request: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
    stage.world.deliver_datagram(stage.udp, from, request);
    stage.run_ms(1);
    stage.world.datagrams_sent(stage.udp)
}

fn connect(stage: &mut Stage, from: SocketAddr) -> u64 {
    let mut request = Vec::new();
    write_connect_request(&mut request, 7);
    let answers = ask(stage, from, &request);
    let [(_, answer)] = answers.as_slice() else { panic!("{answers:?}") };
    let Ok(Response::Connect { connection_id, .. }) = Response::parse(answer) else { panic!() };
    connection_id
}

fn announce(id: u64, port: u16, event: AnnounceEvent) -> Vec<u8> {
    let announce =
        AnnounceRequest { left: 5, event, ..AnnounceRequest::new(TORRENT, PeerId([1; 20]), port) };
    let mut request = Vec::new();
    write_announce_request(&mut request, id, 8, &announce, "/announce");
    request
}

/// How many leechers the tracker knows, asked by one whose id is good.
fn leechers(stage: &mut Stage) -> u32 {
    let id = connect(stage, client(99));
    let mut request = Vec::new();
    write_scrape_request(&mut request, id, 9, &[TORRENT]);
    let answers = ask(stage, client(99), &request);
    let [(_, answer)] = answers.as_slice() else { panic!("{answers:?}") };
    Response::parse(answer).unwrap().stats().map(|stats| stats.leechers).sum()
}

#[test]
fn ids_that_are_forged_or_stale_or_of_another_list_nobody_and_are_not_answered() {
    let mut stage = Stage::new(Options::calm(1));
    let id = connect(&mut stage, client(1));
    let other = SocketAddr::from(([10, 0, 0, 3], 1));
    for (from, id) in [(client(1), 0), (client(1), id ^ 1), (client(1), id ^ 1 << 63), (other, id)]
    {
        let answers = ask(&mut stage, from, &announce(id, 2000, AnnounceEvent::Started));
        assert!(answers.is_empty(), "{from} {answers:?}");
    }
    assert_eq!(leechers(&mut stage), 0);
    // Good for two minutes, whatever port of its address it comes from.
    stage.run_ms(120_000);
    let answers = ask(&mut stage, client(2), &announce(id, 2000, AnnounceEvent::Started));
    assert_eq!((answers.len(), leechers(&mut stage)), (1, 1));
    stage.run_ms(60_000);
    assert!(ask(&mut stage, client(1), &announce(id, 2001, AnnounceEvent::Started)).is_empty());
    assert!(ask(&mut stage, client(1), &announce(id, 2000, AnnounceEvent::Stopped)).is_empty());
    assert_eq!(leechers(&mut stage), 1);
    stage.end();
}

#[test]
fn an_announce_that_is_sent_again_lists_nobody_twice() {
    let mut stage = Stage::new(Options::calm(1));
    let id = connect(&mut stage, client(1));
    let request = announce(id, 2000, AnnounceEvent::Started);
    let first = ask(&mut stage, client(1), &request);
    for _ in 0..5 {
        assert_eq!(ask(&mut stage, client(1), &request), first);
    }
    for _ in 0..200 {
        stage.world.deliver_datagram(stage.udp, client(1), &request);
    }
    stage.run_ms(10);
    assert_eq!(stage.world.datagrams_sent(stage.udp), vec![first[0].clone(); 200]);
    assert_eq!(leechers(&mut stage), 1);
    stage.end();
}

#[test]
fn an_announce_is_taken_whole_or_not_at_all() {
    let mut stage = Stage::new(Options::calm(1));
    let id = connect(&mut stage, client(1));
    let whole = announce(id, 2000, AnnounceEvent::Started);
    let needed = ringseed_wire::tracker_udp::ANNOUNCE_REQUEST_BYTES;
    for bytes in 0..needed {
        let answers = ask(&mut stage, client(1), &whole[..bytes]);
        // Up to its transaction id it may be anything; from there on its sender is told.
        assert_eq!(answers.len(), usize::from(bytes >= 16), "{bytes}");
        let told = answers.first().map(|(_, answer)| Response::parse(answer));
        assert!(told.is_none_or(|told| matches!(told, Ok(Response::Error { .. }))), "{bytes}");
    }
    assert_eq!(leechers(&mut stage), 0);
    // Options that are cut off, and what no version knows yet, do not matter.
    for bytes in [needed, whole.len() - 1, whole.len()] {
        assert_eq!(ask(&mut stage, client(1), &whole[..bytes]).len(), 1);
    }
    let longest = [&whole[..], &[0; 1800]].concat();
    assert_eq!(ask(&mut stage, client(1), &longest).len(), 1);
    assert_eq!(leechers(&mut stage), 1);
    stage.end();
}

#[test]
fn after_a_jump_of_the_clock_the_silent_are_gone_and_newcomers_are_served() {
    let mut stage = Stage::new(Options::calm(1));
    let id = connect(&mut stage, client(1));
    ask(&mut stage, client(1), &announce(id, 2000, AnnounceEvent::Started));
    // As after a night's sleep of the machine.
    let jump = Duration::from_secs(10 * 60 * 60);
    let turns = |stage: &mut Stage| {
        for _ in 0..3 {
            let now = stage.now().after(jump);
            stage.world.alarm_at(stage.world.now_us() + 1000);
            stage.tracker.turn(&mut stage.kernel, now).unwrap();
        }
        stage.world.datagrams_sent(stage.udp)
    };
    turns(&mut stage);
    let deliver = |stage: &Stage, request: &[u8]| {
        stage.world.deliver_datagram(stage.udp, client(1), request);
    };
    deliver(&stage, &announce(id, 2000, AnnounceEvent::None));
    assert!(turns(&mut stage).is_empty(), "the id is stale");
    let mut request = Vec::new();
    write_connect_request(&mut request, 7);
    deliver(&stage, &request);
    let answers = turns(&mut stage);
    let Ok(Response::Connect { connection_id, .. }) = Response::parse(&answers[0].1) else {
        panic!("{answers:?}")
    };
    deliver(&stage, &announce(connection_id, 2001, AnnounceEvent::Started));
    let answers = turns(&mut stage);
    let Ok(Response::Announce { leechers: 1, peers: [], .. }) = Response::parse(&answers[0].1)
    else {
        panic!("who was silent is still there: {answers:?}")
    };
    stage.end();
}
