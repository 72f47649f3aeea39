//! A mount that hangs for good, by each thing that is asked of it, beside a disk that does not.
//!
//! Whoever waits for a FUSE server that has taken the request cannot be killed: nothing of these tests
//! but the seeder touches files of a mount that hangs, and the server of it is killed first of all,
//! however a test ends.

use std::sync::RwLock;
use std::sync::mpsc::{Sender, channel};
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

/// A seeder with one worker, so that all that a worker has one of is one for all: of a torrent of many
/// files on a mount that may hang, and of two of one file that are on a disk.
struct Scene {
    seeder: Seeder,
    stand: Stand,
}

impl Drop for Scene {
    /// Kills who serves the mount, before the seeder is waited for.
    fn drop(&mut self) {
        self.mount().abort();
    }
}

impl Scene {
    /// `None` where nothing can be mounted.
    fn new(way: &[&str]) -> Option<Scene> {
        let stand = Stand::new().with("known", FILE_BYTES).with("new", FILE_BYTES);
        let stand = stand.with_pieces("hung", PIECES).mirrored_apart()?;
        let seeder = stand.seed(&[way, &["--cores", "1"]].concat());
        Some(Scene { seeder, stand })
    }

    fn mount(&self) -> &Apart {
        self.stand.apart("hung")
    }

    /// Leechers of a torrent.
    #[track_caller]
    fn crowd(&self, name: &str) -> Crowd {
        let known = self.stand.known(&self.seeder, name);
        match name {
            "hung" => Crowd::start(&known, LEECHERS, 2),
            _ => Crowd::start(&known, 4, 8),
        }
    }

    /// Has the mount hang, and leechers then ask for what it does not answer.
    #[track_caller]
    fn meets_a_hang(&self, verb: &str, at: At) -> Crowd {
        if at == At::Later {
            self.crowd("hung").gets(LEECHERS * 16, PATIENCE).end_well(1);
            self.stand.files("hung").for_each(|file| evict(&file));
        }
        std::thread::park_timeout(FORGOTTEN);
        self.mount().tell(&format!("hang {verb}")).unwrap();
        self.crowd("hung")
    }

    /// Waits until somebody waits for the mount, and these leechers, if any, have come to a stop for
    /// want of answers.
    #[track_caller]
    fn hangs(&self, leechers: Option<&Crowd>) {
        let mut seen = (0, 0);
        for _ in 0..PATIENCE.as_millis() / SETTLES.as_millis() {
            let now = (self.mount().held().unwrap(), leechers.map_or(0, Crowd::blocks));
            let before = std::mem::replace(&mut seen, now);
            if now.0 > 0 && now == before {
                return;
            }
            std::thread::park_timeout(SETTLES);
        }
        panic!("{} wait for the mount, and {} blocks came", seen.0, seen.1);
    }

    /// Leechers that were served before, new ones of theirs, and those of a torrent that nobody had
    /// asked for yet: all are served, from the disk as well as from memory.
    #[track_caller]
    fn others_are_served(&self, known: Crowd) {
        evict(&self.stand.file("known"));
        let known = known.gets(2 * FILE_BLOCKS, PATIENCE);
        let newcomers = self.crowd("known");
        let of_new = self.crowd("new").gets(FILE_BLOCKS, PATIENCE);
        evict(&self.stand.file("known"));
        evict(&self.stand.file("new"));
        let crowds = [known, newcomers, of_new].map(|crowd| crowd.gets(FILE_BLOCKS, PATIENCE));
        let told: Vec<Told> = crowds.into_iter().flat_map(|crowd| crowd.end_well(1)).collect();
        let longest = told.iter().map(|told| told.longest_wait).max().unwrap();
        println!("the longest wait beside the mount was {longest:.3?}");
        assert!(longest < OTHERS_WAIT_MAX, "{longest:?}");
    }

    /// Files of the mount that the seeder has open.
    fn open_files(&self) -> usize {
        let of_the_mount = self.stand.world.data().join("hung").canonicalize().unwrap();
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.seeder.pid())).unwrap().flatten();
        let targets = files.flat_map(|file| std::fs::read_link(file.path()));
        targets.filter(|target| target.starts_with(&of_the_mount)).count()
    }

    /// Stops the seeder, which says so in time.
    #[track_caller]
    fn stops(&self) -> Duration {
        let (stopped, took) = self.seeder.stops();
        assert!(stopped.is_some(), "no `stopped` event");
        took
    }

    #[track_caller]
    fn ends_with(&mut self, code: i32) {
        let status = self.seeder.ends_within(PATIENCE).expect("the process has ended");
        assert_eq!(status.code(), Some(code));
    }
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
        let Some(mut scene) = Scene::new(way) else { return };
        let known = scene.crowd("known").gets(100, PATIENCE);
        let waiting = scene.meets_a_hang(verb, at);
        scene.hangs(Some(&waiting));
        let had = waiting.blocks();
        scene.others_are_served(known);
        assert_eq!(waiting.blocks(), had, "{way:?}: the mount did not hang");
        scene.mount().tell("heal").unwrap();
        let served = waiting.gets(PIECES * 16, PATIENCE).end_well(1);
        assert_eq!(served.len() as u64, LEECHERS);
        scene.stops();
        scene.ends_with(0);
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

#[test]
fn a_mount_whose_closes_hang_holds_up_nobody_else() {
    by_each_kernel(|way| {
        let Some(mut scene) = Scene::new(way) else { return };
        let known = scene.crowd("known").gets(100, PATIENCE);
        let hung = scene.crowd("hung").gets(LEECHERS * 16, PATIENCE);
        assert!(scene.open_files() > 16, "{way:?}");
        scene.mount().tell("hang flush").unwrap();
        // A paused torrent's files are closed.
        let first = scene.stand.world.path("behind").join("hung").join(super::stand::FILE);
        std::fs::write(first, "other bytes").unwrap();
        fault(&scene.seeder, "hung", PATIENCE);
        assert!(hung.is_closed(PATIENCE), "{way:?}: leechers of a paused torrent are held");
        scene.hangs(None);
        scene.others_are_served(known);
        assert!(scene.mount().held().unwrap() > 0, "{way:?}: the mount did not hang");
        scene.mount().tell("heal").unwrap();
        let is_closed = (0..PATIENCE.as_millis() / 10).any(|_| {
            std::thread::park_timeout(Duration::from_millis(10));
            scene.open_files() == 0
        });
        assert!(is_closed, "{way:?}: {} files are open", scene.open_files());
        scene.stops();
        // Some of its data had failed.
        scene.ends_with(1);
    });
}

/// Has leechers of a seeder wait for its mount, or, when closes hang, files be open there; lets go of
/// `arrived`, waits until the gate is opened and stops the seeder.
fn it_stops(verb: &str, at: At, way: &[&str], arrived: Sender<()>, gate: &RwLock<()>) {
    let Some(mut scene) = Scene::new(way) else { return };
    let leechers = scene.meets_a_hang(verb, at);
    match verb {
        "flush" => assert!(scene.open_files() > 16, "{way:?}"),
        _ => scene.hangs(Some(&leechers)),
    }
    drop(arrived);
    drop(gate.read());
    let took = scene.stops();
    println!("{way:?}, {verb}: it stopped within {took:.3?}");
    // What is open is closed by the end of the process, if not before.
    scene.hangs(None);
    // The system keeps the process while the mount has its files.
    scene.mount().abort();
    scene.ends_with(0);
    drop(leechers);
}

#[test]
fn a_seeder_stops_in_time_though_a_mount_hangs() {
    let cases = [
        ("lookup", At::First, WAYS[0]),
        ("open", At::First, WAYS[3]),
        ("getattr", At::Later, WAYS[0]),
        ("read", At::Later, WAYS[1]),
        ("read", At::Later, WAYS[3]),
        ("flush", At::Later, WAYS[0]),
        ("flush", At::Later, WAYS[3]),
    ];
    let gate = &RwLock::new(());
    std::thread::scope(|scope| {
        // What it takes to get there, two at a time for want of cores, is no part of the time to stop.
        let closed = gate.write();
        for some in cases.chunks(2) {
            let (sender, arrived) = channel();
            for &(verb, at, way) in some {
                let sender = sender.clone();
                scope.spawn(move || it_stops(verb, at, &way, sender, gate));
            }
            drop(sender);
            assert!(arrived.recv().is_err(), "all have let go of their ends");
        }
        drop(closed);
    });
}
