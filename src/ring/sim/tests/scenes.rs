//! Single scenes: what the simulated kernel does in one situation, played out step by step.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::sim::{Content, Fault, Faults, Options, Remote, RemoteState, SimKernel, World};
use crate::{
    Completion, Directory, Failure, File, Kernel, Op, OpId, Outcome, Residency, Run, Socket, Token,
    Verb, Wait,
};

const SECOND: Wait = Wait::AtMost(Duration::from_secs(1));

struct Scene {
    world: World,
    kernel: SimKernel,
    listener: Socket,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn path() -> &'static Path {
    Path::new("/data/file")
}

impl Scene {
    fn new() -> Scene {
        Scene::with(Options::calm(7))
    }

    fn with(options: Options) -> Scene {
        let world = World::new(options);
        let listener = world.listen(address(1)).unwrap();
        Scene { kernel: world.kernel(), world, listener }
    }

    fn push(&mut self, op: Op, token: u64) -> OpId {
        self.kernel.push(op, Token(token)).unwrap()
    }

    /// Enters until there is a completion.
    fn next(&mut self) -> Completion {
        for _ in 0..1000 {
            if let Some(completion) = self.kernel.next() {
                return completion;
            }
            self.kernel.enter(SECOND).unwrap();
        }
        panic!("nothing completed within 1000 seconds")
    }

    fn connection(&mut self) -> (Socket, Remote) {
        let accept = self.push(Op::Accept { listener: self.listener }, 900);
        let remote = self.world.connect(address(2), address(1)).unwrap();
        let Outcome::Accepted { socket, peer } = self.next().outcome else { panic!() };
        assert_eq!(peer, address(2));
        self.push(Op::Cancel { op: accept }, 901);
        assert!(matches!(self.next().outcome, Outcome::Failed(Failure::Cancelled)));
        (socket, remote)
    }

    fn open(&mut self, size: u64) -> File {
        self.world.add_file(path(), Content::Noise(1), size);
        let (root, path) = (Directory::new("/data".into()), Arc::from(Path::new("file")));
        self.push(Op::Open { root, path }, 902);
        let Outcome::Opened { file, stat, .. } = self.next().outcome else { panic!() };
        assert_eq!(stat.size, size);
        file
    }

    fn send(&mut self, socket: Socket, run: Run, verb: Verb) -> Outcome {
        let mut batch = self.kernel.batch();
        batch.push_bytes(b"head");
        batch.push_run(run);
        self.push(Op::Send { socket, batch, verb }, 903);
        self.next().outcome
    }

    /// Lets time pass; nothing may complete.
    fn pass(&mut self, seconds: u64) {
        let until = self.world.now_us() + seconds * 1_000_000;
        while self.world.now_us() < until {
            self.kernel.enter(SECOND).unwrap();
            assert!(self.kernel.next().is_none());
        }
    }
}

fn noise(offset: u64, length: usize) -> Vec<u8> {
    Content::Noise(1).read(offset, length)
}

#[test]
fn a_wait_in_which_nothing_happens_takes_exactly_its_time() {
    let mut scene = Scene::new();
    let before = scene.world.now_us();
    scene.kernel.enter(SECOND).unwrap();
    let passed = scene.world.now_us() - before;
    assert!((1_000_000..1_000_010).contains(&passed), "{passed} us");
    scene.world.alarm_at(before + 1_500_000);
    scene.kernel.enter(SECOND).unwrap();
    assert_eq!(scene.world.now_us(), before + 1_500_000);
}

#[test]
fn a_file_cut_with_bytes_in_flight_sends_zeros_and_a_replaced_one_sends_on() {
    for cut in [true, false] {
        let mut scene = Scene::new();
        let (socket, remote) = scene.connection();
        let file = scene.open(64 << 10);
        scene.world.warm(path());
        let run = Run { file, offset: 0, length: 64 << 10 };
        let Outcome::Sent { bytes, .. } = scene.send(socket, run, Verb::Splice) else { panic!() };
        assert_eq!(bytes, 4 + (64 << 10));
        if cut {
            scene.world.truncate(path(), 10_000);
        } else {
            scene.world.add_file(path(), Content::Noise(2), 1);
            assert_eq!(scene.kernel.stat(file).unwrap().links, 0);
        }
        scene.kernel.enter(SECOND).unwrap();
        let got = remote.read();
        assert_eq!(&got[4..10_004], noise(0, 10_000));
        let rest = if cut { vec![0; (64 << 10) - 10_000] } else { noise(10_000, 55_536) };
        assert_eq!(&got[10_004..], rest);
        assert_eq!(scene.world.blocked().not_asked, 0);
    }
}

#[test]
fn a_copied_batch_holds_the_bytes_it_read_whatever_becomes_of_the_file() {
    let mut scene = Scene::new();
    let (socket, remote) = scene.connection();
    let file = scene.open(8192);
    let run = Run { file, offset: 1, length: 8000 };
    assert!(matches!(scene.send(socket, run, Verb::Copy), Outcome::Sent { bytes: 8004, .. }));
    scene.world.modify(path(), Content::Noise(2));
    scene.kernel.enter(SECOND).unwrap();
    assert_eq!(&remote.read()[4..], noise(1, 8000));
}

#[test]
fn a_page_being_read_counts_as_resident_and_a_send_waits_for_it() {
    let mut scene = Scene::new();
    let (socket, _remote) = scene.connection();
    let file = scene.open(16 << 10);
    let run = Run { file, offset: 0, length: 16 << 10 };
    assert_eq!(scene.kernel.residency(run), Residency::Missing);
    scene.push(Op::ReadAhead { run, aside: false }, 1);
    assert!(matches!(scene.next().outcome, Outcome::Asked { .. }));
    assert_eq!(scene.kernel.residency(run), Residency::Resident);
    let before = scene.world.now_us();
    scene.send(socket, run, Verb::Splice);
    assert_eq!(scene.world.blocked().in_flight, 1);
    assert!(scene.world.now_us() >= before + 90);
    assert_eq!(scene.world.violations(), Vec::<String>::new());
}

#[test]
fn a_send_of_pages_nobody_asked_for_is_a_violation_and_an_old_answer_does_not_excuse_it() {
    let mut scene = Scene::new();
    let (socket, remote) = scene.connection();
    let file = scene.open(16 << 10);
    scene.world.warm(path());
    let run = Run { file, offset: 0, length: 16 << 10 };
    assert_eq!(scene.kernel.residency(run), Residency::Resident);
    scene.world.evict(path(), 0, 1);
    scene.send(socket, run, Verb::Splice);
    assert_eq!(scene.world.blocked().evicted_after_question, 1);
    assert_eq!(scene.world.violations(), Vec::<String>::new());
    scene.pass(2);
    scene.world.evict(path(), 0, 1);
    scene.send(socket, run, Verb::Splice);
    assert_eq!(scene.world.blocked().not_asked, 1);
    assert_eq!(scene.world.violations().len(), 1);
    scene.pass(1);
    assert_eq!(remote.read().len(), 2 * (4 + (16 << 10)), "it waited, and sent");
}

#[test]
fn one_byte_is_read_beside_a_bad_page_for_ever_and_reading_the_run_gives_the_verdict() {
    let mut scene = Scene::new();
    let file = scene.open(32 << 10);
    scene.world.break_page(path(), 8192);
    let run = Run { file, offset: 0, length: 32 << 10 };
    for _ in 0..3 {
        scene.push(Op::ReadAhead { run, aside: false }, 1);
        assert!(matches!(scene.next().outcome, Outcome::Asked { .. }));
        scene.push(Op::ReadByte { file, offset: (32 << 10) - 1 }, 2);
        assert!(matches!(scene.next().outcome, Outcome::Read { bytes: 1 }));
        scene.pass(1);
        assert_eq!(scene.kernel.residency(run), Residency::Missing);
    }
    scene.push(Op::ReadDiscard { run }, 3);
    let failed = Failure::Run { run: run.from(8192), errno: libc::EIO };
    let outcome = scene.next().outcome;
    assert!(matches!(outcome, Outcome::Failed(is) if is == failed), "{outcome:?}");
    scene.push(Op::ReadByte { file, offset: 32 << 10 }, 2);
    assert!(matches!(scene.next().outcome, Outcome::Read { bytes: 0 }), "the end of the file");
}

#[test]
fn a_run_beyond_the_end_of_its_file_fails_the_send_with_the_run() {
    for verb in [Verb::Splice, Verb::Copy] {
        let mut scene = Scene::new();
        let (socket, _remote) = scene.connection();
        let file = scene.open(8192);
        scene.world.warm(path());
        let run = Run { file, offset: 4096, length: 8192 };
        let outcome = scene.send(socket, run, verb);
        let Outcome::Failed(Failure::Run { errno: 0, .. }) = outcome else {
            panic!("{verb:?}: {outcome:?}")
        };
    }
}

#[test]
fn the_remote_end_reads_all_that_was_sent_before_a_close_and_then_the_end() {
    let mut scene = Scene::new();
    let (socket, remote) = scene.connection();
    let file = scene.open(8192);
    scene.world.warm(path());
    scene.send(socket, Run { file, offset: 0, length: 8192 }, Verb::Splice);
    scene.push(Op::Receive { socket }, 1);
    scene.push(Op::Close { socket, reset: false }, 2);
    let first = scene.next();
    assert_eq!(first.token, Token(1));
    assert!(matches!(first.outcome, Outcome::Failed(Failure::Cancelled)));
    let last = scene.next();
    assert!(matches!((last.token, last.outcome), (Token(2), Outcome::Closed)));
    scene.pass(1);
    assert_eq!((remote.read().len(), remote.state()), (8196, RemoteState::Ended));
}

#[test]
fn a_close_by_reset_or_with_bytes_unread_resets() {
    for reset in [true, false] {
        let mut scene = Scene::new();
        let (socket, remote) = scene.connection();
        if !reset {
            remote.write(b"nobody reads this");
            scene.pass(1);
        }
        scene.push(Op::Close { socket, reset }, 1);
        assert!(matches!(scene.next().outcome, Outcome::Closed));
        assert_eq!(remote.state(), RemoteState::Reset);
        assert_eq!(remote.write(b"too late"), 0);
    }
}

#[test]
fn a_peer_that_acknowledges_nothing_loses_its_connection_in_the_end() {
    let mut scene = Scene::with(Options { send_bytes: (100, 100), ..Options::calm(7) });
    let (socket, remote) = scene.connection();
    remote.set_window(0);
    let file = scene.open(8192);
    scene.world.warm(path());
    let run = Run { file, offset: 0, length: 8192 };
    let Outcome::Sent { bytes: 100, mut batch } = scene.send(socket, run, Verb::Splice) else {
        panic!()
    };
    assert_eq!((batch.len(), scene.kernel.unacknowledged_bytes(socket)), (8096, 100));
    scene.push(Op::PollWritable { socket }, 1);
    scene.pass(40);
    assert!(matches!(scene.next().outcome, Outcome::Done));
    for errno in [libc::ETIMEDOUT, libc::EPIPE] {
        batch.push_bytes(b"more");
        scene.push(Op::Send { socket, batch, verb: Verb::Splice }, 2);
        let outcome = scene.next().outcome;
        assert!(matches!(outcome, Outcome::Failed(Failure::Os(is)) if is == errno), "{outcome:?}");
        batch = scene.kernel.batch();
    }
    assert_eq!(scene.world.coverage().met(Fault::TimedOut), 1);
}

#[test]
fn a_full_op_table_gives_the_op_back() {
    let mut scene = Scene::with(Options { ops_max: 1, ..Options::calm(7) });
    scene.push(Op::Accept { listener: scene.listener }, 1);
    let refused = scene.kernel.push(Op::Accept { listener: scene.listener }, Token(2));
    assert!(matches!(refused, Err(Op::Accept { .. })));
    let faults = Faults::none().with(Fault::TableFull, 1000);
    let mut scene = Scene::with(Options { faults, ..Options::calm(7) });
    assert!(scene.kernel.push(Op::Accept { listener: scene.listener }, Token(1)).is_err());
    assert_eq!(scene.world.violations_at_rest(), ["1 sockets are open"], "the listener's");
}

#[test]
fn a_connection_to_a_remote_listener_and_datagrams_work_both_ways() {
    let mut scene = Scene::new();
    scene.push(Op::Connect { to: address(50), from: None }, 1);
    assert!(matches!(scene.next().outcome, Outcome::Failed(Failure::Os(libc::ECONNREFUSED))));
    scene.world.listen_remotely(address(50));
    scene.push(Op::Connect { to: address(50), from: None }, 1);
    let Outcome::Connected { socket } = scene.next().outcome else { panic!() };
    let remote = scene.world.accept_remotely(address(50)).unwrap();
    remote.write(b"hello");
    scene.push(Op::PollReadable { socket }, 2);
    assert!(matches!(scene.next().outcome, Outcome::Done));
    scene.push(Op::Receive { socket }, 3);
    let Outcome::Received { buffer } = scene.next().outcome else { panic!() };
    assert_eq!(&buffer[..], b"hello");

    let udp = scene.world.bind_datagram().unwrap();
    scene.push(Op::ReceiveDatagram { socket: udp }, 4);
    scene.world.deliver_datagram(udp, address(51), b"ping");
    let Outcome::Datagram { buffer, from } = scene.next().outcome else { panic!() };
    assert_eq!((&buffer[..], from), (&b"ping"[..], address(51)));
    scene.push(Op::SendDatagram { socket: udp, to: from, bytes: (*b"pong").into() }, 5);
    assert!(matches!(scene.next().outcome, Outcome::Done));
    assert_eq!(scene.world.datagrams_sent(udp), [(address(51), b"pong".to_vec())]);
    let mut datagrams = Box::<crate::Datagrams>::default();
    for (port, text) in [(51, b"one"), (52, b"two")] {
        datagrams.push(address(port), |bytes| {
            bytes.extend_from_slice(text);
            true
        });
    }
    scene.push(Op::SendDatagrams { socket: udp, datagrams }, 6);
    assert!(matches!(scene.next().outcome, Outcome::DatagramsSent { lost: 0, .. }));
    let sent = [(address(51), b"one".to_vec()), (address(52), b"two".to_vec())];
    assert_eq!(scene.world.datagrams_sent(udp), sent);
}

#[test]
fn ringing_the_waker_from_another_thread_ends_one_wait() {
    let mut scene = Scene::new();
    let waker = scene.kernel.waker();
    std::thread::spawn(move || {
        waker.wake();
        waker.wake();
    })
    .join()
    .unwrap();
    let completion = scene.next();
    assert!(matches!((completion.token, completion.outcome), (Token::WAKE, Outcome::Woken)));
    scene.pass(1);
}

#[test]
fn of_a_distant_file_nobody_learns_where_its_missing_pages_end() {
    let mut scene = Scene::new();
    let file = scene.open(100_000);
    scene.world.evict(path(), 0, 100);
    let run = Run { file, offset: 0, length: 100_000 };
    let mut ends = Vec::new();
    assert_eq!(scene.kernel.missing(run, &mut ends), Residency::Missing);
    assert_eq!(ends, [99_999]);
    ends.clear();
    scene.world.make_distant(path());
    assert_eq!(scene.kernel.missing(run, &mut ends), Residency::Missing);
    assert_eq!(ends, [], "mincore would map it, and ask its server");
}
