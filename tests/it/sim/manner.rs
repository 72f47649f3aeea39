//! How a model leecher behaves: drawn at random, one of its own for each.

use ringseed_ring::sim::Random;

/// How it asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pattern {
    Sequential,
    RandomBlocks,
    /// Any begin, any length.
    Odd,
}

/// How it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) fast: bool,
    pub(crate) extended: bool,
    pub(crate) pattern: Pattern,
    /// Requests it keeps in flight.
    pub(crate) depth: usize,
    /// Has much under way and reads slowly.
    pub(crate) heavy: bool,
    pub(crate) cancels_per_mille: u16,
    pub(crate) repeats_per_mille: u16,
    /// Bytes it reads at once.
    pub(crate) appetite: usize,
    /// Time between two acts.
    pub(crate) pace_us: u64,
    /// Bytes after which it reads no more.
    pub(crate) stalls_after: usize,
    /// Bytes after which it leaves without warning.
    pub(crate) leaves_after: usize,
    /// Breaks the rules after its handshake.
    pub(crate) hostile: bool,
}

impl Manner {
    /// `crowd`: one of many that want the same few slots.
    pub(crate) fn new(random: &mut Random, crowd: bool) -> Manner {
        let never = usize::MAX;
        // Some ask for one block at a time, some have much under way and read slowly, for seconds:
        // there is time for things to happen.
        let patient = random.hits(250);
        let heavy = !patient && random.hits(if crowd { 800 } else { 200 });
        Manner {
            fast: random.hits(700),
            extended: random.hits(500),
            pattern: [Pattern::Sequential, Pattern::RandomBlocks, Pattern::Odd]
                [random.below(3) as usize],
            depth: match (patient, heavy) {
                (true, _) => 1,
                (_, true) => random.between(32, 256) as usize,
                _ => random.of_any_size(128) as usize,
            },
            heavy,
            cancels_per_mille: if random.hits(300) { random.between(1, 300) as u16 } else { 0 },
            repeats_per_mille: if random.hits(300) { random.between(1, 200) as u16 } else { 0 },
            appetite: if heavy {
                random.between(4096, 10_000) as usize
            } else if random.hits(200) {
                random.between(20, 2000) as usize
            } else {
                4096 + random.of_any_size(1 << 20) as usize
            },
            pace_us: if patient || heavy { 40_000 } else { 500 + random.of_any_size(20_000) },
            stalls_after: if random.hits(100) { random.below(400_000) as usize } else { never },
            leaves_after: if random.hits(150) { random.below(400_000) as usize } else { never },
            hostile: random.hits(150),
        }
    }
}
