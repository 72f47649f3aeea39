//! A histogram of times whose cells one thread writes and any reads: an octave in eight parts, so that
//! a value is known to an eighth.

use std::time::Duration;

use super::counters::Cell;

/// Parts of an octave.
const PARTS: usize = 1 << PARTS_BITS;
const PARTS_BITS: u32 = 3;

/// Octaves above the first, which holds 0 to 7 us one by one: up to 134 s. Longer times count as
/// that.
const OCTAVES: usize = 24;

const BUCKETS: usize = PARTS * (OCTAVES + 1);

/// How often a time of each size was met, in microseconds.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Cell; BUCKETS],
    sum_us: Cell,
    max_us: Cell,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|_| Cell::default()),
            sum_us: Cell::default(),
            max_us: Cell::default(),
        }
    }
}

impl Histogram {
    /// One more time; only the owning worker calls it.
    pub fn record(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(us)) {
            bucket.add(1);
        }
        self.sum_us.add(us);
        if us > self.max_us.read() {
            self.max_us.set(us);
        }
    }

    pub fn read(&self) -> Distribution {
        Distribution {
            buckets: self.buckets.iter().map(Cell::read).collect(),
            sum_us: self.sum_us.read(),
            max_us: self.max_us.read(),
        }
    }
}

/// The bucket of a value: its octave, and the three bits behind its highest.
fn bucket_of(us: u64) -> usize {
    let octave = (us | 1).ilog2().saturating_sub(PARTS_BITS);
    let bucket = octave as usize * PARTS + (us >> octave) as usize;
    bucket.min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn largest_of(bucket: usize) -> u64 {
    let octave = (bucket / PARTS).saturating_sub(1);
    let above = (bucket - octave * PARTS + 1) as u64;
    (above << octave) - 1
}

/// What a histogram held at one moment; of several workers the sum.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Distribution {
    buckets: Vec<u64>,
    sum_us: u64,
    max_us: u64,
}

impl Distribution {
    pub fn add(&mut self, other: &Distribution) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Microseconds, all together.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Microseconds, the longest.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The buckets that are not empty, ascending: the largest value each holds, and how often one was met.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counted = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(bucket, count)| (largest_of(bucket), *count))
    }

    /// Microseconds that so many of 10,000 values were not above; 0 of none.
    pub fn percentile_us(&self, of_ten_thousand: u64) -> u64 {
        let rank = (self.count() * of_ten_thousand).div_ceil(10_000).max(1);
        let mut seen = 0;
        for (us, count) in self.buckets() {
            seen += count;
            if seen >= rank {
                return us.min(self.max_us);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 0..BUCKETS - 1 {
            let largest = largest_of(bucket);
            assert_eq!(bucket_of(largest), bucket);
            assert_eq!(bucket_of(largest + 1), bucket + 1);
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_what_is_known() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().percentile_us(5_000), 0);
        for us in 1..=10_000 {
            histogram.record(Duration::from_micros(us));
        }
        let all = histogram.read();
        assert_eq!((all.count(), all.max_us(), all.sum_us()), (10_000, 10_000, 50_005_000));
        for (wanted, exact) in [(5_000, 5_000), (9_900, 9_900), (9_999, 9_999)] {
            let us = all.percentile_us(wanted);
            assert!((exact..=exact + exact / 8).contains(&us), "{wanted}: {us}");
        }
        assert_eq!(all.percentile_us(10_000), 10_000);
        let mut twice = all.clone();
        twice.add(&all);
        assert_eq!(twice.count(), 20_000);
        assert_eq!(twice.percentile_us(9_900), all.percentile_us(9_900));
    }

    proptest! {
        #[test]
        fn a_value_is_known_to_an_eighth(us in 0_u64..1 << 26) {
            let largest = largest_of(bucket_of(us));
            prop_assert!(largest >= us && largest - us <= us / 8, "{us} counts as {largest}");
        }
    }
}
