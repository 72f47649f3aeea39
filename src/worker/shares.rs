//! What sockets hold that no peer has acknowledged: each connection its share (`sched::share`), all of them
//! the cap. Each such byte is a page that the kernel cannot free, and memory of TCP, of which there is so
//! much for the whole machine.
//!
//! A socket is asked (`SIOCOUTQ`) only when what was sent since might be too much. One that holds its
//! share waits for acknowledgements by a timer: POLLOUT speaks of what is not sent.

use std::cmp::Reverse;
use std::time::Duration;

use ringseed_meta::Instant;
use ringseed_ring::Kernel;
use ringseed_sched::share;

use super::closing::How;
use super::connection::{Connection, Outgoing, Phase};
use super::mailbox::ConnectionId;
use super::{Worker, limits};

/// A socket that took nothing for so long is the first to go when memory is short.
const STALLED: Duration = Duration::from_secs(5);

/// Between two looks at a part of the connections, while the cap is met or some are held back by what others
/// seem to hold: twenty times what it costs.
const MEMORY_LOOK: Duration = Duration::from_millis(4);
/// Between two questions how much TCP holds for the whole machine, while that is less than the cap.
const CONTENT_LOOK: Duration = Duration::from_millis(25);

impl<K: Kernel> Worker<K> {
    /// Bytes of blocks that may be sent to it now, of the `wanted` ones; with 0 it is held back until
    /// its peer has acknowledged more.
    pub(super) fn room_for(
        &mut self,
        connection: &mut Connection,
        wanted: u32,
        now: Instant,
    ) -> u32 {
        let wanted = wanted.min(connection.wanted_bytes());
        let counted = self.room_of(connection, wanted);
        if counted == wanted || connection.unacknowledged_bytes == 0 {
            return counted;
        }
        self.ask_unacknowledged(connection);
        let room = self.room_of(connection, wanted);
        if room == 0 {
            self.shared.counters.share_waits.add(1);
            self.hold_back(connection, now);
        }
        let acknowledged_bytes = u64::from(connection.acknowledged_bytes);
        if room < wanted && share::is_short(self.free_bytes(), acknowledged_bytes) {
            // What others hold decides, of whom some may have acknowledged it meanwhile.
            self.is_short = true;
        }
        room
    }

    fn room_of(&self, connection: &Connection, wanted: u32) -> u32 {
        share::room(self.share_of(connection), connection.unacknowledged_bytes.into(), wanted)
    }

    fn share_of(&self, connection: &Connection) -> u64 {
        share::share(self.free_bytes(), connection.acknowledged_bytes.into())
    }

    /// Bytes that sockets may hold beside those they hold.
    fn free_bytes(&self) -> u64 {
        self.options.unacknowledged_bytes_max.saturating_sub(self.unacknowledged_bytes)
    }

    /// The rest of a batch goes as a whole, once it fits or nothing is held.
    fn rest_fits(&self, connection: &Connection, rest_bytes: u64) -> bool {
        let held = u64::from(connection.unacknowledged_bytes);
        held == 0 || held + rest_bytes <= self.share_of(connection)
    }

    /// The socket takes more of a batch: it gets that if its share allows it.
    pub(super) fn resume_if_room(&mut self, id: ConnectionId, now: Instant) {
        let Some(mut connection) = self.take(id) else { return };
        let goes = match &connection.outgoing {
            Outgoing::Blocked(batch) if connection.phase != Phase::Closing => {
                let rest_bytes = batch.len();
                if !self.rest_fits(&connection, rest_bytes) {
                    self.ask_unacknowledged(&mut connection);
                }
                self.rest_fits(&connection, rest_bytes)
            }
            _ => true,
        };
        if !goes {
            self.shared.counters.share_waits.add(1);
            self.hold_back(&mut connection, now);
        }
        self.put(connection);
        if goes {
            self.resume(id, now);
        }
    }

    /// Asks what it really holds. True: its peer has acknowledged something since. While the kernel has a
    /// batch of it, what is counted stands.
    pub(super) fn ask_unacknowledged(&mut self, connection: &mut Connection) -> bool {
        if connection.outgoing.is_sending() {
            return false;
        }
        let is = self.kernel.unacknowledged_bytes(connection.socket);
        let counted = std::mem::replace(&mut connection.unacknowledged_bytes, is);
        self.unacknowledged_bytes = self.unacknowledged_bytes - u64::from(counted) + u64::from(is);
        let acknowledged = counted.saturating_sub(is);
        connection.acknowledged_bytes = connection.acknowledged_bytes.saturating_add(acknowledged);
        acknowledged > 0
    }

    /// Nothing is sent to it before it is asked again.
    fn hold_back(&mut self, connection: &mut Connection, now: Instant) {
        connection.is_held_back = true;
        let since = *connection.blocked_since.get_or_insert(now);
        let at = now.after(share::asked_again_after(now.since(since)));
        self.held_back.push(Reverse((at, connection.id.slot, connection.id.generation)));
    }

    /// Asks those held back whose time has come, and lets go who may be sent to again.
    pub(super) fn ask_held_back(&mut self, now: Instant) {
        for _ in 0..limits::UNACKNOWLEDGED_ASKED_PER_TURN {
            let due = |Reverse((at, ..)): &Reverse<(Instant, u32, u32)>| *at <= now;
            if !self.held_back.peek().is_some_and(due) {
                return;
            }
            let Some(Reverse((_, slot, generation))) = self.held_back.pop() else { return };
            let id = ConnectionId { slot, generation };
            let Some(mut connection) = self.take(id) else { continue };
            connection.is_held_back = false;
            if connection.phase != Phase::Closing {
                self.ask_one_held_back(&mut connection, now);
            }
            let goes_on = !connection.is_held_back;
            self.put(connection);
            if goes_on {
                self.resume(id, now);
            }
        }
    }

    fn ask_one_held_back(&mut self, connection: &mut Connection, now: Instant) {
        if self.ask_unacknowledged(connection) {
            connection.blocked_since = Some(now);
        }
        let has_room = match &connection.outgoing {
            Outgoing::Blocked(batch) => self.rest_fits(connection, batch.len()),
            _ => self.room_of(connection, connection.wanted_bytes()) > 0,
        };
        if !has_room {
            self.hold_back(connection, now);
        }
    }

    /// Asks so many connections, in turn, for what they have not acknowledged: their sum is then near the
    /// truth far below the cap too. Those held back are asked when their time comes.
    pub(super) fn look_at_unacknowledged(&mut self, count: usize) {
        for _ in 0..self.places.len().min(count) {
            self.next_asked = (self.next_asked + 1) % self.places.len();
            let place = self.places.get_mut(self.next_asked);
            let Some(mut connection) = place.and_then(|place| place.connection.take()) else {
                continue;
            };
            if connection.unacknowledged_bytes > 0 && !connection.is_held_back {
                self.ask_unacknowledged(&mut connection);
            }
            self.places[self.next_asked].connection = Some(connection);
        }
    }

    /// Looks faster while some are held back by what others seem to hold. Where a block for each is more
    /// than the cap, and once all have been asked, those that have taken nothing for longest are reset.
    pub(super) fn mind_memory(&mut self, now: Instant) {
        let is_over = self.unacknowledged_bytes > self.options.unacknowledged_bytes_max;
        if !is_over {
            self.asked_over = 0;
        }
        if !(is_over || self.is_short) || now < self.next_memory_look {
            return;
        }
        self.is_short = false;
        if is_over && self.tcp_is_content() {
            self.next_memory_look = now.after(CONTENT_LOOK);
            return;
        }
        self.next_memory_look = now.after(MEMORY_LOOK);
        self.look_at_unacknowledged(limits::UNACKNOWLEDGED_ASKED_PER_TURN);
        if is_over {
            self.asked_over += limits::UNACKNOWLEDGED_ASKED_PER_TURN;
            if self.asked_over >= self.places.len() {
                self.asked_over = 0;
                self.reset_stalled(now);
            }
        }
    }

    /// Resets those that have taken nothing for longest, until the rest is below the cap.
    fn reset_stalled(&mut self, now: Instant) {
        let connections = self.places.iter().filter_map(|place| place.connection.as_deref());
        let stalled = connections.filter_map(|connection| {
            let bytes = u64::from(connection.unacknowledged_bytes);
            let since = connection.blocked_since?;
            let is_stalled = now.since(since) >= STALLED && connection.phase != Phase::Closing;
            let is_burden = bytes > limits::UNACKNOWLEDGED_FLOOR_BYTES;
            (is_stalled && is_burden).then_some((since, connection.id, bytes))
        });
        let mut stalled: Vec<_> = stalled.collect();
        stalled.sort_unstable_by_key(|(since, id, _)| (*since, id.slot));
        let mut all = self.unacknowledged_bytes;
        for (_, id, bytes) in stalled {
            if all <= self.options.unacknowledged_bytes_max {
                break;
            }
            all -= bytes;
            self.shared.counters.resets_for_memory.add(1);
            self.close(id, How::Reset);
        }
    }

    /// All sockets of the machine together hold less than those of all workers may: then nobody need
    /// ask each. What was sent is more than that soon, though nearly all of it is acknowledged.
    fn tcp_is_content(&mut self) -> bool {
        let workers = self.options.workers as u64;
        let most = self.options.unacknowledged_bytes_max.saturating_mul(workers);
        self.kernel.tcp_bytes().is_some_and(|bytes| bytes <= most)
    }
}
