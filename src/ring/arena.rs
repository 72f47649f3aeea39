//! Write-once memory: bytes that are given to a pipe by reference and never rewritten before the
//! page they stand in has been dropped.
//!
//! A gifted page may sit in a socket until its peer acknowledges it, for minutes. So nothing here is
//! ever written twice: a bump allocator hands out slots, and a chunk that is full is given back with
//! MADV_DONTNEED. That leaves the pages in flight to those who refer to them and gives fresh zero
//! pages at the same addresses. A chunk may be given back only when nothing that was written in it
//! still waits to be vmspliced: it would read as zeros. [`Arena::settle`] says when nothing waits.

use std::ptr::NonNull;

use crate::limits::{ARENA_CHUNK_BYTES, ARENA_CHUNKS_KEPT, PAGE_BYTES};
use crate::memory::Mapping;
use crate::sys::Errno;

/// Slots are aligned to this many bytes, and shorter ones take as many.
const SLOT_BYTES: usize = 16;

/// Bytes in write-once memory, not crossing a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) at: NonNull<u8>,
    pub(crate) length: usize,
}

/// A chunk of small pages: with pages of 2 MiB a stalled peer would pin 2 MiB for a header.
fn chunk() -> Result<Mapping, Errno> {
    let chunk = Mapping::new(ARENA_CHUNK_BYTES)?;
    // Without huge pages in the kernel it fails, and there is nothing to ask for.
    let _ = chunk.advise(libc::MADV_NOHUGEPAGE);
    Ok(chunk)
}

/// A bump allocator of write-once slots.
pub(crate) struct Arena {
    current: Mapping,
    used: usize,
    /// Full, and something written in them waits to be vmspliced.
    full: Vec<Mapping>,
    /// Given back: their next bytes are fresh pages.
    fresh: Vec<Mapping>,
}

impl Arena {
    pub(crate) fn new() -> Result<Arena, Errno> {
        Ok(Arena { current: chunk()?, used: 0, full: Vec::new(), fresh: Vec::new() })
    }

    /// Room for `length` bytes (1 to a page) that crosses no page, written by `write` once.
    /// `write` may say that fewer bytes are used.
    pub(crate) fn write(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<Slot, Errno> {
        debug_assert!((1..=PAGE_BYTES).contains(&length), "a slot is at most a page");
        let room = length.next_multiple_of(SLOT_BYTES);
        let left_in_page = PAGE_BYTES - self.used % PAGE_BYTES;
        let mut start = if room > left_in_page { self.used + left_in_page } else { self.used };
        if start + room > ARENA_CHUNK_BYTES {
            let next = match self.fresh.pop() {
                Some(chunk) => chunk,
                None => chunk()?,
            };
            self.full.push(std::mem::replace(&mut self.current, next));
            start = 0;
        }
        self.used = start + room;
        // SAFETY: start + room lies in the chunk's mapping.
        let at = unsafe { self.current.as_ptr().add(start) };
        let at = NonNull::new(at).ok_or(libc::ENOMEM)?;
        // SAFETY: these bytes are in the mapping, were never handed out since its pages were fresh,
        // and are borrowed for the closure only.
        let bytes = unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), length) };
        let length = write(bytes)?.min(length);
        Ok(Slot { at, length })
    }

    /// Nothing written so far waits to be vmspliced any more: it is in the pipe, or will be
    /// written anew. Full chunks are given back.
    pub(crate) fn settle(&mut self) {
        while let Some(chunk) = self.full.pop() {
            if self.fresh.len() < ARENA_CHUNKS_KEPT && chunk.advise(libc::MADV_DONTNEED).is_ok() {
                self.fresh.push(chunk);
            }
        }
    }
}

/// One page of zeros that nobody can write.
pub(crate) struct ZeroPage {
    page: Mapping,
    at: NonNull<u8>,
}

impl ZeroPage {
    pub(crate) fn new() -> Result<ZeroPage, Errno> {
        let page = Mapping::new(PAGE_BYTES)?;
        let at = NonNull::new(page.as_ptr()).ok_or(libc::ENOMEM)?;
        // Written once, so that it is a page of ours and not the kernel's shared one.
        // SAFETY: the page is mapped and writable.
        unsafe { at.as_ptr().write_bytes(0, PAGE_BYTES) };
        page.protect()?;
        Ok(ZeroPage { page, at })
    }

    /// `length` zeros (at most a page).
    pub(crate) fn slot(&self, length: usize) -> Slot {
        Slot { at: self.at, length: length.min(self.page.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(arena: &mut Arena, bytes: &[u8]) -> Slot {
        arena
            .write(bytes.len(), |to| {
                to.copy_from_slice(bytes);
                Ok(bytes.len())
            })
            .unwrap()
    }

    fn read(slot: Slot) -> Vec<u8> {
        // SAFETY: a slot's bytes stay mapped while its arena lives.
        unsafe { std::slice::from_raw_parts(slot.at.as_ptr(), slot.length) }.to_vec()
    }

    #[test]
    fn a_slot_never_crosses_a_page() {
        let mut arena = Arena::new().unwrap();
        for length in [13, 4096, 1, 4000, 200, 17, 4095] {
            let slot = write(&mut arena, &vec![7; length]);
            let start = slot.at.as_ptr() as usize;
            assert_eq!(start % SLOT_BYTES, 0);
            assert_eq!(start / PAGE_BYTES, (start + length - 1) / PAGE_BYTES, "{length}");
        }
    }

    #[test]
    fn what_waits_to_be_gathered_keeps_its_bytes_when_its_chunk_is_full() {
        let mut arena = Arena::new().unwrap();
        let first = write(&mut arena, b"piece header");
        for _ in 0..2 * ARENA_CHUNK_BYTES / SLOT_BYTES {
            write(&mut arena, b"another header");
        }
        assert_eq!(read(first), b"piece header");
        arena.settle();
        assert_eq!(read(first), [0; 12], "a chunk given back has fresh pages");
    }

    #[test]
    fn no_address_is_written_twice_between_two_settlements() {
        let mut arena = Arena::new().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 * ARENA_CHUNK_BYTES / SLOT_BYTES {
            assert!(seen.insert(write(&mut arena, b"header").at));
        }
    }

    #[test]
    fn chunks_given_back_are_used_again() {
        let mut arena = Arena::new().unwrap();
        for _ in 0..20 * ARENA_CHUNK_BYTES / SLOT_BYTES {
            write(&mut arena, b"header");
            arena.settle();
        }
        assert!(arena.fresh.len() <= 2, "{} chunks", arena.fresh.len());
    }
}
