//! Which job a thread does next.

use std::collections::{BTreeMap, VecDeque};

use super::{Job, Lane};
use crate::limits::{
    DISTANT_THREADS, DISTANT_THREADS_IN_ALL, DISTANT_THREADS_THAT_WAIT, IO_THREADS,
    IO_THREADS_A_DEVICE, IO_THREADS_THAT_WAIT, LOOKS_SHARE, OPEN_THREADS, OPEN_THREADS_A_NEW_ROOT,
    OPEN_THREADS_FOR_FOLDERS, OPEN_THREADS_IN_ALL, TOUCHES_AT_ONCE,
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

/// Lanes that share a bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Here,
    Distant,
    /// Roots that were never opened.
    NewRoot,
    /// Folders of those of this machine.
    Folder,
}

const CLASSES: [Class; 4] = [Class::Here, Class::Distant, Class::NewRoot, Class::Folder];

impl Class {
    fn of(lane: Lane) -> Class {
        match lane {
            Lane::Here(_) => Class::Here,
            Lane::Distant(_) => Class::Distant,
            Lane::Unknown { folder: None, .. } => Class::NewRoot,
            Lane::Unknown { folder: Some(_), .. } => Class::Folder,
        }
    }
}

/// The lanes of a class together. There may be one a torrent: nobody counts them anew.
#[derive(Default)]
struct Together {
    /// Threads at work for them.
    busy: usize,
    /// Jobs that may be begun as far as their lanes go.
    startable: usize,
    /// The lanes that have such a job, by place: they take turns.
    line: BTreeMap<u64, Lane>,
}

/// The jobs of one device.
struct Queues {
    lane: Lane,
    jobs: [VecDeque<Job>; KINDS.len()],
    /// Threads at work for it, by kind.
    busy: [usize; KINDS.len()],
    /// Its place in the line of its class.
    place: Option<u64>,
}

impl Queues {
    fn new(lane: Lane) -> Queues {
        let (jobs, busy) = Default::default();
        Queues { lane, jobs, busy, place: None }
    }

    fn busy(&self) -> usize {
        self.busy.iter().sum()
    }

    /// Jobs that may be begun now, at most, as far as this lane goes.
    fn startable(&self) -> usize {
        let of_kind = |kind: Kind| self.jobs[kind as usize].len().min(self.room(kind));
        KINDS.into_iter().map(of_kind).sum()
    }

    /// Jobs of this kind that may be begun now.
    fn room(&self, kind: Kind) -> usize {
        let (all, waiting) = match self.lane {
            Lane::Here(_) => (IO_THREADS_A_DEVICE, IO_THREADS_THAT_WAIT),
            Lane::Distant(_) => (DISTANT_THREADS, DISTANT_THREADS_THAT_WAIT),
            // They have nothing but opens.
            Lane::Unknown { folder: None, .. } => {
                return OPEN_THREADS_A_NEW_ROOT.saturating_sub(self.busy());
            }
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
/// [`READS_A_BATCH`](crate::limits::READS_A_BATCH). A close has no op, but a descriptor: the process's
/// limit of these bounds them.
#[derive(Default)]
pub(super) struct Lanes {
    /// Of devices that have jobs or busy threads.
    queues: BTreeMap<Lane, Queues>,
    classes: [Together; CLASSES.len()],
    next_place: u64,
    /// The class where the next thread looks first: they take turns.
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
        let begins = self.change(lane, |queues| {
            let queue = &mut queues.jobs[kind as usize];
            let joins = queue.back().is_some_and(|last| job.follows(last));
            queue.push_back(job);
            !joins && queues.room(kind) > 0
        });
        begins && self.room(Class::of(lane)) > 0
    }

    /// Changes what a lane has, and with it what is known of its class.
    fn change<T>(&mut self, lane: Lane, change: impl FnOnce(&mut Queues) -> T) -> T {
        let queues = self.queues.entry(lane).or_insert_with(|| Queues::new(lane));
        let together = &mut self.classes[Class::of(lane) as usize];
        together.busy -= queues.busy();
        together.startable -= queues.startable();
        let result = change(queues);
        let startable = queues.startable();
        together.busy += queues.busy();
        together.startable += startable;
        match queues.place {
            None if startable > 0 => {
                queues.place = Some(self.next_place);
                together.line.insert(self.next_place, lane);
                self.next_place += 1;
            }
            Some(place) if startable == 0 => {
                queues.place = None;
                together.line.remove(&place);
            }
            _ => {}
        }
        if queues.is_over() {
            self.queues.remove(&lane);
        }
        result
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

    /// Jobs of this class that may be begun now: distant mounts together, and opens that may lead
    /// anywhere, leave the others their threads; of these, new roots leave some to folders.
    fn room(&self, class: Class) -> usize {
        let busy = |class: Class| self.classes[class as usize].busy;
        let opening = busy(Class::NewRoot) + busy(Class::Folder);
        let opens = OPEN_THREADS_IN_ALL.saturating_sub(opening);
        let of_roots = OPEN_THREADS_IN_ALL - OPEN_THREADS_FOR_FOLDERS;
        match class {
            Class::Here => usize::MAX,
            Class::Distant => DISTANT_THREADS_IN_ALL.saturating_sub(busy(class)),
            Class::NewRoot => of_roots.saturating_sub(busy(class)).min(opens),
            Class::Folder => opens,
        }
    }

    /// Jobs that threads may begin now, at most. 0: [`Lanes::take`] gives none.
    pub(super) fn startable(&self) -> usize {
        let of = |class: Class| self.classes[class as usize].startable.min(self.room(class));
        CLASSES.into_iter().map(of).sum()
    }

    /// What a thread does next.
    pub(super) fn take(&mut self) -> Option<(Vec<Job>, Taken)> {
        let mut order = (0..CLASSES.len()).map(|step| (self.turn + step) % CLASSES.len());
        let has_some = |at: &usize| !self.classes[*at].line.is_empty();
        let at = order.find(|at| has_some(at) && self.room(CLASSES[*at]) > 0)?;
        self.turn = at + 1;
        let (_, lane) = self.classes[at].line.pop_first()?;
        self.change(lane, |queues| {
            // It stands behind the others, should it have more.
            queues.place = None;
            let kind = queues.next()?;
            Some((queues.take(kind), Taken { lane, kind }))
        })
    }

    /// What was taken is done.
    pub(super) fn finish(&mut self, Taken { lane, kind }: Taken) {
        self.change(lane, |queues| queues.busy[kind as usize] -= 1);
    }

    /// Takes a job back that no thread has begun.
    pub(super) fn remove(&mut self, name: u64) -> Option<Job> {
        let has = |queues: &Queues| queues.jobs.iter().flatten().any(|job| job.name == name);
        let lane = *self.queues.iter().find(|(_, queues)| has(queues))?.0;
        self.change(lane, |queues| {
            queues.jobs.iter_mut().find_map(|queue| {
                let at = queue.iter().position(|job| job.name == name)?;
                queue.remove(at)
            })
        })
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queues.values().flat_map(|queues| &queues.jobs).map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests;
