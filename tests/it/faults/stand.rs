//! Torrents of known content, some of them on a mirror with faults, and the program that seeds them.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ringseed_faultfs::{Apart, Mount};
use serde_json::Value;

use super::crowd::Known;
use super::left_out::left_out;
use super::truth::{Truth, evict};
use crate::arguments;
use crate::content::World;
use crate::peer::{info_hash, piece_bytes};
use crate::seeder::{Seeder, on_loopback, program, ringseed};

/// Each verb with each kernel, as options of the program.
pub(crate) const WAYS: [[&str; 4]; 4] = [
    ["--zero-copy", "splice", "--kernel", "io-uring"],
    ["--zero-copy", "off", "--kernel", "io-uring"],
    ["--zero-copy", "splice", "--kernel", "epoll"],
    ["--zero-copy", "off", "--kernel", "epoll"],
];

/// The name of the one file in each torrent's folder; of the first one where there are more.
pub(crate) const FILE: &str = "content";

/// Bytes of a piece: sixteen blocks.
const PIECE_BYTES: u64 = 262_144;

/// A torrent: a folder of one file, or of one for each of its pieces.
struct Entry {
    name: &'static str,
    truth: Arc<Truth>,
    files: Vec<String>,
    mirror: Option<Mirror>,
}

/// Who serves a mirror.
enum Mirror {
    Here(Mount),
    Apart(Apart),
}

/// A folder of data with its torrents. Declared before the seeder, it is dropped after it.
pub(crate) struct Stand {
    entries: Vec<Entry>,
    pub(crate) world: World,
}

impl Stand {
    pub(crate) fn new() -> Stand {
        Stand { entries: Vec::new(), world: World::empty() }
    }

    /// Adds a torrent of so many bytes; none of them is in the page cache.
    pub(crate) fn with(self, name: &'static str, bytes: u64) -> Stand {
        let truth = self.next_truth(bytes);
        let folder = self.world.path("behind").join(name);
        truth.write(&folder.join(FILE));
        self.add(name, truth, vec![FILE.to_owned()])
    }

    /// The same with a file for each piece.
    pub(crate) fn with_pieces(self, name: &'static str, pieces: u64) -> Stand {
        let truth = self.next_truth(pieces * PIECE_BYTES);
        let folder = self.world.path("behind").join(name);
        let named = |piece| match piece {
            0 => FILE.to_owned(),
            _ => format!("{FILE}-{piece:04}"),
        };
        let files: Vec<String> = (0..pieces).map(named).collect();
        for (file, piece) in files.iter().zip(0..) {
            truth.write_part(&folder.join(file), piece * PIECE_BYTES..(piece + 1) * PIECE_BYTES);
        }
        self.add(name, truth, files)
    }

    fn next_truth(&self, bytes: u64) -> Arc<Truth> {
        Arc::new(Truth::new(self.entries.len() as u64 + 1, bytes))
    }

    fn add(mut self, name: &'static str, truth: Arc<Truth>, files: Vec<String>) -> Stand {
        let folder = self.world.path("behind").join(name);
        std::fs::create_dir_all(self.world.path("torrents")).unwrap();
        let file = self.torrent_file(name);
        let made = ringseed(arguments![
            "create",
            &folder,
            "-o",
            file,
            "--v1",
            "--piece-length",
            PIECE_BYTES.to_string()
        ]);
        assert_eq!(made.code, Some(0), "{made:?}");
        files.iter().for_each(|file| evict(&folder.join(file)));
        std::fs::create_dir_all(self.world.data()).unwrap();
        std::fs::rename(&folder, self.world.data().join(name)).unwrap();
        self.entries.push(Entry { name, truth, files, mirror: None });
        self
    }

    /// Puts the last torrent behind a mirror with faults. `None` where nothing can be mounted.
    pub(crate) fn mirrored(self) -> Option<Stand> {
        self.behind(|behind, at| Mount::new(behind, at).map(Mirror::Here))
    }

    /// The same with a process of its own that serves the mirror, so that it may hang.
    pub(crate) fn mirrored_apart(self) -> Option<Stand> {
        let test = "faults::stand::serves_a_mirror";
        self.behind(|behind, at| Apart::new(behind, at, test).map(Mirror::Apart))
    }

    fn behind(
        mut self,
        mount: impl FnOnce(&Path, &Path) -> std::io::Result<Mirror>,
    ) -> Option<Stand> {
        let entry = self.entries.last_mut().unwrap();
        let (behind, at) =
            (self.world.path("behind").join(entry.name), self.world.data().join(entry.name));
        std::fs::rename(&at, &behind).unwrap();
        std::fs::create_dir(&at).unwrap();
        match mount(&behind, &at) {
            Ok(mirror) => entry.mirror = Some(mirror),
            Err(error) if error.kind() == ErrorKind::TimedOut => panic!("{error}"),
            Err(error) => {
                left_out(&format!("no FUSE mount: {error}"));
                return None;
            }
        }
        Some(self)
    }

    pub(crate) fn torrent_file(&self, name: &str) -> PathBuf {
        self.world.path("torrents").join(format!("{name}.torrent"))
    }

    fn entry(&self, name: &str) -> &Entry {
        self.entries.iter().find(|entry| entry.name == name).unwrap()
    }

    /// The torrent's files, as the program sees them.
    pub(crate) fn files(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let folder = self.world.data().join(name);
        self.entry(name).files.iter().map(move |file| folder.join(file))
    }

    /// The torrent's file, as the program sees it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.world.data().join(name).join(FILE)
    }

    pub(crate) fn mirror(&self, name: &str) -> &Mount {
        match &self.entry(name).mirror {
            Some(Mirror::Here(mount)) => mount,
            _ => panic!("{name} has no mirror that this process serves"),
        }
    }

    pub(crate) fn apart(&self, name: &str) -> &Apart {
        match &self.entry(name).mirror {
            Some(Mirror::Apart(mount)) => mount,
            _ => panic!("{name} has no mirror that another process serves"),
        }
    }

    /// Arguments that seed all of it on loopback.
    fn arguments(&self, more: &[&str]) -> Vec<OsString> {
        let mut arguments = arguments!["seed", "--json", self.world.path("torrents")];
        arguments.extend(arguments!["--data", self.world.data()]);
        arguments.extend(arguments!["--connections-per-address", "0"]);
        arguments.extend(on_loopback(&self.world));
        arguments.extend(more.iter().map(OsString::from));
        arguments
    }

    /// Seeds all of it; when it is verified its pages are dropped from the page cache.
    #[track_caller]
    pub(crate) fn seed(&self, more: &[&str]) -> Seeder {
        self.seed_by(Command::new(program()), more)
    }

    /// The same with a command that becomes the program.
    #[track_caller]
    pub(crate) fn seed_by(&self, mut command: Command, more: &[&str]) -> Seeder {
        command.args(self.arguments(more));
        let seeder = Seeder::spawn(command);
        let seeder = seeder.unwrap_or_else(|ended| panic!("the seeder did not start: {ended:?}"));
        let files = self.entries.iter().flat_map(|entry| self.files(entry.name));
        files.for_each(|file| evict(&file));
        seeder
    }

    /// A torrent, as leechers of this seeder know it.
    #[track_caller]
    pub(crate) fn known(&self, seeder: &Seeder, name: &str) -> Known {
        let is = |magnet: &str| magnet.contains(&format!("dn={name}"));
        let torrent = seeder.ready.torrents.iter().find(|torrent| is(&torrent.magnet)).unwrap();
        Known {
            address: seeder.address(),
            info_hash: info_hash(torrent.info_hash_v1.as_ref().unwrap()),
            piece_bytes: piece_bytes(&self.torrent_file(name)),
            truth: self.entry(name).truth.clone(),
        }
    }
}

#[test]
#[ignore = "the process that serves a mirror of the tests beside it"]
fn serves_a_mirror() {
    ringseed_faultfs::serve();
}

/// The error event that names this torrent's file, which comes within `within`, and its message.
#[track_caller]
pub(crate) fn fault(seeder: &Seeder, name: &str, within: Duration) -> String {
    let error: Value = seeder.event("error", within).expect("an error event");
    let file = error["file"].as_str().unwrap_or_default();
    assert!(file.contains(name) && file.ends_with(FILE), "{error}");
    error["message"].as_str().unwrap().to_owned()
}
