//! Sending: a batch is gathered into references, as through a pipe, or read into scratch memory.

use std::rc::Rc;

use super::connection::Segment;
use super::disk::Readiness;
use super::faults::{Break, Fault};
use super::gifts::{self, Slot};
use super::inode::PAGE_BYTES;
use super::reads::{PendingRead, Purpose, Stretch};
use super::state::State;
use crate::limits::SMALL_RUN_BYTES;
use crate::{Batch, Failure, OpId, Outcome, Part, Run, Verb};

/// A send of the copying verb whose files are being read.
#[derive(Debug)]
pub(crate) struct ScratchSend {
    op: OpId,
    connection: usize,
    pub(crate) batch: Box<Batch>,
    /// What goes out of the batch this time, in order.
    parts: Vec<Part>,
}

/// What went into the pipe.
#[derive(Default)]
struct Gathered {
    segments: Vec<Segment>,
    length: u64,
    slots: usize,
    /// When the send began.
    begun_us: u64,
    /// The run that could not be had.
    failed: Option<(Run, i32)>,
}

impl Gathered {
    fn push(&mut self, segment: Segment) {
        self.length += segment.len() as u64;
        self.slots += 1;
        self.segments.push(segment);
    }
}

impl State {
    pub(crate) fn send(&mut self, op: OpId, connection: usize, batch: Box<Batch>, verb: Verb) {
        if batch.is_empty() {
            self.violated(format!("{op:?} sends an empty batch"));
        }
        match verb {
            Verb::Splice if !batch.is_enciphered() => {
                let gathered = self.gather(&batch);
                self.fill_socket(op, connection, batch, (gathered, verb));
            }
            _ => self.read_into_scratch(op, connection, batch),
        }
    }

    /// As a real kernel is used: the bytes of the batch are written, then all is gathered in
    /// order, and only then may full chunks be given back.
    fn gather(&mut self, batch: &Batch) -> Gathered {
        let mut gathered = Gathered { begun_us: self.now_us, ..Gathered::default() };
        let mut waiting = self.write_bytes(batch).into_iter();
        for part in batch.remaining() {
            if gathered.slots >= self.options.pipe_slots || gathered.failed.is_some() {
                break;
            }
            match part {
                Part::Bytes { start, length } => {
                    let pages = batch.bytes_of(start, length).chunks(gifts::PAGE_BYTES).len();
                    for slot in waiting.by_ref().take(pages) {
                        gathered.push(Segment::Gift(self.gifts.gather(slot)));
                    }
                }
                Part::Zeros(length) => {
                    // The page of zeros is referred to as often as it takes.
                    gathered.slots += length as usize / gifts::PAGE_BYTES;
                    gathered.push(Segment::Zeros(length as usize));
                }
                Part::Run(run) => self.gather_run(run, &mut gathered),
            }
        }
        self.gifts.settle();
        for violation in self.gifts.take_violations() {
            self.violated(violation);
        }
        gathered
    }

    fn write_bytes(&mut self, batch: &Batch) -> Vec<Slot> {
        let mut slots = Vec::new();
        for part in batch.remaining() {
            if let Part::Bytes { start, length } = part {
                for bytes in batch.bytes_of(start, length).chunks(gifts::PAGE_BYTES) {
                    slots.push(self.gifts.write(bytes));
                }
            }
        }
        slots
    }

    fn gather_run(&mut self, run: Run, gathered: &mut Gathered) {
        let Some(inode) = self.disk.opened(run.file) else {
            self.violated(format!("{run:?} is sent from a file that is closed"));
            gathered.failed = Some((run, libc::EBADF));
            return;
        };
        self.meet_changes(inode);
        self.disk.inode_mut(inode).note_send(self.now_us);
        if self.disk.inode(inode).distant {
            self.violated(format!("{run:?} of a distant mount is sent by reference"));
        }
        let mut small = Vec::new();
        let end = run.offset + u64::from(run.length);
        let mut offset = run.offset;
        while offset < end && gathered.slots < self.options.pipe_slots {
            let size = self.disk.inode(inode).size;
            let from_here = run.from((offset - run.offset) as u32);
            if offset >= size {
                gathered.failed = Some((from_here, 0));
                return;
            }
            if !self.page_is_there(inode, offset / PAGE_BYTES, gathered.begun_us) {
                gathered.failed = Some((from_here, libc::EIO));
                return;
            }
            let step = (PAGE_BYTES - offset % PAGE_BYTES).min(end - offset).min(size - offset);
            if run.length < SMALL_RUN_BYTES {
                self.disk.inode(inode).append_to(offset, step as usize, &mut small);
            } else {
                gathered.push(Segment::File { inode, offset, length: step as usize });
            }
            offset += step;
        }
        // Small runs are read, not referred to: one byte would pin a page.
        if !small.is_empty() {
            let slot = self.gifts.write(&small);
            gathered.push(Segment::Gift(self.gifts.gather(slot)));
        }
    }

    /// Waits for a page that is not there, on the caller's thread, as splice does. False: EIO.
    fn page_is_there(&mut self, inode: usize, page: u64, begun_us: u64) -> bool {
        match self.disk.readiness(inode, page, begun_us, self.now_us) {
            Readiness::Ready => true,
            Readiness::Waits { until_us, why } => {
                self.trace(|| format!("BLOCKED on page {page} of inode {inode}: {why:?}"));
                self.count_blocked(why);
                self.now_us = self.now_us.max(until_us);
                let read = self.disk.waited(inode, page);
                if !read {
                    self.coverage.meet(Fault::BadPage);
                }
                read
            }
        }
    }

    /// From the pipe into the socket, as far as there is room.
    fn fill_socket(
        &mut self,
        op: OpId,
        connection: usize,
        mut batch: Box<Batch>,
        (gathered, verb): (Gathered, Verb),
    ) {
        let to = &mut self.connections[connection];
        if let Some(errno) = to.send_error() {
            self.fail(op, Failure::Os(errno));
            return self.recycle(batch);
        }
        let room = to.room().min(gathered.length);
        let mut length = room;
        if room > 0 && self.hits(Fault::SocketFull) {
            length = 0;
            self.coverage.meet(Fault::SocketFull);
        } else if room > 1 && self.hits(Fault::SentInPart) {
            length = self.random.between(1, room - 1);
        }
        if length > 0 && length < batch.len() {
            self.coverage.meet(Fault::SentInPart);
        }
        if let Some((run, errno)) = gathered.failed {
            // What went into the pipe before may go out; the message is cut in any case.
            length = if self.random.hits(500) { length } else { 0 };
            self.connections[connection].take(gathered.segments, length);
            self.kick(connection);
            self.fail(op, Failure::Run { run, errno });
            return self.recycle(batch);
        }
        self.connections[connection].take(gathered.segments, length);
        let by = batch.as_plain_bytes().is_none().then_some(verb);
        let off_by_one = self.options.broken == Some(Break::CursorOffByOne);
        let forgotten = u64::from(off_by_one && length > 1 && length < batch.len());
        let length = length - forgotten;
        batch.advance(length);
        self.kick(connection);
        self.count_sent(&batch, length, by);
        self.post(op, Outcome::Sent { bytes: length as u32, batch }, false);
    }

    fn count_sent(&mut self, rest: &Batch, bytes: u64, by: Option<Verb>) {
        let counters = &mut self.counters;
        counters.batches += 1;
        counters.partial_sends += u64::from(!rest.is_empty());
        counters.bytes_sent += bytes;
        match by {
            Some(Verb::Splice) => counters.bytes_spliced += bytes,
            Some(Verb::Copy) => counters.bytes_copied += bytes,
            None => {}
        }
    }

    fn read_into_scratch(&mut self, op: OpId, connection: usize, batch: Box<Batch>) {
        let mut room = self.options.scratch_bytes;
        if self.hits(Fault::ScratchShort) && batch.len() > 1 {
            room = room.min(self.random.between(1, batch.len() - 1));
            self.coverage.meet(Fault::ScratchShort);
        }
        let mut parts = Vec::new();
        for part in batch.remaining() {
            let part = cut(part, room);
            room -= length_of(part);
            parts.push(part);
            if room == 0 {
                break;
            }
        }
        let mut stretches = Vec::new();
        for run in parts.iter().filter_map(run_of) {
            let Some(inode) = self.disk.opened(run.file) else {
                self.violated(format!("{run:?} is sent from a file that is closed"));
                self.fail(op, Failure::Run { run, errno: libc::EBADF });
                return self.recycle(batch);
            };
            self.meet_changes(inode);
            self.disk.inode_mut(inode).note_send(self.now_us);
            stretches.push(Stretch { inode, run });
        }
        self.scratch.push(ScratchSend { op, connection, batch, parts });
        self.start_read(PendingRead::new(op, Purpose::Scratch, stretches));
    }

    /// All files of a copying send were read: `file_bytes` holds them one after the other.
    pub(crate) fn scratch_read(&mut self, op: OpId, file_bytes: Vec<u8>) {
        let Some(mut send) = self.take_scratch(op) else { return };
        let mut bytes: Vec<u8> = Vec::with_capacity(file_bytes.len() + 64);
        let mut from_files = file_bytes.as_slice();
        for part in &send.parts {
            match *part {
                Part::Bytes { start, length } => {
                    bytes.extend_from_slice(send.batch.bytes_of(start, length));
                }
                Part::Zeros(length) => bytes.resize(bytes.len() + length as usize, 0),
                Part::Run(run) => {
                    let (of_run, rest) = from_files.split_at(run.length as usize);
                    bytes.extend_from_slice(of_run);
                    from_files = rest;
                }
            }
        }
        send.batch.encipher(&mut bytes);
        let mut gathered = Gathered::default();
        let length = bytes.len();
        gathered.push(Segment::Owned { bytes: Rc::from(bytes), start: 0, length });
        self.fill_socket(op, send.connection, send.batch, (gathered, Verb::Copy));
    }

    pub(crate) fn scratch_failed(&mut self, op: OpId, run: Run, errno: i32) {
        if let Some(send) = self.take_scratch(op) {
            self.fail(op, Failure::Run { run, errno });
            self.recycle(send.batch);
        }
    }

    pub(crate) fn take_scratch(&mut self, op: OpId) -> Option<ScratchSend> {
        let index = self.scratch.iter().position(|send| send.op == op)?;
        Some(self.scratch.remove(index))
    }

    pub(crate) fn recycle(&mut self, mut batch: Box<Batch>) {
        batch.clear();
        self.batches.push(batch);
    }
}

fn run_of(part: &Part) -> Option<Run> {
    match *part {
        Part::Run(run) => Some(run),
        _ => None,
    }
}

fn length_of(part: Part) -> u64 {
    u64::from(match part {
        Part::Bytes { length, .. } | Part::Zeros(length) => length,
        Part::Run(run) => run.length,
    })
}

fn cut(part: Part, room: u64) -> Part {
    let least = |length: u32| u64::from(length).min(room) as u32;
    match part {
        Part::Bytes { start, length } => Part::Bytes { start, length: least(length) },
        Part::Zeros(length) => Part::Zeros(least(length)),
        Part::Run(run) => Part::Run(Run { length: least(run.length), ..run }),
    }
}
