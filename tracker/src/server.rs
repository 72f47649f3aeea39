//! A tracker on a thread of its own, with a kernel of its own: what a program starts and stops.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use ringseed_meta::Instant;
use ringseed_ring::{
    AnyKernel, Failure, Kernel, KernelChoice, KernelError, KernelOptions, Waker, system,
};
use socket2::{Domain, Socket, Type};

use crate::access::{Accounts, ListError, ListFile, Notice, Published, Watch};
use crate::desk::{Rules, Secrets};
use crate::limits;
use crate::snapshot::{Feed, Keeper, SnapshotError, SnapshotFile};
use crate::tracker::Tracker;

/// Where a server listens, and its rules.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Addresses for HTTP; with port 0 the system picks one.
    pub http: Vec<SocketAddr>,
    /// Addresses for UDP (BEP 15); as above.
    pub udp: Vec<SocketAddr>,
    /// What clients are told and how much is kept.
    pub rules: Rules,
    /// The torrents that are served, or are not; all are without a list. It is looked at each
    /// second and may change at any time.
    pub list: Option<ListFile>,
    /// The file of the users who may announce; everybody may without one.
    pub users: Option<PathBuf>,
    /// Where the swarms are kept over a restart; nowhere without one.
    pub snapshot: Option<SnapshotFile>,
    /// Told what became of a list that has changed or of a snapshot, by the thread that found out.
    pub tell: Option<fn(&Notice)>,
    /// io_uring where it can be had, or what is asked for.
    pub kernel: KernelChoice,
}

/// Why a server did not start. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be listened on.
    #[error("cannot listen on {protocol} {address}: {cause}; {cure}")]
    Listen {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// As it was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        cause: io::Error,
        /// What to try.
        cure: &'static str,
    },
    /// No address was named.
    #[error("a tracker without an address serves nobody: name one for HTTP or for UDP")]
    NoAddress,
    /// The rules contradict each other or a limit.
    #[error(transparent)]
    Rules(#[from] crate::desk::RulesError),
    /// The list of torrents cannot be read or is wrong.
    #[error(transparent)]
    List(#[from] ListError),
    /// The snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The file of users cannot be used.
    #[error(transparent)]
    Users(#[from] ringseed_users::UsersError),
    /// Neither io_uring nor epoll could be set up, or not the one asked for.
    #[error(transparent)]
    Kernel(#[from] ringseed_ring::StartError),
    /// The kernel would not have a socket.
    #[error("cannot give the tracker's sockets to its kernel: {0}; raise the limit of open files")]
    Adopt(Failure),
    /// The system gave no random bytes.
    #[error("cannot make the keys of the tracker: {0}; getrandom(2) must be allowed")]
    Random(getrandom::Error),
    /// The system gave no thread.
    #[error("cannot start the tracker's thread: {0}; look at the limits of threads and memory")]
    Thread(io::Error),
}

/// A running tracker. Stops when dropped.
#[derive(Debug)]
pub struct Server {
    http: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), KernelError>>>,
    /// Ends with it.
    _watch: Watch,
    /// As above, once the last snapshot is written.
    _keeper: Option<Keeper>,
    /// As above, once it has written what was moved.
    _accounts: Option<Accounts>,
}

/// Stops a server from any thread.
#[derive(Clone)]
pub struct Stopper {
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl std::fmt::Debug for Stopper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stopper({})", self.stop.load(Ordering::Relaxed))
    }
}

impl Stopper {
    /// Makes the server's thread end after its turn; does not wait for it.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Server {
    /// Opens the sockets and starts the thread; announces are answered from then on.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(options: Options) -> Result<Server, StartError> {
        options.rules.check()?;
        let watch = Watch::start(options.list.clone(), options.tell)?;
        let users = options.users.clone().map(|path| Accounts::start(path, options.tell));
        let accounts = users.transpose()?;
        let access = match &accounts {
            Some(accounts) => watch.published().for_users_of(accounts),
            None => watch.published(),
        };
        let http = listen_all(Type::STREAM, &options.http)?;
        let udp = listen_all(Type::DGRAM, &options.udp)?;
        if http.is_empty() && udp.is_empty() {
            return Err(StartError::NoAddress);
        }
        let secrets = Secrets::new().map_err(StartError::Random)?;
        let addresses = |sockets: &[(SocketAddr, OwnedFd)]| {
            sockets.iter().map(|(address, _)| *address).collect::<Vec<_>>()
        };
        let (http_addresses, udp_addresses) = (addresses(&http), addresses(&udp));
        let interval = options.rules.interval;
        let keep = |file| Keeper::start(file, interval, 1, options.tell);
        let (feeds, keeper) = options.snapshot.as_ref().map(keep).transpose()?.unzip();
        let feed = feeds.into_iter().flatten().next();
        let (started, start) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("tracker".to_owned())
            .spawn(move || {
                match set_up(http, udp, &options, &access, &secrets, feed) {
                    Ok((AnyKernel::Uring(kernel), tracker)) => serve(*kernel, tracker, &started),
                    Ok((AnyKernel::Epoll(kernel), tracker)) => serve(*kernel, tracker, &started),
                    Err(error) => {
                        // The starter waits for this; the thread has no other word for it.
                        let _ = started.send(Err(error));
                        Ok(())
                    }
                }
            })
            .map_err(StartError::Thread)?;
        let ended = || Err(StartError::Thread(io::Error::other("it ended at once")));
        Ok(Server {
            stopper: start.recv().unwrap_or_else(|_| ended())?,
            http: http_addresses,
            udp: udp_addresses,
            thread: Some(thread),
            _watch: watch,
            _keeper: keeper,
            _accounts: accounts,
        })
    }

    /// Where it listens for HTTP, with the ports that the system picked, in the order asked for.
    pub fn http_addrs(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Where it listens for UDP, as above.
    pub fn udp_addrs(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// A handle that stops it from another thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until it has been stopped, or has failed.
    ///
    /// # Errors
    /// The kernel could not go on.
    pub fn join(mut self) -> Result<(), KernelError> {
        self.thread.take().map_or(Ok(()), join)
    }

    /// Stops it and waits until its sockets are closed.
    ///
    /// # Errors
    /// The kernel could not go on before that.
    pub fn stop(self) -> Result<(), KernelError> {
        self.stopper.stop();
        self.join()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stopper.stop();
            // A failure has nobody to be told to any more.
            let _ = join(thread);
        }
    }
}

fn join(thread: JoinHandle<Result<(), KernelError>>) -> Result<(), KernelError> {
    thread.join().unwrap_or_else(|_| Err(KernelError("the tracker's thread panicked".to_owned())))
}

/// Sockets with the addresses that the system gave them.
type Bound = Vec<(SocketAddr, OwnedFd)>;

/// The thread: turns until it is told to stop.
fn serve<K: Kernel>(
    mut kernel: K,
    mut tracker: Tracker,
    started: &SyncSender<Result<Stopper, StartError>>,
) -> Result<(), KernelError> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = Stopper { stop: stop.clone(), waker: kernel.waker() };
    // Nobody to serve for: the starter has gone, and the stopper with it.
    if started.send(Ok(stopper)).is_err() {
        return Ok(());
    }
    let clock = Clock::start();
    let served = serve_until(&stop, &mut kernel, &mut tracker, &clock);
    // Also when the kernel failed: what the swarms are is known all the same.
    tracker.finish(clock.now());
    served
}

/// Turns until it is told to stop, and then until its sockets are closed.
fn serve_until<K: Kernel>(
    stop: &AtomicBool,
    kernel: &mut K,
    tracker: &mut Tracker,
    clock: &Clock,
) -> Result<(), KernelError> {
    while !stop.load(Ordering::Acquire) {
        let now = clock.now();
        if tracker.is_load_due(now) {
            // Where it cannot be told nobody is asked to wait longer.
            tracker.look_at_load(now, system::thread_cpu().unwrap_or_default());
        }
        tracker.turn(kernel, now)?;
    }
    tracker.close(kernel, clock.now());
    let give_up = clock.now().after(limits::CLOSE_TIMEOUT);
    while !tracker.is_closed() && clock.now() < give_up {
        tracker.turn(kernel, clock.now())?;
    }
    Ok(())
}

fn set_up(
    http: Bound,
    udp: Bound,
    options: &Options,
    access: &Published,
    secrets: &Secrets,
    feed: Option<Feed>,
) -> Result<(AnyKernel, Tracker), StartError> {
    let sizes = KernelOptions {
        receive_buffers: limits::RECEIVE_BUFFERS,
        receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
        // No file is ever sent.
        pipe_bytes: 0,
        scratch_count: 1,
        scratch_bytes: 4096,
        ..KernelOptions::default()
    };
    let (mut kernel, _) = AnyKernel::open(options.kernel, &sizes)?;
    let mut adopt = |sockets: Bound| {
        let adopted = sockets.into_iter().map(|(_, fd)| kernel.adopt(fd));
        adopted.collect::<Result<Vec<_>, _>>().map_err(StartError::Adopt)
    };
    let (http, udp) = (adopt(http)?, adopt(udp)?);
    let rules = options.rules;
    let mut tracker = match &mut kernel {
        AnyKernel::Uring(kernel) => {
            Tracker::new(&mut **kernel, &http, &udp, rules, access, secrets)
        }
        AnyKernel::Epoll(kernel) => {
            Tracker::new(&mut **kernel, &http, &udp, rules, access, secrets)
        }
    };
    if let Some(feed) = feed {
        // The clock has not begun yet.
        tracker.load(feed, secrets, Instant::ZERO)?;
    }
    Ok((kernel, tracker))
}

/// The one clock of the thread, read once a turn.
struct Clock(std::time::Instant);

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "the outer loop is where the clock is read")]
    fn start() -> Clock {
        Clock(std::time::Instant::now())
    }

    fn now(&self) -> Instant {
        Instant::from_us(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// Opens a listening socket for each address; gives the addresses that the system made of them.
fn listen_all(kind: Type, addresses: &[SocketAddr]) -> Result<Bound, StartError> {
    let open = |asked: SocketAddr| {
        let socket = listen(kind, asked)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(asked);
        Ok((address, OwnedFd::from(socket)))
    };
    let named =
        |asked: &SocketAddr| open(*asked).map_err(|cause| cannot_listen(kind, *asked, cause));
    addresses.iter().map(named).collect()
}

fn listen(kind: Type, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking().cloexec(), None)?;
    if address.is_ipv6() {
        // IPv4 has sockets of its own, and addresses in their own form.
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // A restart need not wait for the connections of the run before.
        socket.set_reuse_address(true)?;
        // Connections inherit it. Without it an answer waits for the client to acknowledge the
        // one before, which it may put off for 40 ms.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(limits::BACKLOG)?;
    } else {
        // What the system does not grant is only a shorter queue.
        let _ = socket.set_recv_buffer_size(limits::UDP_RECEIVE_BYTES);
        let _ = socket.set_send_buffer_size(limits::UDP_SEND_BYTES);
        socket.bind(&address.into())?;
    }
    Ok(socket)
}

fn cannot_listen(kind: Type, address: SocketAddr, cause: io::Error) -> StartError {
    let protocol = if kind == Type::STREAM { "tcp" } else { "udp" };
    let cure = match cause.kind() {
        io::ErrorKind::AddrInUse => "another program has it: stop that, or name another port",
        io::ErrorKind::AddrNotAvailable => "no interface has this address: name one of this host",
        io::ErrorKind::PermissionDenied => "name a port from 1024 on, or give CAP_NET_BIND_SERVICE",
        _ => "name another address",
    };
    StartError::Listen { protocol, address, cause, cure }
}

#[cfg(test)]
mod tests {
    use ringseed_ring::sim::{Options as SimOptions, SimKernel, World};
    use ringseed_ring::{
        Batch, Bell, Completion, Counters, Detached, File, FileStat, Op, OpId, Residency, Run,
        Token, Wait,
    };

    use super::*;

    #[test]
    fn no_answer_waits_for_the_acknowledgement_of_another() {
        let listener = listen(Type::STREAM, SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        listener.set_nonblocking(false).unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.tcp_nodelay().unwrap());
        drop(client);
    }

    /// A kernel that cannot go on.
    struct Broken(SimKernel);

    impl Kernel for Broken {
        fn push(&mut self, op: Op, token: Token) -> Result<OpId, Op> {
            self.0.push(op, token)
        }
        fn enter(&mut self, _: Wait) -> Result<(), KernelError> {
            Err(KernelError("it is broken".to_owned()))
        }
        fn next(&mut self) -> Option<Completion> {
            self.0.next()
        }
        fn batch(&mut self) -> Box<Batch> {
            self.0.batch()
        }
        fn recycle(&mut self, batch: Box<Batch>) {
            self.0.recycle(batch);
        }
        fn attach(&mut self, socket: Detached) -> Result<ringseed_ring::Socket, Failure> {
            self.0.attach(socket)
        }
        fn residency(&mut self, run: Run) -> Residency {
            self.0.residency(run)
        }
        fn missing(&mut self, run: Run, ends: &mut Vec<u64>) -> Residency {
            self.0.missing(run, ends)
        }
        fn stat(&mut self, file: File) -> Result<FileStat, Failure> {
            self.0.stat(file)
        }
        fn unacknowledged_bytes(&mut self, socket: ringseed_ring::Socket) -> u32 {
            self.0.unacknowledged_bytes(socket)
        }
        fn tcp_bytes(&mut self) -> Option<u64> {
            self.0.tcp_bytes()
        }
        fn counters(&self) -> Counters {
            self.0.counters()
        }
        fn waker(&self) -> Waker {
            self.0.waker()
        }
        fn bell(&self) -> Bell {
            self.0.bell()
        }
        fn ring(&mut self, bell: &Bell) {
            self.0.ring(bell);
        }
    }

    #[test]
    fn a_kernel_that_fails_leaves_a_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("swarms");
        let every = std::time::Duration::from_secs(3600);
        let file = SnapshotFile { path: path.clone(), every };
        let (mut feeds, keeper) = Keeper::start(&file, every, 1, None).unwrap();
        let mut kernel = Broken(World::new(SimOptions::calm(1)).kernel());
        let (rules, secrets) = (Rules::default(), Secrets::new().unwrap());
        let mut tracker =
            Tracker::new(&mut kernel, &[], &[], rules, &Published::default(), &secrets);
        tracker.load(feeds.pop().unwrap(), &secrets, Instant::ZERO).unwrap();
        let (started, _start) = sync_channel(1);
        let served = serve(kernel, tracker, &started);
        assert!(served.unwrap_err().0.contains("broken"));
        drop(keeper);
        assert!(path.exists(), "the last snapshot was thrown away");
    }
}
