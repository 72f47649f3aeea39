//! Random numbers for choosing peers: seeded, so that a test can repeat a run. Nothing secret
//! rests on them (connection ids have their own key).

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and three mixing steps a number.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound` (0 when that is 0). The bias of the multiplication is below 2^-32
    /// for every bound that fits 32 bits.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }
}

/// Draws `count` different numbers below `bound` into `drawn`, each set of that size as likely
/// as any other, in random order. Time grows with `count`, never with `bound` (Floyd's method).
/// `sorted` is scratch memory.
pub fn draw(
    random: &mut Random,
    count: usize,
    bound: usize,
    sorted: &mut Vec<u32>,
    drawn: &mut Vec<u32>,
) {
    sorted.clear();
    drawn.clear();
    for last in bound.saturating_sub(count)..bound {
        let candidate = random.below(last + 1) as u32;
        let (place, number) = match sorted.binary_search(&candidate) {
            Err(place) => (place, candidate),
            Ok(_) => (sorted.len(), last as u32),
        };
        sorted.insert(place, number);
        drawn.push(number);
    }
    for left in (1..drawn.len()).rev() {
        drawn.swap(left, random.below(left + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(random: &mut Random, count: usize, bound: usize) -> Vec<u32> {
        let (mut sorted, mut drawn) = (Vec::new(), Vec::new());
        draw(random, count, bound, &mut sorted, &mut drawn);
        drawn
    }

    #[test]
    fn numbers_are_different_and_below_the_bound() {
        let mut random = Random::new(1);
        for bound in 0..40 {
            for count in 0..50 {
                let mut numbers = drawn(&mut random, count, bound);
                numbers.sort_unstable();
                numbers.dedup();
                assert_eq!(numbers.len(), count.min(bound), "{count} of {bound}");
                assert!(numbers.iter().all(|number| (*number as usize) < bound));
            }
        }
    }

    #[test]
    fn every_number_is_as_likely_as_any_other_at_every_position() {
        const ROUNDS: usize = 60_000;
        let mut random = Random::new(7);
        let mut seen = [[0usize; 10]; 3];
        for _ in 0..ROUNDS {
            for (position, number) in drawn(&mut random, 3, 10).into_iter().enumerate() {
                seen[position][number as usize] += 1;
            }
        }
        let expected = ROUNDS / 10;
        // Six standard deviations of a binomial count with p = 1/10: about 440.
        for count in seen.iter().flatten() {
            assert!(count.abs_diff(expected) < 440, "{seen:?}");
        }
    }
}
