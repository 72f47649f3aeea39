//! From the engine's events to completions.

use std::os::fd::{AsFd, OwnedFd};

use crate::engine::{Engine, Event};
use crate::files::OpenFile;
use crate::threads::Done;
use crate::{
    Completion, Failure, File, FileStat, Mount, OpId, Outcome, RecvBuffer, Socket, Token, sys,
};

use super::ops::{Task, asked_for};
use super::{NativeKernel, op_of};

/// What an event means, before it is known whether the op goes on.
enum Step {
    /// Something for the caller; the op goes on if the engine says so, or is started again.
    Deliver(Outcome),
    /// Nothing for the caller, the same.
    Nothing,
    /// Nothing for the caller: the op waits for buffers.
    Starve,
    /// The op's end.
    Finish(Outcome),
}

impl<E: Engine> NativeKernel<E> {
    /// Translates one event. `None`: it says nothing to the caller.
    #[inline]
    pub(super) fn on_event(&mut self, event: Event) -> Option<Completion> {
        let (name, result, buffer, goes_on) = match event {
            Event::Of { name, result, buffer, more } => (name, result, buffer, more),
            Event::Done { name, done } => {
                self.on_done(op_of(name), done);
                return None;
            }
            Event::Woken => {
                let (op, outcome) = (self.passing_id(), Outcome::Woken);
                return Some(Completion { token: Token::WAKE, op, outcome, more: false });
            }
        };
        let op = op_of(name);
        let Some(working) = self.ops.get_mut(op.index, op.generation) else {
            self.counters.stale_completions += 1;
            return None;
        };
        if !goes_on {
            working.under_way -= working.under_way.min(1);
        }
        if matches!(working.task, Task::Copy(_)) {
            self.complete_copy(op, name as u8, result);
            return None;
        }
        let (ends, socket) = (working.cancelled, working.socket);
        match (self.step(op, result, buffer), goes_on) {
            (Step::Deliver(outcome), true) if !ends || self.is_wanted(&outcome, socket) => {
                self.deliver(op, outcome)
            }
            (_, true) => None,
            (Step::Finish(outcome), false) => {
                self.finish(op, outcome);
                None
            }
            (step, false) if ends => self.end(op, step, socket),
            (step, false) => self.go_on(op, step),
        }
    }

    /// The op would go on, but its end is wanted. What came last is still handed out.
    fn end(&mut self, op: OpId, step: Step, socket: Option<Socket>) -> Option<Completion> {
        let last = match step {
            Step::Deliver(outcome) if self.is_wanted(&outcome, socket) => self.deliver(op, outcome),
            _ => None,
        };
        self.finish(op, Outcome::Failed(Failure::Cancelled));
        last
    }

    /// The engine ended a multishot op, or a read fell short: it is started again.
    fn go_on(&mut self, op: OpId, step: Step) -> Option<Completion> {
        match step {
            Step::Starve => {
                self.counters.buffers_short += 1;
                // Started at the next enter that has buffers: at once would be a loop.
                self.starved.push_back(op);
                None
            }
            Step::Deliver(outcome) => {
                self.start(op);
                self.deliver(op, outcome)
            }
            Step::Nothing | Step::Finish(_) => {
                self.start(op);
                None
            }
        }
    }

    /// Whether the caller must have it although the op's end is wanted: a connection always, bytes
    /// unless their socket is being closed.
    fn is_wanted(&self, outcome: &Outcome, socket: Option<Socket>) -> bool {
        let owned = socket.and_then(|socket| self.sockets.get(socket.index, socket.generation));
        matches!(outcome, Outcome::Accepted { .. })
            || owned.is_some_and(|owned| !owned.is_closing())
    }

    fn deliver(&self, op: OpId, outcome: Outcome) -> Option<Completion> {
        let working = self.ops.get(op.index, op.generation)?;
        Some(Completion { token: working.token, op, outcome, more: true })
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
                return match (&working.task, -result) {
                    (Task::Receive | Task::ReceiveDatagram, libc::ENOBUFS) => Step::Starve,
                    (Task::Accept, errno) if is_of_one_connection(errno) => Step::Nothing,
                    // What was read before it ends where the fault is.
                    (Task::ReadDiscard { run, done, .. }, errno) => {
                        let run = run.from(*done);
                        Step::Finish(Outcome::Failed(Failure::Run { run, errno }))
                    }
                    (_, errno) => Step::Finish(Outcome::Failed(Failure::Os(errno))),
                };
            }
        }
        match &mut working.task {
            Task::Receive => match buffer {
                Some(buffer) if result > 0 => {
                    self.counters.bytes_received += result as u64;
                    Step::Deliver(Outcome::Received { buffer })
                }
                _ => Step::Finish(Outcome::EndOfStream),
            },
            Task::Accept => self.accepted(sys::own(result)),
            Task::ReceiveDatagram => {
                buffer.and_then(E::datagram).map_or(Step::Nothing, |(buffer, from)| {
                    Step::Deliver(Outcome::Datagram { buffer, from })
                })
            }
            Task::Poll(_) => Step::Finish(Outcome::Done),
            Task::Connect(_) => self.connected(op),
            Task::ReadByte { .. } => Step::Finish(Outcome::Read { bytes: result as u32 }),
            Task::ReadDiscard { run, done, .. } => {
                *done += (result as u32).min(run.length - *done);
                if result == 0 || *done == run.length {
                    Step::Finish(Outcome::Read { bytes: *done })
                } else {
                    Step::Nothing
                }
            }
            Task::Copy(_) | Task::ReadAhead { .. } | Task::Look => Step::Nothing,
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
            Some(working) => std::mem::replace(&mut working.task, Task::Accept),
            None => return Step::Nothing,
        };
        let Task::Connect(connecting) = taken else { return Step::Nothing };
        Step::Finish(match self.own_socket(connecting.fd) {
            Some(socket) => Outcome::Connected { socket },
            None => Outcome::Failed(Failure::Os(libc::EMFILE)),
        })
    }

    /// A call that was made aside has ended, and with it its op.
    fn on_done(&mut self, op: OpId, done: Done) {
        let Some(working) = self.ops.get_mut(op.index, op.generation) else {
            self.counters.stale_completions += 1;
            return;
        };
        let outcome = match (done, &working.task) {
            (Done::Opened(opened), _) if working.cancelled => {
                if let Ok((file, ..)) = *opened {
                    self.drop_file(file);
                }
                Outcome::Failed(Failure::Cancelled)
            }
            _ if working.cancelled => Outcome::Failed(Failure::Cancelled),
            (Done::Asked(asked, took), Task::ReadAhead { run, .. }) => asked_for(*run, asked, took),
            (Done::Opened(opened), _) => match *opened {
                Ok(opened) => self.opened(opened),
                Err(failure) => Outcome::Failed(failure),
            },
            (Done::Looked(Ok(stat)), _) => Outcome::Looked { stat },
            (Done::Looked(Err(errno)), _) => Outcome::Failed(Failure::Os(errno)),
            // None of these ends by a number alone.
            (Done::Asked(..) | Done::Result(_), _) => Outcome::Failed(Failure::Os(libc::EIO)),
        };
        self.finish(op, outcome);
    }

    fn opened(&mut self, (file, stat, mount): (OpenFile, FileStat, Mount)) -> Outcome {
        match self.files.insert(file) {
            Ok((index, generation)) => {
                Outcome::Opened { file: File { index, generation }, stat, mount }
            }
            Err(file) => {
                self.drop_file(file);
                Outcome::Failed(Failure::Os(libc::EMFILE))
            }
        }
    }
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
