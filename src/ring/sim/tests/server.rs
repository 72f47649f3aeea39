//! A file server of the simplest kind on a `Kernel`: requests of 12 bytes (offset, length) are
//! answered in order by a header that repeats them and the bytes. It keeps the rules for fetching
//! and sending, unless a bug is planted in it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use crate::{
    Batch, Completion, Directory, Failure, File, Kernel, Mount, Op, Outcome, Part, RecvBuffer,
    Residency, Run, Socket, Token, Verb,
};

/// A mistake planted in the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
    TwoSends,
    UsesClosedSocket,
    KeepsBuffer,
    BelievesFetch,
    NeverAsks,
    LeaksSocket,
    LeaksFile,
    ForgetsTheRest,
    SendsFromClosedFile,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing in flight for its sends.
    Idle,
    ReadingAhead,
    ReadingByte,
    ReadingAll,
    Sending,
    WaitingForRoom,
}

struct Peer {
    socket: Socket,
    carry: Vec<u8>,
    requests: VecDeque<(u64, u32)>,
    batch: Option<Box<Batch>>,
    phase: Phase,
    tries: u32,
    /// Runs of the batch that were fetched, for files whose residency is unknown.
    fetched: Vec<Run>,
    /// The peer sends no more; or its connection is to be closed.
    ended: bool,
    closing: bool,
}

/// No more requests go into a batch of this size.
const BATCH_BYTES: u64 = 64 << 10;

const LISTENER: u64 = 0;
const OPEN: u64 = 1;
const CLOSE_LISTENER: u64 = 2;
const CLOSE_FILE: u64 = 3;
const RECEIVE: u64 = 4;
const LOOK: u64 = 7;
const WORK: u64 = 5;
const CLOSE: u64 = 6;

pub(super) struct Server<K: Kernel> {
    pub(super) kernel: K,
    /// Times it was woken.
    pub(super) woken: u64,
    listener: Socket,
    listening: bool,
    root: Arc<Directory>,
    file: Option<File>,
    opening: bool,
    /// The file cannot be served.
    refused: bool,
    verb: Verb,
    bug: Option<Bug>,
    peers: BTreeMap<u64, Peer>,
    next_peer: u64,
    deferred: VecDeque<(Op, Token)>,
    kept: Option<RecvBuffer>,
    stopping: bool,
    /// Ops pushed and not finished.
    in_flight: u64,
}

impl<K: Kernel> Server<K> {
    pub(super) fn new(kernel: K, listener: Socket, verb: Verb, bug: Option<Bug>) -> Server<K> {
        Server {
            kernel,
            woken: 0,
            listener,
            listening: false,
            root: Directory::new("/data".into()),
            file: None,
            opening: false,
            refused: false,
            verb,
            bug,
            peers: BTreeMap::new(),
            next_peer: 16,
            deferred: VecDeque::new(),
            kept: None,
            stopping: false,
            in_flight: 0,
        }
    }

    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        let listener = self.listener;
        self.push(Op::Close { socket: listener, reset: false }, CLOSE_LISTENER);
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.close(id);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopping && self.in_flight == 0 && self.file.is_none()
    }

    fn push(&mut self, op: Op, token: u64) {
        self.in_flight += 1;
        self.deferred.push_back((op, Token(token)));
        self.push_deferred();
    }

    fn push_deferred(&mut self) {
        while let Some((op, token)) = self.deferred.pop_front() {
            if let Err(op) = self.kernel.push(op, token) {
                return self.deferred.push_front((op, token));
            }
        }
    }

    pub(super) fn turn(&mut self) {
        self.kept = None;
        self.push_deferred();
        if !self.listening && !self.stopping {
            self.listening = true;
            self.push(Op::Accept { listener: self.listener }, LISTENER);
        }
        if self.file.is_none() && !self.opening && !self.refused && !self.stopping {
            self.opening = true;
            let (root, path) = (Arc::clone(&self.root), Arc::from(Path::new("file")));
            self.push(Op::Open { root, path }, OPEN);
        }
        while let Some(completion) = self.kernel.next() {
            self.on_completion(completion);
        }
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.work(id);
        }
        if self.stopping
            && self.peers.is_empty()
            && !self.opening
            && let Some(file) = self.file.take()
            && self.bug != Some(Bug::LeaksFile)
        {
            self.push(Op::CloseFile { file }, CLOSE_FILE);
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        if completion.token == Token::WAKE {
            self.woken += 1;
            return;
        }
        let Completion { token: Token(token), outcome, more, .. } = completion;
        let (id, kind) = (token / 16, token % 16);
        self.in_flight = self.in_flight.saturating_sub(u64::from(!more));
        match (kind, outcome) {
            (LISTENER, outcome) => self.on_accept(outcome, more),
            (OPEN, outcome) => {
                self.opening = false;
                match outcome {
                    Outcome::Opened { file, mount, .. } => self.opened(file, mount),
                    Outcome::Failed(Failure::Os(libc::EMFILE)) => {}
                    _ => self.refused = true,
                }
            }
            (RECEIVE, Outcome::Received { buffer }) => self.on_received(id, buffer),
            (RECEIVE, Outcome::EndOfStream) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.ended = true;
                }
            }
            (RECEIVE, Outcome::Failed(_)) => self.close(id),
            (WORK, outcome) => self.on_work(id, outcome),
            (CLOSE, Outcome::Closed) => {
                self.peers.remove(&id);
            }
            _ => {}
        }
    }

    /// What another machine answers for is copied, and looked at by an op.
    fn opened(&mut self, file: File, mount: Mount) {
        self.file = Some(file);
        if mount.is_distant {
            self.verb = Verb::Copy;
            self.push(Op::Stat { file }, LOOK);
        }
    }

    fn on_accept(&mut self, outcome: Outcome, more: bool) {
        if !more {
            self.listening = false;
        }
        let Outcome::Accepted { socket, .. } = outcome else { return };
        let id = self.next_peer;
        self.next_peer += 1;
        let peer = Peer {
            socket,
            carry: Vec::new(),
            requests: VecDeque::new(),
            batch: None,
            phase: Phase::Idle,
            tries: 0,
            fetched: Vec::new(),
            ended: false,
            closing: false,
        };
        self.peers.insert(id, peer);
        self.push(Op::Receive { socket }, id * 16 + RECEIVE);
        if self.stopping || self.refused {
            self.close(id);
        }
    }

    fn on_received(&mut self, id: u64, buffer: RecvBuffer) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.carry.extend_from_slice(&buffer);
        while peer.carry.len() >= 12 {
            let request: Vec<u8> = peer.carry.drain(..12).collect();
            let offset = u64::from_le_bytes(request[..8].try_into().unwrap());
            let length = u32::from_le_bytes(request[8..].try_into().unwrap());
            peer.requests.push_back((offset, length));
        }
        if self.bug == Some(Bug::KeepsBuffer) {
            self.kept = Some(buffer);
        }
    }

    fn close(&mut self, id: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if std::mem::replace(&mut peer.closing, true) {
            return;
        }
        let socket = peer.socket;
        if self.bug == Some(Bug::LeaksSocket) {
            self.peers.remove(&id);
            return;
        }
        self.push(Op::Close { socket, reset: id.is_multiple_of(3) }, id * 16 + CLOSE);
        if self.bug == Some(Bug::UsesClosedSocket) {
            self.push(Op::PollReadable { socket }, id * 16 + 15);
        }
    }

    fn on_work(&mut self, id: u64, outcome: Outcome) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let phase = std::mem::replace(&mut peer.phase, Phase::Idle);
        match (phase, outcome) {
            (Phase::Sending, Outcome::Sent { batch, .. }) if batch.is_empty() => {
                peer.tries = 0;
                self.kernel.recycle(batch);
            }
            (Phase::Sending, Outcome::Sent { mut batch, .. }) => {
                if self.bug == Some(Bug::ForgetsTheRest) {
                    batch.advance(1);
                }
                if batch.is_empty() {
                    return self.kernel.recycle(batch);
                }
                peer.batch = Some(batch);
                let socket = peer.socket;
                if !peer.closing {
                    peer.phase = Phase::WaitingForRoom;
                    self.push(Op::PollWritable { socket }, id * 16 + WORK);
                }
            }
            (Phase::Sending, Outcome::Failed(_)) => self.close(id),
            (Phase::ReadingAhead, _) if !peer.closing => self.read_last_byte(id),
            // The file ends before the run does, or cannot be read: nothing can be sent.
            (Phase::ReadingByte | Phase::ReadingAll, Outcome::Read { bytes: 0 })
            | (Phase::ReadingAll, Outcome::Failed(_)) => self.close(id),
            (Phase::ReadingByte, Outcome::Read { .. })
                if self.bug == Some(Bug::BelievesFetch) && !peer.closing =>
            {
                self.send(id);
            }
            _ => {}
        }
    }

    fn read_last_byte(&mut self, id: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(&run) = peer.fetched.last() else { return };
        peer.phase = Phase::ReadingByte;
        let offset = run.offset + u64::from(run.length) - 1;
        self.push(Op::ReadByte { file: run.file, offset }, id * 16 + WORK);
    }

    /// The first run of the batch that may not be sent yet.
    fn missing_run(&mut self, id: u64) -> Option<Run> {
        if self.verb == Verb::Copy || self.bug == Some(Bug::NeverAsks) {
            return None;
        }
        let peer = self.peers.get(&id)?;
        let runs: Vec<Run> = peer.batch.as_ref()?.remaining().filter_map(run_of).collect();
        runs.into_iter().find(|run| match self.kernel.residency(*run) {
            Residency::Resident => false,
            Residency::Missing => true,
            Residency::Unknown => !peer.fetched.contains(run),
        })
    }

    fn send(&mut self, id: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(batch) = peer.batch.take() else { return };
        peer.phase = Phase::Sending;
        peer.fetched.clear();
        let socket = peer.socket;
        let verb = self.verb;
        if self.bug == Some(Bug::SendsFromClosedFile)
            && let Some(file) = self.file.take()
        {
            self.push(Op::CloseFile { file }, CLOSE_FILE);
        }
        self.push(Op::Send { socket, batch, verb }, id * 16 + WORK);
        if self.bug == Some(Bug::TwoSends) {
            let mut batch = self.kernel.batch();
            batch.push_bytes(b"!");
            self.push(Op::Send { socket, batch, verb }, id * 16 + 15);
        }
    }

    /// Does what can be done for a peer.
    fn work(&mut self, id: u64) {
        let Some(file) = self.file else {
            if self.refused {
                self.close(id);
            }
            return;
        };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.phase != Phase::Idle || peer.closing {
            return;
        }
        if peer.batch.is_none() {
            if peer.requests.is_empty() {
                if peer.ended {
                    self.close(id);
                }
                return;
            }
            let mut batch = self.kernel.batch();
            while batch.len() < BATCH_BYTES
                && let Some((offset, length)) = peer.requests.pop_front()
            {
                batch.push_bytes(&header(offset, length));
                batch.push_run(Run { file, offset, length });
                batch.push_zeros(length % 7);
            }
            peer.batch = Some(batch);
        }
        self.fetch_and_send(id);
    }

    fn fetch_and_send(&mut self, id: u64) {
        let Some(run) = self.missing_run(id) else { return self.send(id) };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.tries += 1;
        peer.fetched.push(run);
        // Reading all of it is the verdict on a run that will not become resident.
        let op = if peer.tries.is_multiple_of(3) {
            peer.phase = Phase::ReadingAll;
            Op::ReadDiscard { run }
        } else {
            peer.phase = Phase::ReadingAhead;
            Op::ReadAhead { run, aside: false }
        };
        self.push(op, id * 16 + WORK);
    }
}

fn run_of(part: Part) -> Option<Run> {
    match part {
        Part::Run(run) => Some(run),
        _ => None,
    }
}

/// What stands before the bytes of an answer.
pub(super) fn header(offset: u64, length: u32) -> [u8; 13] {
    let mut header = [b'R'; 13];
    header[1..9].copy_from_slice(&offset.to_le_bytes());
    header[9..].copy_from_slice(&length.to_le_bytes());
    header
}
