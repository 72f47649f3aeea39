//! Whatever a client sends a tracker over HTTP: it gets whole answers, and the same ones however its
//! bytes are split. The first byte says how; the rest is what is sent on one connection.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use ringseed_meta::Instant;
use ringseed_ring::sim::{Options, RemoteState, World};
use ringseed_tracker::{Published, Rules, Secrets, Tracker};

/// Bytes that are sent, by ones as well: fewer than the turns that there are.
const SENT_BYTES_MAX: usize = 4096;

/// Turns after which a connection must have come to its end.
const TURNS_MAX: usize = 10_000;

#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    status: &'a [u8],
    body: &'a [u8],
}

fuzz_target!(|input: &[u8]| {
    let Some((split, sent)) = input.split_first() else { return };
    let sent = &sent[..sent.len().min(SENT_BYTES_MAX)];
    let (at_once, in_pieces) =
        (exchange(sent, SENT_BYTES_MAX), exchange(sent, 1 + usize::from(*split)));
    let (at_once, in_pieces) = (answers(&at_once), answers(&in_pieces));
    // What is wrong with a head that never becomes whole may be told or not, by where it is split.
    assert_eq!(served(&at_once), served(&in_pieces));
});

/// The answers before the first that says what is wrong with a head, which is the last.
fn served<'a>(answers: &'a [Answer<'a>]) -> &'a [Answer<'a>] {
    match answers.split_last() {
        Some((last, before)) if !is_served(last.status) => before,
        _ => answers,
    }
}

fn is_served(status: &[u8]) -> bool {
    status == b"200" || status == b"404"
}

/// All that a tracker answers to what is sent in pieces of so many bytes.
fn exchange(sent: &[u8], piece: usize) -> Vec<u8> {
    let world = World::new(Options::calm(1));
    let mut kernel = world.kernel();
    let here = SocketAddr::from(([10, 0, 0, 1], 6969));
    let http = world.listen(here).expect("a socket");
    let fresh_key = || Some([4; 16]);
    let secrets = Secrets { tables: [1; 16], connection_ids: [2; 16], fresh_key, random: 3 };
    let access = Published::default();
    let mut tracker = Tracker::new(&mut kernel, &[http], &[], Rules::default(), &access, &secrets);
    let remote = world.connect(SocketAddr::from(([10, 0, 0, 2], 1)), here).expect("a connection");
    let now = || Instant::from_us(world.now_us());
    let mut rest = sent;
    let mut got = Vec::new();
    for turn in 0.. {
        assert!(turn < TURNS_MAX, "{} bytes are left, {} came", rest.len(), got.len());
        if !rest.is_empty() {
            let written = remote.write(&rest[..rest.len().min(piece)]);
            rest = &rest[written..];
        }
        if rest.is_empty() {
            remote.finish();
        }
        // Time does not pass by more than it takes: no deadline is met.
        world.alarm_at(world.now_us() + 100);
        tracker.turn(&mut kernel, now()).expect("the kernel goes on");
        got.extend(remote.read());
        if remote.state() != RemoteState::Open && remote.unread() == 0 {
            break;
        }
    }
    remote.close();
    tracker.close(&mut kernel, now());
    for _ in 0..TURNS_MAX {
        if tracker.is_closed() {
            break;
        }
        tracker.turn(&mut kernel, now()).expect("the kernel goes on");
    }
    assert!(tracker.is_closed());
    drop((tracker, kernel));
    world.assert_at_rest();
    got
}

/// Takes apart what was received: nothing but whole answers.
fn answers(mut got: &[u8]) -> Vec<Answer<'_>> {
    let mut answers = Vec::new();
    while !got.is_empty() {
        let end = got.windows(4).position(|end| end == b"\r\n\r\n").expect("a whole head") + 4;
        let (head, rest) = got.split_at(end);
        let field = b"Content-Length: ";
        let at = head.windows(field.len()).position(|bytes| bytes == field).expect("a length");
        let digits = head[at + field.len()..].split(|byte| *byte == b'\r').next();
        let length = std::str::from_utf8(digits.expect("a value")).expect("digits");
        let (body, rest) = rest.split_at(length.parse().expect("a number"));
        let status = head.strip_prefix(b"HTTP/1.1 ").expect("a status line");
        let refused = answers.last().is_some_and(|last: &Answer<'_>| !is_served(last.status));
        assert!(!refused, "nothing is answered behind a head that was refused");
        answers.push(Answer { status: &status[..3], body });
        got = rest;
    }
    answers
}
