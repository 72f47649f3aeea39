//! Provided receive buffers: a fixed pool that the kernel fills, and buffers that go home when dropped.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

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
        let memory = (0..usize::from(count) * buffer_bytes).map(|_| UnsafeCell::new(0)).collect();
        Rc::new(BufferPool {
            memory,
            buffer_bytes,
            came_home: RefCell::new((0..count).collect()),
            lent: Cell::new(0),
        })
    }
}

/// Bytes that a socket received. Goes back to its pool when dropped, so drop it within the turn.
pub struct RecvBuffer {
    home: Rc<BufferPool>,
    id: u16,
    start: usize,
    length: usize,
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
