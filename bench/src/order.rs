//! Which block a connection asks for next. Pure; a seed gives the same load again.

use std::fmt;

use ringseed_meta::limits::BLOCK_BYTES;
use ringseed_meta::{BlockRef, PieceIndex};

use crate::target::Pieces;

/// In which order a connection walks the pieces. Blocks within a piece are always asked in order,
/// as clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// One after another, each connection from a place of its own.
    Sequential,
    /// Shuffled, each connection in its own way: what rarest first looks like to a seeder.
    Random,
    /// One shuffle that all connections walk together, each taking every so-manieth piece: until all
    /// have come once, none goes to two of them.
    Shared,
    /// So many of 100 requests go to a hot set of so many of 100 pieces, the same for all
    /// connections; within the set and outside of it each connection has a shuffle of its own. What
    /// a release day looks like: a few pieces that everybody lacks.
    HotSet { requests_percent: u8, pieces_percent: u8 },
}

impl Order {
    /// The hot set that is meant when nobody says otherwise.
    pub const HOT_SET: Order = Order::HotSet { requests_percent: 90, pieces_percent: 10 };

    /// Blocks that a connection asks for at least before it asks for one of them again: at most so
    /// many may be outstanding.
    pub fn blocks_apart(self, pieces: &Pieces) -> u64 {
        match self {
            Order::Sequential | Order::Random | Order::Shared => pieces.block_count(),
            Order::HotSet { pieces_percent, .. } => {
                let hot = hot_pieces(pieces.count(), pieces_percent);
                let few = hot.min(pieces.count() - hot).max(1);
                // Shorter pieces may all be in the smaller set.
                u64::from(few) * u64::from(pieces.shortest().div_ceil(BLOCK_BYTES))
            }
        }
    }
}

/// Not an order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "order '{0}': sequential, random, shared, hot-set or hot-set:R:P is needed, where R of 100 requests \
     (1 to 99) go to P of 100 pieces (1 to 99); hot-set alone is hot-set:90:10"
)]
pub struct OrderError(String);

impl std::str::FromStr for Order {
    type Err = OrderError;

    fn from_str(text: &str) -> Result<Order, OrderError> {
        let wrong = || OrderError(text.into());
        match text {
            "sequential" => return Ok(Order::Sequential),
            "random" => return Ok(Order::Random),
            "shared" => return Ok(Order::Shared),
            "hot-set" => return Ok(Order::HOT_SET),
            _ => {}
        }
        let shares = text.strip_prefix("hot-set:").and_then(|shares| shares.split_once(':'));
        let (requests, pieces) = shares.ok_or_else(wrong)?;
        let percent = |text: &str| match text.parse() {
            Ok(percent @ 1..=99) => Ok(percent),
            _ => Err(wrong()),
        };
        Ok(Order::HotSet { requests_percent: percent(requests)?, pieces_percent: percent(pieces)? })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Sequential => f.write_str("sequential"),
            Order::Random => f.write_str("random"),
            Order::Shared => f.write_str("shared"),
            Order::HotSet { requests_percent, pieces_percent } => {
                write!(f, "hot-set:{requests_percent}:{pieces_percent}")
            }
        }
    }
}

/// Pieces in the hot set: at least one, and at least one outside where there are two.
fn hot_pieces(count: u32, percent: u8) -> u32 {
    let hot = (u64::from(count) * u64::from(percent)).div_ceil(100) as u32;
    hot.clamp(1, count.saturating_sub(1).max(1))
}

/// The endless list of blocks that one connection asks for: all of them once, then again.
#[derive(Clone, Debug)]
pub struct Blocks {
    pieces: Pieces,
    walk: Walk,
    /// The piece that is asked for, and the block of it that is next.
    piece: PieceIndex,
    begin: u32,
}

impl Blocks {
    /// The list of connection number `connection` out of `connections`.
    pub fn new(pieces: Pieces, order: Order, connection: u32, connections: u32) -> Blocks {
        let count = pieces.count();
        let mut walk = match order {
            Order::Sequential => {
                let start =
                    u64::from(connection) * u64::from(count) / u64::from(connections.max(1));
                Walk::Straight { next: u32::try_from(start).unwrap_or(0) }
            }
            Order::Random => Walk::Shuffled(Shuffle::new(count, connection)),
            Order::Shared => {
                let connections = connections.max(1);
                let round = connection % connections;
                Walk::Shared { connections, round, next: round }
            }
            Order::HotSet { requests_percent, pieces_percent } => {
                let hot = hot_pieces(count, pieces_percent);
                Walk::HotSet {
                    requests_percent,
                    hot: Shuffle::new(hot, connection),
                    cold: Shuffle::new(count - hot, connection),
                    begun: u64::from(connection) << 32,
                }
            }
        };
        let piece = walk.next_piece(count);
        Blocks { pieces, walk, piece, begin: 0 }
    }

    /// The next block to ask for.
    pub fn next_block(&mut self) -> BlockRef {
        let piece_bytes = self.pieces.length(self.piece);
        let length = BLOCK_BYTES.min(piece_bytes - self.begin);
        let block = BlockRef { piece: self.piece, begin: self.begin, length };
        self.begin += length;
        if self.begin == piece_bytes {
            self.begin = 0;
            self.piece = self.walk.next_piece(self.pieces.count());
        }
        block
    }
}

#[derive(Clone, Debug)]
enum Walk {
    Straight {
        next: u32,
    },
    Shuffled(Shuffle),
    /// Every so-manieth place of one shuffle, from `round` on; then those of the next round.
    Shared {
        connections: u32,
        round: u32,
        next: u32,
    },
    HotSet {
        requests_percent: u8,
        hot: Shuffle,
        cold: Shuffle,
        begun: u64,
    },
}

/// The shuffle that all connections of a shared order walk.
const SHARED_KEY: u64 = 0x0a11;

/// Which pieces are hot is a shuffle that all connections share.
const HOT_KEY: u64 = 0x5eed;

impl Walk {
    fn next_piece(&mut self, count: u32) -> PieceIndex {
        PieceIndex(match self {
            Walk::Straight { next } => {
                let piece = *next;
                *next = (piece + 1) % count;
                piece
            }
            Walk::Shuffled(shuffle) => shuffle.next(),
            Walk::Shared { connections, round, next } => {
                while *next >= count {
                    *round = (*round + 1) % *connections;
                    *next = *round;
                }
                let place = *next;
                *next = place.saturating_add(*connections);
                shuffled(place, count, SHARED_KEY)
            }
            Walk::HotSet { requests_percent, hot, cold, begun } => {
                *begun += 1;
                let is_hot = mix(*begun) % 100 < u64::from(*requests_percent);
                let place =
                    if is_hot || cold.count == 0 { hot.next() } else { hot.count + cold.next() };
                shuffled(place, count, HOT_KEY)
            }
        })
    }
}

/// All numbers below `count` in an order of their own, again and again.
#[derive(Clone, Debug)]
struct Shuffle {
    key: u64,
    count: u32,
    position: u32,
}

impl Shuffle {
    fn new(count: u32, connection: u32) -> Shuffle {
        Shuffle { key: mix(u64::from(connection) + 1), count, position: 0 }
    }

    fn next(&mut self) -> u32 {
        let number = shuffled(self.position, self.count, self.key);
        self.position = (self.position + 1) % self.count;
        number
    }
}

/// The place of `position` in a shuffle of `0..count` that `key` names: a Feistel network over the
/// next power of four, walked again while it lands past the end. No list is kept, and no block
/// comes twice before all came once.
fn shuffled(position: u32, count: u32, key: u64) -> u32 {
    let half_bits = (u32::BITS - (count - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1_u64 << half_bits) - 1;
    let mut value = u64::from(position);
    loop {
        let (mut left, mut right) = (value >> half_bits, value & mask);
        for round in 0..4 {
            (left, right) = (right, left ^ (mix(key ^ (right << 8) ^ round) & mask));
        }
        value = left << half_bits | right;
        if value < u64::from(count) {
            return value as u32;
        }
    }
}

/// Steele's SplitMix64: every bit of the input reaches every bit of the result.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn one_round(pieces: &Pieces, order: Order, connection: u32) -> Vec<BlockRef> {
        let mut blocks = Blocks::new(pieces.clone(), order, connection, 7);
        (0..pieces.block_count()).map(|_| blocks.next_block()).collect()
    }

    proptest! {
        #[test]
        fn every_block_comes_once_before_any_comes_again(
            exponent in 14_u32..20, total_bytes in 1_u64..(1 << 24), connection in 0_u32..7,
        ) {
            let pieces = Pieces::even(1 << exponent, total_bytes).unwrap();
            for order in [Order::Sequential, Order::Random, Order::Shared] {
                let round = one_round(&pieces, order, connection);
                let distinct: BTreeSet<_> = round.iter().map(|b| (b.piece, b.begin)).collect();
                prop_assert_eq!(distinct.len(), round.len());
                let asked: u64 = round.iter().map(|b| u64::from(b.length)).sum();
                prop_assert_eq!(asked, total_bytes);
            }
        }
    }

    proptest! {
        #[test]
        fn a_hot_set_gets_its_share_of_requests_and_is_the_same_for_all(
            count in 20_u32..3_000, requests_percent in 1_u8..100, pieces_percent in 1_u8..100, connection in 0_u32..1_000,
        ) {
            let order = Order::HotSet { requests_percent, pieces_percent };
            let pieces = Pieces::even(1 << 14, u64::from(count) << 14).unwrap();
            let hot: BTreeSet<u32> =
                (0..hot_pieces(count, pieces_percent)).map(|at| shuffled(at, count, HOT_KEY)).collect();
            let mut blocks = Blocks::new(pieces.clone(), order, connection, 1_000);
            let asked: Vec<u32> = (0..20_000).map(|_| blocks.next_block().piece.0).collect();
            let share = asked.iter().filter(|piece| hot.contains(piece)).count() as f64 / 20_000.0;
            // Five standard deviations of a fair coin.
            prop_assert!((share - f64::from(requests_percent) / 100.0).abs() < 0.018, "{share}");
            let apart = order.blocks_apart(&pieces) as usize;
            for window in asked.windows(apart).step_by(97) {
                let distinct: BTreeSet<_> = window.iter().collect();
                prop_assert_eq!(distinct.len(), apart, "asked twice within {} blocks", apart);
            }
        }
    }

    #[test]
    fn within_the_hot_set_each_piece_is_asked_for_as_often_as_the_others() {
        let pieces = Pieces::even(1 << 14, 1_000 << 14).unwrap();
        let mut blocks = Blocks::new(pieces, Order::HOT_SET, 3, 10);
        let mut times = std::collections::BTreeMap::new();
        (0..10_000).for_each(|_| *times.entry(blocks.next_block().piece.0).or_insert(0) += 1);
        let mut times: Vec<u32> = times.into_values().collect();
        times.sort_unstable();
        let (cold, hot) = times.split_at(times.len() - 100);
        assert!(hot[99] - hot[0] <= 1 && hot[0] > 80, "{hot:?}");
        assert!(cold[cold.len() - 1] <= 2, "{cold:?}");
    }

    #[test]
    fn an_order_is_read_as_it_is_written() {
        for text in ["sequential", "random", "shared", "hot-set:80:20"] {
            assert_eq!(text.parse::<Order>().unwrap().to_string(), text);
        }
        assert_eq!("hot-set".parse(), Ok(Order::HOT_SET));
        for text in ["", "hot", "hot-set:", "hot-set:0:10", "hot-set:90:100", "hot-set:9"] {
            assert_eq!(text.parse::<Order>(), Err(OrderError(text.into())));
        }
    }

    #[test]
    fn of_a_shared_order_each_piece_goes_to_one_connection_before_any_goes_to_two() {
        for (count, connections) in [(1_000, 7), (1_000, 100), (9, 10)] {
            let pieces = Pieces::even(1 << 14, u64::from(count) << 14).unwrap();
            let mut asked = Vec::new();
            for connection in 0..connections {
                let mut blocks =
                    Blocks::new(pieces.clone(), Order::Shared, connection, connections);
                let own = (count + connections - 1 - connection) / connections;
                asked.extend((0..own).map(|_| blocks.next_block().piece.0));
            }
            assert!(!asked.is_sorted());
            asked.sort_unstable();
            assert_eq!(asked, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_torrent_of_one_piece_is_all_hot() {
        let pieces = Pieces::even(1 << 14, 1 << 14).unwrap();
        let mut blocks = Blocks::new(pieces, Order::HOT_SET, 0, 1);
        (0..1_000).for_each(|_| assert_eq!(blocks.next_block().piece.0, 0));
    }

    #[test]
    fn sequential_connections_start_spread_over_the_torrent() {
        let pieces = Pieces::even(1 << 15, 70 << 15).unwrap();
        let starts: Vec<u32> =
            (0..7).map(|c| one_round(&pieces, Order::Sequential, c)[0].piece.0).collect();
        assert_eq!(starts, [0, 10, 20, 30, 40, 50, 60]);
    }

    #[test]
    fn a_random_order_differs_between_connections_and_repeats_for_one() {
        let pieces = Pieces::even(1 << 15, 70 << 15).unwrap();
        let first = one_round(&pieces, Order::Random, 0);
        assert_ne!(first, one_round(&pieces, Order::Random, 1));
        assert_ne!(first, one_round(&pieces, Order::Sequential, 0));
        assert_eq!(first, one_round(&pieces, Order::Random, 0));
    }
}
