//! Files of a mount whose server takes its time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringseed_faultfs::Apart;

use super::tests::{accept, next, small};
use super::*;
use crate::{Directory, system};

/// How long the server takes to answer a close, and the most that a turn may take meanwhile.
const FLUSH: Duration = Duration::from_secs(3);
const TURN: Duration = Duration::from_millis(1_500);

struct World {
    mount: Apart,
    folder: tempfile::TempDir,
}

/// `None` where nothing can be mounted.
fn world() -> Option<World> {
    let folder = tempfile::tempdir().unwrap();
    let [behind, at] = ["behind", "at"].map(|name| folder.path().join(name));
    std::fs::create_dir(&behind).unwrap();
    std::fs::create_dir(&at).unwrap();
    std::fs::write(behind.join("data"), vec![7; 1 << 20]).unwrap();
    match Apart::new(&behind, &at, "native::distant_tests::serves_the_mount") {
        Ok(mount) => Some(World { mount, folder }),
        Err(error) => {
            eprintln!("SKIPPED: no FUSE mount: {error}");
            None
        }
    }
}

#[test]
#[ignore = "the process that serves the mount of the tests beside it"]
fn serves_the_mount() {
    ringseed_faultfs::serve();
}

impl World {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("at/data")
    }

    fn root(&self) -> Arc<Directory> {
        Directory::new(self.mount.path().to_owned())
    }

    /// Files of the mount that this process has open.
    fn open_files(&self) -> usize {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == self.path()))
            .count()
    }

    fn push_open<E: Engine>(&self, kernel: &mut NativeKernel<E>) -> OpId {
        let path = Arc::from(Path::new("data"));
        kernel.push(Op::Open { root: self.root(), path }, Token(1)).unwrap()
    }

    fn open<E: Engine>(&self, kernel: &mut NativeKernel<E>) -> File {
        self.push_open(kernel);
        let opened = next(kernel);
        let Outcome::Opened { file, mount, .. } = opened.outcome else { panic!("{opened:?}") };
        assert!(mount.is_distant);
        file
    }
}

#[track_caller]
fn within_a_turn<T>(what: impl FnOnce() -> T) -> T {
    let (result, took) = sys::timed(what);
    assert!(took < TURN, "it waited {took:?} for a server");
    result
}

fn no_turn_waits_for_the_close_of_a_distant_file<E: Engine>() {
    let Some(world) = world() else { return };
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let [idle, read, looked_at, _left_open] = [(); 4].map(|()| world.open(&mut kernel));
    system::drop_from_page_cache(&world.path()).unwrap();
    let probe = std::fs::File::open(world.path()).unwrap();
    assert_eq!(world.open_files(), 5);
    world.mount.tell("delay-flush 3000").unwrap();
    let ((), took) = sys::timed(|| drop(probe));
    assert!(took >= FLUSH, "whoever closes a file waits, but it was {took:?}");

    within_a_turn(|| {
        kernel.push(Op::CloseFile { file: idle }, Token(2)).unwrap();
        assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
    });
    // The op has the file last.
    world.mount.tell("delay 200").unwrap();
    within_a_turn(|| {
        kernel.push(Op::ReadByte { file: read, offset: 0 }, Token(3)).unwrap();
        kernel.push(Op::CloseFile { file: read }, Token(4)).unwrap();
        assert!(matches!(next(&mut kernel).outcome, Outcome::Done));
        assert!(matches!(next(&mut kernel).outcome, Outcome::Read { bytes: 1 }));
    });
    // What is opened when its end is wanted already.
    world.mount.tell("delay-stat 200").unwrap();
    let opens = world.push_open(&mut kernel);
    kernel.enter(Wait::AtMost(Duration::from_millis(100))).unwrap();
    within_a_turn(|| {
        kernel.push(Op::Cancel { op: opens }, Token(5)).unwrap();
        let cancelled = next(&mut kernel);
        assert!(matches!(cancelled.outcome, Outcome::Failed(Failure::Cancelled)), "{cancelled:?}");
    });
    // A job has the file last, and is taken back or done at the end; one file is still open then.
    kernel.push(Op::Stat { file: looked_at }, Token(6)).unwrap();
    kernel.push(Op::CloseFile { file: looked_at }, Token(7)).unwrap();
    within_a_turn(|| drop(kernel));

    world.mount.tell("heal").unwrap();
    for _ in 0..1_000 {
        if world.open_files() == 0 {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("{} files stay open", world.open_files());
}

/// Opens below a root that never end, more than there are threads.
fn push_opens_that_hang<E: Engine>(
    kernel: &mut NativeKernel<E>,
    root: &Arc<Directory>,
    below: &str,
) {
    for number in 0..2 * limits::IO_THREADS as u64 {
        // The kernel knows none of these names: it asks the server.
        let path = Arc::from(Path::new(below).join(number.to_string()));
        kernel.push(Op::Open { root: Arc::clone(root), path }, Token(1_000 + number)).unwrap();
    }
    kernel.enter(Wait::AtMost(Duration::from_millis(100))).unwrap();
}

fn opens_that_hang_keep_no_other_file_from_being_opened_and_read<E: Engine>() {
    let Some(world) = world() else { return };
    let folder = world.folder.path();
    std::fs::create_dir(folder.join("here")).unwrap();
    for name in ["here/data", "data"] {
        std::fs::write(folder.join(name), vec![1; 1 << 20]).unwrap();
    }
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let open = |kernel: &mut NativeKernel<E>, root: &Arc<Directory>, path: &str| {
        let path = Arc::from(Path::new(path));
        kernel.push(Op::Open { root: Arc::clone(root), path }, Token(1)).unwrap();
        let opened = next(kernel);
        let Outcome::Opened { file, mount, .. } = opened.outcome else { panic!("{opened:?}") };
        (file, mount.is_distant)
    };
    let root = Directory::new(folder.to_owned());
    if open(&mut kernel, &root, "here/data").1 {
        eprintln!("SKIPPED: {} is distant itself", folder.display());
        return;
    }
    world.mount.tell("delay-stat 60000").unwrap();

    push_opens_that_hang(&mut kernel, &root, "at");
    for path in ["here/data", "data"] {
        within_a_turn(|| {
            let (file, _) = open(&mut kernel, &root, path);
            system::drop_from_page_cache(&folder.join(path)).unwrap();
            kernel.push(Op::ReadByte { file, offset: 9 }, Token(2)).unwrap();
            assert!(matches!(next(&mut kernel).outcome, Outcome::Read { bytes: 1 }));
        });
    }
    // The same of a root that was not opened yet.
    push_opens_that_hang(&mut kernel, &world.root(), "");
    within_a_turn(|| open(&mut kernel, &Directory::new(folder.to_owned()), "here/data"));
}

/// Sends the first bytes of a file on a connection of its own, which the peer gets to keep.
fn push_send<E: Engine>(
    kernel: &mut NativeKernel<E>,
    file: File,
    token: Token,
) -> std::net::TcpStream {
    let (socket, stream) = accept(kernel);
    let mut batch = kernel.batch();
    batch.push_run(Run { file, offset: 0, length: 1_000 });
    kernel.push(Op::Send { socket, batch, verb: Verb::Copy }, token).unwrap();
    stream
}

fn a_mount_that_hangs_keeps_no_other_from_sending<E: Engine>() {
    let (Some(hanging), Some(well)) = (world(), world()) else { return };
    let mut kernel = NativeKernel::<E>::new(&small()).unwrap();
    let [of_hanging, of_well] = [&hanging, &well].map(|world| world.open(&mut kernel));
    system::drop_from_page_cache(&hanging.path()).unwrap();
    hanging.mount.tell("delay 60000").unwrap();
    let peers: Vec<_> = (10..10 + 2 * limits::SCRATCH_COUNT as u64)
        .map(|token| push_send(&mut kernel, of_hanging, Token(token)))
        .collect();
    within_a_turn(|| {
        let _peer = push_send(&mut kernel, of_well, Token(9));
        let sent = next(&mut kernel);
        assert_eq!(sent.token, Token(9), "{} peers wait: {sent:?}", peers.len());
        assert!(matches!(sent.outcome, Outcome::Sent { bytes: 1_000, .. }), "{sent:?}");
    });
}

on_both_engines! {
    no_turn_waits_for_the_close_of_a_distant_file,
    a_mount_that_hangs_keeps_no_other_from_sending,
    opens_that_hang_keep_no_other_file_from_being_opened_and_read,
}
