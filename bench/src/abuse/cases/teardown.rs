//! Connections that end where they should not.

use super::{Stand, Told, Verdict};
use crate::abuse::ground::{FAST, Ground};
use crate::abuse::limits::LISTENED;
use crate::abuse::peer::{INTERESTED, Peer, REQUEST, frame, of_block};

/// How a connection is ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Fin,
    Rst,
    Half,
}

pub(super) fn in_every_state(ground: &Ground<'_>) -> Verdict {
    let mut halves: Vec<Peer> = Vec::new();
    let mut ended = 0;
    let mut end = |peer: Peer, how: How| {
        ended += 1;
        match how {
            How::Fin => drop(peer),
            How::Rst => peer.reset(),
            How::Half => {
                let mut peer = peer;
                peer.half_close();
                halves.push(peer);
            }
        }
    };
    let hello = ground.hello(FAST);
    let (piece, begin, length) = ground.block(0);
    let request = of_block(REQUEST, piece, begin, length);
    for how in [How::Fin, How::Rst, How::Half] {
        for cut in [0, 1, 19, 20, 28, 47, 48, 67] {
            let mut peer = ground.connect()?;
            peer.say(hello.get(..cut).unwrap_or_default());
            end(peer, how);
        }
        let behind =
            [Vec::new(), vec![0, 0], frame(INTERESTED, &[]), vec![0, 0, 0, 13, REQUEST, 0, 0]];
        for bytes in behind {
            let mut peer = ground.greeted(FAST)?;
            peer.say(&bytes);
            end(peer, how);
        }
        for requests in [0, 1, 100] {
            let mut peer = ground.unchoked(FAST)?;
            peer.say(&request.repeat(requests));
            end(peer, how);
        }
    }
    let mut told = Told::default();
    let deadline = ground.after(LISTENED);
    for peer in &mut halves {
        told.add(peer.drain(deadline).words().into(), None);
    }
    let saw = format!("{ended} ended; of half-closed ones: {}", told.words());
    Ok(Stand { saw, held: halves })
}
