//! Independent BitTorrent clients, each run for one download, each with a time limit.
//! They are told to use no DHT, no local discovery, no port mapping: only what the test gives them.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::content::write;

/// What a client is given.
#[derive(Clone, Debug)]
pub(crate) enum From<'a> {
    TorrentFile(&'a Path),
    Magnet(&'a str),
}

impl From<'_> {
    fn text(&self) -> String {
        match self {
            From::TorrentFile(path) => path.to_str().unwrap().to_owned(),
            From::Magnet(link) => (*link).to_owned(),
        }
    }
}

/// Seconds a download may take: some clients start by retrying in the ways they like better.
const SECONDS_MAX: u32 = 100;

/// `program`, ended after [`SECONDS_MAX`].
fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &SECONDS_MAX.to_string(), program]).stdin(Stdio::null());
    command
}

#[track_caller]
fn run(mut command: Command, name: &str) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text[text.floor_char_boundary(text.len().saturating_sub(2000))..].to_owned()
    };
    assert!(
        output.status.success(),
        "{name} failed (127: it is not installed, `scripts/test.sh interop` installs it; 124: out \
         of time): {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// aria2 1.36.
#[track_caller]
pub(crate) fn aria2(from: &From<'_>, into: &Path) {
    let mut command = limited("aria2c");
    command
        .args(["--no-conf", "--seed-time=0", "--enable-dht=false", "--enable-dht6=false"])
        .args(["--bt-enable-lpd=false", "--enable-peer-exchange=false", "--follow-torrent=mem"])
        .args(["--listen-port=20000-60000", "--file-allocation=none", "--summary-interval=0"])
        .args(["--show-console-readout=false", "--console-log-level=notice", "--dir"])
        .arg(into)
        .arg(from.text());
    run(command, "aria2c");
}

/// rqbit 9.1.
#[track_caller]
pub(crate) fn rqbit(from: &From<'_>, peers: &[SocketAddr], into: &Path) {
    let mut command = limited(&rqbit_program());
    command.args(["-v", "info", "--disable-dht", "--disable-dht-persistence", "--disable-lsd"]);
    command.args(["--disable-upnp-port-forward"]);
    if !peers.is_empty() {
        command.arg("--disable-trackers");
    }
    command.args(["download", "--exit-on-finish", "--disable-http-api"]);
    if !peers.is_empty() {
        let list: Vec<String> = peers.iter().map(SocketAddr::to_string).collect();
        command.arg("--initial-peers").arg(list.join(","));
    }
    command.arg("--output-folder").arg(into).arg(from.text());
    run(command, "rqbit");
}

fn rqbit_program() -> String {
    std::env::var("RINGSEED_RQBIT")
        .unwrap_or_else(|_| format!("{}/target/tools/bin/rqbit", env!("CARGO_MANIFEST_DIR")))
}

/// Transmission 3.00. It connects to no peer on loopback, so the seeder must have another address.
#[track_caller]
pub(crate) fn transmission(from: &From<'_>, scratch: &Path, into: &Path) {
    let settings = "{\"dht-enabled\": false, \"lpd-enabled\": false, \"pex-enabled\": false, \
                    \"utp-enabled\": false, \"port-forwarding-enabled\": false, \
                    \"peer-port-random-on-start\": true}";
    write(&scratch.join("settings.json"), settings.as_bytes());
    let script = scratch.join("finished.sh");
    write(&script, b"#!/bin/sh\necho DOWNLOAD IS FINISHED\n");
    let made = Command::new("chmod").arg("+x").arg(&script).status().unwrap();
    assert!(made.success());
    let mut command = limited("transmission-cli");
    command.args(["--no-portmap", "--config-dir"]).arg(scratch);
    command.arg("--download-dir").arg(into).arg("--finish").arg(&script).arg(from.text());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It goes on seeding: the script's line says when to end it.
    let mut stdout = child.stdout.take().unwrap();
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    let finished = loop {
        let bytes = stdout.read(&mut buffer).unwrap();
        text.extend_from_slice(&buffer[..bytes]);
        if text.windows(20).any(|window| window == b"DOWNLOAD IS FINISHED") {
            break true;
        }
        if bytes == 0 {
            break false;
        }
    };
    // `timeout` passes the signal on to the client.
    crate::seeder::signal(child.id(), "TERM");
    let _ = child.wait();
    assert!(
        finished,
        "transmission-cli did not finish (is it installed? `scripts/test.sh interop` does it): {}",
        String::from_utf8_lossy(&text[text.len().saturating_sub(1000)..])
    );
}

/// What libtorrent 2.1 (its Python module) is asked to do.
pub(crate) struct Libtorrent<'a> {
    pub(crate) from: From<'a>,
    /// Peers to connect to besides what trackers give.
    pub(crate) peers: Vec<SocketAddr>,
    /// Clients in one process, each with a session, a port and a folder of its own.
    pub(crate) sessions: u32,
    /// The address they connect from.
    pub(crate) address: &'a str,
}

impl<'a> Libtorrent<'a> {
    /// One session on IPv4 loopback that connects to `peers`.
    pub(crate) fn new(from: From<'a>, peers: &[SocketAddr]) -> Libtorrent<'a> {
        Libtorrent { from, peers: peers.to_vec(), sessions: 1, address: "127.0.0.1" }
    }

    /// Downloads below `into`, session `n` into folder `n`; gives those folders back.
    #[track_caller]
    pub(crate) fn download(&self, into: &Path) -> Vec<PathBuf> {
        let python = std::env::var("RINGSEED_LIBTORRENT_PYTHON")
            .unwrap_or_else(|_| format!("{}/target/venv/bin/python", env!("CARGO_MANIFEST_DIR")));
        let mut command = limited(&python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clients/libtorrent_leech.py"));
        command.arg("--from").arg(self.from.text()).arg("--into").arg(into);
        command.arg("--sessions").arg(self.sessions.to_string());
        command.arg("--address").arg(self.address);
        for peer in &self.peers {
            command.arg("--peer").arg(peer.to_string());
        }
        run(command, "libtorrent");
        (0..self.sessions).map(|session| into.join(session.to_string())).collect()
    }
}
