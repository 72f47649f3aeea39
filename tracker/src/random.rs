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

/// Draws different numbers, in time that grows with how many, never with the numbers.
#[derive(Debug)]
pub struct Draw {
    drawn: Vec<u32>,
    /// Numbers drawn this time, each behind the count of times: none has to be wiped out.
    marks: Box<[u64; MARKS]>,
    times: u32,
}

/// Marks: more than twice as many as numbers, so that a place is found at once.
const MARKS: usize = 512;
const MARK_BITS: u32 = MARKS.trailing_zeros();
const _: () = assert!(MARKS.is_power_of_two() && MARKS >= 2 * crate::limits::HANDED_OUT_MAX);

impl Default for Draw {
    fn default() -> Draw {
        Draw { drawn: Vec::new(), marks: Box::new([0; MARKS]), times: 0 }
    }
}

impl Draw {
    /// `count` (at most [`HANDED_OUT_MAX`](crate::limits::HANDED_OUT_MAX)) different numbers below
    /// `bound`, which fits 32 bits: each choice of so many in some order is as likely as any other.
    /// All of them when there are no more; then they begin anywhere and go on in order.
    pub fn draw(&mut self, random: &mut Random, count: usize, bound: usize) -> &[u32] {
        let count = count.min(crate::limits::HANDED_OUT_MAX);
        self.drawn.clear();
        if bound <= count {
            let first = random.below(bound) as u32;
            self.drawn.extend((first..bound as u32).chain(0..first));
        } else if bound < 2 * count {
            // Fisher and Yates: few are left over.
            self.drawn.extend(0..bound as u32);
            for place in 0..count {
                self.drawn.swap(place, place + random.below(bound - place));
            }
            self.drawn.truncate(count);
        } else {
            self.draw_few(random, count, bound);
        }
        &self.drawn
    }

    /// What was drawn before is drawn again: less than once for each.
    fn draw_few(&mut self, random: &mut Random, count: usize, bound: usize) {
        self.times = self.times.wrapping_add(1);
        if self.times == 0 {
            self.marks.fill(0);
            self.times = 1;
        }
        while self.drawn.len() < count {
            let number = random.below(bound) as u32;
            if self.mark(number) {
                self.drawn.push(number);
            }
        }
    }

    /// False: it was marked already.
    fn mark(&mut self, number: u32) -> bool {
        let mark = u64::from(self.times) << 32 | u64::from(number);
        let mut place = number.wrapping_mul(0x9e37_79b9) >> (32 - MARK_BITS);
        loop {
            let there = &mut self.marks[place as usize % MARKS];
            if *there == mark {
                return false;
            }
            if *there >> 32 != u64::from(self.times) {
                *there = mark;
                return true;
            }
            place += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(random: &mut Random, count: usize, bound: usize) -> Vec<u32> {
        Draw::default().draw(random, count, bound).to_vec()
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

    /// How often each number came at each position.
    fn seen<const POSITIONS: usize>(rounds: usize) -> [[usize; 10]; POSITIONS] {
        let (mut random, mut draw) = (Random::new(7), Draw::default());
        let mut seen = [[0; 10]; POSITIONS];
        for _ in 0..rounds {
            for (position, number) in draw.draw(&mut random, POSITIONS, 10).iter().enumerate() {
                seen[position][*number as usize] += 1;
            }
        }
        seen
    }

    #[test]
    fn every_number_is_as_likely_as_any_other_at_every_position() {
        const ROUNDS: usize = 60_000;
        let counts = [&seen::<3>(ROUNDS)[..], &seen::<7>(ROUNDS), &seen::<10>(ROUNDS)].concat();
        // Six standard deviations of a binomial count with p = 1/10: about 440.
        for count in counts.iter().flatten() {
            assert!(count.abs_diff(ROUNDS / 10) < 440, "{counts:?}");
        }
    }

    #[test]
    fn every_pair_is_as_likely_as_any_other() {
        const ROUNDS: usize = 60_000;
        for count in [3, 7] {
            let (mut random, mut draw) = (Random::new(7), Draw::default());
            let mut pairs = std::collections::BTreeMap::new();
            for _ in 0..ROUNDS {
                let numbers = draw.draw(&mut random, count, 10);
                for (place, first) in numbers.iter().enumerate() {
                    for second in &numbers[place + 1..] {
                        *pairs.entry((*first.min(second), *first.max(second))).or_insert(0usize) +=
                            1;
                    }
                }
            }
            let share = (count * (count - 1)) as f64 / 90.0;
            let expected = ROUNDS as f64 * share;
            let six_deviations = 6.0 * (expected * (1.0 - share)).sqrt();
            let pairs: Vec<f64> = pairs.into_values().map(|times| times as f64).collect();
            assert_eq!(pairs.len(), 45);
            assert!(
                pairs.iter().all(|times| (times - expected).abs() < six_deviations),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn marks_of_long_ago_do_not_count() {
        let mut random = Random::new(3);
        let mut draw = Draw { times: u32::MAX - 2, ..Draw::default() };
        for _ in 0..6 {
            assert_eq!(draw.draw(&mut random, 4, 8).len(), 4);
            assert!(draw.times > 0);
        }
    }
}
