//! The real program where io_uring is denied, as in a container, and where it is not wanted.

use std::fs;
use std::path::Path;

use ringseed_ring::system;

use crate::arguments;
use crate::content::World;
use crate::seed::download;
use crate::seeder::{Seeder, create, ringseed};

/// Lets `what` start programs to which io_uring_setup(2) is denied, by the filter that container
/// runtimes have: a program inherits it from the thread that starts it.
#[track_caller]
fn denied<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            system::deny_io_uring().unwrap();
            what()
        });
        started.join().unwrap()
    })
}

/// Rings that a process has.
fn rings(pid: u32) -> usize {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let is_ring =
        |path: &Path| fs::read_link(path).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]");
    files.filter(|file| is_ring(&file.as_ref().unwrap().path())).count()
}

/// Downloads from the page cache, and again from the disk.
#[track_caller]
fn download_warm_and_cold(seeder: &Seeder, world: &World) {
    download(seeder, world);
    system::drop_from_page_cache(&world.content()).unwrap();
    download(seeder, world);
}

#[test]
fn a_file_is_seeded_by_each_verb_where_io_uring_is_denied() {
    for verb in ["splice", "off"] {
        let world = World::with_file(3 * 1024 * 1024 + 77);
        let seeder = denied(|| Seeder::of(&world, arguments!["--zero-copy", verb]));
        assert_eq!(seeder.ready.kernel, "epoll");
        let why = &seeder.ready.kernel_why;
        assert!(why.contains("io_uring") && why.contains("seccomp"), "{why}");
        download_warm_and_cold(&seeder, &world);
        // Neither workers, nor the embedded tracker, nor the control thread have found one.
        assert_eq!(rings(seeder.pid()), 0);
        let (ended, _) = seeder.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn many_small_files_are_seeded_where_io_uring_is_denied() {
    let world = World::with_many_files();
    let seeder = denied(|| Seeder::of(&world, arguments!["--cores", "1"]));
    let torrent = seeder.torrent();
    let hash = crate::peer::info_hash(torrent.info_hash_v1.as_ref().unwrap());
    let mut peer = crate::peer::Peer::unchoked(seeder.address(), hash);
    let piece_bytes = crate::peer::piece_bytes(&torrent.torrent_file) as u32;
    let bytes = fs::read(&torrent.torrent_file).unwrap();
    let metainfo = ringseed_meta::Metainfo::parse(&bytes).unwrap();
    for piece in [0, metainfo.geometry().piece_count() / 2] {
        let length = piece_bytes.min(16_384);
        assert!(matches!(peer.ask(piece, 0, length), crate::peer::Answer::Block(_)));
    }
}

#[test]
fn epoll_is_used_everywhere_when_it_is_asked_for() {
    let world = World::with_file(1_000_000);
    let seeder = Seeder::of(&world, arguments!["--kernel", "epoll"]);
    assert_eq!((seeder.ready.kernel.as_str(), rings(seeder.pid())), ("epoll", 0));
    assert!(seeder.ready.kernel_why.contains("--kernel epoll"), "{}", seeder.ready.kernel_why);
    download_warm_and_cold(&seeder, &world);
    let (ended, _) = seeder.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn io_uring_is_used_where_it_can_be_had() {
    for options in [arguments![], arguments!["--kernel", "io-uring"]] {
        let world = World::with_file(100_000);
        let seeder = Seeder::of(&world, options);
        assert_eq!(seeder.ready.kernel, "io_uring");
        assert!(rings(seeder.pid()) > 0);
        download(&seeder, &world);
    }
}

#[test]
fn a_ring_that_is_demanded_and_denied_is_an_error_with_cause_and_cure() {
    let world = World::with_file(100_000);
    let ended = denied(|| {
        ringseed(arguments![
            "seed",
            world.content(),
            "--kernel",
            "io-uring",
            "--state-dir",
            world.path("state")
        ])
    });
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.says("seccomp") && ended.says("--kernel auto"), "{ended:?}");
    assert!(!world.path("state").join("torrents").exists(), "data was hashed before");
}

#[test]
fn torrents_are_made_and_checked_where_io_uring_is_denied() {
    let world = World::with_file(3 * 1024 * 1024 + 77);
    let made = denied(|| create(&world, "denied.torrent", &[]));
    let allowed = create(&world, "allowed.torrent", &[]);
    let info = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        ringseed_meta::Metainfo::parse(&bytes).unwrap().info_hash_v1()
    };
    assert_eq!(info(&made), info(&allowed));
    let check = || denied(|| ringseed(arguments!["check", &made, "--data", world.data()]));
    assert_eq!(check().code, Some(0));
    let mut bytes = fs::read(world.content()).unwrap();
    bytes[70_000] ^= 1;
    fs::write(world.content(), bytes).unwrap();
    assert_eq!(check().code, Some(1));
}
