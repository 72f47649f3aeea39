//! The life of `ringseed seed`: what it verifies, prints, announces, and how it ends.

use std::fs::{self, File, FileTimes};
use std::time::Duration;

use crate::announces::Announces;
use crate::arguments;
use crate::content::{World, noise, write};
use crate::peer::{Answer, INTERESTED, Peer, UNCHOKE, frame, info_hash, piece_bytes};
use crate::seeder::{Seeder, create, on_loopback, ringseed};

const SOON: Duration = Duration::from_secs(10);

/// Downloads the whole of a world of one file with a plain peer.
#[track_caller]
pub(crate) fn download(seeder: &Seeder, world: &World) {
    let torrent = seeder.torrent();
    let bytes = fs::read(world.content()).unwrap();
    let hash = info_hash(torrent.info_hash_v1.as_ref().unwrap());
    let mut peer = Peer::unchoked(seeder.address(), hash);
    let piece = piece_bytes(&torrent.torrent_file);
    peer.fetch_and_compare(piece, &bytes, 0..bytes.len() as u64);
}

#[test]
fn a_file_is_seeded_byte_for_byte() {
    let world = World::with_file(3 * 1024 * 1024 + 77);
    let seeder = Seeder::of(&world, arguments![]);
    download(&seeder, &world);
}

#[test]
fn a_file_is_seeded_byte_for_byte_by_copies() {
    let world = World::with_file(3 * 1024 * 1024 + 77);
    let seeder = Seeder::of(&world, arguments!["--zero-copy", "off"]);
    assert_eq!(seeder.ready.verb, "copy");
    download(&seeder, &world);
}

#[test]
fn the_ready_line_names_everything_a_client_needs() {
    let world = World::with_file(100_000);
    let seeder = Seeder::of(&world, arguments![]);
    let torrent = seeder.torrent();
    let hash = torrent.info_hash_v1.clone().unwrap();
    assert!(torrent.magnet.starts_with("magnet:?"), "{}", torrent.magnet);
    assert!(torrent.magnet.contains(&format!("urn:btih:{hash}")), "{}", torrent.magnet);
    assert!(torrent.torrent_file.starts_with(world.path("state")), "{:?}", torrent.torrent_file);
    assert!(torrent.torrent_file.exists());
    assert!(seeder.ready.listen.iter().all(|address| address.port() != 0));
    assert!(seeder.ready.tracker.iter().all(|url| url.starts_with("http://127.0.0.1:")));
}

#[test]
fn each_second_a_rate_is_told() {
    let world = World::with_file(400_000);
    let seeder = Seeder::of(&world, arguments![]);
    download(&seeder, &world);
    let sent = |event: serde_json::Value| event["sent_bytes"].as_u64().unwrap();
    let mut most = 0;
    while most < 400_000 {
        most = sent(seeder.event("rate", SOON).expect("a rate event comes"));
    }
    assert!(most < 500_000, "{most} bytes sent of a file of 400,000");
}

#[test]
fn sigterm_stops_it_in_time_and_tells_the_tracker() {
    let world = World::with_file(100_000);
    let tracker = Announces::listen();
    let seeder = Seeder::of(&world, arguments!["--tracker", tracker.url()]);
    let port = format!("port={}&", seeder.address().port());
    let started = tracker.next(&["event=started", "left=0", &port], SOON);
    assert!(started.is_some(), "no started announce");
    let (ended, _) = seeder.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(tracker.next(&["event=stopped"], SOON).is_some(), "no stopped announce");
}

#[test]
fn sigterm_stops_it_in_time_beside_a_tracker_that_is_dead() {
    let world = World::with_file(100_000);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/announce", closed.local_addr().unwrap());
    // It accepts connections into its backlog and never answers.
    let seeder = Seeder::of(&world, arguments!["--tracker", url]);
    download(&seeder, &world);
    let (ended, _) = seeder.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    drop(closed);
}

#[test]
fn one_slot_serves_one_peer_and_then_the_next() {
    let world = World::with_file(100_000);
    let seeder = Seeder::of(&world, arguments!["--slots", "1", "--cores", "1"]);
    let hash = info_hash(seeder.torrent().info_hash_v1.as_ref().unwrap());
    let mut first = Peer::unchoked(seeder.address(), hash);
    let mut second = Peer::handshaken(seeder.address(), hash).unwrap();
    second.send(&frame(INTERESTED, &[])).unwrap();
    // No room: a request comes back as rejected, the first peer is served on.
    assert_eq!(second.ask(0, 0, 16_384), Answer::Rejected);
    assert!(matches!(first.ask(0, 0, 16_384), Answer::Block(_)));
    drop(first);
    while second.receive().expect("an unchoke comes").kind != UNCHOKE {}
    assert!(matches!(second.ask(0, 0, 16_384), Answer::Block(_)));
}

#[test]
fn a_hybrid_announces_both_its_infohashes() {
    let world = World::with_file(100_000);
    let tracker = Announces::listen();
    let file = create(&world, "given.torrent", &["--hybrid", "--tracker", &tracker.url()]);
    let mut options = arguments![file, "--data", world.data()];
    options.extend(on_loopback(&world));
    let seeder = Seeder::start(options);
    let torrent = seeder.torrent();
    let mut announced: Vec<[u8; 20]> = (0..2)
        .map(|_| announced_hash(&tracker.next(&["event=started"], SOON).expect("two announces")))
        .collect();
    let mut hashes: Vec<[u8; 20]> = [&torrent.info_hash_v1, &torrent.info_hash_v2]
        .map(|hash| info_hash(hash.as_ref().unwrap()))
        .into();
    announced.sort_unstable();
    hashes.sort_unstable();
    assert_eq!(announced, hashes);
    for hash in hashes {
        let mut peer = Peer::unchoked(seeder.address(), hash);
        assert!(matches!(peer.ask(0, 0, 16_384), Answer::Block(_)));
    }
}

/// The infohash of an announce's query.
fn announced_hash(request: &str) -> [u8; 20] {
    let value = request.split("info_hash=").nth(1).unwrap().split(['&', ' ']).next().unwrap();
    let mut bytes = value.bytes();
    std::array::from_fn(|_| match bytes.next().unwrap() {
        b'%' => {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap()
        }
        plain => plain,
    })
}

/// Writes other bytes of the same length into the world's file.
fn change_a_byte(world: &World, keep_time: bool) {
    let path = world.content();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    fs::write(&path, bytes).unwrap();
    let after = if keep_time { before } else { before + Duration::from_secs(1) };
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(FileTimes::new().set_modified(after))
        .unwrap();
}

/// Arguments that seed the .torrent which the first run wrote.
fn again(world: &World, torrent_file: &std::path::Path) -> Vec<std::ffi::OsString> {
    let mut options = arguments![torrent_file, "--data", world.data()];
    options.extend(on_loopback(world));
    options
}

#[test]
fn a_recorded_verification_is_believed_while_the_file_looks_the_same() {
    let world = World::with_file(1_000_000);
    let first = Seeder::of(&world, arguments![]);
    let torrent_file = first.torrent().torrent_file.clone();
    first.terminate();
    // The change hides behind the recorded size and time: only a new hash would find it.
    change_a_byte(&world, true);
    let second = Seeder::start(again(&world, &torrent_file));
    download(&second, &world);
}

#[test]
fn a_file_that_changed_since_its_verification_is_verified_anew() {
    let world = World::with_file(1_000_000);
    let first = Seeder::of(&world, arguments![]);
    let torrent_file = first.torrent().torrent_file.clone();
    first.terminate();
    change_a_byte(&world, false);
    let mut arguments = arguments!["seed", "--json"];
    arguments.extend(again(&world, &torrent_file));
    let ended = ringseed(arguments);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.says("content"), "{ended:?}");
}

#[test]
fn trust_skips_the_verification() {
    let world = World::with_file(1_000_000);
    let file = create(&world, "given.torrent", &["--v1"]);
    change_a_byte(&world, false);
    let mut options = arguments![file, "--data", world.data(), "--trust"];
    options.extend(on_loopback(&world));
    let seeder = Seeder::start(options);
    download(&seeder, &world);
}

#[test]
fn trust_compares_nothing_with_an_old_verification() {
    let world = World::with_file(1_000_000);
    let first = Seeder::of(&world, arguments![]);
    let torrent_file = first.torrent().torrent_file.clone();
    first.terminate();
    change_a_byte(&world, false);
    let mut options = again(&world, &torrent_file);
    options.extend(arguments!["--trust"]);
    let second = Seeder::start(options);
    download(&second, &world);
}

#[test]
fn a_file_replaced_before_its_first_use_is_not_served_with_trust_either() {
    let world = World::with_file(1_000_000);
    let torrent_file = create(&world, "given.torrent", &["--v1"]);
    let mut options = arguments![torrent_file, "--data", world.data(), "--trust"];
    options.extend(on_loopback(&world));
    let seeder = Seeder::start(options);
    let hash = info_hash(seeder.torrent().info_hash_v1.as_ref().unwrap());
    // It loads the torrent, and opens no file.
    let mut peer = Peer::unchoked(seeder.address(), hash);
    for _ in 0..2 {
        seeder.event("rate", SOON).expect("a rate event comes");
    }
    let other = world.path("other");
    write(&other, &noise(99, 1_000_000));
    fs::rename(other, world.content()).unwrap();
    assert!(!matches!(peer.ask(0, 0, 16_384), Answer::Block(_)), "it was served unseen");
    let error = seeder.event("error", SOON).expect("an error event");
    assert!(error["file"].as_str().unwrap().contains("content"), "{error}");
}

#[test]
fn a_file_changed_while_nobody_used_it_is_not_served() {
    let world = World::with_file(1_000_000);
    let seeder = Seeder::of(&world, arguments![]);
    let mut peer = Peer::unchoked(
        seeder.address(),
        info_hash(seeder.torrent().info_hash_v1.as_ref().unwrap()),
    );
    assert!(matches!(peer.ask(0, 0, 16_384), Answer::Block(_)));
    // Long enough for the seeder to stop watching the file, which stays open.
    for _ in 0..4 {
        seeder.event("rate", SOON).expect("a rate event comes");
    }
    change_a_byte(&world, false);
    assert!(!matches!(peer.ask(0, 0, 16_384), Answer::Block(_)), "it was served unseen");
    let error = seeder.event("error", SOON).expect("an error event");
    assert!(error["file"].as_str().unwrap().contains("content"), "{error}");
}

#[test]
fn a_path_that_cannot_be_read_leaves_the_others_to_be_seeded() {
    let world = World::with_file(1_000_000);
    let mut options = arguments![world.path("nowhere"), world.content()];
    options.extend(on_loopback(&world));
    let seeder = Seeder::start(options);
    download(&seeder, &world);
    let (ended, _) = seeder.terminate();
    assert_eq!(ended.code, Some(1), "something was left out: {ended:?}");
}

#[test]
fn a_folder_of_torrents_is_seeded() {
    let world = World::with_file(1);
    let mut hashes = Vec::new();
    for number in 0..20_u64 {
        let name = format!("file{number}");
        let content = world.data().join(&name);
        write(&content, &noise(number + 1, 50_000 + number as usize));
        let file = world.path("torrents").join(format!("{name}.torrent"));
        fs::create_dir_all(world.path("torrents")).unwrap();
        let made = ringseed(arguments!["create", content, "-o", file, "--v1"]);
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    let mut options = arguments![world.path("torrents"), "--data", world.data()];
    options.extend(on_loopback(&world));
    let seeder = Seeder::start(options);
    assert_eq!(seeder.ready.torrents.len(), 20);
    for torrent in &seeder.ready.torrents {
        let hash = info_hash(torrent.info_hash_v1.as_ref().unwrap());
        let mut peer = Peer::unchoked(seeder.address(), hash);
        let Answer::Block(block) = peer.ask(0, 0, 16_384) else { panic!("no block") };
        hashes.push(block);
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 20, "each torrent sent its own bytes");
}

#[test]
fn the_manual_names_every_flag_and_no_other() {
    let manual = include_str!("../../docs/cli.md");
    let flags_of = |text: &str| -> Vec<String> {
        let mut flags: Vec<String> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.len() > 3 && word.starts_with("--"))
            .map(str::to_owned)
            .collect();
        flags.sort();
        flags.dedup();
        flags
    };
    for command in ["create", "show", "check", "seed"] {
        let help = ringseed(arguments![command, "--help"]);
        assert_eq!(help.code, Some(0), "{help:?}");
        let start = manual.find(&format!("## ringseed {command}")).expect("a section");
        let section = &manual[start + 3..];
        let section = &section[..section.find("\n## ").unwrap_or(section.len())];
        let named = flags_of(section);
        for flag in flags_of(&help.stdout) {
            let common = ["--help", "--version"].contains(&flag.as_str());
            assert!(common || named.contains(&flag), "docs/cli.md, {command}: {flag} is missing");
        }
        for flag in named {
            assert!(help.stdout.contains(&flag), "docs/cli.md, {command}: there is no {flag}");
        }
    }
}
