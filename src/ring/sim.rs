//! A simulated kernel: the same contract as the real one, in virtual time, with faults that a
//! seed decides, and checkers that are always on.
//!
//! [`World`] is the machine seen from outside (files, remote ends, the clock, the verdict);
//! [`SimKernel`] is what the program under test is given. `enter` lets virtual time pass to the
//! next event, so nothing here waits and a run depends on nothing but its seed.
//!
//! What is modelled because it matters to a sender by reference:
//! * The page cache, page by page: pages are resident, being read (and counted as resident, as
//!   cachestat counts them) or missing, and may be evicted at any moment. A send that meets a
//!   missing page waits for the disk on the caller's thread, and is counted by reason ([`Blocked`]).
//! * References: bytes of a batch are looked up when they *leave*, not when they are sent. A file
//!   cut meanwhile sends zeros, one written in place sends the new bytes, and gifted memory that
//!   is written again sends the wrong header.
//! * Sockets with bounded buffers, remote ends with bounded windows, FIN, RST, and the reset by
//!   which Linux answers a close with unread bytes.
//!
//! Checked always: each op is finished exactly once, with its token; nothing is pushed for what is
//! closed, or is another kernel's; one send and one receive at a time for each socket; receive buffers are dropped within
//! the turn; gifted pages are never written again, nor gathered before they were written; no send
//! waits for pages that were not asked for. At rest: no socket, file, op or buffer is left.

mod connection;
mod content;
mod detach;
mod disk;
mod faults;
mod gifts;
mod inode;
mod network;
mod ops;
mod options;
mod push;
mod random;
mod reads;
mod sends;
mod state;
#[cfg(test)]
mod tests;
mod world;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use connection::RemoteState;
pub use content::Content;
pub use disk::{DiskSpeed, WaitsBecause};
pub use faults::{Break, Coverage, Fault, Faults};
pub use inode::Sends;
pub use options::Options;
pub use random::Random;
pub use state::Blocked;
pub use world::{Remote, Watched, World};

use crate::{
    Batch, Bell, Completion, Counters, Detached, Failure, File, FileStat, Kernel, KernelError, Op,
    OpId, Residency, Run, Socket, Token, Wait, Waker,
};

/// A simulated kernel. Get it from [`World::kernel`].
pub struct SimKernel {
    state: Rc<RefCell<state::State>>,
    number: usize,
}

impl SimKernel {
    /// The machine, called by this kernel's thread.
    fn state(&self) -> RefMut<'_, state::State> {
        let mut state = self.state.borrow_mut();
        state.current = self.number;
        state.disk.caller = self.number;
        state
    }
}

impl Kernel for SimKernel {
    fn push(&mut self, op: Op, token: Token) -> Result<OpId, Op> {
        self.state().push(op, token)
    }

    fn enter(&mut self, wait: Wait) -> Result<(), KernelError> {
        self.state().enter(wait);
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.state().next()
    }

    fn batch(&mut self) -> Box<Batch> {
        self.state().batches.pop().unwrap_or_default()
    }

    fn recycle(&mut self, batch: Box<Batch>) {
        self.state().recycle(batch);
    }

    fn attach(&mut self, socket: Detached) -> Result<Socket, Failure> {
        self.state().attach(socket)
    }

    fn residency(&mut self, run: Run) -> Residency {
        let mut state = self.state();
        match state.disk.opened(run.file) {
            Some(inode) => state.residency(inode, run),
            None => {
                state.violated(format!("residency asked of {run:?}, whose file is closed"));
                Residency::Missing
            }
        }
    }

    fn missing(&mut self, run: Run, ends: &mut Vec<u64>) -> Residency {
        let mut state = self.state();
        match state.disk.opened(run.file) {
            Some(inode) => {
                let now_us = state.now_us;
                state.disk.missing(inode, run, ends, now_us)
            }
            None => {
                state.violated(format!("pages asked of {run:?}, whose file is closed"));
                Residency::Missing
            }
        }
    }

    fn stat(&mut self, file: File) -> Result<FileStat, Failure> {
        let mut state = self.state();
        let Some(inode) = state.disk.opened(file) else {
            state.violated(format!("stat of {file:?}, which is closed"));
            return Err(Failure::Os(libc::EBADF));
        };
        if state.meets(Fault::LookFailed) {
            return Err(Failure::Os(libc::EINTR));
        }
        if state.disk.inode(inode).distant {
            state.violated(format!("stat of {file:?}, for which another machine answers"));
        }
        state.meet_changes(inode);
        Ok(state.disk.stat_of(inode))
    }

    fn unacknowledged_bytes(&mut self, socket: Socket) -> u32 {
        self.state().unacknowledged_bytes(socket)
    }

    fn tcp_bytes(&mut self) -> Option<u64> {
        self.state().tcp_bytes()
    }

    fn counters(&self) -> Counters {
        let state = self.state.borrow();
        Counters { enters: state.disk.enters, ..state.counters }
    }

    fn bell(&self) -> Bell {
        Bell::of_waker(self.waker())
    }

    fn ring(&mut self, bell: &Bell) {
        bell.waker.wake();
    }

    fn waker(&self) -> Waker {
        let rung = Arc::clone(&self.state().desks[self.number].rung);
        Waker::new(move || rung.store(true, Ordering::Release))
    }
}
