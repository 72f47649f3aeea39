//! What the kernel holds on behalf of a process beside its own pages: the memory of its cgroup,
//! less file pages, which are the page cache and would be there without it.

use std::path::{Path, PathBuf};

use super::read;

/// The two forms of the memory controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    /// A hierarchy of its own, on systems that keep it for old programs. Buffers of sockets are
    /// counted there only where they are limited.
    One,
    /// One hierarchy for all; kernel memory and sockets are counted.
    Two,
}

/// The memory cgroup of a process: which hierarchy, and its path in it.
fn membership(cgroup: &str) -> Option<(Version, &str)> {
    let mut unified = None;
    for line in cgroup.lines() {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        if controllers.split(',').any(|name| name == "memory") {
            return Some((Version::One, path));
        }
        if number == "0" && controllers.is_empty() {
            unified = Some((Version::Two, path));
        }
    }
    unified
}

/// Whether `path` is `above`, or below it.
fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where the hierarchy is mounted, from the text of `/proc/self/mountinfo` (see proc(5)), and which
/// of its cgroups is the root of that mount.
fn mount(mountinfo: &str, version: Version) -> Option<(PathBuf, String)> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let fits = match version {
            Version::One => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
            Version::Two => kind == "cgroup2",
        };
        fits.then(|| (PathBuf::from(unescaped(point)), unescaped(root)))
    })
}

/// Spaces, tabs, line ends and backslashes stand in mountinfo as three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// The folder of a cgroup of its own: None for the root, and for one that we are in as well, since
/// its memory is ours too.
fn folder(target: &str, own: &str, mountinfo: &str) -> Option<(Version, PathBuf)> {
    let (version, path) = membership(target)?;
    let shared = membership(own)
        .is_some_and(|(own_version, own_path)| own_version == version && is_within(own_path, path));
    let (point, root) = mount(mountinfo, version)?;
    // Outside of our cgroup namespace paths begin with "/..".
    let below = path.strip_prefix(root.trim_end_matches('/'))?.trim_start_matches('/');
    let reachable = !below.is_empty() && !below.split('/').any(|part| part == "..");
    (reachable && !shared).then(|| (version, point.join(below)))
}

/// A field of `memory.stat`, bytes.
fn stat_field(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn less_file(usage: &str, stat: &str, file: &str) -> Option<u64> {
    Some(usage.trim().parse::<u64>().ok()?.saturating_sub(stat_field(stat, file)?))
}

fn read_in(folder: &Path, name: &str) -> Option<String> {
    read(folder.join(name).to_str()?).ok()
}

/// Memory of the cgroup of process `pid` less file pages, bytes. None: it has no cgroup of its own,
/// or the memory controller is not on, or not ours to read.
pub fn less_file_bytes(pid: u32) -> Option<u64> {
    let target = read(&format!("/proc/{pid}/cgroup")).ok()?;
    let own = read("/proc/self/cgroup").ok()?;
    let (version, folder) = folder(&target, &own, &read("/proc/self/mountinfo").ok()?)?;
    let (usage, file) = match version {
        Version::One => ("memory.usage_in_bytes", "total_cache"),
        Version::Two => ("memory.current", "file"),
    };
    less_file(&read_in(&folder, usage)?, &read_in(&folder, "memory.stat")?, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
    const HYBRID: &str = "\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/mem\\040ory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_cgroup_of_its_own_is_found_in_both_forms() {
        assert_eq!(
            folder("0::/system.slice/seeder.service\n", "0::/user.slice\n", UNIFIED),
            Some((Version::Two, "/sys/fs/cgroup/system.slice/seeder.service".into()))
        );
        let target = "5:cpu:/\n4:memory,hugetlb:/box:1/a\n0::/\n";
        assert_eq!(
            folder(target, "4:memory:/box:1\n0::/\n", HYBRID),
            Some((Version::One, "/sys/fs/cgroup/mem ory/box:1/a".into()))
        );
    }

    #[test]
    fn the_root_and_a_cgroup_with_us_in_it_are_nobodys() {
        assert_eq!(folder("0::/\n", "0::/a\n", UNIFIED), None);
        assert_eq!(folder("0::/a\n", "0::/a\n", UNIFIED), None);
        assert_eq!(folder("0::/a\n", "0::/a/b\n", UNIFIED), None);
        assert!(folder("0::/a\n", "0::/ab\n", UNIFIED).is_some());
        assert_eq!(folder("0::/../b\n", "0::/a\n", UNIFIED), None);
        assert_eq!(folder("", "", UNIFIED), None);
        assert_eq!(folder("0::/a\n", "0::/b\n", ""), None);
    }

    #[test]
    fn a_mount_of_a_part_shortens_the_path() {
        let part = UNIFIED.replace(" / ", " /docker/7 ");
        assert_eq!(
            folder("0::/docker/7/a\n", "0::/docker/7/b\n", &part),
            Some((Version::Two, "/sys/fs/cgroup/a".into()))
        );
        assert_eq!(folder("0::/other\n", "0::/docker/7\n", &part), None);
    }

    #[test]
    fn file_pages_are_taken_off_and_no_other_field() {
        let stat = "anon 5\nfile_mapped 9\nfile 300\nkernel 7\n";
        assert_eq!(less_file("1000\n", stat, "file"), Some(700));
        assert_eq!(less_file("200\n", stat, "file"), Some(0));
        assert_eq!(less_file("1000\n", "anon 5\n", "file"), None);
        assert_eq!(less_file("max\n", stat, "file"), None);
    }

    #[test]
    fn we_share_our_own() {
        assert_eq!(less_file_bytes(std::process::id()), None);
    }
}
