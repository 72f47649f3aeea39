//! What this process denies itself once everything stands: a seccomp filter over all its threads
//! that lets through the calls of the running program and no others. New rings are the first of
//! what is denied: seccomp cannot see what a ring is told to do, so none may be made that is not
//! restricted to the ops in use.
//!
//! A call outside the list fails, and the kernel's log names it (auditd, or dmesg: type=1326). It
//! does not end the process: a missed call costs what it was for, not the seeder.

mod calls;

pub use calls::{ALLOWED, Call, ONLY_AT_START};

use std::io;

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, c_ulong, sock_filter,
};

use crate::plan::{name_of, text};

/// `--sandbox`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SandboxChoice {
    /// In the filter where the system takes it, without it elsewhere.
    #[default]
    Auto,
    /// Without it: for name services whose libraries call what is not on the list.
    Off,
}

/// Whether the filter is in force, and what that means: one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SandboxPlan {
    pub on: bool,
    pub reason: String,
}

impl SandboxPlan {
    /// Puts the filter on all threads of this process and on those they will start, for good.
    /// To be called once rings stand: none can be set up afterwards.
    pub fn enter(wanted: SandboxChoice) -> SandboxPlan {
        let reason = match wanted {
            SandboxChoice::Off => "--sandbox off asks for none".to_owned(),
            SandboxChoice::Auto => match filter(OF_ALL_THREADS) {
                Ok(()) => {
                    let allowed = ALLOWED.len();
                    let reason = format!(
                        "{allowed} system calls are allowed from now on; io_uring_setup and the \
                         rest fail with EPERM"
                    );
                    return SandboxPlan { on: true, reason };
                }
                Err(refused) => refused.to_string(),
            },
        };
        SandboxPlan { on: false, reason }
    }

    /// In a word.
    pub fn name(&self) -> &'static str {
        if self.on { "seccomp" } else { "off" }
    }
}

/// Why the system did not take the filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum Refused {
    #[error("this architecture has no list of system calls here")]
    Architecture,
    #[error("thread {0} has a seccomp filter that the others have not")]
    Thread(i32),
    #[error("prctl(PR_SET_NO_NEW_PRIVS) fails with {}", name_of(*.0))]
    Promise(i32),
    #[error("seccomp(2) fails with {}{}", name_of(*.0), cause(*.0))]
    Filter(i32),
}

fn cause(errno: i32) -> String {
    match errno {
        libc::EINVAL | libc::ENOSYS => ": this kernel was built without seccomp filters".into(),
        libc::EPERM | libc::EACCES => ": a filter that stands around this process denies it".into(),
        _ => format!(": {}", text(errno)),
    }
}

/// What this architecture is called in struct seccomp_data (linux/audit.h). `None`: the numbers of
/// its calls have not been looked at.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
    Some(0xc000_00b7)
} else {
    None
};

/// The newest call when the list was written, file_setattr(2) of Linux 6.17. What is newer does not
/// exist as far as programs and their libraries are concerned, who then do without it.
const NEWEST_KNOWN: u32 = 469;

/// Families of sockets: what is listened on and announced over, and what the resolver asks (nscd and
/// systemd-resolved by AF_UNIX, the system's addresses by AF_NETLINK).
pub const FAMILIES: [(&str, i32); 4] = [
    ("AF_UNIX", libc::AF_UNIX),
    ("AF_INET", libc::AF_INET),
    ("AF_INET6", libc::AF_INET6),
    ("AF_NETLINK", libc::AF_NETLINK),
];

/// Where struct seccomp_data has the number of the call, the architecture, and the low half of the
/// first argument on a little-endian machine.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENT_AT: u32 = 16;

/// Also for threads that run; denied calls are logged; no mitigations of branch prediction that
/// are meant for those who run code of strangers, and would be paid at every call.
const OF_ALL_THREADS: c_ulong = OF_THIS_THREAD | libc::SECCOMP_FILTER_FLAG_TSYNC;
const OF_THIS_THREAD: c_ulong =
    libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;

const fn step(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

const fn load(at: u32) -> sock_filter {
    step(BPF_LD | BPF_W | BPF_ABS, 0, 0, at)
}

/// Steps over `then` when they are equal, over `otherwise` when not.
const fn is(this: u32, then: u8, otherwise: u8) -> sock_filter {
    step(BPF_JMP | BPF_JEQ | BPF_K, then, otherwise, this)
}

const fn end(verdict: u32) -> sock_filter {
    step(BPF_RET | BPF_K, 0, 0, verdict)
}

const fn fails(errno: i32) -> sock_filter {
    end(libc::SECCOMP_RET_ERRNO | errno as u32)
}

// Steps reach 255 others.
const _: () = assert!(ALLOWED.len() < 240, "the list of calls is too long for one filter");

/// The filter as classic BPF. The kernel runs it once for each number when it is installed, and
/// remembers the numbers that are allowed whatever their arguments (since 5.11).
fn program(architecture: u32) -> Vec<sock_filter> {
    let mut steps = vec![
        load(ARCHITECTURE_AT),
        is(architecture, 1, 0),
        fails(libc::EPERM),
        load(NUMBER_AT),
        is(libc::SYS_socket as u32, 0, FAMILIES.len() as u8 + 2),
        load(ARGUMENT_AT),
    ];
    for ((_, family), behind) in FAMILIES.iter().zip((0..FAMILIES.len() as u8).rev()) {
        // Over the other families and the failure, and over all that follows, to the last step.
        let to_the_end = behind + 1 + ALLOWED.len() as u8 + 3;
        steps.push(is(*family as u32, to_the_end, 0));
    }
    steps.push(fails(libc::EAFNOSUPPORT));
    for ((_, number), behind) in ALLOWED.iter().zip((0..ALLOWED.len() as u8).rev()) {
        steps.push(is(*number as u32, behind + 3, 0));
    }
    steps.push(step(BPF_JMP | BPF_JGT | BPF_K, 1, 0, NEWEST_KNOWN));
    steps.push(fails(libc::EPERM));
    steps.push(fails(libc::ENOSYS));
    steps.push(end(libc::SECCOMP_RET_ALLOW));
    steps
}

fn filter(flags: c_ulong) -> Result<(), Refused> {
    let steps = program(ARCHITECTURE.ok_or(Refused::Architecture)?);
    // What an unprivileged process must promise before it may filter itself.
    // SAFETY: no memory is passed.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
        return Err(Refused::Promise(errno()));
    }
    let length = steps.len() as u16;
    let program = libc::sock_fprog { len: length, filter: steps.as_ptr().cast_mut() };
    let program: *const libc::sock_fprog = &program;
    // SAFETY: program and steps are readable for the call, which writes to neither.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, program) };
    match result {
        0 => Ok(()),
        thread @ 1.. => Err(Refused::Thread(thread as i32)),
        _ => Err(Refused::Filter(errno())),
    }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests;
