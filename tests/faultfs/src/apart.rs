//! A mirror served by another process, so that whoever opens files of it may end at any time.
//!
//! That process is the test binary once more: it runs one test, which calls [`serve`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[cfg(doc)]
use crate::Command;
use crate::{CONTROL, Mount};

/// Where the other process finds what to serve, and where to.
const SOURCE: &str = "FAULTFS_SOURCE";
const AT: &str = "FAULTFS_AT";
/// The line by which it says that it is mounted.
const MOUNTED: &str = "faultfs has mounted it";
/// That it could not begins with this.
const FAILED: &str = "faultfs cannot mount it: ";

/// Longest wait for the other process to mount it: it starts a test binary, on a machine that may be busy.
const MOUNTED_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for its end once it is told to, and once more when it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A mirror that another process serves and that is told of every close. Dropping it unmounts; the
/// other process does so too when the thread that made this has ended in whatever way.
pub struct Apart {
    server: Child,
    path: PathBuf,
}

impl Apart {
    /// Mounts a mirror of `source` at `mountpoint`, a folder that exists, by running the ignored test
    /// of this binary that has the name `test`.
    ///
    /// # Errors
    /// As of [`Mount::new`]; and with [`io::ErrorKind::TimedOut`], the other process has not mounted it
    /// within half a minute.
    pub fn new(source: &Path, mountpoint: &Path, test: &str) -> io::Result<Apart> {
        Apart::mounted_within(MOUNTED_WITHIN, source, mountpoint, test)
    }

    fn mounted_within(
        within: Duration,
        source: &Path,
        mountpoint: &Path,
        test: &str,
    ) -> io::Result<Apart> {
        let path = mountpoint.canonicalize()?;
        let mut server = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", test, "--ignored", "--nocapture"])
            .envs([(SOURCE, source), (AT, path.as_path())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What ends a group of processes (a terminal, a time limit) ends it last: by our end.
            .process_group(0)
            .spawn()?;
        let said = server.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        // Ends the server, should it not come to mount it.
        let apart = Apart { server, path };
        hear(&lines_of(said), within)?;
        Ok(apart)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kills who serves it: the kernel answers with an error to all who wait and to all who ask later.
    pub fn abort(&self) {
        let server = Pid::from_raw(self.server.id().cast_signed());
        // It may be dead already.
        let _ = kill(server, Signal::SIGKILL);
    }

    /// How many wait for an answer ([`Command::Hang`]).
    ///
    /// # Errors
    /// The mount is gone.
    pub fn held(&self) -> io::Result<usize> {
        let told = std::fs::read_to_string(self.path.join(CONTROL))?;
        let held = told.lines().find_map(|line| line.strip_prefix("held "));
        Ok(held.and_then(|held| held.parse().ok()).unwrap_or(0))
    }

    /// Does what a command says. It must be one that goes with the mount.
    ///
    /// # Errors
    /// The command is none, or the mount is gone.
    pub fn tell(&self, command: &str) -> io::Result<()> {
        std::fs::OpenOptions::new()
            .write(true)
            .open(self.path.join(CONTROL))?
            .write_all(command.as_bytes())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // Should it have died.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        drop(self.server.stdin.take());
        if self.ends() {
            return;
        }
        let path = self.path.clone();
        let at = path.display();
        eprintln!("faultfs at {at}: its server did not end within {ENDS_WITHIN:?}, and is killed");
        self.abort();
        if !self.ends() {
            eprintln!("faultfs at {at}: its server cannot be killed, and is left");
        }
    }
}

impl Apart {
    /// Whether the server comes to its end.
    fn ends(&mut self) -> bool {
        const LOOKS: u32 = 500;
        (0..LOOKS).any(|_| {
            // An error: it was waited for already.
            let has_ended = !matches!(self.server.try_wait(), Ok(None));
            if !has_ended {
                std::thread::park_timeout(ENDS_WITHIN / LOOKS);
            }
            has_ended
        })
    }
}

/// What the server says. It is read until its end, or the server's last words would be its death.
fn lines_of(said: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            // Nobody listens once it is mounted.
            let _ = sender.send(line);
        }
    });
    lines
}

/// Waits until the server says that it is mounted, `within` that time for each of its lines.
fn hear(lines: &Receiver<String>, within: Duration) -> io::Result<()> {
    loop {
        match lines.recv_timeout(within) {
            Ok(line) if line == MOUNTED => return Ok(()),
            Ok(line) => {
                if let Some(why) = line.strip_prefix(FAILED) {
                    return Err(io::Error::other(why.to_owned()));
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                let why = "the process that was to serve a mirror has ended";
                return Err(io::Error::other(why));
            }
            Err(RecvTimeoutError::Timeout) => {
                let why =
                    format!("the process that was to serve a mirror says nothing for {within:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
        }
    }
}

/// What the ignored test does that [`Apart::new`] names: serves the mirror until the process that
/// wants it lets go of it. Does nothing when there is none.
pub fn serve() {
    let (Some(source), Some(at)) = (std::env::var_os(SOURCE), std::env::var_os(AT)) else { return };
    // A thread that waits for an answer of ours outlives even a kill, and with it what it has open.
    let _ = set_pdeathsig(Signal::SIGKILL);
    // The test runner has begun a line of its own.
    match Mount::that_flushes(Path::new(&source), Path::new(&at)) {
        Ok(_mount) => {
            println!("\n{MOUNTED}");
            let _ = io::stdin().read_to_end(&mut Vec::new());
        }
        Err(error) => println!("\n{FAILED}{error}"),
    }
}

#[cfg(test)]
mod tests;
