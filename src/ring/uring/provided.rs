//! The ring of provided receive buffers: where the kernel takes a buffer when bytes arrive.

use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::memory::Mapping;
use crate::plan::StartError;
use crate::{BufferPool, RecvBuffer};

use super::ring::set_up_error;

/// The group's number in entries that select a buffer.
pub(crate) const GROUP: u16 = 0;

/// Memory shared with the kernel: entries that name the pool's buffers, and a tail.
pub(crate) struct ProvidedBuffers {
    memory: Mapping,
    /// Entries, a power of two.
    count: u16,
    tail: u16,
    pool: Rc<BufferPool>,
}

impl ProvidedBuffers {
    /// `count` (rounded up to a power of two, at most 32,768) buffers of `buffer_bytes`.
    pub(crate) fn new(
        submitter: &Submitter<'_>,
        count: u16,
        buffer_bytes: u32,
    ) -> Result<ProvidedBuffers, StartError> {
        let count = count.clamp(1, 1 << 15).next_power_of_two();
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        let memory = Mapping::new(bytes)
            .map_err(|errno| set_up_error(&std::io::Error::from_raw_os_error(errno)))?;
        let entries: *mut BufRingEntry = memory.as_ptr().cast();
        let pool = BufferPool::new(count, buffer_bytes as usize);
        let mut provided = ProvidedBuffers { memory, count, tail: 0, pool };
        // SAFETY: the mapping has `count` zeroed entries, is page-aligned, and lives until Drop,
        // which comes after the ring is gone or its ops are drained.
        unsafe { submitter.register_buf_ring_with_flags(entries as u64, count, GROUP, 0) }
            .map_err(|error| set_up_error(&error))?;
        provided.provide();
        Ok(provided)
    }

    /// Gives the kernel every buffer that came home; how many.
    #[inline]
    pub(crate) fn provide(&mut self) -> usize {
        let entries: *mut BufRingEntry = self.memory.as_ptr().cast();
        let mut provided = 0;
        while let Some(id) = self.pool.take_home() {
            let Some(address) = self.pool.address(id) else { continue };
            let index = usize::from(self.tail & (self.count - 1));
            // SAFETY: the index is below the count of entries of the mapping.
            let entry = unsafe { entries.add(index) };
            // SAFETY: the kernel reads entries before the tail only; this one lies behind it, and
            // there are no more buffers than entries.
            let entry = unsafe { &mut *entry };
            entry.set_addr(address as u64);
            entry.set_len(self.pool.buffer_bytes() as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            provided += 1;
        }
        if provided > 0 {
            // SAFETY: the pointer is the mapping's first entry, page-aligned and initialised.
            let tail = unsafe { BufRingEntry::tail(entries) };
            // SAFETY: the tail is a u16 in the mapping, aligned, shared with the kernel only.
            let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
            tail.store(self.tail, Ordering::Release);
        }
        provided
    }

    /// The buffer that a completion names.
    #[inline]
    pub(crate) fn lend(&self, id: u16, start: usize, length: usize) -> Option<RecvBuffer> {
        self.pool.lend(id, start, length)
    }
}
