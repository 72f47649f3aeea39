//! The flood against a small seeder of plain sockets: what it counts, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ringseed_meta::InfoHash;
use ringseed_swarm::flood::Load;
use ringseed_swarm::order::Order;
use ringseed_swarm::run::{Plan, run};
use ringseed_swarm::target::Pieces;

const NAME: InfoHash = InfoHash([9; 20]);

/// How the seeder behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    Good,
    /// Never unchokes.
    Choking,
    /// The eighth answer of each connection names another begin.
    Confused,
    /// Closes after the eighth answer, on the connection that was accepted second.
    Leaving,
}

/// Serves each connection on a thread of its own, until the test's process ends.
fn seeder(manners: Manners) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, peer) in listener.incoming().enumerate() {
            let peer = peer.unwrap();
            // An error is the flood closing the connection.
            std::thread::spawn(move || drop(serve(peer, manners, number)));
        }
    });
    address
}

fn serve(mut peer: TcpStream, manners: Manners, number: usize) -> std::io::Result<()> {
    let mut hello = [0; 68];
    peer.read_exact(&mut hello)?;
    peer.write_all(&hello)?;
    if manners != Manners::Choking {
        // Have all, a keep-alive, unchoke.
        peer.write_all(&[0, 0, 0, 1, 14, 0, 0, 0, 0, 0, 0, 0, 1, 1])?;
    }
    let mut answered = 0;
    loop {
        let mut length = [0; 4];
        peer.read_exact(&mut length)?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        peer.read_exact(&mut message)?;
        if message[0] != 6 {
            continue;
        }
        answered += 1;
        let block_bytes = u32::from_be_bytes(message[9..13].try_into().unwrap());
        let mut answer = (block_bytes + 9).to_be_bytes().to_vec();
        answer.push(7);
        answer.extend_from_slice(&message[1..9]);
        if answered == 8 && manners == Manners::Confused {
            answer[12] += 1;
        }
        answer.resize(13 + block_bytes as usize, 0xda);
        peer.write_all(&answer)?;
        if answered == 8 && manners == Manners::Leaving && number == 1 {
            return Ok(());
        }
    }
}

fn plan(target: SocketAddr) -> Plan {
    Plan {
        load: Load {
            target,
            from: Some((std::net::Ipv4Addr::new(127, 0, 1, 1).into(), 1)),
            info_hash: NAME,
            pieces: Pieces::even(1 << 16, (5 << 16) + 100).unwrap(),
            order: Order::Random,
            connections: 3,
            depth: 4,
            verify: None,
        },
        threads: vec![None, None],
        opening: Duration::from_secs(10),
        warm_up: Duration::from_millis(20),
        length: Duration::from_millis(100),
        seeder: Some(std::process::id()),
    }
}

#[test]
fn a_good_seeder_is_measured() {
    let report = run(&plan(seeder(Manners::Good))).unwrap();
    assert_eq!((report.unchoked, report.lost), (3, 0));
    let tally = &report.tally;
    assert!(tally.blocks > 0 && tally.latency_us.len() == tally.blocks, "{tally:?}");
    assert!(tally.payload_bytes <= (tally.blocks + 12) << 14, "{tally:?}");
    assert_eq!(report.to_unchoke_us.len(), 3);
}

#[test]
fn a_wrong_answer_ends_the_run_and_is_shown() {
    let error = run(&plan(seeder(Manners::Confused))).unwrap_err().to_string();
    assert!(error.starts_with("connection ") && error.contains("the block header 0000"), "{error}");
}

#[test]
fn a_lost_connection_is_counted_and_the_others_go_on() {
    let mut plan = plan(seeder(Manners::Leaving));
    plan.warm_up = Duration::from_millis(200);
    let report = run(&plan).unwrap();
    assert_eq!((report.unchoked, report.lost), (2, 1));
}

#[test]
fn a_seeder_that_keeps_choking_is_no_result() {
    let mut plan = plan(seeder(Manners::Choking));
    plan.opening = Duration::from_millis(50);
    let error = run(&plan).unwrap_err().to_string();
    assert!(error.contains("has unchoked none of 3 connections"), "{error}");
}

#[test]
fn a_port_that_nobody_listens_on_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let error = run(&plan(target)).unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "{error}");
    assert!(error.contains(&target.to_string()), "{error}");
}
