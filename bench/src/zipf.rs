//! Numbers by Zipf's law: the second is drawn half as often as the first, the third a third as often.
//! Pure, and without a table, so that a draw touches no memory.

/// Ranks from 0 on, each drawn as often as one by its place (exponent 1).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Zipf {
    ranks: f64,
    /// Where the integral of the hat begins and ends.
    from: f64,
    until: f64,
    /// Distance from a rank within which a point lies under the law for sure.
    close: f64,
}

impl Zipf {
    /// `ranks` of them; of none or one all are 0.
    pub(crate) fn new(ranks: u32) -> Zipf {
        let ranks = f64::from(ranks.max(1));
        // The hat is 1/x, its integral ln: of the first rank only what the law gives it.
        let close = 2.0 - (2.5_f64.ln() - 0.5).exp();
        Zipf { ranks, from: 1.5_f64.ln() - 1.0, until: (ranks + 0.5).ln(), close }
    }

    /// A rank, by random bits: one word and a little more on average. (W. Hörmann, G. Derflinger: Rejection-inversion to generate variates from monotone
    /// discrete distributions, 1996.)
    pub(crate) fn draw(&self, mut bits: impl FnMut() -> u64) -> u32 {
        loop {
            // From 0 up to and without 1.
            let uniform = (bits() >> 11) as f64 / (1u64 << 53) as f64;
            let at = self.until + uniform * (self.from - self.until);
            let point = at.exp();
            let rank = point.round().clamp(1.0, self.ranks);
            if rank - point <= self.close || at >= (rank + 0.5).ln() - 1.0 / rank {
                return rank as u32 - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::crowd::Random;

    /// How often each of `ranks` comes in so many draws.
    fn counts(ranks: u32, draws: u32) -> Vec<u32> {
        let (zipf, mut random) = (Zipf::new(ranks), Random::new(3));
        let mut counts = vec![0; ranks.max(1) as usize];
        for _ in 0..draws {
            counts[zipf.draw(|| random.bits()) as usize] += 1;
        }
        counts
    }

    /// Each rank within five standard deviations of what the law says.
    #[test]
    fn each_rank_comes_as_often_as_the_law_says() {
        const DRAWS: u32 = 1_000_000;
        for ranks in [2, 3, 10, 1000] {
            let all: f64 = (1..=ranks).map(|rank| 1.0 / f64::from(rank)).sum();
            for (count, rank) in counts(ranks, DRAWS).into_iter().zip(1..) {
                let share = 1.0 / f64::from(rank) / all;
                let right = share * f64::from(DRAWS);
                let off = (f64::from(count) - right).abs();
                let bound = 5.0 * (right * (1.0 - share)).sqrt();
                assert!(off <= bound, "rank {rank} of {ranks}: {count}, not {right:.0}");
            }
        }
    }

    #[test]
    fn few_ranks_and_the_ends_of_the_numbers_stay_within() {
        assert_eq!((counts(0, 100), counts(1, 100)), (vec![100], vec![100]));
        for ranks in [1, 2, 100_000, u32::MAX] {
            let zipf = Zipf::new(ranks);
            assert!(zipf.draw(|| 0) < ranks && zipf.draw(|| u64::MAX) < ranks, "{ranks}");
        }
    }
}
