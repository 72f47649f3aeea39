//! What stands below an open file: asked once, on the thread that opened it, since even that may wait.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::limits::{TAGS_KEPT, TAGS_OPENS};
use crate::{FileStat, Mount, sys};

/// statfs(2) of overlayfs, whose files have their pages elsewhere: cachestat says 0.
pub(crate) const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
/// The same of filesystems that another machine or program answers for, or that several machines
/// share: those of linux/magic.h, and of filesystems outside of the kernel as coreutils' stat(1) and
/// their own sources have them. aufs is here since what it unites may be any of these.
const DISTANT_MAGICS: [(i64, &str); 23] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB 2 and later"),
    (0x517b, "SMB, before CIFS"),
    (0x00c3_6400, "Ceph"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS, the other client"),
    (0x7375_7245, "Coda"),
    (0x7461_636f, "OCFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x6573_5546, "FUSE, and virtiofs"),
    (0x1983_0326, "BeeGFS"),
    (0x4750_4653, "GPFS"),
    (0x0116_1970, "GFS2"),
    (0x786f_4256, "folders of VirtualBox"),
    (0xbacb_acbc, "folders of VMware"),
    (0x7c7c_6673, "folders of Parallels"),
    (0xaad7_aaea, "PanFS"),
    (0x6163_6673, "ACFS"),
    (0x0131_11a8, "IBRIX"),
    (0xbeef_dead, "StorNext"),
    (0x6175_6673, "aufs"),
];
/// ext4 and XFS count a file's extents without reading them one by one. btrfs looks each of them up.
const COUNTED_MAGICS: [i64; 2] = [0xef53, 0x5846_5342];
/// Files shorter than this (bytes) are read in a bio or two anyway.
const COUNTED_BYTES: u64 = 256 << 10;
/// Devices that may stand on each other (dm, md) before nobody looks further.
const STACKED_MAX: u32 = 8;

/// Whether files of this filesystem are answered for by somebody else.
pub(crate) fn is_distant(magic: i64) -> bool {
    magic == OVERLAYFS_MAGIC || DISTANT_MAGICS.iter().any(|(distant, _)| *distant == magic)
}

/// What stands below a file that was just opened.
pub(crate) fn of(file: BorrowedFd<'_>, stat: &FileStat, magic: i64) -> Mount {
    let is_distant = is_distant(magic);
    let tags = if is_distant { 0 } else { tags_of(stat.device) };
    let is_counted = COUNTED_MAGICS.contains(&magic) && stat.size >= COUNTED_BYTES;
    let extents = if is_counted { count_extents(file).unwrap_or(0) } else { 0 };
    let extent_bytes = stat.size.checked_div(u64::from(extents)).unwrap_or(0);
    Mount { is_distant, tags, extent_bytes }
}

/// Requests that a block device takes before its callers wait. 0: not known (no block device, no /sys).
fn tags_of(device: u64) -> u32 {
    let (major, minor) = (libc::major(device), libc::minor(device));
    if major == 0 {
        return 0;
    }
    let read = || tags_at(&PathBuf::from(format!("/sys/dev/block/{major}:{minor}")), STACKED_MAX);
    kept_or(&TAGS, device, read)
}

/// What was read of a device, and how many opens it is still good for.
type Kept = BTreeMap<u64, (u32, u32)>;

/// The tags of devices that files were opened on.
static TAGS: Mutex<Kept> = Mutex::new(Kept::new());

/// What is kept of a device, or is read now: a handful of calls that give the same each time, nearly.
fn kept_or(kept: &Mutex<Kept>, device: u64, read: impl FnOnce() -> u32) -> u32 {
    let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((tags, left)) = lock().get_mut(&device)
        && *left > 0
    {
        *left -= 1;
        return *tags;
    }
    let tags = read();
    let mut kept = lock();
    if kept.len() >= TAGS_KEPT && !kept.contains_key(&device) {
        kept.clear();
    }
    kept.insert(device, (tags, TAGS_OPENS - 1));
    tags
}

/// Of a stacked device the least of those below it, whose tags are the ones that run out; of a
/// partition its disk's.
fn tags_at(device: &Path, depth: u32) -> u32 {
    let below = std::fs::read_dir(device.join("slaves"));
    let below: Vec<PathBuf> =
        below.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    if depth > 0 && !below.is_empty() {
        let tags = below.iter().map(|device| tags_at(device, depth - 1));
        return tags.filter(|tags| *tags > 0).min().unwrap_or(0);
    }
    let queue = if device.join("partition").exists() { "../queue" } else { "queue" };
    let tags = std::fs::read_to_string(device.join(queue).join("nr_requests"));
    tags.ok().and_then(|tags| tags.trim().parse().ok()).unwrap_or(0)
}

/// struct fiemap of linux/fiemap.h, without room for extents.
#[repr(C)]
#[derive(Default)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

/// FS_IOC_FIEMAP of linux/fs.h: _IOWR('f', 11, struct fiemap).
const FS_IOC_FIEMAP: u64 = 0xc020_660b;

/// How many extents the file has.
fn count_extents(file: BorrowedFd<'_>) -> Option<u32> {
    let mut map = Fiemap { length: u64::MAX, ..Fiemap::default() };
    let into: *mut Fiemap = &mut map;
    // SAFETY: the structure has the layout of the UAPI and asks for no extents, so that nothing is
    // written behind it.
    let asked = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as _, into) };
    (asked == 0 && map.mapped > 0).then_some(map.mapped)
}

/// Whether cachestat(2) of the file asks nobody else: who owns it is not asked for permission.
pub(crate) fn may_ask_residency(owner: u32) -> bool {
    let we = sys::effective_user();
    we == 0 || we == owner
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use super::*;

    /// A device as /sys shows it.
    fn device(at: &Path, tags: &str) {
        fs::create_dir_all(at.join("queue")).unwrap();
        fs::write(at.join("queue/nr_requests"), tags).unwrap();
    }

    #[test]
    fn tags_are_those_of_the_disk_at_the_bottom() {
        let sys = tempfile::tempdir().unwrap();
        let at = |name: &str| sys.path().join(name);
        device(&at("sda"), "64\n");
        device(&at("sdb"), "32\n");
        device(&at("md0"), "128\n");
        fs::create_dir_all(at("sda/sda1")).unwrap();
        fs::write(at("sda/sda1/partition"), "1\n").unwrap();
        fs::create_dir_all(at("md0/slaves")).unwrap();
        assert_eq!(tags_at(&at("sda"), 8), 64);
        assert_eq!(tags_at(&at("sda/sda1"), 8), 64, "a partition has its disk's");
        assert_eq!(tags_at(&at("md0"), 8), 128, "on nothing");
        std::os::unix::fs::symlink(at("sda/sda1"), at("md0/slaves/sda1")).unwrap();
        std::os::unix::fs::symlink(at("sdb"), at("md0/slaves/sdb")).unwrap();
        assert_eq!(tags_at(&at("md0"), 8), 32, "the least of those below");
        std::os::unix::fs::symlink(at("md0"), at("md0/slaves/md0")).unwrap();
        assert_eq!(tags_at(&at("md0"), 8), 32, "a circle ends");
        assert_eq!(tags_at(&at("nothing"), 8), 0);
        assert_eq!(tags_of(libc::makedev(0, 40)), 0, "a device that is no block device");
    }

    #[test]
    fn tags_of_a_device_are_read_once_in_so_many_opens() {
        let (kept, mut reads) = (Mutex::new(Kept::new()), 0);
        let mut open = |device, tags| {
            let read = || {
                reads += 1;
                tags
            };
            (kept_or(&kept, device, read), reads)
        };
        assert_eq!(open(1, 64), (64, 1));
        assert_eq!(open(2, 32), (32, 2), "another device");
        for _ in 1..TAGS_OPENS {
            assert_eq!(open(1, 128), (64, 2));
        }
        assert_eq!(open(1, 128), (128, 3), "its scheduler was set, or it is another by now");
        for device in 0..10 * TAGS_KEPT as u64 {
            open(device, 1);
        }
        assert!(kept.lock().unwrap().len() <= TAGS_KEPT);
    }

    #[test]
    fn extents_of_a_file_are_counted_where_that_is_cheap() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![1; 1 << 20]).unwrap();
        file.as_file().sync_all().unwrap();
        let magic = sys::filesystem(file.as_file().as_fd()).unwrap();
        let (stat, _) = sys::stat(file.as_file().as_fd()).unwrap();
        let mount = of(file.as_file().as_fd(), &stat, magic);
        assert!(!mount.is_distant);
        let counted = COUNTED_MAGICS.contains(&magic);
        assert_eq!(mount.extent_bytes > 0, counted, "{mount:?} of {magic:x}");
        assert!(!counted || (4096..=1 << 20).contains(&mount.extent_bytes), "{mount:?}");
    }

    #[test]
    fn who_answers_for_a_file_is_known_by_its_filesystem() {
        assert!([0x6573_5546, 0x6969, 0x1983_0326, OVERLAYFS_MAGIC].into_iter().all(is_distant));
        assert!(![0xef53, 0x5846_5342, 0x0102_1994, 0x9123_683e].into_iter().any(is_distant));
    }
}
