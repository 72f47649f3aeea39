//! The kernel behind one trait. This room knows sockets, files, pages and time limits of the
//! system; it knows no BitTorrent. It is the only room with `unsafe`.
//!
//! A caller pushes [`Op`]s with a token of its own, enters, and takes [`Completion`]s that carry
//! the token back. One thread owns a kernel; only a [`Waker`] crosses threads.

mod address;
mod arena;
mod batch;
mod buffers;
mod cipher;
#[cfg(test)]
mod contract;
mod counters;
mod datagrams;
mod engine;
mod epoll;
mod files;
mod gather;
mod kernel;
pub mod limits;
mod memory;
mod mount;
mod native;
mod op;
mod outline;
mod pipe;
mod plan;
mod prefetch;
mod probe;
pub mod sandbox;
#[cfg(feature = "sim")]
pub mod sim;
mod slab;
mod sockstat;
mod sys;
pub mod system;
mod threads;
mod uring;
mod waker;

pub use batch::{Batch, Part};
pub use buffers::{BufferPool, RecvBuffer};
pub use cipher::Cipher;
pub use counters::Counters;
pub use datagrams::Datagrams;
pub use kernel::{Kernel, KernelError, Wait};
pub use native::{AnyKernel, EpollKernel, KernelOptions, NativeKernel, UringKernel};
pub use op::{
    Completion, Detached, Directory, Failure, File, FileStat, Mount, Op, OpId, Outcome, Residency,
    Run, Socket, Token, Verb,
};
pub use plan::{
    KernelChoice, KernelKind, KernelPlan, Probe, RingRung, StartError, VerbPlan, ZeroCopy,
    kernel_plan, verb_plan,
};
pub use prefetch::prefetch;
pub use waker::{Bell, Waker};
