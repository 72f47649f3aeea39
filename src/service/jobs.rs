//! Work that may wait for a disk: loading content, hashing leaves for BEP 52, verifying data. Each
//! kind has a thread and a bounded queue of its own, so that a long verification delays no peer.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use ringseed_meta::limits::BLOCK_BYTES;
use ringseed_meta::merkle::{self, FileTree, Hash};
use ringseed_meta::metainfo::Metainfo;
use ringseed_ring::Failure;
use ringseed_wire::HashRequest;

use super::library::read_torrent;
use super::limits;
use super::state::{Record, StateFolder};
use crate::store::catalog::Entry;
use crate::store::content::Content;
use crate::store::hashing::survey;
use crate::worker::mailbox::{ConnectionId, NoContent};

/// What a job thread is asked to do.
pub(super) enum Job {
    /// Reads a torrent's content for a worker.
    Load { entry: Arc<Entry>, state: Arc<StateFolder>, trust: bool, worker: usize },
    /// Looks at the files of a torrent that nobody verified (`--trust`).
    See { entry: Arc<Entry>, content: Arc<Content> },
    /// Answers a hash request (BEP 52).
    Hashes { content: Arc<Content>, request: HashRequest, worker: usize, connection: ConnectionId },
}

/// What came of it.
pub(super) enum Done {
    Loaded {
        entry: Arc<Entry>,
        content: Result<Arc<Content>, NoContent>,
        worker: usize,
    },
    Seen,
    Hashes {
        request: HashRequest,
        hashes: Option<Vec<Hash>>,
        worker: usize,
        connection: ConnectionId,
    },
}

/// A thread that does jobs in order. Ends when dropped and its queue is empty.
pub(super) struct JobThread {
    jobs: Sender<Job>,
}

impl JobThread {
    /// `done` is called on the job thread.
    pub(super) fn start(
        name: &str,
        jobs_max: usize,
        done: impl Fn(Done) + Send + 'static,
    ) -> std::io::Result<JobThread> {
        let (jobs, queue) = bounded(jobs_max);
        std::thread::Builder::new().name(name.into()).spawn(move || work(&queue, done))?;
        Ok(JobThread { jobs })
    }

    /// Gives the job back when too many wait.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Err(job),
        }
    }
}

/// The job threads: one loads content, one answers hash requests, so that neither waits for the
/// other; and one looks at data, where a mount that hangs would keep it from all else.
pub(super) struct Jobs {
    pub(super) loads: JobThread,
    pub(super) hashes: JobThread,
    /// Loads that did not fit, oldest first; one for each torrent and worker at most.
    pub(super) waiting: VecDeque<Job>,
    /// Data is not compared with its last verification (`--trust`).
    pub(super) trust: bool,
    /// With `trust` only.
    pub(super) looks: Option<JobThread>,
}

impl Jobs {
    /// With `trust`, and unless that was done before: has the files of a torrent looked at, so that all
    /// who open them later compare with the same. Nobody waits for it; where too many do, it is for
    /// the next who loads the torrent.
    pub(super) fn see(&self, entry: &Arc<Entry>, content: &Arc<Content>) {
        if let Some(looks) = self.looks.as_ref().filter(|_| !entry.is_seen()) {
            let job = Job::See { entry: Arc::clone(entry), content: Arc::clone(content) };
            let _ = looks.push(job);
        }
    }

    pub(super) fn load(&mut self, job: Job) {
        self.waiting.push_back(job);
        self.retry();
    }

    /// Hands on what waits, as far as there is room.
    pub(super) fn retry(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            if let Err(job) = self.loads.push(job) {
                self.waiting.push_front(job);
                return;
            }
        }
    }
}

fn work(queue: &Receiver<Job>, done: impl Fn(Done)) {
    let mut answers = Answers::default();
    while let Ok(job) = queue.recv() {
        done(match job {
            Job::Load { entry, state, trust, worker } => {
                let content = load(&entry, &state, trust);
                Done::Loaded { entry, content, worker }
            }
            Job::See { entry, content } => {
                entry.see(|| survey(content.geometry(), content.root.path()).0);
                Done::Seen
            }
            Job::Hashes { content, request, worker, connection } => {
                let hashes = answers.answer(&content, request);
                Done::Hashes { request, hashes, worker, connection }
            }
        });
    }
}

/// Reads what a worker needs to serve a torrent. With `trust` its data is not compared with the
/// last verification.
fn load(entry: &Entry, state: &StateFolder, trust: bool) -> Result<Arc<Content>, NoContent> {
    let path = &entry.torrent_file;
    let fault =
        |error: String| NoContent::Fault(format!("cannot read '{}': {error}", path.display()));
    let bytes = read_torrent(path).map_err(|error| match is_shortage(&error) {
        true => NoContent::Shortage(format!("cannot read '{}': {error}", path.display())),
        false => fault(error.to_string()),
    })?;
    let metainfo = Metainfo::parse(&bytes).map_err(|error| fault(error.to_string()))?;
    if !metainfo.swarms().eq(entry.swarms.iter().copied()) {
        return Err(fault("it is another torrent than it was at the start".into()));
    }
    let record = match entry.swarms.first() {
        Some(info_hash) if !trust => state.record(info_hash).map_err(|error| {
            NoContent::Shortage(format!("cannot read the record of '{}': {error}", path.display()))
        })?,
        _ => None,
    };
    let fits = |record: &Record| {
        record.root == entry.root.path() && record.stamps.len() == metainfo.geometry().file_count()
    };
    let stamps = record.filter(fits).map(|record| record.stamps).unwrap_or_default();
    Ok(Arc::new(Content::new(entry.id, entry.root.clone(), metainfo, stamps)))
}

fn is_shortage(error: &std::io::Error) -> bool {
    error.raw_os_error().is_some_and(|errno| Failure::Os(errno).is_shortage())
}

/// The answers to recent hash requests.
#[derive(Default)]
struct Answers {
    kept: VecDeque<(HashRequest, Vec<Hash>)>,
}

impl Answers {
    fn answer(&mut self, content: &Content, request: HashRequest) -> Option<Vec<Hash>> {
        if let Some((_, hashes)) = self.kept.iter().find(|(kept, _)| *kept == request) {
            return Some(hashes.clone());
        }
        let hashes = compute(content, request)?;
        if self.kept.len() >= limits::HASH_ANSWERS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((request, hashes.clone()));
        Some(hashes)
    }
}

/// Reads the leaves that a request needs and answers it from the file's tree; `None`: reject.
fn compute(content: &Content, request: HashRequest) -> Option<Vec<Hash>> {
    let metainfo = content.metainfo();
    let geometry = content.geometry();
    let index = metainfo.file_by_root(&request.pieces_root)?;
    let file = geometry.file(index)?;
    let layer = metainfo.piece_layer(index)?;
    let tree = FileTree::new(layer, geometry.piece_length(), file.length);
    let asked = merkle::HashRequest {
        base_layer: request.base_layer,
        index: request.index,
        length: request.length,
        proof_layers: request.proof_layers,
    };
    let needed = tree.leaves_needed(asked).ok()?;
    if needed.end - needed.start > limits::LEAVES_MAX {
        return None;
    }
    let mut leaves = Vec::new();
    if !needed.is_empty() {
        let path: PathBuf = content.root.path().join(file.path);
        let data = File::open(path).ok()?;
        let mut block = vec![0; BLOCK_BYTES as usize];
        for leaf in needed {
            let offset = leaf * u64::from(BLOCK_BYTES);
            let bytes = file.length.saturating_sub(offset).min(u64::from(BLOCK_BYTES));
            let block = &mut block[..bytes as usize];
            data.read_exact_at(block, offset).ok()?;
            leaves.push(merkle::block_hash(block));
        }
    }
    // The tree checks the leaves against the piece layer: data that changed is answered by a reject.
    tree.answer(asked, &leaves).ok()
}
