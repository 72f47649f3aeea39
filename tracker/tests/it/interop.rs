//! Real clients that know of each other by the tracker only.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::http::Client;
use crate::private::Club;
use crate::program::Program;

/// Bytes of the content: some twenty pieces.
const CONTENT_BYTES: usize = 333_333;

pub(crate) fn libtorrent(role: &str, torrent: &Path, folder: &Path, url: &str) -> Command {
    let python = std::env::var("RINGSEED_LIBTORRENT_PYTHON")
        .unwrap_or_else(|_| format!("{}/../target/venv/bin/python", env!("CARGO_MANIFEST_DIR")));
    let mut command = Command::new(python);
    command.args([
        "-W",
        "ignore",
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/interop/peer.py"),
    ]);
    command.arg(role).arg(torrent).arg(folder).arg(url);
    command
}

fn aria2(torrent: &Path, folder: &Path) -> Command {
    let mut command = Command::new("timeout");
    // Its UDP trackers need its DHT, which knows no node here and so reaches nobody.
    let nodes = folder.join("nodes");
    command
        .args(["60", "aria2c", "--no-conf", "--quiet", "--seed-time=0", "--enable-dht=true"])
        .args(["--bt-enable-lpd=false", "--enable-peer-exchange=false", "--follow-torrent=mem"])
        .args(["--listen-port=20000-60000", "--dht-listen-port=20000-60000"])
        .args(["--file-allocation=none", "--dht-file-path"])
        .arg(nodes)
        .arg("--dir")
        .arg(folder)
        .arg(torrent);
    command
}

/// A folder with content, and a libtorrent that seeds it by the tracker at `url`.
struct Seeder {
    child: Child,
    torrent: PathBuf,
    content: Vec<u8>,
    folder: tempfile::TempDir,
}

impl Seeder {
    fn start(url: &str) -> Seeder {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..CONTENT_BYTES).map(|at| (at * at / 7) as u8).collect();
        std::fs::write(folder.path().join("data"), &content).unwrap();
        let torrent = folder.path().join("content.torrent");
        let mut child = libtorrent("seed", &torrent, folder.path(), url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("no Python with libtorrent: name it in RINGSEED_LIBTORRENT_PYTHON");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "seeding\n");
        Seeder { child, torrent, content, folder }
    }

    fn serves(&self, leech: impl FnOnce(&Path, &Path) -> Command) {
        let into = self.folder.path().join("downloaded");
        std::fs::create_dir(&into).unwrap();
        let status = leech(&self.torrent, &into).stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "{status} (124: out of time, 127: the client is not installed)");
        assert!(std::fs::read(into.join("data")).unwrap() == self.content);
    }
}

impl Drop for Seeder {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn libtorrent_finds_libtorrent(url: &str) {
    Seeder::start(url).serves(|torrent, folder| libtorrent("leech", torrent, folder, url));
}

#[test]
fn libtorrent_finds_libtorrent_over_http() {
    let program = Program::on_loopback();
    libtorrent_finds_libtorrent(&format!("http://{}/announce", program.http[0]));
    let page = Client::connect(program.http[0]).get("/metrics").body;
    assert!(String::from_utf8(page).unwrap().contains("ringseed_tracker_torrents 1\n"));
}

#[test]
fn libtorrent_finds_libtorrent_over_udp() {
    let program = Program::on_loopback();
    libtorrent_finds_libtorrent(&format!("udp://{}/announce", program.udp[0]));
}

#[test]
fn libtorrent_finds_libtorrent_over_ipv6() {
    let program = Program::start(&["--http", "[::1]:0"]);
    libtorrent_finds_libtorrent(&format!("http://{}/announce", program.http[0]));
}

#[test]
fn aria2_finds_libtorrent_over_http() {
    let program = Program::on_loopback();
    Seeder::start(&format!("http://{}/announce", program.http[0])).serves(aria2);
}

#[test]
fn aria2_finds_libtorrent_over_udp() {
    let program = Program::on_loopback();
    Seeder::start(&format!("udp://{}/announce", program.udp[0])).serves(aria2);
}

fn rqbit(torrent: &Path, folder: &Path) -> Command {
    let rqbit = std::env::var("RINGSEED_RQBIT")
        .unwrap_or_else(|_| format!("{}/../target/tools/bin/rqbit", env!("CARGO_MANIFEST_DIR")));
    let mut command = Command::new("timeout");
    command.arg("60").arg(rqbit);
    command.args(["--disable-dht", "--disable-dht-persistence", "--disable-lsd"]);
    command.args(["--disable-upnp-port-forward", "download", "--exit-on-finish"]);
    command.args(["--disable-http-api", "--output-folder"]).arg(folder).arg(torrent);
    command
}

#[test]
fn clients_find_the_seeder_of_a_private_swarm_over_http() {
    let club = Club::open();
    let passkey = club.add("ann");
    let url = format!("http://{}/{passkey}/announce", club.program.http[0]);
    for client in [aria2, rqbit] {
        Seeder::start(&url).serves(client);
    }
    libtorrent_finds_libtorrent(&url);
}

#[test]
fn libtorrent_finds_libtorrent_in_a_private_swarm_over_udp() {
    let club = Club::open();
    let passkey = club.add("ann");
    libtorrent_finds_libtorrent(&format!("udp://{}/{passkey}/announce", club.program.udp[0]));
}
