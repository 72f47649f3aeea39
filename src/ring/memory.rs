//! Anonymous memory at addresses that do not move, for what the kernel reads or writes behind our back.

use std::ptr::NonNull;

use crate::sys::{Errno, errno};

/// A private anonymous mapping, zeroed; pages are taken when first touched.
pub(crate) struct Mapping {
    at: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    pub(crate) fn new(bytes: usize) -> Result<Mapping, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping touches nothing of ours.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        let at = NonNull::new(at.cast()).ok_or(libc::ENOMEM)?;
        Ok(Mapping { at, bytes })
    }

    /// Its first byte; page-aligned.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.at.as_ptr()
    }

    /// Its size.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// madvise(2) on all of it.
    pub(crate) fn advise(&self, advice: i32) -> Result<(), Errno> {
        // SAFETY: the range is this mapping. MADV_DONTNEED zeroes it, which its owner asks for.
        let result = unsafe { libc::madvise(self.at.as_ptr().cast(), self.bytes, advice) };
        if result < 0 { Err(errno()) } else { Ok(()) }
    }

    /// Makes it read-only for good.
    pub(crate) fn protect(&self) -> Result<(), Errno> {
        // SAFETY: the range is this mapping.
        let result =
            unsafe { libc::mprotect(self.at.as_ptr().cast(), self.bytes, libc::PROT_READ) };
        if result < 0 { Err(errno()) } else { Ok(()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, and whoever let others use it has waited for them.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
    }
}
