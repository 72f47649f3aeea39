//! An echo server: the kernel in sixty lines. `cargo run --release --example echo -- 127.0.0.1:7777`

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use ringseed_ring::{
    Batch, Kernel, KernelOptions, Op, Outcome, Socket, Token, UringKernel, Verb, Wait,
};

/// A peer. At most one send is under way for each socket: what it says meanwhile waits.
struct Peer {
    socket: Socket,
    said: Vec<u8>,
    under_way: bool,
    /// What a full socket left of a batch.
    rest: Option<Box<Batch>>,
}

impl Peer {
    /// Sends what waits.
    fn answer(&mut self, kernel: &mut UringKernel, token: Token) {
        let mut batch = self.rest.take().unwrap_or_else(|| kernel.batch());
        batch.push_bytes(&self.said);
        self.said.clear();
        self.under_way = !batch.is_empty();
        if self.under_way {
            // A full op table (thousands of peers) gives the op back; a server would keep it.
            let _ = kernel.push(Op::Send { socket: self.socket, batch, verb: Verb::Copy }, token);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".into());
    let mut kernel = UringKernel::new(&KernelOptions::default())?;
    let listener = kernel.adopt(TcpListener::bind(&address)?.into())?;
    // Tokens are the caller's own numbers: here those of peers, 0 for the listener.
    let (mut peers, mut tokens) = (BTreeMap::new(), 0u64);
    let _ = kernel.push(Op::Accept { listener }, Token(0));
    loop {
        kernel.enter(Wait::AtMost(Duration::from_secs(1)))?;
        while let Some(done) = kernel.next() {
            if let Outcome::Accepted { socket, peer } = done.outcome {
                println!("{peer} came");
                tokens += 1;
                let peer = Peer { socket, said: Vec::new(), under_way: false, rest: None };
                peers.insert(Token(tokens), peer);
                let _ = kernel.push(Op::Receive { socket }, Token(tokens));
                continue;
            }
            let Some(peer) = peers.get_mut(&done.token) else { continue };
            match done.outcome {
                Outcome::Received { buffer } => {
                    peer.said.extend_from_slice(&buffer);
                    if !peer.under_way {
                        peer.answer(&mut kernel, done.token);
                    }
                }
                Outcome::Sent { batch, .. } if batch.is_empty() => {
                    kernel.recycle(batch);
                    peer.answer(&mut kernel, done.token);
                }
                Outcome::Sent { batch, .. } => {
                    // The socket is full: the rest goes when it takes bytes again.
                    peer.rest = Some(batch);
                    let _ = kernel.push(Op::PollWritable { socket: peer.socket }, done.token);
                }
                Outcome::Done => peer.answer(&mut kernel, done.token),
                _ => {
                    let _ =
                        kernel.push(Op::Close { socket: peer.socket, reset: false }, done.token);
                    peers.remove(&done.token);
                }
            }
        }
    }
}
