//! Files mapped so that mincore(2) can be asked about their pages, and for nothing else: nobody may read
//! or write the mapping, so it has no page tables, and what is cut off the file is not missed (SIGBUS).
//!
//! Mapping takes the lock of the process's memory from everybody else, so a file is mapped once, on the
//! thread that opens it, and not for each question. Mappings are counted by the system, and addresses are
//! not without end: beyond some of both a file is mapped for the question alone.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{OUTLINE_BYTES_MAX, OUTLINES_MAX, PAGE_BYTES};
use crate::sys::{self, Errno};

/// A stretch of a file, mapped.
struct Window {
    at: NonNull<u8>,
    offset: u64,
    bytes: usize,
}

// SAFETY: nobody follows the address, and the calls that take it may be made on any thread.
unsafe impl Send for Window {}

impl Window {
    /// Of whole pages.
    fn new(file: BorrowedFd<'_>, offset: u64, bytes: usize) -> Result<Window, Errno> {
        let (nowhere, flags) = (std::ptr::null_mut(), libc::MAP_SHARED | libc::MAP_NORESERVE);
        let (fd, from) = (file.as_raw_fd(), offset as i64);
        // SAFETY: a fresh mapping that nobody can read touches nothing of ours.
        let at = unsafe { libc::mmap(nowhere, bytes, libc::PROT_NONE, flags, fd, from) };
        if at == libc::MAP_FAILED {
            return Err(sys::errno());
        }
        let at = NonNull::new(at.cast()).ok_or(libc::ENOMEM)?;
        Ok(Window { at, offset, bytes })
    }

    /// Where `bytes` of the file from `offset` on are, if all of them are in it.
    fn place_of(&self, offset: u64, bytes: usize) -> Option<usize> {
        let before = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        (before.checked_add(bytes)? <= self.bytes).then_some(before)
    }

    /// mincore(2) of the pages from `before` bytes on, which [`Window::place_of`] gave.
    fn ask(&self, before: usize, ready: &mut [u8]) -> Result<(), Errno> {
        let at = self.at.as_ptr().wrapping_add(before).cast();
        let bytes = ready.len() * PAGE_BYTES;
        // SAFETY: there is a byte for each of the pages; what is asked of is looked at by the system alone.
        let told = unsafe { libc::mincore(at, bytes, ready.as_mut_ptr()) };
        if told < 0 { Err(sys::errno()) } else { Ok(()) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody knows of it.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
    }
}

/// Mappings that are kept, and their bytes.
struct Kept {
    outlines: AtomicU64,
    bytes: AtomicU64,
}

/// Those of all kernels of the process.
static KEPT: Kept = Kept { outlines: AtomicU64::new(0), bytes: AtomicU64::new(0) };

impl Kept {
    /// `false`: there are enough of them.
    fn take(&self, bytes: u64) -> bool {
        let outlines = self.outlines.fetch_add(1, Ordering::Relaxed) + 1;
        let in_all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let fits = outlines <= OUTLINES_MAX && in_all <= OUTLINE_BYTES_MAX;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: u64) {
        self.outlines.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The mapping of a file, as long as that was when it was opened.
pub(crate) struct Outline(Window);

impl Outline {
    /// `None`: there are enough mappings, or the system gives none of this file.
    pub(crate) fn new(file: BorrowedFd<'_>, size: u64) -> Option<Outline> {
        let bytes = size.checked_next_multiple_of(PAGE_BYTES as u64).filter(|bytes| *bytes > 0)?;
        if !KEPT.take(bytes) {
            return None;
        }
        let window = usize::try_from(bytes).ok().and_then(|bytes| Window::new(file, 0, bytes).ok());
        if window.is_none() {
            KEPT.give_back(bytes);
        }
        window.map(Outline)
    }
}

impl Drop for Outline {
    fn drop(&mut self) {
        KEPT.give_back(self.0.bytes as u64);
    }
}

/// mincore(2) of a file's pages from `offset` on, a byte each: bit 0 tells whether the page is in the page
/// cache and has been read. Of a file that is neither ours nor writable it says so of every page.
pub(crate) fn ready_pages(
    (file, outline): (BorrowedFd<'_>, Option<&Outline>),
    offset: u64,
    ready: &mut [u8],
) -> Result<(), Errno> {
    let bytes = ready.len() * PAGE_BYTES;
    let kept = outline.and_then(|Outline(window)| Some((window, window.place_of(offset, bytes)?)));
    match kept {
        Some((window, before)) => window.ask(before, ready),
        // It has grown, or there are enough mappings.
        None => Window::new(file, offset, bytes)?.ask(0, ready),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::os::fd::AsFd;

    use super::*;

    /// Bytes of so many pages.
    const fn pages(count: usize) -> u64 {
        (count * PAGE_BYTES) as u64
    }

    /// Asks about two pages on a thread that may map nothing.
    fn ask_without_mapping(
        (file, outline): (std::fs::File, Option<Outline>),
        offset: u64,
    ) -> Result<[u8; 2], Errno> {
        let asking = std::thread::spawn(move || {
            crate::system::deny(libc::SYS_mmap as u32).unwrap();
            let mut ready = [9; 2];
            ready_pages((file.as_fd(), outline.as_ref()), offset, &mut ready).map(|()| ready)
        });
        asking.join().unwrap()
    }

    /// Two pages that are in the page cache.
    fn file() -> std::fs::File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; pages(2) as usize - 7]).unwrap();
        file
    }

    #[test]
    fn a_question_about_an_open_file_maps_nothing() {
        let one = file();
        let outline = Outline::new(one.as_fd(), pages(2) - 7);
        assert_eq!(ask_without_mapping((one, outline), 0), Ok([1, 1]));
        assert_eq!(ask_without_mapping((file(), None), 0), Err(libc::EPERM), "it has to");
    }

    #[test]
    fn what_has_grown_is_mapped_to_be_asked_about_and_what_was_cut_off_is_not_there() {
        let mut file = file();
        let outline = Outline::new(file.as_fd(), pages(2));
        let ask = |file: &std::fs::File, offset| {
            let mut ready = [9; 2];
            ready_pages((file.as_fd(), outline.as_ref()), offset, &mut ready).map(|()| ready)
        };
        file.seek(std::io::SeekFrom::Start(pages(3))).unwrap();
        file.write_all(&vec![1; pages(1) as usize]).unwrap();
        assert_eq!(ask(&file, pages(2)), Ok([0, 1]), "a hole, and what was written behind it");
        file.set_len(0).unwrap();
        assert_eq!(ask(&file, 0), Ok([0, 0]));
        assert_eq!(ask(&file, pages(2)), Ok([0, 0]));
    }

    #[test]
    fn mappings_and_their_bytes_are_bounded() {
        let kept = Kept { outlines: AtomicU64::new(0), bytes: AtomicU64::new(0) };
        assert!((0..OUTLINES_MAX).all(|_| kept.take(pages(1))));
        assert!(!kept.take(pages(1)), "one more than the bound");
        kept.give_back(pages(1));
        assert!(kept.take(pages(1)));
        let kept = Kept { outlines: AtomicU64::new(0), bytes: AtomicU64::new(0) };
        assert!(kept.take(OUTLINE_BYTES_MAX));
        assert!(!kept.take(pages(1)));
        kept.give_back(OUTLINE_BYTES_MAX);
        assert!(kept.take(pages(1)), "nothing is kept of what was refused");
        assert_eq!(kept.bytes.load(Ordering::Relaxed), pages(1));
    }

    #[test]
    fn a_file_of_nothing_has_no_outline() {
        assert!(Outline::new(file().as_fd(), 0).is_none());
        assert!(Outline::new(file().as_fd(), u64::MAX).is_none());
    }
}
