//! The real program denies itself what it needs no longer, and does all of its work inside.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use ringseed_ring::{sandbox, system};

use crate::arguments;
use crate::content::World;
use crate::seed::download;
use crate::seeder::{Seeder, on_loopback, program};

/// The threads of a process: their names and their `Seccomp:` and `NoNewPrivs:` lines.
fn threads(pid: u32) -> Vec<(String, String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end while we look.
    let read = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    tasks
        .filter_map(|task| read(task.unwrap()))
        .map(|status| {
            (field(&status, "Name:"), field(&status, "Seccomp:"), field(&status, "NoNewPrivs:"))
        })
        .collect()
}

#[track_caller]
fn assert_all_inside(pid: u32, names: &[&str]) {
    let threads = threads(pid);
    for name in names {
        assert!(threads.iter().any(|(known, ..)| known.starts_with(name)), "{name}: {threads:?}");
    }
    for (name, seccomp, promise) in &threads {
        assert_eq!((seccomp.as_str(), promise.as_str()), ("2", "1"), "thread {name}");
    }
}

#[test]
fn every_thread_is_in_the_filter_and_serves() {
    for kernel in ["io-uring", "epoll"] {
        let world = World::with_file(3 * 1024 * 1024 + 77);
        let seeder = Seeder::of(&world, arguments!["--kernel", kernel]);
        assert_eq!(seeder.ready.sandbox, "seccomp");
        let why = &seeder.ready.sandbox_why;
        assert!(why.contains("io_uring_setup"), "{why}");
        assert!(why.contains(&sandbox::ALLOWED.len().to_string()), "{why}");
        assert_all_inside(seeder.pid(), &["ringseed", "worker-", "load", "hash"]);
        download(&seeder, &world);
        // From the disk, too: what waits for it may have a thread that was started for it.
        system::drop_from_page_cache(&world.content()).unwrap();
        download(&seeder, &world);
        assert_all_inside(seeder.pid(), &["ringseed", "worker-", "load", "hash"]);
        let (ended, _) = seeder.terminate();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn data_is_verified_inside_with_the_ring_that_was_set_up_before() {
    let world = World::with_file(3 * 1024 * 1024 + 77);
    let (ended, _) = Seeder::of(&world, arguments![]).terminate();
    assert_eq!(ended.code, Some(0));
    // Made anew, the data has another time and is verified once everything stands.
    let bytes = fs::read(world.content()).unwrap();
    fs::remove_file(world.content()).unwrap();
    fs::write(world.content(), bytes).unwrap();
    let torrents = world.path("state").join("torrents");
    let torrent = fs::read_dir(torrents).unwrap().next().unwrap().unwrap().path();
    let mut arguments = arguments![torrent, "--data", world.data()];
    arguments.extend(on_loopback(&world));
    let seeder = Seeder::start(arguments);
    assert_eq!(seeder.ready.sandbox, "seccomp");
    download(&seeder, &world);
}

#[test]
fn a_name_that_is_announced_to_is_looked_up_inside() {
    let world = World::with_file(100_000);
    // Nobody listens at port 1, so the tracker's name was found when its refusal is told.
    let tracker = "http://localhost:1/announce";
    let seeder = Seeder::of(&world, arguments!["--tracker", tracker]);
    assert_eq!(seeder.ready.sandbox, "seccomp");
    let within = std::time::Duration::from_secs(20);
    let note = seeder.event("note", within).unwrap()["message"].as_str().unwrap().to_owned();
    assert!(note.contains("localhost") && note.contains("refused"), "{note}");
}

#[test]
fn without_it_no_thread_is_filtered() {
    let world = World::with_file(100_000);
    let seeder = Seeder::of(&world, arguments!["--sandbox", "off"]);
    assert_eq!(seeder.ready.sandbox, "off");
    assert!(seeder.ready.sandbox_why.contains("--sandbox off"));
    // Where the tests themselves are in a filter, so is what they start.
    let of_tests = fs::read_to_string("/proc/thread-self/status").unwrap();
    if of_tests.contains("Seccomp:\t0") {
        assert!(threads(seeder.pid()).iter().all(|(_, seccomp, _)| seccomp == "0"));
    }
    download(&seeder, &world);
}

#[test]
fn one_line_says_what_is_in_use_and_why() {
    let world = World::with_file(100_000);
    let mut command = Command::new(program());
    command.args(arguments!["seed", world.content()]).args(on_loopback(&world));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("in use: "));
    child.kill().unwrap();
    child.wait().unwrap();
    let line = line.expect("no line says what is in use");
    for word in ["io_uring: Linux ", "splice: ", "sandbox: "] {
        assert!(line.contains(word), "{line}");
    }
}
