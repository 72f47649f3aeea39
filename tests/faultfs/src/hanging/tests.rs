//! What hangs, by itself and through the kernel. The mirror is served by another process: nobody who
//! waits here waits for an answer of this one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::Apart;

#[test]
fn answers_wait_until_it_is_healed_and_no_longer() {
    let (hanging, answered) = (Hanging::default(), Arc::new(AtomicUsize::new(0)));
    let ask = |verb| {
        let answered = answered.clone();
        hanging.answer(verb, move || {
            answered.fetch_add(1, Ordering::Relaxed);
        });
    };
    hanging.hang(Verb::Read);
    ask(Verb::Open);
    assert_eq!((answered.load(Ordering::Relaxed), hanging.held()), (1, 0));
    ask(Verb::Read);
    ask(Verb::Read);
    assert_eq!((answered.load(Ordering::Relaxed), hanging.held()), (1, 2));
    hanging.heal();
    assert_eq!((answered.load(Ordering::Relaxed), hanging.held()), (3, 0));
    ask(Verb::Read);
    assert_eq!(answered.load(Ordering::Relaxed), 4);
    hanging.hang(Verb::Flush);
    ask(Verb::Flush);
    hanging.give_up();
    assert_eq!((answered.load(Ordering::Relaxed), hanging.held()), (4, 0));
    assert_eq!(Arc::strong_count(&answered), 1, "an answer is kept");
}

/// Longer than the kernel believes a stat.
const FORGOTTEN: Duration = Duration::from_millis(1_500);
/// Nothing comes for so long: it hangs.
const HANGS: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(10);

struct World {
    mount: Apart,
    _folder: tempfile::TempDir,
}

fn world() -> Option<World> {
    let folder = tempfile::tempdir().unwrap();
    let [behind, at] = ["behind", "at"].map(|name| folder.path().join(name));
    fs::create_dir(&behind).unwrap();
    fs::create_dir(&at).unwrap();
    fs::write(behind.join("data"), [7; 4096]).unwrap();
    match Apart::new(&behind, &at, "hanging::tests::serves_the_mount") {
        Ok(mount) => Some(World { mount, _folder: folder }),
        Err(error) => {
            eprintln!("SKIPPED: faultfs cannot be mounted here: {error}");
            None
        }
    }
}

#[test]
#[ignore = "the process that serves the mount of the tests beside it"]
fn serves_the_mount() {
    crate::serve();
}

impl World {
    fn data(&self) -> PathBuf {
        self.mount.path().join("data")
    }

    /// Tells it to hang, then asks by that verb, on a thread of its own.
    fn ask(&self, verb: Verb) -> Receiver<io::Result<()>> {
        let path = self.data();
        let open = (verb != Verb::Lookup && verb != Verb::Open).then(|| File::open(&path).unwrap());
        if verb == Verb::Getattr {
            std::thread::park_timeout(FORGOTTEN);
        }
        self.mount.tell(&format!("hang {}", verb.name())).unwrap();
        let (sender, came) = channel();
        std::thread::spawn(move || {
            let result = match (verb, open) {
                (Verb::Getattr, Some(file)) => file.metadata().map(drop),
                (Verb::Read, Some(file)) => file.read_exact_at(&mut [0], 0),
                // What close says is nobody's to hear.
                (Verb::Flush, file) => {
                    drop(file);
                    Ok(())
                }
                _ => File::open(path).map(drop),
            };
            let _ = sender.send(result);
        });
        came
    }
}

#[test]
fn each_verb_hangs_until_it_is_healed() {
    for verb in Verb::ALL {
        let Some(world) = world() else { return };
        let came = world.ask(verb);
        assert!(came.recv_timeout(HANGS).is_err(), "{verb:?} is answered");
        assert_eq!(world.mount.held().unwrap(), 1, "{verb:?}");
        world.mount.tell("heal").unwrap();
        came.recv_timeout(SOON).expect("an answer").unwrap();
        assert_eq!(world.mount.held().unwrap(), 0);
    }
}

#[test]
fn any_number_may_wait_while_the_rest_is_answered() {
    let Some(world) = world() else { return };
    let waiting: Vec<_> = (0..4 * crate::THREADS).map(|_| world.ask(Verb::Open)).collect();
    for came in &waiting {
        assert!(came.try_recv().is_err());
    }
    let stat = fs::metadata(world.data()).unwrap();
    assert_eq!(stat.len(), 4096);
    world.mount.tell("heal").unwrap();
    for came in waiting {
        came.recv_timeout(SOON).expect("an answer").unwrap();
    }
}

#[test]
fn nobody_waits_for_a_server_that_is_gone() {
    for is_killed in [true, false] {
        let Some(world) = world() else { return };
        let came = world.ask(Verb::Read);
        assert!(came.recv_timeout(HANGS).is_err(), "it is answered");
        if is_killed {
            world.mount.abort();
            assert!(came.recv_timeout(SOON).expect("an answer").is_err());
        } else {
            drop(world);
            // The kernel may have asked once more before the end.
            let _ = came.recv_timeout(SOON).expect("an answer");
        }
    }
}
