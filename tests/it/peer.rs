//! A leecher of plain sockets, written apart from `ringseed-wire` on purpose: code that both ends
//! share would hide the bugs that both ends have.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Longest wait for any single answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The block that everybody asks for (BEP 3).
pub(crate) const BLOCK_BYTES: u32 = 16 * 1024;

/// Requests in flight while a whole torrent is fetched.
const DEPTH: usize = 32;

pub(crate) const INTERESTED: u8 = 2;
pub(crate) const UNCHOKE: u8 = 1;
pub(crate) const CHOKE: u8 = 0;
pub(crate) const REQUEST: u8 = 6;
pub(crate) const PIECE: u8 = 7;
pub(crate) const REJECT: u8 = 16;

/// A message: its number and what follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// What a request led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Block(Vec<u8>),
    Rejected,
    Choked,
    Closed,
}

pub(crate) struct Peer {
    stream: TcpStream,
}

/// The 68 bytes of a handshake; `reserved` says what we speak (BEP 6 is `[0,0,0,0,0,0,0,4]`).
pub(crate) fn handshake(info_hash: [u8; 20], reserved: [u8; 8]) -> Vec<u8> {
    let mut bytes = b"\x13BitTorrent protocol".to_vec();
    bytes.extend(reserved);
    bytes.extend(info_hash);
    bytes.extend(b"-HO0001-abcdefghijkl");
    bytes
}

/// The bits of BEP 6, fast extension.
pub(crate) const FAST: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 4];

/// 20 bytes from 40 hexadecimal digits.
pub(crate) fn info_hash(digits: &str) -> [u8; 20] {
    assert!(digits.len() >= 40, "an infohash has 40 digits: {digits}");
    std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
}

/// A request's twelve bytes.
pub(crate) fn request_body(piece: u32, begin: u32, length: u32) -> [u8; 12] {
    let mut body = [0; 12];
    body[..4].copy_from_slice(&piece.to_be_bytes());
    body[4..8].copy_from_slice(&begin.to_be_bytes());
    body[8..].copy_from_slice(&length.to_be_bytes());
    body
}

/// A whole frame.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = (1 + body.len() as u32).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

impl Peer {
    /// Connects, says nothing.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Peer> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        stream.set_nodelay(true)?;
        Ok(Peer { stream })
    }

    /// Connects and shakes hands.
    pub(crate) fn handshaken(address: SocketAddr, info_hash: [u8; 20]) -> io::Result<Peer> {
        let mut peer = Peer::connect(address)?;
        peer.send(&handshake(info_hash, FAST))?;
        let mut answer = [0; 68];
        peer.stream.read_exact(&mut answer)?;
        if &answer[..20] != b"\x13BitTorrent protocol" || answer[28..48] != info_hash {
            return Err(io::Error::other("a strange handshake came back"));
        }
        Ok(peer)
    }

    /// Shakes hands, says it is interested, waits to be unchoked.
    #[track_caller]
    pub(crate) fn unchoked(address: SocketAddr, info_hash: [u8; 20]) -> Peer {
        let mut peer = Peer::handshaken(address, info_hash).expect("a handshake comes back");
        peer.send(&frame(INTERESTED, &[])).unwrap();
        while peer.receive().expect("an unchoke comes").kind != UNCHOKE {}
        peer
    }

    /// From now on its socket takes so many bytes of what arrives, however fast they are read.
    pub(crate) fn take_at_most(&self, bytes: usize) {
        socket2::SockRef::from(&self.stream).set_recv_buffer_size(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes until all is written, the other side closes, or nothing moves for `patience`.
    pub(crate) fn push(&mut self, bytes: &[u8], patience: Duration) {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        let _ = self.stream.write_all(bytes);
        self.stream.set_write_timeout(Some(ANSWER_WITHIN)).unwrap();
    }

    /// The next message; keep-alives are passed over.
    pub(crate) fn receive(&mut self) -> io::Result<Frame> {
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length);
            if length == 0 {
                continue;
            }
            if length > 1024 * 1024 {
                return Err(io::Error::other(format!("a frame of {length} bytes")));
            }
            let mut body = vec![0; length as usize];
            self.stream.read_exact(&mut body)?;
            let kind = body.remove(0);
            return Ok(Frame { kind, body });
        }
    }

    pub(crate) fn send_request(&mut self, piece: u32, begin: u32, length: u32) -> io::Result<()> {
        self.send(&frame(REQUEST, &request_body(piece, begin, length)))
    }

    /// Asks for one block and waits for what comes of it. Other messages are passed over.
    #[track_caller]
    pub(crate) fn ask(&mut self, piece: u32, begin: u32, length: u32) -> Answer {
        if self.send_request(piece, begin, length).is_err() {
            return Answer::Closed;
        }
        self.answer(piece, begin)
    }

    /// Waits for what comes of a request.
    #[track_caller]
    pub(crate) fn answer(&mut self, piece: u32, begin: u32) -> Answer {
        loop {
            let frame = match self.receive() {
                Ok(frame) => frame,
                Err(error) if is_end(&error) => return Answer::Closed,
                Err(error) => panic!("no answer: {error}"),
            };
            let same = frame.body.get(..8) == Some(&request_body(piece, begin, 0)[..8]);
            match frame.kind {
                PIECE if same => return Answer::Block(frame.body[8..].to_vec()),
                REJECT if same => return Answer::Rejected,
                CHOKE => return Answer::Choked,
                _ => {}
            }
        }
    }

    /// Whether the other side closes within `wait`, having sent nothing.
    pub(crate) fn closes_within(&mut self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).unwrap();
        match self.stream.read(&mut [0]) {
            Ok(bytes) => bytes == 0,
            Err(error) => is_end(&error),
        }
    }

    /// Waits until the other side closes; fails when it does not.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        let mut rest = Vec::new();
        let ended = self.stream.read_to_end(&mut rest);
        assert!(
            ended.as_ref().is_ok_and(|_| true) || ended.as_ref().is_err_and(is_end),
            "{ended:?}"
        );
    }

    /// Fetches the bytes `wanted` of a torrent of one file, [`DEPTH`] requests deep, and compares
    /// them with `bytes`, the whole file.
    #[track_caller]
    pub(crate) fn fetch_and_compare(&mut self, piece_bytes: u64, bytes: &[u8], wanted: Range<u64>) {
        let mut blocks = Vec::new();
        let mut at = wanted.start;
        while at < wanted.end {
            let piece_end = (at / piece_bytes + 1) * piece_bytes;
            let end = (at + u64::from(BLOCK_BYTES)).min(piece_end).min(wanted.end);
            blocks.push(at..end);
            at = end;
        }
        let place = |block: &Range<u64>| {
            let piece = (block.start / piece_bytes) as u32;
            (piece, (block.start % piece_bytes) as u32, (block.end - block.start) as u32)
        };
        for (index, block) in blocks.iter().enumerate() {
            let ahead = if index == 0 { 0..DEPTH } else { index + DEPTH - 1..index + DEPTH };
            for next in blocks.get(ahead.start..ahead.end.min(blocks.len())).unwrap_or(&[]) {
                let (piece, begin, length) = place(next);
                self.send_request(piece, begin, length).unwrap();
            }
            let (piece, begin, _) = place(block);
            let expected = &bytes[block.start as usize..block.end as usize];
            match self.answer(piece, begin) {
                Answer::Block(got) => assert!(got == expected, "wrong bytes at {block:?}"),
                other => panic!("no block at {block:?}: {other:?}"),
            }
        }
    }
}

/// The connection ended, in one way or the other (as opposed to: silence).
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// The piece length that a .torrent file gives.
pub(crate) fn piece_bytes(torrent_file: &Path) -> u64 {
    let bytes = std::fs::read(torrent_file).unwrap();
    let key = b"12:piece lengthi";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    let digits: String =
        bytes[at..].iter().map(|byte| *byte as char).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
