//! What every case stands on: the target, how to get at it, and what is right about its torrent.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringseed_meta::limits::BLOCK_BYTES;
use ringseed_meta::{Instant, PieceIndex};
use socket2::{Domain, Type};

use super::limits::{ASKED_EVERY, GREETED_WITHIN, UNCHOKED_WITHIN};
use super::peer::{End, INTERESTED, Peer, UNCHOKE, frame};
use crate::announce::crowd::Random;
use crate::clock::Clock;
use crate::plan::{self, Seeder};

/// Reserved bits of nobody.
pub(super) const PLAIN: [u8; 8] = [0; 8];
/// Of BEP 6.
pub(super) const FAST: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 4];
/// Of BEP 6 and 10.
pub(super) const EXTENDED: [u8; 8] = [0, 0, 0, 0, 0, 0x10, 0, 4];
/// Of BEP 5 and 6.
pub(super) const DHT: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 5];

/// The target.
pub(super) struct Ground<'a> {
    pub(super) seeder: &'a Seeder,
    pub(super) clock: Clock,
    from: Option<(IpAddr, u32)>,
    next: AtomicU32,
    called_off: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Ground<'a> {
    /// Without `from`, peers of a target on loopback come from addresses of their own all the same:
    /// many seeders take one connection of an address.
    pub(super) fn new(
        seeder: &'a Seeder,
        from: Option<(IpAddr, u32)>,
        clock: Clock,
        called_off: &'a (dyn Fn() -> bool + Sync),
    ) -> Ground<'a> {
        let own = match seeder.address.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => Some((IpAddr::from([127, 77, 0, 1]), 1)),
            _ => None,
        };
        Ground { seeder, clock, from: from.or(own), next: AtomicU32::new(0), called_off }
    }

    pub(super) fn is_called_off(&self) -> bool {
        (self.called_off)()
    }

    pub(super) fn after(&self, time: Duration) -> Instant {
        self.clock.now().after(time)
    }

    /// An address that no other peer has; None: the system's choice.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.from.map(|from| plan::source(from, number))
    }

    /// Connects, says nothing.
    pub(super) fn connect(&self) -> Result<Peer, String> {
        self.connect_from(self.address())
    }

    pub(super) fn connect_from(&self, from: Option<IpAddr>) -> Result<Peer, String> {
        let to = self.seeder.address;
        let connect = || {
            let socket =
                socket2::Socket::new(Domain::for_address(to), Type::STREAM.cloexec(), None)?;
            if let Some(from) = from {
                socket.bind(&SocketAddr::new(from, 0).into())?;
            }
            socket.connect_timeout(&to.into(), GREETED_WITHIN)?;
            socket.set_tcp_nodelay(true)?;
            Ok(TcpStream::from(socket))
        };
        let stream: std::io::Result<TcpStream> = connect();
        stream
            .map(|stream| Peer::new(stream, self.clock))
            .map_err(|why| format!("cannot connect: {why}"))
    }

    /// A handshake for the torrent, from a peer of its own name.
    pub(super) fn hello(&self, reserved: [u8; 8]) -> Vec<u8> {
        self.hello_for(&self.seeder.info_hash.0, reserved)
    }

    pub(super) fn hello_for(&self, info_hash: &[u8; 20], reserved: [u8; 8]) -> Vec<u8> {
        let mut bytes = b"\x13BitTorrent protocol".to_vec();
        bytes.extend(reserved);
        bytes.extend(info_hash);
        bytes.extend(b"-RW0001-");
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        bytes.extend(format!("{number:012}").bytes());
        bytes
    }

    /// Connects and shakes hands.
    pub(super) fn greeted(&self, reserved: [u8; 8]) -> Result<Peer, String> {
        self.greet(self.connect()?, reserved)
    }

    pub(super) fn greet(&self, mut peer: Peer, reserved: [u8; 8]) -> Result<Peer, String> {
        peer.say(&self.hello(reserved));
        let answer = peer.take(68, self.after(GREETED_WITHIN));
        let answer = answer.map_err(|end| format!("no handshake came: {}", end.words()))?;
        match answer.get(28..48) == Some(&self.seeder.info_hash.0) {
            true => Ok(peer),
            false => Err("the handshake that came is for another torrent".into()),
        }
    }

    /// The same, and is unchoked.
    pub(super) fn unchoked(&self, reserved: [u8; 8]) -> Result<Peer, String> {
        let mut peer = self.greeted(reserved)?;
        peer.say(&frame(INTERESTED, &[]));
        let deadline = self.after(UNCHOKED_WITHIN);
        loop {
            match peer.next(deadline.min(self.after(ASKED_EVERY))) {
                Ok(frame) if frame.kind == UNCHOKE => return Ok(peer),
                Ok(_) => {}
                Err(End::Silence) if self.is_called_off() => return Err("called off".into()),
                Err(End::Silence) if self.clock.now() >= deadline => {
                    return Err(format!("no unchoke within {} s", UNCHOKED_WITHIN.as_secs()));
                }
                Err(End::Silence) => {}
                Err(end) => return Err(format!("no unchoke came: {}", end.words())),
            }
        }
    }

    pub(super) fn piece_count(&self) -> u32 {
        self.seeder.pieces.count()
    }

    pub(super) fn piece_bytes(&self, piece: u32) -> u32 {
        self.seeder.pieces.length(PieceIndex(piece))
    }

    /// The block with this number, counted over the first pieces again and again: where it is.
    pub(super) fn block(&self, number: u32) -> (u32, u32, u32) {
        const PIECES: u32 = 64;
        let piece = number % self.piece_count().min(PIECES);
        let bytes = self.piece_bytes(piece);
        let blocks = (bytes / BLOCK_BYTES).max(1);
        let begin = number / PIECES % blocks * BLOCK_BYTES;
        (piece, begin, BLOCK_BYTES.min(bytes - begin))
    }
}

/// Bytes without meaning; the same for the same seed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    std::iter::repeat_with(|| random.below(256) as u8).take(length).collect()
}
