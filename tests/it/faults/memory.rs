//! Memory that holds a tenth of the data, and pages that go while they are served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::cgroup::Cgroup;
use super::crowd::{Crowd, Told};
use super::stand::{Stand, WAYS};
use super::truth::evict;
use crate::peer::BLOCK_BYTES;

/// Bytes of data that do not fit; RINGSEED_PROOF_BYTES makes it more.
fn data_bytes() -> u64 {
    let asked = std::env::var("RINGSEED_PROOF_BYTES").ok();
    asked.map_or(512 << 20, |bytes| bytes.parse().expect("RINGSEED_PROOF_BYTES is a number"))
}

/// What the program itself takes, apart from the page cache: a debug build, rings and buffers.
const OWN_BYTES: u64 = 48 << 20;

/// Bytes read from disks for each byte sent, at most, where memory is short: a fetch in vain for each
/// connection, then copies. It is 1.0 to 1.7, more on a busy machine; 3.9 when each goes on fetching.
const READ_FOR_SENT_SHORT: u64 = 3;

/// The same where pages are taken away on purpose: more than this says that something is fetched over
/// and over.
const READ_FOR_SENT_EVICTED: u64 = 6;

/// A time in which even a busy machine gets there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that a process had read from disks.
fn read_bytes(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap();
    line.parse().unwrap()
}

/// Fails when far more was read than sent, and when hardly anything was: then no disk was tried.
#[track_caller]
fn assert_reads(way: &[&str], read: u64, told: &[Told], most: u64) {
    let sent: u64 = told.iter().map(|told| told.blocks * u64::from(BLOCK_BYTES)).sum();
    let longest = told.iter().map(|told| told.longest_wait).max();
    println!("{way:?}: {read} bytes read for {sent} sent; longest wait {longest:.3?}");
    assert!(read > sent / 4, "{way:?}: {read} bytes read for {sent} sent: it stood in memory");
    assert!(read < most * sent, "{way:?}: {read} bytes read for {sent} sent");
}

#[test]
fn two_hundred_leechers_are_served_right_with_memory_for_a_tenth_of_the_data() {
    let stand = Stand::new().with("large", data_bytes());
    for way in WAYS {
        let memory = OWN_BYTES + data_bytes() / 10;
        let Some(cgroup) = Cgroup::with_memory("tenth", memory) else { return };
        let mut seeder = stand.seed_by(cgroup.command(), &way);
        let before = read_bytes(seeder.pid());
        let crowd = Crowd::start(&stand.known(&seeder, "large"), 200, 8);
        let told = crowd.gets(data_bytes() / 16_384 / 2, PATIENCE).end_well(1);
        assert!(seeder.is_running());
        assert_reads(&way, read_bytes(seeder.pid()) - before, &told, READ_FOR_SENT_SHORT);
    }
}

#[test]
fn pages_that_go_all_the_time_harm_nobody() {
    let stand = Stand::new().with("large", 32 << 20);
    for way in WAYS {
        let Some(cgroup) = Cgroup::with_memory("evicted", 1 << 30) else { return };
        let seeder = stand.seed_by(cgroup.command(), &way);
        let before = read_bytes(seeder.pid());
        let crowd = Crowd::start(&stand.known(&seeder, "large"), 50, 8);
        let (file, is_over) = (stand.file("large"), AtomicBool::new(false));
        let again_and_again = |what: &dyn Fn(), pause: Duration| {
            while !is_over.load(Ordering::Relaxed) {
                what();
                std::thread::park_timeout(pause);
            }
        };
        let told = std::thread::scope(|scope| {
            scope.spawn(|| again_and_again(&|| evict(&file), Duration::from_millis(1)));
            scope.spawn(|| again_and_again(&|| cgroup.reclaim(), Duration::from_millis(20)));
            let comes = crowd.has_more(10_000, PATIENCE);
            is_over.store(true, Ordering::Relaxed);
            assert!(comes, "{way:?}: {} blocks came", crowd.blocks());
            crowd.end_well(1)
        });
        assert_reads(&way, read_bytes(seeder.pid()) - before, &told, READ_FOR_SENT_EVICTED);
    }
}
