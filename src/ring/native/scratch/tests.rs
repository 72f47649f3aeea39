use super::*;
use crate::limits::{PAGE_BYTES, SCRATCH_COUNT};

const HERE: Option<Lane> = None;

fn far(device: u64) -> Option<Lane> {
    Some(Lane::Distant(device))
}

fn op(index: u32) -> OpId {
    OpId { index, generation: 1 }
}

fn scratch() -> Scratch {
    Scratch::new(SCRATCH_COUNT, PAGE_BYTES)
}

/// As many as a mount, or all others, can have.
fn take_all(scratch: &mut Scratch, of: Option<Lane>) -> Vec<Mapping> {
    std::iter::from_fn(|| scratch.take(of).unwrap()).collect()
}

#[test]
fn a_mount_that_hangs_leaves_some_to_the_others_and_all_mounts_to_this_machine() {
    let mut scratch = scratch();
    let hanging = take_all(&mut scratch, far(1));
    assert_eq!(hanging.len(), SCRATCH_COUNT / SCRATCH_A_MOUNT_SHARE);
    let other = take_all(&mut scratch, far(2));
    assert_eq!(other.len(), SCRATCH_COUNT / SCRATCH_A_MOUNT_SHARE);
    assert!(take_all(&mut scratch, far(3)).is_empty(), "two hang: the rest is this machine's");
    let here = take_all(&mut scratch, HERE);
    assert_eq!(here.len(), SCRATCH_COUNT - SCRATCH_COUNT / SCRATCH_DISTANT_SHARE);
}

#[test]
fn who_waits_for_a_mount_that_hangs_is_in_nobodys_way() {
    let mut scratch = scratch();
    let _hanging = take_all(&mut scratch, far(1));
    let mut other = take_all(&mut scratch, far(2));
    for index in 0..100 {
        scratch.wait(op(index), far(1));
    }
    scratch.wait(op(100), far(2));
    scratch.wait(op(101), far(3));
    scratch.wait(op(102), far(2));
    assert_eq!(scratch.next_waiting(), None, "nothing came back");
    // Each that goes on takes what came back.
    let mut went_on = Vec::new();
    while let Some(back) = other.pop() {
        scratch.give_back(back, far(2));
        went_on.push(scratch.next_waiting().unwrap().index);
        assert!(scratch.take(if went_on.len() == 1 { far(3) } else { far(2) }).unwrap().is_some());
        assert_eq!(scratch.next_waiting(), None);
    }
    assert_eq!(went_on, [101, 100], "each time the one that holds none");
}

#[test]
fn mounts_that_hold_none_go_first_then_this_machine_then_mounts_that_hold_some() {
    let mut scratch = scratch();
    let mut here = take_all(&mut scratch, HERE);
    assert_eq!(here.len(), SCRATCH_COUNT);
    for (index, of) in [(1, far(1)), (2, far(1)), (3, HERE), (4, far(2))] {
        scratch.wait(op(index), of);
    }
    for (index, of) in [(1, far(1)), (4, far(2)), (3, HERE), (2, far(1))] {
        scratch.give_back(here.pop().unwrap(), HERE);
        assert_eq!(scratch.next_waiting(), Some(op(index)));
        assert!(scratch.take(of).unwrap().is_some());
    }
}

#[test]
fn however_many_of_this_machine_wait_a_mount_that_answers_goes_on_beside_one_that_hangs() {
    let mut scratch = scratch();
    let _hanging = take_all(&mut scratch, far(1));
    let here = take_all(&mut scratch, HERE);
    let mut held: Vec<_> = here.into_iter().map(|back| (back, HERE)).collect();
    // More than there are buffers wait, of each; and as many again as go on.
    for index in 0..2 * SCRATCH_COUNT as u32 {
        for (of, at) in [HERE, far(1), far(2)].into_iter().zip(0..) {
            scratch.wait(op(3 * index + at), of);
        }
    }
    let mut went_on = [0; 3];
    for _ in 0..600 {
        let (back, of) = held.remove(0);
        scratch.give_back(back, of);
        let next = scratch.next_waiting().unwrap();
        let of = [HERE, far(1), far(2)][next.index as usize % 3];
        held.push((scratch.take(of).unwrap().unwrap(), of));
        scratch.wait(next, of);
        went_on[next.index as usize % 3] += 1;
    }
    let [of_here, of_hanging, of_other] = went_on;
    assert_eq!(of_hanging, 0);
    assert_eq!((of_here, of_other), (500, 100), "one of the six that come back");
}

#[test]
fn ops_that_end_while_they_wait_leave_nothing_behind() {
    let mut scratch = scratch();
    let hanging = take_all(&mut scratch, far(1));
    for index in 0..100 {
        for mount in [far(1), far(2), HERE] {
            let place = scratch.wait(op(index), mount);
            scratch.leave(place, mount);
        }
    }
    assert!(scratch.waiting.is_empty());
    assert_eq!(scratch.mounts.len(), 1, "the one that holds some");
    assert!(scratch.mounts[0].waiting.is_empty());
    hanging.into_iter().for_each(|back| scratch.give_back(back, far(1)));
    assert!(scratch.mounts.is_empty());
}

#[test]
fn the_smallest_pool_still_serves_a_mount() {
    let mut scratch = Scratch::new(1, PAGE_BYTES);
    assert_eq!(take_all(&mut scratch, far(1)).len(), 1);
}
