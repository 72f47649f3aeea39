//! Which kernel is used, and why.

use super::{Probe, StartError, cause, name_of};

/// `--kernel`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KernelChoice {
    /// io_uring where it can be had, epoll elsewhere.
    #[default]
    Auto,
    /// io_uring, or do not start.
    IoUring,
    /// Epoll, whatever there is.
    Epoll,
}

/// A set-up of io_uring that a system takes; each needs a newer one than the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingRung {
    /// Linux 6.6: entries are submitted in order, without an array of their numbers.
    WithoutIndexArray,
    /// Linux 6.1: all that cannot be done without (work is done in enter, by one thread; receives
    /// that go on; provided buffers).
    Least,
}

impl RingRung {
    /// Best first.
    pub(crate) const ALL: [RingRung; 2] = [RingRung::WithoutIndexArray, RingRung::Least];
}

/// The two kernels of this room that talk to the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelKind {
    Uring,
    Epoll,
}

/// The kernel to use, and why: one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelPlan {
    pub kernel: KernelKind,
    pub reason: String,
}

impl KernelPlan {
    /// Asks the system and plans.
    pub fn of_system(wanted: KernelChoice) -> Result<KernelPlan, StartError> {
        kernel_plan(wanted, &Probe::of_kernels(wanted))
    }
}

impl KernelKind {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            KernelKind::Uring => "io_uring",
            KernelKind::Epoll => "epoll",
        }
    }
}

/// Chooses the kernel. An error where what was demanded cannot be had, or nothing can.
pub fn kernel_plan(wanted: KernelChoice, probe: &Probe) -> Result<KernelPlan, StartError> {
    let (major, minor) = probe.kernel;
    let no_ring = match (wanted, probe.io_uring) {
        (KernelChoice::Epoll, _) => "--kernel epoll asks for it".to_owned(),
        (_, Ok(rung)) => {
            let reason = match rung {
                RingRung::WithoutIndexArray => {
                    format!("Linux {major}.{minor} has all of it that is used")
                }
                RingRung::Least => {
                    format!(
                        "Linux {major}.{minor} has what is needed, and not what 6.6 made quicker"
                    )
                }
            };
            return Ok(KernelPlan { kernel: KernelKind::Uring, reason });
        }
        (KernelChoice::IoUring, Err(_)) => {
            let error = probe.io_uring_error().map_or_else(String::new, |error| error.0);
            return Err(StartError(format!("{error}; --kernel auto uses epoll instead")));
        }
        (KernelChoice::Auto, Err(errno)) => {
            let (cause, _) = cause(errno, &probe.host());
            format!("io_uring_setup(2) fails with {}: {cause}", name_of(errno))
        }
    };
    let (call, errno) = match (probe.epoll, probe.openat2) {
        (Ok(()), Ok(())) => {
            return Ok(KernelPlan { kernel: KernelKind::Epoll, reason: no_ring });
        }
        (Err(errno), _) => ("epoll_create1(2)", errno),
        // A ring opens files by itself; without it the call is ours, and older profiles lack it.
        (_, Err(errno)) => ("openat2(2)", errno),
    };
    Err(StartError(format!(
        "no kernel interface can be used: {no_ring}, and epoll would need {call}, which fails with \
         {}; allow either",
        name_of(errno)
    )))
}

#[cfg(test)]
mod tests {
    use super::super::tests::all;
    use super::super::{Verb, ZeroCopy, verb_plan};
    use super::*;

    /// What the kernel of Debian 12 lacks.
    fn linux_6_1() -> Probe {
        Probe {
            kernel: (6, 1),
            io_uring: Ok(RingRung::Least),
            io_uring_disabled: None,
            cachestat: Err(libc::ENOSYS),
            ..all()
        }
    }

    fn auto(probe: &Probe) -> KernelPlan {
        kernel_plan(KernelChoice::Auto, probe).unwrap()
    }

    #[test]
    fn each_rung_has_its_plan() {
        let verb = |probe: &Probe| verb_plan(ZeroCopy::Auto, probe).unwrap().verb;
        for kernel in [(6, 12), (6, 18), (7, 0)] {
            let probe = Probe { kernel, ..all() };
            assert_eq!(auto(&probe).kernel, KernelKind::Uring);
            assert_eq!(verb(&probe), Verb::Splice);
        }
        let plan = auto(&linux_6_1());
        assert_eq!(plan.kernel, KernelKind::Uring);
        assert!(plan.reason.contains("6.1") && plan.reason.contains("6.6"), "{plan:?}");
        assert_eq!(verb(&linux_6_1()), Verb::Splice);
        let none = Probe { io_uring: Err(libc::ENOSYS), ..linux_6_1() };
        assert_eq!(auto(&none).kernel, KernelKind::Epoll);
        assert_eq!(verb(&none), Verb::Splice);
    }

    #[test]
    fn what_denies_the_ring_is_named() {
        let cases = [
            (
                Probe { io_uring_disabled: Some(2), ..all() },
                libc::EPERM,
                "kernel.io_uring_disabled",
            ),
            (Probe { seccomp: true, ..all() }, libc::EPERM, "seccomp"),
            (Probe { seccomp: true, ..all() }, libc::ENOSYS, "seccomp"),
            (all(), libc::EPERM, "security module"),
            (all(), libc::ENOSYS, "built without it"),
            (Probe { kernel: (5, 15), ..all() }, libc::EINVAL, "5.15 is too old"),
            (all(), libc::ENOMEM, "memory"),
        ];
        for (probe, errno, word) in cases {
            let probe = Probe { io_uring: Err(errno), ..probe };
            let plan = auto(&probe);
            assert_eq!(plan.kernel, KernelKind::Epoll);
            assert!(plan.reason.contains(word), "{plan:?}");
            let error = kernel_plan(KernelChoice::IoUring, &probe).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("--kernel auto"), "{error}");
        }
    }

    #[test]
    fn epoll_is_used_when_asked_for() {
        let plan = kernel_plan(KernelChoice::Epoll, &all()).unwrap();
        assert_eq!(plan.kernel, KernelKind::Epoll);
        assert!(plan.reason.contains("--kernel epoll"), "{plan:?}");
        assert_eq!(kernel_plan(KernelChoice::IoUring, &all()).unwrap().kernel, KernelKind::Uring);
    }

    #[test]
    fn with_neither_both_causes_are_named() {
        let denied = Probe { io_uring: Err(libc::EPERM), seccomp: true, ..all() };
        for (probe, word) in [
            (Probe { openat2: Err(libc::ENOSYS), ..denied.clone() }, "openat2(2)"),
            (Probe { epoll: Err(libc::EMFILE), ..denied }, "epoll_create1(2)"),
        ] {
            let error = kernel_plan(KernelChoice::Auto, &probe).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("seccomp"), "{error}");
            // A ring does both by itself.
            let probe = Probe { io_uring: Ok(RingRung::Least), ..probe };
            assert_eq!(auto(&probe).kernel, KernelKind::Uring);
        }
    }
}
