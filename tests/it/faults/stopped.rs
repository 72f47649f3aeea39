//! Leechers that the system stops in the middle, and lets go on.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::crowd::Crowd;
use super::stand::{Stand, WAYS};
use crate::seeder::{Seeder, program, signal};

const FILE_BYTES: u64 = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// The load generator, which stands beside the program under test.
fn swarm() -> PathBuf {
    let swarm = Path::new(program()).with_file_name("ringseed-swarm");
    assert!(swarm.exists(), "{} is missing: cargo build -p ringseed-swarm", swarm.display());
    swarm
}

/// Thirty leechers in a process of their own, which verify every piece for `seconds`.
fn verifying(stand: &Stand, seeder: &Seeder, seconds: u32) -> Child {
    let mut command = Command::new(swarm());
    command.arg("verify").arg(seeder.address().to_string());
    command.arg("--torrent").arg(stand.torrent_file("large"));
    command.args(["--connections", "30", "--depth", "16", "--order", "random", "--json", "-q"]);
    command.args(["--warm-up", "0", "--seconds", &seconds.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Fails unless all that they got was right; gives the pieces that were verified.
#[track_caller]
fn verified(output: &Output) -> u64 {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = &result["phases"][0]["loads"][0]["counts"];
    counts["pieces_verified"].as_u64().unwrap_or_else(|| panic!("{result}"))
}

#[test]
fn leechers_that_are_stopped_for_a_while_go_on_and_hold_up_nobody() {
    for way in &WAYS[..2] {
        let stand = Stand::new().with("large", FILE_BYTES);
        let seeder = stand.seed(way);
        let others = Crowd::start(&stand.known(&seeder, "large"), 10, 8).gets(200, PATIENCE);
        let stopped = verifying(&stand, &seeder, 4);
        let before = sent_bytes(&seeder);
        let others = others.gets(1000, PATIENCE);
        signal(stopped.id(), "STOP");
        let others = others.gets(3000, PATIENCE);
        for _ in 0..2 {
            seeder.event("rate", PATIENCE).expect("a rate event");
        }
        signal(stopped.id(), "CONT");
        let output = stopped.wait_with_output().unwrap();
        let pieces = verified(&output);
        assert!(pieces > 30, "{way:?}: {pieces} pieces were verified");
        assert!(sent_bytes(&seeder) > before);
        others.gets(200, PATIENCE).end_well(1);
    }
}

fn sent_bytes(seeder: &Seeder) -> u64 {
    let event = seeder.event("rate", PATIENCE).expect("a rate event");
    event["sent_bytes"].as_u64().unwrap()
}
