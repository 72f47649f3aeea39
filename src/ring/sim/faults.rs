//! What may go wrong, how often, and whether it was met.

use super::random::Random;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident: $most:literal,)*) => {
        /// A kind of fault. Each is counted when it was met, so that a test can show that its
        /// seeds met it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// All kinds.
            pub const ALL: &[Fault] = &[$(Fault::$name),*];

            /// The most times in 1000 that a swarm of seeds injects it at one occasion;
            /// 0: no chance decides it, the test sets the scene (a file that changes, a bad page).
            fn most_per_mille(self) -> u16 {
                match self { $(Fault::$name => $most,)* }
            }
        }
    };
}

faults! {
    /// Completions of different ops come in another order than they happened.
    Reordered: 500,
    /// A completion comes late.
    Delayed: 200,
    /// `enter` comes back before anything completed (EINTR).
    EnterInterrupted: 100,
    /// The op table is full: the push gives the op back.
    TableFull: 50,
    /// The wake-up comes late.
    WokenLate: 500,
    /// The socket takes a part of what it had room for.
    SentInPart: 300,
    /// The socket takes nothing (EAGAIN), though it had room a moment ago.
    SocketFull: 100,
    /// What the peer wrote arrives in pieces.
    ReceivedInPieces: 500,
    /// The receive buffers run dry (ENOBUFS), or seem to.
    BuffersDry: 200,
    /// The connection is reset, at any byte.
    Reset: 300,
    /// Accepting fails (EMFILE, ECONNABORTED); the connection waits in the backlog.
    AcceptFailed: 200,
    /// Opening takes long.
    OpenDelayed: 500,
    /// Opening fails (EMFILE).
    OpenFailed: 100,
    /// Looking at a file fails (EINTR), or the machine that answers for it does not (ETIMEDOUT).
    LookFailed: 300,
    /// Pages are evicted between the question (residency) and the send.
    EvictedAfterQuestion: 100,
    /// Pages are evicted at any other moment.
    Evicted: 500,
    /// Readahead asks for some of the pages only (memory pressure, a device's limit).
    ReadAheadCut: 500,
    /// Parts of a read come in any order, so that a page "resident" may still be in flight.
    DiskReordered: 500,
    /// Reading fails once (EIO); the next try may succeed.
    ReadFailedOnce: 30,
    /// A read of one byte is told to come again (EAGAIN).
    ReadAgain: 100,
    /// The scratch memory holds a part of the batch only (copying verb).
    ScratchShort: 300,
    /// Readahead makes its caller wait: the device has no room for more.
    AskSlow: 50,
    /// Another machine answers for a file. The test sets the scene.
    Distant: 0,
    /// A page cannot be read, for ever. The test sets the scene.
    BadPage: 0,
    /// Residency is not told. The test sets the scene.
    ResidencyUnknown: 0,
    /// A file is not there, or may not be read. The test sets the scene.
    FileMissing: 0,
    /// A file was cut, with bytes of it asked for or in flight. The test sets the scene.
    FileTruncated: 0,
    /// A file was replaced by another while it was open. The test sets the scene.
    FileReplaced: 0,
    /// A file was written in place while it was open. The test sets the scene.
    FileModified: 0,
    /// A peer acknowledges nothing until the socket gives up (ETIMEDOUT). The test sets the scene.
    TimedOut: 0,
}

/// Kinds of faults.
const KINDS: usize = Fault::ALL.len();

/// How often each kind of fault is injected.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    per_mille: [u16; KINDS],
}

impl Faults {
    /// A kernel without faults.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Swarm testing: some kinds off, some rare, some frequent. One kind of fault often hides
    /// another (a connection that is always reset early never meets a truncated file), so no
    /// seed has them all.
    pub fn swarm(random: &mut Random) -> Faults {
        let mut faults = Faults::none();
        for &fault in Fault::ALL {
            let most = u64::from(fault.most_per_mille());
            let weight = match random.below(4) {
                0 | 1 => 0,
                2 => random.between(1, 1 + most / 10).min(most),
                _ => random.between(most / 10, most),
            };
            faults.per_mille[fault as usize] = weight as u16;
        }
        faults
    }

    /// The same with `fault` injected `per_mille` times in 1000.
    #[must_use]
    pub fn with(mut self, fault: Fault, per_mille: u16) -> Faults {
        self.per_mille[fault as usize] = per_mille;
        self
    }

    /// How often `fault` is injected.
    pub fn per_mille(&self, fault: Fault) -> u16 {
        self.per_mille[fault as usize]
    }
}

/// How often each kind of fault was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    met: [u64; KINDS],
}

impl Coverage {
    /// Counts one more.
    pub(crate) fn meet(&mut self, fault: Fault) {
        self.met[fault as usize] += 1;
    }

    /// How often `fault` was met.
    pub fn met(&self, fault: Fault) -> u64 {
        self.met[fault as usize]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Coverage) {
        self.met.iter_mut().zip(other.met).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// The kinds that were never met.
    pub fn never_met(&self) -> Vec<Fault> {
        Fault::ALL.iter().copied().filter(|&fault| self.met(fault) == 0).collect()
    }
}

/// A mistake built into the simulated kernel on purpose. Tests show with it that the checkers
/// see the mistake: a checker that catches nothing proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Break {
    /// A chunk of write-once memory is given back as soon as it is full, although headers in it
    /// wait to be gathered: the peer reads zeros.
    HeadersDroppedWhileBatchWaits,
    /// A full chunk is written from its start again without being given back: bytes in flight change.
    GiftedPageRewritten,
    /// Now and then an op is finished twice.
    CompletedTwice,
    /// Now and then an op is never finished.
    CompletionLost,
    /// After a partial send the cursor forgets the last byte sent: it goes out twice.
    CursorOffByOne,
    /// Closing leaves the socket open.
    SocketLeaked,
    /// A detached socket takes what was received last, and a byte that waited, with it.
    BytesLostAtDetach,
    /// Rings of wakers end no wait.
    WakeUpLost,
}
