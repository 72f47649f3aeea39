//! Messages that are wrong in themselves, or come at a wrong time.

use super::opening::drip_bytes;
use super::{Verdict, each, no_block, numbered};
use crate::abuse::ground::{DHT, FAST, Ground, PLAIN};
use crate::abuse::peer::{
    BITFIELD, HAVE, HAVE_ALL, INTERESTED, PIECE, PORT, REJECT, REQUEST, frame, of_block,
};

/// Allowed fast (BEP 6).
const ALLOWED_FAST: u8 = 17;

fn bitfield_bytes(ground: &Ground<'_>) -> usize {
    ground.piece_count().div_ceil(8) as usize
}

pub(super) fn bitfield_wrong(ground: &Ground<'_>) -> Verdict {
    let right = bitfield_bytes(ground);
    let lengths = [0, right.saturating_sub(1), right + 1, 1 << 20];
    let mut variants: Vec<Vec<u8>> =
        lengths.iter().map(|length| frame(BITFIELD, &vec![0; *length])).collect();
    if !ground.piece_count().is_multiple_of(8) {
        let mut spare = vec![0; right];
        if let Some(last) = spare.last_mut() {
            *last = 1;
        }
        variants.push(frame(BITFIELD, &spare));
    }
    each(ground, |ground| ground.greeted(PLAIN), numbered(variants), no_block)
}

pub(super) fn bitfield_late(ground: &Ground<'_>) -> Verdict {
    let nothing = frame(BITFIELD, &vec![0; bitfield_bytes(ground)]);
    let late = [frame(INTERESTED, &[]), nothing.clone()].concat();
    let later = [frame(HAVE, &[0; 4]), nothing.clone()].concat();
    let twice = [nothing.clone(), nothing.clone()].concat();
    let both = [frame(HAVE_ALL, &[]), nothing].concat();
    each(ground, |ground| ground.greeted(FAST), numbered([late, later, twice, both]), no_block)
}

pub(super) fn have_out_of_range(ground: &Ground<'_>) -> Verdict {
    let pieces = [ground.piece_count(), ground.piece_count() + 7, i32::MAX as u32, u32::MAX];
    let variants = pieces.map(|piece| frame(HAVE, &piece.to_be_bytes()));
    each(ground, |ground| ground.unchoked(FAST), numbered(variants), no_block)
}

pub(super) fn too_long(ground: &Ground<'_>) -> Verdict {
    let variants = [u32::MAX, 0x8000_0000, 64 << 20].into_iter().flat_map(|length| {
        [REQUEST, BITFIELD, PIECE, 20].map(|kind| {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.push(kind);
            // Some of what is announced, so that a reader that allocates it first is seen.
            bytes.resize(1 << 16, 0);
            bytes
        })
    });
    each(ground, |ground| ground.unchoked(FAST), numbered(variants), no_block)
}

pub(super) fn wrong_length(ground: &Ground<'_>) -> Verdict {
    let shapes =
        [(REQUEST, 0), (REQUEST, 11), (INTERESTED, 1), (HAVE, 3), (HAVE, 5), (8, 0), (PORT, 1)];
    let variants = shapes.map(|(kind, length)| {
        (format!("message {kind} of {length} bytes"), frame(kind, &vec![0; length]))
    });
    each(ground, |ground| ground.unchoked(FAST), variants.into(), no_block)
}

pub(super) fn unknown(ground: &Ground<'_>) -> Verdict {
    let variants = [10, 12, 77, 200, 255].map(|kind| {
        [frame(kind, &[]), frame(kind, &[7; 5]), frame(kind, &[kind; 30_000])].concat()
    });
    each(ground, |ground| ground.unchoked(FAST), numbered(variants), no_block)
}

pub(super) fn fast_unasked(ground: &Ground<'_>) -> Verdict {
    let variants = [
        frame(HAVE_ALL, &[]),
        frame(15, &[]),
        frame(ALLOWED_FAST, &[0; 4]),
        frame(13, &[0xff; 4]),
        of_block(REJECT, 0, 0, 16_384),
    ];
    each(ground, |ground| ground.greeted(PLAIN), numbered(variants), no_block)
}

pub(super) fn unasked_piece(ground: &Ground<'_>) -> Verdict {
    let block = |piece: u32| {
        let head = [piece.to_be_bytes(), [0; 4]].concat();
        frame(PIECE, &[head, vec![0xaa; 16_384]].concat())
    };
    let variants = [block(0), block(ground.piece_count()), block(u32::MAX), frame(PIECE, &[0; 3])];
    each(ground, |ground| ground.unchoked(FAST), numbered(variants), no_block)
}

pub(super) fn port_zero(ground: &Ground<'_>) -> Verdict {
    let zero = frame(PORT, &[0, 0]);
    let many = frame(PORT, &[26, 225]).repeat(1_000);
    let with_bit =
        each(ground, |ground| ground.unchoked(DHT), numbered([zero.clone(), many]), no_block)?;
    let mut without = each(ground, |ground| ground.unchoked(FAST), numbered([zero]), no_block)?;
    without.held.extend(with_bit.held);
    without.saw = format!("with the bit: {}; without: {}", with_bit.saw, without.saw);
    Ok(without)
}

pub(super) fn drip(ground: &Ground<'_>) -> Verdict {
    let (piece, begin, length) = ground.block(0);
    drip_bytes(ground, ground.unchoked(FAST)?, &of_block(REQUEST, piece, begin, length))
}
