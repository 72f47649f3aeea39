//! Requests that no piece holds, that come too early, twice or across each other.

use std::collections::BTreeMap;

use super::{Stand, Verdict, each, no_block, numbered};
use crate::abuse::ground::{EXTENDED, FAST, Ground, PLAIN, noise};
use crate::abuse::healthy::Healthy;
use crate::abuse::limits::{LISTENED, SERVED_WITHIN};
use crate::abuse::peer::{
    End, HASH_REQUEST, INTERESTED, REJECT, REQUEST, UNCHOKE, frame, of_block,
};

/// Bytes of a block.
const BLOCK: u32 = 16_384;

pub(super) fn choked(ground: &Ground<'_>) -> Verdict {
    let (piece, begin, length) = ground.block(0);
    let requests = of_block(REQUEST, piece, begin, length).repeat(20);
    let mut plain = ground.greeted(PLAIN)?;
    plain.say(&requests);
    let early = plain.hear(ground.after(LISTENED));
    let unchoked_at = early.frames.iter().position(|frame| frame.kind == UNCHOKE);
    let served_at = early.frames.iter().position(|frame| frame.block().is_some());
    if served_at.is_some_and(|served| unchoked_at.is_none_or(|unchoked| served < unchoked)) {
        return Err("a choked peer without BEP 6 was sent a block".into());
    }
    let mut fast = ground.greeted(FAST)?;
    fast.say(&[requests, frame(INTERESTED, &[])].concat());
    let with = fast.hear(ground.after(LISTENED));
    let saw = format!("before interested: {}; with BEP 6: {}", early.words(), with.words());
    Ok(Stand { saw, held: vec![plain, fast] })
}

fn asked(ground: &Ground<'_>, requests: impl IntoIterator<Item = (u32, u32, u32)>) -> Verdict {
    let variants = requests.into_iter().map(|(piece, begin, length)| {
        let name = format!("piece {piece} begin {begin} length {length}");
        (name, of_block(REQUEST, piece, begin, length))
    });
    each(ground, |ground| ground.unchoked(FAST), variants.collect(), no_block)
}

pub(super) fn out_of_range(ground: &Ground<'_>) -> Verdict {
    let (count, bytes) = (ground.piece_count(), ground.piece_bytes(0));
    let last = count - 1;
    let last_bytes = ground.piece_bytes(last);
    asked(
        ground,
        [
            (count, 0, BLOCK),
            (count + 1_000, 0, BLOCK),
            (i32::MAX as u32, 0, BLOCK),
            (u32::MAX, 0, BLOCK),
            (0, bytes, 1),
            (0, bytes.saturating_sub(1), 2),
            (0, u32::MAX, BLOCK),
            (0, u32::MAX - BLOCK + 1, BLOCK),
            (last, last_bytes.saturating_sub(100), 101),
            (last, last_bytes, BLOCK),
        ],
    )
}

pub(super) fn empty(ground: &Ground<'_>) -> Verdict {
    asked(ground, [(0, 0, 0), (0, 1, 0), (ground.piece_count() - 1, 0, 0)])
}

pub(super) fn too_long(ground: &Ground<'_>) -> Verdict {
    let bytes = ground.piece_bytes(0);
    asked(
        ground,
        [
            (0, 0, bytes + 1),
            (0, 0, 2 * bytes),
            (0, 0, 1 << 30),
            (0, 0, u32::MAX),
            (0, 4, u32::MAX - 3),
        ],
    )
}

/// A piece whose bytes are known to be right.
fn known_piece(ground: &Ground<'_>) -> Result<Vec<u8>, String> {
    let mut healthy = Healthy::new(ground, 0);
    healthy.arrive()?;
    healthy.fetch_piece(0)
}

/// Asks for stretches of piece 0 at once, and compares what comes.
fn compared(ground: &Ground<'_>, requests: &[(u32, u32)]) -> Verdict {
    let piece = known_piece(ground)?;
    let mut peer = ground.unchoked(FAST)?;
    let all: Vec<u8> =
        requests.iter().flat_map(|(begin, length)| of_block(REQUEST, 0, *begin, *length)).collect();
    peer.say(&all);
    let mut counts = BTreeMap::new();
    let mut refused = 0;
    let deadline = ground.after(SERVED_WITHIN);
    let mut end = End::Silence;
    while counts.values().sum::<u32>() + refused < requests.len() as u32 {
        let frame = match peer.next(deadline) {
            Ok(frame) => frame,
            Err(why) => {
                end = why;
                break;
            }
        };
        if let Some((0, begin, data)) = frame.block() {
            let right = piece.get(begin as usize..).and_then(|rest| rest.get(..data.len()));
            if right != Some(data) {
                return Err(format!("wrong bytes at {begin}, {} of them", data.len()));
            }
            *counts.entry((begin, data.len() as u32)).or_insert(0) += 1;
        } else if frame.block().is_some() {
            return Err("a block of another piece came".into());
        } else if frame.kind == REJECT {
            refused += 1;
        }
    }
    let served: u32 = counts.values().sum();
    if let Some((begin, length)) = counts.keys().find(|block| !requests.contains(block)) {
        return Err(format!("a block that was not asked for: begin {begin}, {length} bytes"));
    }
    let saw = format!(
        "{served} of {} served, all right; {refused} rejected, {}",
        requests.len(),
        end.words()
    );
    Ok(Stand { saw, held: vec![peer] })
}

pub(super) fn overlapping(ground: &Ground<'_>) -> Verdict {
    let bytes = ground.piece_bytes(0);
    let requests: Vec<(u32, u32)> = (0..40)
        .map(|number| (number * 397, [1, 2, 999, 16_383, 16_384][number as usize % 5]))
        .filter(|(begin, length)| begin + length <= bytes)
        .collect();
    compared(ground, &requests)
}

pub(super) fn twice(ground: &Ground<'_>) -> Verdict {
    let length = BLOCK.min(ground.piece_bytes(0));
    compared(ground, &[(0, length); 100])
}

pub(super) fn hashes(ground: &Ground<'_>) -> Verdict {
    let request = |root: &[u8], numbers: [u32; 4]| {
        frame(HASH_REQUEST, &[root.to_vec(), numbers.map(u32::to_be_bytes).concat()].concat())
    };
    let root = noise(77, 32);
    let variants = [
        request(&root, [0, 0, 512, 0]),
        request(&root, [u32::MAX, u32::MAX, u32::MAX, u32::MAX]),
        request(&root, [0, 1, 3, 40]),
        request(&root, [0, 0, 0, 0]),
        request(&root, [0, 0, 2, 1]).repeat(10_000),
    ];
    each(ground, |ground| ground.unchoked(EXTENDED), numbered(variants), no_block)
}
