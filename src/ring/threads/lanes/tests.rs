use std::os::fd::OwnedFd;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::limits::TOUCHES_REACH_BYTES;
use crate::threads::Call;
use crate::{Directory, sys};

fn open(root: &Arc<Directory>, name: u64, lane: Lane) -> Job {
    Job { name, lane, call: Call::Open { root: Arc::clone(root), path: c"file".to_owned() } }
}

#[test]
fn thousands_of_folders_that_wait_cost_a_push_or_a_take_no_more_than_one() {
    const FOLDERS: u64 = 5_000;
    let root = Directory::new("/nowhere".into());
    let mut lanes = Lanes { idle: 1, ..Lanes::default() };
    let mut taken = Vec::new();
    for folder in 0..FOLDERS {
        lanes.queue(open(&root, folder, Lane::Unknown { root: 0, folder: Some(folder) }));
        taken.extend(lanes.take());
        lanes.startable();
    }
    assert_eq!(taken.len(), OPEN_THREADS_IN_ALL, "the others wait");
    let mut done = Vec::new();
    while let Some((jobs, of)) = taken.pop() {
        done.extend(jobs.into_iter().map(|job| job.name));
        lanes.finish(of);
        taken.extend(lanes.take());
    }
    done.sort_unstable();
    assert_eq!(done, Vec::from_iter(0..FOLDERS));
    assert!(lanes.queues.is_empty(), "nothing is kept of a folder that has nothing to do");
}

#[derive(Clone, Debug)]
enum Step {
    Push(Lane, Kind),
    Take,
    /// What was taken so many takes ago.
    Finish(usize),
    /// The job of so many pushes ago.
    Remove(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop_oneof![
        (0..3u64).prop_map(Lane::Here),
        (0..4u64).prop_map(Lane::Distant),
        (0..4u64, proptest::option::of(0..6u64))
            .prop_map(|(root, folder)| Lane::Unknown { root, folder }),
    ];
    prop_oneof![
        4 => (lane, proptest::sample::select(&KINDS[..])).prop_map(|(lane, kind)| Step::Push(lane, kind)),
        3 => Just(Step::Take),
        2 => (0..40usize).prop_map(Step::Finish),
        1 => (0..40u64).prop_map(Step::Remove),
    ]
}

fn job(file: &Arc<OwnedFd>, name: u64, lane: Lane, kind: Kind) -> Job {
    let file = Arc::clone(file);
    let call = match kind {
        Kind::Look => Call::Stat { file },
        Kind::Ask => Call::ReadAhead { file, offset: 0, length: 1 },
        Kind::Wait => {
            let into = crate::threads::Pointer(std::ptr::null_mut());
            Call::Read { file, into, length: 1, offset: name % 3 * TOUCHES_REACH_BYTES }
        }
    };
    Job { name, lane, call }
}

/// What is known of each class is what counting its lanes comes to.
fn check(lanes: &Lanes) {
    for class in CLASSES {
        let of = || lanes.queues.values().filter(|queues| Class::of(queues.lane) == class);
        let together = &lanes.classes[class as usize];
        assert_eq!(together.busy, of().map(Queues::busy).sum::<usize>());
        assert_eq!(together.startable, of().map(Queues::startable).sum::<usize>());
        let in_line = of().filter(|queues| queues.next().is_some());
        let mut in_line: Vec<_> = in_line.map(|queues| (queues.place, queues.lane)).collect();
        in_line.sort_unstable();
        let line: Vec<_> = together.line.iter().map(|(at, lane)| (Some(*at), *lane)).collect();
        assert_eq!(line, in_line);
    }
    assert!(lanes.queues.iter().all(|(lane, queues)| *lane == queues.lane && !queues.is_over()));
}

proptest! {
    #[test]
    fn what_is_summed_is_what_counting_comes_to(steps in vec(step(), 0..200)) {
        let file = Arc::new(sys::memory_file(c"test").unwrap());
        let (mut lanes, mut taken, mut pushed) = (Lanes::default(), Vec::new(), 0);
        for step in steps {
            match step {
                Step::Push(lane, kind) => {
                    lanes.push(job(&file, pushed, lane, kind));
                    pushed += 1;
                }
                Step::Take => {
                    let startable = lanes.startable();
                    let took = lanes.take();
                    prop_assert_eq!(took.is_some(), startable > 0);
                    taken.extend(took.map(|(_, of)| of));
                }
                Step::Finish(ago) if !taken.is_empty() => {
                    lanes.finish(taken.swap_remove(ago % taken.len()));
                }
                Step::Finish(_) => {}
                Step::Remove(ago) => drop(lanes.remove(pushed.saturating_sub(ago))),
            }
            check(&lanes);
        }
    }
}
