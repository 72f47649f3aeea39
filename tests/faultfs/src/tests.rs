//! The mirror, through the kernel.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::*;

const EIO: i32 = 5;

/// A folder with a file of a mebibyte, mirrored; `None` where there is no FUSE.
struct World {
    mount: Mount,
    folder: tempfile::TempDir,
}

fn world() -> Option<World> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("in")).unwrap();
    let bytes: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(source.join("in/data one"), bytes).unwrap();
    fs::create_dir(folder.path().join("mirror")).unwrap();
    match Mount::new(&source, &folder.path().join("mirror")) {
        Ok(mount) => Some(World { mount, folder }),
        Err(error) => {
            eprintln!("SKIPPED: faultfs cannot be mounted here: {error}");
            None
        }
    }
}

const NAME: &str = "in/data one";

impl World {
    fn behind(&self) -> PathBuf {
        self.folder.path().join("source").join(NAME)
    }

    fn open(&self) -> File {
        File::open(self.mount.path().join(NAME)).unwrap()
    }

    /// Opens the file with none of it in the page cache.
    fn cold(&self) -> File {
        let file = self.open();
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        file
    }
}

#[expect(clippy::disallowed_methods, reason = "a test that measures")]
fn timed(what: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    what();
    begin.elapsed()
}

#[test]
fn it_is_the_folder_behind_and_its_pages_stay() {
    let Some(world) = world() else { return };
    let behind = fs::read(world.behind()).unwrap();
    assert_eq!(fs::read(world.mount.path().join(NAME)).unwrap(), behind);
    let read_once = world.mount.reads(NAME);
    assert!(read_once.calls > 0 && read_once.bytes >= 1 << 20, "{read_once:?}");
    assert_eq!(fs::read(world.mount.path().join(NAME)).unwrap(), behind);
    assert_eq!(world.mount.reads(NAME), read_once, "the second time the page cache answers");
    let listed: Vec<_> = fs::read_dir(world.mount.path()).unwrap().flatten().collect();
    assert_eq!(listed.len(), 1, "the control file is not listed: {listed:?}");
    let (is, was) = (world.open().metadata().unwrap(), fs::metadata(world.behind()).unwrap());
    assert_eq!((is.ino(), is.size(), is.mtime_nsec()), (was.ino(), was.size(), was.mtime_nsec()));
    let refused = fs::write(world.mount.path().join(NAME), b"x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn a_bad_page_fails_and_those_beside_it_do_not() {
    let Some(world) = world() else { return };
    world.mount.fail(NAME, 500_000..500_001, EIO);
    let mut byte = [0];
    let file = world.cold();
    let error = file.read_at(&mut byte, 500_000).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EIO));
    assert!(world.mount.reads(NAME).failed > 0);
    // The page before is read on its own once the stretch has failed.
    file.read_exact_at(&mut byte, 495_000).unwrap();
    world.mount.heal(NAME);
    file.read_exact_at(&mut byte, 500_000).unwrap();
    assert_eq!(byte[0], (500_000_u32 / 4).to_le_bytes()[0]);
}

#[test]
fn reads_go_past_the_page_cache_when_they_are_to() {
    let Some(world) = world() else { return };
    world.mount.read_directly();
    let file = world.open();
    for calls in 1..4 {
        file.read_exact_at(&mut [0; 4096], 8192).unwrap();
        assert_eq!(world.mount.reads(NAME).calls, calls);
    }
    world.mount.heal_all();
    let file = world.open();
    (0..2).for_each(|_| file.read_exact_at(&mut [0; 4096], 8192).unwrap());
    assert_eq!(world.mount.reads(NAME).calls, 4);
}

#[test]
fn a_file_ends_early_for_reads_alone() {
    let Some(world) = world() else { return };
    world.mount.end_at(NAME, 600_000);
    let mut file = world.cold();
    assert_eq!(file.metadata().unwrap().len(), 1 << 20, "its stat is as it was");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 600_000);
}

#[test]
fn reads_are_slow_and_the_page_cache_is_not() {
    let Some(world) = world() else { return };
    let delay = Duration::from_millis(100);
    world.mount.delay_file(NAME, delay);
    let mut byte = [0];
    let file = world.cold();
    let mut read = |file: &File| timed(|| file.read_exact_at(&mut byte, 0).unwrap());
    assert!(read(&file) >= delay);
    assert!(read(&file) < delay);
    world.mount.delay_stats(delay);
    // After a second a stat is not believed any longer; dropped dentries are looked up.
    let deadline = Duration::from_secs(3);
    let mut waited = Duration::ZERO;
    while waited < deadline {
        let took = timed(|| assert!(fs::metadata(world.mount.path().join(NAME)).is_ok()));
        waited += took + Duration::from_micros(1);
        if took >= delay {
            return;
        }
    }
    panic!("no stat was slow");
}

#[test]
fn the_control_file_takes_commands_and_gives_counters() {
    let Some(world) = world() else { return };
    let control = world.mount.path().join(CONTROL);
    fs::write(&control, format!("error EIO 0..4096 {NAME}\nend 8192 {NAME}\n")).unwrap();
    let mut file = world.cold();
    assert_eq!(file.read(&mut [0]).unwrap_err().raw_os_error(), Some(EIO));
    let told = fs::read_to_string(&control).unwrap();
    assert!(told.starts_with("calls ") && told.trim().ends_with(NAME), "{told}");
    fs::write(&control, "heal").unwrap();
    assert_eq!(fs::read(world.mount.path().join(NAME)).unwrap().len(), 1 << 20);
    let refused = fs::write(&control, "delay soon").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_drop_unmounts_though_a_file_is_open() {
    let Some(world) = world() else { return };
    let (file, path) = (world.open(), world.mount.path().to_owned());
    let unwound = std::panic::catch_unwind(AssertUnwindSafe(move || {
        let _world = world;
        panic!("a failed test");
    }));
    assert!(unwound.is_err());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(path.to_str().unwrap()), "{mounts}");
    file.read_exact_at(&mut [0], 0).unwrap();
}

#[test]
fn commands_are_read_as_they_are_written() {
    let file = || PathBuf::from("a b");
    let second = Duration::from_secs(1);
    for (line, command) in [
        ("delay 1000", Command::Delay(second, None)),
        ("delay 1000 a b", Command::Delay(second, Some(file()))),
        ("delay-stat 1000", Command::DelayStats(second)),
        ("delay-flush 1000", Command::DelayFlushes(second)),
        ("hang getattr", Command::Hang(Verb::Getattr)),
        ("direct", Command::Direct),
        ("error EIO 1..2 a b", Command::Error(5, 1..2, file())),
        ("error 116 1..2 a b", Command::Error(116, 1..2, file())),
        ("end 7 a b", Command::End(7, file())),
        ("heal", Command::Heal(None)),
        ("heal a b", Command::Heal(Some(file()))),
    ] {
        assert_eq!(line.parse(), Ok(command), "{line}");
    }
    for line in [
        "",
        "delay",
        "delay x",
        "delay-stat 5 a",
        "hang",
        "hang up",
        "hang read a",
        "error EIO 1 a",
        "error ENOPE 1..2 a",
        "end 7",
        "slow",
    ] {
        assert!(line.parse::<Command>().is_err(), "{line}");
    }
}
