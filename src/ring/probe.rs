//! Asks the system once, at the start, what it offers. What is made of the answers is in plan.rs.

use std::os::fd::AsFd;

use crate::memory::Mapping;
use crate::pipe::Pipe;
use crate::plan::{Host, KernelChoice, Probe, StartError, explain};
use crate::{limits, sys};

impl Probe {
    /// Tries each call on descriptors of its own.
    pub fn of_system() -> Probe {
        let mut pipe = Pipe::new(limits::PIPE_BYTES);
        let kernels = Probe::of_kernels(KernelChoice::Auto);
        Probe {
            io_uring: kernels.io_uring,
            epoll: kernels.epoll,
            openat2: kernels.openat2,
            ..Probe::of_pipe(pipe.as_mut().map_err(|errno| *errno))
        }
    }

    /// What decides about the kernel. A ring is tried only if it might be used.
    pub(crate) fn of_kernels(wanted: KernelChoice) -> Probe {
        Probe {
            io_uring: match wanted {
                KernelChoice::Epoll => Err(0),
                KernelChoice::Auto | KernelChoice::IoUring => crate::uring::try_set_up(),
            },
            epoll: crate::epoll::try_set_up(),
            openat2: crate::epoll::try_open(),
            ..Probe::unasked(&Host::of_system())
        }
    }

    /// What decides about the verb, through a pipe that was made already.
    pub(crate) fn of_pipe(pipe: Result<&mut Pipe, i32>) -> Probe {
        let (pipe_slots, splice, vmsplice) = match pipe {
            Ok(pipe) => (Ok(pipe.slots()), try_splice(pipe), try_vmsplice(pipe)),
            // The pipe's own error says why there is no splicing.
            Err(errno) => (Err(errno), Ok(()), Ok(())),
        };
        let cachestat = try_cachestat();
        let asked = Probe::unasked(&Host::of_system());
        Probe { splice, vmsplice, pipe_slots, cachestat, ..asked }
    }

    /// Only what is told without asking.
    fn unasked(host: &Host) -> Probe {
        Probe {
            kernel: host.kernel,
            io_uring: Err(0),
            io_uring_disabled: host.io_uring_disabled,
            seccomp: host.seccomp,
            page_bytes: sys::page_bytes(),
            splice: Ok(()),
            vmsplice: Ok(()),
            pipe_slots: Err(0),
            cachestat: Ok(()),
            epoll: Ok(()),
            openat2: Ok(()),
        }
    }

    pub(crate) fn host(&self) -> Host {
        let Probe { kernel, io_uring_disabled, seccomp, .. } = *self;
        Host { kernel, io_uring_disabled, seccomp }
    }

    /// The error of a ring that cannot be set up, with cause and cure.
    pub fn io_uring_error(&self) -> Option<StartError> {
        self.io_uring.err().map(|errno| explain(errno, &self.host()))
    }
}

/// A page of bytes in a file of the memory filesystem.
fn page_file() -> Result<std::os::fd::OwnedFd, i32> {
    let file = sys::memory_file(c"ringseed-probe")?;
    sys::write(file.as_fd(), &[1; limits::PAGE_BYTES])?;
    Ok(file)
}

fn try_splice(pipe: &mut Pipe) -> Result<(), i32> {
    let file = page_file()?;
    pipe.splice_in(file.as_fd(), 0, limits::PAGE_BYTES)?;
    pipe.empty()
}

fn try_vmsplice(pipe: &mut Pipe) -> Result<(), i32> {
    let page = Mapping::new(limits::PAGE_BYTES)?;
    let iov = libc::iovec { iov_base: page.as_ptr().cast(), iov_len: limits::PAGE_BYTES };
    pipe.vmsplice_in(&[iov])?;
    pipe.empty()
}

fn try_cachestat() -> Result<(), i32> {
    let file = page_file()?;
    sys::cached_pages(file.as_fd(), 0, limits::PAGE_BYTES as u64).map(drop)
}

impl Host {
    /// Read from /proc; what cannot be read is taken for absent.
    pub(crate) fn of_system() -> Host {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let kernel = read("/proc/sys/kernel/osrelease").and_then(|text| version(&text));
        let disabled = read("/proc/sys/kernel/io_uring_disabled");
        let seccomp = read("/proc/thread-self/status").is_some_and(|status| has_filter(&status));
        Host {
            kernel: kernel.unwrap_or((0, 0)),
            io_uring_disabled: disabled.and_then(|text| text.trim().parse().ok()),
            seccomp,
        }
    }
}

/// "6.18.44-name" -> (6, 18).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// "Seccomp:\t2" in /proc/self/status: a filter decides about system calls.
fn has_filter(status: &str) -> bool {
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_names_are_read() {
        assert_eq!(version("6.18.44-fc\n"), Some((6, 18)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("odd"), None);
    }

    #[test]
    fn a_seccomp_filter_is_seen() {
        assert!(has_filter("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!has_filter("Seccomp:\t0\nSeccomp_filters:\t0\n"));
    }

    #[test]
    fn this_machine_is_probed_without_leaving_descriptors() {
        let probe = Probe::of_system();
        assert!(probe.kernel >= (5, 0), "{probe:?}");
        assert_eq!(probe.splice, Ok(()));
        assert_eq!(probe.vmsplice, Ok(()));
        assert_eq!((probe.epoll, probe.openat2), (Ok(()), Ok(())));
        assert!(probe.io_uring.is_ok(), "{probe:?}");
    }
}
