//! Scratch memory of the copying verb: a bounded pool, and who waits for some of it.
//!
//! Batches of distant mounts may hold theirs for long, and those of one that hangs for good. All of
//! them together leave some to the devices of this machine, and each mount leaves some to the others.
//! What comes back goes first to a mount that holds none, so that however many batches of this machine
//! wait, each mount that answers goes on.

use std::collections::BTreeMap;

use crate::limits::{SCRATCH_A_MOUNT_SHARE, SCRATCH_DISTANT_SHARE};
use crate::memory::Mapping;
use crate::threads::Lane;
use crate::{Failure, OpId};

/// Who waits, by place: first come, first served.
type Line = BTreeMap<u64, OpId>;

/// See the head of this file.
pub(super) struct Scratch {
    free: Vec<Mapping>,
    made: usize,
    max: usize,
    /// Of each buffer.
    bytes: usize,
    /// Who waits and is of no distant mount.
    waiting: Line,
    next_place: u64,
    /// Distant mounts that hold some or wait for some.
    mounts: Vec<Holder>,
    /// Where to look first for one that waits: they take turns.
    turn: usize,
    /// Those in line are being started: for whoever does that.
    pub(super) starting: bool,
}

/// A distant mount.
struct Holder {
    lane: Lane,
    held: usize,
    waiting: Line,
}

impl Scratch {
    pub(super) fn new(max: usize, bytes: usize) -> Scratch {
        Scratch {
            free: Vec::new(),
            made: 0,
            max: max.max(1),
            bytes,
            waiting: Line::new(),
            next_place: 0,
            mounts: Vec::new(),
            turn: 0,
            starting: false,
        }
    }

    /// One buffer, for a batch of this distant mount or of none. `None`: it has to wait.
    pub(super) fn take(&mut self, mount: Option<Lane>) -> Result<Option<Mapping>, Failure> {
        if mount.is_some_and(|lane| !self.may_have_more(self.held_by(lane))) {
            return Ok(None);
        }
        let scratch = match self.free.pop() {
            Some(scratch) => scratch,
            None if self.made == self.max => return Ok(None),
            None => {
                let scratch = Mapping::new(self.bytes).map_err(Failure::Os)?;
                self.made += 1;
                scratch
            }
        };
        if let Some(lane) = mount {
            self.holder(lane).held += 1;
        }
        Ok(Some(scratch))
    }

    /// What [`Scratch::take`] gave for that mount.
    pub(super) fn give_back(&mut self, scratch: Mapping, mount: Option<Lane>) {
        self.free.push(scratch);
        if let Some(lane) = mount {
            self.holder(lane).held -= 1;
            self.forget_idle();
        }
    }

    /// Puts an op in line: its place there.
    pub(super) fn wait(&mut self, op: OpId, mount: Option<Lane>) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.line(mount).insert(place, op);
        place
    }

    /// Takes one out of line that ends before its turn: the line of a mount that hangs would grow with
    /// each connection that comes and goes.
    pub(super) fn leave(&mut self, place: u64, mount: Option<Lane>) {
        self.line(mount).remove(&place);
        self.forget_idle();
    }

    fn line(&mut self, mount: Option<Lane>) -> &mut Line {
        match mount {
            Some(lane) => &mut self.holder(lane).waiting,
            None => &mut self.waiting,
        }
    }

    /// Who of those in line can have some now. It is in line no more.
    pub(super) fn next_waiting(&mut self) -> Option<OpId> {
        if self.free.is_empty() {
            return None;
        }
        let op = self.next_of_a_mount(|held| held == 0);
        let op = op.or_else(|| self.waiting.pop_first().map(|(_, op)| op));
        op.or_else(|| self.next_of_a_mount(|_| true))
    }

    /// Of a mount that may have more, and whose turn it is by what it holds.
    fn next_of_a_mount(&mut self, is_its_turn: fn(usize) -> bool) -> Option<OpId> {
        let count = self.mounts.len();
        let mut order = (0..count).map(|step| (self.turn + step) % count);
        let at = order.find(|at| {
            let mount = &self.mounts[*at];
            let may_have_more = is_its_turn(mount.held) && self.may_have_more(mount.held);
            may_have_more && !mount.waiting.is_empty()
        })?;
        self.turn = at + 1;
        self.mounts[at].waiting.pop_first().map(|(_, op)| op)
    }

    /// Whether a distant mount that holds so many may have one more.
    fn may_have_more(&self, held: usize) -> bool {
        let by_all: usize = self.mounts.iter().map(|mount| mount.held).sum();
        by_all < (self.max / SCRATCH_DISTANT_SHARE).max(1)
            && held < (self.max / SCRATCH_A_MOUNT_SHARE).max(1)
    }

    fn held_by(&self, lane: Lane) -> usize {
        self.mounts.iter().find(|mount| mount.lane == lane).map_or(0, |mount| mount.held)
    }

    fn holder(&mut self, lane: Lane) -> &mut Holder {
        let at = self.mounts.iter().position(|mount| mount.lane == lane);
        let at = at.unwrap_or_else(|| {
            self.mounts.push(Holder { lane, held: 0, waiting: Line::new() });
            self.mounts.len() - 1
        });
        &mut self.mounts[at]
    }

    fn forget_idle(&mut self) {
        self.mounts.retain(|mount| mount.held > 0 || !mount.waiting.is_empty());
    }
}

#[cfg(test)]
mod tests;
