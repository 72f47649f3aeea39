//! The real `ringseed` program, started and read by its `--json` events.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::content::World;

/// Longest wait for the ready line: the data is hashed before it, in a debug build.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A promise of the program: a stop takes at most twelve seconds. A little is added for a busy machine.
const STOP_WITHIN: Duration = Duration::from_secs(14);

/// The path of the program under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_ringseed")
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Whether its last words name `this`.
    pub(crate) fn says(&self, this: &str) -> bool {
        self.stdout.contains(this) || self.stderr.contains(this)
    }
}

/// Runs `ringseed` with `arguments` to its end; code 124 when that does not come by itself.
pub(crate) fn ringseed<I: IntoIterator<Item = OsString>>(arguments: I) -> Ended {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "40", program()]).args(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Arguments of mixed kinds as one list.
#[macro_export]
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => { vec![$(std::ffi::OsString::from($argument)),*] };
}

/// A torrent as the ready line gives it.
#[derive(Clone, Debug)]
pub(crate) struct Torrent {
    pub(crate) info_hash_v1: Option<String>,
    pub(crate) info_hash_v2: Option<String>,
    pub(crate) magnet: String,
    pub(crate) torrent_file: PathBuf,
}

/// What the ready line says.
#[derive(Clone, Default, Debug)]
pub(crate) struct Ready {
    pub(crate) torrents: Vec<Torrent>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) tracker: Vec<String>,
    pub(crate) kernel: String,
    pub(crate) kernel_why: String,
    pub(crate) verb: String,
    pub(crate) why: String,
    pub(crate) sandbox: String,
    pub(crate) sandbox_why: String,
}

impl Ready {
    fn read(event: &Value) -> Ready {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let list = |name: &str| event[name].as_array().cloned().unwrap_or_default();
        let torrents = list("torrents").into_iter().map(|torrent| Torrent {
            info_hash_v1: text(&torrent["info_hash_v1"]),
            info_hash_v2: text(&torrent["info_hash_v2"]),
            magnet: text(&torrent["magnet"]).unwrap(),
            torrent_file: PathBuf::from(text(&torrent["torrent_file"]).unwrap()),
        });
        Ready {
            torrents: torrents.collect(),
            listen: list("listen").iter().map(|at| at.as_str().unwrap().parse().unwrap()).collect(),
            tracker: list("tracker").iter().map(|url| text(url).unwrap()).collect(),
            kernel: text(&event["kernel"]).unwrap(),
            kernel_why: text(&event["kernel_why"]).unwrap(),
            verb: text(&event["verb"]).unwrap(),
            why: text(&event["why"]).unwrap(),
            sandbox: text(&event["sandbox"]).unwrap(),
            sandbox_why: text(&event["sandbox_why"]).unwrap(),
        }
    }
}

/// A running `ringseed seed`. Dropping it kills that process, no other.
pub(crate) struct Seeder {
    child: Child,
    events: Receiver<Value>,
    stderr: Option<JoinHandle<String>>,
    pub(crate) ready: Ready,
}

/// The options that keep a test on loopback, on free ports and in its own folder.
pub(crate) fn on_loopback(world: &World) -> Vec<OsString> {
    let mut options = at_address("127.0.0.1");
    options.extend(arguments!["--state-dir", world.path("state")]);
    options
}

/// Listens on free ports of `address` and says so to the tracker.
pub(crate) fn at_address(address: &str) -> Vec<OsString> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    arguments![
        "--listen",
        format!("{host}:0"),
        "--tracker-listen",
        format!("{host}:0"),
        "--announce-host",
        address,
    ]
}

impl Seeder {
    /// Seeds the content of `world` on loopback, with `more` options, and waits until it is ready.
    #[track_caller]
    pub(crate) fn of(world: &World, more: Vec<OsString>) -> Seeder {
        let mut arguments = arguments![world.content()];
        arguments.extend(on_loopback(world));
        arguments.extend(more);
        Seeder::start(arguments)
    }

    /// Starts `ringseed seed --json` with these arguments and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(arguments: Vec<OsString>) -> Seeder {
        let mut command = Command::new(program());
        command.args(["seed", "--json"]).args(arguments);
        Seeder::spawn(command).unwrap_or_else(|ended| panic!("the seeder did not start: {ended:?}"))
    }

    /// Runs `command`, which is or becomes `ringseed seed --json`. Gives back how it ended when it
    /// does so before it is ready.
    pub(crate) fn spawn(mut command: Command) -> Result<Seeder, Ended> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, events) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                let Ok(()) = sender.send(event) else { return };
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let ready = Ready::default();
        let mut seeder = Seeder { child, events, stderr: Some(stderr), ready };
        match seeder.event("ready", READY_WITHIN) {
            Some(event) => {
                seeder.ready = Ready::read(&event);
                Ok(seeder)
            }
            None => Err(seeder.end()),
        }
    }

    /// The only torrent that is seeded.
    #[track_caller]
    pub(crate) fn torrent(&self) -> &Torrent {
        assert_eq!(self.ready.torrents.len(), 1, "one torrent is expected");
        &self.ready.torrents[0]
    }

    /// Where peers connect to: the first address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.ready.listen[0]
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next event of this kind; `None` when the program ended or `within` passed without one.
    pub(crate) fn event(&self, kind: &str, within: Duration) -> Option<Value> {
        let deadline = now() + within;
        loop {
            let left = deadline.saturating_duration_since(now());
            match self.events.recv_timeout(left) {
                Ok(event) if event["event"] == kind => return Some(event),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Sends SIGTERM and waits for the end.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> (Ended, Duration) {
        let (stopped, took) = self.stops();
        let ended = self.end();
        assert!(stopped.is_some(), "no `stopped` event: {ended:?}");
        (ended, took)
    }

    /// Sends SIGTERM and waits for the program's last word, behind which the system may still keep the
    /// process: whether it came, and when.
    #[track_caller]
    pub(crate) fn stops(&self) -> (Option<Value>, Duration) {
        let start = now();
        signal(self.pid(), "TERM");
        let stopped = self.event("stopped", STOP_WITHIN);
        let took = start.elapsed();
        assert!(took < STOP_WITHIN, "SIGTERM was not obeyed within {STOP_WITHIN:?}");
        (stopped, took)
    }

    /// How the process ended, once it has `within` that time; `None`: it has not.
    pub(crate) fn ends_within(&mut self, within: Duration) -> Option<std::process::ExitStatus> {
        let deadline = now() + within;
        loop {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || now() > deadline {
                return ended;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn end(&mut self) -> Ended {
        if self.event("stopped", Duration::ZERO).is_none() && self.is_running() {
            // Give a program that just closed its output a moment to exit by itself.
            let _ = self.event("", Duration::from_secs(2));
            if self.is_running() {
                let _ = self.child.kill();
            }
        }
        let status = self.child.wait().unwrap();
        let stderr = self.stderr.take().map_or_else(String::new, |text| text.join().unwrap());
        Ended { code: status.code(), stdout: String::new(), stderr }
    }
}

impl Drop for Seeder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Some(text) = self.stderr.take()
        {
            eprintln!("the seeder said:\n{}", text.join().unwrap_or_default());
        }
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(done.success(), "no process {pid} to signal");
}

/// Anonymous memory of a process in bytes.
pub(crate) fn anonymous_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Makes a .torrent of the world's content with `ringseed create`.
#[track_caller]
pub(crate) fn create(world: &World, name: &str, options: &[&str]) -> PathBuf {
    let file = world.path(name);
    let mut arguments = arguments!["create", world.content(), "-o", file.clone()];
    arguments.extend(options.iter().map(OsString::from));
    let ended = ringseed(arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(Path::new(&file).exists());
    file
}

/// The time: tests measure, the program is told.
#[expect(clippy::disallowed_methods, reason = "a test has no outer loop that could read the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
