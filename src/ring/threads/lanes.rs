//! Which job a thread does next.

use std::collections::VecDeque;

use super::{Job, Lane};
use crate::limits::{
    DISTANT_THREADS, DISTANT_THREADS_IN_ALL, DISTANT_THREADS_THAT_WAIT, IO_THREADS,
    IO_THREADS_A_DEVICE, IO_THREADS_THAT_WAIT, LOOKS_SHARE, OPEN_THREADS, OPEN_THREADS_IN_ALL,
    TOUCHES_AT_ONCE,
};

/// What a job does, the first to be done before the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// Opens a file, looks at it or closes it.
    Look,
    /// Asks for pages, or reads many.
    Ask,
    /// Waits for a page.
    Wait,
}

const KINDS: [Kind; 3] = [Kind::Look, Kind::Ask, Kind::Wait];

/// What a thread took, to be given back by [`Lanes::finish`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    lane: Lane,
    kind: Kind,
}

/// The jobs of one device.
struct Queues {
    lane: Lane,
    jobs: [VecDeque<Job>; KINDS.len()],
    /// Threads at work for it, by kind.
    busy: [usize; KINDS.len()],
}

impl Queues {
    fn busy(&self) -> usize {
        self.busy.iter().sum()
    }

    /// Jobs of this kind that may be begun now.
    fn room(&self, kind: Kind) -> usize {
        let (all, waiting) = match self.lane {
            Lane::Here(_) => (IO_THREADS_A_DEVICE, IO_THREADS_THAT_WAIT),
            Lane::Distant(_) => (DISTANT_THREADS, DISTANT_THREADS_THAT_WAIT),
            // It has nothing but opens.
            Lane::Unknown { .. } => return OPEN_THREADS.saturating_sub(self.busy()),
        };
        let [looking, asking, waiting_now] = self.busy;
        let room = match kind {
            Kind::Look => (all / LOOKS_SHARE).saturating_sub(looking),
            Kind::Ask => (all - 1).saturating_sub(asking + waiting_now),
            Kind::Wait => waiting.saturating_sub(waiting_now),
        };
        room.min(all.saturating_sub(self.busy()))
    }

    /// The kind to be done next, if any may be.
    fn next(&self) -> Option<Kind> {
        KINDS.into_iter().find(|kind| !self.jobs[*kind as usize].is_empty() && self.room(*kind) > 0)
    }

    /// One job, or the touches of one fetch together.
    fn take(&mut self, kind: Kind) -> Vec<Job> {
        self.busy[kind as usize] += 1;
        let queue = &mut self.jobs[kind as usize];
        let mut jobs: Vec<Job> = queue.pop_front().into_iter().collect();
        while kind == Kind::Wait
            && jobs.len() < TOUCHES_AT_ONCE
            && let Some(last) = jobs.last()
            && let Some(job) = queue.pop_front_if(|job| job.follows(last))
        {
            jobs.push(job);
        }
        jobs
    }

    fn is_over(&self) -> bool {
        self.busy() == 0 && self.jobs.iter().all(VecDeque::is_empty)
    }
}

/// What waits for a thread. Bounded by the op table: an op has one job, a copied batch as many as
/// [`READS_A_BATCH`](crate::limits::READS_A_BATCH).
#[derive(Default)]
pub(super) struct Lanes {
    /// Of devices that have jobs or busy threads.
    queues: Vec<Queues>,
    /// Where the next thread looks first: devices take turns.
    turn: usize,
    pub(super) threads: usize,
    pub(super) idle: usize,
    pub(super) closed: bool,
}

impl Lanes {
    /// `false`: it needs no thread of its own, since one that comes to another job will take it too,
    /// or since no more may be busy for its device.
    pub(super) fn push(&mut self, job: Job) -> bool {
        let (lane, kind) = (job.lane, job.kind());
        let at = self.queues.iter().position(|queues| queues.lane == lane);
        let at = at.unwrap_or_else(|| {
            let (jobs, busy) = Default::default();
            self.queues.push(Queues { lane, jobs, busy });
            self.queues.len() - 1
        });
        let queues = &mut self.queues[at];
        let queue = &mut queues.jobs[kind as usize];
        let joins = queue.back().is_some_and(|last| job.follows(last));
        queue.push_back(job);
        !joins && queues.room(kind) > 0 && self.may_begin(lane)
    }

    /// As [`Lanes::push`]; whether an idle thread is to be woken, and whether one is to be started,
    /// which is counted already.
    pub(super) fn queue(&mut self, job: Job) -> (bool, bool) {
        if !self.push(job) {
            return (false, false);
        }
        let starts = self.idle < self.startable() && self.threads < IO_THREADS;
        self.threads += usize::from(starts);
        (self.idle > 0, starts)
    }

    /// A thread that was to be started is not to be had. The job, if nobody else gets to it later.
    pub(super) fn could_not_start(&mut self, name: u64) -> Option<Job> {
        self.threads -= 1;
        if self.threads > 0 { None } else { self.remove(name) }
    }

    /// Distant mounts together, and opens that may lead anywhere, leave the others their threads.
    fn may_begin(&self, lane: Lane) -> bool {
        let (is_like, most): (fn(Lane) -> bool, usize) = match lane {
            Lane::Here(_) => return true,
            Lane::Distant(_) => (Lane::is_distant, DISTANT_THREADS_IN_ALL),
            Lane::Unknown { .. } => {
                (|lane| matches!(lane, Lane::Unknown { .. }), OPEN_THREADS_IN_ALL)
            }
        };
        let alike = self.queues.iter().filter(|queues| is_like(queues.lane));
        alike.map(Queues::busy).sum::<usize>() < most
    }

    /// Jobs that threads may begin now, at most.
    pub(super) fn startable(&self) -> usize {
        let of = |queues: &Queues| -> usize {
            let of_kind = |kind: Kind| queues.jobs[kind as usize].len().min(queues.room(kind));
            KINDS.into_iter().map(of_kind).sum()
        };
        self.queues.iter().filter(|queues| self.may_begin(queues.lane)).map(of).sum()
    }

    /// What a thread does next.
    pub(super) fn take(&mut self) -> Option<(Vec<Job>, Taken)> {
        let count = self.queues.len();
        let mut order = (0..count).map(|step| (self.turn + step) % count);
        let (at, kind) = order.find_map(|at| {
            let queues = &self.queues[at];
            Some((at, queues.next().filter(|_| self.may_begin(queues.lane))?))
        })?;
        self.turn = at + 1;
        let queues = &mut self.queues[at];
        Some((queues.take(kind), Taken { lane: queues.lane, kind }))
    }

    /// What was taken is done.
    pub(super) fn finish(&mut self, Taken { lane, kind }: Taken) {
        if let Some(queues) = self.queues.iter_mut().find(|queues| queues.lane == lane) {
            queues.busy[kind as usize] -= 1;
        }
        self.queues.retain(|queues| !queues.is_over());
    }

    /// Takes a job back that no thread has begun.
    pub(super) fn remove(&mut self, name: u64) -> Option<Job> {
        self.queues.iter_mut().flat_map(|queues| &mut queues.jobs).find_map(|queue| {
            let at = queue.iter().position(|job| job.name == name)?;
            queue.remove(at)
        })
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queues.iter().flat_map(|queues| &queues.jobs).map(VecDeque::len).sum()
    }
}
