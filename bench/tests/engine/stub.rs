//! A seeder of plain sockets, with a thread or two for each connection.
#![allow(
    clippy::disallowed_methods,
    reason = "it answers at times of its own, measured by another clock than the program's"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use ringseed_meta::InfoHash;

/// Tests that flood a seeder hold it for reading, and those that look at the clock for writing: they
/// have the machine to themselves, as far as this program goes.
pub(crate) static QUIET: RwLock<()> = RwLock::new(());

pub(crate) const NAME: InfoHash = InfoHash([9; 20]);

/// How it behaves. The default is a good seeder that speaks BEP 6.
#[derive(Clone, Debug)]
pub(crate) struct Stub {
    pub(crate) unchokes: bool,
    /// Each answer is sent so long after its request has come, however many wait.
    pub(crate) delay: Duration,
    /// It answers nothing for the first part of each such period.
    pub(crate) stall: Option<(Duration, Duration)>,
    /// The answer of this number, over all connections, has one wrong byte.
    pub(crate) corrupts: Option<u64>,
    /// The answer of this number on each connection names another begin.
    pub(crate) confuses: Option<u64>,
    /// The connection accepted second is closed after so many answers.
    pub(crate) leaves: Option<u64>,
    /// Each request of such a number on a connection is refused by name.
    pub(crate) rejects_every: Option<u64>,
    /// After each so manieth answer of a connection it chokes, and unchokes again.
    pub(crate) chokes_every: Option<u64>,
    /// Of each two requests of a connection it answers the second one first.
    pub(crate) swaps: bool,
    /// What it serves, and the length of its pieces. None: anything.
    pub(crate) content: Option<(Arc<Vec<u8>>, u32)>,
    pub(crate) info_hash: InfoHash,
}

impl Default for Stub {
    fn default() -> Stub {
        Stub {
            unchokes: true,
            delay: Duration::ZERO,
            stall: None,
            corrupts: None,
            confuses: None,
            leaves: None,
            rejects_every: None,
            chokes_every: None,
            swaps: false,
            content: None,
            info_hash: NAME,
        }
    }
}

/// What a seeder has seen and done.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) accepted: AtomicU64,
    answered: AtomicU64,
    /// Connections that ended with a FIN, and with a reset.
    pub(crate) finished: AtomicU64,
    pub(crate) reset: AtomicU64,
    /// Peers that said that they are interested.
    pub(crate) interested: AtomicU64,
    /// Messages of length zero.
    pub(crate) keep_alives: AtomicU64,
    /// Bytes sent.
    pub(crate) sent: AtomicU64,
    /// Piece and begin of the block that was corrupted.
    pub(crate) corrupted: Mutex<Option<(u32, u32)>>,
    /// Peers' addresses, in the order in which they came.
    pub(crate) peers: Mutex<Vec<SocketAddr>>,
}

/// Serves until the test's process ends.
pub(crate) fn start(stub: Stub) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let shared = seen.clone();
    let began = Instant::now();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let (stub, seen) = (stub.clone(), shared.clone());
            std::thread::spawn(move || {
                let end = serve(&stub, peer.unwrap(), &seen, began);
                let ends = match end.unwrap_err().kind() {
                    std::io::ErrorKind::UnexpectedEof => &seen.finished,
                    _ => &seen.reset,
                };
                ends.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    (address, seen)
}

/// Reads until the peer leaves.
fn serve(
    stub: &Stub,
    mut peer: TcpStream,
    seen: &Arc<Seen>,
    began: Instant,
) -> std::io::Result<()> {
    let number = seen.accepted.fetch_add(1, Ordering::Relaxed);
    seen.peers.lock().unwrap().push(peer.peer_addr()?);
    peer.set_nodelay(true)?;
    let mut hello = [0; 68];
    peer.read_exact(&mut hello)?;
    assert_eq!(hello[28..48], stub.info_hash.0);
    peer.write_all(&hello)?;
    // Have all, a keep-alive; unchoke.
    peer.write_all(&[0, 0, 0, 1, 14, 0, 0, 0, 0])?;
    if stub.unchokes {
        peer.write_all(&[0, 0, 0, 1, 1])?;
    }
    let (tell, told) = channel();
    let (writer, of_writer) = (peer.try_clone()?, stub.clone());
    let shared = seen.clone();
    std::thread::spawn(move || {
        // An error is the peer closing the connection.
        let _ = answer(&of_writer, writer, &told, &shared, number, began);
    });
    loop {
        let mut length = [0; 4];
        peer.read_exact(&mut length)?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        peer.read_exact(&mut message)?;
        match message.first() {
            None => drop(seen.keep_alives.fetch_add(1, Ordering::Relaxed)),
            Some(2) => drop(seen.interested.fetch_add(1, Ordering::Relaxed)),
            Some(6) => drop(tell.send((Instant::now(), message))),
            Some(_) => {}
        }
    }
}

fn answer(
    stub: &Stub,
    mut peer: TcpStream,
    told: &Receiver<(Instant, Vec<u8>)>,
    seen: &Seen,
    number: u64,
    began: Instant,
) -> std::io::Result<()> {
    for ((came, request), count) in in_order(stub.swaps, told).zip(1_u64..) {
        std::thread::sleep((came + stub.delay).saturating_duration_since(Instant::now()));
        if let Some((period, length)) = stub.stall {
            let into = began.elapsed().as_micros() % period.as_micros();
            let left = length.as_micros().saturating_sub(into);
            std::thread::sleep(Duration::from_micros(left as u64));
        }
        let is_time = |every: Option<u64>| every.is_some_and(|every| count % every == 0);
        if is_time(stub.rejects_every) {
            let mut reject = vec![0, 0, 0, 13, 16];
            reject.extend_from_slice(&request[1..13]);
            peer.write_all(&reject)?;
            continue;
        }
        let mut answer = block(stub, &request, seen);
        if stub.confuses == Some(count) {
            answer[12] += 1;
        }
        if is_time(stub.chokes_every) {
            answer.extend([0, 0, 0, 1, 0, 0, 0, 0, 1, 1]);
        }
        peer.write_all(&answer)?;
        seen.sent.fetch_add(answer.len() as u64, Ordering::Relaxed);
        if stub.leaves == Some(count) && number == 1 {
            return peer.shutdown(std::net::Shutdown::Both);
        }
    }
    Ok(())
}

/// Requests in the order in which they are answered.
fn in_order<'a, T: 'a>(swaps: bool, told: &'a Receiver<T>) -> impl Iterator<Item = T> + 'a {
    let mut held = None;
    std::iter::from_fn(move || {
        if !swaps {
            return told.recv().ok();
        }
        held.take().or_else(|| {
            held = Some(told.recv().ok()?);
            told.recv().ok()
        })
    })
}

/// The piece message for a request.
fn block(stub: &Stub, request: &[u8], seen: &Seen) -> Vec<u8> {
    let field = |at: usize| u32::from_be_bytes(request[at..at + 4].try_into().unwrap());
    let (piece, begin, length) = (field(1), field(5), field(9) as usize);
    let mut answer = (length as u32 + 9).to_be_bytes().to_vec();
    answer.push(7);
    answer.extend_from_slice(&request[1..9]);
    match &stub.content {
        None => answer.resize(13 + length, 0xda),
        Some((content, piece_bytes)) => {
            let at = piece as usize * *piece_bytes as usize + begin as usize;
            answer.extend_from_slice(&content[at..at + length]);
        }
    }
    if Some(seen.answered.fetch_add(1, Ordering::Relaxed) + 1) == stub.corrupts {
        *seen.corrupted.lock().unwrap() = Some((piece, begin));
        answer[13 + length / 2] ^= 1;
    }
    answer
}
