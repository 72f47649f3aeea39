//! Length-prefixed frames over received slices, cut anywhere.
//!
//! A head that lies whole in a slice is read in place; one that is split goes through a small
//! carry. Bodies are never gathered: they come as ranges of the slice at hand.

use alloc::vec::Vec;
use core::ops::Range;

use crate::handshake::{HANDSHAKE_BYTES, Handshake};
use crate::message::{self, FrameLimits, Head, Message};
use crate::{ProtocolError, extended, limits};

/// A message's head, or some bytes of its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// The head of a message. Its body, if it has one, follows as [`Frame::Body`].
    Message(Message),
    /// An extended handshake, or a metadata message whose raw bytes follow as its body.
    Extended {
        /// [`extended::HANDSHAKE_ID`] or [`extended::METADATA_ID`].
        id: u8,
        /// The bencoded dictionary.
        dict: &'a [u8],
        /// Bytes of the body behind it.
        body_bytes: u32,
    },
    /// Bytes of the body of the message that came last.
    Body {
        /// Bytes of the body before these.
        at: u32,
        /// Where these stand in the slice given.
        range: Range<usize>,
        /// Bytes of the body behind these.
        left: u32,
    },
}

/// Cuts a stream into frames.
#[derive(Default, Debug)]
pub struct FrameReader {
    /// First bytes of a head that is split; at most 4 KiB, see [`limits`].
    carry: Vec<u8>,
    /// The carry has been handed out.
    is_used: bool,
    body_at: u32,
    body_left: u32,
}

impl FrameReader {
    /// A reader at the start of a frame.
    pub fn new() -> FrameReader {
        FrameReader::default()
    }

    /// Takes the next frame from `bytes`, beginning at `*at`, which moves on; `None` when all
    /// bytes are taken. `bytes` must be the same until then.
    ///
    /// # Errors
    /// A frame that is too long, or has no length that its kind may have. The reader is of no
    /// use afterwards.
    pub fn next<'a>(
        &'a mut self,
        bytes: &'a [u8],
        at: &mut usize,
        limits: FrameLimits,
    ) -> Result<Option<Frame<'a>>, ProtocolError> {
        if self.is_used {
            self.empty_carry();
        }
        let rest = bytes.get(*at..).unwrap_or_default();
        if self.body_left > 0 {
            return Ok(self.body(rest.len(), at));
        }
        if self.carry.is_empty() {
            return match message::head(rest, limits)? {
                Head::Short(_) => {
                    self.carry.extend_from_slice(rest);
                    *at = bytes.len();
                    Ok(None)
                }
                Head::Whole { message, bytes: head_bytes, body_bytes } => {
                    *at = at.saturating_add(head_bytes);
                    self.start_body(body_bytes);
                    Ok(Some(frame(message, rest.get(..head_bytes).unwrap_or_default())))
                }
            };
        }
        self.through_carry(rest, at, limits)
    }

    /// Takes a handshake instead of a frame; the same rules.
    pub(crate) fn handshake(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<Handshake>, ProtocolError> {
        let missing = HANDSHAKE_BYTES.saturating_sub(self.carry.len());
        let taken = bytes.get(..missing).unwrap_or(bytes);
        *at = taken.len();
        if self.carry.is_empty()
            && let Some(handshake) = Handshake::parse(taken)?
        {
            return Ok(Some(handshake));
        }
        self.carry.extend_from_slice(taken);
        let handshake = Handshake::parse(&self.carry)?;
        self.is_used = handshake.is_some();
        Ok(handshake)
    }

    /// Bytes held for a split head.
    pub fn carried_bytes(&self) -> usize {
        self.carry.len()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.carry.capacity()
    }

    /// Whether all bytes taken made whole frames.
    pub fn is_between_frames(&self) -> bool {
        self.body_left == 0 && (self.carry.is_empty() || self.is_used)
    }

    fn through_carry<'a>(
        &'a mut self,
        rest: &'a [u8],
        at: &mut usize,
        limits: FrameLimits,
    ) -> Result<Option<Frame<'a>>, ProtocolError> {
        let mut rest = rest;
        loop {
            let needed = match message::head(&self.carry, limits)? {
                Head::Short(needed) => needed.saturating_sub(self.carry.len()).max(1),
                Head::Whole { message, bytes, body_bytes } => {
                    self.is_used = true;
                    self.start_body(body_bytes);
                    return Ok(Some(frame(message, self.carry.get(..bytes).unwrap_or_default())));
                }
            };
            if rest.is_empty() {
                return Ok(None);
            }
            let (more, behind) = rest.split_at_checked(needed).unwrap_or((rest, &[]));
            self.carry.extend_from_slice(more);
            *at = at.saturating_add(more.len());
            rest = behind;
        }
    }

    fn start_body(&mut self, body_bytes: u32) {
        self.body_at = 0;
        self.body_left = body_bytes;
    }

    fn body<'a>(&mut self, here: usize, at: &mut usize) -> Option<Frame<'a>> {
        let taken = self.body_left.min(u32::try_from(here).unwrap_or(u32::MAX));
        if taken == 0 {
            return None;
        }
        let end = at.saturating_add(taken as usize);
        let range = *at..end;
        let body_at = self.body_at;
        *at = end;
        self.body_at = body_at.saturating_add(taken);
        self.body_left = self.body_left.saturating_sub(taken);
        Some(Frame::Body { at: body_at, range, left: self.body_left })
    }

    fn empty_carry(&mut self) {
        self.is_used = false;
        self.carry.clear();
        if self.carry.capacity() > limits::CARRY_KEPT_BYTES {
            self.carry = Vec::new();
        }
    }
}

fn frame(message: Message, head: &[u8]) -> Frame<'_> {
    match message {
        Message::Extended { id, bytes } if extended::is_known(id) => {
            let dict = head.get(6..).unwrap_or_default();
            Frame::Extended { id, dict, body_bytes: bytes }
        }
        _ => Frame::Message(message),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "test values")]
mod tests {
    use std::string::ToString;
    use std::vec;

    use super::*;
    use crate::ExtendedHandshake;

    const ANY: FrameLimits = FrameLimits { bitfield_bytes: None };

    fn next(reader: &mut FrameReader, bytes: &[u8]) -> Vec<std::string::String> {
        let (mut lines, mut at) = (Vec::new(), 0);
        while let Some(frame) = reader.next(bytes, &mut at, ANY).unwrap() {
            lines.push(frame.to_string());
        }
        assert_eq!(at, bytes.len());
        lines
    }

    #[test]
    fn a_frame_that_lies_whole_in_a_slice_is_not_copied() {
        let mut reader = FrameReader::new();
        let mut bytes = Vec::new();
        ExtendedHandshake::default().write(&mut bytes);
        message::write_have(&mut bytes, ringseed_meta::PieceIndex(7));
        assert_eq!(next(&mut reader, &bytes), ["extended 0 d1:mdee", "have 7"]);
        assert_eq!(reader.carry.capacity(), 0);
    }

    #[test]
    fn the_carry_of_a_large_message_is_given_back() {
        let client = "x".repeat(4000);
        let mut bytes = Vec::new();
        ExtendedHandshake { client, ..ExtendedHandshake::default() }.write(&mut bytes);
        let (first, second) = bytes.split_at(2000);
        let mut reader = FrameReader::new();
        assert!(next(&mut reader, first).is_empty());
        assert_eq!(reader.carried_bytes(), 2000);
        assert!(!reader.is_between_frames());
        assert_eq!(next(&mut reader, second).len(), 1);
        assert!(reader.is_between_frames());
        assert!(reader.carry.capacity() <= limits::CARRY_KEPT_BYTES);
    }

    #[test]
    fn a_body_is_named_by_its_place_in_each_slice() {
        let mut reader = FrameReader::new();
        let bytes = [vec![0, 0, 0, 6, 77, 1, 2], vec![3, 4, 5], vec![0, 0, 0, 0]].concat();
        assert_eq!(
            next(&mut reader, &bytes[..7]),
            ["unknown 77 of 5 bytes", "  2 bytes at 0, 3 left"]
        );
        assert_eq!(next(&mut reader, &bytes[7..]), ["  3 bytes at 2, 0 left", "keep-alive"]);
    }
}
