//! A disk that is slow beside one that is not.

use std::time::Duration;

use super::crowd::Crowd;
use super::stand::{FILE, Stand, WAYS};
use super::truth::evict;

const FILE_BYTES: u64 = 4 << 20;
const DELAY: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(30);

/// No leecher of the fast disk stands behind one read of the slow one, though the machine is busy. (How
/// little it costs is measured elsewhere.)
const FAST_WAITS_MAX: Duration = Duration::from_millis(2_500);

#[test]
fn a_mount_that_takes_its_time_holds_up_nobody_else() {
    // Each verb and each kernel once: a slow mount takes its time.
    for way in [WAYS[0], WAYS[3]] {
        let stand = Stand::new().with("fast", FILE_BYTES).with("slow", FILE_BYTES).mirrored();
        let Some(stand) = stand else { return };
        let mut one_core = way.to_vec();
        one_core.extend(["--cores", "1"]);
        let seeder = stand.seed(&one_core);
        stand.mirror("slow").delay(DELAY);
        let fast = Crowd::start(&stand.known(&seeder, "fast"), 8, 8).gets(100, PATIENCE);
        let slow = Crowd::start(&stand.known(&seeder, "slow"), 8, 8);
        let file = stand.file("fast");
        // Cold now and then, so that its fetches stand beside the slow ones.
        let fast = (0..5).fold(fast, |fast, _| {
            evict(&file);
            fast.gets(FILE_BYTES / 16_384, PATIENCE)
        });
        let slow = slow.gets(8, PATIENCE);
        let told = fast.end_well(100);
        let longest = told.iter().map(|told| told.longest_wait).max().unwrap();
        println!("{way:?}: the longest wait beside the slow mount was {longest:.3?}");
        assert!(longest < FAST_WAITS_MAX, "{way:?}: {longest:?}");
        stand.mirror("slow").heal_all();
        slow.end_well(1);
        assert_eq!(stand.mirror("slow").reads(FILE).failed, 0);
    }
}
