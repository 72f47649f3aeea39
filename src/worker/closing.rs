//! The end of a connection, of a torrent's service, and of the worker; and deadlines, which lead
//! there.

use std::cmp::Reverse;

use ringseed_meta::{Instant, TorrentId};
use ringseed_ring::{Kernel, Op, Socket};

use super::connection::{Connection, Outgoing, Phase};
use super::mailbox::{ConnectionId, Report};
use super::token::Errand;
use super::{Stopping, TICK, Worker, limits};

/// How a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// What the socket holds still goes out.
    Graceful,
    /// By RST: what the socket holds is dropped.
    Reset,
}

impl<K: Kernel> Worker<K> {
    /// Closes a connection; nothing more is sent on it.
    pub(super) fn close(&mut self, id: ConnectionId, how: How) {
        let Some(mut connection) = self.take(id) else { return };
        if connection.phase != Phase::Closing {
            self.finish(&mut connection, how);
        }
        self.put(connection);
    }

    /// As [`Worker::close`], of a connection that was taken out of its place.
    pub(super) fn finish(&mut self, connection: &mut Connection, how: How) {
        match connection.phase {
            Phase::Moving(to) => {
                // Not to be closed before it has left the kernel: then it comes back to be.
                self.shared.crew.moves(to.into(), self.options.place);
                connection.phase = Phase::Recalled(how);
                return;
            }
            Phase::Recalled(_) => return,
            _ => {}
        }
        connection.phase = Phase::Closing;
        self.fair.remove(connection.id.slot);
        connection.requests.clear();
        connection.control.clear();
        self.drop_outgoing(connection);
        let op = Op::Close { socket: connection.socket, reset: how == How::Reset };
        self.push(op, Errand::Close(connection.id));
    }

    /// Forgets the batch that waits here; one that the kernel has comes back by itself.
    fn drop_outgoing(&mut self, connection: &mut Connection) {
        match std::mem::replace(&mut connection.outgoing, Outgoing::Nothing) {
            Outgoing::Blocked(batch) | Outgoing::Refetching(batch) => self.kernel.recycle(batch),
            Outgoing::Sending => connection.outgoing = Outgoing::Sending,
            Outgoing::Nothing => {}
        }
        connection.frames.clear();
        self.let_go(connection);
    }

    /// A socket that never became a connection.
    pub(super) fn refuse(&mut self, socket: Socket) {
        self.shared.counters.refused.add(1);
        self.push(Op::Close { socket, reset: true }, Errand::Nothing);
    }

    pub(super) fn on_closed(&mut self, id: ConnectionId, now: Instant) {
        let Some(mut connection) = self.take(id) else { return };
        self.free_the_place(id);
        self.shared.crew.leaves(self.options.place);
        self.unacknowledged_bytes -= u64::from(connection.unacknowledged_bytes);
        self.shared.admission.leave(connection.address.ip());
        if let Some(content) = connection.content.take() {
            self.note_interest(content.torrent, &mut connection, false);
            self.leave_content(content.torrent, now);
            self.shared.counters.peers.set(self.shared.counters.peers.read().saturating_sub(1));
        }
        self.shared.counters.connections.set(self.occupied() as u64);
        self.end_if_stopped();
    }

    /// The place is another connection's from now on.
    pub(super) fn free_the_place(&mut self, id: ConnectionId) {
        let place = &mut self.places[id.slot as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.slot);
        self.fair.remove(id.slot);
    }

    /// Closes every connection of a torrent, and its files.
    pub(super) fn close_torrent(&mut self, torrent: TorrentId) {
        for id in self.connections_of(Some(torrent)) {
            self.close(id, How::Reset);
        }
        let mut close = Vec::new();
        self.files.forget_torrent(torrent, &mut close);
        for file in close {
            self.push(Op::CloseFile { file }, Errand::Nothing);
        }
    }

    fn connections_of(&self, torrent: Option<TorrentId>) -> Vec<ConnectionId> {
        let connections = self.places.iter().filter_map(|place| place.connection.as_deref());
        connections
            .filter(|connection| connection.phase != Phase::Closing)
            .filter(|connection| {
                torrent.is_none() || connection.entry.as_ref().map(|entry| entry.id) == torrent
            })
            .map(|connection| connection.id)
            .collect()
    }

    /// Stops: with `drain`, what was begun goes out first.
    pub(super) fn stop(&mut self, drain: bool, now: Instant) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Draining;
            self.shared.mailbox.close();
            self.read_arrivals(now);
            for place in 0..self.listeners.len() {
                let socket = self.listeners[place].socket;
                self.listeners[place].again_at = None;
                self.push(Op::Close { socket, reset: false }, Errand::Nothing);
            }
        }
        for id in self.connections_of(None) {
            if drain {
                self.drain(id);
            } else {
                self.close(id, How::Reset);
            }
        }
        self.end_if_stopped();
    }

    /// Finishes the blocks that were begun, then closes.
    pub(super) fn drain(&mut self, id: ConnectionId) {
        let Some(mut connection) = self.take(id) else { return };
        match connection.phase {
            Phase::Closing | Phase::Recalled(_) => return self.put(connection),
            Phase::Moving(_) => {
                self.finish(&mut connection, How::Graceful);
                return self.put(connection);
            }
            _ => {}
        }
        connection.drop_requests();
        connection.control.clear();
        connection.drop_metadata();
        connection.phase = Phase::Draining;
        let idle = match &connection.outgoing {
            Outgoing::Nothing => true,
            Outgoing::Blocked(batch) | Outgoing::Refetching(batch) => batch.is_empty(),
            Outgoing::Sending => false,
        };
        if idle {
            self.finish(&mut connection, How::Graceful);
        }
        self.put(connection);
    }

    pub(super) fn end_if_stopped(&mut self) {
        if self.stopping != Stopping::Draining || self.occupied() > 0 {
            return;
        }
        self.stopping = Stopping::Stopped;
        let mut close = Vec::new();
        self.files.forget_all(&mut close);
        for file in close {
            self.push(Op::CloseFile { file }, Errand::Nothing);
        }
        self.report(Report::Stopped);
    }

    /// Puts the connection's next deadline into the heap (once; it moves by being looked at).
    pub(super) fn watch(&mut self, id: ConnectionId, at: Instant) {
        self.deadlines.push(Reverse((at, id.slot, id.generation)));
    }

    pub(super) fn meet_deadlines(&mut self, now: Instant) {
        while let Some(Reverse((at, slot, generation))) = self.deadlines.peek().copied() {
            if at > now {
                return;
            }
            self.deadlines.pop();
            let id = ConnectionId { slot, generation };
            let Some(mut connection) = self.take(id) else { continue };
            if connection.phase != Phase::Closing {
                self.on_deadline(&mut connection, now);
            }
            if connection.phase != Phase::Closing {
                let next = connection.peer.deadline().unwrap_or(now.after(4 * TICK));
                self.watch(id, next.max(now.after(TICK / 4)));
            }
            self.put(connection);
        }
    }

    /// What is due every quarter of a second while there is anything to look at.
    pub(super) fn tick(&mut self, now: Instant) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now.after(TICK);
        self.retry_files(now);
        self.look_at_files(now);
        self.heed_paused();
        self.sweep_contents(now);
        self.look_at_unacknowledged(limits::UNACKNOWLEDGED_ASKED_PER_TICK, now);
        self.publish();
        if now >= self.next_round {
            self.next_round = now.after(ringseed_sched::choke::ROUND);
            self.choke_round(now);
        }
    }
}
