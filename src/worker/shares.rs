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

/// The part of the cap below which what is left of it is little: a share is then a 64th.
const TIGHT_PART: u64 = 8;

/// Between two looks at a part of the connections, while little is left of the cap or some are held back by what others
/// seem to hold: twenty times what it costs.
const MEMORY_LOOK: Duration = Duration::from_millis(4);
/// Between two questions how much TCP holds for the whole machine, while that is less than the cap.
const CONTENT_LOOK: Duration = Duration::from_millis(25);

/// How near the cap is.
#[derive(Default)]
pub(super) struct Pressure {
    /// One was held back by what others seem to hold.
    is_short: bool,
    /// Little is left of this worker's part of the cap, but TCP holds less than all the workers may.
    is_content: bool,
    /// Connections asked since little was left.
    asked: usize,
    next_look: Instant,
}

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
        self.ask_unacknowledged(connection, now);
        let room = self.room_of(connection, wanted);
        if room == 0 {
            self.shared.counters.share_waits.add(1);
            self.hold_back(connection, now);
        } else if room < wanted {
            self.note_short(connection);
        }
        room
    }

    /// Where what others hold decides: some of them may have acknowledged it meanwhile.
    fn note_short(&mut self, connection: &Connection) {
        let acknowledged_bytes = u64::from(connection.acknowledged_bytes);
        self.pressure.is_short |= share::is_short(self.free_bytes(), acknowledged_bytes);
    }

    fn room_of(&self, connection: &Connection, wanted: u32) -> u32 {
        let held_bytes = u64::from(connection.unacknowledged_bytes);
        let first = connection.requests.front().map_or(0, |block| u64::from(block.length));
        if held_bytes > 0 && self.left_of_share(connection) < first {
            // A block is sent as a whole, and the largest are of 128 KiB.
            return 0;
        }
        share::room(self.share_of(connection), held_bytes, wanted)
    }

    /// Bytes that it may be sent before it holds its share.
    pub(super) fn left_of_share(&self, connection: &Connection) -> u64 {
        self.share_of(connection).saturating_sub(connection.unacknowledged_bytes.into())
    }

    fn share_of(&self, connection: &Connection) -> u64 {
        share::share(self.free_bytes(), connection.acknowledged_bytes.into())
    }

    /// Bytes that sockets may hold beside those they hold. While TCP is content some of the other workers'
    /// parts is free, if nothing is left of this one's.
    fn free_bytes(&self) -> u64 {
        let most = self.options.unacknowledged_bytes_max;
        let free = most.saturating_sub(self.unacknowledged_bytes);
        if self.pressure.is_content { free.max(most / TIGHT_PART) } else { free }
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
                    self.ask_unacknowledged(&mut connection, now);
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

    /// Asks what it really holds, and notes since when nothing of that was acknowledged. While the kernel has
    /// a batch of it, or has let its socket go, what is counted stands.
    fn ask_unacknowledged(&mut self, connection: &mut Connection, now: Instant) {
        let is_here = matches!(
            connection.phase,
            Phase::Greeting | Phase::Loading | Phase::Serving | Phase::Draining
        );
        if connection.outgoing.is_sending() || !is_here {
            return;
        }
        let is = self.kernel.unacknowledged_bytes(connection.socket);
        let counted = std::mem::replace(&mut connection.unacknowledged_bytes, is);
        self.unacknowledged_bytes = self.unacknowledged_bytes - u64::from(counted) + u64::from(is);
        let acknowledged = counted.saturating_sub(is);
        connection.acknowledged_bytes = connection.acknowledged_bytes.saturating_add(acknowledged);
        if acknowledged > 0 {
            connection.blocked_since = Some(now);
        } else if is > 0 {
            connection.blocked_since.get_or_insert(now);
        }
    }

    /// Nothing is sent to it before it is asked again.
    fn hold_back(&mut self, connection: &mut Connection, now: Instant) {
        connection.is_held_back = true;
        self.note_short(connection);
        let since = *connection.blocked_since.get_or_insert(now);
        let rate = connection.rate.bytes_per_s(now);
        let at = now.after(share::asked_again_after(now.since(since), rate));
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
        self.ask_unacknowledged(connection, now);
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
    pub(super) fn look_at_unacknowledged(&mut self, count: usize, now: Instant) {
        for _ in 0..self.places.len().min(count) {
            self.next_asked = (self.next_asked + 1) % self.places.len();
            let place = self.places.get_mut(self.next_asked);
            let Some(mut connection) = place.and_then(|place| place.connection.take()) else {
                continue;
            };
            if connection.unacknowledged_bytes > 0 && !connection.is_held_back {
                self.ask_unacknowledged(&mut connection, now);
            }
            self.places[self.next_asked].connection = Some(connection);
        }
    }

    /// Looks faster while some are held back by what others seem to hold. Where little is left of the cap, and
    /// all have been asked, those that have taken nothing for longest are reset: a block for each may be
    /// more than the cap, and peers that read once and then stopped would leave others very small shares.
    pub(super) fn mind_memory(&mut self, now: Instant) {
        let most = self.options.unacknowledged_bytes_max;
        let is_tight = most.saturating_sub(self.unacknowledged_bytes) < most / TIGHT_PART;
        if !is_tight {
            (self.pressure.asked, self.pressure.is_content) = (0, false);
        }
        if !(is_tight || self.pressure.is_short) || now < self.pressure.next_look {
            return;
        }
        let was_short = std::mem::take(&mut self.pressure.is_short);
        let is_content = is_tight && self.tcp_is_content();
        self.pressure.is_content = is_content && self.options.workers > 1;
        if is_content && !was_short {
            self.pressure.next_look = now.after(CONTENT_LOOK);
            return;
        }
        self.pressure.next_look = now.after(MEMORY_LOOK);
        self.look_at_unacknowledged(limits::UNACKNOWLEDGED_ASKED_PER_TURN, now);
        if is_tight && !is_content {
            self.pressure.asked += limits::UNACKNOWLEDGED_ASKED_PER_TURN;
            if self.pressure.asked >= self.places.len() {
                self.pressure.asked = 0;
                self.reset_stalled(now);
            }
        }
    }

    /// Resets those that have taken nothing for longest, of those that hold more than a peer that comes now may
    /// hold: until enough is left of the cap. Over the cap, all that hold anything to speak of.
    fn reset_stalled(&mut self, now: Instant) {
        let most = self.options.unacknowledged_bytes_max;
        let mut all = self.unacknowledged_bytes;
        let (least, until) = match all > most {
            true => (limits::UNACKNOWLEDGED_FLOOR_BYTES, most),
            false => (share::share(self.free_bytes(), 0), most - most / TIGHT_PART),
        };
        let connections = self.places.iter().filter_map(|place| place.connection.as_deref());
        let stalled = connections.filter_map(|connection| {
            let bytes = u64::from(connection.unacknowledged_bytes);
            let since = connection.blocked_since?;
            let is_stalled = now.since(since) >= STALLED && connection.phase != Phase::Closing;
            (is_stalled && bytes > least).then_some((since, connection.id, bytes))
        });
        let mut stalled: Vec<_> = stalled.collect();
        stalled.sort_unstable_by_key(|(since, id, _)| (*since, id.slot));
        for (_, id, bytes) in stalled {
            if all <= until {
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
