//! Real, independent clients download from the real program; the SHA-256 of every file is equal.
//! `scripts/test.sh interop` installs the clients.

mod bench;

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};

use crate::arguments;
use crate::clients::{From, Libtorrent, aria2, rqbit, transmission};
use crate::content::World;
use crate::seeder::{Seeder, at_address, create, on_loopback};

/// An address of this machine that is not loopback. No packet is sent to find it.
fn address_of_the_host() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let chosen = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    let address = chosen.map(|address| address.ip());
    assert!(
        address.as_ref().is_ok_and(|address| !address.is_loopback() && !address.is_unspecified()),
        "transmission connects to no peer on loopback and this machine has no other address: \
         `ip address add 198.51.100.1/32 dev lo && ip route add default dev lo src 198.51.100.1` \
         in a network namespace gives one"
    );
    address.unwrap()
}

fn aria2_downloads(more: Vec<std::ffi::OsString>) {
    let world = World::with_folder();
    let seeder = Seeder::of(&world, more);
    let folder = world.download_folder("aria2");
    aria2(&From::TorrentFile(&seeder.torrent().torrent_file), &folder);
    world.assert_downloaded(&folder);
}

/// Seeds at an address where Transmission will look for it.
fn seed_at_the_host(world: &World, more: Vec<std::ffi::OsString>) -> Seeder {
    let mut options = arguments![world.content(), "--state-dir", world.path("state")];
    options.extend(at_address(&address_of_the_host().to_string()));
    options.extend(more);
    Seeder::start(options)
}

fn transmission_downloads(more: Vec<std::ffi::OsString>) {
    let world = World::with_folder();
    let seeder = seed_at_the_host(&world, more);
    let folder = world.download_folder("transmission");
    let torrent = &seeder.torrent().torrent_file;
    transmission(&From::TorrentFile(torrent), &world.path("transmission"), &folder);
    world.assert_downloaded(&folder);
}

fn rqbit_downloads(more: Vec<std::ffi::OsString>) {
    let world = World::with_folder();
    let seeder = Seeder::of(&world, more);
    let folder = world.download_folder("rqbit");
    rqbit(&From::TorrentFile(&seeder.torrent().torrent_file), &[], &folder);
    world.assert_downloaded(&folder);
}

fn libtorrent_downloads(more: Vec<std::ffi::OsString>) {
    let world = World::with_folder();
    let seeder = Seeder::of(&world, more);
    let torrent = &seeder.torrent().torrent_file;
    let folders = Libtorrent::new(From::TorrentFile(torrent), &[])
        .download(&world.download_folder("libtorrent"));
    world.assert_downloaded(&folders[0]);
}

#[test]
fn aria2_downloads_by_the_embedded_tracker() {
    aria2_downloads(arguments![]);
}

#[test]
fn aria2_downloads_copied_blocks() {
    aria2_downloads(arguments!["--zero-copy", "off"]);
}

#[test]
fn transmission_downloads_by_the_embedded_tracker() {
    transmission_downloads(arguments![]);
}

#[test]
fn transmission_downloads_copied_blocks() {
    transmission_downloads(arguments!["--zero-copy", "off"]);
}

#[test]
fn rqbit_downloads_by_the_embedded_tracker() {
    rqbit_downloads(arguments![]);
}

#[test]
fn rqbit_downloads_copied_blocks() {
    rqbit_downloads(arguments!["--zero-copy", "off"]);
}

#[test]
fn libtorrent_downloads_by_the_embedded_tracker() {
    libtorrent_downloads(arguments![]);
}

#[test]
fn libtorrent_downloads_copied_blocks() {
    libtorrent_downloads(arguments!["--zero-copy", "off"]);
}

#[test]
fn aria2_downloads_from_a_seeder_on_epoll() {
    aria2_downloads(arguments!["--kernel", "epoll"]);
}

#[test]
fn aria2_downloads_copied_blocks_from_a_seeder_on_epoll() {
    aria2_downloads(arguments!["--kernel", "epoll", "--zero-copy", "off"]);
}

#[test]
fn transmission_downloads_from_a_seeder_on_epoll() {
    transmission_downloads(arguments!["--kernel", "epoll"]);
}

#[test]
fn transmission_downloads_copied_blocks_from_a_seeder_on_epoll() {
    transmission_downloads(arguments!["--kernel", "epoll", "--zero-copy", "off"]);
}

#[test]
fn rqbit_downloads_from_a_seeder_on_epoll() {
    rqbit_downloads(arguments!["--kernel", "epoll"]);
}

#[test]
fn rqbit_downloads_copied_blocks_from_a_seeder_on_epoll() {
    rqbit_downloads(arguments!["--kernel", "epoll", "--zero-copy", "off"]);
}

#[test]
fn libtorrent_downloads_from_a_seeder_on_epoll() {
    libtorrent_downloads(arguments!["--kernel", "epoll"]);
}

#[test]
fn libtorrent_downloads_copied_blocks_from_a_seeder_on_epoll() {
    libtorrent_downloads(arguments!["--kernel", "epoll", "--zero-copy", "off"]);
}

#[test]
fn aria2_transmission_libtorrent_and_rqbit_download_hundreds_of_megabytes() {
    let world = World::with_large_folder();
    let seeder = seed_at_the_host(&world, arguments![]);
    let host = address_of_the_host().to_string();
    let torrent = From::TorrentFile(&seeder.torrent().torrent_file);
    type Download<'a> = &'a dyn Fn(&Path);
    let clients: [(&str, Download<'_>); 4] = [
        ("aria2", &|folder| aria2(&torrent, folder)),
        ("transmission", &|folder| transmission(&torrent, &world.path("scratch"), folder)),
        ("rqbit", &|folder| rqbit(&torrent, &[], folder)),
        ("libtorrent/0", &|folder| {
            let mut client = Libtorrent::new(torrent.clone(), &[]);
            client.address = &host;
            client.download(folder.parent().unwrap());
        }),
    ];
    for (name, download) in clients {
        let folder = world.download_folder(name);
        download(&folder);
        world.assert_downloaded(&folder);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn rqbit_downloads_from_a_peer_it_is_given() {
    let world = World::with_folder();
    let seeder = Seeder::of(&world, arguments![]);
    let folder = world.download_folder("rqbit");
    let torrent = &seeder.torrent().torrent_file;
    rqbit(&From::TorrentFile(torrent), &[seeder.address()], &folder);
    world.assert_downloaded(&folder);
}

/// Seeds a .torrent of this kind, made apart.
fn seed_kind(world: &World, kind: &str) -> (PathBuf, Seeder) {
    let file = create(world, "given.torrent", &[kind]);
    let mut options = arguments![file.clone(), "--data", world.data()];
    options.extend(on_loopback(world));
    (file, Seeder::start(options))
}

/// Seeds a .torrent of this kind that names no tracker; libtorrent is given the peer.
fn libtorrent_downloads_kind(world: &World, kind: &str) {
    let (file, seeder) = seed_kind(world, kind);
    let folders = Libtorrent::new(From::TorrentFile(&file), &[seeder.address()])
        .download(&world.download_folder("libtorrent"));
    world.assert_downloaded(&folders[0]);
}

#[test]
fn libtorrent_downloads_v1_from_a_peer_it_is_given() {
    libtorrent_downloads_kind(&World::with_folder(), "--v1");
}

#[test]
fn libtorrent_downloads_v2() {
    libtorrent_downloads_kind(&World::with_folder(), "--v2");
}

#[test]
fn libtorrent_downloads_hybrid() {
    libtorrent_downloads_kind(&World::with_folder(), "--hybrid");
}

#[test]
fn libtorrent_downloads_many_small_files() {
    for kind in ["--v1", "--v2", "--hybrid"] {
        libtorrent_downloads_kind(&World::with_many_files(), kind);
    }
}

/// To a client of v1 a hybrid is a torrent with pad files, and those are served too.
#[test]
fn rqbit_downloads_the_v1_side_of_a_hybrid() {
    let world = World::with_many_files();
    let (file, seeder) = seed_kind(&world, "--hybrid");
    let folder = world.download_folder("rqbit");
    rqbit(&From::TorrentFile(&file), &[seeder.address()], &folder);
    world.assert_downloaded(&folder);
}

/// By magnet link: the metadata comes from the seeder (BEP 9), for v2 the piece layers too.
fn libtorrent_downloads_magnet(kind: &str) {
    let world = World::with_folder();
    let (_, seeder) = seed_kind(&world, kind);
    let magnet = &seeder.torrent().magnet;
    let folders = Libtorrent::new(From::Magnet(magnet), &[seeder.address()])
        .download(&world.download_folder("libtorrent"));
    world.assert_downloaded(&folders[0]);
}

#[test]
fn libtorrent_downloads_v1_by_magnet_link() {
    libtorrent_downloads_magnet("--v1");
}

#[test]
fn libtorrent_downloads_v2_by_magnet_link() {
    libtorrent_downloads_magnet("--v2");
}

#[test]
fn libtorrent_downloads_hybrid_by_magnet_link() {
    libtorrent_downloads_magnet("--hybrid");
}

#[test]
fn aria2_downloads_by_magnet_link() {
    let world = World::with_folder();
    let seeder = Seeder::of(&world, arguments![]);
    let folder = world.download_folder("aria2");
    aria2(&From::Magnet(&seeder.torrent().magnet), &folder);
    world.assert_downloaded(&folder);
}

fn fifty_clients(more: Vec<std::ffi::OsString>) {
    let world = World::with_folder();
    let seeder = Seeder::of(&world, more);
    let torrent = &seeder.torrent().torrent_file;
    let mut clients = Libtorrent::new(From::TorrentFile(torrent), &[seeder.address()]);
    clients.sessions = 50;
    for folder in clients.download(&world.download_folder("libtorrent")) {
        world.assert_downloaded(&folder);
    }
}

#[test]
fn fifty_clients_download_at_a_time() {
    fifty_clients(arguments![]);
}

#[test]
fn fifty_clients_download_copied_blocks_at_a_time() {
    fifty_clients(arguments!["--zero-copy", "off"]);
}

#[test]
fn libtorrent_downloads_over_ipv6() {
    let world = World::with_folder();
    let mut options = arguments![world.content(), "--state-dir", world.path("state")];
    options.extend(at_address("::1"));
    let seeder = Seeder::start(options);
    let torrent = &seeder.torrent().torrent_file;
    // No peer is given: the tracker's IPv6 list (BEP 7) must hold it.
    let mut client = Libtorrent::new(From::TorrentFile(torrent), &[]);
    client.address = "::1";
    let folders = client.download(&world.download_folder("libtorrent"));
    world.assert_downloaded(&folders[0]);
}

#[test]
fn rqbit_downloads_over_ipv6() {
    let world = World::with_folder();
    let mut options = arguments![world.content(), "--state-dir", world.path("state")];
    options.extend(at_address("::1"));
    let seeder = Seeder::start(options);
    let folder = world.download_folder("rqbit");
    rqbit(&From::TorrentFile(&seeder.torrent().torrent_file), &[seeder.address()], &folder);
    world.assert_downloaded(&folder);
}
