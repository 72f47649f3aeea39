use super::*;
use crate::store::test_files;
use crate::store::waiters;

const T0: Instant = Instant::from_us(1_000_000);

fn there(_: Waiter) -> bool {
    true
}

fn key(file: u32) -> FileKey {
    (TorrentId(7), FileIndex(file))
}

fn source() -> Source {
    let id = FileId { device: 1, inode: 2 };
    Source {
        id,
        device: Device::default(),
        extent_bytes: 0,
        is_distant: false,
        fetched_from: Instant::ZERO,
    }
}

fn stat() -> FileStat {
    FileStat { device: 1, inode: 2, size: 3, mtime_ns: 4, ctime_ns: 5, links: 1 }
}

#[test]
fn a_file_is_opened_once_for_all_who_wait() {
    let mut files = OpenFiles::default();
    assert_eq!(files.use_file(key(0), Waiter(1), T0, there), Found::MustOpen);
    assert_eq!(files.use_file(key(0), Waiter(2), T0, there), Found::Waiting);
    let told = files.opened(key(0), test_files(1)[0], (stat(), source()), T0);
    assert_eq!(told.as_slice(), [Waiter(1), Waiter(2)]);
    assert_eq!(files.use_file(key(0), Waiter(3), T0, there), Found::Open(test_files(1)[0]));
}

#[test]
fn a_failed_open_is_tried_again_by_the_next_who_asks() {
    let mut files = OpenFiles::default();
    files.use_file(key(0), Waiter(1), T0, there);
    assert_eq!(files.failed(key(0)).as_slice(), [Waiter(1)]);
    assert_eq!(files.use_file(key(0), Waiter(2), T0, there), Found::MustOpen);
}

#[test]
fn the_least_recently_used_file_that_nothing_pins_is_closed() {
    let mut files = OpenFiles::default();
    let handles = test_files(limits::OPEN_FILES_MAX + 1);
    for (at, file) in handles.iter().enumerate() {
        let now = T0.after(Duration::from_secs(at as u64));
        files.use_file(key(at as u32), Waiter(0), now, there);
        files.opened(key(at as u32), *file, (stat(), source()), now);
    }
    files.pin(handles[0]);
    let newest = handles[limits::OPEN_FILES_MAX];
    assert_eq!(files.evict(newest), Some(handles[1]), "the oldest is pinned");
    assert_eq!(files.evict(newest), None);
    assert_eq!(files.key_of(handles[1]), None);
}

#[test]
fn a_file_that_nobody_watched_is_compared_before_it_is_used() {
    let mut files = OpenFiles::default();
    files.use_file(key(0), Waiter(0), T0, there);
    files.opened(key(0), test_files(1)[0], (stat(), source()), T0);
    let later = T0.after(Duration::from_secs(60));
    let found = files.use_file(key(0), Waiter(0), later, there);
    assert_eq!(found, Found::Unwatched(test_files(1)[0], stat()));
    assert_eq!(files.use_file(key(0), Waiter(0), later, there), Found::Open(test_files(1)[0]));
}

#[test]
fn a_process_short_of_descriptors_gives_back_files_that_nothing_pins() {
    let mut files = OpenFiles::default();
    let handles = test_files(3);
    for (at, file) in handles.iter().enumerate() {
        files.use_file(key(at as u32), Waiter(0), T0, there);
        files.opened(key(at as u32), *file, (stat(), source()), T0);
    }
    files.pin(handles[1]);
    assert_eq!(files.evict_idle(), [handles[0], handles[2]]);
    assert_eq!(files.states.len(), 1);
}

#[test]
fn only_files_in_use_are_looked_at_and_not_too_often() {
    let mut files = OpenFiles::default();
    files.use_file(key(0), Waiter(0), T0, there);
    files.opened(key(0), test_files(1)[0], (stat(), source()), T0);
    let look = |files: &mut OpenFiles, ms: u64| {
        let mut due = Vec::new();
        files.due_for_a_look(T0.after(Duration::from_millis(ms)), &mut due);
        due.len()
    };
    assert_eq!(look(&mut files, 100), 0);
    assert_eq!(look(&mut files, 500), 1);
    assert_eq!(look(&mut files, 600), 0);
    assert_eq!(look(&mut files, 60_000), 0, "nobody uses it any longer");
}

#[test]
fn what_counts_as_a_change() {
    let changed = |is: FileStat| change(&stat(), &is);
    assert_eq!(changed(FileStat { ctime_ns: 9, links: 2, ..stat() }), None, "a new hard link");
    assert_eq!(changed(FileStat { links: 0, ..stat() }), Some(Change::Removed));
    assert_eq!(changed(FileStat { inode: 9, ..stat() }), Some(Change::Replaced));
    assert_eq!(changed(FileStat { size: 9, ..stat() }), Some(Change::Resized { was: 3, is: 9 }));
    assert_eq!(changed(FileStat { mtime_ns: 9, ..stat() }), Some(Change::Modified));
}

#[test]
fn a_torrents_files_are_forgotten_together() {
    let mut files = OpenFiles::default();
    let handles = test_files(3);
    for (at, file) in handles.iter().enumerate() {
        let torrent = TorrentId((at / 2) as u32);
        files.use_file((torrent, FileIndex(at as u32)), Waiter(0), T0, there);
        files.opened((torrent, FileIndex(at as u32)), *file, (stat(), source()), T0);
    }
    let mut close = Vec::new();
    files.forget_torrent(TorrentId(0), &mut close);
    close.sort_unstable();
    assert_eq!(close, handles[..2]);
    assert_eq!(files.states.len(), 1);
}

#[test]
fn peers_that_come_and_go_while_a_mount_hangs_leave_nothing_behind() {
    let distant = Source { is_distant: true, ..source() };
    let file = test_files(1)[0];
    let late = T0.after(UNWATCHED);
    let mut files = OpenFiles::default();
    files.use_file(key(1), Waiter(0), T0, there);
    files.opened(key(1), file, (stat(), distant), T0);
    // Each goes before the next one comes; the first stays.
    for number in 0..10_000 {
        let is_there = |waiter: Waiter| waiter.0 == 0 || waiter.0 == number;
        files.use_file(key(0), Waiter(number), late, is_there);
        files.use_file(key(1), Waiter(number), late, is_there);
    }
    let (_, _, looked) = files.looked(file, late).unwrap();
    for told in [files.failed(key(0)), looked] {
        assert_eq!(told.first(), Some(&Waiter(0)));
        assert_eq!(told.last(), Some(&Waiter(9_999)));
        assert!(told.len() <= waiters::limits::WAITERS_UNSWEPT, "{} wait", told.len());
    }
}

#[test]
fn a_look_that_failed_is_no_look() {
    for is_distant in [false, true] {
        let mut files = OpenFiles::default();
        let file = test_files(1)[0];
        files.use_file(key(0), Waiter(0), T0, there);
        files.opened(key(0), file, (stat(), Source { is_distant, ..source() }), T0);
        let due_at = T0.after(STAT_INTERVAL);
        let mut due = Vec::new();
        files.due_for_a_look(due_at, &mut due);
        assert_eq!(due.len(), 1);
        assert!(files.look_failed(file).is_empty());
        let must_look = match is_distant {
            false => Found::Unwatched(file, stat()),
            true => Found::MustLook(file),
        };
        assert_eq!(
            files.use_file(key(0), Waiter(1), due_at, there),
            must_look,
            "nothing is served"
        );
        let told = files.look_failed(file);
        assert_eq!(told.contains(&Waiter(1)), is_distant);
        due.clear();
        files.due_for_a_look(due_at, &mut due);
        assert_eq!(due.len(), 1, "looked at again at once");
        files.looked(file, due_at);
        assert_eq!(files.use_file(key(0), Waiter(1), due_at, there), Found::Open(file));
    }
}

#[test]
fn a_file_that_the_cache_did_not_keep_is_fetched_again_after_a_while() {
    let mut files = OpenFiles::default();
    let file = test_files(1)[0];
    files.use_file(key(0), Waiter(0), T0, there);
    files.opened(key(0), file, (stat(), source()), T0);
    let is_kept = |files: &OpenFiles, now| files.source_of(file).unwrap().is_kept(now);
    assert!(is_kept(&files, T0));
    files.was_not_kept(file, T0);
    assert!(!is_kept(&files, T0) && !is_kept(&files, T0.after(NOT_KEPT_FOR - STAT_INTERVAL)));
    assert!(is_kept(&files, T0.after(NOT_KEPT_FOR)));
}
