//! A server that does not do as it should is not waited for without an end.

use std::time::Instant;

use super::*;

/// A server that neither mounts anything nor ends when it is told to.
#[test]
#[ignore = "the process that the test beside it waits for"]
fn says_nothing_and_stays() {
    if std::env::var_os(SOURCE).is_some() {
        std::thread::park_timeout(Duration::from_secs(60));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has no outer loop that could read the clock")]
fn a_server_that_does_nothing_is_waited_for_no_longer_than_said() {
    let folder = tempfile::tempdir().unwrap();
    let within = Duration::from_millis(300);
    let begun = Instant::now();
    let test = "apart::tests::says_nothing_and_stays";
    let waited = Apart::mounted_within(within, folder.path(), folder.path(), test);
    let Err(error) = waited else { panic!("it is mounted") };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    let took = begun.elapsed();
    assert!((ENDS_WITHIN..3 * ENDS_WITHIN).contains(&took), "{took:?}");
}
