mod names;

use std::fs::File;
use std::os::fd::AsFd;

use super::*;
use crate::memory::Mapping;
use crate::pipe::Pipe;
use crate::{Kernel, KernelOptions, UringKernel, Wait, limits, sys};

/// Runs `what` on a thread of its own that is in the filter.
#[track_caller]
fn inside<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        filter(OF_THIS_THREAD).unwrap();
        what()
    });
    thread.join().unwrap()
}

/// The errno of a call whose arguments are all -1, which is no descriptor, no address, no size and
/// no flags; 0 when it succeeds all the same.
fn call(number: libc::c_long) -> i32 {
    const NO: libc::c_long = -1;
    // SAFETY: no memory is where these addresses point: the calls made here write nothing.
    match unsafe { libc::syscall(number, NO, NO, NO, NO, NO, NO) } {
        -1 => errno(),
        _ => 0,
    }
}

#[test]
fn what_is_not_on_the_list_is_denied() {
    let denied = [
        libc::SYS_io_uring_setup,
        libc::SYS_execve,
        libc::SYS_ptrace,
        libc::SYS_mount,
        libc::SYS_bpf,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_memfd_create,
        libc::SYS_process_vm_readv,
        libc::SYS_setuid,
    ];
    for number in denied {
        assert_eq!(inside(move || call(number)), libc::EPERM, "call {number}");
    }
    assert!(inside(crate::uring::try_set_up).is_err());
}

#[test]
fn what_is_newer_than_the_list_does_not_exist() {
    assert_eq!(inside(|| call(libc::c_long::from(NEWEST_KNOWN) + 1)), libc::ENOSYS);
    // Nor the second set of numbers that x86_64 has (x32).
    assert_eq!(inside(|| call(0x4000_0000 | libc::SYS_getpid)), libc::ENOSYS);
}

#[test]
fn every_call_of_the_list_gets_through() {
    // With such arguments the kernel may say anything but what the filter says to all others. Left
    // out is what would end this thread or change what it stands on.
    let left_out = [
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigreturn,
        libc::SYS_set_tid_address,
        libc::SYS_kill,
    ];
    let answers = inside(move || {
        let asked = ALLOWED.iter().filter(|(_, number)| !left_out.contains(number));
        asked.map(|(name, number)| (*name, call(*number))).collect::<Vec<_>>()
    });
    for (name, errno) in answers {
        // Some kernels lack some of them.
        assert_ne!(errno, libc::EPERM, "{name} is on the list and denied");
    }
}

#[test]
fn the_send_path_works_inside() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 3 * limits::PAGE_BYTES]).unwrap();
    let path = file.path().to_owned();
    inside(move || {
        let file = File::open(path).unwrap();
        let mut pipe = Pipe::new(limits::PIPE_BYTES).unwrap();
        pipe.splice_in(file.as_fd(), 0, limits::PAGE_BYTES).unwrap();
        pipe.empty().unwrap();
        let page = Mapping::new(limits::PAGE_BYTES).unwrap();
        let iov = libc::iovec { iov_base: page.as_ptr().cast(), iov_len: limits::PAGE_BYTES };
        pipe.vmsplice_in(&[iov]).unwrap();
        pipe.empty().unwrap();
        sys::readahead(file.as_fd(), 0, 2 * limits::PAGE_BYTES).unwrap();
        let cached = sys::cached_pages(file.as_fd(), 0, limits::PAGE_BYTES as u64);
        assert_ne!(cached, Err(libc::EPERM));
    });
}

#[test]
fn threads_and_names_of_the_hosts_file_work_inside() {
    inside(|| {
        assert_eq!(std::thread::spawn(|| 5).join().unwrap(), 5);
        // A thread that is started later is in it as well.
        let later = std::thread::spawn(|| call(libc::SYS_io_uring_setup));
        assert_eq!(later.join().unwrap(), libc::EPERM);
        let found = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 80)).unwrap();
        assert!(found.count() > 0);
    });
}

#[test]
fn only_the_families_in_use_make_sockets() {
    let open = |family| {
        move || {
            // SAFETY: no memory is passed.
            match unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) } {
                -1 => errno(),
                socket => {
                    // SAFETY: it was just opened and is used nowhere else.
                    unsafe { libc::close(socket) };
                    0
                }
            }
        }
    };
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_NETLINK] {
        assert_eq!(inside(open(family)), 0, "family {family}");
    }
    for family in [libc::AF_ALG, libc::AF_PACKET, libc::AF_VSOCK] {
        assert_eq!(inside(open(family)), libc::EAFNOSUPPORT, "family {family}");
    }
}

#[test]
fn a_ring_that_stands_goes_on() {
    let thread = std::thread::spawn(|| {
        let mut kernel = UringKernel::new(&KernelOptions::default()).unwrap();
        filter(OF_THIS_THREAD).unwrap();
        assert_eq!(call(libc::SYS_io_uring_setup), libc::EPERM);
        let waker = kernel.waker();
        std::thread::spawn(move || waker.wake()).join().unwrap();
        kernel.enter(Wait::AtMost(std::time::Duration::from_secs(5))).unwrap();
        assert_eq!(kernel.next().map(|completion| completion.token), Some(crate::Token::WAKE));
    });
    thread.join().unwrap();
}

#[test]
fn another_architecture_is_refused_by_the_first_steps() {
    // The program as the kernel would run it for a call by another architecture's numbers.
    let steps = program(0xc000_003e);
    let verdict = run(&steps, libc::SYS_read as u32, 0x4000_0003, 0);
    assert_eq!(verdict, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let verdict = run(&steps, libc::SYS_read as u32, 0xc000_003e, 0);
    assert_eq!(verdict, libc::SECCOMP_RET_ALLOW);
}

/// Runs a filter, as far as ours go.
fn run(steps: &[sock_filter], number: u32, architecture: u32, argument: u32) -> u32 {
    let mut register = 0;
    let mut at = 0;
    loop {
        let step = steps[at];
        at += 1;
        let jump = |yes| usize::from(if yes { step.jt } else { step.jf });
        match u32::from(step.code) {
            code if code == BPF_RET | BPF_K => return step.k,
            code if code == BPF_LD | BPF_W | BPF_ABS => {
                register = match step.k {
                    NUMBER_AT => number,
                    ARCHITECTURE_AT => architecture,
                    _ => argument,
                }
            }
            code if code == BPF_JMP | BPF_JEQ | BPF_K => at += jump(register == step.k),
            _ => at += jump(register > step.k),
        }
    }
}

#[test]
fn every_number_has_the_verdict_of_the_list() {
    let steps = program(0xc000_003e);
    for number in 0..2_000u32 {
        let listed = ALLOWED.iter().any(|(_, allowed)| *allowed == i64::from(number));
        let wanted = match listed {
            true => libc::SECCOMP_RET_ALLOW,
            false if number > NEWEST_KNOWN => libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
            false => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        };
        let inet = libc::AF_INET as u32;
        assert_eq!(run(&steps, number, 0xc000_003e, inet), wanted, "call {number}");
    }
    for family in 0..64 {
        let allowed = FAMILIES.iter().any(|(_, listed)| *listed == family);
        let verdict = run(&steps, libc::SYS_socket as u32, 0xc000_003e, family as u32);
        assert_eq!(verdict == libc::SECCOMP_RET_ALLOW, allowed, "family {family}");
    }
}

#[test]
fn no_call_stands_in_both_lists_or_twice() {
    let mut all: Vec<_> = ALLOWED.iter().chain(ONLY_AT_START).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup_by_key(|(_, number)| *number);
    assert_eq!(all.len(), count);
}
