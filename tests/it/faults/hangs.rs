//! A mount that hangs for good, by each thing that is asked of it, beside a disk that does not.
//!
//! Whoever waits for a FUSE server that has taken the request cannot be killed: nothing of these tests
//! but the seeder touches files of a mount that hangs, and the server of it is killed first of all,
//! however a test ends.

use std::time::Duration;

use ringseed_faultfs::Apart;

use super::crowd::{Crowd, Told};
use super::stand::{Stand, WAYS, fault};
use super::truth::evict;
use crate::seeder::Seeder;

const FILE_BYTES: u64 = 4 << 20;
/// Blocks of it.
const FILE_BLOCKS: u64 = FILE_BYTES / 16_384;
/// Files on the mount, a piece each: more than a device may have threads, and all may have together.
const PIECES: u64 = 40;
/// As many leechers, so that nearly all files are asked for.
const LEECHERS: u64 = 40;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than the kernel believes what a mount has told of a file, and than a seeder serves one
/// without looking.
const FORGOTTEN: Duration = Duration::from_millis(1_200);

/// All that will wait for the mount does when nothing has changed for so long.
const SETTLES: Duration = Duration::from_millis(200);

/// No leecher of another disk waits longer. A busy machine needs some of it; whoever waits for the
/// mount waits for good.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(3);

/// Kills who serves the mount. Declared after the seeder, it is dropped before.
struct Killed<'a>(&'a Apart);

impl Drop for Killed<'_> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A torrent of many files on a mount that may hang, and two of one file that are on a disk. `None`
/// where nothing can be mounted.
fn stand() -> Option<Stand> {
    let stand = Stand::new().with("known", FILE_BYTES).with("new", FILE_BYTES);
    stand.with_pieces("hung", PIECES).mirrored_apart()
}

/// All that a worker has one of is one for all.
fn seed(stand: &Stand, way: &[&str]) -> Seeder {
    stand.seed(&[way, &["--cores", "1"]].concat())
}

/// Waits until these leechers, if any, have come to a stop for want of answers.
#[track_caller]
fn hangs(stand: &Stand, leechers: Option<&Crowd>) {
    let mut seen = (0, 0);
    for _ in 0..PATIENCE.as_millis() / SETTLES.as_millis() {
        let now = (stand.apart("hung").held().unwrap(), leechers.map_or(0, Crowd::blocks));
        let before = std::mem::replace(&mut seen, now);
        if now.0 > 0 && now == before {
            return;
        }
        std::thread::park_timeout(SETTLES);
    }
    panic!("{} wait for the mount, and {} blocks came", seen.0, seen.1);
}

/// Leechers that were served before, new ones of theirs, and those of a torrent that nobody had asked
/// for yet: all are served, from the disk as well as from memory.
#[track_caller]
fn others_are_served(stand: &Stand, seeder: &Seeder, known: Crowd) {
    evict(&stand.file("known"));
    let known = known.gets(2 * FILE_BLOCKS, PATIENCE);
    let newcomers = Crowd::start(&stand.known(seeder, "known"), 4, 8);
    let of_new = Crowd::start(&stand.known(seeder, "new"), 4, 8).gets(FILE_BLOCKS, PATIENCE);
    evict(&stand.file("known"));
    evict(&stand.file("new"));
    let crowds = [known, newcomers, of_new].map(|crowd| crowd.gets(FILE_BLOCKS, PATIENCE));
    let told: Vec<Told> = crowds.into_iter().flat_map(|crowd| crowd.end_well(1)).collect();
    let longest = told.iter().map(|told| told.longest_wait).max().unwrap();
    println!("the longest wait beside the mount was {longest:.3?}");
    assert!(longest < OTHERS_WAIT_MAX, "{longest:?}");
}

/// Each kernel once, each with its own verb.
fn by_each_kernel(what: impl Fn(&[&str]) + Sync) {
    let what = &what;
    std::thread::scope(|scope| {
        for way in [WAYS[0], WAYS[3]] {
            scope.spawn(move || what(&way));
        }
    });
}

/// What a leecher of the mount meets first when it hangs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// A file that is not open yet.
    First,
    /// One that is open, and not in the page cache.
    Later,
}

/// Has leechers ask for what the mount then does not answer: others are served meanwhile, and they when
/// it is healed.
fn others_are_served_and_they_are_once_it_is_healed(verb: &str, at: At) {
    by_each_kernel(|way| {
        let Some(stand) = stand() else { return };
        let seeder = seed(&stand, way);
        let mount = stand.apart("hung");
        let _killed = Killed(mount);
        let hung = stand.known(&seeder, "hung");
        let known = Crowd::start(&stand.known(&seeder, "known"), 4, 8).gets(100, PATIENCE);
        if at == At::Later {
            let first = Crowd::start(&hung, LEECHERS, 2);
            first.gets(LEECHERS * 16, PATIENCE).end_well(1);
            stand.files("hung").for_each(|file| evict(&file));
        }
        std::thread::park_timeout(FORGOTTEN);
        mount.tell(&format!("hang {verb}")).unwrap();
        let waiting = Crowd::start(&hung, LEECHERS, 2);
        hangs(&stand, Some(&waiting));
        let had = waiting.blocks();
        others_are_served(&stand, &seeder, known);
        assert_eq!(waiting.blocks(), had, "{way:?}: the mount did not hang");
        mount.tell("heal").unwrap();
        let served = waiting.gets(PIECES * 16, PATIENCE).end_well(1);
        assert_eq!(served.len() as u64, LEECHERS);
        let (ended, _) = seeder.terminate();
        assert_eq!(ended.code, Some(0), "{way:?}: {ended:?}");
    });
}

#[test]
fn a_mount_whose_lookups_hang_holds_up_nobody_else() {
    others_are_served_and_they_are_once_it_is_healed("lookup", At::First);
}

#[test]
fn a_mount_whose_opens_hang_holds_up_nobody_else() {
    others_are_served_and_they_are_once_it_is_healed("open", At::First);
}

#[test]
fn a_mount_whose_stats_hang_holds_up_nobody_else() {
    others_are_served_and_they_are_once_it_is_healed("getattr", At::Later);
}

#[test]
fn a_mount_whose_reads_hang_holds_up_nobody_else() {
    others_are_served_and_they_are_once_it_is_healed("read", At::Later);
}

/// Files of the mount that the seeder has open.
fn open_files(stand: &Stand, seeder: &Seeder) -> usize {
    let of_the_mount = stand.world.data().join("hung").canonicalize().unwrap();
    let files = std::fs::read_dir(format!("/proc/{}/fd", seeder.pid())).unwrap().flatten();
    let targets = files.flat_map(|file| std::fs::read_link(file.path()));
    targets.filter(|target| target.starts_with(&of_the_mount)).count()
}

#[test]
fn a_mount_whose_closes_hang_holds_up_nobody_else() {
    by_each_kernel(|way| {
        let Some(stand) = stand() else { return };
        let seeder = seed(&stand, way);
        let mount = stand.apart("hung");
        let _killed = Killed(mount);
        let known = Crowd::start(&stand.known(&seeder, "known"), 4, 8).gets(100, PATIENCE);
        let hung = Crowd::start(&stand.known(&seeder, "hung"), LEECHERS, 2);
        let hung = hung.gets(LEECHERS * 16, PATIENCE);
        assert!(open_files(&stand, &seeder) > 16, "{way:?}");
        mount.tell("hang flush").unwrap();
        // A paused torrent's files are closed.
        let first = stand.world.path("behind").join("hung").join(super::stand::FILE);
        std::fs::write(first, "other bytes").unwrap();
        fault(&seeder, "hung", PATIENCE);
        assert!(hung.is_closed(PATIENCE), "{way:?}: leechers of a paused torrent are held");
        hangs(&stand, None);
        others_are_served(&stand, &seeder, known);
        mount.tell("heal").unwrap();
        let is_closed = (0..PATIENCE.as_millis() / 10).any(|_| {
            std::thread::park_timeout(Duration::from_millis(10));
            open_files(&stand, &seeder) == 0
        });
        assert!(is_closed, "{way:?}: {} files are open", open_files(&stand, &seeder));
        let (ended, _) = seeder.terminate();
        // Some of its data had failed.
        assert_eq!(ended.code, Some(1), "{way:?}: {ended:?}");
    });
}

/// Stops a seeder whose leechers wait for the mount.
fn it_stops(verb: &str, at: At, way: &[&str]) {
    let Some(stand) = stand() else { return };
    let mut seeder = seed(&stand, way);
    let mount = stand.apart("hung");
    let killed = Killed(mount);
    let hung = stand.known(&seeder, "hung");
    if at == At::Later {
        Crowd::start(&hung, LEECHERS, 2).gets(LEECHERS * 16, PATIENCE).end_well(1);
        stand.files("hung").for_each(|file| evict(&file));
    }
    std::thread::park_timeout(FORGOTTEN);
    mount.tell(&format!("hang {verb}")).unwrap();
    let leechers = Crowd::start(&hung, LEECHERS, 2);
    if verb != "flush" {
        hangs(&stand, Some(&leechers));
    }
    let (stopped, took) = seeder.stops();
    assert!(stopped.is_some(), "{way:?}, {verb}: no `stopped` event");
    println!("{way:?}, {verb}: it stopped within {took:.3?}");
    // The system keeps the process while the mount has its files.
    drop(killed);
    let status = seeder.ends_within(PATIENCE).expect("the process has ended");
    assert_eq!(status.code(), Some(0), "{way:?}, {verb}");
    drop(leechers);
}

#[test]
fn a_seeder_stops_in_time_though_a_mount_hangs() {
    std::thread::scope(|scope| {
        for (verb, at, way) in [
            ("lookup", At::First, WAYS[0]),
            ("open", At::First, WAYS[3]),
            ("getattr", At::Later, WAYS[0]),
            ("read", At::Later, WAYS[1]),
            ("read", At::Later, WAYS[3]),
            ("flush", At::Later, WAYS[0]),
            ("flush", At::Later, WAYS[3]),
        ] {
            scope.spawn(move || it_stops(verb, at, &way));
        }
    });
}
