//! A folder mirrored read-only on FUSE, whose reads are slow, fail or end early as told, and are
//! counted, and which may leave what is asked of it unanswered: a bad or distant disk for tests and
//! benchmarks.
//!
//! Tests [`Mount`] it in their own process, or have it served [`Apart`]; benchmarks run the program
//! `faultfs`, and tell it its faults through the file [`CONTROL`] at the mount's root. Pages stay in
//! the page cache, and the kernel reads ahead as it does on any FUSE mount.
#![forbid(unsafe_code)]

mod apart;
mod control;
mod faults;
mod hanging;
mod inodes;
mod mirror;

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption};

pub use apart::{Apart, serve};
pub use control::{CONTROL, Command, NoCommand};
pub use faults::{Faults, Reads};
pub use hanging::Verb;

/// Requests served at a time: more than the 16 that the kernel keeps in flight by readahead, so that
/// a lookup gets its turn beside them.
const THREADS: usize = 32;

/// A mounted mirror, which is its [`Faults`] as well. Dropping it unmounts; files of it that are
/// still open somewhere are served until they are closed or this process ends.
pub struct Mount {
    faults: Arc<Faults>,
    path: PathBuf,
    /// Held for its drop: it unmounts, if nobody has.
    _session: BackgroundSession,
}

impl Mount {
    /// Mounts a mirror of `source` at `mountpoint`, a folder that exists.
    ///
    /// # Errors
    /// There is no /dev/fuse, or no right to mount: root has it, others need `fusermount3`.
    pub fn new(source: &Path, mountpoint: &Path) -> io::Result<Mount> {
        Mount::with(Faults::default(), source, mountpoint)
    }

    /// The same, and every close of a file asks it (flush) and waits for the answer, as closes on
    /// network filesystems do. For a process that does nothing else: one that has files of its own
    /// mount open when it ends would wait for an answer of its own, for ever.
    ///
    /// # Errors
    /// As of [`Mount::new`].
    pub fn that_flushes(source: &Path, mountpoint: &Path) -> io::Result<Mount> {
        Mount::with(Faults::of_a_mirror_that_flushes(), source, mountpoint)
    }

    fn with(faults: Faults, source: &Path, mountpoint: &Path) -> io::Result<Mount> {
        let faults = Arc::new(faults);
        let mirror = mirror::Mirror::new(source, faults.clone())?;
        let path = mountpoint.canonicalize()?;
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("faultfs".into()), MountOption::Subtype("faultfs".into())];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(mirror, &path, &config)?;
        Ok(Mount { faults, path, _session: session })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for Mount {
    type Target = Faults;

    fn deref(&self) -> &Faults {
        &self.faults
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.faults.hanging.give_up();
        // The plain unmount of the session is refused while a file is open.
        let _ = nix::mount::umount2(&self.path, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests;
