//! The contract of [`Kernel`](crate::Kernel) as tests, run against every kernel of ours.
//!
//! A kernel joins by a [`Machine`]: the world around it as a test needs it. `contract!` then makes a
//! test of each clause.

mod clauses;
mod moves;
mod order;
mod real;
#[cfg(feature = "sim")]
mod simulated;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Completion, Directory, Failure, File, FileStat, Kernel, Op, OpId, Outcome, Socket, Token, Wait,
};

/// Receive buffers of a machine's kernel: few, so that they run dry.
const BUFFERS: u16 = 4;
/// Bytes of each.
const BUFFER_BYTES: usize = 2_048;

/// The world around a kernel.
trait Machine {
    type Kernel: Kernel;
    type Peer: Peer;

    fn kernel(&mut self) -> &mut Self::Kernel;
    /// From now on [`Machine::kernel`] is another one of the same machine, until the next call.
    fn switch(&mut self);
    /// A socket of the kernel that listens, and where.
    fn listen(&mut self) -> (Socket, SocketAddr);
    /// A peer outside the kernel connects.
    fn connect(&mut self, to: SocketAddr) -> Self::Peer;
    /// An address where nobody listens.
    fn nobody(&mut self) -> SocketAddr;
    /// The folder of [`Machine::add_file`].
    fn root(&self) -> Arc<Directory>;
    fn add_file(&mut self, name: &str, bytes: &[u8]);
    fn truncate(&mut self, name: &str, size: u64);
    /// Drops the file from the page cache.
    fn evict(&mut self, name: &str);
    /// The most that [`Kernel::tcp_bytes`] tells when no socket holds anything.
    fn tcp_bytes_told_of_nothing(&self) -> u64;
}

/// The far end of a connection.
trait Peer {
    /// Sends what the socket takes.
    fn write(&mut self, bytes: &[u8]) -> usize;
    /// Appends what has arrived, at most `most` bytes.
    fn read(&mut self, most: usize, into: &mut Vec<u8>);
    /// How it looks from here when all that arrived was read.
    fn end(&mut self) -> Option<End>;
    fn close(self);
    fn reset(self);
}

/// How a connection ended, seen by the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Finished,
    Reset,
}

/// Drives a kernel and watches the clauses that hold for every op.
struct Driver<M: Machine> {
    machine: M,
    tokens: u64,
    /// Ops that are not finished.
    open: BTreeMap<u64, OpId>,
}

impl<M: Machine> Driver<M> {
    fn new(machine: M) -> Driver<M> {
        Driver { machine, tokens: 0, open: BTreeMap::new() }
    }

    fn kernel(&mut self) -> &mut M::Kernel {
        self.machine.kernel()
    }

    fn push(&mut self, op: Op) -> (Token, OpId) {
        self.tokens += 1;
        let token = Token(self.tokens);
        let has_completion = !matches!(op, Op::Cancel { .. });
        let op = self.kernel().push(op, token).expect("the op table has room");
        if has_completion {
            self.open.insert(token.0, op);
        }
        (token, op)
    }

    /// The next completion that is there, checked.
    fn take(&mut self) -> Option<Completion> {
        let completion = self.kernel().next()?;
        if completion.token != Token::WAKE {
            let open = self.open.get(&completion.token.0);
            assert_eq!(open, Some(&completion.op), "{completion:?}: its op is finished or another");
            if !completion.more {
                self.open.remove(&completion.token.0);
            }
        }
        Some(completion)
    }

    /// The next completion; waits at most twenty seconds.
    fn next(&mut self) -> Completion {
        for _ in 0..2_000 {
            if let Some(completion) = self.take() {
                return completion;
            }
            self.kernel().enter(Wait::AtMost(Duration::from_millis(10))).unwrap();
        }
        panic!("no completion");
    }

    /// Waits until `done` says so; no completion may come meanwhile.
    fn until(&mut self, mut done: impl FnMut(&mut M::Kernel) -> bool) {
        for _ in 0..2_000 {
            if done(self.kernel()) {
                return;
            }
            self.kernel().enter(Wait::AtMost(Duration::from_millis(10))).unwrap();
            if let Some(completion) = self.take() {
                panic!("unexpected: {completion:?}");
            }
        }
        panic!("it never came");
    }

    /// A connection from outside: the kernel's socket and the peer. The accept is cancelled.
    fn connection(&mut self) -> (Socket, M::Peer) {
        let (listener, address) = self.machine.listen();
        let (_, accept) = self.push(Op::Accept { listener });
        self.kernel().enter(Wait::No).unwrap();
        let peer = self.machine.connect(address);
        let accepted = self.next();
        assert!(accepted.more, "accept goes on");
        let Outcome::Accepted { socket, .. } = accepted.outcome else { panic!("{accepted:?}") };
        self.push(Op::Cancel { op: accept });
        let cancelled = self.next();
        assert!(is_cancelled(&cancelled.outcome), "{cancelled:?}");
        (socket, peer)
    }

    fn open(&mut self, name: &str) -> Result<(File, FileStat), Failure> {
        let root = self.machine.root();
        let (token, _) = self.push(Op::Open { root, path: Arc::from(Path::new(name)) });
        let opened = self.next();
        assert_eq!(opened.token, token);
        match opened.outcome {
            Outcome::Opened { file, stat, .. } => Ok((file, stat)),
            Outcome::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// Closes the socket; the order of completions is checked. What its ops ended as.
    fn close(&mut self, socket: Socket, reset: bool) -> Vec<Completion> {
        let (token, _) = self.push(Op::Close { socket, reset });
        let mut ended = Vec::new();
        loop {
            let completion = self.next();
            if completion.token == token {
                assert!(matches!(completion.outcome, Outcome::Closed), "{completion:?}");
                return ended;
            }
            ended.push(completion);
        }
    }

    /// Every op was finished.
    fn assert_rest(&mut self) {
        self.kernel().enter(Wait::No).unwrap();
        assert!(self.take().is_none());
        assert!(self.open.is_empty(), "never finished: {:?}", self.open);
    }
}

fn is_cancelled(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(Failure::Cancelled))
}

/// A test of each clause against the machine that `$machine` makes.
macro_rules! contract {
    ($machine:expr; $($clause:ident),* $(,)?) => {
        $(
            #[test]
            fn $clause() {
                let mut driver = crate::contract::Driver::new($machine);
                crate::contract::clauses::$clause(&mut driver);
                driver.assert_rest();
            }
        )*
    };
    ($machine:expr) => {
        crate::contract::contract! { $machine;
            a_connection_carries_bytes_both_ways,
            closing_ends_the_ops_first_and_the_peer_sees_the_end,
            closing_by_reset_is_seen_as_one,
            a_receive_can_be_cancelled_and_started_again,
            receives_starved_of_buffers_go_on_when_some_came_home,
            a_full_socket_gives_the_batch_back_with_its_cursor,
            a_batch_of_every_kind_of_part_arrives_byte_for_byte,
            tcp_holds_at_least_what_is_unacknowledged,
            own_bytes_and_blocks_leave_in_the_order_they_were_put_in,
            all_that_an_enciphered_connection_sends_goes_through_its_cipher_in_order,
            a_run_past_the_end_fails_the_batch,
            files_are_opened_below_their_root_only,
            reads_tell_where_a_file_ends,
            pages_asked_for_become_resident,
            what_is_missing_of_a_run_is_told_by_its_ends,
            a_connection_is_made_or_refused,
            a_poll_for_bytes_waits_for_them,
            a_ring_of_the_waker_ends_the_wait_once,
            a_peer_that_resets_is_seen_by_receive_and_send,
            a_bell_ends_the_wait_of_another_kernel,
            a_detached_socket_goes_on_in_another_kernel_and_comes_back,
            what_was_received_before_a_detach_comes_first,
            a_peer_that_went_while_its_socket_was_detached_is_seen_by_the_next_kernel,
        }
    };
}
use contract;
