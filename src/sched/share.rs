//! What one connection may hold in its socket and not have acknowledged. The cap on all of them leaves
//! something free; each may hold a part of that (the dynamic thresholds of Choudhury and Hahne): much
//! while few hold anything, little while many do, and never all that is left. Beside that it has to be
//! earned, as with TCP's slow start: TCP by itself takes a mebibyte at once for a peer that never reads,
//! where its segments are large.

use core::time::Duration;

use crate::limits::{
    ASKED_AGAIN_MAX, ASKED_AGAIN_MIN, BLOCK_BYTES, FRAME_BYTES, PROVEN_FROM_BYTES, PROVEN_PART,
    SHARE_BYTES_MAX, UNPROVEN_BYTES, UNPROVEN_PART,
};

/// Bytes that a connection may hold while so many of the cap are free and its peer has acknowledged so
/// many since it came. A block at least.
pub fn share(free_bytes: u64, acknowledged_bytes: u64) -> u64 {
    let unproven = (free_bytes / UNPROVEN_PART).min(UNPROVEN_BYTES);
    let earned = match acknowledged_bytes < PROVEN_FROM_BYTES {
        true => unproven,
        false => acknowledged_bytes.saturating_add(unproven),
    };
    earned.min(free_bytes / PROVEN_PART).clamp(FRAME_BYTES, SHARE_BYTES_MAX)
}

/// What others hold bounds the share, and not what its peer has earned.
pub fn is_short(free_bytes: u64, acknowledged_bytes: u64) -> bool {
    share(free_bytes, acknowledged_bytes) < share(u64::MAX, acknowledged_bytes)
}

/// Bytes of blocks that may follow those held, of the `wanted` ones. Less than these only in whole
/// blocks, and nothing while the room is below a quarter of the share: small batches cost as much as
/// large ones.
pub fn room(share: u64, held_bytes: u64, wanted: u32) -> u32 {
    let blocks = share.saturating_sub(held_bytes) / FRAME_BYTES;
    if blocks >= u64::from(wanted.div_ceil(BLOCK_BYTES)) {
        return wanted;
    }
    if blocks * FRAME_BYTES < share / 4 {
        return 0;
    }
    // Fewer than were wanted, so it fits.
    u32::try_from(blocks * u64::from(BLOCK_BYTES)).unwrap_or(wanted)
}

/// When one that holds its share is asked again, whose peer has acknowledged nothing for so long and took so
/// many bytes a second before (0: not known): sixteen times for each block that it takes.
pub fn asked_again_after(stalled: Duration, bytes_per_s: u64) -> Duration {
    let a_block = match bytes_per_s {
        0 => Duration::ZERO,
        rate => Duration::from_micros(FRAME_BYTES * 1_000_000 / rate),
    };
    (stalled / 4).max(a_block / 16).clamp(ASKED_AGAIN_MIN, ASKED_AGAIN_MAX)
}

#[cfg(test)]
mod tests;
