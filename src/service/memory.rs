//! How much may lie in sockets and not be acknowledged, as TCP and the memory cgroups allow.

use std::fs;
use std::path::Path;

use ringseed_ring::system;

/// Bytes that TCP may use before it is content no longer, where nothing tells the machine's memory either.
const TCP_BYTES: u64 = 256 << 20;

/// Where the controllers are mounted, and the names of the limits that a cgroup of each has: v2 with
/// the one at which pages are taken back and the one at which processes are killed, and v1.
const HIERARCHIES: [(&str, &[&str]); 3] = [
    ("/sys/fs/cgroup", &["memory.high", "memory.max"]),
    ("/sys/fs/cgroup/unified", &["memory.high", "memory.max"]),
    ("/sys/fs/cgroup/memory", &["memory.limit_in_bytes"]),
];

/// What may be in the sockets of all workers and not acknowledged: each byte keeps a page of a file
/// from being freed.
pub(super) fn unacknowledged_bytes_max() -> u64 {
    let told = system::tcp_mem_pages().ok().map(|[content, ..]| content);
    let tcp_bytes = told.map(|pages| pages * system::page_bytes() as u64).or_else(|| {
        // Network namespaces other than the first, such as a container's, do not show the sysctl.
        usual_tcp_bytes(&fs::read_to_string("/proc/meminfo").ok()?)
    });
    cap(tcp_bytes.unwrap_or(TCP_BYTES), limit_bytes())
}

/// What the kernel makes of the machine's memory where nobody sets `net.ipv4.tcp_mem`: three quarters of a
/// sixteenth (tcp_init_mem in net/ipv4/tcp.c). `meminfo`: the text of proc_meminfo(5).
fn usual_tcp_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024 / 16 / 4 * 3)
}

/// Half of what TCP may use before it is under pressure: the other half is the host's. Those pages are
/// charged to our cgroup: a quarter of it leaves room for pages to come, and for us.
fn cap(tcp_bytes: u64, cgroup_bytes: Option<u64>) -> u64 {
    (tcp_bytes / 2).min(cgroup_bytes.map_or(u64::MAX, |bytes| bytes / 4))
}

/// The least limit of the memory cgroups that this process is in, in bytes; `None`: there is none, or
/// none that can be read.
fn limit_bytes() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    least(&membership, |path| fs::read_to_string(path).ok())
}

/// The same from the text of /proc/self/cgroup (cgroups(7)). Limits of the cgroups above hold as well.
/// In a container the path may be one of the host's: then its root stands for it.
fn least(membership: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let paths = membership.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_ours = controllers.is_empty() || controllers.split(',').any(|name| name == "memory");
        is_ours.then(|| Path::new(path.trim_start_matches('/')))
    });
    let folders = paths.flat_map(Path::ancestors);
    let limits = folders.flat_map(|folder| {
        HIERARCHIES.iter().flat_map(move |(root, names)| {
            names.iter().map(move |name| Path::new(root).join(folder).join(name))
        })
    });
    // "max" is no number: no limit. Without one v1 says the largest number of whole pages.
    let limits = limits.filter_map(|path| read(&path)?.trim().parse::<u64>().ok());
    limits.filter(|bytes| *bytes < 1 << 60).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(membership: &str, files: &[(&str, &str)], limit: Option<u64>) {
        let read = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        };
        assert_eq!(least(membership, read), limit);
    }

    #[test]
    fn the_cap_is_half_of_tcps_and_at_most_a_quarter_of_the_cgroup() {
        assert_eq!(cap(600, None), 300);
        assert_eq!(cap(600, Some(4000)), 300);
        assert_eq!(cap(600, Some(400)), 100);
    }

    #[test]
    fn without_the_sysctl_the_machines_memory_tells() {
        let text = "MemTotal:       16777216 kB\nMemFree:         1 kB\n";
        assert_eq!(usual_tcp_bytes(text), Some(768 << 20));
        assert_eq!(usual_tcp_bytes("MemFree: 1 kB\n"), None);
        assert_eq!(usual_tcp_bytes("MemTotal: many kB\n"), None);
    }

    #[test]
    fn the_least_limit_on_the_way_to_the_root_holds() {
        let files = [
            ("/sys/fs/cgroup/system.slice/memory.max", "3000\n"),
            ("/sys/fs/cgroup/system.slice/seed.service/memory.high", "max\n"),
            ("/sys/fs/cgroup/system.slice/seed.service/memory.max", "5000\n"),
            ("/sys/fs/cgroup/other/memory.max", "1\n"),
        ];
        is("0::/system.slice/seed.service\n", &files, Some(3000));
        is("0::/\n", &files, None);
    }

    #[test]
    fn what_version_one_says_without_a_limit_is_none() {
        let all = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let own = ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "7000\n");
        is("9:name=systemd:/x\n4:cpu,memory:/a\n0::/\n", &[all, own], Some(7000));
        is("4:memory:/a\n", &[all], None);
        is("5:cpu:/a\n", &[own], None);
    }

    #[test]
    fn in_a_container_the_root_stands_for_a_path_of_the_host() {
        let root = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9000\n");
        is("4:memory:/docker/0123\n", &[root], Some(9000));
        is("", &[root], None);
    }
}
