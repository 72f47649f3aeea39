//! From a peer's queue to its socket: which blocks go into the next batch, which runs must be
//! fetched first, and what follows when a batch went, went in part, or failed.

use std::sync::Arc;

use ringseed_meta::{BlockRef, FileIndex, Instant};
use ringseed_ring::{Batch, Failure, File, Kernel, Op, Outcome, Residency, Run, Verb};
use ringseed_sched::fair::{self, Again, Turn};
use ringseed_wire::message;

use super::closing::How;
use super::connection::{Connection, Frame, Outgoing, Phase};
use super::mailbox::ConnectionId;
use super::token::Errand;
use super::{Worker, limits};
use crate::store::content::Content;
use crate::store::fetch::AskAgain;

/// Blocks in one batch: as many as a pipe of a mebibyte holds.
const BATCH_BLOCKS_MAX: usize = 32;

/// A stretch of a block: of a file, or zeros of a pad (BEP 47).
#[derive(Clone, Copy, Debug)]
enum Stretch {
    Run(Run),
    Zeros(u32),
}

/// A block that could go into the batch, and where its stretches end in the plan.
#[derive(Clone, Copy, Debug)]
struct Planned {
    block: BlockRef,
    stretches_end: usize,
}

/// Runs of neighbouring blocks, merged: one question of residency, one fetch.
#[derive(Clone, Copy, Debug)]
struct Group {
    run: Run,
    first_block: usize,
}

/// The window of a peer's queue that the next batch is cut from. Reused from batch to batch.
#[derive(Default)]
pub(super) struct Plan {
    blocks: Vec<Planned>,
    stretches: Vec<Stretch>,
    groups: Vec<Group>,
}

impl Plan {
    fn clear(&mut self) {
        self.blocks.clear();
        self.stretches.clear();
        self.groups.clear();
    }

    fn stretches_of(&self, block: usize) -> &[Stretch] {
        let start = match block {
            0 => 0,
            block => self.blocks[block - 1].stretches_end,
        };
        &self.stretches[start..self.blocks[block].stretches_end]
    }

    fn add_run(&mut self, run: Run) {
        self.stretches.push(Stretch::Run(run));
        if let Some(last) = self.groups.last_mut()
            && last.run.file == run.file
            && last.run.offset + u64::from(last.run.length) == run.offset
        {
            last.run.length += run.length;
            return;
        }
        self.groups.push(Group { run, first_block: self.blocks.len() });
    }
}

impl<K: Kernel> Worker<K> {
    /// Gives batches to peers that are ready, each its fair share, until none is or the turn has
    /// done its work.
    pub(super) fn send_to_ready(&mut self, now: Instant) {
        let mut bytes = 0;
        while bytes < limits::BYTES_PER_TURN {
            let Some(turn) = self.fair.next() else { return };
            let sent = self.send_in_turn(turn, now);
            let ready = self.occupant(turn.key).is_some_and(Connection::is_ready);
            let again = if ready { Again::Ready } else { Again::NotReady };
            self.fair.spent(turn.key, sent, again);
            bytes += sent.max(limits::BYTES_A_PEER_MIN);
        }
    }

    /// Batch after batch for one peer, while its allowance lasts, its socket takes them and enough others
    /// are ready.
    fn send_in_turn(&mut self, turn: Turn, now: Instant) -> u32 {
        let mut sent = 0;
        while sent < turn.allowance_bytes {
            let bytes = self.send_batch(turn.key, turn.allowance_bytes - sent, now);
            if bytes == 0 {
                break;
            }
            sent += bytes;
            self.await_sent(turn.key, now);
            if !self.fair.may_stay() {
                break;
            }
        }
        sent
    }

    /// A batch has mostly ended by now: its peer need not stand in line for the next.
    fn await_sent(&mut self, slot: u32, now: Instant) {
        for _ in 0..limits::COMPLETIONS_AFTER_SEND {
            let sends = |connection: &Connection| connection.outgoing.is_sending();
            if !self.occupant(slot).is_some_and(sends) {
                return;
            }
            let Some(completion) = self.kernel.next() else { return };
            self.on_completion(completion, now);
        }
    }

    fn occupant(&self, slot: u32) -> Option<&Connection> {
        self.places.get(slot as usize)?.connection.as_deref()
    }

    fn send_batch(&mut self, slot: u32, allowance_bytes: u32, now: Instant) -> u32 {
        let Some(place) = self.places.get_mut(slot as usize) else { return 0 };
        let Some(mut connection) = place.connection.take() else { return 0 };
        if !connection.is_ready() {
            self.put(connection);
            return 0;
        }
        if connection.is_paused() {
            // By another worker, for data that changed: nothing of it leaves here either.
            self.finish(&mut connection, How::Reset);
            self.put(connection);
            return 0;
        }
        let paced = fair::batch_bytes(connection.rate.bytes_per_s(now));
        let wanted = allowance_bytes.min(paced).min(connection.room_bytes);
        let allowance_bytes = self.room_for(&mut connection, wanted, now);
        if allowance_bytes == 0 {
            self.put(connection);
            return 0;
        }
        let mut batch = self.kernel.batch();
        self.load_frames(&mut connection, &mut batch);
        let mut verb = self.options.verb;
        if connection.waits == 0 && !connection.requests.is_empty() {
            let allowance_bytes = allowance_bytes.saturating_sub(batch.len() as u32);
            verb = self.load_blocks(&mut connection, &mut batch, allowance_bytes, now);
        }
        let bytes = batch.len() as u32;
        if batch.is_empty() {
            self.kernel.recycle(batch);
        } else {
            self.shared.counters.batches.add(1);
            self.hand_over(&mut connection, batch, verb);
        }
        self.put(connection);
        bytes
    }

    pub(super) fn hand_over(&mut self, connection: &mut Connection, batch: Box<Batch>, verb: Verb) {
        connection.outgoing = Outgoing::Sending;
        connection.verb = verb;
        if verb == Verb::Copy && self.options.verb != Verb::Copy {
            self.note_reads(connection, &batch);
        }
        let op = Op::Send { socket: connection.socket, batch, verb };
        self.push(op, Errand::Send(connection.id));
    }

    /// Control frames that are due, and one piece of metadata.
    fn load_frames(&mut self, connection: &mut Connection, batch: &mut Batch) {
        if let Some(reply) = connection.next_metadata() {
            self.write_metadata(connection, &reply);
        }
        if !connection.control.is_empty() {
            batch.push_bytes(&connection.control);
            let bytes = connection.control.len() as u32;
            connection.frames.push_back(Frame { left: bytes, bytes, block: None });
            // Frames of our own are rare: what they needed is not kept beside the next blocks.
            connection.control = Vec::new();
        }
    }

    /// The blocks whose pages are there, from the front of the queue; fetches the others of the
    /// window. Returns the verb to send with.
    fn load_blocks(
        &mut self,
        connection: &mut Connection,
        batch: &mut Batch,
        allowance_bytes: u32,
        now: Instant,
    ) -> Verb {
        let Some(content) = connection.content.clone() else { return self.options.verb };
        let mut plan = std::mem::take(&mut self.scratch.plan);
        plan.clear();
        self.plan_window(connection, &content, allowance_bytes, &mut plan, now);
        let copied = std::mem::take(&mut connection.copy_next) || self.options.verb == Verb::Copy;
        let count = match copied {
            true => plan.blocks.len(),
            false => {
                let count = self.resident_blocks(connection, &plan, now);
                if !connection.copy_next {
                    let runs = plan.groups.iter().map(|group| group.run);
                    self.read_on(connection, &content, runs, plan.blocks.len(), now);
                }
                count
            }
        };
        let copied = copied || std::mem::take(&mut connection.copy_next);
        for at in 0..count {
            let block = plan.blocks[at].block;
            let header = message::piece_header(block);
            batch.push_bytes(&header);
            for stretch in plan.stretches_of(at) {
                match *stretch {
                    Stretch::Zeros(length) => batch.push_zeros(length),
                    Stretch::Run(run) => {
                        batch.push_run(run);
                        self.pin(connection, run.file);
                    }
                }
            }
            let bytes = header.len() as u32 + block.length;
            connection.frames.push_back(Frame { left: bytes, bytes, block: Some(block) });
        }
        connection.requests.drain(..count);
        // Even what is there may not be spliced: a server may be asked first whether it has changed.
        let is_distant = self.files.any_distant(plan.groups.iter().map(|group| group.run.file));
        self.scratch.plan = plan;
        if (copied || is_distant) && count > 0 {
            self.shared.counters.copied_batches.add(1);
            return Verb::Copy;
        }
        self.options.verb
    }

    fn pin(&mut self, connection: &mut Connection, file: File) {
        if !connection.pinned.contains(&file) {
            connection.pinned.push(file);
            self.files.pin(file);
        }
    }

    /// Resolves the front of the queue to stretches of open files, up to the allowance. A file
    /// that must be opened first ends the window.
    fn plan_window(
        &mut self,
        connection: &mut Connection,
        content: &Arc<Content>,
        allowance_bytes: u32,
        plan: &mut Plan,
        now: Instant,
    ) {
        let mut bytes = 0;
        let most = self.left_of_share(connection);
        let mut last: Option<(FileIndex, File)> = None;
        for at in 0..connection.requests.len().min(BATCH_BLOCKS_MAX) {
            let block = connection.requests[at];
            if bytes >= allowance_bytes || at > 0 && u64::from(bytes + block.length) > most {
                return;
            }
            let mut missing = 0;
            for span in content.geometry().spans(block) {
                if span.is_pad {
                    plan.stretches.push(Stretch::Zeros(span.length));
                    continue;
                }
                let file = match last {
                    Some((index, file)) if index == span.file => Some(file),
                    _ => self.file_for(content, span.file, connection.id, now),
                };
                match file {
                    Some(file) => {
                        last = Some((span.file, file));
                        plan.add_run(Run { file, offset: span.offset, length: span.length });
                    }
                    None => missing += 1,
                }
            }
            if missing > 0 {
                connection.waits += missing;
                return;
            }
            let stretches_end = plan.stretches.len();
            plan.blocks.push(Planned { block, stretches_end });
            bytes += block.length;
        }
    }

    /// How many blocks from the front are in the page cache as a whole. The runs behind are
    /// fetched, and the connection waits for them; or all are to be copied, if fetches are in vain.
    fn resident_blocks(&mut self, connection: &mut Connection, plan: &Plan, now: Instant) -> usize {
        let mut count = plan.blocks.len();
        for group in &plan.groups {
            if group.first_block >= plan.blocks.len() {
                continue;
            }
            let is_resident = self.is_resident(group.run, now);
            self.shared.counters.count_residency(is_resident);
            if is_resident {
                continue;
            }
            let from = match count > group.first_block {
                true => self.first_missing(plan, group.first_block, now),
                false => group.first_block,
            };
            if count == plan.blocks.len() && connection.vain.must_copy(from) {
                connection.copy_next = true;
                return count;
            }
            count = count.min(from);
            let run = Plan::rest_of(plan, group, from);
            connection.waits += self.fetch(run, connection.id, now);
        }
        // Where memory is short, what was asked for just now may have pushed out what is to be sent.
        if count > 0 && connection.waits > 0 {
            count = count.min(self.first_missing(plan, 0, now));
        }
        connection.vain.planned(plan.blocks.len(), count);
        count
    }

    /// The first block, from `first` on, that has a run which is not resident.
    fn first_missing(&mut self, plan: &Plan, first: usize, now: Instant) -> usize {
        let resident = |worker: &mut Self, block: usize| {
            plan.stretches_of(block).iter().all(|stretch| match *stretch {
                Stretch::Run(run) => worker.is_resident(run, now),
                Stretch::Zeros(_) => true,
            })
        };
        let mut block = first;
        while block < plan.blocks.len() && resident(self, block) {
            block += 1;
        }
        block
    }

    /// Whether a run can be sent without waiting for a disk, as far as the system tells.
    pub(super) fn is_resident(&mut self, run: Run, now: Instant) -> bool {
        let Some(source) = self.files.source_of(run.file) else { return false };
        if !source.is_kept(now) {
            // Fetching it would be in vain: the copying verb reads it, on a thread.
            return true;
        }
        if self.fetches.is_under_way(run, source.id, now) {
            // The system counts pages that are still being read; splicing them would wait.
            return false;
        }
        match self.kernel.residency(run) {
            Residency::Resident => true,
            // The canary of the tests believes that what was fetched is there.
            Residency::Missing => {
                self.options.ask_again == AskAgain::Never
                    && self.fetches.is_recent(run, source.id, now)
            }
            // Only a fetch proves it: asking does not, and a batch may wait for long.
            Residency::Unknown => self.fetches.is_recent(run, source.id, now),
        }
    }

    pub(super) fn on_sent(&mut self, id: ConnectionId, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Sent { bytes, batch } => self.on_batch_sent(id, bytes, batch, now),
            Outcome::Failed(Failure::Run { run, errno }) => {
                self.on_run_fault(run, errno);
                self.close(id, How::Reset);
            }
            Outcome::Failed(_) => {
                if let Some(connection) = self.connection(id) {
                    connection.outgoing = Outgoing::Nothing;
                }
                self.close(id, How::Reset);
            }
            _ => {}
        }
    }

    fn on_batch_sent(&mut self, id: ConnectionId, bytes: u32, batch: Box<Batch>, now: Instant) {
        let Some(mut connection) = self.take(id) else {
            self.kernel.recycle(batch);
            return;
        };
        self.end_reads(&mut connection);
        self.account(&mut connection, bytes, now);
        if connection.phase == Phase::Closing {
            connection.outgoing = Outgoing::Nothing;
            self.kernel.recycle(batch);
        } else if batch.is_empty() {
            connection.took_all();
            self.end_batch(&mut connection, batch);
        } else {
            self.shared.counters.partial_sends.add(1);
            connection.outgoing = Outgoing::Blocked(batch);
            connection.took_some(bytes);
            if connection.peer.am_choking() {
                self.drop_choked(&mut connection);
            }
            connection.blocked_since = connection.blocked_since.or(Some(now));
            let op = Op::PollWritable { socket: connection.socket };
            self.push(op, Errand::Writable(id));
        }
        self.put(connection);
    }

    fn account(&mut self, connection: &mut Connection, bytes: u32, now: Instant) {
        if bytes == 0 || connection.phase == Phase::Closing {
            return;
        }
        let completed = connection.sent(bytes);
        connection.blocked_since = None;
        connection.peer.on_sent(now);
        connection.rate.add(u64::from(bytes), now);
        connection.unacknowledged_bytes += bytes;
        self.unacknowledged_bytes += u64::from(bytes);
        let counters = &self.shared.counters;
        counters.sent_bytes.add(u64::from(bytes));
        if completed.blocks > 0 {
            counters.blocks.add(completed.blocks);
            counters.block_bytes.add(completed.block_bytes);
            if let Some(entry) = &connection.entry {
                entry.add_sent_bytes(completed.block_bytes);
            }
        }
    }

    pub(super) fn end_batch(&mut self, connection: &mut Connection, batch: Box<Batch>) {
        self.kernel.recycle(batch);
        connection.outgoing = Outgoing::Nothing;
        connection.vain.batch_ended();
        connection.frames.clear();
        self.let_go(connection);
        if connection.phase == Phase::Draining {
            self.finish(connection, How::Graceful);
        }
    }
}

impl Plan {
    /// The part of a group that begins with the stretches of block `from`.
    fn rest_of(plan: &Plan, group: &Group, from: usize) -> Run {
        let first = plan.blocks.get(from).and_then(|_| {
            plan.stretches_of(from).iter().find_map(|stretch| match *stretch {
                Stretch::Run(run) if run.file == group.run.file => Some(run.offset),
                _ => None,
            })
        });
        let end = group.run.offset + u64::from(group.run.length);
        let offset =
            first.filter(|at| (group.run.offset..end).contains(at)).unwrap_or(group.run.offset);
        Run { file: group.run.file, offset, length: (end - offset) as u32 }
    }
}
