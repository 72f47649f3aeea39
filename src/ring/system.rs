//! What a program asks of the system beside a kernel: limits, cores, times, the page cache.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::sys;

fn os(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Raises the soft limit of open descriptors to `wanted`, and the hard one if that is allowed;
/// else to the hard limit. The limit that is now in force.
pub fn raise_fd_limit(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable for the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    let higher = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
    // SAFETY: `higher` is readable for the call.
    if check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &higher) }).is_ok() {
        return Ok(wanted);
    }
    let most = libc::rlimit { rlim_cur: limit.rlim_max.min(wanted), rlim_max: limit.rlim_max };
    // SAFETY: `most` is readable for the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &most) })?;
    Ok(most.rlim_cur)
}

/// From now on this process has no huge pages of anonymous memory: what it holds is then what it uses,
/// where one small thing on a huge page of an allocator's costs two megabytes.
pub fn no_huge_pages() -> io::Result<()> {
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: no memory is passed.
    check(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, ON, UNUSED, UNUSED, UNUSED) })
}

/// The cores this thread may run on, ascending.
pub fn affinity() -> io::Result<Vec<usize>> {
    // SAFETY: all-zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable for its size.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) })?;
    let cores = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: each number is below CPU_SETSIZE.
    Ok(cores.filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect())
}

/// Cores that the system may have.
pub(crate) fn cores() -> usize {
    // SAFETY: no memory is passed.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }).unwrap_or(1)
}

/// Keeps this thread on one core.
pub fn pin_thread(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(os(libc::EINVAL));
    }
    // SAFETY: all-zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is readable for its size.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) })
}

/// Takes this thread, and it alone, to the network namespace that the file names (`/run/netns/NAME`):
/// sockets that it makes from now on belong there. Needs CAP_SYS_ADMIN (EPERM).
pub fn enter_network_namespace(path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// By how much waits of this thread may take longer, so that the system can wake for several at
/// once; 50 microseconds by default. At least a nanosecond.
pub fn set_timer_slack(slack: Duration) -> io::Result<()> {
    let ns = libc::c_ulong::try_from(slack.as_nanos().max(1)).unwrap_or(libc::c_ulong::MAX);
    // SAFETY: no memory is passed.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns) })
}

fn usage(who: i32) -> io::Result<libc::rusage> {
    // SAFETY: all-zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is writable for the call.
    check(unsafe { libc::getrusage(who, &mut usage) })?;
    Ok(usage)
}

/// How often this thread gave the core away by itself (it waited: for the ring, or for a disk), and
/// how often the system took it.
pub fn thread_switches() -> io::Result<(u64, u64)> {
    let usage = usage(libc::RUSAGE_THREAD)?;
    Ok((usage.ru_nvcsw.max(0) as u64, usage.ru_nivcsw.max(0) as u64))
}

/// Processor time of this thread, to the nanosecond. Takes longer than reading a clock: it is a call
/// into the scheduler.
pub fn thread_cpu() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable for the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) })?;
    Ok(Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32))
}

/// How long a thread has worked, or waited for a core that others had.
#[derive(Debug)]
pub struct BusyTime {
    /// /proc/self/task/TID/schedstat; without CONFIG_SCHED_INFO there is none.
    schedstat: Option<File>,
}

impl BusyTime {
    /// Of the calling thread, which alone is to read it.
    pub fn of_thread() -> BusyTime {
        BusyTime { schedstat: File::open("/proc/thread-self/schedstat").ok() }
    }

    /// Since the thread began. Where the system does not tell how long it waited, its processor time.
    pub fn read(&self) -> Duration {
        let mut text = [0; 64];
        let read = self.schedstat.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let text = read.and_then(|bytes| std::str::from_utf8(text.get(..bytes)?).ok());
        let mut numbers = text.unwrap_or_default().split_ascii_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(ran_ns)), Some(Ok(waited_ns))) => {
                Duration::from_nanos(ran_ns) + Duration::from_nanos(waited_ns)
            }
            _ => thread_cpu().unwrap_or_default(),
        }
    }
}

/// Processor time of this process: in our code, and in the kernel on our behalf.
pub fn process_cpu() -> io::Result<(Duration, Duration)> {
    let usage = usage(libc::RUSAGE_SELF)?;
    Ok((duration(usage.ru_utime), duration(usage.ru_stime)))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.max(0) as u64)
        + Duration::from_micros(time.tv_usec.max(0) as u64)
}

/// net.ipv4.tcp_mem: pages at which TCP is content, under pressure, and refuses memory.
pub fn tcp_mem_pages() -> io::Result<[u64; 3]> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem")?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(pressure)), Some(Ok(high))) => Ok([low, pressure, high]),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("net.ipv4.tcp_mem is '{}'; three numbers were expected", text.trim()),
        )),
    }
}

/// Bytes of a page as [`tcp_mem_pages`] counts them.
pub fn page_bytes() -> usize {
    sys::page_bytes()
}

/// Threads that the system keeps behind the rings of this process for work that it could not do
/// otherwise. Serving from a page cache keeps it at 0.
pub fn io_worker_threads() -> io::Result<usize> {
    let mut workers = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        // A thread may be gone by now.
        let name = std::fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        workers += usize::from(name.starts_with("iou-wrk"));
    }
    Ok(workers)
}

/// Drops a file's pages from the page cache (POSIX_FADV_DONTNEED), as far as they are clean and
/// nobody has them mapped or referenced: written ones are synced first. For benchmarks and tests.
pub fn drop_from_page_cache(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    sys::advise(file.as_fd(), libc::POSIX_FADV_DONTNEED).map_err(os)
}

/// Pages of a file that are in the page cache, and pages it has (cachestat, Linux 6.5).
pub fn cached_pages(path: &Path) -> io::Result<(u64, u64)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let cached = sys::cached_pages(file.as_fd(), 0, size).map_err(os)?;
    Ok((cached, size.div_ceil(sys::page_bytes().max(1) as u64)))
}

/// io_uring_setup(2): the same number on every architecture.
const IO_URING_SETUP: u32 = 425;

/// From now on io_uring_setup(2) fails with EPERM, for this thread and for the threads and programs
/// that it starts, for good: what container runtimes do. Rings that stand go on.
pub fn deny_io_uring() -> io::Result<()> {
    deny(IO_URING_SETUP)
}

/// The same of any system call.
pub(crate) fn deny(call: u32) -> io::Result<()> {
    let statement = |code: u32, jt, k| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let mut filter = [
        // The number stands first in struct seccomp_data.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // What an unprivileged process must promise before it may filter itself.
    // SAFETY: no memory is passed.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let program: *const libc::sock_fprog = &program;
    // SAFETY: program and filter are readable for the call.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, program) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_a_core_of_its_mask() {
        let core = *affinity().unwrap().last().unwrap();
        let pinned = std::thread::spawn(move || {
            pin_thread(core).unwrap();
            affinity().unwrap()
        });
        assert_eq!(pinned.join().unwrap(), [core]);
        assert!(pin_thread(usize::MAX).is_err());
    }

    #[test]
    fn a_namespace_that_is_none_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = enter_network_namespace(file.path()).unwrap_err();
        // EINVAL for a plain file; EPERM where we may not enter any.
        assert!(matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)), "{error}");
        assert!(enter_network_namespace(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn the_timer_slack_of_a_thread_is_its_own() {
        let slack = || std::fs::read_to_string("/proc/thread-self/timerslack_ns");
        let before = slack().ok();
        let of_thread = std::thread::spawn(move || {
            set_timer_slack(Duration::from_nanos(7)).unwrap();
            slack().ok()
        });
        let inside = of_thread.join().unwrap();
        // Where the file is not to be read, the call has succeeded all the same.
        assert!(inside.is_none_or(|text| text.trim() == "7"));
        assert_eq!(before, std::fs::read_to_string("/proc/thread-self/timerslack_ns").ok());
    }

    #[test]
    fn the_descriptor_limit_is_never_lowered() {
        let now = raise_fd_limit(1).unwrap();
        assert!(now > 1);
        assert_eq!(raise_fd_limit(now).unwrap(), now);
    }

    #[test]
    fn a_written_file_is_cached_and_can_be_dropped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![1; 3 * page_bytes() + 1]).unwrap();
        assert_eq!(cached_pages(file.path()).unwrap(), (4, 4));
        drop_from_page_cache(file.path()).unwrap();
        assert_eq!(cached_pages(file.path()).unwrap(), (0, 4));
    }

    #[test]
    fn times_and_memory_limits_are_read() {
        let (user, system) = process_cpu().unwrap();
        assert!(user + system > Duration::ZERO);
        let [low, pressure, high] = tcp_mem_pages().unwrap();
        assert!(low <= pressure && pressure <= high);
        thread_switches().unwrap();
        let before = thread_cpu().unwrap();
        assert!(std::hint::black_box((0..100_000_u64).fold(1, u64::wrapping_mul)) == 0);
        assert!(thread_cpu().unwrap() > before);
        io_worker_threads().unwrap();
        assert!(page_bytes() >= 4_096);
    }
}
