//! Gifted memory: the pages that bytes of a batch are written to before the socket takes
//! references to them, and the rule that such a page is never written again before it is dropped.
//!
//! A reference is to the *page*, as in the kernel: what is in the page when the bytes leave is
//! what the peer reads. Giving a chunk back (madvise(MADV_DONTNEED)) puts fresh pages of zeros
//! in its place and leaves pages that are referred to untouched.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::faults::Break;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Slots start at a multiple of this.
const SLOT_BYTES: usize = 16;

/// A page of gifted memory.
#[derive(Debug)]
struct Page {
    bytes: RefCell<[u8; PAGE_BYTES]>,
    /// Bytes from the start that somebody wrote.
    written: Cell<usize>,
    /// Bytes from the start that were referred to since the page was fresh.
    gifted: Cell<usize>,
}

impl Page {
    fn fresh() -> Rc<Page> {
        Rc::new(Page {
            bytes: RefCell::new([0; PAGE_BYTES]),
            written: Cell::new(0),
            gifted: Cell::new(0),
        })
    }
}

/// A reference to bytes of a page, as a socket's queue holds it.
#[derive(Clone, Debug)]
pub(crate) struct Gift {
    page: Rc<Page>,
    start: usize,
    length: usize,
}

impl Gift {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// What the page holds now.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.page.bytes.borrow()[self.start..self.start + self.length]);
    }

    /// Splits off the first `length` bytes.
    pub(crate) fn split_to(&mut self, length: usize) -> Gift {
        let first = Gift { page: Rc::clone(&self.page), start: self.start, length };
        self.start += length;
        self.length -= length;
        first
    }
}

/// Where bytes were written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    chunk: usize,
    page: usize,
    start: usize,
    length: usize,
}

/// Chunks of pages with a bump allocator.
#[derive(Debug)]
pub(crate) struct Gifts {
    chunks: Vec<Vec<Rc<Page>>>,
    chunk_pages: usize,
    /// Where the next slot is.
    chunk: usize,
    page: usize,
    at: usize,
    /// Full chunks in which bytes may wait to be gathered.
    full: Vec<usize>,
    /// Chunks to be used (again).
    fresh: Vec<usize>,
    broken: Option<Break>,
    violations: Vec<String>,
}

impl Gifts {
    pub(crate) fn new(chunk_pages: usize, broken: Option<Break>) -> Gifts {
        let chunk_pages = chunk_pages.max(1);
        Gifts {
            chunks: vec![fresh_chunk(chunk_pages)],
            chunk_pages,
            chunk: 0,
            page: 0,
            at: 0,
            full: Vec::new(),
            fresh: Vec::new(),
            broken,
            violations: Vec::new(),
        }
    }

    /// Writes bytes (at most a page of them) to a fresh slot.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Slot {
        debug_assert!(bytes.len() <= PAGE_BYTES, "a slot never crosses a page");
        if self.at + bytes.len() > PAGE_BYTES {
            self.next_page();
        }
        let slot = Slot { chunk: self.chunk, page: self.page, start: self.at, length: bytes.len() };
        let page = &self.chunks[slot.chunk][slot.page];
        let gifted = page.gifted.get();
        if slot.start < gifted {
            self.violations.push(format!(
                "gifted page rewritten: chunk {} page {} at byte {}, gifted up to byte {gifted}",
                slot.chunk, slot.page, slot.start,
            ));
        }
        page.bytes.borrow_mut()[slot.start..slot.start + bytes.len()].copy_from_slice(bytes);
        page.written.set(slot.start + bytes.len());
        self.at = (self.at + bytes.len()).next_multiple_of(SLOT_BYTES);
        slot
    }

    /// Takes a reference (vmsplice with SPLICE_F_GIFT).
    pub(crate) fn gather(&mut self, slot: Slot) -> Gift {
        let page = Rc::clone(&self.chunks[slot.chunk][slot.page]);
        let end = slot.start + slot.length;
        let written = page.written.get();
        if end > written {
            self.violations.push(format!(
                "bytes gathered that nobody wrote: chunk {} page {} up to byte {end}, written up \
                 to byte {written}",
                slot.chunk, slot.page,
            ));
        }
        page.gifted.set(page.gifted.get().max(end));
        Gift { page, start: slot.start, length: slot.length }
    }

    /// Nothing that was written waits to be gathered: full chunks are given back.
    pub(crate) fn settle(&mut self) {
        while let Some(chunk) = self.full.pop() {
            self.give_back(chunk);
        }
    }

    /// Rules broken since the last call.
    pub(crate) fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    fn give_back(&mut self, chunk: usize) {
        if self.broken != Some(Break::GiftedPageRewritten) {
            self.chunks[chunk] = fresh_chunk(self.chunk_pages);
        }
        self.fresh.push(chunk);
    }

    fn next_page(&mut self) {
        self.at = 0;
        self.page += 1;
        if self.page < self.chunk_pages {
            return;
        }
        self.page = 0;
        let full = self.chunk;
        self.chunk = self.fresh.pop().unwrap_or_else(|| {
            self.chunks.push(fresh_chunk(self.chunk_pages));
            self.chunks.len() - 1
        });
        if self.broken == Some(Break::HeadersDroppedWhileBatchWaits) {
            self.give_back(full);
        } else {
            self.full.push(full);
        }
    }
}

fn fresh_chunk(pages: usize) -> Vec<Rc<Page>> {
    (0..pages).map(|_| Page::fresh()).collect()
}
