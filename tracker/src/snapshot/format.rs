//! The file of a snapshot, as bytes: a head, then blocks, each with its length and a checksum, then an
//! empty block that says that this is all. Numbers are little-endian. How many workers told the swarms,
//! and in which order, does not matter.
//!
//! | part | bytes |
//! |---|---|
//! | head | `RSSWARMS`, version (4), 0 (4), seconds since 1970 (8), checksum of these (8) |
//! | block | bytes of what it holds (4), checksum of its number and of that (8), torrents |
//! | torrent | 4 or 6 (1), infohash (20), completed (4), ticks since it was heard of (2), peers (4), these |
//! | peer | 0 seed, 1 partial seed, 2 leecher (1), address and port (6 or 18), ticks (2), key (4), id (20) |
//!
//! A tick is [`limits::TICK_S`] seconds. The checksum is SipHash 1-3 with a fixed key: against accidents,
//! not against forgers, who could write what they like.

use std::hash::Hasher;
use std::io::{self, Read, Write};

use ringseed_meta::{InfoHash, PeerId};
use ringseed_wire::tracker::compact::{self, V4_BYTES, V6_BYTES};
use siphasher::sip::SipHasher13;

use crate::limits;
use crate::swarm::{PeerState, Role, TorrentState, Visit};

const MAGIC: [u8; 8] = *b"RSSWARMS";
/// Changes with the layout.
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 32;
const BLOCK_HEAD_BYTES: usize = 12;
const KEY: [u8; 16] = *b"ringseed tracker";
/// The number that the checksum of a head counts as.
const HEAD: u64 = u64::MAX;

/// Why a file is no snapshot that can be taken.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Another program wrote it.
    #[error("it is no snapshot of a tracker")]
    Foreign,
    /// A later version of this one wrote it.
    #[error(
        "it is of version {found}, and this program reads version {VERSION}: use the newer one"
    )]
    Newer {
        /// As it stands there.
        found: u32,
    },
    /// Bytes are missing at its end.
    #[error("it ends in block {block}, before its end mark")]
    Torn {
        /// Counted from 0.
        block: u64,
    },
    /// A checksum is wrong, or what it covers makes no sense.
    #[error("block {block} is corrupt")]
    Corrupt {
        /// Counted from 0.
        block: u64,
    },
    /// Something follows the end.
    #[error("bytes follow its end mark")]
    Excess,
    /// The disk did not give it.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
}

fn checksum(number: u64, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&KEY);
    hasher.write(&number.to_le_bytes());
    hasher.write(bytes);
    hasher.finish()
}

/// Writes a snapshot.
pub struct Writer<W> {
    to: W,
    blocks: u64,
}

impl<W: Write> Writer<W> {
    /// Begins one, of what is so many seconds after 1970.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn new(mut to: W, seconds: u64) -> io::Result<Writer<W>> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&seconds.to_le_bytes());
        let sum = checksum(HEAD, &head);
        head.extend_from_slice(&sum.to_le_bytes());
        to.write_all(&head)?;
        Ok(Writer { to, blocks: 0 })
    }

    /// Appends a block; an empty one would be the end, and is passed over.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn block(&mut self, block: &[u8]) -> io::Result<()> {
        if block.is_empty() { Ok(()) } else { self.push(block) }
    }

    /// Ends it.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn end(mut self) -> io::Result<W> {
        self.push(&[])?;
        Ok(self.to)
    }

    fn push(&mut self, block: &[u8]) -> io::Result<()> {
        self.to.write_all(&(block.len() as u32).to_le_bytes())?;
        self.to.write_all(&checksum(self.blocks, block).to_le_bytes())?;
        self.blocks += 1;
        self.to.write_all(block)
    }
}

/// Reads a snapshot.
pub struct Reader<R> {
    from: R,
    blocks: u64,
    seconds: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn new(mut from: R) -> Result<Reader<R>, FormatError> {
        let mut head = [0; HEAD_BYTES];
        let got = fill(&mut from, &mut head)?;
        let (magic, rest) = head.split_at(MAGIC.len());
        if magic.get(..got.min(MAGIC.len())) != MAGIC.get(..got.min(MAGIC.len())) {
            return Err(FormatError::Foreign);
        }
        if got < HEAD_BYTES {
            return Err(FormatError::Torn { block: 0 });
        }
        let mut rest = Bytes(rest);
        let found = rest.u32().unwrap_or_default();
        if found != VERSION {
            return Err(FormatError::Newer { found });
        }
        let seconds = rest.u32().and_then(|_| rest.u64()).unwrap_or_default();
        let (covered, sum) = head.split_at(HEAD_BYTES - 8);
        if Bytes(sum).u64() != Some(checksum(HEAD, covered)) {
            return Err(FormatError::Corrupt { block: 0 });
        }
        Ok(Reader { from, blocks: 0, seconds })
    }

    /// When it was written, in seconds after 1970.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// The next block, all of whose torrents make sense; `None` at the end.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn block(&mut self) -> Result<Option<Vec<u8>>, FormatError> {
        let number = self.blocks;
        let mut head = [0; BLOCK_HEAD_BYTES];
        self.exactly(&mut head)?;
        let mut head = Bytes(&head);
        let (length, sum) = (head.u32().unwrap_or_default(), head.u64());
        if length as usize > limits::SNAPSHOT_BLOCK_BYTES_MAX {
            return Err(FormatError::Corrupt { block: number });
        }
        let mut block = vec![0; length as usize];
        self.exactly(&mut block)?;
        if sum != Some(checksum(number, &block)) {
            return Err(FormatError::Corrupt { block: number });
        }
        self.blocks += 1;
        if block.is_empty() {
            return match fill(&mut self.from, &mut [0])? {
                0 => Ok(None),
                _ => Err(FormatError::Excess),
            };
        }
        torrents(&block, |_, _| {}).ok_or(FormatError::Corrupt { block: number })?;
        Ok(Some(block))
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), FormatError> {
        match fill(&mut self.from, bytes)? == bytes.len() {
            true => Ok(()),
            false => Err(FormatError::Torn { block: self.blocks }),
        }
    }
}

/// Reads as much as there is.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A block that is being filled.
#[derive(Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    /// Where the number of peers of the last torrent stands, and that number.
    count: Option<(usize, u32)>,
}

impl Block {
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }

    /// Writes the number of peers of the last torrent where it belongs.
    fn close(&mut self) {
        if let Some((at, count)) = self.count.take()
            && let Some(place) = self.bytes.get_mut(at..at + 4)
        {
            place.copy_from_slice(&count.to_le_bytes());
        }
    }
}

impl Visit for Block {
    fn torrent(&mut self, torrent: &TorrentState) {
        self.close();
        self.bytes.push(if torrent.is_ipv6 { 6 } else { 4 });
        self.bytes.extend_from_slice(&torrent.info_hash.0);
        self.bytes.extend_from_slice(&torrent.completed.to_le_bytes());
        self.bytes.extend_from_slice(&torrent.silent_ticks.to_le_bytes());
        self.count = Some((self.bytes.len(), 0));
        self.bytes.extend_from_slice(&[0; 4]);
    }

    fn peer(&mut self, peer: &PeerState) {
        if let Some((_, count)) = &mut self.count {
            *count += 1;
        }
        self.bytes.push(match peer.role {
            Role::Seed => 0,
            Role::PartialSeed => 1,
            Role::Leecher => 2,
        });
        compact::push(&mut self.bytes, peer.address);
        self.bytes.extend_from_slice(&peer.silent_ticks.to_le_bytes());
        self.bytes.extend_from_slice(&peer.key);
        self.bytes.extend_from_slice(&peer.peer_id.0);
    }
}

/// Calls `take` for each torrent of a block. `None`: what follows makes no sense.
pub(crate) fn torrents(
    block: &[u8],
    mut take: impl FnMut(&TorrentState, &[PeerState]),
) -> Option<()> {
    let mut rest = Bytes(block);
    let mut peers = Vec::new();
    while !rest.0.is_empty() {
        let is_ipv6 = match rest.take()? {
            [4] => false,
            [6] => true,
            _ => return None,
        };
        let info_hash = InfoHash(rest.take()?);
        let (completed, silent_ticks) = (rest.u32()?, rest.u16()?);
        let torrent = TorrentState { is_ipv6, info_hash, completed, silent_ticks };
        let count = rest.u32()?;
        peers.clear();
        for _ in 0..count {
            peers.push(rest.peer(is_ipv6)?);
        }
        take(&torrent, &peers);
    }
    Some(())
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn peer(&mut self, is_ipv6: bool) -> Option<PeerState> {
        let role = match self.take()? {
            [0] => Role::Seed,
            [1] => Role::PartialSeed,
            [2] => Role::Leecher,
            _ => return None,
        };
        let address = match is_ipv6 {
            false => compact::v4(&self.take::<V4_BYTES>()?).next(),
            true => compact::v6(&self.take::<V6_BYTES>()?).next(),
        };
        let (address, silent_ticks) = (address?, self.u16()?);
        let (key, peer_id) = (self.take()?, PeerId(self.take()?));
        Some(PeerState { address, peer_id, key, role, silent_ticks })
    }
}
