//! Reads that fail in the middle of a run.

use std::fs;
use std::time::Duration;

use super::mirrored::{Mirrored, evict};
use crate::arguments;
use crate::content::World;
use crate::peer::{Answer, BLOCK_BYTES, Peer, info_hash, piece_bytes};
use crate::seeder::{Seeder, on_loopback};

const FILE_BYTES: usize = 4 * 1024 * 1024 + 321;
const EIO: i32 = 5;
const BAD: u64 = 3 * 1024 * 1024 + 5000;

#[test]
fn a_bad_sector_pauses_its_torrent_and_is_named() {
    let world = World::with_file(FILE_BYTES);
    let Some(mirrored) = Mirrored::of(&world) else { return };
    let mut options = arguments![mirrored.path("content")];
    options.extend(on_loopback(&world));
    let seeder = Seeder::start(options);
    let torrent = seeder.torrent().clone();
    let hash = info_hash(torrent.info_hash_v1.as_ref().unwrap());
    let piece = piece_bytes(&torrent.torrent_file);
    let bytes = fs::read(world.content()).unwrap();
    let mut peer = Peer::unchoked(seeder.address(), hash);
    peer.fetch_and_compare(piece, &bytes, 0..1024 * 1024);
    mirrored.mount.fail("content", BAD..BAD + 1, EIO);
    evict(&mirrored.path("content"));
    let begin = (BAD % piece) as u32 / BLOCK_BYTES * BLOCK_BYTES;
    assert_eq!(peer.ask((BAD / piece) as u32, begin, BLOCK_BYTES), Answer::Closed);
    let error = seeder.event("error", Duration::from_secs(5)).expect("an error event");
    let message = error["message"].as_str().unwrap();
    assert!(error["file"].as_str().unwrap().contains("content"), "{error}");
    assert!(message.contains("byte ") && message.contains("os error 5"), "{error}");
    let reads = mirrored.mount.reads("content");
    for _ in 0..2 {
        seeder.event("rate", Duration::from_secs(5)).expect("a rate event");
    }
    assert_eq!(mirrored.mount.reads("content"), reads, "a paused torrent's file is still read");
}
