//! Leaving: the memory that the kernel may still write goes only after its ops have ended.

use std::mem::ManuallyDrop;
use std::time::Duration;

use crate::OpId;
use crate::engine::Engine;

use super::NativeKernel;

/// Enters that a drop waits for its ops, and how long each: a disk that does not answer within
/// this time costs a leak, not a crash.
const DRAIN_ENTERS: u32 = 50;
const DRAIN_WAIT: Duration = Duration::from_millis(20);

impl<E: Engine> NativeKernel<E> {
    /// Ends all ops. `false`: some did not end in time.
    fn drain(&mut self) -> bool {
        let ops: Vec<OpId> =
            self.ops.iter().map(|(index, generation, _)| OpId { index, generation }).collect();
        for op in ops {
            self.cancel(op);
        }
        self.engine.shut_down();
        for _ in 0..DRAIN_ENTERS {
            while let Some(event) = self.engine.next() {
                self.on_event(event);
            }
            self.ready.clear();
            if self.ops.len() == 0 && self.engine.is_quiet() {
                return true;
            }
            if self.engine.enter(Some(DRAIN_WAIT)).is_err() {
                return false;
            }
        }
        false
    }
}

impl<E: Engine> Drop for NativeKernel<E> {
    fn drop(&mut self) {
        let drained = self.drain();
        let files: Vec<_> =
            self.files.iter().map(|(index, generation, _)| (index, generation)).collect();
        for (index, generation) in files {
            if let Some(file) = self.files.remove(index, generation) {
                self.drop_file(file);
            }
        }
        // SAFETY: taken once, here, and not used afterwards.
        let engine = unsafe { ManuallyDrop::take(&mut self.engine) };
        if !drained {
            // Closing a ring does not wait for its ops, nor does a thread that waits for a disk.
            return engine.abandon();
        }
        drop(engine);
        // SAFETY: each is dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.ops) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.scratch) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.sink) };
    }
}
