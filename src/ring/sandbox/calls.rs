//! The list: what the running program calls, and what it calls only before. `scripts/ringseed.service`
//! allows both together; a test of the house holds them to each other.
//!
//! Our own calls come first in each line. The rest is what stands between: the standard library and
//! libc (threads, memory, time, files), tokio (epoll, timers, signals), TLS and the resolver, which
//! loads its modules when it is asked for the first time.

/// A call's constant and its number on this architecture.
pub type Call = (&'static str, libc::c_long);

/// Those that only some architectures have, since others never had anything but their successors.
macro_rules! calls {
    ($($call:ident)*; x86_64: $($old:ident)*) => {
        &[
            $((stringify!($call), numbers::$call),)*
            $(#[cfg(target_arch = "x86_64")] (stringify!($old), numbers::$old),)*
        ]
    };
}

/// Allowed for good.
pub const ALLOWED: &[Call] = calls!(
    // Blocks on their way: from the page cache to the socket, and into the page cache.
    SYS_splice SYS_vmsplice SYS_io_uring_enter SYS_io_uring_register SYS_cachestat SYS_mincore SYS_readahead
    SYS_sendto SYS_sendmsg SYS_recvfrom SYS_recvmsg SYS_preadv2 SYS_fadvise64 SYS_getrusage
    // Sockets: peers, trackers, the resolver's questions.
    SYS_socket SYS_socketpair SYS_bind SYS_listen SYS_accept4 SYS_connect SYS_shutdown
    SYS_getsockname SYS_getpeername SYS_getsockopt SYS_setsockopt SYS_sendmmsg SYS_recvmmsg
    // Waiting.
    SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_ppoll
    SYS_pselect6 SYS_futex SYS_futex_waitv SYS_nanosleep SYS_clock_nanosleep SYS_restart_syscall
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime
    // Files: data, .torrent files, the state folder.
    SYS_openat SYS_openat2 SYS_close SYS_close_range SYS_read SYS_readv SYS_pread64 SYS_preadv
    SYS_write SYS_writev SYS_pwrite64 SYS_pwritev SYS_lseek SYS_fstat SYS_newfstatat SYS_statx
    SYS_fstatfs SYS_statfs SYS_getdents64 SYS_readlinkat SYS_faccessat SYS_faccessat2 SYS_getcwd
    SYS_mkdirat SYS_renameat SYS_renameat2 SYS_unlinkat SYS_ftruncate SYS_fsync SYS_fdatasync
    SYS_fchmod SYS_flock SYS_fcntl SYS_ioctl SYS_dup SYS_dup3 SYS_pipe2
    // Memory.
    SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_brk
    // Threads and the process itself.
    SYS_clone SYS_clone3 SYS_set_robust_list SYS_rseq SYS_set_tid_address SYS_exit SYS_exit_group
    SYS_sched_yield SYS_sched_getaffinity SYS_getcpu SYS_gettid SYS_getpid SYS_getppid SYS_getuid
    SYS_geteuid SYS_getgid SYS_getegid SYS_prctl SYS_membarrier SYS_prlimit64 SYS_getrlimit
    SYS_sysinfo SYS_uname SYS_getrandom
    // Signals: those that stop us, and those of a crash.
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigtimedwait SYS_sigaltstack
    SYS_tgkill SYS_kill
    // Clocks, where the vDSO has none.
    SYS_clock_gettime SYS_clock_getres SYS_gettimeofday;
    x86_64: SYS_epoll_wait SYS_epoll_create SYS_eventfd SYS_poll SYS_select SYS_accept SYS_open
    SYS_stat SYS_lstat SYS_access SYS_readlink SYS_mkdir SYS_rmdir SYS_rename SYS_unlink
    SYS_getdents SYS_pipe SYS_dup2 SYS_chmod SYS_time SYS_arch_prctl
);

/// Needed until everything stands, and denied from then on.
pub const ONLY_AT_START: &[Call] = calls!(
    // Rings and the probes; pinned threads; limits; this filter.
    SYS_io_uring_setup SYS_memfd_create SYS_sched_setaffinity SYS_setrlimit SYS_seccomp
    // The program is started.
    SYS_execve;
    x86_64:
);

mod numbers {
    pub(super) use libc::*;

    /// Linux 6.5: the same number on every architecture.
    #[expect(non_upper_case_globals, reason = "named as libc names its fellows")]
    pub(super) const SYS_cachestat: c_long = crate::sys::SYS_CACHESTAT;
}
