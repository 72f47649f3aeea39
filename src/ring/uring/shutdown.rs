//! Leaving the ring: the memory that the kernel may still write goes only after its ops have ended.

use std::mem::ManuallyDrop;
use std::time::Duration;

use crate::OpId;

use super::{UringKernel, WAKE, cancel_entry};

/// Enters that a drop waits for its ops, and how long each: a disk that does not answer within
/// this time costs a leak, not a crash.
const DRAIN_ENTERS: u32 = 50;
const DRAIN_WAIT: Duration = Duration::from_millis(20);

impl UringKernel {
    /// Ends all ops. `false`: some did not end in time.
    fn drain(&mut self) -> bool {
        let ops: Vec<OpId> =
            self.ops.iter().map(|(index, generation, _)| OpId { index, generation }).collect();
        for op in ops {
            self.cancel(op);
        }
        // SAFETY: a cancellation names an op by number and points to nothing.
        unsafe { self.ring.push(cancel_entry(WAKE)) };
        let mut waker_waits = true;
        for _ in 0..DRAIN_ENTERS {
            if self.ring.enter(Some(DRAIN_WAIT)).is_err() {
                return false;
            }
            while let Some(entry) = self.ring.next() {
                if entry.user_data() == WAKE {
                    waker_waits = false;
                } else {
                    self.complete(&entry);
                }
            }
            self.ready.clear();
            if self.ops.len() == 0 && !waker_waits {
                return true;
            }
        }
        false
    }
}

impl Drop for UringKernel {
    fn drop(&mut self) {
        // Closing the ring does not wait for its ops (the kernel does that later, on its own).
        if !self.drain() {
            return;
        }
        // SAFETY: each is dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.ops) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.provided) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.scratch) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.sink) };
    }
}
