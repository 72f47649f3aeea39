//! What must not be mixed up: identities, indices and time, each a type of its own.

use core::fmt;
use core::num::NonZeroU64;
use core::time::Duration;

/// A torrent's place in the registry of this process. Small, dense, never on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TorrentId(pub u32);

/// Position of a piece in its torrent, from 0 (BEP 3 "index").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PieceIndex(pub u32);

/// Position of a file in its torrent's file list, pad files included, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileIndex(pub u32);

/// Part of a piece, as a request names it (BEP 3 "index, begin, length"). Not checked against any torrent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockRef {
    /// The piece.
    pub piece: PieceIndex,
    /// First byte within the piece.
    pub begin: u32,
    /// Bytes.
    pub length: u32,
}

/// The 20 bytes that name a swarm on the wire: SHA-1 of a v1 `info` dictionary, or the first
/// 20 bytes of the SHA-256 of a v2 one (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// SHA-256 of a v2 `info` dictionary (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHashV2(pub [u8; 32]);

impl InfoHashV2 {
    /// What a handshake and an announce carry: the first 20 bytes (BEP 52).
    pub fn truncated(&self) -> InfoHash {
        let mut short = [0; 20];
        short.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        InfoHash(short)
    }
}

/// The 20 bytes by which a peer calls itself (BEP 3, BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

/// A point in time: microseconds since a start that the outer loop chose. The clock is read
/// outside; everything else is told the time.
///
/// Kept as one more than its microseconds, so that an `Option` of it takes no more room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

const _: () = assert!(size_of::<Option<Instant>>() == size_of::<Instant>());

impl Default for Instant {
    fn default() -> Instant {
        Instant::ZERO
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&self.as_us()).finish()
    }
}

impl Instant {
    /// The start that all others are counted from.
    pub const ZERO: Instant = Instant(NonZeroU64::MIN);

    /// `us` microseconds after the start.
    pub const fn from_us(us: u64) -> Instant {
        Instant(NonZeroU64::MIN.saturating_add(us))
    }

    /// Microseconds since the start.
    pub const fn as_us(self) -> u64 {
        self.0.get() - 1
    }

    /// Time from `earlier` to this; zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// This and `wait` more; the end of time when that overflows.
    pub fn after(self, wait: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for InfoHashV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for InfoHashV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}
