//! One HTTP connection: what is sent, what waits, and when its patience ends. Decides; does
//! nothing with a kernel.

use std::net::IpAddr;
use std::time::Duration;

use ringseed_meta::Instant;
use ringseed_ring::{Batch, Socket};

use super::exchange::{Exchange, Next, Progress};
use crate::limits;

/// A connection that was accepted and is not closed yet.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) peer: IpAddr,
    pub(super) exchange: Exchange,
    /// Answers for which no send is under way.
    pub(super) answers: Option<Box<Batch>>,
    pub(super) sending: Sending,
    pub(super) reading: Reading,
    pub(super) stage: Stage,
    /// What [`Connection::memory`] was when it was last looked at.
    pub(super) counted: usize,
    /// Requests that have come are held back until there is room for their answers.
    holds: bool,
    /// The client sends no more.
    their_end: bool,
    /// Since when the rest of a request is awaited.
    request_since: Option<Instant>,
    idle_since: Instant,
}

/// Answers in the hands of the kernel.
#[derive(Debug)]
pub(super) enum Sending {
    Nothing,
    /// A send, or the wait for a socket that takes bytes again, of so many bytes.
    Batch {
        bytes: u64,
        /// What the batch takes until all of it has gone.
        memory: usize,
        since: Instant,
        rest: Option<Box<Batch>>,
    },
}

/// The receive op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    On,
    /// It was cancelled, since too many answers wait, and has not ended yet.
    Stopping,
    Off,
}

/// How far the connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Requests are served.
    Open,
    /// The last answer is on its way; what still comes is not looked at.
    LastAnswer,
    /// The client has all answers, and may read them before the socket is closed under it
    /// (RFC 9112, 9.6: closing with unread input resets the connection and may lose the answer).
    Lingering(Instant),
    /// A close was pushed; only its completion is awaited.
    Closing,
}

/// What is to be done with the socket next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Nothing,
    /// Hand `answers` to the kernel.
    Send,
    /// Cancel the receive op.
    StopReading,
    /// Receive again.
    Read,
    /// Answer requests that were held back.
    Resume,
    Close(Manner),
}

/// How a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// What was sent still arrives.
    Orderly,
    /// At once; what did not arrive is lost.
    Reset,
}

impl Connection {
    /// `is_proxy`: what it says of its clients is believed.
    pub(super) fn new(socket: Socket, peer: IpAddr, is_proxy: bool, now: Instant) -> Connection {
        Connection {
            socket,
            peer,
            exchange: Exchange::new(is_proxy),
            answers: None,
            sending: Sending::Nothing,
            reading: Reading::On,
            stage: Stage::Open,
            counted: 0,
            holds: false,
            their_end: false,
            request_since: Some(now),
            idle_since: now,
        }
    }

    /// Bytes of answers that the socket has not taken.
    pub(super) fn unsent(&self) -> u64 {
        let waiting = self.answers.as_ref().map_or(0, |batch| batch.len());
        match &self.sending {
            Sending::Nothing => waiting,
            Sending::Batch { bytes, .. } => waiting + bytes,
        }
    }

    /// Bytes that requests and answers take here: a batch takes all of its memory until its last byte
    /// has gone.
    pub(super) fn memory(&self) -> usize {
        let waiting = self.answers.as_ref().map_or(0, |batch| batch.memory());
        let sending = match &self.sending {
            Sending::Nothing => 0,
            Sending::Batch { memory, .. } => *memory,
        };
        self.exchange.memory() + waiting + sending
    }

    /// Takes note of what the exchange made of received bytes.
    pub(super) fn received(&mut self, now: Instant, progress: Progress) {
        self.request_since = match progress.next {
            Next::Rest if progress.requests == 0 => self.request_since.or(Some(now)),
            Next::Rest => Some(now),
            Next::Request | Next::Room | Next::Nothing => None,
        };
        self.holds = progress.next == Next::Room;
        if progress.requests > 0 {
            self.idle_since = now;
        }
        if progress.next == Next::Nothing {
            self.stage = Stage::LastAnswer;
        }
    }

    /// The client closed its side: it may still read.
    pub(super) fn ended(&mut self) {
        self.reading = Reading::Off;
        self.their_end = true;
    }

    /// Whether what is received now is to be held back.
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    /// Whether another answer has room.
    pub(super) fn has_room(answers: &Batch) -> bool {
        answers.len() <= limits::UNSENT_BYTES_PAUSE
    }

    /// The next thing to do. Call it again after each but `Nothing`.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        let (unsent, sending) = (self.unsent(), matches!(self.sending, Sending::Batch { .. }));
        match self.stage {
            Stage::Closing => Step::Nothing,
            _ if unsent > 0 && !sending => Step::Send,
            Stage::Open if self.exchange.held_bytes() > limits::HELD_BYTES_MAX => {
                Step::Close(Manner::Reset)
            }
            Stage::Open if self.holds && unsent == 0 => Step::Resume,
            Stage::Open if self.their_end && !self.holds => {
                self.stage = Stage::LastAnswer;
                self.step(now)
            }
            Stage::Open => {
                let full = self.holds || unsent > limits::UNSENT_BYTES_PAUSE;
                match self.reading {
                    Reading::On if full => Step::StopReading,
                    Reading::Off if !full && !self.their_end => Step::Read,
                    _ => Step::Nothing,
                }
            }
            Stage::LastAnswer if unsent > 0 => Step::Nothing,
            Stage::LastAnswer => {
                self.stage = Stage::Lingering(now.after(limits::LINGER));
                self.step(now)
            }
            Stage::Lingering(_) if self.their_end => Step::Close(Manner::Orderly),
            Stage::Lingering(until) if now >= until => Step::Close(Manner::Orderly),
            Stage::Lingering(_) if self.reading == Reading::Off => Step::Read,
            Stage::Lingering(_) => Step::Nothing,
        }
    }

    /// An answer is under way, or its client has time to read it.
    pub(super) fn is_awaited(&self) -> bool {
        self.unsent() > 0 || matches!(self.stage, Stage::Lingering(_))
    }

    /// The answers that are under way are the last.
    pub(super) fn answer_no_more(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::LastAnswer;
        }
    }

    /// A close is pushed: lets go of all that the kernel does not have.
    pub(super) fn close(&mut self) {
        self.stage = Stage::Closing;
        (self.exchange, self.answers) = (Exchange::default(), None);
        if let Sending::Batch { rest: Some(_), .. } = self.sending {
            self.sending = Sending::Nothing;
        }
    }

    /// All that was being sent has gone.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sending = Sending::Nothing;
        self.idle_since = now;
    }

    /// Whether a deadline has passed: the client is to be closed on.
    pub(super) fn is_overdue(&self, now: Instant, idle_max: Duration) -> bool {
        let over = |since: Instant, patience| now >= since.after(patience);
        match (&self.stage, &self.sending, self.request_since) {
            (Stage::Closing, ..) => false,
            (Stage::Lingering(until), ..) => now >= *until,
            (_, Sending::Batch { since, .. }, _) => over(*since, limits::SEND_TIMEOUT),
            (_, _, Some(since)) => over(since, limits::REQUEST_TIMEOUT),
            _ => over(self.idle_since, idle_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ringseed_ring::sim::{Options, World};

    use super::*;

    #[test]
    fn a_batch_counts_in_full_until_its_last_byte_has_gone() {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let socket = World::new(Options::calm(1)).bind_datagram().unwrap();
        let mut connection = Connection::new(socket, ip, false, Instant::ZERO);
        assert_eq!(connection.memory(), 0);
        let mut batch = Box::new(Batch::default());
        batch.push_bytes(&[7; 50_000]);
        batch.advance(49_999);
        let memory = batch.memory();
        assert!(memory >= 50_000, "{memory}");
        connection.answers = Some(batch);
        assert_eq!((connection.unsent(), connection.memory()), (1, memory));
        let rest = connection.answers.take();
        connection.sending = Sending::Batch { bytes: 1, memory, since: Instant::ZERO, rest };
        assert_eq!((connection.unsent(), connection.memory()), (1, memory));
        connection.sent(Instant::ZERO);
        assert_eq!(connection.memory(), 0);
    }
}
