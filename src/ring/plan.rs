//! What the system offers, what is used of it, and why. Pure: features go in, a plan or an error
//! with cause and cure comes out, so that masked features test every rung.

mod kernel;

use crate::{Verb, limits};

pub use kernel::{KernelChoice, KernelKind, KernelPlan, RingRung, kernel_plan};

/// Why a kernel cannot start: cause and cure.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub(crate) String);

/// What the system said when it was asked at the start. Errors are errnos.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Major and minor number of the running kernel.
    pub kernel: (u32, u32),
    /// Setting up a ring: the best set-up that the system takes.
    pub io_uring: Result<RingRung, i32>,
    /// The sysctl kernel.io_uring_disabled; `None` before 6.6.
    pub io_uring_disabled: Option<u32>,
    /// A seccomp filter is installed on this process.
    pub seccomp: bool,
    /// Bytes of a page.
    pub page_bytes: usize,
    /// splice(2) from a file into a pipe and on.
    pub splice: Result<(), i32>,
    /// vmsplice(2) into a pipe.
    pub vmsplice: Result<(), i32>,
    /// Slots of the pipe that the system gives.
    pub pipe_slots: Result<usize, i32>,
    /// cachestat(2) on a file of ours.
    pub cachestat: Result<(), i32>,
    /// epoll_create1(2).
    pub epoll: Result<(), i32>,
    /// openat2(2) below a folder.
    pub openat2: Result<(), i32>,
}

/// `--zero-copy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ZeroCopy {
    /// Splice where it works, copy elsewhere.
    #[default]
    Auto,
    /// Splice, or do not start.
    Splice,
    /// Copy: for content that is edited in place while it is served.
    Off,
}

/// The verb for plaintext peers, and why it was chosen: one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerbPlan {
    pub verb: Verb,
    pub reason: String,
}

/// Chooses the verb. An error only where splice was demanded and cannot be had.
pub fn verb_plan(wanted: ZeroCopy, probe: &Probe) -> Result<VerbPlan, StartError> {
    let obstacle = match (&probe.splice, &probe.vmsplice, &probe.pipe_slots) {
        _ if probe.page_bytes != limits::PAGE_BYTES => Some(format!(
            "pages have {} bytes here, and batches are laid out for {}",
            probe.page_bytes,
            limits::PAGE_BYTES
        )),
        (Err(errno), _, _) => Some(denied("splice", *errno, probe.seccomp)),
        (_, Err(errno), _) => Some(denied("vmsplice", *errno, probe.seccomp)),
        (_, _, Err(errno)) => Some(format!("cannot make a pipe: {}", text(*errno))),
        (_, _, Ok(slots)) if *slots < limits::PIPE_SLOTS_MIN => Some(format!(
            "the pipe has {slots} slots of a page where {} are needed: this user's pipes have used \
             up fs.pipe-user-pages-soft; raise it (0 lifts it)",
            limits::PIPE_SLOTS_MIN
        )),
        (Ok(()), Ok(()), Ok(_)) => None,
    };
    let slots = probe.pipe_slots.as_ref().map_or(0, |slots| *slots);
    match (wanted, obstacle) {
        (ZeroCopy::Off, _) => {
            let reason = "copy: blocks are read and sent (--zero-copy off)".to_owned();
            Ok(VerbPlan { verb: Verb::Copy, reason })
        }
        (_, None) => {
            let asks = match probe.cachestat {
                Ok(()) => "cachestat tells what is cached",
                Err(libc::EPERM | libc::EACCES) => {
                    "cachestat is denied: blocks are fetched before they are sent"
                }
                Err(_) => "no cachestat (Linux 6.5): blocks are fetched before they are sent",
            };
            let reason = format!(
                "splice: blocks go from the page cache by reference (pipe of {slots} pages; {asks})"
            );
            Ok(VerbPlan { verb: Verb::Splice, reason })
        }
        (ZeroCopy::Auto, Some(obstacle)) => {
            Ok(VerbPlan { verb: Verb::Copy, reason: format!("copy: {obstacle}") })
        }
        (ZeroCopy::Splice, Some(obstacle)) => Err(StartError(format!(
            "cannot splice, as --zero-copy splice demands: {obstacle}; \
             --zero-copy auto copies instead"
        ))),
    }
}

fn denied(call: &str, errno: i32, seccomp: bool) -> String {
    let by = match (errno, seccomp) {
        (libc::EPERM | libc::ENOSYS, true) => {
            "by a seccomp filter: allow splice and vmsplice in it"
        }
        (libc::ENOSYS, false) => "this kernel was built without it",
        _ => "by a security module or the kernel's policy",
    };
    format!("{call}(2) is denied ({}), {by}", text(errno))
}

/// As system administrators know it.
pub(crate) fn name_of(errno: i32) -> String {
    match errno {
        libc::EPERM => "EPERM".to_owned(),
        libc::EACCES => "EACCES".to_owned(),
        libc::ENOSYS => "ENOSYS".to_owned(),
        libc::EINVAL => "EINVAL".to_owned(),
        libc::ENOMEM => "ENOMEM".to_owned(),
        libc::EMFILE => "EMFILE".to_owned(),
        _ => format!("errno {errno} ({})", text(errno)),
    }
}

pub(crate) fn text(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

/// Why io_uring cannot be set up, given what the system looks like.
pub(crate) fn explain(errno: i32, host: &Host) -> StartError {
    let (cause, cure) = cause(errno, host);
    StartError(format!("cannot set up io_uring: {}: {cause}; {cure}", text(errno)))
}

/// Cause and cure of a ring that cannot be set up.
fn cause(errno: i32, host: &Host) -> (String, &'static str) {
    let (major, minor) = host.kernel;
    let (cause, cure) = match (errno, host.io_uring_disabled) {
        (libc::EPERM, Some(setting @ 1..)) => {
            return (
                format!("the sysctl kernel.io_uring_disabled is {setting}"),
                "set it to 0, or to 1 with kernel.io_uring_group naming a group of this user",
            );
        }
        (libc::EPERM | libc::EACCES | libc::ENOSYS, _) if host.seccomp => (
            "a seccomp filter forbids it, as container runtimes do by default",
            "run with a profile that allows io_uring_setup, io_uring_enter and io_uring_register",
        ),
        (libc::ENOSYS, _) => {
            let cause = format!("Linux {major}.{minor} was built without it");
            return (cause, "CONFIG_IO_URING is needed");
        }
        (libc::EINVAL, _) if host.kernel < (6, 1) => {
            return (format!("Linux {major}.{minor} is too old"), "6.1 or later is needed");
        }
        (libc::ENOMEM, _) => (
            "its memory cannot be had or locked",
            "free memory, or raise the memory lock limit (ulimit -l, LimitMEMLOCK=)",
        ),
        (libc::EMFILE | libc::ENFILE, _) => {
            ("no descriptor is left", "raise the limit (ulimit -n, LimitNOFILE=)")
        }
        (libc::EPERM | libc::EACCES, _) => (
            "a security module (SELinux, AppArmor) or the kernel's policy forbids it",
            "allow io_uring for this program there",
        ),
        _ => {
            let cause = format!("unexpected on Linux {major}.{minor}");
            return (cause, "please report it");
        }
    };
    (cause.to_owned(), cure)
}

/// Why the descriptors of a kernel without io_uring cannot be had.
pub(crate) fn explain_epoll(errno: i32) -> StartError {
    let cure = match errno {
        libc::EMFILE | libc::ENFILE => {
            "no descriptor is left; raise the limit (ulimit -n, LimitNOFILE=)"
        }
        libc::ENOMEM | libc::ENOSPC => "the system has no memory for it, or this user no watches",
        _ => "epoll_create1, epoll_ctl and eventfd2 must be allowed to this process",
    };
    StartError(format!("cannot set up epoll: {}: {cure}", text(errno)))
}

/// What of the system explains a failed set-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Host {
    pub(crate) kernel: (u32, u32),
    pub(crate) io_uring_disabled: Option<u32>,
    pub(crate) seccomp: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system that has everything.
    pub(super) fn all() -> Probe {
        Probe {
            kernel: (6, 18),
            io_uring: Ok(RingRung::WithoutIndexArray),
            io_uring_disabled: Some(0),
            seccomp: false,
            page_bytes: 4_096,
            splice: Ok(()),
            vmsplice: Ok(()),
            pipe_slots: Ok(256),
            cachestat: Ok(()),
            epoll: Ok(()),
            openat2: Ok(()),
        }
    }

    fn auto(probe: &Probe) -> VerbPlan {
        verb_plan(ZeroCopy::Auto, probe).unwrap()
    }

    #[test]
    fn with_everything_there_batches_are_spliced() {
        assert_eq!(auto(&all()).verb, Verb::Splice);
    }

    #[test]
    fn a_denied_splice_or_vmsplice_means_copying_and_names_the_call() {
        let plan = auto(&Probe { splice: Err(libc::EPERM), seccomp: true, ..all() });
        assert_eq!(plan.verb, Verb::Copy);
        assert!(plan.reason.contains("splice(2)") && plan.reason.contains("seccomp"), "{plan:?}");
        let plan = auto(&Probe { vmsplice: Err(libc::ENOSYS), ..all() });
        assert_eq!(plan.verb, Verb::Copy);
        assert!(plan.reason.contains("vmsplice(2)"), "{plan:?}");
    }

    #[test]
    fn a_small_pipe_means_copying_and_names_the_sysctl() {
        let plan = auto(&Probe { pipe_slots: Ok(16), ..all() });
        assert_eq!(plan.verb, Verb::Copy);
        assert!(plan.reason.contains("fs.pipe-user-pages-soft"), "{plan:?}");
        let plan = auto(&Probe { pipe_slots: Err(libc::EMFILE), ..all() });
        assert_eq!(plan.verb, Verb::Copy);
        assert!(plan.reason.contains("pipe"), "{plan:?}");
    }

    #[test]
    fn larger_pages_mean_copying() {
        let plan = auto(&Probe { page_bytes: 65_536, ..all() });
        assert_eq!(plan.verb, Verb::Copy);
        assert!(plan.reason.contains("65536"), "{plan:?}");
    }

    #[test]
    fn without_cachestat_batches_are_still_spliced() {
        let plan = auto(&Probe { cachestat: Err(libc::ENOSYS), ..all() });
        assert_eq!(plan.verb, Verb::Splice);
        assert!(plan.reason.contains("no cachestat"), "{plan:?}");
        let plan = auto(&Probe { cachestat: Err(libc::EPERM), ..all() });
        assert_eq!(plan.verb, Verb::Splice);
        assert!(plan.reason.contains("cachestat is denied"), "{plan:?}");
    }

    #[test]
    fn what_was_asked_for_is_done_or_refused() {
        assert_eq!(verb_plan(ZeroCopy::Off, &all()).unwrap().verb, Verb::Copy);
        assert_eq!(verb_plan(ZeroCopy::Splice, &all()).unwrap().verb, Verb::Splice);
        let error = verb_plan(ZeroCopy::Splice, &Probe { splice: Err(libc::EPERM), ..all() });
        assert!(error.unwrap_err().to_string().contains("--zero-copy auto"));
    }

    #[test]
    fn a_refused_ring_names_cause_and_cure() {
        let host = Host { kernel: (6, 18), io_uring_disabled: Some(0), seccomp: false };
        let cases = [
            (libc::EPERM, Host { io_uring_disabled: Some(2), ..host }, "kernel.io_uring_disabled"),
            (libc::EPERM, Host { seccomp: true, ..host }, "seccomp"),
            (libc::ENOSYS, Host { seccomp: true, ..host }, "seccomp"),
            (libc::EPERM, host, "security module"),
            (libc::ENOSYS, host, "CONFIG_IO_URING"),
            (libc::EINVAL, Host { kernel: (5, 15), ..host }, "6.1 or later"),
            (libc::ENOMEM, host, "ulimit -l"),
            (libc::EMFILE, host, "ulimit -n"),
        ];
        for (errno, host, word) in cases {
            let error = explain(errno, &host).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
