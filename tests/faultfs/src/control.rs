//! The file through which a shell tells a mirror its faults, and reads its counters.

use std::fmt::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::{Faults, Verb};

/// The name of the file at the mount's root; no listing shows it. Commands are written to it, one
/// a line, each as [`Command`] reads it; reading it gives a line for each file,
/// `calls 7 bytes 917504 failed 1 path/of/the file`, and while answers are held back a line before
/// those: `held 3`.
pub const CONTROL: &str = ".faultfs";

/// One fault, told in words:
///
/// | words | meaning |
/// |---|---|
/// | `delay MS [FILE]` | reads take MS milliseconds longer: those of FILE, or all |
/// | `delay-stat MS` | lookups and stats take MS milliseconds longer |
/// | `delay-flush MS` | closes take MS milliseconds longer, of a mount served by another process |
/// | `hang VERB` | what is asked by VERB gets no answer: lookup, getattr, open, read, or flush of a mount served by another process |
/// | `direct` | files opened from now on are read past the page cache |
/// | `error ERRNO FROM..TO FILE` | reads that touch these bytes fail; ERRNO is a number or EIO, ENODATA, ETIMEDOUT, ESTALE |
/// | `end AT FILE` | reads end at byte AT |
/// | `heal [FILE]` | FILE is well again; or all is, and what hung is answered |
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Delay(Duration, Option<PathBuf>),
    DelayStats(Duration),
    DelayFlushes(Duration),
    Hang(Verb),
    Direct,
    Error(i32, Range<u64>, PathBuf),
    End(u64, PathBuf),
    Heal(Option<PathBuf>),
}

/// A line that is no [`Command`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoCommand(String);

impl std::fmt::Display for NoCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` is no command; there are: delay MS [FILE], delay-stat MS, delay-flush MS, \
             hang VERB, direct, error ERRNO FROM..TO FILE, end AT FILE, heal [FILE]",
            self.0
        )
    }
}

impl std::error::Error for NoCommand {}

impl FromStr for Command {
    type Err = NoCommand;

    fn from_str(line: &str) -> Result<Command, NoCommand> {
        parse(line.trim()).ok_or_else(|| NoCommand(line.trim().to_owned()))
    }
}

fn parse(line: &str) -> Option<Command> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let file = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    // A file's name may have spaces in it, so it stands last.
    let (first, rest_of) = rest.split_once(' ').unwrap_or((rest, ""));
    let milliseconds = || first.parse().ok().map(Duration::from_millis);
    match verb {
        "delay" => Some(Command::Delay(milliseconds()?, file(rest_of))),
        "delay-stat" if rest_of.is_empty() => Some(Command::DelayStats(milliseconds()?)),
        "delay-flush" if rest_of.is_empty() => Some(Command::DelayFlushes(milliseconds()?)),
        "hang" => Some(Command::Hang(rest.parse().ok()?)),
        "direct" if rest.is_empty() => Some(Command::Direct),
        "error" => {
            let (range, path) = rest_of.split_once(' ')?;
            let (from, to) = range.split_once("..")?;
            let range = from.parse().ok()?..to.parse().ok()?;
            Some(Command::Error(errno(first)?, range, file(path)?))
        }
        "end" => Some(Command::End(first.parse().ok()?, file(rest_of)?)),
        "heal" => Some(Command::Heal(file(rest))),
        _ => None,
    }
}

fn errno(name: &str) -> Option<i32> {
    use nix::errno::Errno;
    let known = [Errno::EIO, Errno::ENODATA, Errno::ETIMEDOUT, Errno::ESTALE];
    let known = known.into_iter().find(|errno| format!("{errno:?}") == name);
    known.map(|errno| errno as i32).or_else(|| name.parse().ok().filter(|errno| *errno > 0))
}

impl Faults {
    /// Does what a command says.
    pub fn obey(&self, command: Command) {
        match command {
            Command::Delay(delay, None) => self.delay(delay),
            Command::Delay(delay, Some(file)) => self.delay_file(file, delay),
            Command::DelayStats(delay) => self.delay_stats(delay),
            Command::DelayFlushes(delay) => self.delay_flushes(delay),
            Command::Hang(verb) => self.hang(verb),
            Command::Direct => self.read_directly(),
            Command::Error(errno, range, file) => self.fail(file, range, errno),
            Command::End(at, file) => self.end_at(file, at),
            Command::Heal(None) => self.heal_all(),
            Command::Heal(Some(file)) => self.heal(file),
        }
    }

    /// The counters as [`CONTROL`] gives them.
    pub(crate) fn told(&self) -> String {
        let mut text = match self.hanging.held() {
            0 => String::new(),
            held => format!("held {held}\n"),
        };
        for (path, reads) in self.all_reads() {
            let crate::Reads { calls, bytes, failed } = reads;
            // Writing to a string cannot fail.
            let _ =
                writeln!(text, "calls {calls} bytes {bytes} failed {failed} {}", path.display());
        }
        text
    }
}
