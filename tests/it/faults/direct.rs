//! A filesystem that reads past the page cache, as some on FUSE do.

use std::time::Duration;

use super::crowd::Crowd;
use super::stand::{FILE, Stand, WAYS};

const FILE_BYTES: u64 = 4 << 20;
/// Five times the file.
const BLOCKS: u64 = 5 * FILE_BYTES / 16_384;

#[test]
fn what_is_read_past_the_page_cache_is_served_and_read_a_bounded_number_of_times() {
    for way in WAYS {
        let Some(stand) = Stand::new().with("bare", FILE_BYTES).mirrored() else { return };
        stand.mirror("bare").read_directly();
        let seeder = stand.seed(&way);
        let before = stand.mirror("bare").reads(FILE).bytes;
        let crowd = Crowd::start(&stand.known(&seeder, "bare"), 8, 8);
        let told = crowd.gets(BLOCKS, Duration::from_secs(20)).end_well(1);
        let sent: u64 = told.iter().map(|told| told.blocks * 16_384).sum();
        let reads = stand.mirror("bare").reads(FILE);
        let read = reads.bytes - before;
        // By readahead, for the verdict, and for the copy.
        println!("{way:?}: {read} bytes read for {sent} bytes sent");
        // Sends read past the page cache, each for itself; fetches fill it all the same, a few times.
        let is_bounded = (sent..sent + 3 * FILE_BYTES).contains(&read) && reads.failed == 0;
        assert!(is_bounded, "{way:?}: {read} bytes read for {sent} bytes sent");
    }
}
