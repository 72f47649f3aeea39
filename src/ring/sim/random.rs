//! Randomness that a seed decides: the same seed, the same run.

/// A splitmix64 generator: tiny, fast, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // A modulo's bias does not matter for choosing faults.
        if end == 0 { 0 } else { self.bits() % end }
    }

    /// A number from `first` to `last`, both included; `first` when they are the wrong way round.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first.saturating_add(self.below(last.saturating_sub(first).saturating_add(1)))
    }

    /// A number from 1 to `most`, small ones as likely as large ones: its size is drawn first.
    pub fn of_any_size(&mut self, most: u64) -> u64 {
        let bits = u64::from(most.max(1).ilog2()) + 1;
        let most_of_size = 1 << self.between(0, bits);
        self.between(1, most.max(1).min(most_of_size))
    }

    /// True in `per_mille` of 1000 cases.
    pub fn hits(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// One of `from`; `None` of none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// A generator of its own, for a part whose draws must not shift the others'.
    pub fn fork(&mut self) -> Random {
        Random(self.bits())
    }
}

/// The finaliser of splitmix64: spreads one number over 64 bits.
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
