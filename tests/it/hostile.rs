//! Bad input and faults: a clear error or a closed connection, and nothing else is harmed. Beside
//! each, a healthy peer downloads: it starts before, ends after, and another one comes after.

use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::arguments;
use crate::content::{World, noise, write};
use crate::peer::{
    Answer, BLOCK_BYTES, FAST, INTERESTED, Peer, REQUEST, frame, handshake, info_hash, piece_bytes,
    request_body,
};
use crate::seeder::{Seeder, anonymous_bytes, create, on_loopback, program, ringseed};

const FILE_BYTES: usize = 4 * 1024 * 1024 + 321;

/// What a hostile peer knows.
struct Target<'a> {
    seeder: &'a Seeder,
    info_hash: [u8; 20],
    piece_bytes: u64,
    piece_count: u32,
}

impl Target<'_> {
    fn unchoked(&self) -> Peer {
        Peer::unchoked(self.seeder.address(), self.info_hash)
    }
}

/// Runs `hostile` while a healthy peer is in the middle of its download.
#[track_caller]
fn beside_a_healthy_peer(more: Vec<std::ffi::OsString>, hostile: impl FnOnce(&Target<'_>)) {
    let world = World::with_file(FILE_BYTES);
    let mut seeder = Seeder::of(&world, more);
    let bytes = fs::read(world.content()).unwrap();
    let torrent = seeder.torrent().clone();
    let piece = piece_bytes(&torrent.torrent_file);
    let target = Target {
        seeder: &seeder,
        info_hash: info_hash(torrent.info_hash_v1.as_ref().unwrap()),
        piece_bytes: piece,
        piece_count: (bytes.len() as u64).div_ceil(piece) as u32,
    };
    let middle = bytes.len() as u64 / 2;
    let mut before = target.unchoked();
    before.fetch_and_compare(piece, &bytes, 0..middle);
    hostile(&target);
    before.fetch_and_compare(piece, &bytes, middle..bytes.len() as u64);
    target.unchoked().fetch_and_compare(piece, &bytes, 0..bytes.len() as u64);
    assert!(seeder.is_running());
}

#[test]
fn a_wrong_infohash_is_closed() {
    beside_a_healthy_peer(arguments![], |target| {
        let mut peer = Peer::connect(target.seeder.address()).unwrap();
        peer.send(&handshake([7; 20], FAST)).unwrap();
        peer.assert_closed();
    });
}

#[test]
fn a_wrong_protocol_string_is_closed() {
    beside_a_healthy_peer(arguments![], |target| {
        for first in
            [&b"\x13BitTorrent protocoX"[..], b"\x12BitTorrent protocol", b"GET / HTTP/1.1"]
        {
            let mut bytes = first.to_vec();
            bytes.resize(68, 0);
            bytes[28..48].copy_from_slice(&target.info_hash);
            let mut peer = Peer::connect(target.seeder.address()).unwrap();
            peer.push(&bytes, Duration::from_secs(5));
            peer.assert_closed();
        }
    });
}

#[test]
fn a_frame_over_the_limit_is_closed() {
    beside_a_healthy_peer(arguments![], |target| {
        for length in [u32::MAX, 0x8000_0000, 64 * 1024 * 1024] {
            let mut peer = target.unchoked();
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.push(REQUEST);
            peer.push(&bytes, Duration::from_secs(5));
            peer.assert_closed();
        }
    });
}

#[test]
fn a_frame_of_the_wrong_length_for_its_kind_is_closed() {
    beside_a_healthy_peer(arguments![], |target| {
        for (kind, body) in [(REQUEST, 11), (REQUEST, 13), (INTERESTED, 1), (4, 3), (8, 0)] {
            let mut peer = target.unchoked();
            peer.push(&frame(kind, &vec![0; body]), Duration::from_secs(5));
            peer.assert_closed();
        }
    });
}

#[test]
fn requests_that_no_piece_holds_get_no_block() {
    beside_a_healthy_peer(arguments![], |target| {
        let piece = target.piece_bytes as u32;
        let last = target.piece_count - 1;
        let last_bytes = (FILE_BYTES as u64 - u64::from(last) * target.piece_bytes) as u32;
        let bad = [
            (target.piece_count, 0, BLOCK_BYTES),
            (u32::MAX, 0, BLOCK_BYTES),
            (0, piece - BLOCK_BYTES + 1, BLOCK_BYTES),
            (0, u32::MAX, BLOCK_BYTES),
            (last, last_bytes - 100, 101),
            (0, 0, 0),
            (0, 0, 128 * 1024 + 1),
            (0, 0, u32::MAX),
        ];
        for (piece, begin, length) in bad {
            let answer = target.unchoked().ask(piece, begin, length);
            let refused = matches!(answer, Answer::Rejected | Answer::Closed);
            assert!(refused, "request {piece} {begin} {length}: {answer:?}");
        }
    });
}

#[test]
fn an_odd_request_within_the_limits_is_served() {
    beside_a_healthy_peer(arguments![], |target| {
        let bytes = noise(99, FILE_BYTES);
        for (begin, length) in [(1, 1), (4095, 2), (3, 16_384), (777, 16_383), (5, 10_000)] {
            let mut peer = target.unchoked();
            let expected = &bytes[begin as usize..(begin + length) as usize];
            assert_eq!(peer.ask(0, begin, length), Answer::Block(expected.to_vec()));
        }
    });
}

#[test]
fn a_hundred_thousand_requests_at_once_cost_no_memory() {
    beside_a_healthy_peer(arguments![], |target| {
        let before = anonymous_bytes(target.seeder.pid());
        let mut requests = Vec::new();
        for number in 0..100_000_u32 {
            let begin = number % (target.piece_bytes as u32 / BLOCK_BYTES) * BLOCK_BYTES;
            let body = request_body(number % (target.piece_count - 1), begin, BLOCK_BYTES);
            requests.extend(frame(REQUEST, &body));
        }
        let mut peer = target.unchoked();
        peer.push(&requests, Duration::from_secs(3));
        let grown = anonymous_bytes(target.seeder.pid()).saturating_sub(before);
        assert!(grown < 16 * 1024 * 1024, "{grown} bytes of memory for one peer's requests");
    });
}

#[test]
fn peers_that_never_read_harm_nobody() {
    beside_a_healthy_peer(arguments![], |target| {
        let silent: Vec<Peer> = (0..20)
            .map(|_| {
                let mut peer = target.unchoked();
                for number in 0..200 {
                    let (piece, block) = (number / 16 % (target.piece_count - 1), number % 16);
                    let begin = block * BLOCK_BYTES % target.piece_bytes as u32;
                    peer.send_request(piece, begin, BLOCK_BYTES).unwrap();
                }
                peer
            })
            .collect();
        let bytes = noise(99, FILE_BYTES);
        target.unchoked().fetch_and_compare(target.piece_bytes, &bytes, 0..FILE_BYTES as u64);
        drop(silent);
    });
}

#[test]
fn a_peer_that_never_reads_cannot_hold_up_the_stop() {
    let world = World::with_file(FILE_BYTES);
    let seeder = Seeder::of(&world, arguments![]);
    let hash = info_hash(seeder.torrent().info_hash_v1.as_ref().unwrap());
    let mut peer = Peer::unchoked(seeder.address(), hash);
    let blocks = piece_bytes(&seeder.torrent().torrent_file) as u32 / BLOCK_BYTES;
    for number in 0..400 {
        let piece = number / blocks % 8;
        peer.send_request(piece, number % blocks * BLOCK_BYTES, BLOCK_BYTES).unwrap();
    }
    let (ended, took) = seeder.terminate();
    assert_eq!(ended.code, Some(0), "after {took:?}: {ended:?}");
}

#[test]
fn a_peer_that_sends_one_byte_a_second_harms_nobody() {
    beside_a_healthy_peer(arguments![], |target| {
        let (stop, stopped) = channel::<()>();
        let address = target.seeder.address();
        let bytes = handshake(target.info_hash, FAST);
        let slow = std::thread::spawn(move || {
            let mut peers: Vec<Peer> = (0..10).map(|_| Peer::connect(address).unwrap()).collect();
            for byte in bytes {
                for peer in &mut peers {
                    let _ = peer.send(&[byte]);
                }
                if stopped.recv_timeout(Duration::from_secs(1)).is_ok() {
                    return;
                }
            }
        });
        let bytes = noise(99, FILE_BYTES);
        for _ in 0..3 {
            target.unchoked().fetch_and_compare(target.piece_bytes, &bytes, 0..FILE_BYTES as u64);
        }
        stop.send(()).unwrap();
        slow.join().unwrap();
    });
}

#[test]
fn a_handshake_that_drips_is_closed_in_time() {
    let world = World::with_file(1000);
    let seeder = Seeder::of(&world, arguments![]);
    let hash = info_hash(seeder.torrent().info_hash_v1.as_ref().unwrap());
    let mut peer = Peer::connect(seeder.address()).unwrap();
    // A byte each time that a second has passed without an end: 15 seconds are promised.
    let closed_after = handshake(hash, FAST).iter().take(25).position(|byte| {
        let _ = peer.send(&[*byte]);
        peer.closes_within(Duration::from_secs(1))
    });
    assert!(closed_after.is_some_and(|seconds| seconds > 10), "closed after {closed_after:?} s");
}

#[test]
fn connections_torn_down_in_every_state_harm_nobody() {
    beside_a_healthy_peer(arguments![], |target| {
        let hello = handshake(target.info_hash, FAST);
        for cut in 0..hello.len() {
            let mut peer = Peer::connect(target.seeder.address()).unwrap();
            let _ = peer.send(&hello[..cut]);
        }
        for _ in 0..50 {
            // Dropped with blocks in flight and unread bytes: the close is a reset.
            let mut peer = target.unchoked();
            for block in 0..16 {
                let begin = block * BLOCK_BYTES % target.piece_bytes as u32;
                peer.send_request(0, begin, BLOCK_BYTES).unwrap();
            }
        }
    });
}

#[test]
fn noise_instead_of_a_protocol_is_closed() {
    beside_a_healthy_peer(arguments![], |target| {
        for seed in 1..40 {
            let mut peer = Peer::connect(target.seeder.address()).unwrap();
            peer.push(&noise(seed, 5_000), Duration::from_secs(5));
            let mut known = target.unchoked();
            known.push(&noise(seed, 200_000), Duration::from_secs(5));
            known.assert_closed();
        }
    });
}

#[test]
fn the_limit_of_file_descriptors_is_survived() {
    let world = World::with_file(FILE_BYTES);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 80 && exec \"$@\"", "sh", program(), "seed", "--json"]);
    command.arg(world.content()).args(on_loopback(&world));
    let mut seeder = Seeder::spawn(command).unwrap();
    let address = seeder.address();
    let hash = info_hash(seeder.torrent().info_hash_v1.as_ref().unwrap());
    let crowd: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(address).ok()).collect();
    for stream in &crowd {
        let _ = stream.shutdown(Shutdown::Both);
    }
    drop(crowd);
    assert!(seeder.is_running());
    let bytes = fs::read(world.content()).unwrap();
    let piece = piece_bytes(&seeder.torrent().torrent_file);
    // Those in the crowd whose end was not yet seen may still hold descriptors.
    let mut peer = (0..50).find_map(|_| Peer::handshaken(address, hash).ok()).unwrap();
    peer.send(&frame(INTERESTED, &[])).unwrap();
    while peer.receive().unwrap().kind != crate::peer::UNCHOKE {}
    peer.fetch_and_compare(piece, &bytes, 0..bytes.len() as u64);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let world = World::with_file(1000);
    for flag in ["--listen", "--tracker-listen"] {
        let other = if flag == "--listen" { "--tracker-listen" } else { "--listen" };
        let ended = ringseed(arguments![
            "seed",
            "--json",
            world.content(),
            "--state-dir",
            world.path("state"),
            flag,
            address.clone(),
            other,
            "127.0.0.1:0",
        ]);
        assert_eq!(ended.code, Some(2), "{flag}: {ended:?}");
        assert!(ended.says(&address), "{flag}: {ended:?}");
    }
}

/// A world of two files, each a torrent of its own, both seeded.
fn two_torrents() -> (World, Seeder) {
    let world = World::with_file(FILE_BYTES);
    let other = world.data().join("other");
    write(&other, &noise(7, FILE_BYTES));
    fs::create_dir(world.path("torrents")).unwrap();
    create(&world, "torrents/first.torrent", &["--v1"]);
    let second = world.path("torrents/second.torrent");
    let made = ringseed(arguments!["create", other, "-o", second, "--v1"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let mut options = arguments![
        world.path("torrents/first.torrent"),
        world.path("torrents/second.torrent"),
        "--data",
        world.data()
    ];
    options.extend(on_loopback(&world));
    let seeder = Seeder::start(options);
    assert_eq!(seeder.ready.torrents.len(), 2);
    (world, seeder)
}

/// Does something to the file `content` while it is served: an error names it within two seconds
/// (one is promised), then no block of it leaves, and the other torrent is served on.
#[track_caller]
fn a_file_that_changes_pauses_its_torrent(change: impl FnOnce(&World)) {
    let (world, seeder) = two_torrents();
    let hash = |name: &str| {
        let is = |magnet: &str| magnet.contains(&format!("dn={name}"));
        let torrent = seeder.ready.torrents.iter().find(|torrent| is(&torrent.magnet)).unwrap();
        (info_hash(torrent.info_hash_v1.as_ref().unwrap()), piece_bytes(&torrent.torrent_file))
    };
    let ((changed, piece), (other, other_piece)) = (hash("content"), hash("other"));
    let bytes = noise(99, FILE_BYTES);
    let mut victim = Peer::unchoked(seeder.address(), changed);
    victim.fetch_and_compare(piece, &bytes, 0..1024 * 1024);
    change(&world);
    let error = seeder.event("error", Duration::from_secs(2)).expect("an error within a second");
    assert!(error["file"].as_str().unwrap().contains("content"), "{error}");
    let answer = victim.ask(0, 0, BLOCK_BYTES);
    assert!(!matches!(answer, Answer::Block(_)), "a block left after the pause");
    if let Ok(mut late) = Peer::handshaken(seeder.address(), changed) {
        let _ = late.send(&frame(INTERESTED, &[]));
        assert!(!matches!(late.ask(0, 0, BLOCK_BYTES), Answer::Block(_)));
    }
    let mut healthy = Peer::unchoked(seeder.address(), other);
    healthy.fetch_and_compare(other_piece, &noise(7, FILE_BYTES), 0..FILE_BYTES as u64);
}

#[test]
fn a_file_truncated_while_it_is_served_pauses_its_torrent() {
    a_file_that_changes_pauses_its_torrent(|world| {
        fs::File::options().write(true).open(world.content()).unwrap().set_len(1000).unwrap();
    });
}

#[test]
fn a_file_replaced_while_it_is_served_pauses_its_torrent() {
    a_file_that_changes_pauses_its_torrent(|world| {
        write(&world.data().join("new"), &noise(1234, FILE_BYTES));
        fs::rename(world.data().join("new"), world.content()).unwrap();
    });
}

#[test]
fn a_file_deleted_while_it_is_served_pauses_its_torrent() {
    a_file_that_changes_pauses_its_torrent(|world| fs::remove_file(world.content()).unwrap());
}

#[test]
fn a_file_written_while_it_is_served_pauses_its_torrent() {
    a_file_that_changes_pauses_its_torrent(|world| {
        write(&world.content(), &noise(4321, FILE_BYTES));
    });
}

/// Starts on a world whose file `content` is `wrong`: nothing can be seeded, the error names it.
#[track_caller]
fn a_file_that_is_wrong_at_the_start_is_named(wrong: impl FnOnce(&World)) {
    let world = World::with_file(FILE_BYTES);
    let file = create(&world, "given.torrent", &["--v1"]);
    wrong(&world);
    let mut arguments = arguments!["seed", "--json", file, "--data", world.data()];
    arguments.extend(on_loopback(&world));
    let ended = ringseed(arguments);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.says("content"), "{ended:?}");
}

#[test]
fn a_missing_file_is_named() {
    a_file_that_is_wrong_at_the_start_is_named(|world| fs::remove_file(world.content()).unwrap());
}

#[test]
fn a_short_file_is_named() {
    a_file_that_is_wrong_at_the_start_is_named(|world| {
        fs::File::options().write(true).open(world.content()).unwrap().set_len(1000).unwrap();
    });
}

#[test]
fn a_folder_in_the_place_of_a_file_is_named() {
    a_file_that_is_wrong_at_the_start_is_named(|world| {
        fs::remove_file(world.content()).unwrap();
        fs::create_dir(world.content()).unwrap();
    });
}

#[test]
fn a_torrent_file_that_is_none_is_named() {
    let world = World::with_file(1000);
    for (name, bytes) in [
        ("empty.torrent", &b""[..]),
        ("cut.torrent", b"d4:infod6:lengthi5e"),
        (
            "zero.torrent",
            b"d4:infod6:lengthi1e4:name1:a12:piece lengthi0e6:pieces20:aaaaaaaaaaaaaaaaaaaaee",
        ),
        ("deep.torrent", &[b'l'; 100_000]),
    ] {
        write(&world.path(name), bytes);
        let mut arguments = arguments!["seed", "--json", world.path(name), "--data", world.data()];
        arguments.extend(on_loopback(&world));
        let ended = ringseed(arguments);
        assert!(matches!(ended.code, Some(1 | 2)), "{name}: {ended:?}");
        assert!(ended.says(name), "{name}: {ended:?}");
    }
}
