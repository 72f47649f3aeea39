//! From the ring's completions to ours.

use std::os::fd::{AsFd, OwnedFd};

use io_uring::cqueue;

use crate::address::{ADDRESS_BYTES, RawAddress};
use crate::files::OpenFile;
use crate::{Completion, Failure, File, OpId, Outcome, RecvBuffer, Token, sys};

use super::ops::Work;
use super::{CANCEL, UringKernel, WAKE};

/// struct io_uring_recvmsg_out: what stands before name and payload of a datagram.
const RECVMSG_OUT_BYTES: usize = 16;

/// What an entry means, before it is known whether the op goes on.
enum Step {
    /// Something for the caller; the op goes on if the kernel says so, or is armed again.
    Deliver(Outcome),
    /// Nothing for the caller, the same.
    Nothing,
    /// Nothing for the caller: the op waits for buffers.
    Starve,
    /// The op's end.
    Finish(Outcome),
}

impl UringKernel {
    /// Translates one completion. `None`: it says nothing to the caller.
    pub(super) fn complete(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let (data, result, flags) = (entry.user_data(), entry.result(), entry.flags());
        if data == WAKE {
            self.arm_waker();
            let op = self.passing_id();
            return Some(Completion {
                token: Token::WAKE,
                op,
                outcome: Outcome::Woken,
                more: false,
            });
        }
        if data == CANCEL {
            return None;
        }
        let op = OpId { index: (data >> 8) as u32 & 0xff_ffff, generation: (data >> 32) as u32 };
        let buffer = self.buffer_of(result, flags);
        let Some(working) = self.ops.get_mut(op.index, op.generation) else {
            self.counters.stale_completions += 1;
            return None;
        };
        let kernel_goes_on = cqueue::more(flags);
        if !kernel_goes_on {
            working.in_kernel -= working.in_kernel.min(1);
        }
        if matches!(working.work, Work::Copy(_)) {
            self.complete_copy(op, data as u8, result);
            return None;
        }
        let ends = working.cancelled;
        match (self.step(op, result, buffer), kernel_goes_on) {
            (Step::Deliver(outcome), true) if !ends || is_accepted(&outcome) => {
                self.deliver(op, outcome)
            }
            (_, true) => None,
            (Step::Finish(outcome), false) => {
                self.finish(op, outcome);
                None
            }
            (step, false) if ends => self.end(op, step),
            (step, false) => self.go_on(op, step),
        }
    }

    /// The op would go on, but its end is wanted. A connection accepted last is still handed out.
    fn end(&mut self, op: OpId, step: Step) -> Option<Completion> {
        let last = match step {
            Step::Deliver(outcome) if is_accepted(&outcome) => self.deliver(op, outcome),
            _ => None,
        };
        self.finish(op, Outcome::Failed(Failure::Cancelled));
        last
    }

    /// The kernel ended a multishot op, or a read fell short: it is armed again.
    fn go_on(&mut self, op: OpId, step: Step) -> Option<Completion> {
        match step {
            Step::Starve => {
                self.counters.buffers_short += 1;
                // Armed at the next enter that has buffers: at once would be a loop.
                self.starved.push_back(op);
                None
            }
            Step::Deliver(outcome) => {
                self.arm(op);
                self.deliver(op, outcome)
            }
            Step::Nothing | Step::Finish(_) => {
                self.arm(op);
                None
            }
        }
    }

    fn deliver(&self, op: OpId, outcome: Outcome) -> Option<Completion> {
        let working = self.ops.get(op.index, op.generation)?;
        Some(Completion { token: working.token, op, outcome, more: true })
    }

    /// The provided buffer that the kernel filled; dropping it sends it home.
    #[inline]
    fn buffer_of(&self, result: i32, flags: u32) -> Option<RecvBuffer> {
        let id = cqueue::buffer_select(flags)?;
        self.provided.lend(id, 0, result.max(0) as usize)
    }

    #[inline]
    fn step(&mut self, op: OpId, result: i32, buffer: Option<RecvBuffer>) -> Step {
        let Some(working) = self.ops.get_mut(op.index, op.generation) else { return Step::Nothing };
        match result {
            _ if result >= 0 => {}
            _ if result == -libc::ECANCELED => {
                return Step::Finish(Outcome::Failed(Failure::Cancelled));
            }
            _ if result == -libc::EINTR => return Step::Nothing,
            _ => {
                return match (&working.work, -result) {
                    (Work::Receive | Work::ReceiveDatagram, libc::ENOBUFS) => Step::Starve,
                    (Work::Accept, errno) if is_of_one_connection(errno) => Step::Nothing,
                    (Work::ReadDiscard { run, .. }, errno) => {
                        Step::Finish(Outcome::Failed(Failure::Run { run: *run, errno }))
                    }
                    (_, errno) => Step::Finish(Outcome::Failed(Failure::Os(errno))),
                };
            }
        }
        match &mut working.work {
            Work::Receive => match buffer {
                Some(buffer) if result > 0 => {
                    self.counters.bytes_received += result as u64;
                    Step::Deliver(Outcome::Received { buffer })
                }
                _ => Step::Finish(Outcome::EndOfStream),
            },
            Work::Accept => self.accepted(sys::own(result)),
            Work::ReceiveDatagram => self.datagram(buffer),
            Work::Poll(_) => Step::Finish(Outcome::Done),
            Work::Connect(_) => self.connected(op),
            Work::Open(_) => Step::Finish(self.opened(sys::own(result))),
            Work::ReadByte { .. } => Step::Finish(Outcome::Read { bytes: result as u32 }),
            Work::ReadDiscard { run, done } => {
                *done += (result as u32).min(run.length - *done);
                if result == 0 || *done == run.length {
                    Step::Finish(Outcome::Read { bytes: *done })
                } else {
                    Step::Nothing
                }
            }
            Work::Copy(_) => Step::Nothing,
        }
    }

    fn accepted(&mut self, fd: OwnedFd) -> Step {
        // It fails when the peer has gone already: nobody to talk to.
        let Ok(peer) = sys::peer_name(fd.as_fd()) else { return Step::Nothing };
        match self.own_socket(fd) {
            Some(socket) => Step::Deliver(Outcome::Accepted { socket, peer }),
            None => Step::Nothing,
        }
    }

    fn connected(&mut self, op: OpId) -> Step {
        let taken = match self.ops.get_mut(op.index, op.generation) {
            Some(working) => std::mem::replace(&mut working.work, Work::Accept),
            None => return Step::Nothing,
        };
        let Work::Connect(connecting) = taken else { return Step::Nothing };
        Step::Finish(match self.own_socket(connecting.fd) {
            Some(socket) => Outcome::Connected { socket },
            None => Outcome::Failed(Failure::Os(libc::EMFILE)),
        })
    }

    fn opened(&mut self, fd: OwnedFd) -> Outcome {
        let (file, stat) = match OpenFile::adopt(fd) {
            Ok(opened) => opened,
            Err(failure) => return Outcome::Failed(failure),
        };
        match self.files.insert(file) {
            Ok((index, generation)) => Outcome::Opened { file: File { index, generation }, stat },
            Err(_) => Outcome::Failed(Failure::Os(libc::EMFILE)),
        }
    }

    fn datagram(&self, buffer: Option<RecvBuffer>) -> Step {
        let parsed = buffer.and_then(|mut buffer| {
            let header = buffer.get(..RECVMSG_OUT_BYTES + ADDRESS_BYTES)?;
            let name_bytes = u32::from_ne_bytes(header.get(..4)?.try_into().ok()?) as usize;
            let name = header.get(RECVMSG_OUT_BYTES..)?;
            let from = RawAddress::from_bytes(name.get(..name_bytes)?).parse()?;
            buffer.skip(RECVMSG_OUT_BYTES + ADDRESS_BYTES);
            Some(Outcome::Datagram { buffer, from })
        });
        parsed.map_or(Step::Nothing, Step::Deliver)
    }
}

fn is_accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Accepted { .. })
}

/// accept(2): "errors ... of the new socket": the listener is well, one connection is gone.
fn is_of_one_connection(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EPERM
    )
}
