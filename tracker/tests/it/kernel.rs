//! The real program where io_uring is denied, as in a container, and where it is not wanted.

use ringseed_ring::system;

use crate::program::Program;
use crate::udp::two_peers_find_each_other;

const BOTH: [&str; 4] = ["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"];

/// Lets `what` start programs to which io_uring_setup(2) is denied, by the filter that container
/// runtimes have: a program inherits it from the thread that starts it.
fn denied<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            system::deny_io_uring().unwrap();
            what()
        });
        started.join().unwrap()
    })
}

#[test]
fn both_protocols_are_served_where_io_uring_is_denied() {
    let program = denied(Program::on_loopback);
    two_peers_find_each_other(&program);
    assert_eq!(program.rings(), 0);
    assert_eq!(program.stop("TERM").code(), Some(0));
}

#[test]
fn both_protocols_are_served_by_the_kernel_that_is_asked_for() {
    for (kernel, has_rings) in [("epoll", false), ("io-uring", true)] {
        let program = Program::start(&[&BOTH[..], &["--kernel", kernel]].concat());
        two_peers_find_each_other(&program);
        assert_eq!(program.rings() > 0, has_rings, "{kernel}");
    }
}

#[test]
fn a_tracker_that_must_have_io_uring_says_what_denies_it() {
    let arguments = [&BOTH[..], &["--kernel", "io-uring"]].concat();
    let (code, said) = denied(|| crate::program::run(&arguments));
    assert_eq!(code, Some(2));
    assert!(said.contains("io_uring") && said.contains("seccomp"), "{said}");
}
