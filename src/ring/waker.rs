//! Ending another thread's wait.

use std::sync::Arc;

/// Rings a kernel from any thread. Ringing twice before it looks is one wake-up.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `ring`.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker(Arc::new(ring))
    }

    /// Ends the kernel's wait, or its next one if it is not waiting.
    pub fn wake(&self) {
        (self.0)()
    }
}
