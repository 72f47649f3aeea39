//! Before and instead of a handshake.

use super::{Stand, Told, Verdict, each, no_block, numbered, side_by_side};
use crate::abuse::ground::{FAST, Ground, noise as random_bytes};
use crate::abuse::limits::{DRIP_EVERY, DRIPPED_FOR, LISTENED};
use crate::abuse::peer::{End, Peer};

pub(super) fn wrong_infohash(ground: &Ground<'_>) -> Verdict {
    let mut told = Told::default();
    let mut held = Vec::new();
    for seed in 0..3 {
        let mut name = [0; 20];
        name.iter_mut().zip(random_bytes(seed, 20)).for_each(|(to, from)| *to = from);
        let mut peer = ground.connect()?;
        let start = ground.clock.now();
        peer.say(&ground.hello_for(&name, FAST));
        match peer.take(68, ground.after(LISTENED)) {
            Ok(answer) if answer.get(28..48) == Some(&name) => {
                return Err("it takes a peer in for a torrent that does not exist".into());
            }
            Ok(_) => told.add("answered with its own torrent".into(), None),
            Err(end) => add(ground, &mut told, end, start),
        }
        held.push(peer);
    }
    Ok(Stand { saw: told.words(), held })
}

fn add(ground: &Ground<'_>, told: &mut Told, end: End, start: ringseed_meta::Instant) {
    let took = ground.clock.now().since(start).as_millis() as u64;
    told.add(end.words().into(), end.is_over().then_some(took));
}

pub(super) fn wrong_protocol(ground: &Ground<'_>) -> Verdict {
    let openings: [&[u8]; 5] = [
        b"\x13BitTorrent protocoX",
        b"\x12BitTorrent protocol",
        b"\xffBitTorrent protocol",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ];
    let hello = ground.hello(FAST);
    let variants = openings.map(|opening| {
        let rest = hello.get(opening.len()..).unwrap_or_default();
        [opening, rest].concat()
    });
    strangers(ground, &variants)
}

/// Bytes of strangers, each heard out; whatever comes, it must not be our handshake.
fn strangers(ground: &Ground<'_>, openings: &[Vec<u8>]) -> Verdict {
    let (mut told, mut held) = (Told::default(), Vec::new());
    let heard = side_by_side(openings.iter().collect(), |opening: &Vec<u8>| {
        let mut peer = ground.connect()?;
        let start = ground.clock.now();
        peer.say(opening);
        let answer = peer.take(68, ground.after(LISTENED));
        Ok::<_, String>((peer, ground.clock.now().since(start).as_millis() as u64, answer))
    });
    for stranger in heard {
        let (peer, took, answer) = stranger?;
        match answer {
            Ok(answer) if answer.get(28..48) == Some(&ground.seeder.info_hash.0) => {
                return Err("it takes a stranger's bytes for a handshake".into());
            }
            Ok(_) => told.add("answered in bytes of its own".into(), None),
            Err(end) => told.add(end.words().into(), end.is_over().then_some(took)),
        }
        held.push(peer);
    }
    Ok(Stand { saw: told.words(), held })
}

pub(super) fn noise(ground: &Ground<'_>) -> Verdict {
    let openings: Vec<Vec<u8>> = (10..20).map(|seed| random_bytes(seed, 5_000)).collect();
    let before = strangers(ground, &openings)?;
    let behind = (20..30).map(|seed| random_bytes(seed, 200_000));
    let behind = each(ground, |ground| ground.unchoked(FAST), numbered(behind), no_block)?;
    let saw = format!("instead of a handshake: {}; behind one: {}", before.saw, behind.saw);
    Ok(Stand { saw, held: before.held.into_iter().chain(behind.held).collect() })
}

pub(super) fn drip(ground: &Ground<'_>) -> Verdict {
    drip_bytes(ground, ground.connect()?, &ground.hello(FAST))
}

/// A byte at a time, until the target has had enough or our time is over.
pub(super) fn drip_bytes(ground: &Ground<'_>, mut peer: Peer, bytes: &[u8]) -> Verdict {
    let start = ground.clock.now();
    let over = start.after(DRIPPED_FOR);
    let mut bytes = bytes.iter();
    while ground.clock.now() < over && !ground.is_called_off() {
        if let Some(byte) = bytes.next() {
            peer.say(&[*byte]);
        }
        if bytes.len() == 0 {
            let heard = peer.hear(ground.after(LISTENED));
            let saw = format!("waited for it all; then: {}", heard.words());
            return Ok(Stand { saw, held: vec![peer] });
        }
        let end = peer.drain(ground.after(DRIP_EVERY));
        if end != End::Silence {
            let s = ground.clock.now().since(start).as_secs_f64();
            return Ok(Stand { saw: format!("{} after {s:.1} s", end.words()), held: vec![peer] });
        }
    }
    let s = DRIPPED_FOR.as_secs();
    Ok(Stand { saw: format!("waited for {s} s and would wait on"), held: vec![peer] })
}
