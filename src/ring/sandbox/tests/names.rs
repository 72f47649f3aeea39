//! A name that a name server is asked for, in the filter: by the resolver's sockets and its waits.
//!
//! The resolver knows one port and one file: the asking is done by this binary once more, in namespaces
//! of mounts and of the network, where both are ours.

use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};
use std::process::{Command, Stdio};

use super::inside;

const NAME: &str = "seed.example.test";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const TEST: &str = "sandbox::tests::names::asks_in_namespaces";
/// Set where the namespaces are.
const PREPARED: &str = "SANDBOX_TESTS_NAMES";

/// Seconds of patience: with a lost answer the resolver would ask twice.
const RESOLVER: &str = "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n";
const SOURCES: &str = "hosts: files dns\n";

/// `$1`: what is to be /etc/resolv.conf, `$2`: /etc/nsswitch.conf; then what is to be run.
const PREPARE: &str = "mount --bind \"$1\" /etc/resolv.conf && \
    mount --bind \"$2\" /etc/nsswitch.conf && ip link set lo up || exit 77; shift 2; exec \"$@\"";
const NOT_PREPARED: i32 = 77;

#[test]
fn a_name_server_is_asked_inside() {
    let folder = tempfile::tempdir().unwrap();
    let [resolver, sources] = ["resolv.conf", "nsswitch.conf"].map(|name| folder.path().join(name));
    std::fs::write(&resolver, RESOLVER).unwrap();
    std::fs::write(&sources, SOURCES).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "--net", "--", "sh", "-c", PREPARE, "sh"]);
    command.args([resolver, sources]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--ignored", "--nocapture"]);
    command.env(PREPARED, "").env_remove("RES_OPTIONS").env_remove("LOCALDOMAIN");
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return eprintln!("SKIPPED: there is no unshare(1)");
        }
        Err(error) => panic!("{error}"),
    };
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    // unshare's own failure is 1, and says so.
    let is_denied = said.starts_with("unshare: ");
    if output.status.code() == Some(NOT_PREPARED) || is_denied {
        return eprintln!("SKIPPED: no namespaces for a name server: {said}");
    }
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
}

#[test]
#[ignore = "what the test above runs in namespaces of its own"]
fn asks_in_namespaces() {
    if std::env::var_os(PREPARED).is_none() {
        return;
    }
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
    std::thread::spawn(move || serve(&server));
    let found = inside(|| (NAME, 80).to_socket_addrs().map(|found| found.collect::<Vec<_>>()));
    let found: Vec<IpAddr> = found.unwrap().iter().map(|address| address.ip()).collect();
    assert_eq!(found, [IpAddr::V4(ADDRESS)]);
}

/// A name server that knows one name, by its IPv4 address.
fn serve(server: &UdpSocket) -> io::Result<()> {
    const A: u16 = 1;
    let mut query = [0; 512];
    loop {
        let (length, from) = server.recv_from(&mut query)?;
        let query = &query[..length];
        // Behind the twelve bytes of the head stand the labels, each behind its length.
        let (mut name, mut at) = (Vec::new(), 12);
        while query[at] != 0 {
            let next = at + 1 + usize::from(query[at]);
            name.push(String::from_utf8_lossy(&query[at + 1..next]).into_owned());
            at = next;
        }
        let question = &query[12..at + 5];
        let is_known = name.join(".") == NAME && query[at + 1..at + 3] == A.to_be_bytes();
        // Its number, "an answer, recursion is available", one question, and so many answers.
        let mut answer =
            [&query[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_known), 0, 0, 0, 0]].concat();
        answer.extend_from_slice(question);
        if is_known {
            // The name as in the question, A, IN, a minute, four bytes.
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend_from_slice(&ADDRESS.octets());
        }
        server.send_to(&answer, from)?;
    }
}
