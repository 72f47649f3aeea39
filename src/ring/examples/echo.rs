//! An echo server: the kernel in sixty lines. `cargo run --release --example echo -- 127.0.0.1:7777`

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use ringseed_ring::{
    Batch, Kernel, Op, Outcome, Socket, Token, UringKernel, UringOptions, Verb, Wait,
};

/// What goes back to a peer. At most one send is under way; what comes meanwhile waits.
#[derive(Default)]
struct Peer {
    under_way: bool,
    next: Vec<u8>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".into());
    let mut kernel = UringKernel::new(&UringOptions::default())?;
    let listener = kernel.adopt(TcpListener::bind(&address)?.into()).map_err(|f| f.to_string())?;
    let mut peers: BTreeMap<Socket, Peer> = BTreeMap::new();
    // Tokens are the caller's own; here one kind is enough, since outcomes tell the rest.
    let mut sockets: Vec<Socket> = vec![listener];
    let _ = kernel.push(Op::Accept { listener }, Token(0));
    loop {
        kernel.enter(Wait::AtMost(Duration::from_secs(1)))?;
        while let Some(done) = kernel.next() {
            let socket = sockets[done.token.0 as usize];
            match done.outcome {
                Outcome::Accepted { socket, peer } => {
                    println!("{peer} came");
                    peers.insert(socket, Peer::default());
                    sockets.push(socket);
                    let _ = kernel.push(Op::Receive { socket }, Token(sockets.len() as u64 - 1));
                }
                Outcome::Received { buffer } => {
                    let Some(peer) = peers.get_mut(&socket) else { continue };
                    peer.next.extend_from_slice(&buffer);
                    send(&mut kernel, socket, peer, None, done.token);
                }
                Outcome::Sent { batch, .. } => {
                    let Some(peer) = peers.get_mut(&socket) else { continue };
                    peer.under_way = false;
                    if batch.is_empty() {
                        kernel.recycle(batch);
                        send(&mut kernel, socket, peer, None, done.token);
                    } else {
                        // The socket is full: the rest goes when it takes bytes again.
                        send(&mut kernel, socket, peer, Some(batch), done.token);
                    }
                }
                Outcome::EndOfStream | Outcome::Failed(_) if peers.remove(&socket).is_some() => {
                    let _ = kernel.push(Op::Close { socket, reset: false }, done.token);
                }
                _ => {}
            }
        }
    }
}

fn send(
    kernel: &mut UringKernel,
    socket: Socket,
    peer: &mut Peer,
    rest: Option<Box<Batch>>,
    token: Token,
) {
    if peer.under_way || (rest.is_none() && peer.next.is_empty()) {
        return;
    }
    let batch = rest.unwrap_or_else(|| {
        let mut batch = kernel.batch();
        batch.push_bytes(&peer.next);
        peer.next.clear();
        batch
    });
    peer.under_way = true;
    let _ = kernel.push(Op::Send { socket, batch, verb: Verb::Copy }, token);
}
