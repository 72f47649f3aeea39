//! The catalogue of hostile peers against small seeders of plain sockets: one that is well behaved
//! passes all of it, and each that does harm fails where it does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ringseed_meta::{InfoHash, Metainfo};
use ringseed_swarm::abuse::{self, Abuse};
use ringseed_swarm::clock::Clock;
use ringseed_swarm::plan::Seeder;
use ringseed_swarm::results::Check;
use ringseed_swarm::target::Pieces;
use sha1::{Digest, Sha1};

const PIECE: usize = 65_536;
const NAME: [u8; 20] = [9; 20];

/// Time until an unchoke of a seeder that unchokes in rounds; real ones take up to ten seconds.
const ROUND: Duration = Duration::from_secs(2);

/// What is wrong with a seeder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manners {
    /// Nothing.
    Good,
    /// After a frame that is too long it serves nobody any more.
    Stops,
    /// Blocks that do not exist are answered with zeros.
    ServesAll,
    /// The same of one kind alone, which is not among the first that are tried.
    ServesSome,
    /// The handshake says whatever torrent was asked for.
    Echoes,
    /// Unaligned blocks are those at the place before.
    Misaligned,
    /// Peers are served before they are unchoked.
    Hasty,
    /// Metadata that does not exist is sent.
    Metadata,
    /// What a peer sends by keep-alives is kept for ever, and more.
    Hoards,
    /// A peer that asks and does not read holds up all others.
    Blocks,
    /// Handshakes of strangers are answered.
    TakesStrangers,
    /// Nothing, but unchokes take [`ROUND`].
    Rounds,
}

struct Stub {
    manners: Manners,
    content: Vec<u8>,
    dead: AtomicBool,
    hoard: Mutex<Vec<Vec<u8>>>,
    /// Held while a block is written, by those that block.
    turn: Mutex<()>,
    open: Mutex<Vec<TcpStream>>,
}

/// Noise, of one piece and some.
fn content() -> Vec<u8> {
    let mut x = 1u64;
    let next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    std::iter::repeat_with(next).take(3 * PIECE + 1_000).collect()
}

/// Serves until the test's process ends.
fn seeder(manners: Manners) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stub = Arc::new(Stub {
        manners,
        content: content(),
        dead: AtomicBool::new(false),
        hoard: Mutex::default(),
        turn: Mutex::new(()),
        open: Mutex::default(),
    });
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let peer = peer.unwrap();
            if stub.dead.load(Ordering::Relaxed) {
                return;
            }
            let stub = stub.clone();
            if manners == Manners::Stops {
                stub.open.lock().unwrap().push(peer.try_clone().unwrap());
            }
            // An error is the peer's end.
            std::thread::spawn(move || {
                let _ = stub.serve(&peer);
                let _ = peer.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

fn wrong() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Stub {
    fn serve(&self, mut peer: &TcpStream) -> io::Result<()> {
        peer.set_read_timeout(Some(Duration::from_secs(12)))?;
        // Nobody may hold a thread of it for ever.
        peer.set_write_timeout(Some(Duration::from_secs(8)))?;
        let mut hello = [0; 68];
        let clock = Clock::start();
        for byte in 0..68 {
            if clock.now().as_us() > 5_000_000 {
                return Err(wrong());
            }
            peer.read_exact(&mut hello[byte..=byte])?;
            let right =
                b"\x13BitTorrent protocol".get(byte).is_none_or(|right| *right == hello[byte]);
            if !right && self.manners != Manners::TakesStrangers {
                return Err(wrong());
            }
        }
        let mut answer =
            [&b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04"[..], &NAME, &[7; 20]].concat();
        if self.manners == Manners::Echoes {
            answer[28..48].copy_from_slice(&hello[28..48]);
        } else if hello[28..48] != NAME && self.manners != Manners::TakesStrangers {
            return Err(wrong());
        }
        peer.write_all(&answer)?;
        let mut choked = true;
        let mut bytes = io::BufReader::new(peer);
        loop {
            let mut head = [0; 4];
            bytes.read_exact(&mut head)?;
            let length = u32::from_be_bytes(head) as usize;
            if length == 0 {
                self.on_keep_alive();
                continue;
            }
            if length > 1 << 20 {
                if self.manners == Manners::Stops {
                    self.dead.store(true, Ordering::Relaxed);
                    self.open
                        .lock()
                        .unwrap()
                        .drain(..)
                        .for_each(|open| drop(open.shutdown(Shutdown::Both)));
                }
                return Err(wrong());
            }
            let mut message = vec![0; length];
            bytes.read_exact(&mut message)?;
            match (message[0], length) {
                (2, 1) => {
                    if self.manners == Manners::Rounds {
                        let (_never, nothing) = mpsc::channel::<()>();
                        let _ = nothing.recv_timeout(ROUND);
                    }
                    choked = false;
                    peer.write_all(&[0, 0, 0, 1, 1])?;
                }
                (2, _) => return Err(wrong()),
                (6, 13) if !choked || self.manners == Manners::Hasty => {
                    self.on_request(peer, &message)?
                }
                (6, 13) => {}
                (6, _) => return Err(wrong()),
                (20, _) if self.manners == Manners::Metadata && message[1] == 2 => {
                    let body = b"\x03d8:msg_typei1e5:piecei7e10:total_sizei1eex";
                    peer.write_all(&(1 + body.len() as u32).to_be_bytes())?;
                    peer.write_all(&[&[20], &body[..]].concat())?;
                }
                _ => {}
            }
        }
    }

    fn on_keep_alive(&self) {
        if self.manners == Manners::Hoards {
            self.hoard.lock().unwrap().push(vec![1; 2_000]);
        }
    }

    fn on_request(&self, mut peer: &TcpStream, message: &[u8]) -> io::Result<()> {
        let (piece, begin, length) = (number(message, 1), number(message, 5), number(message, 9));
        let start = u64::from(piece) * PIECE as u64 + u64::from(begin);
        let end = start + u64::from(length);
        let fits = u64::from(begin) + u64::from(length) <= PIECE as u64
            && end <= self.content.len() as u64;
        let serves = match self.manners {
            Manners::ServesAll => true,
            Manners::ServesSome => begin == PIECE as u32 - 1,
            _ => false,
        };
        if !(serves || fits && length > 0) {
            // BEP 6: a reject.
            return peer.write_all(&[&[0, 0, 0, 13, 16], &message[1..]].concat());
        }
        let mut block = vec![0; (length as usize).min(PIECE)];
        let from = if self.manners == Manners::Misaligned { start & !1 } else { start };
        let from = (from as usize).min(self.content.len());
        let data = &self.content[from..(from + block.len()).min(self.content.len())];
        block[..data.len()].copy_from_slice(data);
        let _turn = (self.manners == Manners::Blocks).then(|| self.turn.lock());
        peer.write_all(&(9 + block.len() as u32).to_be_bytes())?;
        peer.write_all(&[&[7], &message[1..9], &block].concat())
    }
}

/// The torrent of the content, as its file would say.
fn metainfo(content: &[u8]) -> Arc<Metainfo> {
    let hashes: Vec<u8> =
        content.chunks(PIECE).flat_map(|piece| Sha1::digest(piece).to_vec()).collect();
    let head = format!(
        "d4:infod6:lengthi{}e4:name7:content12:piece lengthi{PIECE}e6:pieces{}:",
        content.len(),
        hashes.len()
    );
    let bytes = [head.as_bytes(), &hashes, b"ee"].concat();
    Arc::new(Metainfo::parse(&bytes).unwrap())
}

fn target(address: SocketAddr) -> Seeder {
    let metainfo = metainfo(&content());
    let pieces = Pieces::of(metainfo.geometry()).unwrap();
    Seeder { address, info_hash: InfoHash(NAME), pieces, metainfo: Some(metainfo) }
}

fn run(address: SocketAddr, pid: Option<u32>, only: &[&str]) -> anyhow::Result<Vec<Check>> {
    let only = only.iter().map(|name| (*name).to_owned()).collect();
    let abuse = Abuse { seeder: target(address), pid, from: None, only };
    let mut checks = Vec::new();
    abuse::run(&abuse, Clock::start(), &|| false, &mut |check| checks.push(check))?;
    Ok(checks)
}

/// Those that failed, by name.
fn failed(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect()
}

/// A seeder with these manners fails this case, saying this, and no other of the two.
#[track_caller]
fn assert_fails(manners: Manners, case: &str, wanted: &str) {
    let checks = run(seeder(manners), None, &[case, "unknown-messages"]).unwrap();
    assert_eq!(failed(&checks), [case], "{checks:#?}");
    let found = checks.iter().find(|check| check.name == case).unwrap();
    assert!(found.saw.contains(wanted), "{found:?}");
}

#[test]
fn a_well_behaved_seeder_passes_the_whole_catalogue() {
    let checks = run(seeder(Manners::Good), None, &[]).unwrap();
    assert_eq!(failed(&checks), [""; 0], "{checks:#?}");
    let mut names: Vec<&str> =
        abuse::catalogue().map(|(name, _)| name).chain(["newcomer"]).collect();
    let mut told: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    names.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, names);
}

#[test]
fn a_seeder_that_stops_serving_fails_the_case_that_stopped_it_and_the_newcomer() {
    let checks = run(seeder(Manners::Stops), None, &["frame-too-long"]).unwrap();
    assert_eq!(failed(&checks), ["frame-too-long", "newcomer"], "{checks:#?}");
}

#[test]
fn blocks_that_do_not_exist_are_caught() {
    assert_fails(Manners::ServesAll, "requests-out-of-range", "answered with a block");
    assert_fails(Manners::ServesSome, "requests-out-of-range", "begin 65535 length 2: it was");
    assert_fails(Manners::ServesAll, "requests-empty", "answered with a block");
    assert_fails(Manners::ServesAll, "requests-too-long", "answered with a block");
}

#[test]
fn a_handshake_for_any_torrent_is_caught() {
    assert_fails(Manners::Echoes, "wrong-infohash", "does not exist");
    assert_fails(Manners::TakesStrangers, "wrong-protocol", "stranger");
}

#[test]
fn wrong_bytes_at_odd_places_are_caught() {
    assert_fails(Manners::Misaligned, "requests-overlapping", "wrong bytes");
}

#[test]
fn blocks_for_choked_peers_are_caught() {
    assert_fails(Manners::Hasty, "requests-choked", "choked peer");
}

#[test]
fn metadata_that_does_not_exist_is_caught() {
    assert_fails(Manners::Metadata, "metadata-out-of-range", "metadata was sent");
}

#[test]
fn a_seeder_that_one_peer_holds_up_is_caught() {
    let checks = run(seeder(Manners::Blocks), None, &["never-reads"]).unwrap();
    let never = checks.iter().find(|check| check.name == "never-reads").unwrap();
    assert!(!never.passed && never.saw.contains("healthy peer does not get"), "{checks:#?}");
}

/// A process of this test's own whose memory is watched: it is where the stub lives.
#[test]
fn memory_that_does_not_come_back_is_caught() {
    let checks =
        run(seeder(Manners::Hoards), Some(std::process::id()), &["keep-alive-flood"]).unwrap();
    let of = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
    assert!(!of("memory").passed, "{checks:#?}");
    assert!(of("memory").saw.contains("32 may stay") && of("process").passed, "{checks:#?}");
    assert!(of("keep-alive-flood").passed, "{checks:#?}");
}

#[test]
fn a_process_that_ends_is_caught() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let abuse = Abuse {
        seeder: target(seeder(Manners::Good)),
        pid: Some(child.id()),
        from: None,
        only: vec!["unknown-messages".into()],
    };
    // It ends when the case is begun; what else it is asked for is served on, by the stub.
    let stdin = Mutex::new(child.stdin.take());
    let is_called_off = || {
        drop(stdin.lock().unwrap().take());
        false
    };
    let mut checks = Vec::new();
    abuse::run(&abuse, Clock::start(), &is_called_off, &mut |check| checks.push(check)).unwrap();
    child.wait().unwrap();
    assert_eq!(failed(&checks), ["unknown-messages", "process"], "{checks:#?}");
    assert!(
        checks.iter().filter(|check| check.saw.contains("has ended")).count() == 2,
        "{checks:#?}"
    );
}

/// Variants, deaf peers and connections that are torn down come side by side: one after another
/// they would wait for 10, 20 and 9 rounds.
#[test]
fn a_seeder_that_unchokes_in_rounds_is_waited_for_once_a_case() {
    let clock = Clock::start();
    let only = ["requests-out-of-range", "never-reads", "torn-down"];
    let checks = run(seeder(Manners::Rounds), None, &only).unwrap();
    let s = clock.now().as_us() / 1_000_000;
    assert_eq!((failed(&checks), checks.len()), (vec![], 4), "{checks:#?}");
    let out_of_range = checks.iter().find(|check| check.name == "requests-out-of-range").unwrap();
    assert!(out_of_range.saw.starts_with("rejected, kept open;"), "{out_of_range:?}");
    // A round before all, of the healthy peer, of the hostile ones and of the newcomer, and what
    // they hear.
    assert!(s < 17, "{s} s");
}

/// A peer that waits for its unchoke does not wait to the end of it.
#[test]
fn a_catalogue_is_called_off_within_a_round() {
    let abuse =
        Abuse { seeder: target(seeder(Manners::Rounds)), pid: None, from: None, only: Vec::new() };
    let (clock, since) = (Clock::start(), Clock::start());
    let is_called_off = || since.now().as_us() > 3_000_000;
    let mut checks = Vec::new();
    abuse::run(&abuse, clock, &is_called_off, &mut |check| checks.push(check)).unwrap();
    let s = clock.now().as_us() / 1_000_000;
    assert!(failed(&checks).is_empty() && s < 9, "{s} s, {checks:#?}");
}

#[test]
fn what_cannot_be_tried_is_an_error() {
    let address = seeder(Manners::Good);
    let unknown = run(address, None, &["nonsense"]).unwrap_err().to_string();
    assert!(unknown.contains("'nonsense'") && unknown.contains("wrong-infohash, "), "{unknown}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = run(nobody, None, &[]).unwrap_err().to_string();
    assert!(refused.contains("before any hostile peer came: cannot connect"), "{refused}");
}

#[test]
fn a_catalogue_that_is_called_off_ends_soon() {
    let abuse =
        Abuse { seeder: target(seeder(Manners::Good)), pid: None, from: None, only: Vec::new() };
    let mut checks = 0;
    abuse::run(&abuse, Clock::start(), &|| true, &mut |_| checks += 1).unwrap();
    assert_eq!(checks, 0);
}
