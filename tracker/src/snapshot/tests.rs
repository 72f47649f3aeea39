//! What was saved is loaded, in whatever slices; what is not whole is refused, wherever it is cut.

use std::sync::Mutex;

use proptest::prelude::*;
use ringseed_meta::{InfoHash, PeerId};
use ringseed_wire::tracker::{AnnounceEvent, AnnounceRequest};

use super::format::{Block, Reader, Writer};
use super::*;
use crate::access::Notice;
use crate::random::Random;
use crate::swarm::{Bounds, PeerState, TorrentState, Visit};

/// All that is held, in an order of its own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Told(Vec<(TorrentState, Vec<PeerState>)>);

impl Visit for Told {
    fn torrent(&mut self, torrent: &TorrentState) {
        if self.0.last().is_none_or(|(last, _)| last != torrent) {
            self.0.push((*torrent, Vec::new()));
        }
    }

    fn peer(&mut self, peer: &PeerState) {
        self.0.last_mut().unwrap().1.push(*peer);
    }
}

impl Told {
    fn of(swarms: &Swarms, now: Instant) -> Told {
        let (mut told, mut walk) = (Told::default(), swarms.walk());
        while !swarms.tell(now, &mut walk, &mut told) {}
        told.0.iter_mut().for_each(|(_, peers)| peers.sort_unstable());
        told.0.sort_unstable();
        told
    }
}

pub(super) fn empty() -> Swarms {
    Swarms::new(Bounds::default(), &[5; 16], Random::new(7))
}

fn at(seconds: u64) -> Instant {
    Instant::from_us(seconds * 1_000_000)
}

#[derive(Clone, Debug)]
struct Announced {
    torrent: u8,
    peer: u16,
    is_ipv6: bool,
    left: u64,
    event: AnnounceEvent,
    key: Option<u32>,
    after_s: u64,
}

fn announced() -> impl Strategy<Value = Announced> {
    let event = prop_oneof![
        Just(AnnounceEvent::None),
        Just(AnnounceEvent::Completed),
        Just(AnnounceEvent::Paused),
        Just(AnnounceEvent::Stopped),
    ];
    let key = proptest::option::of(0..4u32);
    (0..5u8, 0..70u16, any::<bool>(), 0..2u64, event, key, 0..40u64).prop_map(
        |(torrent, peer, is_ipv6, left, event, key, after_s)| Announced {
            torrent,
            peer,
            is_ipv6,
            left,
            event,
            key,
            after_s,
        },
    )
}

fn take(swarms: &mut Swarms, now: Instant, announced: &Announced) {
    let [high, low] = announced.peer.to_be_bytes();
    let ip = match announced.is_ipv6 {
        true => format!("2001:db8::{:x}", announced.peer).parse().unwrap(),
        false => std::net::IpAddr::from([10, 0, high, low]),
    };
    let (info_hash, id) = (InfoHash([announced.torrent; 20]), PeerId([low; 20]));
    let mut request = AnnounceRequest::new(info_hash, id, 6881 + announced.peer);
    (request.left, request.event, request.key) = (announced.left, announced.event, announced.key);
    swarms.announce(now, ip, &request, &mut Vec::new());
}

/// So many peers in a torrent.
fn filled(torrents: &[(u8, u16)]) -> Swarms {
    let mut swarms = empty();
    for (torrent, peers) in torrents {
        for peer in 0..*peers {
            let (left, event) = (u64::from(peer % 3 > 0), AnnounceEvent::None);
            let torrent = *torrent;
            let announced =
                Announced { torrent, peer, is_ipv6: false, left, event, key: None, after_s: 0 };
            take(&mut swarms, at(1), &announced);
        }
    }
    swarms
}

fn saved(swarms: &Swarms) -> Vec<u8> {
    save(swarms, at(1), seconds(), Vec::new()).unwrap()
}

/// After 1970.
fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn loaded(bytes: &[u8]) -> Result<Swarms, FormatError> {
    let mut swarms = empty();
    load(&mut swarms, at(1), bytes).map(|()| swarms)
}

proptest! {
    #[test]
    fn what_was_saved_is_loaded(
        announces in proptest::collection::vec(announced(), 0..400),
        after_s in 0..10_000u64,
    ) {
        let (mut swarms, mut now_s) = (empty(), 1000);
        for announced in &announces {
            now_s += announced.after_s;
            take(&mut swarms, at(now_s), announced);
        }
        let (then, now) = (at(now_s + after_s), at(50_000));
        let bytes = save(&swarms, then, 0, Vec::new()).unwrap();
        let mut again = empty();
        load(&mut again, now, bytes.as_slice()).unwrap();
        again.check();
        prop_assert_eq!(Told::of(&again, now), Told::of(&swarms, then));
        // What is at hand to be displaced is the same.
        prop_assert_eq!(save(&again, now, 0, Vec::new()).unwrap().len(), bytes.len());
    }

    #[test]
    fn a_byte_that_changed_or_is_missing_is_noticed(
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let bytes = saved(&filled(&[(1, 40), (2, 3), (3, 1)]));
        let at = at.index(bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= 1 << bit;
        prop_assert!(loaded(&changed).is_err());
        let cut = loaded(&bytes[..at]).map(|_| ());
        prop_assert!(matches!(cut, Err(FormatError::Torn { .. })), "{cut:?}");
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, block: Vec<u8>) {
        let _ = loaded(&bytes);
        let mut writer = Writer::new(Vec::new(), 0).unwrap();
        writer.block(&block).unwrap();
        let _ = loaded(&writer.end().unwrap());
    }
}

#[test]
fn a_swarm_of_many_slices_is_whole() {
    let swarms = filled(&[(1, 20_000), (2, 1), (3, 9_000), (4, 500)]);
    let bytes = saved(&swarms);
    let again = loaded(&bytes).unwrap();
    again.check();
    assert_eq!(again.peers(), 29_501);
    let whole = |swarms: &Swarms| {
        let mut peers: Vec<_> = Told::of(swarms, at(1)).0.into_iter().flat_map(|of| of.1).collect();
        peers.sort_unstable();
        peers
    };
    assert_eq!(whole(&again), whole(&swarms));
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let mut blocks = 0;
    while let Some(block) = reader.block().unwrap() {
        assert!(block.len() < limits::SNAPSHOT_BLOCK_BYTES_MAX);
        blocks += 1;
    }
    assert!(blocks >= 4, "{blocks}");
}

#[test]
fn the_largest_slice_fits_into_a_block() {
    let peer = PeerState {
        address: "[2001:db8::1]:1".parse().unwrap(),
        peer_id: PeerId([0; 20]),
        key: [0; 4],
        role: crate::swarm::Role::Leecher,
        silent_ticks: 0,
    };
    let info_hash = InfoHash([0; 20]);
    let torrent = TorrentState { is_ipv6: true, info_hash, completed: 0, silent_ticks: 0 };
    // The most bytes for the cost: peers in one torrent, or torrents of one peer.
    for peers in [limits::SLICE_COST - limits::SLICE_TORRENT_COST, 1] {
        let mut block = Block::default();
        for _ in 0..limits::SLICE_COST / (peers + limits::SLICE_TORRENT_COST) {
            block.torrent(&torrent);
            (0..peers).for_each(|_| block.peer(&peer));
        }
        assert!(block.into_bytes().len() <= limits::SNAPSHOT_BLOCK_BYTES_MAX);
    }
}

#[test]
fn the_oldest_make_room_first_after_a_restart_too() {
    let mut swarms = empty();
    for torrent in [3, 1, 2] {
        let (left, event, key) = (1, AnnounceEvent::None, None);
        let announced =
            Announced { torrent, peer: 1, is_ipv6: false, left, event, key, after_s: 0 };
        // Farther apart than the order is kept.
        take(&mut swarms, at(u64::from(torrent) * 100), &announced);
    }
    let bytes = save(&swarms, at(400), 0, Vec::new()).unwrap();
    let bounds = Bounds { torrents_max: 3, ..Bounds::default() };
    let mut again = Swarms::new(bounds, &[5; 16], Random::new(7));
    load(&mut again, at(10), bytes.as_slice()).unwrap();
    let (left, event, key) = (1, AnnounceEvent::None, None);
    let newcomer = Announced { torrent: 9, peer: 1, is_ipv6: false, left, event, key, after_s: 0 };
    take(&mut again, at(11), &newcomer);
    let mut left: Vec<_> =
        Told::of(&again, at(11)).0.iter().map(|(torrent, _)| torrent.info_hash.0[0]).collect();
    left.sort_unstable();
    assert_eq!(left, [2, 3, 9]);
}

#[test]
fn bounds_and_silence_count_for_what_is_loaded() {
    let bytes = saved(&filled(&[(1, 40), (2, 3), (3, 1)]));
    for (bounds, peers) in [
        (Bounds { torrents_max: 1, ..Bounds::default() }, 1..=40),
        (Bounds { torrent_peers_max: 2, ..Bounds::default() }, 5..=5),
        (Bounds { peers_max: 20, ..Bounds::default() }, 20..=20),
    ] {
        let mut swarms = Swarms::new(bounds, &[5; 16], Random::new(7));
        load(&mut swarms, at(1), bytes.as_slice()).unwrap();
        swarms.check();
        assert!(peers.contains(&swarms.peers()), "{bounds:?}: {}", swarms.peers());
        assert!(swarms.torrents() <= bounds.torrents_max);
    }
    let silent_max = Duration::from_secs(600);
    let mut swarms =
        Swarms::new(Bounds { silent_max, ..Bounds::default() }, &[5; 16], Random::new(7));
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let block = reader.block().unwrap().unwrap();
    assert_eq!(restore(&mut swarms, at(1), &block, 151), 0);
    assert_eq!(restore(&mut swarms, at(1), &block, 150), 44);
}

#[test]
fn what_is_no_snapshot_of_this_version_says_so() {
    let bytes = saved(&filled(&[(1, 3)]));
    let refused = |bytes: &[u8]| loaded(bytes).map(|_| ()).unwrap_err().to_string();
    assert!(refused(b"SQLite format 3\0 and more of it that is long").contains("no snapshot"));
    assert!(refused(b"RS").contains("ends in block 0"));
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert!(refused(&newer).contains("version 2"));
    assert!(refused(&[bytes.as_slice(), b"x"].concat()).contains("follow its end"));
    let mut swapped = Writer::new(Vec::new(), 0).unwrap();
    swapped.block(&[4; 10]).unwrap();
    assert!(refused(&swapped.end().unwrap()).contains("block 0 is corrupt"), "half a torrent");
}

/// What the threads of the tests below told. Each looks for its own path.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn tell(notice: &Notice) {
    TOLD.lock().unwrap().push(notice.to_string());
}

fn told(path: &std::path::Path) -> Vec<String> {
    let path = path.display().to_string();
    TOLD.lock().unwrap().iter().filter(|said| said.contains(&path)).cloned().collect()
}

struct Scene {
    folder: tempfile::TempDir,
    file: SnapshotFile,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("swarms");
        Scene { folder, file: SnapshotFile { path, every: Duration::from_secs(60) } }
    }

    fn start(&self, workers: usize) -> (Vec<Feed>, Keeper) {
        Keeper::start(&self.file, Duration::from_secs(1800), workers, Some(tell)).unwrap()
    }

    /// A tracker with one worker that loads, and what it loaded.
    fn load(&self) -> (Keeper, Saver, Arc<Tally>, Swarms) {
        let (mut feeds, keeper) = self.start(1);
        let (feed, mut swarms) = (feeds.pop().unwrap(), empty());
        let tally = feed.tally.clone();
        let saver = Saver::load(feed, at(0), &mut swarms, empty).unwrap();
        (keeper, saver, tally, swarms)
    }
}

/// Waits for another thread.
fn until(is_so: impl Fn() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("half a minute is over");
}

/// Turns until a snapshot has been told.
fn save_once(saver: &mut Saver, swarms: &Swarms, now: &mut Instant, tally: &Tally) {
    let before = tally.written() + tally.failed();
    *now = now.after(Duration::from_secs(60));
    for _ in 0..300_000 {
        saver.turn(swarms, *now);
        if tally.written() + tally.failed() > before {
            return;
        }
        *now = now.after(limits::SLICE_PACE);
        std::thread::park_timeout(Duration::from_micros(100));
    }
    panic!("half a minute is over");
}

#[test]
fn a_snapshot_is_written_on_time_and_at_the_end() {
    let scene = Scene::new();
    let (keeper, mut saver, tally, _) = scene.load();
    let swarms = filled(&[(1, 20_000), (2, 1)]);
    saver.turn(&swarms, at(59));
    assert!(!scene.folder.path().join("swarms.new").exists(), "it is not time");
    let mut now = at(0);
    save_once(&mut saver, &swarms, &mut now, &tally);
    assert_eq!((tally.written(), tally.failed()), (1, 0));
    assert_eq!(loaded(&std::fs::read(&scene.file.path).unwrap()).unwrap().peers(), 20_001);
    saver.finish(&filled(&[(3, 7)]), now);
    drop(keeper);
    let (_keeper, _saver, _, swarms) = scene.load();
    assert_eq!(swarms.peers(), 7);
    assert!(!scene.folder.path().join("swarms.new").exists());
    assert!(told(&scene.file.path).is_empty());
}

#[test]
fn a_slice_waits_when_the_disk_does_not_keep_up() {
    let (pieces, told) = crossbeam::channel::bounded(1);
    let (reader, loaded) = crossbeam::channel::bounded(1);
    reader.send(Loaded::End).unwrap();
    let file = SnapshotFile { path: "/nowhere".into(), every: Duration::from_secs(60) };
    let feed = Feed { loaded, pieces, tally: Arc::default(), file };
    let mut saver = Saver::load(feed, at(0), &mut empty(), empty).unwrap();
    let swarms = filled(&[(1, 20_000)]);
    let mut now = at(60);
    for _ in 0..50 {
        saver.turn(&swarms, now);
        assert!(saver.deadline() > now, "a turn does not follow at once");
        now = saver.deadline();
    }
    let (mut blocks, mut before) = (0, now);
    loop {
        match told.try_recv() {
            Ok(Piece { content: Content::Block(_), .. }) => blocks += 1,
            Ok(Piece { content: Content::End, .. }) => break,
            Err(_) => {}
        }
        before = now;
        saver.turn(&swarms, now);
        now = saver.deadline();
    }
    assert_eq!(blocks, 3, "none is lost");
    assert_eq!(now.since(before), Duration::from_secs(60), "then it rests");
}

#[test]
fn two_workers_make_one_snapshot_that_one_worker_reads() {
    let scene = Scene::new();
    let (feeds, keeper) = scene.start(2);
    for (feed, torrents) in feeds.into_iter().zip([[(1, 9)], [(2, 5)]]) {
        let saver = Saver::load(feed, at(0), &mut empty(), empty).unwrap();
        assert!(!scene.file.path.exists(), "one of two is not all");
        saver.finish(&filled(&torrents), at(1));
    }
    drop(keeper);
    let (_keeper, _saver, _, swarms) = scene.load();
    assert_eq!((swarms.torrents(), swarms.peers()), (2, 14));
}

#[test]
fn a_worker_that_ends_without_a_word_leaves_the_snapshot_before() {
    let scene = Scene::new();
    std::fs::write(&scene.file.path, saved(&filled(&[(1, 9)]))).unwrap();
    let before = std::fs::read(&scene.file.path).unwrap();
    let (keeper, mut saver, _, _) = scene.load();
    saver.turn(&filled(&[(1, 20_000)]), at(60));
    until(|| scene.folder.path().join("swarms.new").exists());
    drop(saver);
    drop(keeper);
    assert_eq!(std::fs::read(&scene.file.path).unwrap(), before);
    assert!(!scene.folder.path().join("swarms.new").exists());
}

#[test]
fn what_cannot_be_taken_is_set_aside() {
    let whole = saved(&filled(&[(1, 9_000), (2, 5)]));
    let torn = &whole[..whole.len() - 3];
    for (bytes, word) in [(torn, "ends in block"), (b"not of ours, but long enough", "no snapshot")]
    {
        let scene = Scene::new();
        std::fs::write(&scene.file.path, bytes).unwrap();
        let (_keeper, _saver, _, swarms) = scene.load();
        assert_eq!(swarms.peers(), 0, "not even what came whole");
        assert!(!scene.file.path.exists());
        assert_eq!(std::fs::read(scene.folder.path().join("swarms.refused")).unwrap(), bytes);
        let told = told(&scene.file.path);
        assert!(told.len() == 1 && told[0].contains(word), "{told:?}");
    }
}

#[test]
fn a_full_disk_leaves_the_snapshot_before_and_is_told_once() {
    let scene = Scene::new();
    let (keeper, mut saver, tally, _) = scene.load();
    let (small, mut now) = (filled(&[(1, 3)]), at(0));
    save_once(&mut saver, &small, &mut now, &tally);
    let before = std::fs::read(&scene.file.path).unwrap();
    let new = scene.folder.path().join("swarms.new");
    for failures in 1..=2 {
        std::os::unix::fs::symlink("/dev/full", &new).unwrap();
        save_once(&mut saver, &filled(&[(1, 20_000)]), &mut now, &tally);
        assert_eq!((tally.written(), tally.failed()), (1, failures));
        assert_eq!(std::fs::read(&scene.file.path).unwrap(), before);
        until(|| !new.is_symlink());
    }
    save_once(&mut saver, &small, &mut now, &tally);
    drop(saver);
    drop(keeper);
    let told = told(&scene.file.path);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("No space left") && told[0].contains("the one before is kept"));
    assert!(told[1].contains("written again"));
}

#[test]
fn one_tracker_uses_a_snapshot() {
    let scene = Scene::new();
    let (feeds, keeper) = scene.start(1);
    let start = || Keeper::start(&scene.file, Duration::ZERO, 1, None).map(|_| ());
    assert!(start().unwrap_err().to_string().contains("another tracker uses"));
    drop((feeds, keeper));
    start().unwrap();
}

#[test]
fn what_could_never_be_written_is_no_snapshot() {
    let start = |path: &str, every| {
        let file = SnapshotFile { path: path.into(), every: Duration::from_secs(every) };
        Keeper::start(&file, Duration::ZERO, 1, None).map(|_| ()).unwrap_err().to_string()
    };
    assert!(start("/nowhere/swarms", 60).contains("/nowhere/swarms.lock"));
    assert!(start("/nowhere/swarms", 0).contains("snapshot-every"));
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("swarms");
    std::fs::create_dir(&inner).unwrap();
    assert!(start(inner.to_str().unwrap(), 60).contains("not a regular file"));
}

#[test]
fn time_without_a_tracker_is_silence_for_an_interval_at_most() {
    // Written so long ago, with peers that were heard of just then: how long were they silent?
    for (age_s, silent_s) in [(600, Some(600)), (7200, Some(1800)), (25 * 3600, None)] {
        let scene = Scene::new();
        let swarms = filled(&[(1, 3)]);
        let bytes = save(&swarms, at(1), seconds() - age_s, Vec::new()).unwrap();
        std::fs::write(&scene.file.path, bytes).unwrap();
        let (_keeper, _saver, _, swarms) = scene.load();
        let silent: Vec<_> = Told::of(&swarms, at(0)).0.into_iter().flat_map(|of| of.1).collect();
        assert_eq!(silent.len(), if silent_s.is_some() { 3 } else { 0 });
        for peer in silent {
            let ticks = peer.silent_ticks - silent_s.unwrap() / limits::TICK_S;
            assert!(ticks <= 2, "{ticks} ticks more");
        }
        assert_eq!(told(&scene.file.path).len(), usize::from(silent_s.is_none()));
    }
}
