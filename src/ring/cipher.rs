//! Encryption of what a connection sends.

use std::fmt;

/// A stream cipher on one connection's outgoing bytes (MSE, for one). It rides in that connection's
/// batches, from each to the next: see [`Batch::set_cipher`](crate::Batch::set_cipher).
pub trait Cipher: fmt::Debug + Send {
    /// Enciphers the bytes that stand behind all those which the socket took. It is asked for them
    /// again, or for others in their place, as often as the socket takes fewer than it was offered.
    fn apply(&mut self, bytes: &mut [u8]);

    /// The socket took the next `bytes`.
    fn advance(&mut self, bytes: u64);
}
