use std::time::Duration;

use super::*;
use crate::limits::{
    DISTANT_THREADS, DISTANT_THREADS_IN_ALL, DISTANT_THREADS_THAT_WAIT, IO_THREADS,
    IO_THREADS_A_DEVICE, IO_THREADS_THAT_WAIT, LOOKS_SHARE, OPEN_THREADS, OPEN_THREADS_A_NEW_ROOT,
    OPEN_THREADS_FOR_FOLDERS, OPEN_THREADS_IN_ALL, PAGE_BYTES, TOUCHES_AT_ONCE,
};

const DISK: Lane = Lane::Here(1);

fn far(device: u64) -> Lane {
    Lane::Distant(device)
}

fn file() -> Arc<OwnedFd> {
    Arc::new(sys::memory_file(c"test").unwrap())
}

fn touch_in(lane: Lane, file: &Arc<OwnedFd>, name: u64, offset: u64) -> Job {
    let (file, into) = (Arc::clone(file), Pointer(std::ptr::null_mut()));
    Job { name, lane, call: Call::Read { file, into, length: 1, offset } }
}

fn touch(file: &Arc<OwnedFd>, name: u64, offset: u64) -> Job {
    touch_in(DISK, file, name, offset)
}

fn ask(file: &Arc<OwnedFd>) -> Call {
    Call::ReadAhead { file: Arc::clone(file), offset: 0, length: PAGE_BYTES as u32 }
}

fn look(file: &Arc<OwnedFd>) -> Call {
    Call::Stat { file: Arc::clone(file) }
}

fn names(taken: Option<(Vec<Job>, lanes::Taken)>) -> Vec<u64> {
    taken.map(|(jobs, _)| jobs.iter().map(|job| job.name).collect()).unwrap_or_default()
}

#[test]
fn looks_go_first_then_asks_and_the_touches_of_one_fetch_together() {
    let (one, other) = (file(), file());
    let mut lanes = Lanes::default();
    let near = TOUCHES_REACH_BYTES;
    assert!(lanes.push(touch(&one, 1, 0)));
    assert!(!lanes.push(touch(&one, 2, near)), "whoever takes the first takes it too");
    assert!(lanes.push(touch(&one, 3, 2 * near + 1)), "of another fetch");
    assert!(lanes.push(touch(&other, 4, 2 * near + 2)), "of another file");
    assert!(lanes.push(Job { name: 5, lane: DISK, call: ask(&one) }));
    assert!(lanes.push(Job { name: 6, lane: DISK, call: look(&one) }));
    let taken: Vec<_> = (0..6).map(|_| names(lanes.take())).collect();
    assert_eq!(taken, [vec![6], vec![5], vec![1, 2], vec![3], vec![4], vec![]]);
}

#[test]
fn no_thread_takes_more_touches_than_the_limit() {
    let file = file();
    let mut lanes = Lanes::default();
    for name in 0..TOUCHES_AT_ONCE as u64 + 5 {
        lanes.push(touch(&file, name, name));
    }
    assert_eq!(names(lanes.take()).len(), TOUCHES_AT_ONCE);
    assert_eq!(names(lanes.take()).len(), 5);
}

#[test]
fn waits_leave_threads_to_asks_and_both_leave_one_to_looks() {
    for (lane, all, waiting) in [
        (DISK, IO_THREADS_A_DEVICE, IO_THREADS_THAT_WAIT),
        (far(2), DISTANT_THREADS, DISTANT_THREADS_THAT_WAIT),
    ] {
        let mut lanes = Lanes::default();
        for name in 0..IO_THREADS as u64 {
            lanes.push(touch_in(lane, &file(), name, 0));
        }
        assert_eq!(lanes.startable(), waiting);
        let mut held = Vec::new();
        for _ in 0..waiting {
            held.push(lanes.take().unwrap().1);
        }
        assert!(lanes.take().is_none() && lanes.startable() == 0, "the rest is kept free");
        assert!(!lanes.push(touch_in(lane, &file(), 98, 0)), "one more would find no thread");
        for name in 100..100 + (all - waiting) as u64 {
            lanes.push(Job { name, lane, call: ask(&file()) });
        }
        for name in 100..100 + (all - waiting) as u64 - 1 {
            assert_eq!(names(lanes.take()), [name]);
        }
        assert!(lanes.take().is_none(), "the last one is for looks");
        assert!(lanes.push(Job { name: 99, lane, call: look(&file()) }));
        assert_eq!(names(lanes.take()), [99]);
        assert!(!lanes.push(Job { name: 97, lane, call: look(&file()) }));
        lanes.finish(held.pop().unwrap());
        assert_eq!(names(lanes.take()), [97]);
    }
}

#[test]
fn mounts_that_hang_keep_no_other_device_waiting() {
    let mut lanes = Lanes::default();
    for device in 2..10 {
        for name in 0..100 {
            lanes.push(Job { name, lane: far(device), call: look(&file()) });
        }
    }
    let hanging: Vec<_> = std::iter::from_fn(|| lanes.take()).collect();
    assert_eq!(hanging.len(), DISTANT_THREADS_IN_ALL);
    assert_eq!(lanes.startable(), 0);
    for name in 0..100 {
        lanes.push(touch(&file(), name, 0));
    }
    assert_eq!(std::iter::from_fn(|| lanes.take()).count(), IO_THREADS_THAT_WAIT);
}

/// Pushes a hundred opens, or looks, and lets threads take what they may of them, for good.
fn hang(lanes: &mut Lanes, lane: Lane) -> usize {
    let file = file();
    for name in 0..100 {
        lanes.push(Job { name, lane, call: look(&file) });
    }
    std::iter::from_fn(|| lanes.take()).count()
}

/// What a device of this machine does whatever hangs elsewhere.
fn all_of_a_disk(lanes: &mut Lanes) {
    let looking = hang(lanes, DISK);
    assert_eq!(looking, IO_THREADS_A_DEVICE / LOOKS_SHARE, "opens, looks");
    for name in 200..300 {
        lanes.push(touch(&file(), name, 0));
        lanes.push(Job { name: name + 100, lane: DISK, call: ask(&file()) });
    }
    let reading = std::iter::from_fn(|| lanes.take()).count();
    assert_eq!(reading, IO_THREADS_A_DEVICE - looking, "reads, though its looks hang");
}

#[test]
fn opens_and_looks_that_hang_leave_a_mount_threads_to_read() {
    let mut lanes = Lanes::default();
    assert_eq!(hang(&mut lanes, far(2)), DISTANT_THREADS / LOOKS_SHARE);
    for name in 200..300 {
        lanes.push(touch_in(far(2), &file(), name, 0));
    }
    let reading = std::iter::from_fn(|| lanes.take()).count();
    assert_eq!(reading, DISTANT_THREADS - DISTANT_THREADS / LOOKS_SHARE);
    all_of_a_disk(&mut lanes);
}

#[test]
fn a_folder_or_a_root_that_hangs_leaves_the_others_their_threads() {
    let unknown = |root, folder| Lane::Unknown { root, folder };
    let mut lanes = Lanes::default();
    // A root that was never opened, and what is mounted in a folder of another.
    assert_eq!(hang(&mut lanes, unknown(1, None)), OPEN_THREADS_A_NEW_ROOT);
    assert_eq!(hang(&mut lanes, unknown(2, Some(7))), OPEN_THREADS);
    // Other roots, other folders of the same, distant mounts and disks are served as before.
    assert_eq!(hang(&mut lanes, unknown(3, None)), OPEN_THREADS_A_NEW_ROOT);
    assert_eq!(hang(&mut lanes, unknown(2, Some(8))), OPEN_THREADS);
    assert_eq!(hang(&mut lanes, unknown(3, Some(7))), OPEN_THREADS);
    assert_eq!(hang(&mut lanes, far(9)), DISTANT_THREADS / LOOKS_SHARE);
    all_of_a_disk(&mut lanes);
}

#[test]
fn roots_that_were_never_opened_leave_threads_to_folders_of_those_that_are() {
    let root = |root| Lane::Unknown { root, folder: None };
    let folder = |folder| Lane::Unknown { root: 100, folder: Some(folder) };
    let mut lanes = Lanes::default();
    // One server that is gone has eight of them: another root is opened all the same.
    assert_eq!((0..8).map(|at| hang(&mut lanes, root(at))).sum::<usize>(), 8);
    assert_eq!(hang(&mut lanes, root(8)), 1);
    // However many there are.
    let hanging = 9 + (9..100).map(|at| hang(&mut lanes, root(at))).sum::<usize>();
    assert_eq!(hanging, OPEN_THREADS_IN_ALL - OPEN_THREADS_FOR_FOLDERS);
    let opening: usize = (0..100).map(|at| hang(&mut lanes, folder(at))).sum();
    assert_eq!(opening, OPEN_THREADS_FOR_FOLDERS);
    assert!(opening >= OPEN_THREADS, "one that hangs has not all of them");
    all_of_a_disk(&mut lanes);
}

#[test]
fn however_many_folders_hang_what_is_open_is_read() {
    let mut lanes = Lanes::default();
    let folders = (0..100).map(|folder| Lane::Unknown { root: 1, folder: Some(folder) });
    let hanging: usize = folders.map(|lane| hang(&mut lanes, lane)).sum();
    assert_eq!(hanging, OPEN_THREADS_IN_ALL);
    let distant: usize = (2..9).map(|device| hang(&mut lanes, far(device))).sum();
    assert_eq!(distant, DISTANT_THREADS_IN_ALL);
    all_of_a_disk(&mut lanes);
    assert!(lanes.startable() == 0 && lanes.take().is_none());
    assert_eq!(hanging + distant + IO_THREADS_A_DEVICE, IO_THREADS, "all at work at once");
}

#[test]
fn devices_take_turns() {
    let mut lanes = Lanes::default();
    for name in 0..3 {
        lanes.push(Job { name, lane: DISK, call: ask(&file()) });
        lanes.push(Job { name: name + 10, lane: far(2), call: ask(&file()) });
    }
    let taken: Vec<_> = std::iter::from_fn(|| lanes.take()).map(|(jobs, _)| jobs[0].name).collect();
    assert_eq!(taken, [0, 10, 1, 11, 2, 12]);
}

#[test]
fn no_more_threads_are_started_than_there_is_work_for_nor_than_there_may_be() {
    let mut lanes = Lanes::default();
    let job = |name: u64| Job { name, lane: far(name), call: look(&file()) };
    lanes.idle = 1;
    assert_eq!(lanes.queue(job(1)), (true, false), "one has nothing to do");
    assert_eq!(lanes.queue(job(2)), (true, true), "nor has it time for two");
    assert_eq!(lanes.threads, 1, "counted before it runs");
    assert!(lanes.could_not_start(2).is_some_and(|job| job.name == 2), "and not if it does not");
    assert_eq!(lanes.threads, 0);
    lanes.threads = IO_THREADS;
    lanes.idle = 0;
    assert_eq!(lanes.queue(job(3)), (false, false));
    assert!(lanes.could_not_start(3).is_none(), "others get to it");
}

/// The next results, by name; waits at most ten seconds for `count`.
fn results(threads: &mut Threads, count: usize) -> Vec<(u64, Done)> {
    let mut events = VecDeque::new();
    for _ in 0..1_000 {
        threads.take_done(&mut events);
        if events.len() >= count {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let mut results: Vec<(u64, Done)> = events
        .into_iter()
        .map(|event| match event {
            Event::Of { name, result, more: false, .. } => (name, Done::Result(result)),
            Event::Done { name, done } => (name, done),
            _ => panic!("an event that is none of a job's"),
        })
        .collect();
    results.sort_unstable_by_key(|(name, _)| *name);
    results
}

fn read(file: &Arc<OwnedFd>, into: &mut [u8; 2]) -> Call {
    Call::Read { file: Arc::clone(file), into: Pointer(into.as_mut_ptr()), length: 2, offset: 0 }
}

#[test]
fn a_call_that_fails_is_told_as_system_calls_tell_it() {
    let (from, _to) = sys::pipe().unwrap();
    let mut bytes = [0; 2];
    let mut threads = Threads::new().unwrap();
    // SAFETY: the bytes outlive the call.
    unsafe { threads.push(1, read(&Arc::new(from), &mut bytes), DISK) };
    let done = results(&mut threads, 1);
    assert!(matches!(done[..], [(1, Done::Result(result))] if result == -libc::ESPIPE));
}

#[test]
fn what_no_thread_has_begun_can_be_taken_back_and_the_rest_ends() {
    let mut threads = Threads::new().unwrap();
    // Held here, no thread takes a job.
    let shared = Arc::clone(&threads.shared);
    let files: Vec<_> = (0..3).map(|_| file()).collect();
    let mut lanes = lock(&shared.lanes);
    for (name, file) in files.iter().enumerate() {
        lanes.push(Job { name: name as u64, lane: DISK, call: look(file) });
    }
    assert_eq!(lanes.queued(), 3);
    assert!(lanes.remove(1).is_some() && lanes.remove(1).is_none());
    drop(lanes);
    assert!(threads.cancel(2), "it waits for a thread");
    assert!(!threads.cancel(2), "it is gone");
    // SAFETY: a stat writes no memory of ours.
    unsafe { threads.push(3, look(&files[0]), DISK) };
    let done: Vec<u64> = results(&mut threads, 2).iter().map(|(name, _)| *name).collect();
    assert_eq!(done, [0, 3]);
    assert!(!threads.cancel(0), "it is done");
}

#[test]
fn readahead_says_how_long_it_took_and_a_stat_what_it_saw() {
    let file = file();
    let mut threads = Threads::new().unwrap();
    // SAFETY: neither writes memory of ours.
    unsafe { threads.push(1, look(&file), DISK) };
    // SAFETY: as above.
    unsafe { threads.push(2, ask(&file), DISK) };
    let done = results(&mut threads, 2);
    let Done::Looked(Ok(stat)) = done[0].1 else { panic!() };
    assert_eq!(stat, sys::stat(file.as_fd()).unwrap().0);
    assert!(matches!(done[1].1, Done::Asked(Ok(()), took) if took < Duration::from_secs(9)));
}

#[test]
fn where_no_thread_is_to_be_had_the_caller_does_it() {
    // The filter holds for the thread that asks for it.
    let limited = std::thread::spawn(|| {
        crate::system::deny(libc::SYS_clone3 as u32).unwrap();
        crate::system::deny(libc::SYS_clone as u32).unwrap();
        let mut threads = Threads::new().unwrap();
        for name in [1, 2] {
            // SAFETY: readahead writes no memory of ours.
            unsafe { threads.push(name, ask(&file()), DISK) };
            assert_eq!(lock(&threads.shared.lanes).threads, 0);
            assert_eq!(results(&mut threads, 1)[0].0, name);
        }
    });
    limited.join().unwrap();
}

#[test]
fn threads_end_with_their_engine() {
    let mut threads = Threads::new().unwrap();
    // SAFETY: readahead writes no memory of ours.
    unsafe { threads.push(1, ask(&file()), DISK) };
    assert_eq!(results(&mut threads, 1).len(), 1);
    let shared = Arc::clone(&threads.shared);
    drop(threads);
    let mut waited = Duration::ZERO;
    while Arc::strong_count(&shared) > 1 {
        std::thread::park_timeout(Duration::from_millis(5));
        waited += Duration::from_millis(5);
        assert!(waited < Duration::from_secs(10), "a thread stays");
    }
}
