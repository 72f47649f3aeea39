//! The secret in a user's announce URL.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::limits::PASSKEY_BYTES;

/// A secret that tells who announces. It has no `Display` and its `Debug` says nothing: only
/// [`Passkey::reveal`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Passkey([u8; PASSKEY_BYTES]);

/// The SHA-256 of a passkey: what is kept, and looked up. A passkey is 128 random bits, so nobody
/// finds it by trying; and who measures how long a lookup takes learns of digests only, which cannot
/// be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub(crate) [u8; 32]);

/// A text is no passkey. It is not repeated: it may be one with a slip of the pen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a passkey is {} hexadecimal digits", 2 * PASSKEY_BYTES)]
pub struct NotAPasskey;

impl Passkey {
    /// A new one, of getrandom(2).
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new() -> Result<Passkey, getrandom::Error> {
        let mut bytes = [0; PASSKEY_BYTES];
        getrandom::fill(&mut bytes).map(|()| Passkey(bytes))
    }

    /// What tells it from others, and does not give it away.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.0).into())
    }

    /// The digits that stand in a URL, for whoever it was made for.
    pub fn reveal(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for Passkey {
    type Err = NotAPasskey;

    /// Reads the digits, of either case.
    fn from_str(text: &str) -> Result<Passkey, NotAPasskey> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(NotAPasskey) };
        if pairs.len() != PASSKEY_BYTES {
            return Err(NotAPasskey);
        }
        let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NotAPasskey);
        let mut bytes = [0; PASSKEY_BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
        }
        Ok(Passkey(bytes))
    }
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passkey(..)")
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_are_never_the_same_and_none_is_shown() {
        let (one, other) = (Passkey::new().unwrap(), Passkey::new().unwrap());
        assert!(one != other && one.digest() != other.digest());
        let shown = format!("{one:?} {:?} {}", one.digest(), NotAPasskey);
        let half = &one.reveal()[..8];
        assert!(!shown.contains(half), "{shown}");
    }

    #[test]
    fn the_digest_is_sha_256_of_its_bytes() {
        let passkey: Passkey = "000102030405060708090a0b0c0d0e0F".parse().unwrap();
        // printf '\x00\x01..\x0f' | sha256sum
        assert_eq!(passkey.digest().0[..4], [0xbe, 0x45, 0xcb, 0x26]);
    }

    proptest! {
        #[test]
        fn what_is_revealed_is_read(bytes: [u8; PASSKEY_BYTES]) {
            let passkey = Passkey(bytes);
            prop_assert_eq!(passkey.reveal().parse(), Ok(passkey.clone()));
            prop_assert_eq!(passkey.reveal().to_uppercase().parse(), Ok(passkey));
        }

        #[test]
        fn nothing_else_is_read(text in "[0-9a-f]{0,31}|[0-9a-f]{33,40}|[0-9a-f]{31}[g-z/ +-]|\\PC{0,40}") {
            let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            prop_assert_eq!(text.parse::<Passkey>().is_ok(), is_one);
        }
    }
}
