//! One connection as its thread keeps it.

use ringseed_meta::{Instant, PeerId};
use ringseed_ring::{OpId, Socket};

use crate::leecher::{Leecher, Milestones};
use crate::trickle::Trickle;

/// A connection: what it says, and the socket it says it by.
pub(super) struct Connection {
    /// Names it in errors; gives it its peer id and its address.
    pub(super) number: u32,
    pub(super) leecher: Leecher,
    pub(super) state: State,
    /// When it was due, where that is told. None: when connect(2) is called.
    pub(super) due: Option<Instant>,
    /// What its opening is charged from: when it was due, or connect(2) was called.
    pub(super) opened: Instant,
    /// What the socket has not taken.
    pub(super) unsent: Vec<u8>,
    /// A poll for room in the socket is on its way.
    pub(super) waits_to_send: bool,
    /// It reads by the clock, and so much. None: it reads what comes.
    pub(super) trickle: Option<Trickle>,
    /// Which milestones were recorded.
    pub(super) recorded: Milestones,
    /// It was told that this connection is ready.
    pub(super) is_ready: bool,
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not begun.
    New,
    Connecting(OpId),
    Open(Socket),
    /// Its socket is being closed.
    Closing,
    /// It holds nothing.
    Gone,
}

impl Connection {
    pub(super) fn new(number: u32, leecher: Leecher) -> Connection {
        Connection {
            number,
            leecher,
            state: State::New,
            due: None,
            opened: Instant::ZERO,
            unsent: Vec::new(),
            waits_to_send: false,
            trickle: None,
            recorded: Milestones::default(),
            is_ready: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }
}

/// A peer id for each connection (BEP 20 form): some seeders drop a second connection of one id.
pub(super) fn peer_id_of(number: u32) -> PeerId {
    let text = format!("-RW0001-{number:012}");
    let mut id = [b'0'; 20];
    id.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    PeerId(id)
}
