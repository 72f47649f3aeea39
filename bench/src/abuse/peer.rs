//! A peer of plain sockets that may say anything, and hears what comes of it.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use ringseed_meta::Instant;

use super::limits::{FRAME_BYTES_KEPT, FRAME_BYTES_MAX, FRAMES_HEARD_MAX, LATE_MAX, LEAST_WAIT};
use crate::clock::Clock;

pub(super) const CHOKE: u8 = 0;
pub(super) const UNCHOKE: u8 = 1;
pub(super) const INTERESTED: u8 = 2;
pub(super) const HAVE: u8 = 4;
pub(super) const BITFIELD: u8 = 5;
pub(super) const REQUEST: u8 = 6;
pub(super) const PIECE: u8 = 7;
pub(super) const CANCEL: u8 = 8;
pub(super) const PORT: u8 = 9;
pub(super) const HAVE_ALL: u8 = 14;
pub(super) const REJECT: u8 = 16;
pub(super) const EXTENDED: u8 = 20;
pub(super) const HASH_REQUEST: u8 = 21;
pub(super) const HASH_REJECT: u8 = 23;

/// A message: its id and what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

impl Frame {
    /// Index, begin and data of a block.
    pub(super) fn block(&self) -> Option<(u32, u32, &[u8])> {
        let (index, rest) = self.body.split_first_chunk::<4>()?;
        let (begin, data) = rest.split_first_chunk::<4>()?;
        let is_block = self.kind == PIECE;
        is_block.then_some((u32::from_be_bytes(*index), u32::from_be_bytes(*begin), data))
    }
}

/// A whole frame.
pub(super) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = (1 + body.len() as u32).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

/// A request, cancel or reject.
pub(super) fn of_block(kind: u8, index: u32, begin: u32, length: u32) -> Vec<u8> {
    frame(kind, &[index, begin, length].map(u32::to_be_bytes).concat())
}

/// Why nothing more comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The time is over; the connection is open.
    Silence,
    /// By FIN.
    Closed,
    /// By RST.
    Reset,
    /// A frame that no seeder sends.
    Garbled,
    /// More frames than are heard.
    Flooded,
}

impl End {
    pub(super) fn is_over(self) -> bool {
        matches!(self, End::Closed | End::Reset)
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            End::Silence => "kept open",
            End::Closed => "closed",
            End::Reset => "closed by RST",
            End::Garbled => "a frame of nonsense came",
            End::Flooded => "more messages came than any seeder has to send",
        }
    }
}

fn end_of(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
            End::Silence
        }
        _ => End::Reset,
    }
}

#[derive(Debug)]
pub(super) struct Peer {
    stream: TcpStream,
    clock: Clock,
    /// What has come and was not taken.
    bytes: Vec<u8>,
}

impl Peer {
    pub(super) fn new(stream: TcpStream, clock: Clock) -> Peer {
        Peer { stream, clock, bytes: Vec::new() }
    }

    /// Writes until all is written, the other side closes, or `patience` is over; how much was.
    pub(super) fn push(&mut self, bytes: &[u8], patience: Duration) -> usize {
        let deadline = self.clock.now().after(patience);
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            let left = deadline.since(self.clock.now());
            if left.is_zero() || self.stream.set_write_timeout(Some(left)).is_err() {
                break;
            }
            match self.stream.write(rest) {
                Ok(0) => break,
                Ok(some) => written += some,
                Err(error) if end_of(&error) == End::Silence => {}
                Err(_) => break,
            }
        }
        written
    }

    /// Writes what fits at once into any socket. What the other side makes of it is heard later.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.push(bytes, Duration::from_secs(1));
    }

    /// Says no more, and hears on.
    pub(super) fn half_close(&mut self) {
        // It fails on a connection that has ended, which is heard.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes by RST.
    pub(super) fn reset(self) {
        let linger = Some(Duration::ZERO);
        // It fails on a connection that has ended, and then there is nothing to reset.
        let _ = socket2::SockRef::from(&self.stream).set_linger(linger);
    }

    /// Makes what the peer does not read fill up soon.
    pub(super) fn shrink(&self) {
        // What the system does not grant only makes it take longer.
        let _ = socket2::SockRef::from(&self.stream).set_recv_buffer_size(8 << 10);
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), End> {
        let now = self.clock.now();
        // What has come by the deadline is read even when we come late, but not for ever.
        let left = deadline.since(now).max(LEAST_WAIT);
        if now > deadline.after(LATE_MAX) || self.stream.set_read_timeout(Some(left)).is_err() {
            return Err(End::Silence);
        }
        let mut some = [0; 64 << 10];
        match self.stream.read(&mut some) {
            Ok(0) => Err(End::Closed),
            Ok(length) => {
                self.bytes.extend_from_slice(some.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(end_of(&error)),
        }
    }

    /// The next bytes, so many.
    pub(super) fn take(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, End> {
        while self.bytes.len() < length {
            self.fill(deadline)?;
        }
        Ok(self.bytes.drain(..length).collect())
    }

    /// The next message; keep-alives are passed over.
    pub(super) fn next(&mut self, deadline: Instant) -> Result<Frame, End> {
        loop {
            while self.bytes.len() < 4 {
                self.fill(deadline)?;
            }
            let length = self.bytes.first_chunk::<4>().map_or(0, |head| u32::from_be_bytes(*head));
            if length > FRAME_BYTES_MAX {
                return Err(End::Garbled);
            }
            while self.bytes.len() < 4 + length as usize {
                self.fill(deadline)?;
            }
            let whole: Vec<u8> = self.bytes.drain(..4 + length as usize).skip(4).collect();
            if let Some((kind, body)) = whole.split_first() {
                return Ok(Frame { kind: *kind, body: body.to_vec() });
            }
        }
    }

    /// Hears until nothing more comes or the time is over. Of each frame the beginning is kept: how
    /// much comes is the target's choice, and must not be our memory's size.
    pub(super) fn hear(&mut self, deadline: Instant) -> Heard {
        let mut frames = Vec::new();
        let end = loop {
            match self.next(deadline) {
                Ok(_) if frames.len() >= FRAMES_HEARD_MAX => break End::Flooded,
                Ok(Frame { kind, body }) => {
                    let body = body.get(..FRAME_BYTES_KEPT).unwrap_or(&body).to_vec();
                    frames.push(Frame { kind, body });
                }
                Err(end) => break end,
            }
        };
        Heard { frames, end, at: self.clock.now() }
    }

    /// The end of whatever comes; none of it is looked at.
    pub(super) fn drain(&mut self, deadline: Instant) -> End {
        loop {
            self.bytes.clear();
            if let Err(end) = self.fill(deadline) {
                return end;
            }
        }
    }
}

/// What a peer has heard.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// Each by its beginning.
    pub(super) frames: Vec<Frame>,
    pub(super) end: End,
    /// When it ended.
    pub(super) at: Instant,
}

impl Heard {
    fn count(&self, kind: u8) -> usize {
        self.frames.iter().filter(|frame| frame.kind == kind).count()
    }

    /// What the target did, in words.
    pub(super) fn words(&self) -> String {
        let answers = [
            (PIECE, "served"),
            (REJECT, "rejected"),
            (HASH_REJECT, "rejected hashes"),
            (CHOKE, "choked"),
        ];
        let mut words: Vec<String> = answers
            .iter()
            .filter(|(kind, _)| self.count(*kind) > 0)
            .map(|(_, word)| (*word).to_owned())
            .collect();
        // All but a handshake (id 0) is an answer: a metadata reject, most likely.
        let is_answer =
            |frame: &Frame| frame.kind == EXTENDED && frame.body.first().is_some_and(|id| *id != 0);
        if self.frames.iter().any(is_answer) {
            words.push("answered by extended messages".into());
        }
        if words.is_empty() && self.end == End::Silence {
            words.push("ignored".into());
        }
        words.push(self.end.words().into());
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer hears when these bytes come and the connection is closed.
    fn heard(bytes: Vec<u8>) -> Heard {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut from = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let clock = Clock::start();
        let mut peer = Peer::new(listener.accept().unwrap().0, clock);
        let sender = std::thread::spawn(move || drop(from.write_all(&bytes)));
        let heard = peer.hear(clock.now().after(Duration::from_secs(60)));
        drop(peer);
        sender.join().unwrap();
        heard
    }

    #[test]
    fn of_what_comes_the_beginning_is_kept_and_no_more_than_so_many() {
        let block = frame(PIECE, &[7; 16_392]);
        let few = heard([block.clone(), frame(UNCHOKE, &[])].concat());
        assert_eq!((few.frames.len(), few.end), (2, End::Closed));
        assert_eq!(few.frames[0], Frame { kind: PIECE, body: vec![7; FRAME_BYTES_KEPT] });
        assert!(few.frames[0].block().is_some());
        let many = heard(frame(HAVE, &[0; 4]).repeat(FRAMES_HEARD_MAX + 1));
        assert_eq!((many.frames.len(), many.end), (FRAMES_HEARD_MAX, End::Flooded));
        assert!(many.words().contains("more messages came"), "{}", many.words());
    }

    #[test]
    fn what_a_target_did_is_told_by_its_answers_and_its_end() {
        let told = |frames: &[(u8, &[u8])], end| {
            let frames =
                frames.iter().map(|(kind, body)| Frame { kind: *kind, body: body.to_vec() });
            Heard { frames: frames.collect(), end, at: Instant::ZERO }.words()
        };
        assert_eq!(
            told(&[(UNCHOKE, &[]), (EXTENDED, &[0, b'd'])], End::Silence),
            "ignored, kept open"
        );
        assert_eq!(
            told(&[(EXTENDED, &[3, b'd'])], End::Silence),
            "answered by extended messages, kept open"
        );
        assert_eq!(told(&[(REJECT, &[]), (REJECT, &[])], End::Reset), "rejected, closed by RST");
        assert_eq!(told(&[], End::Closed), "closed");
    }
}
