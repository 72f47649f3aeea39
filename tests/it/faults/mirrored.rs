//! Content seen through a mirror on FUSE, which does what a bad or distant disk does.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use ringseed_faultfs::Mount;

use crate::content::World;

/// The data of a world, mirrored. Drop it after the seeder.
pub(crate) struct Mirrored {
    pub(crate) mount: Mount,
}

impl Mirrored {
    /// `None` where nothing can be mounted: the test is left out, and says so.
    pub(crate) fn of(world: &World) -> Option<Mirrored> {
        let at = world.path("mirror");
        std::fs::create_dir_all(&at).unwrap();
        match Mount::new(&world.data(), &at) {
            Ok(mount) => Some(Mirrored { mount }),
            Err(error) => {
                left_out(&format!("no FUSE mount: {error}"));
                None
            }
        }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.mount.path().join(file)
    }
}

/// Drops a file's pages from the page cache, those that nobody holds.
pub(crate) fn evict(file: &Path) {
    let file = File::open(file).unwrap();
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}

/// Says that a test cannot run here: on standard error, and in the file RINGSEED_LEFT_OUT, from which
/// `scripts/test.sh` takes it into its summary.
pub(crate) fn left_out(why: &str) {
    let thread = std::thread::current();
    let line = format!("left out: {}: {why}", thread.name().unwrap_or("a test"));
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("RINGSEED_LEFT_OUT") {
        let mut list = File::options().create(true).append(true).open(path).unwrap();
        writeln!(list, "{line}").unwrap();
    }
}
