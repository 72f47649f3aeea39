//! Files that are truncated, replaced, unlinked and grown again while crowds fetch them.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use super::crowd::{Crowd, Told};
use super::stand::{Stand, WAYS, fault};
use super::truth::Truth;
use crate::seeder::now;

const FILE_BYTES: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// A change is noticed within a second; a little is added for a busy machine.
const NOTICED: Duration = Duration::from_secs(3);

/// Does something to the file of one torrent while crowds fetch it and another one: the torrent is
/// paused with an error that names the file, its leechers are closed, no block that leaves after the
/// error is wrong, and the other torrent is served on. Gives what the leechers of the first saw, and
/// when the change was made.
fn under_load(way: &[&str], change: impl FnOnce(&Path)) -> (Instant, Vec<Told>) {
    let stand = Stand::new().with("good", FILE_BYTES).with("changed", FILE_BYTES);
    let seeder = stand.seed(way);
    let good = Crowd::start(&stand.known(&seeder, "good"), 12, 8);
    let changed = Crowd::start(&stand.known(&seeder, "changed"), 12, 8).gets(200, PATIENCE);
    let began = now();
    change(&stand.file("changed"));
    fault(&seeder, "changed", NOTICED);
    let paused = now();
    assert!(changed.is_closed(PATIENCE), "{way:?}: leechers of a paused torrent are held");
    let told = changed.stop();
    assert!(told.iter().all(|told| !told.stuck), "{way:?}: {told:.3?}");
    // What the sockets of leechers held when theirs was reset takes a moment to be read.
    let late = paused + Duration::from_secs(1);
    let wrong = told.iter().flat_map(|told| &told.wrong).filter(|(when, _)| *when > late).count();
    assert_eq!(wrong, 0, "{way:?}: wrong blocks after the torrent was paused");
    let newcomers = Crowd::start(&stand.known(&seeder, "changed"), 3, 8);
    assert!(newcomers.is_closed(PATIENCE), "{way:?}: a paused torrent takes leechers in");
    assert!(newcomers.stop().iter().all(|told| told.blocks == 0), "{way:?}");
    good.gets(300, PATIENCE).end_well(1);
    (began, told)
}

/// The same of a change that leaves the old bytes where they are: no wrong block leaves at all.
fn leaves_the_old_bytes(change: impl Fn(&Path)) {
    for way in WAYS {
        let (_, told) = under_load(&way, &change);
        let wrong: Vec<_> = told.iter().flat_map(|told| &told.wrong).collect();
        assert_eq!(wrong.len(), 0, "{way:?}: wrong blocks, the first at {:?}", wrong.first());
    }
}

/// The same of a change of the bytes themselves: none is wrong before it.
fn takes_the_old_bytes(change: impl Fn(&Path)) {
    for way in WAYS {
        let (began, told) = under_load(&way, &change);
        let early = told.iter().flat_map(|told| &told.wrong).find(|(when, _)| *when < began);
        assert_eq!(early, None, "{way:?}: wrong before the change");
    }
}

#[test]
fn a_file_that_is_replaced_is_never_served_for_the_old_one() {
    leaves_the_old_bytes(|file| {
        let other = file.with_extension("new");
        Truth::new(77, FILE_BYTES).write(&other);
        fs::rename(other, file).unwrap();
    });
}

#[test]
fn a_file_that_is_unlinked_is_served_no_longer() {
    leaves_the_old_bytes(|file| fs::remove_file(file).unwrap());
}

#[test]
fn a_file_that_is_unlinked_and_written_again_is_not_served_in_its_place() {
    leaves_the_old_bytes(|file| {
        fs::remove_file(file).unwrap();
        Truth::new(78, FILE_BYTES).write(file);
    });
}

#[test]
fn a_file_that_is_truncated_is_served_no_longer() {
    takes_the_old_bytes(|file| {
        File::options().write(true).open(file).unwrap().set_len(FILE_BYTES / 2).unwrap();
    });
}

#[test]
fn a_file_that_is_truncated_and_grown_again_is_served_no_longer() {
    takes_the_old_bytes(|file| {
        let file = File::options().write(true).open(file).unwrap();
        file.set_len(1000).unwrap();
        file.set_len(FILE_BYTES).unwrap();
    });
}

#[test]
fn a_file_that_is_written_over_is_served_no_longer() {
    takes_the_old_bytes(|file| Truth::new(79, FILE_BYTES).write(file));
}
