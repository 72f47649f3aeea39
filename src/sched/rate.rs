//! How fast something is ([`Meter`]) and how fast it may be ([`Bucket`]), in integers, so that
//! the same input gives the same numbers on every machine.

use core::time::Duration;
use ringseed_meta::Instant;

/// Length of a meter's step: short against the 100 ms that a batch is made for only in sum, long
/// enough that a busy peer costs one multiplication a step and not one a send.
const TICK_US: u64 = 100_000;
const TICKS_PER_S: u64 = 1_000_000 / TICK_US;

/// A meter keeps 31/32 of its memory each step: half of it is 2.2 s old or younger.
const KEEP_SHIFT: u32 = 5;
/// One, in the fixed point of the decay factor.
const ONE: u64 = 1 << 32;
const KEEP: u64 = ONE - (ONE >> KEEP_SHIFT);

/// An exponentially decayed rate in bytes per second. Young meters are corrected for the time
/// they have not seen, so the first second already tells the truth. 24 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Bytes, each decayed by the ticks since it was added.
    bytes: u64,
    /// Of all weight that a meter of endless age would have, the part this one lacks (of ONE).
    unseen: u32,
    /// The step that `bytes` and `unseen` are told for.
    tick: u64,
}

impl Meter {
    /// A meter that starts now.
    pub fn new(now: Instant) -> Meter {
        Meter { bytes: 0, unseen: u32::MAX, tick: now.as_us() / TICK_US }
    }

    /// `bytes` more were moved.
    pub fn add(&mut self, bytes: u64, now: Instant) {
        self.forget(now);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Bytes per second of late. Zero when nothing was moved lately or ever.
    pub fn bytes_per_s(&self, now: Instant) -> u64 {
        let mut at = *self;
        at.forget(now);
        // The steps that the bytes stand for: those past, each weighted as its bytes are, and the
        // part of the present one. At least one, so that a first burst reads as itself.
        let past = u128::from(ONE - u64::from(at.unseen)) * u128::from((1u64 << KEEP_SHIFT) - 1);
        let present = u128::from((now.as_us() % TICK_US) * ONE / TICK_US);
        let steps = (past + present).max(u128::from(ONE));
        let per_step = (u128::from(at.bytes) << 32) / steps;
        u64::try_from(per_step).unwrap_or(u64::MAX).saturating_mul(TICKS_PER_S)
    }

    fn forget(&mut self, now: Instant) {
        let tick = now.as_us() / TICK_US;
        let Some(steps @ 1..) = tick.checked_sub(self.tick) else { return };
        let keep = power(KEEP, steps);
        let decayed = (u128::from(self.bytes) * u128::from(keep)) >> 32;
        self.bytes = u64::try_from(decayed).unwrap_or(u64::MAX);
        self.unseen = u32::try_from((u64::from(self.unseen) * keep) >> 32).unwrap_or(u32::MAX);
        self.tick = tick;
    }
}

/// `base` (of ONE, at most ONE) to the power of `exponent`.
fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut product = ONE;
    while exponent > 0 && product > 0 {
        if exponent & 1 == 1 {
            product = times(product, base);
        }
        base = times(base, base);
        exponent >>= 1;
    }
    product
}

fn times(one: u64, other: u64) -> u64 {
    u64::try_from((u128::from(one) * u128::from(other)) >> 32).unwrap_or(u64::MAX)
}

/// A token bucket: `tokens_per_s` flow in up to `burst`. A token is whatever the owner counts:
/// bytes, announces. No rounding loss: what is left of a token stays for the next call.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens_per_s: u64,
    burst: u64,
    /// In millionths of a token, since time is in millionths of a second.
    level_millionths: u64,
    filled_at: Instant,
}

const MILLION: u64 = 1_000_000;

impl Bucket {
    /// A full bucket. Rate and burst of zero count as one; a burst is at most 10^12.
    pub fn new(tokens_per_s: u64, burst: u64, now: Instant) -> Bucket {
        let burst = burst.clamp(1, MILLION * MILLION);
        let level_millionths = burst * MILLION;
        Bucket { tokens_per_s: tokens_per_s.max(1), burst, level_millionths, filled_at: now }
    }

    /// Takes `tokens` if they are there.
    pub fn take(&mut self, tokens: u64, now: Instant) -> Taken {
        self.fill(now);
        match self.level_millionths.checked_sub(tokens.saturating_mul(MILLION)) {
            Some(left) => {
                self.level_millionths = left;
                Taken::Yes
            }
            None => Taken::NotBefore(self.ready_at(tokens)),
        }
    }

    /// When `tokens` will be there, if nobody takes any before. More than the burst never are:
    /// they count as the burst.
    fn ready_at(&self, tokens: u64) -> Instant {
        let lacking = (tokens.min(self.burst) * MILLION).saturating_sub(self.level_millionths);
        self.filled_at.after(Duration::from_micros(lacking.div_ceil(self.tokens_per_s)))
    }

    fn fill(&mut self, now: Instant) {
        let us = now.as_us().saturating_sub(self.filled_at.as_us());
        let more = self.tokens_per_s.saturating_mul(us);
        self.level_millionths =
            self.level_millionths.saturating_add(more).min(self.burst * MILLION);
        self.filled_at = self.filled_at.max(now);
    }
}

/// Did the bucket give?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// The tokens are yours.
    Yes,
    /// Nothing was taken; ask again then.
    NotBefore(Instant),
}

#[cfg(test)]
mod tests;
