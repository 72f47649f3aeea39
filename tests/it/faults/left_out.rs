//! Where something cannot be tried: a test that is left out, and says so.

use std::fs::File;
use std::io::Write;

/// Says that a test cannot run here: on standard error, and in the file RINGSEED_LEFT_OUT, from which
/// `scripts/test.sh` takes it into its summary.
pub(crate) fn left_out(why: &str) {
    let thread = std::thread::current();
    let line = format!("left out: {}: {why}", thread.name().unwrap_or("a test"));
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("RINGSEED_LEFT_OUT") {
        let mut list = File::options().create(true).append(true).open(path).unwrap();
        writeln!(list, "{line}").unwrap();
    }
}
