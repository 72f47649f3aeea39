//! A file to read from, through io_uring or, where that is missing, by plain calls.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use ringseed_meta::FileIndex;
use tokio_uring::buf::BoundedBuf;

use super::limits::OPEN_FILES_MAX;
use super::survey::{FileProblem, FileStamp};
use super::{HashingError, Reads};

/// What files are read by. Its ring, if it has one, is set up when it is made and never again, so
/// that whoever hashes later may be denied new ones by then. Stays on the thread that made it.
pub struct Runtime(Kind);

enum Kind {
    Ring(tokio_uring::Runtime),
    Plain(tokio::runtime::Runtime),
}

impl Runtime {
    /// # Errors
    /// [`HashingError::Threads`]; a ring that cannot be had is none.
    pub fn new(reads: Reads) -> Result<Runtime, HashingError> {
        if reads == Reads::Ring
            && let Ok(runtime) = tokio_uring::Runtime::new(&tokio_uring::builder())
        {
            return Ok(Runtime(Kind::Ring(runtime)));
        }
        let plain = tokio::runtime::Builder::new_current_thread().build();
        plain.map(|plain| Runtime(Kind::Plain(plain))).map_err(HashingError::Threads)
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match &self.0 {
            Kind::Ring(runtime) => runtime.block_on(future),
            Kind::Plain(runtime) => runtime.block_on(future),
        }
    }

    pub(super) fn files(&self) -> OpenFiles {
        OpenFiles { ring: matches!(self.0, Kind::Ring(_)), open: RefCell::default() }
    }
}

/// The files read last.
pub(super) struct OpenFiles {
    ring: bool,
    open: RefCell<VecDeque<(FileIndex, Rc<Source>)>>,
}

pub(super) enum Source {
    Ring(tokio_uring::fs::File),
    Plain(std::fs::File),
}

impl OpenFiles {
    /// The open file; it must be what it was at the survey.
    pub(super) fn open(
        &self,
        file: FileIndex,
        path: &Path,
        stamp: FileStamp,
    ) -> Result<Rc<Source>, FileProblem> {
        let mut open = self.open.borrow_mut();
        if let Some((_, source)) = open.iter().find(|(known, _)| *known == file) {
            return Ok(source.clone());
        }
        let opened = std::fs::File::open(path).map_err(|error| FileProblem::of_io(&error))?;
        let metadata = opened.metadata().map_err(|error| FileProblem::of_io(&error))?;
        if FileStamp::of(&metadata) != stamp {
            return Err(FileProblem::Changed);
        }
        let source = Rc::new(match self.ring {
            true => Source::Ring(tokio_uring::fs::File::from_std(opened)),
            false => Source::Plain(opened),
        });
        if open.len() >= OPEN_FILES_MAX {
            open.pop_front();
        }
        open.push_back((file, source.clone()));
        Ok(source)
    }
}

impl Source {
    /// Fills a range of the buffer. The buffer comes back in any case.
    pub(super) async fn read(
        &self,
        mut buffer: Vec<u8>,
        range: std::ops::Range<usize>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        match self {
            Source::Ring(file) => {
                let (result, slice) = file.read_exact_at(buffer.slice(range), offset).await;
                (result, slice.into_inner())
            }
            Source::Plain(file) => {
                let result = match buffer.get_mut(range) {
                    Some(place) => file.read_exact_at(place, offset),
                    None => Err(io::ErrorKind::InvalidInput.into()),
                };
                (result, buffer)
            }
        }
    }
}
