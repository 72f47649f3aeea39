//! Threads for calls that wait for a disk, and their queues.
//!
//! They start when there is work and end when there was none for a while, so an idle seeder has none.
//! Opens and readahead go first and always find a thread: while those who wait for pages sit on a
//! slow disk, the next pages are asked for. A lock is held for a push or a pop, never in a call.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::engine::Event;
use crate::limits::{
    IO_THREAD_IDLE, IO_THREADS, IO_THREADS_THAT_WAIT, TOUCHES_AT_ONCE, TOUCHES_REACH_BYTES,
};
use crate::{files, sys};

use super::calls;

/// A piece of work, by its name.
pub(super) struct Job {
    pub(super) name: u64,
    pub(super) call: Call,
}

/// The call that it is.
pub(super) enum Call {
    Open { root: RawFd, path: Pointer<libc::c_char>, how: Pointer<libc::open_how> },
    Read { file: Arc<OwnedFd>, into: Pointer<u8>, length: u32, offset: u64 },
    ReadAhead { file: Arc<OwnedFd>, offset: u64, length: u32 },
}

/// Memory that is the work's until its last event.
pub(super) struct Pointer<T>(pub(super) *const T);

// SAFETY: by the contract of `Engine::start` it stays valid until the last event of the work, and
// nobody else uses it meanwhile; only the thread that makes the call follows it.
unsafe impl<T> Send for Pointer<T> {}

impl Job {
    /// The caller waits for a page rather than asking for some.
    fn waits(&self) -> bool {
        matches!(self.call, Call::Read { .. })
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

    /// Makes the call. What engines tell of it.
    fn run(&self) -> i32 {
        let result = match &self.call {
            Call::Open { root, path, how } => {
                // SAFETY: by the contract of `Engine::start`, to which path and structure belong.
                unsafe { calls::open(*root, path.0, how.0) }
            }
            Call::Read { file, into, length, offset } => {
                // SAFETY: by the contract of `Engine::start`, to which the memory belongs.
                unsafe { calls::read(file.as_fd(), into.0.cast_mut(), *length, *offset) }
                    .map(|bytes| bytes as i32)
            }
            Call::ReadAhead { file, offset, length } => {
                files::read_ahead(file.as_fd(), *offset, *length).map(|()| 0)
            }
        };
        result.unwrap_or_else(|errno| -errno)
    }
}

/// What waits for a thread. Bounded by the op table: an op has one job, a copied batch as many as
/// [`READS_A_BATCH`](crate::limits::READS_A_BATCH).
#[derive(Default)]
struct Queues {
    /// Opens and readahead.
    asks: VecDeque<Job>,
    /// Reads.
    waits: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Threads that are in a read.
    waiting: usize,
    closed: bool,
}

impl Queues {
    /// `false`: it needs no thread of its own, since one that comes to another job will take it too,
    /// or since no more may wait.
    fn push(&mut self, job: Job) -> bool {
        if !job.waits() {
            self.asks.push_back(job);
            return true;
        }
        let joins = self.waits.back().is_some_and(|last| job.follows(last));
        self.waits.push_back(job);
        !joins && self.waiting < IO_THREADS_THAT_WAIT
    }

    /// There is something that a thread may do.
    fn has_work(&self) -> bool {
        !self.asks.is_empty() || (self.waiting < IO_THREADS_THAT_WAIT && !self.waits.is_empty())
    }

    /// What a thread does next: one job, or the touches of one fetch together.
    fn take(&mut self) -> Vec<Job> {
        if let Some(job) = self.asks.pop_front() {
            return vec![job];
        }
        let mut jobs = Vec::new();
        if self.waiting < IO_THREADS_THAT_WAIT
            && let Some(job) = self.waits.pop_front()
        {
            self.waiting += 1;
            jobs.push(job);
            while jobs.len() < TOUCHES_AT_ONCE
                && let Some(last) = jobs.last()
                && let Some(job) = self.waits.pop_front_if(|job| job.follows(last))
            {
                jobs.push(job);
            }
        }
        jobs
    }
}

/// What the threads share with the engine.
struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    done: Mutex<Vec<(u64, i32)>>,
    /// Rung when `done` was empty.
    bell: OwnedFd,
}

/// The engine's end of it.
pub(super) struct Threads {
    shared: Arc<Shared>,
    /// Taken from `done`, and its memory used again.
    taken: Vec<(u64, i32)>,
}

/// A thread that panicked held no half-made change: pushes and pops are whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Threads {
    pub(super) fn new() -> Result<Threads, i32> {
        let shared = Shared {
            queues: Mutex::default(),
            work: Condvar::new(),
            done: Mutex::default(),
            bell: sys::eventfd()?,
        };
        Ok(Threads { shared: Arc::new(shared), taken: Vec::new() })
    }

    /// Rings when something is done.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }

    /// Queues a job.
    pub(super) fn push(&mut self, job: Job) {
        let mut queues = lock(&self.shared.queues);
        let name = job.name;
        if !queues.push(job) {
            return;
        }
        if queues.idle > 0 {
            self.shared.work.notify_one();
        }
        let queued = queues.asks.len() + queues.waits.len();
        if queues.idle >= queued || queues.threads == IO_THREADS {
            return;
        }
        if start(&self.shared).is_ok() {
            queues.threads += 1;
        } else if queues.threads == 0
            && let Some(job) = remove(&mut queues, name)
        {
            // A limit of processes, and nobody to get to it later: better late than not at all.
            drop(queues);
            tell(&self.shared, vec![(name, job.run())]);
        }
    }

    /// Takes a job back that no thread has begun. `false`: it is done, or being done.
    pub(super) fn cancel(&mut self, name: u64) -> bool {
        remove(&mut lock(&self.shared.queues), name).is_some()
    }

    /// Appends the last events of what is done.
    pub(super) fn take_done(&mut self, done: &mut VecDeque<Event>) {
        std::mem::swap(&mut *lock(&self.shared.done), &mut self.taken);
        for (name, result) in self.taken.drain(..) {
            done.push_back(Event::Of { name, result, buffer: None, more: false });
        }
    }
}

fn remove(queues: &mut Queues, name: u64) -> Option<Job> {
    [&mut queues.asks, &mut queues.waits].into_iter().find_map(|queue| {
        let at = queue.iter().position(|job| job.name == name)?;
        queue.remove(at)
    })
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.shared.queues).closed = true;
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
    let mut queues = lock(&shared.queues);
    loop {
        let jobs = queues.take();
        if queues.idle > 0 && queues.has_work() {
            // This thread took something else than it left.
            shared.work.notify_one();
        }
        if jobs.is_empty() {
            if queues.closed {
                break;
            }
            queues.idle += 1;
            let waited = shared.work.wait_timeout(queues, IO_THREAD_IDLE);
            let (back, wait) = waited.unwrap_or_else(PoisonError::into_inner);
            queues = back;
            queues.idle -= 1;
            if wait.timed_out() && queues.asks.is_empty() && queues.waits.is_empty() {
                break;
            }
            continue;
        }
        drop(queues);
        let waited = jobs.first().is_some_and(Job::waits);
        let results: Vec<(u64, i32)> = jobs.iter().map(|job| (job.name, job.run())).collect();
        // Files may close here, which may take its time: on this thread, and before it is told.
        drop(jobs);
        tell(shared, results);
        queues = lock(&shared.queues);
        queues.waiting -= usize::from(waited);
    }
    queues.threads -= 1;
}

fn tell(shared: &Shared, results: Vec<(u64, i32)>) {
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
mod tests {
    use std::ffi::CString;
    use std::time::Duration;

    use super::*;
    use crate::limits::PAGE_BYTES;

    fn file() -> Arc<OwnedFd> {
        Arc::new(sys::memory_file(c"test").unwrap())
    }

    fn touch(file: &Arc<OwnedFd>, name: u64, offset: u64) -> Job {
        let (file, into) = (Arc::clone(file), Pointer(std::ptr::null()));
        Job { name, call: Call::Read { file, into, length: 1, offset } }
    }

    fn ask(file: &Arc<OwnedFd>, name: u64) -> Job {
        let (file, length) = (Arc::clone(file), PAGE_BYTES as u32);
        Job { name, call: Call::ReadAhead { file, offset: 0, length } }
    }

    fn names(jobs: &[Job]) -> Vec<u64> {
        jobs.iter().map(|job| job.name).collect()
    }

    #[test]
    fn asks_go_first_and_the_touches_of_one_fetch_together() {
        let (one, other) = (file(), file());
        let mut queues = Queues::default();
        let near = TOUCHES_REACH_BYTES;
        assert!(queues.push(touch(&one, 1, 0)));
        assert!(!queues.push(touch(&one, 2, near)), "whoever takes the first takes it too");
        assert!(queues.push(touch(&one, 3, 2 * near + 1)), "of another fetch");
        assert!(queues.push(touch(&other, 4, 2 * near + 2)), "of another file");
        assert!(queues.push(ask(&one, 5)));
        let taken: Vec<_> = std::iter::from_fn(|| Some(queues.take())).take(5).collect();
        let taken: Vec<_> = taken.iter().map(|jobs| names(jobs)).collect();
        assert_eq!(taken, [vec![5], vec![1, 2], vec![3], vec![4], vec![]]);
    }

    #[test]
    fn no_thread_takes_more_touches_than_the_limit() {
        let file = file();
        let mut queues = Queues::default();
        for name in 0..TOUCHES_AT_ONCE as u64 + 5 {
            queues.push(touch(&file, name, name));
        }
        assert_eq!(queues.take().len(), TOUCHES_AT_ONCE);
        assert_eq!(queues.take().len(), 5);
    }

    #[test]
    fn reads_leave_threads_for_asks() {
        let mut queues = Queues::default();
        for name in 0..IO_THREADS as u64 {
            queues.push(touch(&file(), name, 0));
        }
        for _ in 0..IO_THREADS_THAT_WAIT {
            assert_eq!(queues.take().len(), 1);
        }
        assert!(queues.take().is_empty() && !queues.has_work(), "the rest is kept free");
        assert!(!queues.push(touch(&file(), 98, 0)), "one more would find no thread");
        queues.push(ask(&file(), 99));
        assert!(queues.has_work());
        assert_eq!(names(&queues.take()), [99]);
        queues.waiting -= 1;
        assert_eq!(queues.take().len(), 1);
    }

    /// An open that waits until somebody writes to its FIFO.
    struct Fifo {
        path: CString,
        how: libc::open_how,
    }

    impl Fifo {
        fn job(&self, name: u64) -> Job {
            let (path, how) = (Pointer(self.path.as_ptr()), Pointer(&raw const self.how));
            Job { name, call: Call::Open { root: libc::AT_FDCWD, path, how } }
        }
    }

    /// The next results, by name; waits at most ten seconds for `count`.
    fn results(threads: &mut Threads, count: usize) -> Vec<(u64, i32)> {
        let mut done = VecDeque::new();
        for _ in 0..1_000 {
            threads.take_done(&mut done);
            if done.len() >= count {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let mut results: Vec<(u64, i32)> = done
            .into_iter()
            .map(|event| match event {
                Event::Of { name, result, more: false, .. } => (name, result),
                _ => panic!("an event that is none of a job's"),
            })
            .collect();
        results.sort_unstable();
        results
    }

    #[test]
    fn what_no_thread_has_begun_can_be_taken_back_and_the_rest_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let fifo = Fifo {
            path: CString::new(path.to_str().unwrap()).unwrap(),
            how: sys::open_how(libc::O_RDONLY | libc::O_CLOEXEC, 0),
        };
        // SAFETY: the name ends with a NUL.
        assert_eq!(unsafe { libc::mkfifo(fifo.path.as_ptr(), 0o600) }, 0);
        let mut threads = Threads::new().unwrap();
        let count = IO_THREADS as u64;
        for name in 0..count + 2 {
            threads.push(fifo.job(name));
        }
        let begun = |threads: &Threads| lock(&threads.shared.queues).asks.len() == 2;
        while !begun(&threads) {
            std::thread::yield_now();
        }
        assert_eq!(lock(&threads.shared.queues).threads, IO_THREADS, "no more are started");
        assert!(threads.cancel(count), "it waits for a thread");
        assert!(!threads.cancel(count), "it is gone");
        assert!(!threads.cancel(0), "a thread is at it");
        let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let opened = results(&mut threads, IO_THREADS + 1);
        let wanted: Vec<u64> = (0..count).chain([count + 1]).collect();
        assert_eq!(opened.iter().map(|(name, _)| *name).collect::<Vec<_>>(), wanted);
        for (_, fd) in opened {
            assert!(fd >= 0, "errno {}", -fd);
            drop(sys::own(fd));
        }
        drop(writer);
    }

    #[test]
    fn where_no_thread_is_to_be_had_the_caller_does_it() {
        // The filter holds for the thread that asks for it.
        let limited = std::thread::spawn(|| {
            crate::system::deny(libc::SYS_clone3 as u32).unwrap();
            crate::system::deny(libc::SYS_clone as u32).unwrap();
            let mut threads = Threads::new().unwrap();
            for name in [1, 2] {
                threads.push(ask(&file(), name));
                assert_eq!(lock(&threads.shared.queues).threads, 0);
                assert_eq!(results(&mut threads, 1), [(name, 0)]);
            }
        });
        limited.join().unwrap();
    }

    #[test]
    fn threads_end_with_their_engine() {
        let mut threads = Threads::new().unwrap();
        threads.push(ask(&file(), 1));
        assert_eq!(results(&mut threads, 1).len(), 1);
        let shared = Arc::clone(&threads.shared);
        drop(threads);
        let mut waited = Duration::ZERO;
        while Arc::strong_count(&shared) > 1 {
            std::thread::park_timeout(Duration::from_millis(5));
            waited += Duration::from_millis(5);
            assert!(waited < Duration::from_secs(10), "a thread stays");
        }
    }
}
