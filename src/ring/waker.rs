//! Ending another thread's wait.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use crate::sys;

/// Rings a kernel from any thread. Ringing twice before it looks is one wake-up.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `ring`.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker(Arc::new(ring))
    }

    /// A waker that rings this eventfd.
    pub(crate) fn of_eventfd(fd: &Arc<OwnedFd>) -> Waker {
        let fd = Arc::clone(fd);
        Waker::new(move || {
            // It fails only when 2^64 - 1 rings wait: then a wake-up is due anyway.
            let _ = sys::write(fd.as_fd(), &1u64.to_ne_bytes());
        })
    }

    /// Ends the kernel's wait, or its next one if it is not waiting.
    pub fn wake(&self) {
        (self.0)()
    }
}

/// A kernel as other kernels ring it: see [`Kernel::ring`](crate::Kernel::ring).
#[derive(Clone)]
pub struct Bell {
    pub(crate) waker: Waker,
    /// Its ring, if it has one.
    pub(crate) ring: Option<Arc<OwnedFd>>,
}

impl Bell {
    /// A bell without a ring: whoever rings it calls the waker.
    pub(crate) fn of_waker(waker: Waker) -> Bell {
        Bell { waker, ring: None }
    }
}
