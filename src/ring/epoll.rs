//! The engine where io_uring is denied: readiness by epoll, and a few threads for what waits for a
//! disk.
//!
//! Each socket is told to epoll once, edge-triggered, when its first work starts. What an edge says is
//! remembered until the socket was found empty, so that work which starts later misses nothing. Bytes
//! are received, and connections accepted, when the caller takes the event (`next`): by then it has
//! dropped the buffer of the one before.

mod calls;
mod watch;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::address::{ADDRESS_BYTES, RawAddress};
use crate::engine::{Engine, Event, Known, Work};
use crate::limits::{EPOLL_EVENTS, PAGE_BYTES};
use crate::native::KernelOptions;
use crate::plan::{StartError, explain_epoll};
use crate::threads::{Call, Lane, Pointer, Threads};
use crate::{Bell, BufferPool, Counters, KernelError, RecvBuffer, Run, Waker, sys};

use calls::Epoll;
use watch::{Found, Kind, READABLE, WRITABLE, Watched};

/// What epoll is told of a socket, once: every edge.
const EDGES: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
/// epoll's word for the waker's eventfd, and for the threads'. Each is written again and again and
/// never read: every write is an edge, and 2^64 of them are more than a machine lives for.
const WAKE: u64 = u64::MAX;
const THREADS: u64 = u64::MAX - 1;

/// An epoll descriptor, what it watches, and threads that wait for disks.
pub struct EpollEngine {
    epoll: Epoll,
    buffers: Rc<BufferPool>,
    /// By descriptor number.
    watched: Vec<Watched>,
    /// Descriptors to look at, each once.
    line: VecDeque<RawFd>,
    done: VecDeque<Event>,
    edges: Vec<libc::epoll_event>,
    wake_fd: Arc<OwnedFd>,
    threads: Threads,
    enters: u64,
}

impl EpollEngine {
    /// Tells epoll of a descriptor, unless that was done before.
    fn watch(&mut self, fd: RawFd) -> Result<(), i32> {
        let place = usize::try_from(fd).map_err(|_| libc::EBADF)?;
        if self.watched.len() <= place {
            self.watched.resize_with(place + 1, Watched::default);
        }
        let watched = self.watched.get_mut(place).ok_or(libc::EBADF)?;
        if !watched.is_known() {
            self.epoll.add(fd, EDGES, watched.word(fd))?;
            watched.become_known();
        }
        Ok(())
    }

    fn watched(&mut self, fd: RawFd) -> Option<&mut Watched> {
        self.watched.get_mut(usize::try_from(fd).ok()?)
    }

    /// Work that waits for readiness of a socket.
    fn arm(&mut self, fd: RawFd, kind: Kind, name: u64) {
        let armed = self.watch(fd).and_then(|()| {
            let watched = self.watched(fd).ok_or(libc::EBADF)?;
            watched.arm(kind, name).map(|()| watched.stands_in_line())
        });
        match armed {
            Ok(true) => self.line.push_back(fd),
            Ok(false) => {}
            Err(errno) => self.end(name, -errno),
        }
    }

    /// The last event of a piece of work.
    fn end(&mut self, name: u64, result: i32) {
        self.done.push_back(Event::Of { name, result, buffer: None, more: false });
    }

    fn start_poll(&mut self, fd: RawFd, name: u64, events: u32) {
        let ready = match calls::poll_now(borrow(fd), events) {
            Ok(ready) => ready,
            Err(errno) => return self.end(name, -errno),
        };
        if ready != 0 {
            return self.end(name, ready as i32);
        }
        // What an edge said before is over. From here on a change is an edge.
        let kind = if events & libc::POLLIN as u32 != 0 { Kind::Readable } else { Kind::Writable };
        if let Some(watched) = self.watched(fd) {
            watched.forget(if kind == Kind::Readable { READABLE } else { WRITABLE });
        }
        self.arm(fd, kind, name);
    }

    fn start_connect(&mut self, fd: RawFd, name: u64, to: &RawAddress) {
        // First: epoll calls a socket that is not on its way a hang-up.
        match calls::connect(borrow(fd), to) {
            Ok(()) => self.end(name, 0),
            Err(libc::EINPROGRESS | libc::EINTR) => self.arm(fd, Kind::Connect, name),
            Err(errno) => self.end(name, -errno),
        }
    }

    /// # Safety
    /// As for [`Engine::start`]: `length` bytes at `into` stay the work's until its last event.
    unsafe fn start_read(
        &mut self,
        name: u64,
        (file, lane): (&Arc<OwnedFd>, Lane),
        into: *mut u8,
        length: u32,
        offset: u64,
    ) {
        // What the page cache has needs no thread; of long reads the caller has taken that.
        if length as usize <= PAGE_BYTES {
            // SAFETY: by this function's own contract.
            match unsafe { calls::read_cached(file.as_fd(), into, length, offset) } {
                Err(libc::EAGAIN | libc::EOPNOTSUPP | libc::EINTR) => {}
                result => return self.end(name, result.map_or_else(|errno| -errno, |n| n as i32)),
            }
        }
        let call = Call::Read { file: Arc::clone(file), into: Pointer(into), length, offset };
        // SAFETY: by this function's own contract.
        unsafe { self.threads.push(name, call, lane) };
    }

    /// Looks at a descriptor that stood in line. Polls that are over go to `done`; of the rest it does
    /// one step, and the descriptor stands in line again while there may be more.
    fn look_at(&mut self, fd: RawFd) -> Option<Event> {
        let watched = self.watched.get_mut(usize::try_from(fd).ok()?)?;
        watched.leaves_line();
        while let Some((kind, name, result)) = watched.take_once() {
            let result = if kind == Kind::Connect { calls::outcome(borrow(fd)) } else { result };
            self.done.push_back(Event::Of { name, result, buffer: None, more: false });
        }
        let (kind, name) = watched.takes()?;
        let step = match kind {
            Kind::Accept => calls::accept(borrow(fd)).map(|fd| (fd, Found::More, None)),
            Kind::Receive => receive(&self.buffers, fd),
            _ => receive_datagram(&self.buffers, fd),
        };
        let event = match step {
            Ok((result, found, buffer)) => {
                watched.found(found);
                // The end of a stream is the end of its receive.
                let more = result != 0 || kind != Kind::Receive;
                if !more {
                    watched.disarm(name);
                }
                Some(Event::Of { name, result, buffer, more })
            }
            Err(libc::EAGAIN) => {
                watched.found(Found::Nothing);
                None
            }
            Err(libc::EINTR) => None,
            Err(errno) => {
                watched.disarm(name);
                Some(Event::Of { name, result: -errno, buffer: None, more: false })
            }
        };
        if watched.stands_in_line() {
            self.line.push_back(fd);
        }
        event
    }
}

/// What a step found: its result, whether there may be more, and the buffer that it filled.
type Step = Result<(i32, Found, Option<RecvBuffer>), i32>;

#[inline]
fn receive(buffers: &Rc<BufferPool>, fd: RawFd) -> Step {
    let id = buffers.take_home().ok_or(libc::ENOBUFS)?;
    match buffers.write(id, |into| sys::recv(borrow(fd), into)) {
        Ok(0) => {
            buffers.put_home(id);
            Ok((0, Found::More, None))
        }
        Ok(bytes) => {
            // A stream that gave less than it might is empty, unless its end was told already.
            let full = bytes == buffers.buffer_bytes();
            let found = if full { Found::More } else { Found::Short };
            Ok((bytes as i32, found, buffers.lend(id, 0, bytes)))
        }
        Err(errno) => {
            buffers.put_home(id);
            Err(errno)
        }
    }
}

/// The address stands before the bytes, where [`EpollEngine::datagram`] looks for it.
fn receive_datagram(buffers: &Rc<BufferPool>, fd: RawFd) -> Step {
    let id = buffers.take_home().ok_or(libc::ENOBUFS)?;
    let received = buffers.write(id, |into| match into.split_at_mut_checked(ADDRESS_BYTES) {
        Some((name, bytes)) => calls::receive_from(borrow(fd), name, bytes),
        None => Err(libc::ENOBUFS),
    });
    match received {
        Ok(bytes) => {
            let length = ADDRESS_BYTES + bytes;
            Ok((length as i32, Found::More, buffers.lend(id, 0, length)))
        }
        Err(errno) => {
            buffers.put_home(id);
            Err(errno)
        }
    }
}

fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: work names only descriptors that stay open until its last event or its release, and
    // this is used within a call.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

impl Engine for EpollEngine {
    fn new(options: &KernelOptions) -> Result<EpollEngine, StartError> {
        let epoll = Epoll::new().map_err(explain_epoll)?;
        let wake_fd = Arc::new(sys::eventfd().map_err(explain_epoll)?);
        let threads = Threads::new().map_err(explain_epoll)?;
        let edge = (libc::EPOLLIN | libc::EPOLLET) as u32;
        epoll.add(wake_fd.as_raw_fd(), edge, WAKE).map_err(explain_epoll)?;
        epoll.add(threads.bell().as_raw_fd(), edge, THREADS).map_err(explain_epoll)?;
        Ok(EpollEngine {
            epoll,
            buffers: BufferPool::new(
                options.receive_buffers,
                options.receive_buffer_bytes as usize,
            ),
            watched: Vec::new(),
            line: VecDeque::new(),
            done: VecDeque::new(),
            edges: Vec::with_capacity(EPOLL_EVENTS),
            wake_fd,
            threads,
            enters: 0,
        })
    }

    unsafe fn start(&mut self, name: u64, work: Work<'_>) {
        match work {
            Work::Accept(fd) => self.arm(fd, Kind::Accept, name),
            Work::Receive(fd) => self.arm(fd, Kind::Receive, name),
            Work::ReceiveDatagram(fd) => self.arm(fd, Kind::ReceiveDatagram, name),
            Work::Poll(fd, events) => self.start_poll(fd, name, events),
            Work::Connect(fd, to) => self.start_connect(fd, name, to),
            Work::Read { file, lane, into, length, offset } => {
                // SAFETY: by this function's own contract.
                unsafe { self.start_read(name, (file, lane), into, length, offset) }
            }
        }
    }

    unsafe fn aside(&mut self, name: u64, call: Call, lane: Lane) {
        // SAFETY: by this function's own contract.
        unsafe { self.threads.push(name, call, lane) };
    }

    fn close(&mut self, file: Arc<OwnedFd>, lane: Lane) {
        self.threads.close(file, lane);
    }

    fn asks_here(&mut self, file: BorrowedFd<'_>, run: Run, known: Known) -> bool {
        // What is there needs no disk; should a page between be missing, it is asked for.
        known == Known::Nothing && calls::seems_cached(file, run)
    }

    fn cancel(&mut self, name: u64, of: Option<RawFd>) {
        let is_over = match of {
            Some(fd) => self.watched(fd).is_some_and(|watched| watched.disarm(name)),
            None => self.threads.cancel(name),
        };
        // Else its last event is on its way: a thread is at it, or it waits to be taken.
        if is_over {
            self.end(name, -libc::ECANCELED);
        }
    }

    fn forget(&mut self, socket: BorrowedFd<'_>) {
        let fd = socket.as_raw_fd();
        if self.watched(fd).is_some_and(|watched| watched.is_known()) {
            self.epoll.remove(fd);
        }
    }

    fn release(&mut self, socket: BorrowedFd<'_>) {
        // Closing it takes it out of epoll.
        if let Some(watched) = self.watched(socket.as_raw_fd()) {
            watched.release();
        }
    }

    fn enter(&mut self, wait: Option<Duration>) -> Result<(), KernelError> {
        let idle = self.done.is_empty() && self.line.is_empty();
        let wait = wait.filter(|_| idle).unwrap_or_default();
        self.enters += 1;
        match self.epoll.wait(&mut self.edges, wait) {
            Ok(()) | Err(libc::EINTR) => {}
            Err(errno) => {
                let error = std::io::Error::from_raw_os_error(errno);
                return Err(KernelError(format!("epoll_wait failed: {error}")));
            }
        }
        for edge in self.edges.drain(..) {
            match edge.u64 {
                WAKE => self.done.push_back(Event::Woken),
                THREADS => self.threads.take_done(&mut self.done),
                word => {
                    let fd = watch::descriptor_of(word);
                    let place = usize::try_from(fd).unwrap_or(usize::MAX);
                    let Some(watched) = self.watched.get_mut(place) else { continue };
                    if watched.on_edge(word, edge.events) && watched.stands_in_line() {
                        self.line.push_back(fd);
                    }
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.done.pop_front() {
                return Some(event);
            }
            let fd = self.line.pop_front()?;
            if let Some(event) = self.look_at(fd) {
                return Some(event);
            }
        }
    }

    fn feed(&mut self) -> usize {
        self.buffers.at_home()
    }

    fn datagram(mut buffer: RecvBuffer) -> Option<(RecvBuffer, SocketAddr)> {
        let from = RawAddress::from_bytes(buffer.get(..ADDRESS_BYTES)?).parse()?;
        buffer.skip(ADDRESS_BYTES);
        Some((buffer, from))
    }

    fn waker(&self) -> Waker {
        Waker::of_eventfd(&self.wake_fd)
    }

    fn bell(&self) -> Bell {
        Bell::of_waker(self.waker())
    }

    fn ring(&mut self, bell: &Bell) {
        bell.waker.wake();
    }

    fn count(&self, counters: &mut Counters) {
        counters.enters = self.enters;
    }

    fn shut_down(&mut self) {}

    fn is_quiet(&self) -> bool {
        true
    }

    /// The threads keep what is theirs, and end with the call that they are in.
    fn abandon(self) {}
}

/// Whether there is epoll.
pub(crate) fn try_set_up() -> Result<(), i32> {
    Epoll::new().map(drop)
}

/// Whether openat2(2) may be called.
pub(crate) fn try_open() -> Result<(), i32> {
    let root = sys::open_directory(std::path::Path::new("/"))?;
    let how = sys::open_how(libc::O_PATH | libc::O_CLOEXEC, libc::RESOLVE_BENEATH);
    // SAFETY: path and structure live for the call.
    let opened = unsafe { sys::open_at(root.as_raw_fd(), c".".as_ptr(), &how) }?;
    drop(sys::own(opened));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{File, system};

    #[test]
    fn a_run_that_is_there_is_asked_for_without_a_thread() {
        let length = 40 * PAGE_BYTES;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![1; length]).unwrap();
        let opened = Arc::new(OwnedFd::from(std::fs::File::open(file.path()).unwrap()));
        sys::advise(opened.as_fd(), libc::POSIX_FADV_RANDOM).unwrap();
        let name = File { index: 0, generation: 1 };
        let run = Run { file: name, offset: 5, length: length as u32 - 5 };
        let mut engine = EpollEngine::new(&KernelOptions::default()).unwrap();
        assert!(engine.asks_here(opened.as_fd(), run, Known::Nothing));
        // What is known to be missing is not looked for.
        assert!(!engine.asks_here(opened.as_fd(), run, Known::Missing));
        system::drop_from_page_cache(file.path()).unwrap();
        assert!(!engine.asks_here(opened.as_fd(), run, Known::Nothing));
    }
}
