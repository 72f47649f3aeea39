//! UDP (BEP 15), by hand.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::http::{Client, announce};
use crate::program::Program;

const PROTOCOL_ID: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
pub(crate) const ANNOUNCE: u32 = 1;
pub(crate) const SCRAPE: u32 = 2;
pub(crate) const ERROR: u32 = 3;

pub(crate) struct Socket(UdpSocket);

impl Socket {
    pub(crate) fn to(tracker: SocketAddr) -> Socket {
        let local = if tracker.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(local).unwrap();
        socket.connect(tracker).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Socket(socket)
    }

    pub(crate) fn send(&self, connection_id: u64, action: u32, transaction_id: u32, rest: &[u8]) {
        let head = [
            &connection_id.to_be_bytes()[..],
            &action.to_be_bytes(),
            &transaction_id.to_be_bytes(),
        ];
        self.0.send(&[&head.concat(), rest].concat()).unwrap();
    }

    /// Action, transaction id and the rest of the next answer.
    pub(crate) fn receive(&self) -> (u32, u32, Vec<u8>) {
        let mut bytes = [0; 2048];
        let length = self.0.recv(&mut bytes).unwrap();
        (number(&bytes, 0), number(&bytes, 4), bytes[8..length].to_vec())
    }

    pub(crate) fn connect(&self) -> u64 {
        self.send(PROTOCOL_ID, CONNECT, 77, &[]);
        let (action, transaction_id, id) = self.receive();
        assert_eq!((action, transaction_id), (CONNECT, 77));
        u64::from_be_bytes(id.try_into().unwrap())
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The part of an announce after the transaction id.
pub(crate) fn body(
    torrent: u8,
    peer: u8,
    left: u64,
    event: u32,
    wanted: i32,
    port: u16,
) -> Vec<u8> {
    [
        &[torrent; 20][..],
        &[peer; 20],
        &0u64.to_be_bytes(),
        &left.to_be_bytes(),
        &0u64.to_be_bytes(),
        &event.to_be_bytes(),
        &[192, 0, 2, 66],
        &5u32.to_be_bytes(),
        &wanted.to_be_bytes(),
        &port.to_be_bytes(),
    ]
    .concat()
}

#[test]
fn two_peers_find_each_other_over_udp_and_over_both() {
    two_peers_find_each_other(&Program::on_loopback());
}

/// Over UDP, and over HTTP what was announced over UDP.
pub(crate) fn two_peers_find_each_other(program: &Program) {
    let socket = Socket::to(program.udp[0]);
    let id = socket.connect();
    socket.send(id, ANNOUNCE, 1, &body(b't', b's', 0, 2, -1, 7001));
    let (action, transaction_id, rest) = socket.receive();
    assert_eq!((action, transaction_id), (ANNOUNCE, 1));
    assert_eq!(rest, [1800u32, 0, 1].map(u32::to_be_bytes).concat());
    socket.send(id, ANNOUNCE, 2, &body(b't', b'l', 5, 2, -1, 7002));
    let (_, _, rest) = socket.receive();
    assert_eq!(rest[..12], [1800u32, 1, 1].map(u32::to_be_bytes).concat());
    assert_eq!(rest[12..], [127, 0, 0, 1, 0x1b, 0x59]);
    let mut client = Client::connect(program.http[0]);
    let answer = client.get(&announce('t', 'm', 7003, "&left=5&numwant=9"));
    assert!(answer.body.windows(8).any(|bytes| bytes == b"peers12:"), "{answer:?}");
    socket.send(id, SCRAPE, 3, &[[b't'; 20], [b'u'; 20]].concat());
    let (action, transaction_id, rest) = socket.receive();
    assert_eq!((action, transaction_id), (SCRAPE, 3));
    assert_eq!(rest, [1u32, 0, 2, 0, 0, 0].map(u32::to_be_bytes).concat());
    socket.send(id, ANNOUNCE, 4, &body(b't', b's', 0, 3, -1, 7001));
    assert_eq!(socket.receive().2, [1800u32, 2, 0].map(u32::to_be_bytes).concat());
}

#[test]
fn peers_over_ipv6_come_in_its_format() {
    let program = Program::start(&["--udp", "[::1]:0"]);
    let socket = Socket::to(program.udp[0]);
    let id = socket.connect();
    socket.send(id, ANNOUNCE, 1, &body(b't', b's', 0, 2, -1, 7001));
    socket.receive();
    socket.send(id, ANNOUNCE, 2, &body(b't', b'l', 5, 2, 1, 7002));
    let mut expected = vec![0; 18];
    expected[15..].copy_from_slice(&[1, 0x1b, 0x59]);
    assert_eq!(socket.receive().2[12..], expected);
}

#[test]
fn a_datagram_without_a_good_connection_id_is_not_answered() {
    let program = Program::on_loopback();
    let socket = Socket::to(program.udp[0]);
    let id = socket.connect();
    socket.send(id ^ 1 << 40, ANNOUNCE, 1, &body(b't', b's', 0, 2, -1, 7001));
    socket.send(0, SCRAPE, 2, &[b't'; 20]);
    socket.send(PROTOCOL_ID ^ 1, CONNECT, 3, &[]);
    socket.send(id, CONNECT, 4, &[]);
    socket.send(id ^ 1 << 40, 9, 5, &[]);
    socket.0.send(b"short").unwrap();
    socket.0.send(b"").unwrap();
    socket.send(id, SCRAPE, 6, &[b't'; 20]);
    let (action, transaction_id, rest) = socket.receive();
    assert_eq!((action, transaction_id), (SCRAPE, 6), "only the last is answered");
    assert_eq!(rest, [0; 12], "and the first has listed nobody");
}

#[test]
fn what_is_wrong_with_an_announce_is_told() {
    let program = Program::on_loopback();
    let socket = Socket::to(program.udp[0]);
    let id = socket.connect();
    socket.send(id, ANNOUNCE, 1, &body(b't', b's', 0, 2, -1, 0));
    socket.send(id, SCRAPE, 2, &[]);
    socket.send(id, 9, 3, &[]);
    socket.send(id, ANNOUNCE, 4, &body(b't', b's', 0, 2, -1, 1023));
    for (expected, word) in [(1, "port 0"), (2, "too short"), (3, "action 9"), (4, "port 1023")] {
        let (action, transaction_id, reason) = socket.receive();
        assert_eq!((action, transaction_id), (ERROR, expected));
        assert!(String::from_utf8(reason).unwrap().contains(word));
    }
    socket.send(id, SCRAPE, 5, &[b't'; 20]);
    assert_eq!(socket.receive().2, [0; 12], "nobody was listed");
}
