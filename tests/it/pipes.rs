//! The real program as a user whose pipes have used up what the system gives one user.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ringseed_ring::system;

use crate::content::World;
use crate::seed::download;
use crate::seeder::{Seeder, on_loopback, program};

/// A user without a name, so that no other process has pipes on its account.
const USER: u32 = 64_321;

/// Pages of a pipe that nobody sized.
const PIPE_PAGES: usize = 16;

/// fs.pipe-user-pages-soft.
fn pages_of_a_user() -> usize {
    let text = fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap();
    text.trim().parse().unwrap()
}

/// A part of the test below, which runs it as another user: has pipes until its input ends.
#[test]
#[ignore = "run by another test, as another user"]
fn has_pipes_until_its_input_ends() {
    let count = pages_of_a_user() / PIPE_PAGES + 8;
    system::raise_fd_limit(2 * count as u64 + 64).unwrap();
    let pipes: Vec<_> = (0..count).map(|_| std::io::pipe().unwrap()).collect();
    println!("has {} pipes", pipes.len());
    let _ = std::io::stdin().read(&mut [0]);
}

fn as_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.uid(USER).gid(USER).current_dir("/");
    command
}

/// Where the user may run it from.
fn copy(world: &World, program: &Path) -> PathBuf {
    let copy = world.path(program.file_name().unwrap().to_str().unwrap());
    fs::copy(program, &copy).unwrap();
    copy
}

fn seed(world: &World, program: &Path) -> Seeder {
    let mut command = as_user(program);
    command.args(["seed", "--json"]).arg(world.content()).args(on_loopback(world));
    Seeder::spawn(command).unwrap_or_else(|ended| panic!("it did not start: {ended:?}"))
}

fn hold_pipes(program: &Path) -> Child {
    let mut command = as_user(program);
    let name = "pipes::has_pipes_until_its_input_ends";
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).any(|line| line.contains(" pipes"));
    assert!(held, "the pipes cannot be had");
    child
}

#[test]
fn a_user_whose_pipes_are_used_up_serves_by_copies_and_says_so() {
    let world = World::with_file(3 * 1024 * 1024 + 77);
    // Only root can become somebody else; and root itself has no limit.
    if fs::metadata(world.content()).unwrap().uid() != 0 || pages_of_a_user() == 0 {
        eprintln!("not root, or no limit: nothing to see here");
        return;
    }
    let ringseed = copy(&world, Path::new(program()));
    let tests = copy(&world, &std::env::current_exe().unwrap());
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let owner = USER.to_string();
    let done = Command::new("chown").args(["-R", &owner]).arg(world.path("")).status().unwrap();
    assert!(done.success());

    let seeder = seed(&world, &ringseed);
    assert_eq!(seeder.ready.verb, "splice", "{}", seeder.ready.why);
    assert_eq!(seeder.ready.sandbox, "seccomp", "it needs no privilege");
    download(&seeder, &world);
    drop(seeder);

    let mut holder = hold_pipes(&tests);
    let seeder = seed(&world, &ringseed);
    assert_eq!(seeder.ready.verb, "copy");
    assert!(seeder.ready.why.contains("fs.pipe-user-pages-soft"), "{}", seeder.ready.why);
    download(&seeder, &world);
    drop(holder.stdin.take());
    holder.wait().unwrap();
}
