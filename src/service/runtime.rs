//! Where the control thread's futures run: on a ring, or on plain tokio where there is none.

use std::future::Future;
use std::io;

use ringseed_ring::KernelKind;
use tokio::task::LocalSet;

/// A runtime of one thread on which local tasks may be spawned.
pub(super) enum Runtime {
    Ring(tokio_uring::Runtime),
    Plain(tokio::runtime::Runtime, LocalSet),
}

impl Runtime {
    /// By the kernel that the workers use. A ring that cannot be had here is no reason not to start:
    /// nothing on this thread needs one.
    pub(super) fn new(kernel: KernelKind) -> io::Result<Runtime> {
        if kernel == KernelKind::Uring
            && let Ok(runtime) = tokio_uring::Runtime::new(&tokio_uring::builder())
        {
            return Ok(Runtime::Ring(runtime));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Runtime::Plain(runtime, LocalSet::new()))
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Runtime::Ring(runtime) => runtime.block_on(future),
            Runtime::Plain(runtime, tasks) => tasks.block_on(runtime, future),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn local_tasks_timers_and_sockets_work_with_and_without_a_ring() {
        for kernel in [KernelKind::Uring, KernelKind::Epoll] {
            let runtime = Runtime::new(kernel).unwrap();
            assert_eq!(matches!(runtime, Runtime::Ring(_)), kernel == KernelKind::Uring);
            runtime.block_on(async {
                let local = std::rc::Rc::new(5);
                let task = tokio::task::spawn_local(async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
                    *local
                });
                assert_eq!(task.await.unwrap(), 5);
            });
        }
    }
}
