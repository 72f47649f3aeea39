//! The kernel that a program asked for, or the one that can be had.

use std::os::fd::OwnedFd;

use crate::engine::Engine;
use crate::epoll::EpollEngine;
use crate::plan::{KernelChoice, KernelKind, KernelPlan, StartError, VerbPlan};
use crate::uring::UringEngine;
use crate::{Failure, Kernel, Socket, Waker};

use super::{EpollKernel, KernelOptions, NativeKernel, UringKernel};

/// Either kernel. Whoever turns on it takes it apart once, and is made for each kind: no call on the
/// way of a byte asks which it is.
pub enum AnyKernel {
    Uring(Box<UringKernel>),
    Epoll(Box<EpollKernel>),
}

impl AnyKernel {
    /// Makes the kernel that [`KernelPlan`] says, and tells why it is that. A ring that could be set
    /// up in small and cannot be had in full gives way to epoll, if that is allowed.
    pub fn open(
        wanted: KernelChoice,
        options: &KernelOptions,
    ) -> Result<(AnyKernel, KernelPlan), StartError> {
        let mut plan = KernelPlan::of_system(wanted)?;
        if plan.kernel == KernelKind::Uring {
            match UringEngine::new(options) {
                Ok(engine) => {
                    let kernel = NativeKernel::on(engine, options)?;
                    return Ok((AnyKernel::Uring(Box::new(kernel)), plan));
                }
                Err(error) if wanted == KernelChoice::Auto => {
                    let reason = format!("a ring of full size failed: {error}");
                    plan = KernelPlan { kernel: KernelKind::Epoll, reason };
                }
                Err(error) => return Err(error),
            }
        }
        let kernel = NativeKernel::on(EpollEngine::new(options)?, options)?;
        Ok((AnyKernel::Epoll(Box::new(kernel)), plan))
    }

    /// Takes over a socket that the caller made. It is made non-blocking.
    pub fn adopt(&mut self, fd: OwnedFd) -> Result<Socket, Failure> {
        match self {
            AnyKernel::Uring(kernel) => kernel.adopt(fd),
            AnyKernel::Epoll(kernel) => kernel.adopt(fd),
        }
    }

    /// How batches are sent, and why.
    pub fn plan(&self) -> &VerbPlan {
        match self {
            AnyKernel::Uring(kernel) => kernel.plan(),
            AnyKernel::Epoll(kernel) => kernel.plan(),
        }
    }

    /// See [`Kernel::waker`].
    pub fn waker(&self) -> Waker {
        match self {
            AnyKernel::Uring(kernel) => kernel.waker(),
            AnyKernel::Epoll(kernel) => kernel.waker(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(wanted: KernelChoice) -> Result<(AnyKernel, KernelPlan), StartError> {
        AnyKernel::open(
            wanted,
            &KernelOptions { sq_entries: 8, ops_max: 16, ..KernelOptions::default() },
        )
    }

    #[test]
    fn the_kernel_is_the_one_asked_for() {
        for (wanted, kind) in [
            (KernelChoice::Auto, KernelKind::Uring),
            (KernelChoice::IoUring, KernelKind::Uring),
            (KernelChoice::Epoll, KernelKind::Epoll),
        ] {
            let (kernel, plan) = open(wanted).unwrap();
            let is = match kernel {
                AnyKernel::Uring(_) => KernelKind::Uring,
                AnyKernel::Epoll(_) => KernelKind::Epoll,
            };
            assert_eq!((is, plan.kernel), (kind, kind));
        }
    }

    #[test]
    fn where_rings_are_denied_epoll_takes_over_and_says_why() {
        // The filter holds for the thread that asks for it.
        let denied = std::thread::spawn(|| {
            crate::system::deny_io_uring().unwrap();
            let (kernel, plan) = open(KernelChoice::Auto).unwrap();
            assert!(matches!(kernel, AnyKernel::Epoll(_)));
            assert!(plan.reason.contains("seccomp"), "{plan:?}");
            let error = open(KernelChoice::IoUring).err().unwrap().to_string();
            assert!(error.contains("seccomp") && error.contains("--kernel auto"), "{error}");
        });
        denied.join().unwrap();
    }

    #[test]
    fn without_a_ring_and_without_openat2_nothing_starts() {
        let denied = std::thread::spawn(|| {
            crate::system::deny_io_uring().unwrap();
            crate::system::deny(libc::SYS_openat2 as u32).unwrap();
            let error = open(KernelChoice::Auto).err().unwrap().to_string();
            assert!(error.contains("openat2(2)") && error.contains("seccomp"), "{error}");
        });
        denied.join().unwrap();
    }

    #[test]
    fn where_splice_is_denied_batches_are_copied() {
        let denied = std::thread::spawn(|| {
            crate::system::deny(libc::SYS_vmsplice as u32).unwrap();
            for wanted in [KernelChoice::IoUring, KernelChoice::Epoll] {
                let (kernel, _) = open(wanted).unwrap();
                let plan = kernel.plan();
                assert_eq!(plan.verb, crate::Verb::Copy);
                assert!(plan.reason.contains("vmsplice(2)"), "{plan:?}");
            }
        });
        denied.join().unwrap();
    }

    #[test]
    fn a_verb_that_cannot_be_had_is_no_reason_for_another_kernel() {
        let options = KernelOptions {
            pipe_bytes: 4_096,
            zero_copy: crate::ZeroCopy::Splice,
            ..KernelOptions::default()
        };
        let error = AnyKernel::open(KernelChoice::Auto, &options).err().unwrap().to_string();
        assert!(error.contains("--zero-copy auto"), "{error}");
    }
}
