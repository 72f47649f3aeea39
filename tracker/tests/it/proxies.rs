//! What proxies say of their clients, and others of themselves.

use crate::http::{Client, announce};
use crate::program::Program;

/// One that believes this host, or another one.
fn start(proxy: &str) -> Program {
    Program::start(&["--http", "127.0.0.1:0", "--trusted-proxy", proxy])
}

/// One that believes what an announce says of its address, too.
fn start_with_ip(proxy: &str) -> Program {
    Program::start(&["--http", "127.0.0.1:0", "--trusted-proxy", proxy, "--ip-from-proxies"])
}

/// Announces with header fields in front of others; what is answered.
fn ask(client: &mut Client, target: &str, fields: &str) -> (u16, String) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: tracker\r\n{fields}\r\n").as_bytes());
    let answer = client.answer().unwrap();
    (answer.status, answer.body.escape_ascii().to_string())
}

/// Whom a leecher of this host is told.
fn listed(program: &Program) -> String {
    let target = announce('t', 'l', 7002, "&left=5");
    let here = "X-Forwarded-For: 127.0.0.1\r\n";
    let (status, answer) = ask(&mut Client::connect(program.http[0]), &target, here);
    assert_eq!(status, 200);
    answer.split_once("5:peers").unwrap().1.to_owned()
}

const HERE: &str = r"6:\x7f\x00\x00\x01\x1a\x1a";
const THERE: &str = r"6:\xc0\x00\x02\x05\x1a\x1a";

fn proxy_header(command: u8, client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[127, 0, 0, 1, 0, 80, 0, 81]].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11, 0, 12], &addresses].concat()
}

#[test]
fn a_trusted_proxy_says_where_its_clients_are() {
    let seed = announce('t', 's', 0x1a1a, "&left=0");
    let claimed = format!("{seed}&ip=192.0.2.5");
    let forwarded = "X-Forwarded-For: 198.51.100.1, 192.0.2.5\r\n";
    let programs = [start("127.0.0.0/8"), start_with_ip("127.0.0.0/8")];
    for (program, target, fields) in
        [(&programs[0], &seed, forwarded), (&programs[1], &claimed, "")]
    {
        let (status, answer) = ask(&mut Client::connect(program.http[0]), target, fields);
        assert_eq!(status, 200);
        assert!(answer.contains(r"11:external ip4:\xc0\x00\x02\x05"), "{answer}");
        assert!(listed(program).starts_with(THERE));
    }
}

#[test]
fn a_client_behind_a_proxy_says_nothing_of_itself() {
    let claimed = announce('t', 's', 0x1a1a, "&left=0&ip=203.0.113.66");
    for start in [start, start_with_ip] {
        let program = start("127.0.0.1");
        ask(&mut Client::connect(program.http[0]), &claimed, "X-Forwarded-For: 192.0.2.5\r\n");
        assert!(listed(&program).starts_with(THERE));
        let mut client = Client::connect(program.http[0]);
        client.send(&proxy_header(0x21, [192, 0, 2, 5]));
        assert_eq!(ask(&mut client, &claimed, "").0, 200);
        assert!(listed(&program).starts_with(THERE));
        // Not even one whose own address is in a network of proxies.
        let program = start("127.0.0.0/8");
        let inside = "X-Forwarded-For: 127.0.0.1\r\n";
        assert_eq!(ask(&mut Client::connect(program.http[0]), &claimed, inside).0, 200);
        assert!(listed(&program).starts_with(HERE));
    }
}

#[test]
fn an_announce_of_a_proxy_that_names_nobody_is_refused() {
    let program = start("127.0.0.1");
    for parameters in ["&left=0", "&left=0&ip=203.0.113.66"] {
        let seed = announce('t', 's', 0x1a1a, parameters);
        let mut proxy = Client::connect(program.http[0]);
        let mut check = Client::connect(program.http[0]);
        check.send(&proxy_header(0x20, [192, 0, 2, 5]));
        for client in [&mut proxy, &mut check] {
            for fields in ["", "X-Forwarded-For:\r\n"] {
                let (status, answer) = ask(client, &seed, fields);
                assert!(
                    status == 400 && answer.contains("set X-Forwarded-For"),
                    "{status} {answer}"
                );
            }
            // It may look whether we are there.
            assert_eq!(ask(client, "/stats", "").0, 200);
        }
    }
    assert!(listed(&program).starts_with("0:"));
}

#[test]
fn who_was_not_named_is_not_believed() {
    let seed = announce('t', 's', 0x1a1a, "&left=0&ip=192.0.2.5");
    for fields in ["", "X-Forwarded-For: 192.0.2.5\r\n", "X-Forwarded-For: nonsense\r\n"] {
        let program = start_with_ip("10.0.0.0/8");
        assert_eq!(ask(&mut Client::connect(program.http[0]), &seed, fields).0, 200);
        assert!(listed(&program).starts_with(HERE));
    }
    let program = start("10.0.0.0/8");
    let mut spoofer = Client::connect(program.http[0]);
    spoofer.send(&proxy_header(0x21, [192, 0, 2, 5]));
    assert_eq!(spoofer.answer().unwrap().status, 400);
    assert!(spoofer.answer().is_none(), "the connection ends");
    assert!(listed(&program).starts_with("0:"));
}

#[test]
fn a_proxy_header_counts_for_its_connection() {
    let seed = announce('t', 's', 0x1a1a, "&left=0");
    for size in [1, 7, 1000] {
        let program = start("127.0.0.1");
        let mut client = Client::connect(program.http[0]);
        let header = proxy_header(0x21, [192, 0, 2, 5]);
        header.chunks(size).for_each(|part| client.send(part));
        for _ in 0..2 {
            assert_eq!(ask(&mut client, &seed, "").0, 200);
        }
        assert!(listed(&program).starts_with(THERE));
        // Whom it names is no proxy.
        assert_eq!(ask(&mut client, &seed, "X-Forwarded-For: 203.0.113.66\r\n").0, 200);
        assert!(listed(&program).starts_with(THERE));
    }
}

#[test]
fn what_a_trusted_proxy_garbles_is_refused() {
    let program = start("127.0.0.1");
    let seed = announce('t', 's', 0x1a1a, "&left=0");
    let mut client = Client::connect(program.http[0]);
    let (status, answer) = ask(&mut client, &seed, "X-Forwarded-For: unknown\r\n");
    assert!(status == 400 && answer.contains("X-Forwarded-For"), "{status} {answer}");
    let mut client = Client::connect(program.http[0]);
    client.send(&proxy_header(0x35, [192, 0, 2, 5]));
    assert_eq!(client.answer().unwrap().status, 400);
    assert!(listed(&program).starts_with("0:"));
}
