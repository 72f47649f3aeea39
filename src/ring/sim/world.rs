//! What a test holds: the files, the remote ends, the clock, and the checkers' verdict.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use super::SimKernel;
use super::connection::{Arrival, RemoteState};
use super::content::Content;
use super::faults::{Coverage, Fault};
use super::inode::{Inode, PAGE_BYTES, Sends, pages_of};
use super::options::Options;
use super::state::{Blocked, Desk, Endpoint, Entry, Event, State};
use crate::{FileStat, Socket};

/// A simulated machine with its files and its network, seen from outside. Cheap to clone: all
/// clones, and the kernel, are of one world.
#[derive(Clone)]
pub struct World(pub(super) Rc<RefCell<State>>);

impl World {
    /// An empty machine.
    pub fn new(options: Options) -> World {
        World(Rc::new(RefCell::new(State::new(options))))
    }

    /// One more kernel of the machine, for a thread of the program under test. Of several, `enter`
    /// comes back as soon as any has something to do: let all of them turn then.
    pub fn kernel(&self) -> SimKernel {
        let mut state = self.0.borrow_mut();
        state.desks.push(Desk::default());
        SimKernel { state: Rc::clone(&self.0), number: state.desks.len() - 1 }
    }

    /// Virtual time, in microseconds since the start.
    pub fn now_us(&self) -> u64 {
        self.0.borrow().now_us
    }

    /// Whether the kernel of that number (in the order they were made, from 0) has completions to be
    /// taken: its thread would wake up.
    pub fn has_something_for(&self, kernel: usize) -> bool {
        self.0.borrow().ops.has_ready(kernel)
    }

    /// Ends the kernel's wait at that moment, so that the test can act. Of several the earliest
    /// counts, once: set the next one when it has come.
    pub fn alarm_at(&self, at_us: u64) {
        self.0.borrow_mut().alarm_at(at_us);
    }
}

/// Files.
impl World {
    /// Puts a file at `path`; one that was there is replaced (who has it open keeps the old one).
    pub fn add_file(&self, path: &Path, content: Content, size: u64) {
        let mut state = self.0.borrow_mut();
        let now_us = state.now_us;
        state.disk.create(path, content, size, now_us);
    }

    /// Takes the file's name away.
    pub fn remove_file(&self, path: &Path) {
        let mut state = self.0.borrow_mut();
        let now_us = state.now_us;
        state.disk.unlink(path, now_us, Fault::FileMissing);
    }

    /// Cuts or grows the file.
    pub fn truncate(&self, path: &Path, size: u64) {
        self.change(path, |inode, now_us| inode.truncate(size, now_us));
    }

    /// Writes other content in place.
    pub fn modify(&self, path: &Path, content: Content) {
        self.change(path, |inode, now_us| inode.modify(content, now_us));
    }

    /// Makes the page that holds `offset` unreadable for ever.
    pub fn break_page(&self, path: &Path, offset: u64) {
        self.change(path, |inode, _| inode.break_page(offset / PAGE_BYTES));
    }

    /// The file may not be opened from now on (EACCES).
    pub fn forbid(&self, path: &Path) {
        self.change(path, |inode, _| inode.forbid());
    }

    /// The system does not tell what of the file is in the page cache.
    pub fn hide_residency(&self, path: &Path) {
        self.change(path, |inode, _| inode.hide_residency());
    }

    /// Another machine answers for the file: each call on it may wait.
    pub fn make_distant(&self, path: &Path) {
        self.change(path, |inode, _| inode.make_distant());
    }

    /// Brings all of the file into the page cache.
    pub fn warm(&self, path: &Path) {
        self.change(path, |inode, _| inode.warm());
    }

    /// Drops all of the file from the page cache.
    pub fn cool(&self, path: &Path) {
        self.change(path, |inode, _| inode.cool());
    }

    /// Drops the pages of a stretch of the file from the page cache.
    pub fn evict(&self, path: &Path, offset: u64, length: u64) {
        let mut state = self.0.borrow_mut();
        if let Some(inode) = state.disk.inode_named(path) {
            let now_us = state.now_us;
            state.disk.evict(inode, pages_of(offset, length), now_us);
        }
    }

    /// Pages read from the device since the start.
    pub fn pages_read(&self) -> u64 {
        self.0.borrow().disk.pages_read
    }

    /// What `stat` says of the file.
    pub fn stat(&self, path: &Path) -> Option<FileStat> {
        let state = self.0.borrow();
        state.disk.inode_named(path).map(|inode| state.disk.stat_of(inode))
    }

    /// The file that has this name now, to be asked about when it has it no more.
    pub fn watch(&self, path: &Path) -> Option<Watched> {
        let inode = self.0.borrow().disk.inode_named(path)?;
        Some(Watched { world: self.clone(), inode })
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut Inode, u64)) {
        let mut state = self.0.borrow_mut();
        let now_us = state.now_us;
        if let Some(inode) = state.disk.named(path) {
            change(inode, now_us);
        }
    }
}

/// The network.
impl World {
    /// A socket of the first kernel that listens at `at`. `None`: the address is in use.
    pub fn listen(&self, at: SocketAddr) -> Option<Socket> {
        if !self.0.borrow().listeners_at(at).is_empty() {
            return None;
        }
        self.listen_beside(at, 0)
    }

    /// A socket of the kernel of that number (in the order they were made, from 0) that listens at
    /// `at` beside others (SO_REUSEPORT): chance decides which of them a connection comes to.
    pub fn listen_beside(&self, at: SocketAddr, kernel: usize) -> Option<Socket> {
        let listener = Endpoint::Listener { at, backlog: Default::default(), accept: None };
        self.0.borrow_mut().add_socket(listener, kernel)
    }

    /// A remote end at `from` connects to the listener at `to`. `None`: nobody listens there.
    pub fn connect(&self, from: SocketAddr, to: SocketAddr) -> Option<Remote> {
        let mut state = self.0.borrow_mut();
        let listener = match state.listeners_at(to).as_slice() {
            [one] => *one,
            many => *state.random.pick(many)?,
        };
        let connection = state.new_connection(from);
        if let Some(Entry { endpoint: Endpoint::Listener { backlog, .. }, .. }) =
            state.entry(listener)
        {
            backlog.push_back(connection);
        }
        state.pump_accept(listener);
        Some(Remote { world: self.clone(), connection })
    }

    /// Lets connections come to `at`, outside the kernel.
    pub fn listen_remotely(&self, at: SocketAddr) {
        self.0.borrow_mut().remote_listeners.entry(at).or_default();
    }

    /// A connection that the kernel made to `at`.
    pub fn accept_remotely(&self, at: SocketAddr) -> Option<Remote> {
        let connection = self.0.borrow_mut().remote_listeners.get_mut(&at)?.pop_front()?;
        Some(Remote { world: self.clone(), connection })
    }

    /// A UDP socket.
    pub fn bind_datagram(&self) -> Option<Socket> {
        self.0.borrow_mut().add_socket(Endpoint::Datagram(Default::default()), 0)
    }

    /// A datagram arrives at a UDP socket.
    pub fn deliver_datagram(&self, socket: Socket, from: SocketAddr, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        if let Some(Entry { endpoint: Endpoint::Datagram(of), .. }) = state.entry(socket) {
            of.arrived.push_back((from, bytes.to_vec()));
            state.pump_datagrams(socket);
        }
    }

    /// The datagrams a UDP socket sent since the last call.
    pub fn datagrams_sent(&self, socket: Socket) -> Vec<(SocketAddr, Vec<u8>)> {
        match self.0.borrow_mut().entry(socket) {
            Some(Entry { endpoint: Endpoint::Datagram(of), .. }) => std::mem::take(&mut of.sent),
            _ => Vec::new(),
        }
    }
}

/// The verdict.
impl World {
    /// Rules broken so far.
    pub fn violations(&self) -> Vec<String> {
        let mut state = self.0.borrow_mut();
        let of_ledger = state.ops.ledger().take_violations();
        of_ledger.into_iter().for_each(|violation| state.violated(violation));
        let mut violations = state.violations.clone();
        if state.blocked.not_asked > 0 {
            violations.push(format!(
                "{} sends waited for the disk for pages that were not asked for",
                state.blocked.not_asked
            ));
        }
        violations
    }

    /// Rules broken so far, and what is left over. For the end, when the program under test has
    /// closed all it had and taken all completions.
    pub fn violations_at_rest(&self) -> Vec<String> {
        let mut violations = self.violations();
        let mut state = self.0.borrow_mut();
        let unfinished = state.ops.ledger().unfinished();
        let left = [
            (state.sockets.len(), "sockets are open"),
            (state.detached, "detached sockets belong to no kernel"),
            (state.disk.open_count(), "files are open"),
            (state.ops.len(), "ops are in the table"),
            (unfinished.len(), "ops were never finished"),
            (state.pool.lent(), "receive buffers did not come home"),
        ];
        violations.extend(
            left.iter().filter(|(count, _)| *count > 0).map(|(count, of)| format!("{count} {of}")),
        );
        violations
            .extend(unfinished.into_iter().take(10).map(|op| format!("never finished: {op}")));
        violations
    }

    /// Panics with the seed when a rule was broken or something is left over.
    pub fn assert_at_rest(&self) {
        let violations = self.violations_at_rest();
        let seed = self.0.borrow().options.seed;
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }

    /// How often each kind of fault was met.
    pub fn coverage(&self) -> Coverage {
        self.0.borrow().coverage.clone()
    }

    /// Sends that waited for the disk.
    pub fn blocked(&self) -> Blocked {
        self.0.borrow().blocked
    }

    /// A number that two runs of the same program with the same seed have in common.
    pub fn fingerprint(&self) -> u64 {
        self.0.borrow().fingerprint
    }

    /// Times the kernel was entered.
    pub fn enters(&self) -> u64 {
        self.0.borrow().disk.enters
    }

    /// Ops in flight, or finished and not taken.
    pub fn live_ops(&self) -> usize {
        self.0.borrow().ops.len()
    }

    /// Sockets that are open, listeners included.
    pub fn open_sockets(&self) -> usize {
        self.0.borrow().sockets.len()
    }

    /// Files that are open.
    pub fn open_files(&self) -> usize {
        self.0.borrow().disk.open_count()
    }
}

/// A file, whatever became of its name.
#[derive(Clone)]
pub struct Watched {
    world: World,
    inode: usize,
}

impl Watched {
    /// When its bytes were sent.
    pub fn sends(&self) -> Sends {
        self.world.0.borrow().disk.inode(self.inode).sends
    }
}

/// The far end of a connection, in the hands of the test.
#[derive(Clone)]
pub struct Remote {
    world: World,
    connection: usize,
}

impl Remote {
    /// Sends bytes; how many were taken (fewer when the other side does not receive).
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut state = self.world.0.borrow_mut();
        let at_us = state.arrival_us(self.connection);
        let taken = state.connections[self.connection].write(bytes, at_us);
        if taken > 0 {
            let wait_us = at_us - state.now_us;
            state.after(wait_us, Event::Arrive(self.connection));
        }
        taken
    }

    /// All that arrived.
    pub fn read(&self) -> Vec<u8> {
        self.read_at_most(usize::MAX)
    }

    /// The first of what arrived, at most so many bytes.
    pub fn read_at_most(&self, bytes: usize) -> Vec<u8> {
        let mut state = self.world.0.borrow_mut();
        let read = state.connections[self.connection].read_inbox(bytes);
        state.kick(self.connection);
        read
    }

    /// Bytes that arrived and were not read.
    pub fn unread(&self) -> usize {
        self.world.0.borrow().connections[self.connection].inbox_bytes()
    }

    /// How the connection looks from here. Bytes may be unread in any state.
    pub fn state(&self) -> RemoteState {
        self.world.0.borrow().connections[self.connection].remote
    }

    /// Whether the network ended the connection: a reset that was injected, or a time-out.
    pub fn was_lost_to_network(&self) -> bool {
        self.world.0.borrow().connections[self.connection].lost_to_network
    }

    /// Sends no more (FIN), reads on.
    pub fn finish(&self) {
        self.world.0.borrow_mut().arrive(self.connection, Arrival::End);
    }

    /// Closes: FIN, and whatever still comes is answered by a reset.
    pub fn close(&self) {
        let mut state = self.world.0.borrow_mut();
        state.connections[self.connection].remote_closed = true;
        state.connections[self.connection].window = usize::MAX;
        let unread = state.connections[self.connection].inbox_bytes() > 0;
        let arrival = if unread { Arrival::Reset } else { Arrival::End };
        state.arrive(self.connection, arrival);
        state.kick(self.connection);
    }

    /// Resets the connection (RST).
    pub fn reset(&self) {
        let mut state = self.world.0.borrow_mut();
        state.connections[self.connection].remote_closed = true;
        state.arrive(self.connection, Arrival::Reset);
    }

    /// Bytes that may wait here to be read; less is a smaller receive window.
    pub fn set_window(&self, bytes: usize) {
        let mut state = self.world.0.borrow_mut();
        state.connections[self.connection].window = bytes;
        state.kick(self.connection);
    }
}
