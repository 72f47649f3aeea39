use proptest::prelude::*;

use ringseed_ring::{Mount, Residency};

use super::*;
use crate::store::{test_files, waiters};

const FILE: FileId = FileId { device: 1, inode: 2 };
const NOW: Instant = Instant::from_us(5_000_000);

/// A file of the device `device`, known to `fetches`.
fn source(fetches: &Fetches, inode: u64, device: u64) -> Source {
    let mount = Mount { tags: 64, extent_bytes: 1 << 30, ..Mount::default() };
    let place = fetches.devices().place_of(device, &mount);
    Source {
        id: FileId { device, inode },
        device: place,
        extent_bytes: mount.extent_bytes,
        is_distant: false,
        fetched_from: Instant::ZERO,
    }
}

fn there(_: Waiter) -> bool {
    true
}

/// Wants a run of the n-th file, whose inode is its number and two.
fn want(fetches: &mut Fetches, run: Run, waiter: u64, steps: &mut Vec<Step>) -> u32 {
    let number = test_files(4).iter().position(|file| *file == run.file).unwrap();
    let source = source(fetches, number as u64 + 2, 1);
    fetches.want(run, source, (Waiter(waiter), &there), NOW, steps)
}

fn run(file: usize, offset: u64, length: u32) -> Run {
    Run { file: test_files(4)[file], offset, length }
}

/// Answers every step as a disk that works would, except that `answer` tells residency.
fn drive(
    fetches: &mut Fetches,
    steps: &mut Vec<Step>,
    mut answer: impl FnMut(Step) -> StepOutcome,
) -> Vec<Finished> {
    let mut finished = Vec::new();
    while let Some(step) = steps.pop() {
        let (Step::ReadAhead { fetch, .. }
        | Step::ReadByte { fetch, .. }
        | Step::Ask { fetch, .. }
        | Step::ReadDiscard { fetch, .. }) = step;
        finished.extend(fetches.completed(fetch, answer(step), NOW, steps));
    }
    finished
}

fn healthy(step: Step) -> StepOutcome {
    match step {
        Step::ReadAhead { .. } => StepOutcome::Done,
        Step::ReadByte { .. } => StepOutcome::Read(1),
        Step::Ask { .. } => StepOutcome::Answer(Residency::Resident),
        Step::ReadDiscard { run, .. } => StepOutcome::Read(run.length),
    }
}

#[test]
fn a_fetch_is_believed_only_after_residency_was_asked_again() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    assert_eq!(want(&mut fetches, run(0, 0, 300_000), 1, &mut steps), 1);
    let mut seen = Vec::new();
    let finished = drive(&mut fetches, &mut steps, |step| {
        seen.push(step);
        healthy(step)
    });
    let touches: Vec<u64> = seen
        .iter()
        .filter_map(|step| match step {
            Step::ReadByte { offset, .. } => Some(*offset),
            _ => None,
        })
        .collect();
    assert_eq!(touches.len(), 19, "one byte at the end of each step");
    assert!(touches.contains(&131_071) && touches.contains(&299_999), "{touches:?}");
    assert!(matches!(seen.last(), Some(Step::Ask { .. })), "{seen:?}");
    assert_eq!(finished.len(), 1);
    assert_eq!(finished[0].verdict, Verdict::Resident);
    assert!(fetches.is_empty());
}

#[test]
fn a_run_that_does_not_stay_is_tried_twice_then_read_for_the_verdict() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    want(&mut fetches, run(0, 0, 16_384), 1, &mut steps);
    let (mut asked, mut read) = (0, 0);
    let finished = drive(&mut fetches, &mut steps, |step| match step {
        Step::Ask { .. } => {
            asked += 1;
            StepOutcome::Answer(Residency::Missing)
        }
        Step::ReadDiscard { .. } => {
            read += 1;
            healthy(step)
        }
        other => healthy(other),
    });
    assert_eq!((asked, read), (2, 1));
    assert_eq!(finished[0].verdict, Verdict::Readable, "it is copied, never believed resident");
}

#[test]
fn pages_that_are_still_being_read_are_waited_for_too_but_not_for_ever() {
    for coming in [1, 2, u8::MAX] {
        let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
        let mut steps = Vec::new();
        want(&mut fetches, run(0, 0, 65_536), 1, &mut steps);
        let (mut asked, mut touched) = (0, Vec::new());
        let mut finished = None;
        while let Some(step) = steps.pop() {
            let outcome = match step {
                Step::ReadAhead { fetch, .. } => {
                    fetches.touch_at(fetch, &[65_535]);
                    StepOutcome::Done
                }
                Step::ReadByte { offset, .. } => {
                    touched.push(offset);
                    StepOutcome::Read(1)
                }
                Step::Ask { fetch, .. } if asked < coming => {
                    asked += 1;
                    fetches.touch_at(fetch, &[4_095, 20_479]);
                    StepOutcome::Coming
                }
                step => healthy(step),
            };
            finished = finished.or(fetches.completed(step.fetch(), outcome, NOW, &mut steps));
        }
        assert_eq!(finished.unwrap().verdict, Verdict::Resident);
        let rounds = usize::from(coming.min(limits::ROUNDS_MAX));
        assert_eq!(touched.len(), 1 + 2 * rounds, "{touched:?}");
    }
}

#[test]
fn a_bad_page_beside_the_byte_that_was_read_is_found() {
    const EIO: i32 = 5;
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    want(&mut fetches, run(0, 0, 65_536), 1, &mut steps);
    let finished = drive(&mut fetches, &mut steps, |step| match step {
        Step::Ask { .. } => StepOutcome::Answer(Residency::Missing),
        Step::ReadDiscard { .. } => StepOutcome::Failed { errno: EIO, at: Some(4096) },
        other => healthy(other),
    });
    assert_eq!(finished[0].verdict, Verdict::Failed { errno: EIO, at: 4096 });
}

#[test]
fn a_file_that_ends_early_is_truncated() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    want(&mut fetches, run(0, 0, 16_384), 1, &mut steps);
    let finished = drive(&mut fetches, &mut steps, |step| match step {
        Step::ReadByte { .. } => StepOutcome::Read(0),
        other => healthy(other),
    });
    assert_eq!(finished[0].verdict, Verdict::Truncated);
}

#[test]
fn one_fetch_serves_all_who_wait_for_it() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    assert_eq!(want(&mut fetches, run(0, 0, 65_536), 1, &mut steps), 1);
    assert_eq!(want(&mut fetches, run(0, 16_384, 16_384), 2, &mut steps), 1);
    assert_eq!(want(&mut fetches, run(1, 0, 16_384), 3, &mut steps), 1, "another file");
    let begun = steps.iter().filter(|step| matches!(step, Step::ReadAhead { .. })).count();
    assert_eq!(begun, 2);
    let finished = drive(&mut fetches, &mut steps, healthy);
    let of_first = finished.iter().find(|one| one.run.length == 65_536).unwrap();
    assert_eq!(of_first.waiters.as_slice(), [Waiter(1), Waiter(2)]);
}

#[test]
fn pages_on_their_way_are_known_until_they_are_there() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    want(&mut fetches, run(0, 0, 65_536), 1, &mut steps);
    assert!(fetches.is_under_way(run(0, 60_000, 10_000), FILE, NOW), "a part of it is");
    assert!(!fetches.is_under_way(run(0, 65_536, 10_000), FILE, NOW));
    assert!(
        !fetches.is_under_way(run(0, 0, 65_536), FileId { inode: 3, ..FILE }, NOW),
        "another file"
    );
    drive(&mut fetches, &mut steps, healthy);
    assert!(!fetches.is_under_way(run(0, 0, 65_536), FILE, NOW));
}

#[test]
fn what_another_worker_fetches_is_waited_for_once() {
    let flights = Arc::<Flights>::default();
    let mut ours = Fetches::new(AskAgain::Always, flights.clone());
    let mut theirs = Fetches::new(AskAgain::Always, flights);
    let wanted = run(0, 0, 65_536);
    let (mut our_steps, mut their_steps) = (Vec::new(), Vec::new());
    want(&mut theirs, wanted, 1, &mut their_steps);
    assert!(ours.is_under_way(wanted, FILE, NOW));
    want(&mut ours, wanted, 1, &mut our_steps);
    assert_eq!(drive(&mut ours, &mut our_steps, healthy)[0].verdict, Verdict::Resident);
    assert!(!ours.is_under_way(wanted, FILE, NOW), "it came, though theirs has not ended");
    drive(&mut theirs, &mut their_steps, healthy);
    assert!(!theirs.is_under_way(wanted, FILE, NOW));
}

#[test]
fn bios_in_flight_are_bounded_and_the_rest_follows() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    let each = 512 * 1024;
    // 48 of 64 tags are ours, and each takes four.
    for at in 0..40 {
        want(&mut fetches, run(0, at * each, each as u32), at, &mut steps);
    }
    assert_eq!(steps.len(), 12);
    assert_eq!(fetches.devices().stats()[0].bios, 48);
    let finished = drive(&mut fetches, &mut steps, healthy);
    assert_eq!(finished.len(), 40);
    assert!(fetches.is_empty());
    let stats = fetches.devices().stats()[0];
    assert_eq!((stats.bios, stats.fetches, stats.bytes), (0, 40, 40 * each));
}

#[test]
fn a_device_whose_queue_is_full_holds_up_no_other() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let (slow, other) = (source(&fetches, 2, 1), source(&fetches, 2, 2));
    let mut steps = Vec::new();
    for at in 0..100 {
        fetches.want(run(0, at * 131_072, 131_072), slow, (Waiter(at), &there), NOW, &mut steps);
    }
    steps.clear();
    fetches.want(run(1, 0, 131_072), other, (Waiter(100), &there), NOW, &mut steps);
    assert_eq!(steps.len(), 1, "the same inode number on another device");
    let finished = drive(&mut fetches, &mut steps, healthy);
    assert_eq!(finished[0].waiters.as_slice(), [Waiter(100)]);
}

#[test]
fn a_worker_that_finds_the_budget_taken_by_another_goes_on_one_by_one() {
    let flights = Arc::<Flights>::default();
    let mut theirs = Fetches::new(AskAgain::Always, flights.clone());
    let mut ours = Fetches::new(AskAgain::Always, flights);
    let (mut their_steps, mut steps) = (Vec::new(), Vec::new());
    for at in 0..100 {
        want(&mut theirs, run(0, at * 131_072, 131_072), at, &mut their_steps);
    }
    for at in 0..9 {
        want(&mut ours, run(1, at * 131_072, 131_072), at, &mut steps);
    }
    assert_eq!(steps.len(), 1, "the first one, in any case");
    assert_eq!(drive(&mut ours, &mut steps, healthy).len(), 9, "each lets the next one begin");
}

#[test]
fn torrents_that_share_a_file_share_its_fetches() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let file = source(&fetches, 7, 1);
    let mut steps = Vec::new();
    // Opened twice, under two names.
    fetches.want(run(0, 0, 65_536), file, (Waiter(1), &there), NOW, &mut steps);
    assert_eq!(fetches.want(run(1, 16_384, 16_384), file, (Waiter(2), &there), NOW, &mut steps), 1);
    assert!(fetches.is_under_way(run(1, 0, 1), file.id, NOW));
    assert_eq!(steps.len(), 1);
    let finished = drive(&mut fetches, &mut steps, healthy);
    assert_eq!(finished[0].waiters.as_slice(), [Waiter(1), Waiter(2)]);
}

#[test]
fn peers_that_come_and_go_while_a_device_hangs_leave_nothing_behind() {
    let flights = Arc::<Flights>::default();
    let mut fetches = Fetches::new(AskAgain::Always, flights.clone());
    let file = source(&fetches, 2, 1);
    let (mut steps, mut deserted, mut longest) = (Vec::new(), Vec::new(), 0);
    // Each asks for what all ask for and for a run of its own, and goes before the next one comes. The
    // first stays. No step is ever answered.
    let mut pinned = 0;
    for number in 0..10_000 {
        let is_there = |waiter: Waiter| waiter.0 == 0 || waiter.0 == number;
        let before = fetches.len();
        for at in [0, 1 + number] {
            let run = run(0, at * 131_072, 131_072);
            fetches.want(run, file, (Waiter(number), &is_there), NOW, &mut steps);
        }
        pinned += fetches.len() - before;
        fetches.drop_deserted(is_there, &mut deserted);
        longest = longest.max(fetches.len());
    }
    assert!(longest <= limits::FETCHES_UNSWEPT + 2, "{longest} fetches");
    assert_eq!(pinned, deserted.len() + fetches.len(), "each is told once, to be unpinned");
    let finished = drive(&mut fetches, &mut steps, healthy);
    for run in &deserted {
        assert!(
            !flights.is_any(file.id, windows_of(*run)),
            "another worker would wait for {run:?}"
        );
    }
    assert!(fetches.is_empty() && fetches.windows.is_empty());
    let shared = finished.iter().find(|one| one.run.offset == 0).unwrap();
    assert_eq!(shared.waiters.first(), Some(&Waiter(0)), "who stayed is told");
    assert!(shared.waiters.len() <= waiters::limits::WAITERS_UNSWEPT);
    let told_first = |one: &&Finished| one.waiters.contains(&Waiter(0));
    assert_eq!(finished.iter().filter(told_first).count(), 2);
}

#[test]
fn what_is_read_ahead_holds_up_nobody_and_can_be_joined() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let file = source(&fetches, 2, 1);
    let mut steps = Vec::new();
    assert!(fetches.read_ahead(run(0, 0, 524_288), file, NOW, &mut steps));
    assert!(!fetches.read_ahead(run(0, 0, 524_288), file, NOW, &mut steps), "on its way");
    assert_eq!(fetches.want(run(0, 16_384, 16_384), file, (Waiter(1), &there), NOW, &mut steps), 1);
    assert_eq!(drive(&mut fetches, &mut steps, healthy)[0].waiters.as_slice(), [Waiter(1)]);
    let mut begun = 0;
    while fetches.read_ahead(run(0, begun << 19, 1 << 19), file, NOW, &mut steps) {
        begun += 1;
    }
    assert_eq!(begun << 19, limits::AHEAD_BYTES_MAX);
    drive(&mut fetches, &mut steps, healthy);
    for at in 0..100 {
        want(&mut fetches, run(0, at * 131_072, 131_072), at, &mut steps);
    }
    assert!(!fetches.read_ahead(run(1, 0, 16_384), file, NOW, &mut steps), "others wait already");
}

#[test]
fn a_bad_page_that_nobody_asked_for_is_nobodys_fault() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let file = source(&fetches, 2, 1);
    for fate in [
        |step| match step {
            Step::ReadByte { .. } => StepOutcome::Failed { errno: 5, at: None },
            Step::ReadDiscard { .. } => panic!("read again for nobody"),
            other => healthy(other),
        },
        |step| match step {
            Step::Ask { .. } => StepOutcome::Answer(Residency::Missing),
            Step::ReadDiscard { .. } => panic!("read again for nobody"),
            other => healthy(other),
        },
    ] {
        let mut steps = Vec::new();
        assert!(fetches.read_ahead(run(0, 0, 65_536), file, NOW, &mut steps));
        let finished = drive(&mut fetches, &mut steps, fate);
        assert!(finished[0].waiters.is_empty() && fetches.is_empty());
    }
}

#[test]
fn a_stale_step_changes_nothing() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    want(&mut fetches, run(0, 0, 16_384), 1, &mut steps);
    let Some(Step::ReadAhead { fetch: old, .. }) = steps.first().copied() else { panic!() };
    drive(&mut fetches, &mut steps, healthy);
    want(&mut fetches, run(0, 0, 16_384), 2, &mut steps);
    let mut none = Vec::new();
    assert_eq!(
        fetches.completed(old, StepOutcome::Failed { errno: 5, at: None }, NOW, &mut none),
        None
    );
    assert!(none.is_empty());
    assert_eq!(drive(&mut fetches, &mut steps, healthy)[0].verdict, Verdict::Resident);
}

#[test]
fn what_was_fetched_is_recent_for_a_second() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    want(&mut fetches, run(0, 0, 16_384), 1, &mut steps);
    drive(&mut fetches, &mut steps, |step| match step {
        Step::Ask { .. } => StepOutcome::Answer(Residency::Unknown),
        other => healthy(other),
    });
    assert!(fetches.is_recent(run(0, 100, 16), FILE, NOW));
    assert!(!fetches.is_recent(run(0, 100, 16_384), FILE, NOW), "the next window was not fetched");
    assert!(!fetches.is_recent(run(0, 100, 16), FILE, NOW.after(Duration::from_secs(1))));
}

#[test]
fn what_was_fetched_of_the_head_of_a_window_says_nothing_of_its_tail() {
    let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
    let mut steps = Vec::new();
    want(&mut fetches, run(0, 0, 5_000), 1, &mut steps);
    drive(&mut fetches, &mut steps, |step| match step {
        Step::Ask { .. } => StepOutcome::Answer(Residency::Unknown),
        other => healthy(other),
    });
    assert!(fetches.is_recent(run(0, 4_000, 4_192), FILE, NOW));
    assert!(!fetches.is_recent(run(0, 8_192, 1), FILE, NOW));
}

proptest! {
    /// Whatever is wanted and however steps end: each waiter hears exactly as often as it was
    /// told, and nothing is left behind.
    #[test]
    fn every_want_is_answered_as_often_as_it_was_told(
        wants in prop::collection::vec((0usize..4, 0u64..40, 1u32..20, 0u64..6), 1..60),
        fates in prop::collection::vec(0u8..8, 64),
    ) {
        let mut fetches = Fetches::new(AskAgain::Always, Arc::default());
        let mut steps = Vec::new();
        let mut told = std::collections::BTreeMap::new();
        let mut heard = std::collections::BTreeMap::new();
        let mut fate = fates.iter().cycle();
        for (file, at, blocks, waiter) in wants {
            let wanted = run(file, at * 9_000, blocks * 16_000);
            let waits = match fate.next() {
                // Half of the files are on another device, and peers read on now and then.
                Some(0 | 1) => {
                    let file_of = source(&fetches, file as u64 + 2, file as u64 % 2);
                    fetches.read_ahead(wanted, file_of, NOW, &mut steps);
                    fetches.want(wanted, file_of, (Waiter(waiter), &there), NOW, &mut steps)
                }
                _ => want(&mut fetches, wanted, waiter, &mut steps),
            };
            *told.entry(waiter).or_insert(0) += waits;
            if fate.next() == Some(&0) {
                let finished = drive(&mut fetches, &mut steps, healthy);
                for waiter in finished.iter().flat_map(|one| &one.waiters) {
                    *heard.entry(waiter.0).or_insert(0) += 1;
                }
            }
        }
        let finished = drive(&mut fetches, &mut steps, |step| match (fate.next(), step) {
            (Some(1), Step::Ask { .. }) => StepOutcome::Answer(Residency::Missing),
            (Some(2), Step::ReadByte { .. }) => StepOutcome::Failed { errno: 5, at: None },
            (Some(3), Step::ReadByte { .. }) => StepOutcome::Read(0),
            (Some(4), Step::ReadDiscard { .. }) => StepOutcome::Failed { errno: 5, at: None },
            (_, step) => healthy(step),
        });
        for waiter in finished.iter().flat_map(|one| &one.waiters) {
            *heard.entry(waiter.0).or_insert(0) += 1;
        }
        prop_assert_eq!(told, heard);
        prop_assert!(fetches.is_empty());
        prop_assert!(fetches.windows.is_empty());
        prop_assert_eq!(fetches.ahead_bytes, 0);
        prop_assert!(fetches.devices().stats().iter().all(|device| device.bios == 0));
    }
}
