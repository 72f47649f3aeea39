//! A minimal seeder for measuring: handshake, unchoke, requests, answers, and nothing else. It
//! trusts its peers and its file. Raw system calls and epoll, none of this package's machinery, so
//! that what a program of ours costs more than this is what its own code costs.

pub(crate) mod calls;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Blocks that one send carries.
pub(crate) const BATCH_BLOCKS: usize = 16;
/// Bytes before a block: length, id, piece, begin.
pub(crate) const HEADER_BYTES: usize = 13;
const HANDSHAKE_BYTES: usize = 68;
/// Bytes that may wait unsent in a socket: what the seeder gives its own (`NOTSENT_LOWAT_BYTES` of
/// `service::listen`, which this package stands below).
const NOTSENT_LOWAT_BYTES: i32 = 1 << 20;

/// A requested block.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    piece: u32,
    begin: u32,
    pub(crate) length: u32,
    /// Where it begins in the file.
    pub(crate) offset: u64,
}

impl Block {
    /// What stands before it on the wire.
    pub(crate) fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&(9 + self.length).to_be_bytes());
        header[4] = 7;
        header[5..9].copy_from_slice(&self.piece.to_be_bytes());
        header[9..].copy_from_slice(&self.begin.to_be_bytes());
        header
    }

    /// Bytes on the wire.
    pub(crate) fn message_bytes(&self) -> usize {
        HEADER_BYTES + self.length as usize
    }
}

/// How blocks reach a socket.
pub(crate) trait Sender {
    /// Sends the blocks' messages, of which the first `skip` bytes went before. How many bytes the
    /// socket took; fewer than all: it is full.
    fn send(
        &mut self,
        socket: RawFd,
        file: RawFd,
        blocks: &[Block],
        skip: usize,
    ) -> io::Result<usize>;
}

struct Connection {
    socket: OwnedFd,
    /// The beginning of a frame whose rest has not come.
    carry: Vec<u8>,
    requests: VecDeque<Block>,
    /// Bytes of the first request's answer that were sent.
    sent: usize,
    greeted: bool,
}

/// Serves FILE at ADDR:PORT in pieces of PIECE_LENGTH bytes until it is killed.
pub(crate) fn serve(mut sender: impl Sender) -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, address, piece_length] = arguments.as_slice() else {
        return Err(io::Error::other("usage: FILE ADDR:PORT PIECE_LENGTH"));
    };
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let piece_length: u32 = piece_length.parse().map_err(io::Error::other)?;
    let file = File::open(path)?;
    let pieces = file.metadata()?.len().div_ceil(u64::from(piece_length)) as usize;
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // Accepted sockets inherit both.
    calls::set_tcp(listener.as_raw_fd(), libc::TCP_NODELAY, 1)?;
    calls::set_tcp(listener.as_raw_fd(), libc::TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)?;
    let poll = calls::epoll_create()?;
    calls::epoll_add(&poll, listener.as_raw_fd(), u64::MAX)?;
    println!("listening on {}", listener.local_addr()?);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    let mut buffer = vec![0; 1 << 16];
    loop {
        let ready = calls::epoll_wait(&poll, &mut events)?;
        for event in &events[..ready] {
            let key = event.u64;
            if key == u64::MAX {
                while let Ok(socket) = calls::accept(listener.as_raw_fd()) {
                    calls::epoll_add(&poll, socket.as_raw_fd(), connections.len() as u64)?;
                    connections.push(Some(Connection::new(socket)));
                }
                continue;
            }
            let slot = &mut connections[key as usize];
            let Some(connection) = slot else { continue };
            let gone = connection.receive(&mut buffer, piece_length, pieces).is_err()
                || connection.answer(&mut sender, file.as_raw_fd()).is_err();
            if gone {
                *slot = None;
            }
        }
    }
}

impl Connection {
    fn new(socket: OwnedFd) -> Connection {
        let (carry, requests) = (Vec::new(), VecDeque::new());
        Connection { socket, carry, requests, sent: 0, greeted: false }
    }

    /// Takes what has arrived.
    fn receive(&mut self, buffer: &mut [u8], piece_length: u32, pieces: usize) -> io::Result<()> {
        loop {
            let bytes = match calls::receive(self.socket.as_raw_fd(), buffer)? {
                None => return Ok(()),
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(bytes) => bytes,
            };
            self.carry.extend_from_slice(&buffer[..bytes]);
            self.parse(piece_length, pieces)?;
            // A short read has emptied the socket: what comes next is told by epoll.
            if bytes < buffer.len() {
                return Ok(());
            }
        }
    }

    fn parse(&mut self, piece_length: u32, pieces: usize) -> io::Result<()> {
        let mut at = 0;
        if !self.greeted {
            if self.carry.len() < HANDSHAKE_BYTES {
                return Ok(());
            }
            self.greet(pieces)?;
            at = HANDSHAKE_BYTES;
        }
        while let Some(length) = number(&self.carry, at) {
            let end = at + 4 + length as usize;
            if self.carry.len() < end {
                break;
            }
            if length == 13 && self.carry[at + 4] == 6 {
                let field = |index: usize| number(&self.carry, at + 5 + 4 * index).unwrap_or(0);
                let (piece, begin, length) = (field(0), field(1), field(2));
                let offset = u64::from(piece) * u64::from(piece_length) + u64::from(begin);
                self.requests.push_back(Block { piece, begin, length, offset });
            }
            at = end;
        }
        self.carry.drain(..at);
        Ok(())
    }

    /// Our handshake for the peer's torrent, all pieces, unchoke.
    fn greet(&mut self, pieces: usize) -> io::Result<()> {
        let mut greeting = self.carry[..HANDSHAKE_BYTES].to_vec();
        greeting[20..28].fill(0);
        greeting[48..].copy_from_slice(b"-RB0000-bare-seeder-");
        let mut bits = vec![0xff; pieces.div_ceil(8)];
        let spare = bits.len() * 8 - pieces;
        if let Some(last) = bits.last_mut() {
            *last <<= spare;
        }
        greeting.extend_from_slice(&(1 + bits.len() as u32).to_be_bytes());
        greeting.push(5);
        greeting.extend_from_slice(&bits);
        greeting.extend_from_slice(&[0, 0, 0, 1, 1]);
        self.greeted = true;
        calls::send(self.socket.as_raw_fd(), &greeting).map(drop)
    }

    /// Answers what was asked, until the socket is full.
    fn answer(&mut self, sender: &mut impl Sender, file: RawFd) -> io::Result<()> {
        while !self.requests.is_empty() {
            let count = self.requests.len().min(BATCH_BLOCKS);
            let blocks = &self.requests.make_contiguous()[..count];
            let all: usize = blocks.iter().map(Block::message_bytes).sum();
            let wanted = all - self.sent;
            let took = sender.send(self.socket.as_raw_fd(), file, blocks, self.sent)?;
            self.sent += took;
            while let Some(block) = self.requests.front() {
                if self.sent < block.message_bytes() {
                    break;
                }
                self.sent -= block.message_bytes();
                self.requests.pop_front();
            }
            if took < wanted {
                break;
            }
        }
        Ok(())
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
