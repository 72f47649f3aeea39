//! HTTP, by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringseed_wire::limits::SCRAPE_MAX;

use crate::program::Program;

/// A client that takes answers apart.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) close: bool,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { stream, received: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.send(request(target).as_bytes());
        self.answer().unwrap()
    }

    /// The next answer; `None` when the connection ended instead.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, bytes)) = take_answer(&self.received) {
                self.received.drain(..bytes);
                return Some(answer);
            }
            let mut some = [0; 4096];
            match self.stream.read(&mut some) {
                Ok(0) => return None,
                Ok(bytes) => self.received.extend_from_slice(&some[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn take_answer(received: &[u8]) -> Option<(Answer, usize)> {
    let head_bytes = received.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&received[..head_bytes]).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let field =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap();
    let body_bytes: usize = field("Content-Length:").parse().unwrap();
    let body = received.get(head_bytes..head_bytes + body_bytes)?.to_vec();
    let close = field("Connection:") == "close";
    let content_type = field("Content-Type:").to_owned();
    Some((Answer { status, close, content_type, body }, head_bytes + body_bytes))
}

pub(crate) fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: tracker\r\n\r\n")
}

/// An announce's target; the infohash is 20 times `torrent`, the peer id 20 times `peer`.
pub(crate) fn announce(torrent: char, peer: char, port: u16, rest: &str) -> String {
    let (info_hash, peer_id) = (torrent.to_string().repeat(20), peer.to_string().repeat(20));
    format!(
        "/announce?info_hash={info_hash}&peer_id={peer_id}&port={port}\
         &uploaded=0&downloaded=0{rest}"
    )
}

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, 200);
    answer.body.escape_ascii().to_string()
}

#[test]
fn two_peers_find_each_other() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    let seed = text(&client.get(&announce('t', 's', 0x1a1a, "&left=0&event=started")));
    assert!(seed.contains("8:completei1e") && seed.contains("5:peers0:"), "{seed}");
    let leecher = text(&client.get(&announce('t', 'l', 0x2b2b, "&left=5&event=started")));
    assert!(leecher.contains(r"5:peers6:\x7f\x00\x00\x01\x1a\x1a"), "{leecher}");
    assert!(leecher.contains("8:intervali1800e") && leecher.contains("12:min intervali300e"));
    let seed = text(&client.get(&announce('t', 's', 0x1a1a, "&left=0")));
    assert!(seed.contains(r"5:peers6:\x7f\x00\x00\x01++"), "{seed}");
    let scrape = text(&client.get(&format!("/scrape?info_hash={}", "t".repeat(20))));
    let counts = "d8:completei1e10:downloadedi0e10:incompletei1ee";
    assert_eq!(scrape, format!("d5:filesd20:tttttttttttttttttttt{counts}ee"));
    client.get(&announce('t', 's', 0x1a1a, "&left=0&event=stopped"));
    let leecher = text(&client.get(&announce('t', 'l', 0x2b2b, "&left=5")));
    assert!(leecher.contains("8:completei0e") && leecher.contains("5:peers0:"), "{leecher}");
}

#[test]
fn answers_that_are_not_compact_name_the_peers() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    client.get(&announce('t', 's', 7001, "&left=0"));
    let full = text(&client.get(&announce('t', 'l', 7002, "&left=5&compact=0")));
    let peer = "d2:ip9:127.0.0.17:peer id20:ssssssssssssssssssss4:porti7001ee";
    assert!(full.contains(&format!("5:peersl{peer}e")), "{full}");
    let short = text(&client.get(&announce('t', 'l', 7002, "&left=5&compact=0&no_peer_id=1")));
    assert!(short.contains("5:peersld2:ip9:127.0.0.14:porti7001eee"), "{short}");
}

#[test]
fn a_claimed_address_is_not_believed() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    client.get(&announce('t', 's', 0x1a1a, "&left=0&ip=192.0.2.66&ipv4=192.0.2.66"));
    let leecher = text(&client.get(&announce('t', 'l', 7002, "&left=5")));
    assert!(leecher.contains(r"5:peers6:\x7f\x00\x00\x01\x1a\x1a"), "{leecher}");
}

#[test]
fn ipv6_peers_are_found_over_ipv6() {
    let program = Program::start(&["--http", "127.0.0.1:0", "--http", "[::1]:0"]);
    let mut ipv6 = Client::connect(program.http[1]);
    let mut ipv4 = Client::connect(program.http[0]);
    ipv6.get(&announce('t', 's', 0x1a1a, "&left=0"));
    let leecher = text(&ipv6.get(&announce('t', 'l', 7002, "&left=5")));
    let loopback = format!("{}{}", r"\x00".repeat(15), r"\x01\x1a\x1a");
    assert!(leecher.contains(&format!("6:peers618:{loopback}")), "{leecher}");
    let other = text(&ipv4.get(&announce('t', 'm', 7003, "&left=5")));
    assert!(other.contains("5:peers0:") && other.contains("8:completei0e"), "{other}");
}

#[test]
fn pipelined_requests_are_answered_in_order_however_they_are_split() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    let targets: Vec<_> = (0..40).map(|port| announce('t', 'p', 7000 + port, "&left=5")).collect();
    let stream: String = targets.iter().map(|target| request(target)).collect();
    for part in stream.as_bytes().chunks(97) {
        client.send(part);
    }
    for port in 0..40 {
        let answer = client.answer().unwrap();
        let here = text(&answer);
        assert!(here.contains(&format!("10:incompletei{}e", port + 1)), "{here}");
        assert!(!answer.close);
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    for byte in request(&announce('t', 'p', 7000, "&left=5")).as_bytes() {
        client.send(&[*byte]);
    }
    assert!(text(&client.answer().unwrap()).contains("10:incompletei1e"));
}

#[test]
fn a_thousand_pipelined_requests_wait_for_a_slow_reader() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    let mut writer = client.stream.try_clone().unwrap();
    let stream = request(&announce('t', 'p', 7000, "&left=5")).repeat(20_000);
    let writing = std::thread::spawn(move || writer.write_all(stream.as_bytes()).unwrap());
    for _ in 0..20_000 {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    writing.join().unwrap();
}

#[test]
fn the_client_decides_whether_its_connection_persists() {
    let program = Program::on_loopback();
    let target = announce('t', 'p', 7000, "&left=5");
    for (request, close) in [
        (format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), true),
        (format!("GET {target} HTTP/1.0\r\n\r\n"), true),
        (format!("GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), false),
    ] {
        let mut client = Client::connect(program.http[0]);
        client.send(request.as_bytes());
        assert_eq!(client.answer().unwrap().close, close, "{request}");
        if close {
            assert_eq!(client.answer(), None, "{request}");
        }
    }
}

#[test]
fn a_client_that_has_closed_its_side_is_answered() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    client.send(request(&announce('t', 'p', 7000, "&left=5")).as_bytes());
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer(), None);
}

#[test]
fn what_is_wrong_with_a_query_is_told_as_a_failure_reason() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    let peer_id = "p".repeat(20);
    let of = |info_hash: &str| {
        format!("/announce?info_hash={info_hash}&peer_id={peer_id}&port=7000&left=5")
    };
    let scrape = |times: usize| format!("/scrape?{}", torrents(times));
    let good = "t".repeat(20);
    for (target, word) in [
        ("/announce".to_owned(), "info_hash is missing"),
        (of("short"), "info_hash needs exactly 20"),
        (of(&"t".repeat(21)), "info_hash needs exactly 20"),
        (of("%74%7"), "info_hash is not escaped"),
        (of(&format!("{}%zz", "t".repeat(19))), "info_hash is not escaped"),
        (of(&format!("{good}&info_hash={good}")), "info_hash stands there twice"),
        (of(&good).replace("&port=7000", ""), "port is missing"),
        (of(&good).replace("&left=5", ""), "left is missing"),
        (of(&good).replace(&format!("&peer_id={peer_id}"), ""), "peer_id is missing"),
        (announce('t', 'p', 0, "&left=5"), "port is no"),
        (of(&good).replace("7000", "65536"), "port is no"),
        (announce('t', 'p', 7000, "&left=-1"), "left is no"),
        (announce('t', 'p', 7000, "&left=18446744073709551616"), "left is no"),
        (announce('t', 'p', 7000, "&left=5&numwant=many"), "numwant is no"),
        (announce('t', 'p', 7000, "&left=5&left=6"), "left stands there twice"),
        (announce('t', 'p', 7000, &format!("&left=5{}", "&x=y".repeat(128))), "too many param"),
        ("/scrape".to_owned(), "info_hash is missing"),
        ("/scrape?info_hash=t".to_owned(), "info_hash needs exactly 20"),
        (scrape(SCRAPE_MAX + 1), "too many torrents"),
    ] {
        let answer = client.get(&target);
        let reason = text(&answer);
        assert!(reason.starts_with("d14:failure reason"), "{target}: {reason}");
        assert!(reason.contains(word), "{target}: {reason}");
        assert!(!answer.close);
    }
    let counts = text(&client.get(&scrape(SCRAPE_MAX)));
    assert!(counts.contains("8:completei0e10:downloadedi0e10:incompletei0e"), "nobody is listed");
}

/// So many infohashes of a scrape, no two the same, each byte escaped.
fn torrents(times: usize) -> String {
    (0..times).map(|number| format!("&info_hash={}%{number:02x}", "%74".repeat(19))).collect()
}

#[test]
fn a_scrape_counts_every_torrent_it_names_and_is_bounded() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    client.get(&announce('a', 's', 7000, "&left=0"));
    client.get(&announce('c', 'l', 7001, "&left=5"));
    client.get(&announce('c', 'm', 7002, "&left=5&event=paused"));
    let [a, b, c] =
        ['c', 'a', 'b'].map(|name| format!("info_hash={}", name.to_string().repeat(20)));
    let counts = text(&client.get(&format!("/scrape?{a}&{b}&{c}&{a}")));
    let expected = "d5:filesd\
        20:aaaaaaaaaaaaaaaaaaaad8:completei1e10:downloadedi0e10:incompletei0ee\
        20:bbbbbbbbbbbbbbbbbbbbd8:completei0e10:downloadedi0e10:incompletei0ee\
        20:ccccccccccccccccccccd8:completei0e10:downloadedi0e11:downloadersi1e10:incompletei2ee\
        ee";
    assert_eq!(counts, expected, "sorted, each once, partial seeds apart");
    let mut stranger = Client::connect(program.http[0]);
    stranger.send(request(&format!("/scrape?{}", torrents(1000).replace('%', ""))).as_bytes());
    assert_eq!(stranger.answer().map(|answer| answer.status), Some(414));
}

#[test]
fn a_reserved_port_is_refused_for_good() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    for port in [1, 443, 1023] {
        let refused = text(&client.get(&announce('t', 's', port, "&left=0")));
        assert!(refused.contains(&format!("port {port} is reserved")), "{refused}");
        assert!(refused.ends_with("8:retry in5:nevere"), "{refused}");
    }
    let taken = text(&client.get(&announce('t', 's', 1024, "&left=0")));
    assert!(taken.contains("8:completei1e"), "{taken}");
}

#[test]
fn a_client_says_how_many_peers_it_wants() {
    let program = Program::on_loopback();
    let mut client = Client::connect(program.http[0]);
    for port in 2000..2250 {
        client.get(&announce('t', 's', port, "&left=0&numwant=0"));
    }
    for (numwant, peers) in [
        ("", 50),
        ("&numwant=", 50),
        ("&numwant=-1", 50),
        ("&numwant=0", 0),
        ("&numwant=7", 7),
        ("&numwant=200", 200),
        ("&numwant=5000000000", 200),
    ] {
        let answer = client.get(&announce('t', 'l', 1999, &format!("&left=5{numwant}")));
        let bytes = format!("5:peers{}:", peers * 6);
        assert!(text(&answer).contains(&bytes), "{numwant}: {}", text(&answer));
    }
}

#[test]
fn a_client_is_told_its_own_address_and_its_tracker_id_is_passed_over() {
    let program = Program::start(&["--http", "127.0.0.1:0", "--http", "[::1]:0"]);
    let of = format!("4:{}", r"\x7f\x00\x00\x01");
    let of_ipv6 = format!("16:{}{}", r"\x00".repeat(15), r"\x01");
    for (address, expected) in program.http.iter().zip([of, of_ipv6]) {
        let mut client = Client::connect(*address);
        let answer = text(&client.get(&announce('t', 's', 7000, "&left=0&trackerid=a%00b")));
        assert!(answer.contains(&format!("11:external ip{expected}")), "{answer}");
        assert!(!answer.contains("tracker id") && answer.contains("8:completei1e"), "{answer}");
    }
}

#[test]
fn what_is_no_request_of_a_tracker_client_gets_its_status() {
    let program = Program::on_loopback();
    let long = "a".repeat(7000);
    for (bytes, status) in [
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 404),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody".to_owned(), 400),
        (format!("POST {} HTTP/1.1\r\nHost: x\r\n\r\n", announce('t', 'p', 1, "")), 405),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}{long}"), 431),
    ] {
        let mut client = Client::connect(program.http[0]);
        client.send(bytes.as_bytes());
        assert_eq!(client.answer().map(|answer| answer.status), Some(status), "{bytes}");
    }
    assert_eq!(Client::connect(program.http[0]).get("/").status, 200);
}
