//! Connections that end where they should not.

use super::{Stand, Told, Verdict, side_by_side};
use crate::abuse::ground::{FAST, Ground};
use crate::abuse::limits::LISTENED;
use crate::abuse::peer::{INTERESTED, Peer, REQUEST, frame, of_block};

/// How a connection is ended.
#[derive(Clone, Copy)]
enum How {
    Fin,
    Rst,
    Half,
}

impl How {
    /// Ends it; what is left where only our side is closed.
    fn end(self, mut peer: Peer) -> Option<Peer> {
        match self {
            How::Fin => None,
            How::Rst => {
                peer.reset();
                None
            }
            How::Half => {
                peer.half_close();
                Some(peer)
            }
        }
    }
}

/// How far a connection has come when it is ended, and what was said last.
enum State {
    /// So many bytes of the handshake.
    Greeting(usize),
    Greeted(Vec<u8>),
    /// So many requests.
    Asking(usize),
}

pub(super) fn in_every_state(ground: &Ground<'_>) -> Verdict {
    let hello = ground.hello(FAST);
    let (piece, begin, length) = ground.block(0);
    let request = of_block(REQUEST, piece, begin, length);
    let states = || {
        let behind =
            [Vec::new(), vec![0, 0], frame(INTERESTED, &[]), vec![0, 0, 0, 13, REQUEST, 0, 0]];
        let greeting = [0, 1, 19, 20, 28, 47, 48, 67].map(State::Greeting);
        let asking = [0, 1, 100].map(State::Asking);
        greeting.into_iter().chain(behind.map(State::Greeted)).chain(asking)
    };
    let hows = [How::Fin, How::Rst, How::Half];
    let all: Vec<(How, State)> =
        hows.into_iter().flat_map(|how| states().map(move |state| (how, state))).collect();
    let ended = all.len();
    let left = side_by_side(all, |(how, state): (How, State)| {
        let (mut peer, last) = match state {
            State::Greeting(cut) => {
                (ground.connect()?, hello.get(..cut).unwrap_or_default().to_vec())
            }
            State::Greeted(bytes) => (ground.greeted(FAST)?, bytes),
            State::Asking(requests) => (ground.unchoked(FAST)?, request.repeat(requests)),
        };
        peer.say(&last);
        Ok(how.end(peer))
    });
    let left = left.into_iter().collect::<Result<Vec<_>, String>>()?;
    let mut halves: Vec<Peer> = left.into_iter().flatten().collect();
    let mut told = Told::default();
    let deadline = ground.after(LISTENED);
    for peer in &mut halves {
        told.add(peer.drain(deadline).words().into(), None);
    }
    let saw = format!("{ended} ended; of half-closed ones: {}", told.words());
    Ok(Stand { saw, held: halves })
}
