//! Files of the kernel in production, and what of them is in the page cache.

use std::time::Duration;

use super::send_tests::open;
use super::tests::{next, small};
use super::*;
use crate::limits::PAGE_BYTES;
use crate::system;

fn a_read_brings_only_what_was_asked_for_and_residency_counts_every_page<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let file = open(&mut kernel, 64 * PAGE_BYTES);
    system::drop_from_page_cache(&file.path).unwrap();
    let page = PAGE_BYTES as u64;
    // The first page and the one after the last that was read: where systems like to read ahead.
    for offset in [9, 30 * page + 9, 31 * page] {
        kernel.push(Op::ReadByte { file: file.file, offset }, Token(1)).unwrap();
        assert!(matches!(next(&mut kernel).outcome, Outcome::Read { bytes: 1 }));
    }
    let (cached, _) = system::cached_pages(&file.path).unwrap();
    assert_eq!(cached, 3, "the system read ahead by a plan of its own");
    let mut residency =
        |offset: u64, length: u32| kernel.residency(Run { file: file.file, offset, length });
    assert_eq!(residency(30 * page, 2 * PAGE_BYTES as u32), Residency::Resident);
    assert_eq!(residency(32 * page - 1, 1), Residency::Resident);
    assert_eq!(residency(32 * page - 1, 2), Residency::Missing, "one byte on the next page");
    assert_eq!(residency(30 * page - 1, 2), Residency::Missing, "one byte on the page before");
    assert_eq!(residency(0, 32 * PAGE_BYTES as u32), Residency::Missing);
}

fn a_closed_file_is_a_stale_name_and_its_number_goes_when_nothing_names_it<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let file = open(&mut kernel, 1 << 20);
    system::drop_from_page_cache(&file.path).unwrap();
    // The read is in the queue, not handed over, when the file is closed.
    kernel.push(Op::ReadByte { file: file.file, offset: 5_000 }, Token(1)).unwrap();
    kernel.push(Op::CloseFile { file: file.file }, Token(2)).unwrap();
    let mut outcomes = [next(&mut kernel), next(&mut kernel)];
    outcomes.sort_by_key(|completion| completion.token.0);
    assert!(matches!(outcomes[0].outcome, Outcome::Read { bytes: 1 }), "{outcomes:?}");
    assert!(matches!(outcomes[1].outcome, Outcome::Done));
    kernel.push(Op::ReadByte { file: file.file, offset: 0 }, Token(3)).unwrap();
    let stale = next(&mut kernel);
    assert!(matches!(stale.outcome, Outcome::Failed(Failure::Os(libc::EBADF))), "{stale:?}");
    let run = Run { file: file.file, offset: 0, length: 1 };
    assert_eq!(kernel.residency(run), Residency::Unknown);
    assert_eq!(kernel.files(), 0);
}

fn only_regular_files_are_opened<E: Engine>() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = std::ffi::CString::new(folder.path().join("fifo").to_str().unwrap()).unwrap();
    // SAFETY: the name ends with a NUL.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("outside")).unwrap();
    std::fs::write(folder.path().join("data"), b"x").unwrap();
    std::os::unix::fs::symlink("data", folder.path().join("inside")).unwrap();
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let root = crate::Directory::new(folder.path().to_owned());
    let mut open = |name: &str| {
        let path = std::sync::Arc::from(std::path::Path::new(name));
        kernel.push(Op::Open { root: std::sync::Arc::clone(&root), path }, Token(1)).unwrap();
        next(&mut kernel).outcome
    };
    for name in ["fifo", "folder"] {
        let outcome = open(name);
        assert!(matches!(outcome, Outcome::Failed(Failure::NotAFile)), "{name}: {outcome:?}");
    }
    let outcome = open("outside");
    assert!(matches!(outcome, Outcome::Failed(Failure::Os(libc::EXDEV))), "{outcome:?}");
    let outcome = open("inside");
    assert!(matches!(outcome, Outcome::Opened { .. }), "{outcome:?}");
}

fn pages_asked_for_are_on_their_way_at_once_and_no_others<E: Engine>() {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    // More than devices read ahead at once: 128 KiB to some MiB.
    let length = 10 << 20;
    let file = open(&mut kernel, length as usize + 50 * PAGE_BYTES);
    system::drop_from_page_cache(&file.path).unwrap();
    let run = Run { file: file.file, offset: 7 * PAGE_BYTES as u64 + 1, length };
    kernel.push(Op::ReadAhead { run, aside: false }, Token(1)).unwrap();
    assert!(matches!(next(&mut kernel).outcome, Outcome::Asked { .. }));
    assert_eq!(kernel.residency(run), Residency::Resident, "in steps, or it would be cut silently");
    let (cached, _) = system::cached_pages(&file.path).unwrap();
    let pages = u64::from(length) / PAGE_BYTES as u64 + 1;
    assert_eq!(cached, pages, "the run begins and ends within a page");
}

fn an_opened_file_is_left_blocking<E: Engine>() {
    use std::os::fd::AsRawFd;
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let file = open(&mut kernel, 1);
    let fd = kernel.files.get(file.file.index, file.file.generation).unwrap().fd().as_raw_fd();
    // SAFETY: no memory is passed.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    assert_eq!(flags & libc::O_NONBLOCK, 0, "the ring would read it on this thread, or not at all");
}

/// Longer than any wait that ends by an event.
const LONG: Duration = Duration::from_secs(3);

/// A kernel that was told of two looks by one ring of its threads' bell, and gave one of them out.
fn with_one_left<E: Engine>() -> NativeKernel<E> {
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let file = open(&mut kernel, 1).file;
    for token in [1, 2] {
        kernel.push(Op::Stat { file }, Token(token)).unwrap();
    }
    std::thread::park_timeout(LONG / 10);
    assert!(matches!(next(&mut kernel).outcome, Outcome::Looked { .. }));
    kernel
}

#[track_caller]
fn does_not_wait<E: Engine>(
    mut kernel: NativeKernel<E>,
    enter: impl FnOnce(&mut NativeKernel<E>) -> Result<(), KernelError>,
) {
    let (entered, took) = sys::timed(|| enter(&mut kernel));
    entered.unwrap();
    assert!(matches!(kernel.next().unwrap().outcome, Outcome::Looked { .. }));
    assert!(took < LONG / 2, "it waited {took:?} for what was there");
}

fn what_threads_have_told_ends_a_wait<E: Engine>() {
    does_not_wait(with_one_left::<E>(), |kernel| kernel.enter(Wait::AtMost(LONG)));
}

#[test]
fn what_threads_have_told_ends_a_wait_for_several() {
    does_not_wait(with_one_left(), |kernel: &mut UringKernel| kernel.enter_for(2, LONG));
}

on_both_engines! {
    what_threads_have_told_ends_a_wait,
    a_read_brings_only_what_was_asked_for_and_residency_counts_every_page,
    a_closed_file_is_a_stale_name_and_its_number_goes_when_nothing_names_it,
    only_regular_files_are_opened,
    pages_asked_for_are_on_their_way_at_once_and_no_others,
    an_opened_file_is_left_blocking,
}
