//! Too much of what is allowed.

use super::{Stand, Told, Verdict, side_by_side};
use crate::abuse::ground::{FAST, Ground};
use crate::abuse::limits::{
    CROWD, DEAF_PEERS, DEAF_REQUESTS, FILLED_WITHIN, FLOOD_MESSAGES, GREETED_WITHIN, LISTENED,
    PUSHED_FOR,
};
use crate::abuse::peer::{CANCEL, End, Peer, REQUEST, of_block};

pub(super) fn requests(ground: &Ground<'_>) -> Verdict {
    let mut peer = ground.unchoked(FAST)?;
    peer.shrink();
    let requests = (0..FLOOD_MESSAGES).flat_map(|number| {
        let (piece, begin, length) = ground.block(number);
        of_block(REQUEST, piece, begin, length)
    });
    let requests: Vec<u8> = requests.collect();
    let taken = peer.push(&requests, PUSHED_FOR);
    let taken = taken / 17;
    Ok(Stand { saw: format!("took {taken} of {FLOOD_MESSAGES} requests"), held: vec![peer] })
}

/// So many messages, and what the target says then.
fn flood(ground: &Ground<'_>, what: &str, bytes: &[u8], each: usize) -> Verdict {
    let mut peer = ground.unchoked(FAST)?;
    let taken = peer.push(bytes, PUSHED_FOR) / each;
    let end = peer.drain(ground.after(LISTENED));
    let saw = format!("took {taken} of {FLOOD_MESSAGES} {what}, {}", end.words());
    Ok(Stand { saw, held: vec![peer] })
}

pub(super) fn cancels(ground: &Ground<'_>) -> Verdict {
    let cancels = (0..FLOOD_MESSAGES).flat_map(|number| {
        let (piece, begin, length) = ground.block(number);
        of_block(CANCEL, piece, begin, length)
    });
    flood(ground, "cancels", &cancels.collect::<Vec<u8>>(), 17)
}

pub(super) fn keep_alives(ground: &Ground<'_>) -> Verdict {
    flood(ground, "keep-alives", &vec![0; 4 * FLOOD_MESSAGES as usize], 4)
}

pub(super) fn never_reads(ground: &Ground<'_>) -> Verdict {
    let requests = (0..DEAF_REQUESTS).flat_map(|number| {
        let (piece, begin, length) = ground.block(number);
        of_block(REQUEST, piece, begin, length)
    });
    let requests: Vec<u8> = requests.collect();
    let peers = side_by_side((0..DEAF_PEERS).collect(), |_: u32| {
        let mut peer = ground.unchoked(FAST)?;
        peer.shrink();
        peer.push(&requests, PUSHED_FOR);
        Ok(peer)
    });
    let held = peers.into_iter().collect::<Result<Vec<Peer>, String>>()?;
    // Only when their sockets are full does it show what the target does about them. Who waits for
    // that is one more that says nothing.
    let bystander = ground.connect().map(|mut peer| peer.drain(ground.after(FILLED_WITHIN)));
    drop(bystander);
    let saw = format!("{DEAF_PEERS} peers with {DEAF_REQUESTS} requests each were taken in");
    Ok(Stand { saw, held })
}

pub(super) fn crowd(ground: &Ground<'_>) -> Verdict {
    let from = ground.address();
    let mut held: Vec<Peer> = Vec::new();
    let mut told = Told::default();
    for _ in 0..CROWD {
        match ground.connect_from(from) {
            Ok(mut peer) => {
                peer.say(&ground.hello(FAST));
                held.push(peer);
            }
            Err(_) => told.add("refused".into(), None),
        }
    }
    let deadline = ground.after(GREETED_WITHIN);
    for peer in &mut held {
        match peer.take(68, deadline) {
            Ok(_) => told.add("taken in".into(), None),
            Err(End::Silence) => told.add("left without an answer".into(), None),
            Err(end) => told.add(end.words().into(), None),
        }
    }
    Ok(Stand { saw: told.words(), held })
}

pub(super) fn silent_crowd(ground: &Ground<'_>) -> Verdict {
    let mut held = Vec::new();
    let mut told = Told::default();
    for _ in 0..CROWD {
        match ground.connect() {
            Ok(peer) => held.push(peer),
            Err(_) => told.add("refused".into(), None),
        }
    }
    let deadline = ground.after(LISTENED);
    for peer in &mut held {
        told.add(peer.drain(deadline).words().into(), None);
    }
    Ok(Stand { saw: told.words(), held })
}
