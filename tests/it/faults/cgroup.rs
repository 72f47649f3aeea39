//! A cgroup whose memory is limited, for one program: both forms of the memory controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::left_out::left_out;
use crate::seeder::program;

/// The two forms of the memory controller, by the names of their files.
struct Form {
    root: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Written so many bytes, or anything at all, it takes pages away.
    reclaim: &'static str,
}

const FORMS: [Form; 2] = [
    Form {
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        reclaim: "memory.force_empty",
    },
    Form {
        root: "/sys/fs/cgroup",
        limit: "memory.max",
        usage: "memory.current",
        reclaim: "memory.reclaim",
    },
];

/// A cgroup of our own; removed when dropped, which must be after the program in it.
pub(crate) struct Cgroup {
    folder: PathBuf,
    form: &'static Form,
}

impl Cgroup {
    /// A cgroup that may use so many bytes. `None`, and the test is left out, where none can be made.
    pub(crate) fn with_memory(name: &str, bytes: u64) -> Option<Cgroup> {
        let name = format!("ringseed-test-{}-{name}", std::process::id());
        for form in &FORMS {
            let folder = Path::new(form.root).join(&name);
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let cgroup = Cgroup { folder, form };
            if fs::write(cgroup.folder.join(form.limit), bytes.to_string()).is_ok() {
                return Some(cgroup);
            }
        }
        left_out("no memory cgroup can be made: it needs root, and the memory controller");
        None
    }

    /// The program under test, started in this cgroup.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        command.arg(self.folder.join("cgroup.procs")).arg(program());
        command
    }

    /// Takes away what pages it can.
    pub(crate) fn reclaim(&self) {
        // An error says that less went than was asked for.
        let _ = fs::write(self.folder.join(self.form.reclaim), self.usage_bytes().to_string());
    }

    pub(crate) fn usage_bytes(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.form.usage)).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A program that was killed leaves it a moment after it was waited for.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
    }
}
