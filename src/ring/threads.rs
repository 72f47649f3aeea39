//! Threads for calls that may wait for long, and their queues: opens and stats, which may wait for a
//! disk or a server; all that is done with files of distant mounts (network, FUSE, overlay), closing
//! them included; readahead of devices that make their callers wait; and, without a ring, every read
//! that waits.
//!
//! They start when there is work and end when there was none for a while, so an idle seeder has none.
//! The jobs of each device have a lane, which a number of threads work for at most. A distant mount that
//! hangs leaves as many to other mounts, two that hang leave them none; however many do, the devices of
//! this machine keep theirs. Opens by a path that may lead to any mount stand in lanes of their own, by
//! root until it is open and then by folder: whatever hangs of them keeps no read from being done. Many
//! that hang keep other such opens waiting, but roots that were never opened leave threads to the
//! folders of those that are open. In a lane opens and stats go first, then readahead and reads of whole
//! runs, then reads that wait for a page; each kind leaves threads to the others, so that the next pages
//! are asked for while others wait for theirs. A lock is held for a push or a pop, never in a call.

mod lanes;

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::Event;
use crate::files::OpenFile;
use crate::limits::{IO_THREAD_IDLE, TOUCHES_REACH_BYTES};
use crate::{Directory, Failure, FileStat, Mount, files, sys};

use lanes::{Kind, Lanes};

/// Whose queue a job stands in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// A device of this machine, by its st_dev.
    Here(u64),
    /// The same of a mount for which another program or machine answers, perhaps never.
    Distant(u64),
    /// Opens below a root that was not opened yet, or in a folder below one of this machine where
    /// something else may be mounted: they may lead anywhere.
    Unknown { root: u64, folder: Option<u64> },
}

impl Lane {
    /// Any call may wait for another program or machine.
    pub(crate) fn is_distant(self) -> bool {
        matches!(self, Lane::Distant(_))
    }
}

/// The name of work whose end nobody waits for. None of an op is as high.
const NOBODYS: u64 = u64::MAX;

/// A piece of work, by its name.
pub(crate) struct Job {
    name: u64,
    lane: Lane,
    call: Call,
}

/// The call that it is.
pub enum Call {
    /// openat2(2) of a file below its root, and what is to be known of it.
    Open { root: Arc<Directory>, path: CString },
    /// fstat(2).
    Stat { file: Arc<OwnedFd> },
    /// pread(2).
    Read { file: Arc<OwnedFd>, into: Pointer, length: u32, offset: u64 },
    /// readahead(2), in steps.
    ReadAhead { file: Arc<OwnedFd>, offset: u64, length: u32 },
    /// close(2), which waits for what a server says to it (a flush of FUSE, an unlock of NFS).
    Close { file: OwnedFd },
}

/// What a call came to.
pub enum Done {
    /// As system calls tell it: an errno is negative.
    Result(i32),
    Opened(Box<Result<(OpenFile, FileStat, Mount), Failure>>),
    Looked(Result<FileStat, i32>),
    /// How long readahead waited.
    Asked(Result<(), i32>, Duration),
}

/// Memory that is the work's until its last event.
pub struct Pointer(pub(crate) *mut u8);

// SAFETY: by the contract of `Engine::aside` it stays valid until the last event of the work, and
// nobody else uses it meanwhile; only the thread that makes the call follows it.
unsafe impl Send for Pointer {}

impl Job {
    fn kind(&self) -> Kind {
        match self.call {
            // They come in turn: below a distant root files are closed as fast as others are opened.
            // What is mounted in a folder of this machine has its opens in another lane.
            Call::Open { .. } | Call::Stat { .. } | Call::Close { .. } => Kind::Look,
            Call::ReadAhead { .. } => Kind::Ask,
            Call::Read { length: 1, .. } => Kind::Wait,
            // What is read as a whole is there in most cases, and somebody holds memory for it.
            Call::Read { .. } => Kind::Ask,
        }
    }

    /// A read of a byte shortly behind that of `before`: the ends of one fetch.
    fn follows(&self, before: &Job) -> bool {
        let (Call::Read { file, length: 1, offset, .. }, Call::Read { file: of, offset: at, .. }) =
            (&self.call, &before.call)
        else {
            return false;
        };
        Arc::ptr_eq(file, of) && offset.checked_sub(*at).is_some_and(|by| by <= TOUCHES_REACH_BYTES)
    }

    /// Makes the call, and closes the file if nobody else has it: either may take its time. `None`:
    /// nobody waits for what it came to.
    fn run(self) -> Option<Done> {
        Some(match self.call {
            Call::Open { root, path } => Done::Opened(Box::new(open(&root, &path))),
            Call::Stat { file } => Done::Looked(sys::stat(file.as_fd()).map(|(stat, _)| stat)),
            Call::Read { file, into, length, offset } => {
                // SAFETY: by the contract of `Engine::aside`, to which the memory belongs.
                let read = unsafe { sys::pread_at(file.as_fd(), into.0, length, offset) };
                Done::Result(read.map_or_else(|errno| -errno, |bytes| bytes as i32))
            }
            Call::ReadAhead { file, offset, length } => {
                let (result, took) =
                    sys::waited(|| files::read_ahead(file.as_fd(), offset, length));
                Done::Asked(result, took)
            }
            Call::Close { file } => {
                drop(file);
                return None;
            }
        })
    }

    /// The file that it works on, should this be its last owner.
    fn into_file(self) -> Option<Arc<OwnedFd>> {
        match self.call {
            Call::Stat { file } | Call::Read { file, .. } | Call::ReadAhead { file, .. } => {
                Some(file)
            }
            Call::Open { .. } | Call::Close { .. } => None,
        }
    }
}

/// Opens a file, and learns of its root's device what later opens stand in line for.
fn open(root: &Directory, path: &CString) -> Result<(OpenFile, FileStat, Mount), Failure> {
    let root = root.descriptor().map_err(Failure::Os)?;
    // Not blocking: the open of a FIFO would wait for a writer.
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let how = sys::open_how(flags, libc::RESOLVE_BENEATH);
    let fd = loop {
        // SAFETY: path and structure live for the call.
        match unsafe { sys::open_at(root.as_raw_fd(), path.as_ptr(), &how) } {
            Err(libc::EINTR) => {}
            opened => break opened.map_err(Failure::Os)?,
        }
    };
    OpenFile::adopt(sys::own(fd))
}

/// What the threads share with the engine.
struct Shared {
    lanes: Mutex<Lanes>,
    work: Condvar,
    done: Mutex<Vec<(u64, Done)>>,
    /// Rung when `done` was empty.
    bell: OwnedFd,
}

/// The engine's end of it.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    /// Taken from `done`, and its memory used again.
    taken: Vec<(u64, Done)>,
}

/// A thread that panicked held no half-made change: pushes and pops are whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Threads {
    pub(crate) fn new() -> Result<Threads, i32> {
        let shared = Shared {
            lanes: Mutex::default(),
            work: Condvar::new(),
            done: Mutex::default(),
            bell: sys::eventfd()?,
        };
        Ok(Threads { shared: Arc::new(shared), taken: Vec::new() })
    }

    /// Rings when something is done.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }

    /// Queues a job.
    ///
    /// # Safety
    /// Memory that the call writes is the work's until its last event.
    pub(crate) unsafe fn push(&mut self, name: u64, call: Call, lane: Lane) {
        let (wakes, starts) = lock(&self.shared.lanes).queue(Job { name, lane, call });
        // The lock is free again: whoever is woken takes it, and starting a thread takes its time.
        if wakes {
            self.shared.work.notify_one();
        }
        if starts && start(&self.shared).is_err() {
            let alone = lock(&self.shared.lanes).could_not_start(name);
            // A limit of processes, and nobody to get to it later: better late than not at all.
            if let Some(job) = alone {
                work(&self.shared, vec![job]);
            }
        }
    }

    /// Lets go of a file. Whoever has it last closes it: a thread that is at work with it, or one that
    /// is told to.
    pub(crate) fn close(&mut self, file: Arc<OwnedFd>, lane: Lane) {
        if let Some(file) = Arc::into_inner(file) {
            // SAFETY: it writes no memory.
            unsafe { self.push(NOBODYS, Call::Close { file }, lane) };
        }
    }

    /// Takes a job back that no thread has begun. `false`: it is done, or being done, or none of ours.
    pub(crate) fn cancel(&mut self, name: u64) -> bool {
        let taken = lock(&self.shared.lanes).remove(name);
        let Some(job) = taken else { return false };
        let lane = job.lane;
        if lane.is_distant()
            && let Some(file) = job.into_file()
        {
            self.close(file, lane);
        }
        true
    }

    /// Appends the last events of what is done.
    pub(crate) fn take_done(&mut self, events: &mut VecDeque<Event>) {
        std::mem::swap(&mut *lock(&self.shared.done), &mut self.taken);
        events.extend(self.taken.drain(..).map(|(name, done)| match done {
            Done::Result(result) => Event::Of { name, result, buffer: None, more: false },
            done => Event::Done { name, done },
        }));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.shared.lanes).closed = true;
        self.shared.work.notify_all();
    }
}

/// One more thread. It stays on the core of the worker that starts it.
fn start(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("disk".to_owned())
        .stack_size(crate::limits::IO_THREAD_STACK_BYTES)
        .spawn(move || run(&shared))
        .map(drop)
}

/// A thread: job after job, until there was none for a while.
fn run(shared: &Shared) {
    // It was counted by whoever started it.
    let mut lanes = lock(&shared.lanes);
    loop {
        let taken = lanes.take();
        if lanes.idle > 0 && lanes.startable() > 0 {
            // This thread took something else than it left.
            shared.work.notify_one();
        }
        let Some((jobs, taken)) = taken else {
            if lanes.closed {
                break;
            }
            lanes.idle += 1;
            let waited = shared.work.wait_timeout(lanes, IO_THREAD_IDLE);
            let (back, wait) = waited.unwrap_or_else(PoisonError::into_inner);
            lanes = back;
            lanes.idle -= 1;
            if wait.timed_out() && lanes.startable() == 0 {
                break;
            }
            continue;
        };
        drop(lanes);
        work(shared, jobs);
        lanes = lock(&shared.lanes);
        lanes.finish(taken);
    }
    lanes.threads -= 1;
}

/// Does jobs, one after the other, and tells what they came to.
fn work(shared: &Shared, jobs: Vec<Job>) {
    let done = |job: Job| Some((job.name, job.run()?));
    let results: Vec<(u64, Done)> = jobs.into_iter().filter_map(done).collect();
    if !results.is_empty() {
        tell(shared, results);
    }
}

fn tell(shared: &Shared, results: Vec<(u64, Done)>) {
    let mut done = lock(&shared.done);
    let was_empty = done.is_empty();
    done.extend(results);
    drop(done);
    if was_empty {
        // It fails only when 2^64 - 1 rings wait: then the engine is due to look anyway.
        let _ = sys::write(shared.bell.as_fd(), &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests;
