//! The 68 bytes that open a connection; its reserved bits as named features (BEP 3, 5, 6, 10, 52).

use ringseed_meta::{InfoHash, PeerId};

use crate::ProtocolError;

/// Bytes of a handshake on the wire.
pub const HANDSHAKE_BYTES: usize = 68;

/// BEP 3: "The handshake starts with character nineteen (decimal) followed by the string
/// 'BitTorrent protocol'".
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// What the reserved bits say that a side can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Have all, have none, suggest, reject, allowed fast (BEP 6).
    pub fast: bool,
    /// Extended messages (BEP 10).
    pub extended: bool,
    /// It runs a DHT node and sends its port (BEP 5).
    pub dht: bool,
    /// It can be upgraded to the v2 swarm of a hybrid torrent (BEP 52).
    pub v2: bool,
}

impl Features {
    /// What both sides can do.
    #[must_use]
    pub fn both(self, other: Features) -> Features {
        Features {
            fast: self.fast && other.fast,
            extended: self.extended && other.extended,
            dht: self.dht && other.dht,
            v2: self.v2 && other.v2,
        }
    }

    /// Every feature of this crate but the DHT, which only a node may claim.
    pub const fn ours() -> Features {
        Features { fast: true, extended: true, dht: false, v2: true }
    }

    fn reserved(self) -> [u8; 8] {
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let last = bit(self.fast, 0x04) | bit(self.dht, 0x01) | bit(self.v2, 0x10);
        [0, 0, 0, 0, 0, bit(self.extended, 0x10), 0, last]
    }

    fn from_reserved(reserved: [u8; 8]) -> Features {
        let [.., five, _, seven] = reserved;
        Features {
            fast: seven & 0x04 != 0,
            extended: five & 0x10 != 0,
            dht: seven & 0x01 != 0,
            v2: seven & 0x10 != 0,
        }
    }
}

/// A handshake: who, for which swarm, with which features.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The swarm: v1, or v2 cut to 20 bytes (BEP 52).
    pub info_hash: InfoHash,
    /// How the sender calls itself.
    pub peer_id: PeerId,
    /// What the sender can do. Bits that we do not know are dropped.
    pub features: Features,
}

impl Handshake {
    /// The handshake as it stands on the wire.
    pub fn encode(&self) -> [u8; HANDSHAKE_BYTES] {
        let reserved = self.features.reserved();
        let fields = PROTOCOL.iter().chain(&reserved).chain(&self.info_hash.0);
        let mut wire = [0; HANDSHAKE_BYTES];
        for (to, from) in wire.iter_mut().zip(fields.chain(&self.peer_id.0)) {
            *to = *from;
        }
        wire
    }

    /// Reads the handshake at the start of `bytes`; `None` while it is incomplete.
    ///
    /// # Errors
    /// [`ProtocolError::WrongProtocol`] or [`ProtocolError::Encrypted`] at the first byte that
    /// differs from the protocol string, however few there are.
    pub fn parse(bytes: &[u8]) -> Result<Option<Handshake>, ProtocolError> {
        if let Some(at) = bytes.iter().zip(PROTOCOL).position(|(is, must)| is != must) {
            return Err(not_bittorrent(bytes, at));
        }
        let fields = || {
            let (_, rest) = bytes.split_first_chunk::<20>()?;
            let (reserved, rest) = rest.split_first_chunk::<8>()?;
            let (info_hash, rest) = rest.split_first_chunk::<20>()?;
            let (peer_id, _) = rest.split_first_chunk::<20>()?;
            Some(Handshake {
                info_hash: InfoHash(*info_hash),
                peer_id: PeerId(*peer_id),
                features: Features::from_reserved(*reserved),
            })
        };
        Ok(fields())
    }
}

/// Tells a stranger from a peer that wants message stream encryption: that one begins with a
/// Diffie-Hellman key, 96 bytes as good as random. Text (HTTP) and a TLS record are neither;
/// the guess only chooses the word in a log and a counter.
fn not_bittorrent(bytes: &[u8], at: usize) -> ProtocolError {
    let is_text = bytes.iter().take(PROTOCOL.len()).all(|byte| byte.is_ascii());
    let is_tls = bytes.starts_with(&[0x16, 0x03]);
    let agrees_far = at >= 4;
    match is_text || is_tls || agrees_far {
        true => ProtocolError::WrongProtocol { at: u8::try_from(at).unwrap_or(u8::MAX) },
        false => ProtocolError::Encrypted,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Features = Features { fast: true, extended: true, dht: true, v2: true };

    fn sample(features: Features) -> Handshake {
        Handshake {
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId(*b"-RS0001-abcdefghijkl"),
            features,
        }
    }

    #[test]
    fn the_reserved_bits_are_those_of_the_beps() {
        let wire = sample(ALL).encode();
        assert_eq!(wire[20..28], [0, 0, 0, 0, 0, 0x10, 0, 0x15]);
        assert_eq!(sample(Features::default()).encode()[20..28], [0; 8]);
    }

    #[test]
    fn the_first_wrong_byte_is_enough() {
        assert_eq!(Handshake::parse(b"\x13BitTorrent pr"), Ok(None));
        let wrong = Handshake::parse(b"\x13BitTorrent prX");
        assert_eq!(wrong, Err(ProtocolError::WrongProtocol { at: 14 }));
        assert_eq!(Handshake::parse(b"GET / H"), Err(ProtocolError::WrongProtocol { at: 0 }));
        let tls = Handshake::parse(&[0x16, 0x03, 0x01, 0x02, 0x00, 0xfc]);
        assert_eq!(tls, Err(ProtocolError::WrongProtocol { at: 0 }));
    }

    #[test]
    fn an_encrypted_handshake_is_called_so() {
        let key = [0x9c, 0x41, 0xe8, 0x02, 0xff, 0x13, 0x77];
        assert_eq!(Handshake::parse(&key), Err(ProtocolError::Encrypted));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed(hash: [u8; 20], id: [u8; 20], bits in 0u8..16) {
            let features = Features {
                fast: bits & 1 != 0,
                extended: bits & 2 != 0,
                dht: bits & 4 != 0,
                v2: bits & 8 != 0,
            };
            let handshake = Handshake { info_hash: InfoHash(hash), peer_id: PeerId(id), features };
            let wire = handshake.encode();
            prop_assert_eq!(Handshake::parse(&wire), Ok(Some(handshake)));
            prop_assert_eq!(Handshake::parse(&wire[..67]), Ok(None));
        }
    }
}
