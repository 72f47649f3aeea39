//! Provided receive buffers: a fixed pool that the kernel fills, and buffers that go home when dropped.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::limits::PAGE_BYTES;

/// A pool of receive buffers of one size, owned by one thread. Kernel-agnostic: the ring takes
/// the ids that came home and provides them to the system again.
pub struct BufferPool {
    memory: Box<[UnsafeCell<u8>]>,
    buffer_bytes: usize,
    came_home: RefCell<Vec<u16>>,
    lent: Cell<usize>,
}

impl BufferPool {
    /// `count` buffers of `buffer_bytes` each, all at home.
    pub fn new(count: u16, buffer_bytes: usize) -> Rc<BufferPool> {
        let mut memory = vec![0u8; usize::from(count) * buffer_bytes].into_boxed_slice();
        // The system fills them in turn, so all of their pages are needed soon: they are taken here, where
        // no peer waits for the faults.
        memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = std::hint::black_box(0));
        let memory = Box::into_raw(memory) as *mut [UnsafeCell<u8>];
        // SAFETY: the pointer comes from Box::into_raw; UnsafeCell<u8> has the layout of u8.
        let memory = unsafe { Box::from_raw(memory) };
        Rc::new(BufferPool {
            memory,
            buffer_bytes,
            came_home: RefCell::new((0..count).rev().collect()),
            lent: Cell::new(0),
        })
    }

    /// Bytes of one buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Buffers that are out with the caller (as [`RecvBuffer`]s).
    pub fn lent(&self) -> usize {
        self.lent.get()
    }

    /// A buffer that is at home, for the system (or the simulation) to fill.
    pub(crate) fn take_home(&self) -> Option<u16> {
        self.came_home.borrow_mut().pop()
    }

    /// Buffers that may be filled.
    pub(crate) fn at_home(&self) -> usize {
        self.came_home.borrow().len()
    }

    /// Puts a buffer back that was taken and not lent.
    pub(crate) fn put_home(&self, id: u16) {
        self.came_home.borrow_mut().push(id);
    }

    /// Where a buffer's memory begins; `None` for an id that is not of this pool.
    pub(crate) fn address(&self, id: u16) -> Option<*mut u8> {
        let first = self.memory.get(usize::from(id) * self.buffer_bytes)?;
        Some(first.get())
    }

    /// Copies into a buffer that was taken from home (the simulation's receive); cut to its size.
    #[cfg(feature = "sim")]
    pub(crate) fn fill(&self, id: u16, bytes: &[u8]) -> usize {
        let length = bytes.len().min(self.buffer_bytes);
        let copied = self.write(id, |into| {
            into[..length].copy_from_slice(&bytes[..length]);
            Ok(length)
        });
        copied.unwrap_or(0)
    }

    /// Lets a call write into a buffer that was taken from home. How many bytes it wrote.
    #[inline]
    pub(crate) fn write(
        &self,
        id: u16,
        call: impl FnOnce(&mut [u8]) -> Result<usize, i32>,
    ) -> Result<usize, i32> {
        let to = self.address(id).ok_or(libc::ENOBUFS)?;
        // SAFETY: `to` has buffer_bytes bytes of this pool's memory, lent to nobody: the id was
        // taken from home and is lent only after this.
        call(unsafe { std::slice::from_raw_parts_mut(to, self.buffer_bytes) })
    }

    /// Lends bytes of a buffer that was taken from home and filled. A stretch that does not lie
    /// in the buffer is cut to it. `None` for an id that is not of this pool.
    pub(crate) fn lend(
        self: &Rc<Self>,
        id: u16,
        start: usize,
        length: usize,
    ) -> Option<RecvBuffer> {
        self.address(id)?;
        let start = start.min(self.buffer_bytes);
        let length = length.min(self.buffer_bytes - start);
        self.lent.set(self.lent.get() + 1);
        Some(RecvBuffer { home: Rc::clone(self), id, start, length })
    }
}

/// Bytes that a socket received. Goes back to its pool when dropped, so drop it within the turn.
pub struct RecvBuffer {
    home: Rc<BufferPool>,
    id: u16,
    start: usize,
    length: usize,
}

impl RecvBuffer {
    /// Leaves the first `bytes` out.
    pub(crate) fn skip(&mut self, bytes: usize) {
        let bytes = bytes.min(self.length);
        self.start += bytes;
        self.length -= bytes;
    }
}

impl Deref for RecvBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let at = usize::from(self.id) * self.home.buffer_bytes + self.start;
        let cells = &self.home.memory[at..at + self.length];
        // SAFETY: this id is lent to this RecvBuffer alone until it drops, so nobody writes here.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast(), cells.len()) }
    }
}

impl DerefMut for RecvBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let at = usize::from(self.id) * self.home.buffer_bytes + self.start;
        let cells = &self.home.memory[at..at + self.length];
        // SAFETY: this id is lent to this RecvBuffer alone, which is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(cells.as_ptr() as *mut u8, cells.len()) }
    }
}

impl Drop for RecvBuffer {
    fn drop(&mut self) {
        self.home.lent.set(self.home.lent.get() - 1);
        self.home.came_home.borrow_mut().push(self.id);
    }
}

impl std::fmt::Debug for RecvBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecvBuffer({} bytes)", self.length)
    }
}
