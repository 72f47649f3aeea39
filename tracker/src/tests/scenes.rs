//! One thing at a time, in a calm world.

use ringseed_ring::sim::{Fault, Faults, RemoteState};
use ringseed_wire::tracker_udp::{Response, write_connect_request, write_scrape_request};

use std::sync::Arc;

use ringseed_meta::InfoHash;

use super::*;
use crate::access::{Access, Listed};
use crate::{Audience, limits};

fn calm() -> Stage {
    Stage::new(Options::calm(1))
}

fn read(remote: &Remote) -> String {
    String::from_utf8(remote.read()).unwrap()
}

fn ms(duration: std::time::Duration) -> u64 {
    duration.as_millis() as u64
}

#[test]
fn an_announce_is_answered_and_the_connection_kept() {
    let mut stage = calm();
    let remote = stage.connect(1);
    for times in 1..=3 {
        remote.write(announce(1, times).as_bytes());
        stage.run_ms(1);
        assert_eq!(read(&remote), announced(usize::from(times)));
    }
    assert_eq!(remote.state(), RemoteState::Open);
    stage.end();
}

#[test]
fn pipelined_requests_are_answered_with_one_send() {
    let mut stage = calm();
    let remote = stage.connect(1);
    let requests: String = (1..=5).map(|port| announce(1, port)).collect();
    remote.write(requests.as_bytes());
    stage.run_ms(1);
    assert_eq!(read(&remote), (1..=5).map(announced).collect::<String>());
    stage.end();
}

#[test]
fn a_request_that_does_not_become_complete_is_not_waited_for_longer() {
    let mut stage = calm();
    let (silent, slow) = (stage.connect(1), stage.connect(2));
    for byte in "GET /announce?info_hash=".bytes().take(11) {
        slow.write(&[byte]);
        stage.run_ms(900);
        assert_eq!([silent.state(), slow.state()], [RemoteState::Open; 2]);
    }
    stage.run_ms(2200);
    assert_eq!([silent.state(), slow.state()], [RemoteState::Reset; 2]);
    stage.end();
}

#[test]
fn an_idle_connection_is_kept_for_its_time_and_no_longer() {
    let mut stage = calm();
    let remote = stage.connect(1);
    for port in 1..=2 {
        remote.write(announce(1, port).as_bytes());
        stage.run_ms(ms(limits::IDLE_TIMEOUT) - 2000);
        assert_eq!(read(&remote), announced(usize::from(port)));
        assert_eq!(remote.state(), RemoteState::Open);
    }
    stage.run_ms(4000);
    assert_eq!(remote.state(), RemoteState::Reset);
    stage.end();
}

#[test]
fn a_client_that_never_reads_makes_nobody_wait_and_is_closed_on() {
    let mut stage = Stage::new(Options { send_bytes: (4096, 4096), ..Options::calm(1) });
    let (deaf, other) = (stage.connect(1), stage.connect(2));
    deaf.set_window(0);
    let requests = announce(1, 1).repeat(100);
    let mut written = 0;
    for _ in 0..100 {
        written += deaf.write(requests.as_bytes());
        stage.run_ms(10);
    }
    // What the sockets hold, what is answered before the pause, and no more.
    let taken = 128 * 1024 + limits::HELD_BYTES_MAX;
    assert!(written < taken, "{written} bytes of requests were taken");
    other.write(announce(2, 1).as_bytes());
    stage.run_ms(1);
    assert_eq!(read(&other), announced(1));
    stage.run_ms(ms(limits::SEND_TIMEOUT) - 2000);
    assert_eq!(deaf.state(), RemoteState::Open);
    stage.run_ms(4000);
    assert_eq!(deaf.state(), RemoteState::Reset);
    stage.end();
}

#[test]
fn a_client_that_reads_late_gets_every_answer() {
    let mut stage = Stage::new(Options { send_bytes: (4096, 4096), ..Options::calm(1) });
    let remote = stage.connect(1);
    remote.set_window(1000);
    let (requests, answers) = (announce(1, 1).repeat(2000), announced(1).repeat(2000));
    let (mut unsent, mut got) = (requests.as_bytes(), String::new());
    for _ in 0..100_000 {
        unsent = unsent.get(remote.write(unsent)..).unwrap_or_default();
        got += &read(&remote);
        if got.len() >= answers.len() {
            break;
        }
        stage.turn();
    }
    assert!(
        got == answers,
        "{} of {} bytes, {:?} at {:?}, unsent {}",
        got.len(),
        answers.len(),
        remote.state(),
        stage.now(),
        unsent.len()
    );
    stage.end();
}

#[test]
fn the_answer_to_a_refused_request_can_be_read_though_more_was_sent() {
    let mut stage = calm();
    let remote = stage.connect(1);
    remote.write(b"NONSENSE\r\n\r\n");
    for _ in 0..5 {
        stage.run_ms(100);
        remote.write(&[b'x'; 5000]);
    }
    assert!(read(&remote).starts_with("HTTP/1.1 400 "));
    assert_eq!(remote.state(), RemoteState::Open);
    stage.run_ms(3100);
    assert_eq!(remote.state(), RemoteState::Ended);
    stage.end();
}

#[test]
fn a_client_that_has_read_its_last_answer_closes_at_once() {
    let mut stage = calm();
    let remote = stage.connect(1);
    let request = announce(1, 1).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    remote.write(request.as_bytes());
    remote.finish();
    stage.run_ms(2);
    assert!(read(&remote).contains("Connection: close"));
    assert_eq!(remote.state(), RemoteState::Ended);
    stage.end();
}

#[test]
fn more_connections_than_there_are_places_are_turned_away() {
    let rules = Rules { connections_max: 10, port_min: 1, ..Rules::default() };
    let mut stage = Stage::with_rules(Options::calm(1), rules);
    let remotes: Vec<_> = (1..=10).map(|host| stage.connect_from(host, 1)).collect();
    stage.run_ms(1);
    let late = stage.connect_from(100, 1);
    stage.run_ms(1);
    assert_eq!(late.state(), RemoteState::Reset);
    assert!(remotes.iter().all(|remote| remote.state() == RemoteState::Open));
    // In a crowd an answer ends its connection, and makes room.
    remotes[0].write(announce(1, 1).as_bytes());
    remotes[0].finish();
    stage.run_ms(1);
    assert!(read(&remotes[0]).contains("Connection: close"));
    let later = stage.connect_from(101, 1);
    later.write(announce(1, 2).as_bytes());
    stage.run_ms(1);
    assert!(read(&later).contains("10:incompletei2e"));
    stage.end();
}

#[test]
fn one_host_takes_half_of_the_places_and_leaves_the_others_to_others() {
    let rules = Rules { connections_max: 10, port_min: 1, ..Rules::default() };
    let mut stage = Stage::with_rules(Options::calm(1), rules);
    // Requests that never become whole.
    let slow: Vec<_> = (1..=20).map(|port| stage.connect_from(66, port)).collect();
    for remote in &slow {
        remote.write(b"GET /announce");
        stage.run_ms(1);
    }
    let open = || slow.iter().filter(|remote| remote.state() == RemoteState::Open).count();
    assert_eq!(open(), 6, "as many as make a crowd");
    for host in 1..=20 {
        let other = stage.connect_from(host, 1);
        other.write(announce(1, 1).as_bytes());
        stage.run_ms(1);
        assert!(read(&other).starts_with("HTTP/1.1 200"), "host {host}");
        other.close();
        stage.run_ms(1);
    }
    stage.run_ms(ms(limits::REQUEST_TIMEOUT) + 2000);
    assert_eq!(open(), 0);
    let crowd: Vec<_> = (1..=6).map(|host| stage.connect_from(host, 2)).collect();
    stage.run_ms(1);
    assert!(crowd.iter().all(|remote| remote.state() == RemoteState::Open));
    let again = stage.connect_from(66, 99);
    again.write(announce(2, 1).as_bytes());
    stage.run_ms(1);
    assert!(read(&again).starts_with("HTTP/1.1 200"), "its places are free again");
    stage.end();
}

#[test]
fn accepting_goes_on_after_it_failed() {
    let faults = Faults::none().with(Fault::AcceptFailed, 500);
    let mut stage = Stage::new(Options { faults, ..Options::calm(3) });
    let remotes: Vec<_> = (1..=20).map(|port| stage.connect(port)).collect();
    remotes.iter().for_each(|remote| {
        remote.write(announce(1, 1).as_bytes());
    });
    stage.run_ms(60_000);
    assert!(stage.world.coverage().met(Fault::AcceptFailed) > 0);
    assert!(remotes.iter().all(|remote| read(remote) == announced(1)));
    stage.end();
}

#[test]
fn a_datagram_is_answered_where_it_came_from() {
    let mut stage = calm();
    let mut request = Vec::new();
    write_connect_request(&mut request, 7);
    stage.world.deliver_datagram(stage.udp, client(9), &request);
    stage.run_ms(1);
    let answers = stage.world.datagrams_sent(stage.udp);
    let [(to, answer)] = answers.as_slice() else { panic!("{answers:?}") };
    let Ok(Response::Connect { transaction_id: 7, connection_id }) = Response::parse(answer) else {
        panic!("{answer:?}")
    };
    assert_eq!(*to, client(9));
    request.clear();
    write_scrape_request(&mut request, connection_id, 8, &[ringseed_meta::InfoHash([1; 20])]);
    let other = SocketAddr::from(([10, 0, 0, 3], 9));
    stage.world.deliver_datagram(stage.udp, other, &request);
    stage.world.deliver_datagram(stage.udp, client(10), &request);
    stage.run_ms(1);
    let answers = stage.world.datagrams_sent(stage.udp);
    assert_eq!(answers.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [client(10)]);
    stage.end();
}

#[test]
fn figures_are_shown_to_their_audience_only() {
    for (pages, shown) in [(Audience::All, true), (Audience::Local, false), (Audience::None, false)]
    {
        let rules = Rules { pages, ..Rules::default() };
        let mut stage = Stage::with_rules(Options::calm(1), rules);
        let remote = stage.connect(1);
        for path in ["/", "/metrics", "/stats"] {
            remote.write(get(path).as_bytes());
            stage.run_ms(1);
            let status = if shown { "200" } else { "404" };
            let answer = read(&remote);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{pages:?} {answer}");
        }
        stage.end();
    }
}

#[test]
fn answers_under_way_are_sent_when_the_tracker_is_stopped() {
    let mut stage = Stage::new(Options { send_bytes: (4096, 4096), ..Options::calm(1) });
    let (slow, idle) = (stage.connect(1), stage.connect(2));
    slow.set_window(0);
    slow.write(announce(1, 1).repeat(60).as_bytes());
    stage.run_ms(10);
    let now = stage.now();
    stage.tracker.close(&mut stage.kernel, now);
    stage.run_ms(10);
    assert_eq!([slow.state(), idle.state()], [RemoteState::Open, RemoteState::Ended]);
    slow.set_window(1 << 20);
    let mut got = String::new();
    for _ in 0..100 {
        stage.run_ms(10);
        got += &read(&slow);
    }
    assert!(got == announced(1).repeat(60), "{} bytes came", got.len());
    slow.close();
    stage.run_ms(10);
    assert!(stage.tracker.is_closed());
    stage.end();
}

#[test]
fn a_list_that_changes_counts_for_the_next_announce_and_scrape() {
    let mut stage = calm();
    let remote = stage.connect(1);
    let told = |stage: &mut Stage, request: &str| {
        remote.write(request.as_bytes());
        stage.run_ms(1);
        read(&remote)
    };
    let scrape = get(&format!("/scrape?info_hash=%01{}", "t".repeat(19)));
    assert_eq!(told(&mut stage, &announce(1, 1)), announced(1));
    let mut of_torrent = [b't'; 20];
    of_torrent[0] = 1;
    let torrents = || Arc::new([InfoHash(of_torrent)].into_iter().collect());
    stage.access.put(Access::of(Listed::Denied, torrents(), false));
    let refused = told(&mut stage, &announce(1, 2));
    assert!(
        refused.contains("does not serve") && refused.ends_with("retry in5:nevere"),
        "{refused}"
    );
    assert!(told(&mut stage, &scrape).contains("10:incompletei0e"), "nothing is told of it");
    assert_eq!(told(&mut stage, &announce(2, 2)), announced(1));
    stage.access.put(Access::of(Listed::Allowed, torrents(), false));
    assert_eq!(told(&mut stage, &announce(1, 2)), announced(2), "who was refused was not listed");
    let refused = told(&mut stage, &announce(2, 3));
    let retry = format!("retry ini{}ee", limits::NOT_ALLOWED_RETRY_MIN);
    assert!(refused.contains("does not serve") && refused.ends_with(&retry), "{refused}");
    assert!(told(&mut stage, &scrape).contains("10:incompletei2e"));
    let stats = told(&mut stage, &get("/stats"));
    for figure in ["\"unserved_announces\": 2", "\"listed_torrents\": 1", "\"stale_list\": 0"] {
        assert!(stats.contains(figure), "{stats}");
    }
    stage.end();
}

#[test]
fn clients_that_do_not_read_hold_a_bounded_memory_together() {
    let rules = Rules { http_bytes_max: 256 << 10, ..Rules::default() };
    let mut stage =
        Stage::with_rules(Options { send_bytes: (4096, 4096), ..Options::calm(1) }, rules);
    let deaf: Vec<_> = (1..=20).map(|port| stage.connect(port)).collect();
    let requests = announce(1, 1).repeat(400);
    let mut unsent = vec![requests.as_bytes(); deaf.len()];
    let figure = |stage: &mut Stage, name: &str| -> usize {
        let remote = stage.connect(99);
        remote.write(get("/metrics").as_bytes());
        stage.run_ms(10);
        let page = read(&remote);
        remote.close();
        stage.run_ms(10);
        let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    for _ in 0..200 {
        for (remote, unsent) in deaf.iter().zip(&mut unsent) {
            remote.set_window(0);
            *unsent = &unsent[remote.write(unsent)..];
        }
        stage.run_ms(1);
        // What one read brings is counted after it was taken.
        let most = rules.http_bytes_max + deaf.len() * limits::HTTP_BYTES_SHARE;
        let waiting = figure(&mut stage, "ringseed_tracker_waiting_bytes");
        assert!(waiting <= most, "{waiting} bytes, {most} at most");
    }
    let closed = figure(&mut stage, "ringseed_tracker_overfull_connections_total");
    let reset = deaf.iter().filter(|remote| remote.state() == RemoteState::Reset).count();
    assert_eq!(closed, reset);
    assert!((10..20).contains(&reset), "{reset} of 20 were closed on, the others fit");
    deaf.iter().for_each(Remote::close);
    stage.run_ms(100);
    assert_eq!(figure(&mut stage, "ringseed_tracker_waiting_bytes"), 0);
    stage.end();
}

#[test]
fn half_a_request_holds_no_memory_of_answers() {
    let mut stage = Stage::new(Options::calm(1));
    let many = stage.connect(1);
    many.write(announce(1, 1).repeat(15).as_bytes());
    stage.run_ms(10);
    assert!(read(&many).len() > 3000, "a batch that is used again");
    let slow = stage.connect(2);
    slow.write(&announce(1, 2).as_bytes()[..50]);
    stage.run_ms(10);
    let asking = stage.connect(99);
    asking.write(get("/stats").as_bytes());
    stage.run_ms(10);
    let page = read(&asking);
    let waiting = page.split_once("\"waiting_bytes\": ").unwrap().1.split(',').next().unwrap();
    assert!((50..1000).contains(&waiting.trim().parse::<usize>().unwrap()), "{waiting} bytes");
    [many, slow, asking].iter().for_each(Remote::close);
    stage.end();
}
