//! The reading thread: as many small loops as there are buffers, each reading a part, handing it
//! to a hashing thread and waiting for it to come back.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use crossbeam::channel::{Sender, bounded};
use ringseed_meta::Geometry;
use ringseed_meta::metainfo::Format;
use tokio::sync::oneshot;

use super::hasher::{self, PieceDigest, PieceState, Work};
use super::layout::{Part, Run, group, group_count};
use super::limits::{BUFFERS_MORE, BUFFERS_PER_THREAD, READ_BYTES, THREADS_MAX};
use super::source::OpenFiles;
use super::{FileFault, FileProblem, FileStamp, HashingError, Options, Progress, merge};

/// What is hashed.
pub(super) struct Job<'a> {
    pub geometry: &'a Geometry,
    pub format: Format,
    pub data_dir: &'a Path,
    /// One for each file of the list.
    pub stamps: &'a [FileStamp],
}

/// Hands the hashes of each readable piece to `on_piece`, in no particular order. Returns the
/// files that could not be read.
pub(super) fn run(
    job: &Job<'_>,
    options: &Options<'_>,
    progress: &mut dyn FnMut(Progress),
    on_piece: &mut dyn FnMut(&PieceDigest),
) -> Result<Vec<FileFault>, HashingError> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if options.threads == 0 { cores() } else { options.threads };
    // A small torrent has work for few: there may be thousands of them.
    let groups = group_count(job.geometry);
    let threads = threads.min(THREADS_MAX).min(groups).max(1);
    let buffers = (threads * BUFFERS_PER_THREAD + BUFFERS_MORE).min(groups).max(1);
    std::thread::scope(|scope| {
        // Each loop has at most one part under way, so sending never waits.
        let (work, queue) = bounded(buffers);
        for number in 0..threads {
            let queue = queue.clone();
            let hash = move || hasher::work(job.geometry, job.format, &queue);
            let thread = std::thread::Builder::new().name(format!("hash-{number}"));
            thread.spawn_scoped(scope, hash).map_err(HashingError::Threads)?;
        }
        drop(queue);
        let total_bytes = job.geometry.total_bytes();
        let reader = Reader {
            job,
            cancel: options.cancel,
            work,
            files: options.runtime.files(),
            next_piece: Cell::new(0),
            faults: RefCell::default(),
            done: RefCell::new(Done { done_bytes: 0, total_bytes, progress, on_piece }),
        };
        let loops = (0..buffers).map(|_| reader.read_parts()).collect();
        options.runtime.block_on(all(loops))?;
        Ok(reader.faults.into_inner())
    })
}

/// What the loops of the reading thread share.
struct Reader<'a> {
    job: &'a Job<'a>,
    cancel: &'a AtomicBool,
    work: Sender<Work>,
    files: OpenFiles,
    /// The first piece that no loop has taken.
    next_piece: Cell<u32>,
    faults: RefCell<Vec<FileFault>>,
    done: RefCell<Done<'a>>,
}

struct Done<'a> {
    done_bytes: u64,
    total_bytes: u64,
    progress: &'a mut dyn FnMut(Progress),
    on_piece: &'a mut dyn FnMut(&PieceDigest),
}

impl Reader<'_> {
    /// One loop: takes pieces until none is left.
    async fn read_parts(&self) -> Result<(), HashingError> {
        let geometry = self.job.geometry;
        let mut buffer = vec![0; READ_BYTES as usize];
        let mut digests = Vec::new();
        while self.next_piece.get() < geometry.piece_count() {
            let pieces = group(geometry, self.next_piece.get());
            self.next_piece.set(pieces.end);
            let mut state = PieceState::default();
            let mut next = Some(Part::first(pieces));
            while let Some(part) = next {
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(HashingError::Cancelled);
                }
                let readable;
                (buffer, readable) = self.fill(&part, buffer).await;
                next = part.next(geometry);
                let bytes = part.bytes(geometry);
                if readable == 0 {
                    // Nothing to hash, and of a large piece nothing more to read.
                    let rest = std::iter::successors(next.take(), |part| part.next(geometry));
                    let rest: u64 = rest.map(|part| part.bytes(geometry)).sum();
                    self.report(bytes + rest, &[]);
                    continue;
                }
                let (reply, hashed) = oneshot::channel();
                let work = Work { part, buffer, readable, state, digests, reply };
                self.work.send(work).map_err(|_| HashingError::ThreadLost)?;
                let hashed = hashed.await.map_err(|_| HashingError::ThreadLost)?;
                (buffer, state, digests) = (hashed.buffer, hashed.state, hashed.digests);
                self.report(bytes, &digests);
                digests.clear();
            }
        }
        Ok(())
    }

    /// Reads a part; tells which of its pieces are there.
    async fn fill(&self, part: &Part, mut buffer: Vec<u8>) -> (Vec<u8>, u64) {
        let size = |file: ringseed_meta::FileIndex| {
            self.job.stamps.get(file.0 as usize).map_or(0, |stamp| stamp.size)
        };
        let (runs, mut readable) = part.runs(self.job.geometry, size, |range| {
            buffer.get_mut(range).unwrap_or_default().fill(0);
        });
        for run in runs {
            let problem;
            (buffer, problem) = self.read(run, buffer).await;
            if let Some(problem) = problem {
                readable &= !run.places;
                self.note_fault(run, problem);
            }
        }
        (buffer, readable)
    }

    async fn read(&self, run: Run, buffer: Vec<u8>) -> (Vec<u8>, Option<FileProblem>) {
        let stamp = self.job.stamps.get(run.file.0 as usize).copied().unwrap_or_default();
        let source = match self.files.open(run.file, &self.path(run), stamp) {
            Ok(source) => source,
            Err(problem) => return (buffer, Some(problem)),
        };
        let range = run.at..run.at + run.length;
        let (result, buffer) = source.read(buffer, range, run.offset).await;
        (buffer, result.err().map(|error| FileProblem::of_io(&error)))
    }

    fn path(&self, run: Run) -> std::path::PathBuf {
        let path = self.job.geometry.file(run.file).map_or("", |file| file.path);
        self.job.data_dir.join(path)
    }

    fn note_fault(&self, run: Run, problem: FileProblem) {
        let fault = FileFault { file: run.file, path: self.path(run), problem };
        merge(&mut self.faults.borrow_mut(), vec![fault]);
    }

    fn report(&self, bytes: u64, digests: &[PieceDigest]) {
        let mut done = self.done.borrow_mut();
        digests.iter().for_each(|digest| (done.on_piece)(digest));
        done.done_bytes += bytes;
        let progress = Progress { done_bytes: done.done_bytes, total_bytes: done.total_bytes };
        (done.progress)(progress);
    }
}

/// Runs all to their end, or to the first error. They are few, and each wake-up stands for a
/// megabyte, so that polling all of them costs nothing.
async fn all<F: Future<Output = Result<(), HashingError>>>(
    futures: Vec<F>,
) -> Result<(), HashingError> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|context| {
        let mut failed = None;
        running.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => {
                failed.get_or_insert(error);
                false
            }
        });
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if running.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}
