//! Connections that go from one worker to another: as plain state and a plain descriptor.
//!
//! A connection leaves when nothing of it is under way here: no batch, no fetch, no open file, no
//! hash request. It is taken out of the kernel, which hands out what had been received; that is kept
//! as it came and parsed by the worker that gets it. What counts it here counts it there from then
//! on. A worker that takes nothing (its queue is full, or it stops) leaves it where it was.

use std::sync::Arc;
use std::time::Duration;

use ringseed_meta::Instant;
use ringseed_ring::{Detached, Kernel, Op, Outcome};
use ringseed_sched::balance::{self, Gift, Load};
use ringseed_sched::limits::LOOK;
use smallvec::SmallVec;

use super::closing::How;
use super::connection::{Connection, Outgoing, Phase};
use super::data::Loaded;
use super::mailbox::ConnectionId;
use super::token::Errand;
use super::{Stopping, Worker};
use crate::store::catalog::TorrentState;
use crate::store::content::Content;
use crate::store::fetch::Onward;

/// A connection that moved stays for so long where it came to: what it costs there must show first.
const MOVES_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Looks at the clock of busy time that make up a second.
const LOOKS: usize = 4;

/// A connection between two workers. Dropped, it is closed.
pub struct Parcel {
    connection: Box<Connection>,
    socket: Detached,
    /// It was counted among the interested peers of its torrent.
    interested: bool,
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parcel({})", self.connection.address)
    }
}

/// How busy a worker was of late, and whether it gives work away.
#[derive(Default)]
pub(super) struct Share {
    /// When busy time was read, and how much there had been, in microseconds.
    seen: [Option<(Instant, u64)>; LOOKS],
    next: usize,
    /// As it was published last.
    pub(super) permille: u32,
    balance: balance::Balance,
}

impl Share {
    /// Thousandths of the time since a second ago, or since it was seen first.
    fn note(&mut self, busy_us: u64, now: Instant) {
        let oldest = self.seen.get(self.next).copied().flatten();
        let since = oldest.or_else(|| self.seen.first().copied().flatten());
        if let Some((at, before_us)) = since {
            let past_us = now.as_us().saturating_sub(at.as_us()).max(1);
            let busy = busy_us.saturating_sub(before_us).saturating_mul(1000) / past_us;
            self.permille = u32::try_from(busy.min(1000)).unwrap_or(1000);
        }
        if let Some(place) = self.seen.get_mut(self.next) {
            *place = Some((now, busy_us));
        }
        self.next = (self.next + 1) % LOOKS;
    }
}

impl Connection {
    /// Nothing of it is under way that this worker alone could end.
    fn is_at_rest(&self) -> bool {
        let nothing_sent = matches!(self.outgoing, Outgoing::Nothing) && self.frames.is_empty();
        let waits = self.waits > 0 || self.hash_requests > 0;
        self.phase == Phase::Serving && nothing_sent && !waits
    }

    /// What it does when it does not move.
    fn resume(&mut self) {
        self.phase = match self.entry {
            Some(_) => Phase::Serving,
            None => Phase::Greeting,
        };
    }
}

impl<K: Kernel> Worker<K> {
    /// How much of its time the thread has worked since it began, or waited for a core: for the outer
    /// loop, four times a second. Returns when to come again. Gives connections away if it is due.
    pub fn note_busy(&mut self, busy_us: u64, now: Instant) -> Instant {
        self.share.note(busy_us, now);
        let me = self.options.place;
        if let Some(mate) = self.shared.crew.mate(me) {
            mate.set_busy(self.share.permille);
        }
        let loads: SmallVec<[Load; 8]> = self.shared.crew.loads().collect();
        if let Some(gift) = self.share.balance.look(me, &loads, now) {
            self.give(gift, now);
        }
        now.after(LOOK)
    }

    /// Connections that make up the gift go as soon as they may.
    fn give(&mut self, gift: Gift, now: Instant) {
        let served = self.places.iter().filter_map(|place| place.connection.as_deref());
        let mut rates: Vec<(u32, u64)> = served
            .filter(|peer| peer.phase == Phase::Serving && peer.may_move_from <= now)
            .map(|peer| (peer.id.slot, peer.rate.bytes_per_s(now)))
            .collect();
        for slot in balance::choose(gift.permille, self.share.permille, &mut rates) {
            self.send_away(slot, gift.to);
        }
    }

    /// The next so many connections that are served go to another worker, whatever they cost.
    pub(super) fn give_some(&mut self, to: usize, connections: u32) {
        let served = self.places.iter().filter_map(|place| place.connection.as_deref());
        let served = served.filter(|peer| peer.phase == Phase::Serving && peer.bound_for.is_none());
        let slots: Vec<u32> = served.map(|peer| peer.id.slot).take(connections as usize).collect();
        slots.into_iter().for_each(|slot| self.send_away(slot, to));
    }

    fn send_away(&mut self, slot: u32, to: usize) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let Some(mut connection) = place.connection.take() else { return };
        connection.bound_for = u16::try_from(to).ok();
        self.put(connection);
    }

    /// A connection that is bound for another worker leaves, if it may by now.
    pub(super) fn leave_if_bound(&mut self, connection: &mut Connection) {
        let Some(to) = connection.bound_for.filter(|_| connection.is_at_rest()) else { return };
        connection.bound_for = None;
        if self.stopping == Stopping::No && usize::from(to) != self.options.place {
            self.begin_move(connection, to);
        }
    }

    /// Which worker a connection that was just accepted belongs to, if it is another one.
    pub(super) fn better_place(&self) -> Option<u16> {
        let me = self.options.place;
        let loads: SmallVec<[Load; 8]> = self.shared.crew.loads().collect();
        let place = balance::place_new(me, &loads);
        u16::try_from(place).ok().filter(|_| place != me)
    }

    /// Takes it out of the kernel. What arrives until that is done is held.
    pub(super) fn begin_move(&mut self, connection: &mut Connection, to: u16) {
        self.shared.crew.moves(self.options.place, to.into());
        connection.phase = Phase::Moving(to);
        self.fair.remove(connection.id.slot);
        self.push(Op::Detach { socket: connection.socket }, Errand::Detach(connection.id));
    }

    /// It was not given up: a send was under way after all, or the socket is unknown. It may have lost
    /// what it received.
    fn on_not_detached(&mut self, mut connection: Box<Connection>, outcome: Outcome) {
        debug_assert!(false, "a connection at rest cannot leave: {outcome:?}");
        if let Phase::Moving(to) = connection.phase {
            self.shared.crew.moves(to.into(), self.options.place);
        }
        connection.resume();
        self.finish(&mut connection, How::Reset);
        self.put(connection);
    }

    pub(super) fn on_detached(&mut self, id: ConnectionId, outcome: Outcome, now: Instant) {
        let Some(connection) = self.take(id) else { return };
        let Outcome::Detached { socket } = outcome else {
            return self.on_not_detached(connection, outcome);
        };
        let interested = connection.counted_interest;
        let phase = connection.phase;
        let parcel = self.vacate(connection, socket, interested, now);
        match phase {
            Phase::Moving(to) => self.hand_over_to(to, parcel, now),
            // It was closed meanwhile, or the worker stops.
            _ => self.arrive(parcel, now),
        }
        self.end_if_stopped();
    }

    /// Its place is free; it is counted here no longer.
    fn vacate(
        &mut self,
        mut connection: Box<Connection>,
        socket: Detached,
        interested: bool,
        now: Instant,
    ) -> Parcel {
        self.free_the_place(connection.id);
        // It names a file that only this worker has open.
        connection.onward = Onward::default();
        self.unacknowledged_bytes -= u64::from(connection.unacknowledged_bytes);
        // Asked again where it goes.
        connection.is_held_back = false;
        if let Some(torrent) = connection.content.as_ref().map(|content| content.torrent) {
            self.note_interest(torrent, &mut connection, false);
            self.leave_content(torrent, now);
            let peers = &self.shared.counters.peers;
            peers.set(peers.read().saturating_sub(1));
        }
        self.shared.counters.connections.set(self.occupied() as u64);
        Parcel { connection, socket, interested }
    }

    fn hand_over_to(&mut self, to: u16, parcel: Parcel, now: Instant) {
        let crew = self.shared.crew.clone();
        let Some(mate) = crew.mate(to.into()) else { return self.arrive(parcel, now) };
        match mate.mailbox.hand_over(parcel) {
            Ok(bell) => {
                self.shared.counters.moved_away.add(1);
                if let Some(bell) = bell {
                    self.kernel.ring(bell);
                }
            }
            Err(parcel) => {
                // It stays.
                crew.moves(to.into(), self.options.place);
                self.shared.counters.moves_refused.add(1);
                self.arrive(parcel, now);
            }
        }
    }

    /// Connections from other workers.
    pub(super) fn read_arrivals(&mut self, now: Instant) {
        while let Some(parcel) = self.shared.mailbox.next_arrival() {
            self.shared.counters.moved_here.add(1);
            self.arrive(parcel, now);
        }
    }

    /// A connection came with its content, and uses it here. Those who wait for it have it, too.
    fn use_content(&mut self, content: Arc<Content>, now: Instant) {
        let torrent = content.torrent;
        self.on_content(torrent, Ok(content.clone()), now);
        let loaded = self.contents.entry(torrent);
        let loaded = loaded.or_insert(Loaded::Here { content, users: 0, unused_since: now });
        if let Loaded::Here { users, .. } = loaded {
            *users += 1;
        }
    }

    /// A connection becomes this worker's.
    fn arrive(&mut self, parcel: Parcel, now: Instant) {
        let Parcel { mut connection, socket, interested } = parcel;
        let recalled = match connection.phase {
            Phase::Recalled(how) => Some(how),
            _ => None,
        };
        let id = self.free_place();
        connection.id = id;
        connection.may_move_from = now.after(MOVES_AGAIN_AFTER);
        self.unacknowledged_bytes += u64::from(connection.unacknowledged_bytes);
        if let Some(content) = connection.content.clone() {
            self.use_content(content, now);
            let peers = &self.shared.counters.peers;
            peers.set(peers.read() + 1);
        }
        if let Some(torrent) = connection.content.as_ref().map(|content| content.torrent) {
            self.note_interest(torrent, &mut connection, interested);
        }
        self.shared.counters.connections.set(self.occupied() as u64);
        connection.resume();
        match self.kernel.attach(socket) {
            Ok(socket) => connection.socket = socket,
            Err(_) => {
                // No place for it: it is closed already.
                connection.phase = Phase::Closing;
                self.put(connection);
                return self.on_closed(id, now);
            }
        }
        if let Some(at) = connection.peer.deadline() {
            self.watch(id, at);
        }
        let paused = connection.entry.as_ref().map(|entry| entry.state());
        if let Some(how) = recalled {
            self.finish(&mut connection, how);
        } else if paused == Some(TorrentState::Paused) {
            self.finish(&mut connection, How::Reset);
        } else {
            self.push(Op::Receive { socket: connection.socket }, Errand::Receive(id));
        }
        let held = connection.take_held();
        self.put(connection);
        self.receive(id, held, now);
        if self.stopping != Stopping::No {
            self.drain(id);
        }
    }
}
