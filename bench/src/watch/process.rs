//! One process: CPU time of it and of its threads, memory, descriptors and cores, from
//! `/proc/PID`. Pure parsers, and small functions that read the files.
//!
//! Names are chosen by whoever runs the process: they may hold spaces, parentheses, line ends, and
//! bytes that are no text.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::cpu::time_of;
use super::{WatchError, read};

/// What `/proc/PID/stat` (or that of a thread) says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stat {
    /// The program's or the thread's name, cut to 15 bytes by the kernel.
    pub name: String,
    /// It has ended, and only its parent has not asked how.
    pub ended: bool,
    /// User and system time. Of a process: of all its threads, those that ended included.
    pub cpu: Duration,
    /// When it started, in ticks since the system did: a number given to another process later has
    /// another time here.
    pub started_ticks: u64,
}

impl Stat {
    /// Reads the text of the file at `path`.
    pub fn parse(path: &str, text: &str) -> Result<Stat, WatchError> {
        let form = |what| WatchError::Form { path: path.into(), what };
        // The second field is the name in parentheses and may hold anything, parentheses too.
        let named = text.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
        let (name, after_name) = named.ok_or_else(|| form("the name"))?;
        let mut fields = after_name.split_whitespace();
        let state = fields.next().ok_or_else(|| form("the state"))?;
        let mut ticks = |skipped, what| {
            let field = fields.nth(skipped).and_then(|field| field.parse::<u64>().ok());
            field.ok_or_else(|| form(what))
        };
        let cpu = time_of(ticks(10, "utime")? + ticks(0, "stime")?);
        let started_ticks = ticks(6, "starttime")?;
        Ok(Stat { name: name.into(), ended: matches!(state, "Z" | "X" | "x"), cpu, started_ticks })
    }
}

/// A thread's name and its CPU time until now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    pub name: String,
    pub cpu: Duration,
}

/// The time on a core from the text of a `schedstat` file: nanoseconds, where `stat` has ticks.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Anonymous resident memory in bytes, from the text of `/proc/PID/status`. None: a kernel thread.
pub fn parse_anonymous(status: &str) -> Option<u64> {
    let value = field_of(status, "RssAnon:")?.strip_suffix("kB")?;
    value.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The cores that a process may use, from the text of `/proc/PID/status`: `0-2,5`.
pub fn parse_cores(status: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for range in field_of(status, "Cpus_allowed_list:")?.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
}

/// The rest of the line that begins with `key`. (The kernel escapes line ends in names here.)
fn field_of<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

/// The state of process `pid`, which must run.
pub fn stat(pid: u32) -> Result<Stat, WatchError> {
    let path = format!("/proc/{pid}/stat");
    let stat = Stat::parse(&path, &read(&path).map_err(|error| ended(pid, error))?)?;
    if stat.ended { Err(WatchError::Ended(pid)) } else { Ok(stat) }
}

/// Its threads by number. One that ends meanwhile is left out.
pub fn threads(pid: u32) -> Result<BTreeMap<u32, Thread>, WatchError> {
    let path = format!("/proc/{pid}/task");
    let unread = |source| ended(pid, WatchError::Read { path: path.clone(), source });
    let mut threads = BTreeMap::new();
    for entry in std::fs::read_dir(&path).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some(number) = number
            && let Ok(thread) = thread(&format!("{path}/{number}"))
        {
            threads.insert(number, thread);
        }
    }
    Ok(threads)
}

fn thread(folder: &str) -> Result<Thread, WatchError> {
    let path = format!("{folder}/stat");
    let stat = Stat::parse(&path, &read(&path)?)?;
    // Only some kernels are built with it.
    let exact = read(&format!("{folder}/schedstat")).ok().and_then(|text| parse_schedstat(&text));
    Ok(Thread { name: stat.name, cpu: exact.unwrap_or(stat.cpu) })
}

/// Its `/proc/PID/status`, for the parsers above.
pub fn status(pid: u32) -> Result<String, WatchError> {
    read(&format!("/proc/{pid}/status")).map_err(|error| ended(pid, error))
}

/// How many descriptors it has open. None: not ours to know.
pub fn descriptors(pid: u32) -> Option<u64> {
    let path = format!("/proc/{pid}/fd");
    // Linux tells the number as the folder's size since 6.2. Listing ten thousand would hold up
    // the process that is measured.
    match std::fs::metadata(&path).ok()?.len() {
        0 => Some(std::fs::read_dir(&path).ok()?.count() as u64),
        count => Some(count),
    }
}

/// Its command line, words apart. None: a kernel thread, or not ours to know.
pub fn command(pid: u32) -> Option<String> {
    let text = read(&format!("/proc/{pid}/cmdline")).ok()?;
    let words = text.trim_end_matches('\0').replace('\0', " ");
    (!words.is_empty()).then_some(words)
}

/// Tells a process that has ended from other errors of reading its files.
fn ended(pid: u32, error: WatchError) -> WatchError {
    const ESRCH: i32 = 3;
    match &error {
        WatchError::Read { source, .. }
            if source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(ESRCH) =>
        {
            WatchError::Ended(pid)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AFTER_NAME: &str =
        "R 1 42 42 0 -1 4194304 100 0 0 0 700 300 5 6 20 0 1 0 991 1 2 18446744073709551615";

    fn parse(text: &str) -> Result<Stat, WatchError> {
        Stat::parse("/proc/42/stat", text)
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        for name in ["seeder", "a) R 9 9 (b", "", "(((", ")))", "x\n) Z 1 ("] {
            let stat = parse(&format!("42 ({name}) {AFTER_NAME}")).unwrap();
            assert_eq!(stat.name, name);
            assert_eq!((stat.cpu, stat.started_ticks), (Duration::from_secs(10), 991));
            assert!(!stat.ended);
        }
    }

    proptest! {
        #[test]
        fn any_name_comes_back(name in "\\PC{0,15}") {
            prop_assert_eq!(parse(&format!("42 ({name}) {AFTER_NAME}")).unwrap().name, name);
        }

        #[test]
        fn any_text_is_understood_or_an_error(text in ".{0,80}") {
            let _ = parse(&text);
            let _ = parse_cores(&text);
            let _ = parse_anonymous(&text);
        }
    }

    #[test]
    fn a_short_stat_file_is_an_error_that_names_file_and_field() {
        let error = parse("42 (a) R 1 2").unwrap_err().to_string();
        assert_eq!(error, "cannot understand /proc/42/stat: utime is missing or not a number");
        assert!(parse("42 a R 1").unwrap_err().to_string().contains("the name"));
    }

    #[test]
    fn a_zombie_has_ended() {
        let stat = parse(&format!("42 (a) {}", AFTER_NAME.replace('R', "Z"))).unwrap();
        assert!(stat.ended);
    }

    #[test]
    fn memory_and_cores_are_found_by_their_names() {
        let status = "Name:\tRssAnon: 7 kB\nRssAnon:\t    1234 kB\nRssFile:\t 1 kB\n\
                      Cpus_allowed:\tff\nCpus_allowed_list:\t0-2,5,8-9\n";
        assert_eq!(parse_anonymous(status), Some(1234 * 1024));
        assert_eq!(parse_cores(status), Some(vec![0, 1, 2, 5, 8, 9]));
        assert_eq!((parse_anonymous(""), parse_cores("")), (None, None));
        assert_eq!(parse_cores("Cpus_allowed_list:\t0-x"), None);
    }

    #[test]
    fn schedstat_counts_nanoseconds() {
        assert_eq!(parse_schedstat("1500 7 2\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn this_process_is_understood() {
        let pid = std::process::id();
        stat(pid).unwrap();
        let status = status(pid).unwrap();
        assert!(parse_anonymous(&status).unwrap() > 0);
        assert!(!parse_cores(&status).unwrap().is_empty());
        assert!(command(pid).unwrap().contains("ringseed_swarm"));
        let before = descriptors(pid).unwrap();
        let _held: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let after = descriptors(pid).unwrap();
        // Other tests run in this process, and open and close files.
        assert!(after >= before + 20, "{before} {after}");
    }

    #[test]
    fn a_thread_is_found_by_a_name_that_would_mislead() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let name = "x) Z 1 1 (y";
        let waiting = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || told.recv().is_err())
            .unwrap();
        // The name is set by the new thread itself.
        let found = (0..1000).any(|_| {
            std::thread::yield_now();
            threads(std::process::id()).unwrap().values().any(|thread| thread.name == name)
        });
        assert!(found);
        drop(tell);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn a_process_that_has_ended_is_said_to_have() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        for error in [stat(pid).unwrap_err(), threads(pid).unwrap_err(), status(pid).unwrap_err()] {
            assert_eq!(error.to_string(), format!("process {pid} (--pid) has ended"));
        }
        assert_eq!((descriptors(pid), command(pid)), (None, None));
    }
}
