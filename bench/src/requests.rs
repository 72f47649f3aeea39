//! The requests of one connection: what is outstanding, and what is to be asked for next. Pure.

use std::collections::VecDeque;

use ringseed_meta::{BlockRef, Instant, PieceIndex};
use ringseed_wire::message;

use crate::frames;
use crate::order::Blocks;

/// A request that is not answered yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// What is asked for.
    pub block: BlockRef,
    /// When it was asked for; in an open loop, when it was to be asked for.
    pub since: Instant,
}

/// Requests of one connection.
#[derive(Debug)]
pub struct Requests {
    blocks: Blocks,
    /// Requests outstanding at most.
    depth: usize,
    next: Next,
    outstanding: VecDeque<Request>,
}

/// What makes a request due.
#[derive(Debug)]
enum Next {
    /// Closed loop: the answer to another one, so many times.
    Answer { left: u64 },
    /// Open loop: its time. These have passed, the oldest first.
    Time(VecDeque<Instant>),
}

impl Requests {
    /// A closed loop: `depth` requests are kept outstanding until `total` were begun.
    pub fn closed(blocks: Blocks, depth: usize, total: u64) -> Requests {
        let outstanding = VecDeque::with_capacity(depth);
        Requests { blocks, depth, next: Next::Answer { left: total }, outstanding }
    }

    /// An open loop: a request for each [`Requests::arrive`], whatever was answered; at most `depth`
    /// of them outstanding, while the others wait.
    pub fn open(blocks: Blocks, depth: usize) -> Requests {
        Requests { blocks, depth, next: Next::Time(VecDeque::new()), outstanding: VecDeque::new() }
    }

    /// Open loop: a request was due at `at`.
    pub fn arrive(&mut self, at: Instant) {
        match &mut self.next {
            Next::Time(due) => due.push_back(at),
            Next::Answer { .. } => debug_assert!(false, "an arrival in a closed loop"),
        }
    }

    /// How many are outstanding.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The one that is to be answered first.
    pub fn oldest(&self) -> Option<Request> {
        self.outstanding.front().copied()
    }

    /// How many are due and not asked for yet (open loop).
    pub fn waiting(&self) -> usize {
        match &self.next {
            Next::Time(due) => due.len(),
            Next::Answer { .. } => 0,
        }
    }

    /// All that was to be begun was begun, and answered or rejected (closed loop).
    pub fn are_done(&self) -> bool {
        self.outstanding.is_empty() && matches!(self.next, Next::Answer { left: 0 })
    }

    /// Appends what may be asked for now, where `in_arrival` more are half answered: how many.
    pub fn ask(&mut self, now: Instant, in_arrival: usize, out: &mut Vec<u8>) -> u64 {
        let mut asked = 0;
        while self.outstanding.len() + in_arrival < self.depth {
            let since = match &mut self.next {
                Next::Answer { left: 0 } => break,
                Next::Answer { left } => {
                    *left -= 1;
                    now
                }
                Next::Time(due) => match due.pop_front() {
                    Some(since) => since,
                    None => break,
                },
            };
            let block = self.blocks.next_block();
            message::write_request(out, block);
            self.outstanding.push_back(Request { block, since });
            asked += 1;
        }
        asked
    }

    /// Takes the one that a piece message of this head answers: the oldest, unless the seeder chose
    /// another.
    #[inline]
    pub fn answered(&mut self, piece: PieceIndex, begin: u32, frame: u32) -> Option<Request> {
        self.take(|block| {
            block.piece == piece
                && block.begin == begin
                && block.length.checked_add(frames::PIECE_FRAME_BYTES) == Some(frame)
        })
    }

    /// Takes the one for this block.
    pub fn rejected(&mut self, block: BlockRef) -> Option<Request> {
        self.take(|asked| asked == block)
    }

    #[inline]
    fn take(&mut self, is: impl Fn(BlockRef) -> bool) -> Option<Request> {
        let at = self.outstanding.iter().position(|request| is(request.block))?;
        self.outstanding.remove(at)
    }

    /// A request that the seeder let fall with a choke is due again, at its old time.
    pub fn again(&mut self, request: Request) {
        match &mut self.next {
            Next::Answer { left } => *left = left.saturating_add(1),
            Next::Time(due) => {
                let before = due.partition_point(|at| *at <= request.since);
                due.insert(before, request.since);
            }
        }
    }

    /// A choke without the fast extension: all that is outstanding falls. Returns the blocks, which
    /// are not those that are asked for in their stead.
    pub fn fall(&mut self) -> Vec<BlockRef> {
        let mut fell = Vec::with_capacity(self.outstanding.len());
        while let Some(request) = self.outstanding.pop_back() {
            fell.push(request.block);
            self.again(request);
        }
        fell
    }

    /// Takes all that will not be answered: when each was due.
    pub fn give_up(&mut self) -> Vec<Instant> {
        let mut since: Vec<_> = self.outstanding.drain(..).map(|request| request.since).collect();
        if let Next::Time(due) = &mut self.next {
            since.extend(due.drain(..));
        }
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Order;
    use crate::target::Pieces;

    const AT: fn(u64) -> Instant = Instant::from_us;

    fn blocks() -> Blocks {
        Blocks::new(Pieces::even(1 << 15, 9 << 15).unwrap(), Order::Sequential, 0, 1)
    }

    fn asked(requests: &mut Requests, now: u64) -> u64 {
        let mut out = Vec::new();
        let count = requests.ask(AT(now), 0, &mut out);
        assert_eq!(out.len() as u64, count * frames::REQUEST_BYTES as u64);
        count
    }

    #[test]
    fn a_closed_loop_keeps_its_depth_until_its_total() {
        let mut requests = Requests::closed(blocks(), 2, 3);
        assert_eq!((asked(&mut requests, 5), asked(&mut requests, 6)), (2, 0));
        let first = requests.oldest().unwrap();
        assert_eq!(first.since, AT(5));
        assert_eq!(requests.rejected(first.block), Some(first));
        assert_eq!((asked(&mut requests, 7), asked(&mut requests, 8)), (1, 0));
        requests.fall();
        assert!(!requests.are_done(), "what fell is due again");
        assert_eq!(asked(&mut requests, 9), 2);
    }

    #[test]
    fn an_open_loop_keeps_the_time_of_what_waits_and_of_what_fell() {
        let mut requests = Requests::open(blocks(), 2);
        [10, 20, 30].into_iter().for_each(|at| requests.arrive(AT(at)));
        assert_eq!((asked(&mut requests, 100), requests.waiting()), (2, 1));
        assert_eq!(requests.oldest().map(|request| request.since), Some(AT(10)));
        requests.fall();
        assert_eq!((requests.outstanding(), requests.waiting()), (0, 3));
        assert_eq!(asked(&mut requests, 200), 2);
        assert_eq!(requests.oldest().unwrap().since, AT(10));
        assert_eq!(requests.give_up(), [AT(10), AT(20), AT(30)]);
        assert_eq!((requests.outstanding(), requests.waiting()), (0, 0));
    }
}
