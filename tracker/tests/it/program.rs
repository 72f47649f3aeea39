//! Starting and stopping the program.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use crate::http::{Client, announce};

/// A tracker that runs until it is dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) udp: Vec<SocketAddr>,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Program {
        Program::of(command(arguments).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// With what it says there.
    pub(crate) fn start_with_stderr(arguments: &[&str]) -> (Program, ChildStderr) {
        let mut command = command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        (Program::of(child), stderr)
    }

    fn of(mut child: Child) -> Program {
        let mut first_line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first_line).unwrap();
        let urls = |scheme: &str| {
            let urls = first_line.split_ascii_whitespace();
            let hosts = urls.filter_map(|url| url.strip_prefix(scheme)?.strip_suffix("/announce"));
            hosts.map(|host| host.parse().unwrap()).collect()
        };
        Program { http: urls("http://"), udp: urls("udp://"), child }
    }

    /// Both protocols on one address of loopback.
    pub(crate) fn on_loopback() -> Program {
        Program::start(&["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"])
    }

    /// Rings of io_uring that it has.
    pub(crate) fn rings(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        targets.filter(|target| target.as_os_str() == "anon_inode:[io_uring]").count()
    }

    pub(crate) fn stop(mut self, signal: &str) -> ExitStatus {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringseed-tracker"));
    command.args(arguments).env_remove("PORT");
    command
}

/// Runs it to its end; its exit code and what it said on stderr.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let mut child =
        command(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn it_stops_in_good_order_when_it_is_told_to() {
    for signal in ["TERM", "INT"] {
        assert_eq!(Program::on_loopback().stop(signal).code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn every_address_asked_for_is_listened_on() {
    let program = Program::start(&[
        "--http",
        "127.0.0.1:0",
        "--http",
        "[::1]:0",
        "--udp",
        "127.0.0.1:0",
        "--udp",
        "[::1]:0",
    ]);
    for addresses in [&program.http, &program.udp] {
        assert_eq!(addresses.iter().map(|one| one.is_ipv4()).collect::<Vec<_>>(), [true, false]);
        assert!(addresses.iter().all(|one| one.port() != 0 && one.ip().is_loopback()));
    }
}

#[test]
fn a_port_in_use_is_named_with_its_cure() {
    let program = Program::on_loopback();
    for (flag, address) in [("--http", program.http[0]), ("--udp", program.udp[0])] {
        let (code, said) = run(&[flag, &address.to_string()]);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains(&address.to_string()) && said.contains("name another port"),
            "{said}"
        );
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for (arguments, word) in [
        (&["--http", "127.0.0.1:0", "--interval", "0"][..], "interval 0ns"),
        (&["--http", "127.0.0.1:0", "--interval", "100000000"], "interval 100000000s"),
        (&["--interval", "18446744073709551615"], "interval 18446744073709551615s"),
        (&["--connections-max", "10001"], "connections-max 10001"),
        (&["--http", "127.0.0.1:0", "--min-interval", "3600"], "min interval 3600s"),
        (&["--http", "127.0.0.1:0", "--udp", "nowhere"], "'nowhere'"),
        (&["--http", "127.0.0.1:0", "--peers-max", "0"], "peers-max is 0"),
        (&["--http", "127.0.0.1:0", "--config", "/nowhere/tracker.toml"], "/nowhere/tracker.toml"),
        (&["--interval", "0", "--print-config", "--pages=none"], "interval 0ns"),
        (&["--http", "127.0.0.1:0", "--deny-list", "/nowhere/list"], "/nowhere/list"),
        (&["--allow-list", "/a", "--deny-list", "/a"], "leave one out"),
        (&["--http", "127.0.0.1:0", "--trusted-proxy", "10.1.0.0/8"], "write 10.0.0.0/8"),
        (&["--http", "127.0.0.1:0", "--snapshot", "/nowhere/swarms"], "/nowhere/swarms.lock"),
    ] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

#[test]
fn settings_are_read_from_a_file_that_it_printed_itself() {
    let printed =
        command(&["--print-config", "--http", "127.0.0.1:0", "--interval", "77"]).output().unwrap();
    assert!(printed.status.success());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tracker.toml");
    std::fs::write(&file, &printed.stdout).unwrap();
    let program = Program::start(&["--config", file.to_str().unwrap()]);
    assert_eq!((program.http.len(), program.udp.len()), (1, 0));
    let answer = Client::connect(program.http[0]).get(&announce('t', 'p', 7000, "&left=5"));
    let answer = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.contains("8:intervali77e12:min intervali77e"), "{answer}");
    std::fs::write(&file, "interval = 900\nintervall = 3\n").unwrap();
    let (code, said) = run(&["--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(said.contains(file.to_str().unwrap()) && said.contains("intervall"), "{said}");
}

#[test]
fn the_port_of_the_environment_is_obeyed() {
    let printed = command(&["--print-config"]).env("PORT", "18080").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    for name in ["http", "udp"] {
        assert!(printed.contains(&format!("\n{name} = [\"0.0.0.0:18080\"")), "{printed}");
    }
    for port in ["0", "65536", "http", ""] {
        let refused = command(&["--print-config"]).env("PORT", port).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("{port:?}")), "{said}");
        let mut named = command(&["--print-config", "--http", "127.0.0.1:0"]);
        assert!(named.env("PORT", port).output().unwrap().status.success(), "{port:?}");
    }
}

#[test]
fn a_list_is_reloaded_while_the_tracker_runs() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    let hex = |torrent: char| format!("{:02x}", torrent as u32).repeat(20);
    std::fs::write(&list, hex('t') + "  allowed\n").unwrap();
    let program =
        Program::start(&["--http", "127.0.0.1:0", "--allow-list", list.to_str().unwrap()]);
    let mut client = Client::connect(program.http[0]);
    let mut serves = |torrent| {
        let answer = client.get(&announce(torrent, 'p', 7000, "&left=5")).body;
        String::from_utf8_lossy(&answer).contains("8:interval")
    };
    assert_eq!((serves('t'), serves('u')), (true, false));
    std::fs::write(folder.path().join("new"), hex('u')).unwrap();
    std::fs::rename(folder.path().join("new"), &list).unwrap();
    // A second, and as much as a busy machine needs.
    let until = std::time::SystemTime::now() + std::time::Duration::from_secs(30);
    while !serves('u') && std::time::SystemTime::now() < until {}
    assert_eq!((serves('t'), serves('u')), (false, true));
    assert_eq!(program.stop("TERM").code(), Some(0));
}
