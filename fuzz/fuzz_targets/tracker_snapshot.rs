//! Snapshots of a tracker's swarms: whatever stands in a file, it is loaded or refused, and what was loaded
//! is the same when it was saved and loaded again. The first byte says whether the rest is a file, or a
//! block that is put into one with its checksum, which few inputs would meet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringseed_meta::Instant;
use ringseed_tracker::random::Random;
use ringseed_tracker::snapshot::format::Writer;
use ringseed_tracker::snapshot::{load, save};
use ringseed_tracker::swarm::{Bounds, Swarms};

fuzz_target!(|input: &[u8]| {
    let Some((form, rest)) = input.split_first() else { return };
    let file = match form % 2 {
        0 => rest.to_vec(),
        _ => {
            let mut writer = Writer::new(Vec::new(), 0).expect("memory takes all");
            writer.block(rest).expect("memory takes all");
            writer.end().expect("memory takes all")
        }
    };
    let bounds =
        Bounds { torrents_max: 20, torrent_peers_max: 50, peers_max: 100, ..Bounds::default() };
    let (now, swarms) = (Instant::ZERO, || Swarms::new(bounds, &[1; 16], Random::new(2)));
    let mut loaded = swarms();
    if load(&mut loaded, now, file.as_slice()).is_err() {
        return;
    }
    assert!(loaded.torrents() <= 40 && loaded.peers() <= 200, "the bounds of both families");
    let saved = save(&loaded, now, 0, Vec::new()).expect("memory takes all");
    let mut again = swarms();
    load(&mut again, now, saved.as_slice()).expect("what was saved is loaded");
    assert_eq!((again.torrents(), again.peers()), (loaded.torrents(), loaded.peers()));
    assert_eq!(save(&again, now, 0, Vec::new()).expect("memory takes all").len(), saved.len());
});
