//! Reads that fail in the middle of a run, or never get their bytes to stay.

use std::ops::Range;
use std::time::Duration;

use ringseed_faultfs::Reads;

use super::crowd::Crowd;
use super::stand::{FILE, Stand, WAYS, fault};
use super::truth::evict;

const FILE_BYTES: u64 = 24 << 20;
const EIO: i32 = 5;
/// Somewhere in the middle, within a block.
const BAD: u64 = (15 << 20) + 5000;
/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(10);
/// Reads that were under way have ended when none ended for so long.
const SETTLES: Duration = Duration::from_millis(200);
/// How often that is waited for.
const SETTLES_MAX: usize = 50;

/// What was read of the bad torrent's file, once the reads that were under way when it was paused have ended.
fn settled(stand: &Stand) -> Reads {
    let mut reads = stand.mirror("bad").reads(FILE);
    for _ in 0..SETTLES_MAX {
        std::thread::park_timeout(SETTLES);
        let now = stand.mirror("bad").reads(FILE);
        if now == reads {
            break;
        }
        reads = now;
    }
    reads
}

/// Does something to the reads of one torrent while leechers are at it and at another one: its error
/// says `says`, its leechers are closed and got wrong bytes in `may_be_wrong` at most, its file is read no more, the others go on. Then it is
/// healed, and a second start serves it whole.
fn a_fault_of_one_torrent(
    way: &[&str],
    break_it: impl FnOnce(&Stand),
    says: &[&str],
    may_be_wrong: Range<u64>,
) {
    let stand = Stand::new().with("good", FILE_BYTES).with("bad", FILE_BYTES).mirrored();
    let Some(stand) = stand else { return };
    let seeder = stand.seed(way);
    let good = Crowd::start(&stand.known(&seeder, "good"), 8, 8);
    let bad = Crowd::start(&stand.known(&seeder, "bad"), 8, 8).gets(200, SOON);
    let before = stand.mirror("bad").reads(FILE);
    break_it(&stand);
    evict(&stand.file("bad"));
    let message = fault(&seeder, "bad", SOON);
    assert!(says.iter().all(|word| message.contains(word)), "{message}");
    assert!(bad.is_closed(SOON), "leechers of a paused torrent are held");
    let reads = settled(&stand);
    // All of it once, until the bad place is met; there each of 64 requests may try a few times.
    let is_bounded = reads.bytes - before.bytes < FILE_BYTES * 3 / 2 && reads.failed < 200;
    assert!(is_bounded, "before {before:?}, after {reads:?}");
    let good = good.gets(500, SOON);
    assert_eq!(stand.mirror("bad").reads(FILE), reads, "a paused torrent's file is still read");
    for told in bad.stop() {
        let is_fine = told.wrong.iter().all(|(_, at)| may_be_wrong.contains(at));
        assert!(is_fine && !told.stuck, "{told:.3?}");
    }
    good.end_well(1);
    stand.mirror("bad").heal_all();
    drop(seeder);
    let seeder = stand.seed(way);
    let again = Crowd::start(&stand.known(&seeder, "bad"), 8, 8);
    again.gets(2 * FILE_BYTES / 16_384, SOON).end_well(1);
}

#[test]
fn a_bad_sector_pauses_its_torrent_and_is_named() {
    for way in WAYS {
        let break_it = |stand: &Stand| stand.mirror("bad").fail(FILE, BAD..BAD + 1, EIO);
        a_fault_of_one_torrent(&way, break_it, &["at byte ", "os error 5"], 0..0);
    }
}

#[test]
fn a_file_whose_reads_end_early_pauses_its_torrent() {
    for way in WAYS {
        let break_it = |stand: &Stand| stand.mirror("bad").end_at(FILE, BAD);
        // The kernel fills the page cache behind a short read of FUSE with zeros until it knows better.
        a_fault_of_one_torrent(&way, break_it, &[], BAD - 16_384..FILE_BYTES);
    }
}
