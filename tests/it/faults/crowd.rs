//! Many leechers at once, each of which compares every block with the truth.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::truth::Truth;
use crate::peer::{BLOCK_BYTES, INTERESTED, PIECE, Peer, REJECT, UNCHOKE, frame};
use crate::seeder::now;

/// A torrent of one file, as leechers know it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) address: SocketAddr,
    pub(crate) info_hash: [u8; 20],
    pub(crate) piece_bytes: u64,
    pub(crate) truth: Arc<Truth>,
}

/// What became of a leecher.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) blocks: u64,
    /// When each block came that was not as it should be, and where it belongs.
    pub(crate) wrong: Vec<(Instant, u64)>,
    /// The connection was closed from the other side.
    pub(crate) closed: bool,
    /// An answer took longer than [`ANSWER_WITHIN`](crate::peer::ANSWER_WITHIN): none will come.
    pub(crate) stuck: bool,
    pub(crate) longest_wait: Duration,
}

/// What all have in common.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    blocks: AtomicU64,
}

/// Leechers of one torrent, a thread each.
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    leechers: Vec<JoinHandle<Told>>,
}

impl Crowd {
    /// `count` leechers, each with `depth` requests outstanding: of all the blocks of a piece in
    /// order, then of another piece by chance, until it is told to stop.
    pub(crate) fn start(known: &Known, count: u64, depth: usize) -> Crowd {
        Crowd::with_sockets(known, count, depth, None)
    }

    /// The same, of sockets that take so many bytes of what arrives (SO_RCVBUF), however fast they
    /// are read.
    pub(crate) fn with_sockets(
        known: &Known,
        count: u64,
        depth: usize,
        receive_bytes: Option<usize>,
    ) -> Crowd {
        let shared = Arc::new(Shared::default());
        let leechers = (1..=count)
            .map(|number| {
                let (known, shared) = (known.clone(), shared.clone());
                std::thread::spawn(move || leech(&known, number, depth, receive_bytes, &shared))
            })
            .collect();
        Crowd { shared, leechers }
    }

    /// Waits until so many more blocks have come to all of them together; `false` when `within`
    /// passes first.
    pub(crate) fn has_more(&self, blocks: u64, within: Duration) -> bool {
        let deadline = now() + within;
        let until = self.blocks() + blocks;
        while self.blocks() < until {
            if now() > deadline || self.leechers.iter().all(JoinHandle::is_finished) {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        true
    }

    /// Blocks that have come to all of them.
    pub(crate) fn blocks(&self) -> u64 {
        self.shared.blocks.load(Ordering::Relaxed)
    }

    /// Waits until the seeder has closed every one of them; `false` when `within` passes first.
    pub(crate) fn is_closed(&self, within: Duration) -> bool {
        let deadline = now() + within;
        while !self.leechers.iter().all(JoinHandle::is_finished) {
            if now() > deadline {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        true
    }

    /// Fails unless so many more blocks come to all of them together `within` that time.
    #[track_caller]
    pub(crate) fn gets(self, blocks: u64, within: Duration) -> Crowd {
        let had = self.blocks();
        if self.has_more(blocks, within) {
            return self;
        }
        let told = self.stop();
        let count = |is: fn(&Told) -> bool| told.iter().filter(|told| is(told)).count();
        let (closed, stuck) = (count(|told| told.closed), count(|told| told.stuck));
        let came: u64 = told.iter().map(|told| told.blocks).sum();
        let came = came - had;
        panic!("{came} of {blocks} blocks in {within:?}; {closed} were closed, {stuck} are stuck");
    }

    /// Ends them, each after what it has outstanding.
    pub(crate) fn stop(mut self) -> Vec<Told> {
        self.shared.stop.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.leechers)
            .into_iter()
            .map(|leecher| leecher.join().unwrap())
            .collect()
    }

    /// Ends them and fails unless each was served well to the end: nothing was wrong, nobody was
    /// closed, nobody was stuck, and everybody got at least `blocks_each`.
    #[track_caller]
    pub(crate) fn end_well(self, blocks_each: u64) -> Vec<Told> {
        let told = self.stop();
        for (number, told) in told.iter().enumerate() {
            let is_well = told.wrong.is_empty() && !told.closed && !told.stuck;
            assert!(is_well && told.blocks >= blocks_each, "leecher {number}: {told:.3?}");
        }
        told
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// One leecher's requests: which blocks, and which of them are on their way.
struct Asked {
    known: Known,
    chance: u64,
    piece: u64,
    begin: u64,
    outstanding: Vec<(u32, u32, u32)>,
}

impl Asked {
    fn next(&mut self) -> (u32, u32, u32) {
        let length = self.known.truth.length;
        let piece_end = ((self.piece + 1) * self.known.piece_bytes).min(length);
        if self.piece * self.known.piece_bytes + self.begin >= piece_end {
            self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            self.piece = (self.chance >> 33) % length.div_ceil(self.known.piece_bytes);
            self.begin = 0;
        }
        let start = self.piece * self.known.piece_bytes + self.begin;
        let end = ((self.piece + 1) * self.known.piece_bytes).min(length);
        let block = (self.piece as u32, self.begin as u32, BLOCK_BYTES.min((end - start) as u32));
        self.begin += u64::from(BLOCK_BYTES);
        self.outstanding.push(block);
        block
    }

    /// Where a block belongs that was asked for, and its length; `None`: it was not.
    fn came(&mut self, body: &[u8]) -> Option<(u64, usize)> {
        let number =
            |at: usize| body.get(at..at + 4).map(|b| u32::from_be_bytes(b.try_into().unwrap()));
        let came = (number(0)?, number(4)?);
        let at = self.outstanding.iter().position(|block| (block.0, block.1) == came)?;
        let (piece, begin, length) = self.outstanding.remove(at);
        Some((u64::from(piece) * self.known.piece_bytes + u64::from(begin), length as usize))
    }
}

fn leech(
    known: &Known,
    number: u64,
    depth: usize,
    receive_bytes: Option<usize>,
    shared: &Shared,
) -> Told {
    let mut told = Told::default();
    let Ok(mut peer) = Peer::handshaken(known.address, known.info_hash) else {
        return Told { closed: true, ..told };
    };
    if let Some(bytes) = receive_bytes {
        peer.take_at_most(bytes);
    }
    let chance = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let begin = known.piece_bytes;
    let mut asked =
        Asked { known: known.clone(), chance, piece: 0, begin, outstanding: Vec::new() };
    let ended = converse(&mut peer, &mut asked, depth, shared, &mut told);
    match ended.map_err(|error| error.kind()) {
        Ok(()) => {}
        Err(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => told.stuck = true,
        Err(_) => told.closed = true,
    }
    told
}

fn converse(
    peer: &mut Peer,
    asked: &mut Asked,
    depth: usize,
    shared: &Shared,
    told: &mut Told,
) -> std::io::Result<()> {
    peer.send(&frame(INTERESTED, &[]))?;
    while peer.receive()?.kind != UNCHOKE {}
    loop {
        // One that came late gets its first block all the same.
        let is_over = told.blocks > 0 && shared.stop.load(Ordering::Relaxed);
        while !is_over && asked.outstanding.len() < depth {
            let (piece, begin, length) = asked.next();
            peer.send_request(piece, begin, length)?;
        }
        if asked.outstanding.is_empty() {
            return Ok(());
        }
        let begun = now();
        let frame = peer.receive()?;
        let came = now();
        told.longest_wait = told.longest_wait.max(came - begun);
        match frame.kind {
            PIECE => {
                let (at, length) = asked.came(&frame.body).expect("a block that was asked for");
                if asked.known.truth.bytes(at, length) != &frame.body[8..] {
                    told.wrong.push((came, at));
                }
                told.blocks += 1;
                shared.blocks.fetch_add(1, Ordering::Relaxed);
            }
            REJECT => drop(asked.came(&frame.body)),
            _ => {}
        }
    }
}
