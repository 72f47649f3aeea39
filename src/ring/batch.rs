//! A batch for one socket: bytes of our own and runs of files, in send order, with a cursor.

use crate::{Cipher, Run};

/// One piece of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// `length` bytes of the batch's own, from `start`.
    Bytes { start: u32, length: u32 },
    /// A stretch of a file.
    Run(Run),
    /// This many zeros (pad files, BEP 47).
    Zeros(u32),
}

/// Frames and blocks that go to one socket together. Plain memory: it may wait as long as the
/// peer makes it; nothing in the kernel refers to it until it is sent.
#[derive(Debug, Default)]
pub struct Batch {
    parts: Vec<Part>,
    bytes: Vec<u8>,
    /// The first part not sent in full, and how many of its bytes were.
    part: usize,
    offset: u32,
    /// Bytes not sent yet.
    left: u64,
    cipher: Option<Box<dyn Cipher>>,
}

impl Batch {
    /// Bytes not sent yet.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// All was sent, or nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Bytes of memory that it takes besides itself until it is dropped, sent or not: [`Batch::clear`] and
    /// [`Batch::advance`] free none.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.parts.capacity() * size_of::<Part>()
    }

    /// Appends bytes (a header, a control frame): copied into the batch.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.bytes.len() as u32;
        let length = bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        self.left += u64::from(length);
        // A part that the cursor has passed is not added to: its bytes count as sent.
        let last = self.parts.get_mut(self.part..).and_then(<[Part]>::last_mut);
        match last {
            Some(Part::Bytes { start: from, length: before }) if *from + *before == start => {
                *before += length;
            }
            _ => self.parts.push(Part::Bytes { start, length }),
        }
    }

    /// Appends a stretch of a file.
    pub fn push_run(&mut self, run: Run) {
        if run.length > 0 {
            self.left += u64::from(run.length);
            self.parts.push(Part::Run(run));
        }
    }

    /// Appends zeros.
    pub fn push_zeros(&mut self, length: u32) {
        if length > 0 {
            self.left += u64::from(length);
            self.parts.push(Part::Zeros(length));
        }
    }

    /// What is not sent yet, in order; the first part cut to what is left of it.
    pub fn remaining(&self) -> impl Iterator<Item = Part> + '_ {
        let mut skip = self.offset;
        self.parts.iter().skip(self.part).map(move |part| {
            let cut = std::mem::take(&mut skip);
            match *part {
                Part::Bytes { start, length } => {
                    Part::Bytes { start: start + cut, length: length - cut }
                }
                Part::Run(run) => Part::Run(Run {
                    offset: run.offset + u64::from(cut),
                    length: run.length - cut,
                    ..run
                }),
                Part::Zeros(length) => Part::Zeros(length - cut),
            }
        })
    }

    /// From now on all that leaves is enciphered, which the copying verb does whatever verb is asked
    /// for: what goes by reference cannot be changed. Whoever fills a connection's next batch moves
    /// the cipher there by [`Batch::take_cipher`] once this one is sent.
    pub fn set_cipher(&mut self, cipher: Box<dyn Cipher>) {
        self.cipher = Some(cipher);
    }

    /// The cipher, which stands behind the last byte that was sent.
    pub fn take_cipher(&mut self) -> Option<Box<dyn Cipher>> {
        self.cipher.take()
    }

    pub(crate) fn is_enciphered(&self) -> bool {
        self.cipher.is_some()
    }

    /// Makes the first bytes of what is left into what the socket is to be given.
    pub(crate) fn encipher(&mut self, bytes: &mut [u8]) {
        if let Some(cipher) = &mut self.cipher {
            cipher.apply(bytes);
        }
    }

    /// What is left, if that is one stretch of the batch's own bytes (control frames, answers) and
    /// leaves as it is.
    pub(crate) fn as_plain_bytes(&self) -> Option<&[u8]> {
        match self.remaining().next()? {
            _ if self.is_enciphered() => None,
            Part::Bytes { start, length } if u64::from(length) == self.left => {
                Some(self.bytes_of(start, length))
            }
            _ => None,
        }
    }

    /// The batch's own bytes that a [`Part::Bytes`] names.
    pub fn bytes_of(&self, start: u32, length: u32) -> &[u8] {
        &self.bytes[start as usize..(start + length) as usize]
    }

    /// Moves the cursor over `sent` bytes (at most [`Batch::len`]).
    pub fn advance(&mut self, sent: u64) {
        debug_assert!(sent <= self.left, "a cursor past the end of its batch");
        if let Some(cipher) = &mut self.cipher {
            cipher.advance(sent.min(self.left));
        }
        self.left -= sent.min(self.left);
        let mut sent = sent;
        while sent > 0 && self.part < self.parts.len() {
            let length = match self.parts[self.part] {
                Part::Bytes { length, .. } | Part::Zeros(length) => length,
                Part::Run(run) => run.length,
            };
            let step = sent.min(u64::from(length - self.offset));
            sent -= step;
            self.offset += step as u32;
            if self.offset == length {
                self.part += 1;
                self.offset = 0;
            }
        }
    }

    /// Drops the end, so that `left` bytes (at most [`Batch::len`]) remain to be sent.
    pub fn truncate(&mut self, left: u64) {
        let mut excess = self.left.saturating_sub(left);
        self.left -= excess;
        while excess > 0 {
            let begun = if self.parts.len() == self.part + 1 { self.offset } else { 0 };
            let Some(part) = self.parts.last_mut() else { return };
            let length = match part {
                Part::Bytes { length, .. } | Part::Zeros(length) => length,
                Part::Run(run) => &mut run.length,
            };
            let step = excess.min(u64::from(*length - begun));
            excess -= step;
            *length -= step as u32;
            if *length == begun {
                self.parts.pop();
                if begun > 0 {
                    self.offset = 0;
                }
            }
        }
    }

    /// Empties it for the next use; its memory stays.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.bytes.clear();
        (self.part, self.offset, self.left) = (0, 0, 0);
        self.cipher = None;
    }
}

#[cfg(test)]
mod tests;
