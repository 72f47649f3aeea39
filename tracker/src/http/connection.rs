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
    LastAnswer(Ending),
    /// The client has all answers, and may read them before the socket is closed under it
    /// (RFC 9112, 9.6: closing with unread input resets the connection and may lose the answer).
    Lingering(Instant),
    /// A close was pushed; only its completion is awaited.
    Closing,
}

/// Who ended the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// We did; the client may be sending still.
    Ours,
    /// The client closed its side.
    Theirs,
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
    /// Close in good order.
    Close,
    /// Close at once; what is unsent is lost.
    Reset,
}

impl Connection {
    pub(super) fn new(socket: Socket, peer: IpAddr, now: Instant) -> Connection {
        Connection {
            socket,
            peer,
            exchange: Exchange::default(),
            answers: None,
            sending: Sending::Nothing,
            reading: Reading::On,
            stage: Stage::Open,
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

    /// Takes note of what the exchange made of received bytes.
    pub(super) fn received(&mut self, now: Instant, progress: Progress) {
        self.request_since = match progress.next {
            Next::Rest if progress.requests == 0 => self.request_since.or(Some(now)),
            Next::Rest => Some(now),
            Next::Request | Next::Nothing => None,
        };
        if progress.requests > 0 {
            self.idle_since = now;
        }
        if progress.next == Next::Nothing {
            self.stage = Stage::LastAnswer(Ending::Ours);
        }
    }

    /// The client closed its side: it may still read.
    pub(super) fn ended(&mut self) {
        self.reading = Reading::Off;
        match self.stage {
            Stage::Open | Stage::LastAnswer(_) => self.stage = Stage::LastAnswer(Ending::Theirs),
            Stage::Lingering(_) => self.stage = Stage::Lingering(Instant::ZERO),
            Stage::Closing => {}
        }
    }

    /// The next thing to do. Call it again after each but `Nothing`.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        let (unsent, sending) = (self.unsent(), matches!(self.sending, Sending::Batch { .. }));
        match self.stage {
            Stage::Closing => Step::Nothing,
            _ if unsent > limits::UNSENT_BYTES_MAX => Step::Reset,
            _ if unsent > 0 && !sending => Step::Send,
            Stage::Open => match self.reading {
                Reading::On if unsent > limits::UNSENT_BYTES_PAUSE => Step::StopReading,
                Reading::Off if unsent <= limits::UNSENT_BYTES_PAUSE => Step::Read,
                _ => Step::Nothing,
            },
            Stage::LastAnswer(_) if unsent > 0 => Step::Nothing,
            Stage::LastAnswer(Ending::Theirs) => Step::Close,
            Stage::LastAnswer(Ending::Ours) => {
                self.stage = Stage::Lingering(now.after(limits::LINGER));
                self.linger(now)
            }
            Stage::Lingering(_) => self.linger(now),
        }
    }

    fn linger(&self, now: Instant) -> Step {
        match self.stage {
            Stage::Lingering(until) if now >= until => Step::Close,
            _ if self.reading == Reading::Off => Step::Read,
            _ => Step::Nothing,
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
