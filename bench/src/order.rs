//! Which block a connection asks for next. Pure; a seed gives the same load again.

use ringseed_meta::limits::BLOCK_BYTES;
use ringseed_meta::{BlockRef, PieceIndex};

use crate::target::Pieces;

/// In which order a connection walks the pieces. Blocks within a piece are always asked in order,
/// as clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Order {
    /// One after another, each connection from a place of its own.
    Sequential,
    /// Shuffled, each connection in its own way: what rarest first looks like to a seeder.
    Random,
}

/// The endless list of blocks that one connection asks for: all of them once, then again.
#[derive(Clone, Debug)]
pub struct Blocks {
    pieces: Pieces,
    walk: Walk,
    /// How many pieces were begun, modulo their count.
    position: u32,
    begin: u32,
}

impl Blocks {
    /// The list of connection number `connection` out of `connections`.
    pub fn new(pieces: Pieces, order: Order, connection: u32, connections: u32) -> Blocks {
        let count = pieces.count();
        let walk = match order {
            Order::Sequential => {
                let start =
                    u64::from(connection) * u64::from(count) / u64::from(connections.max(1));
                Walk::From(u32::try_from(start).unwrap_or(0))
            }
            Order::Random => Walk::Shuffled { key: mix(u64::from(connection) + 1) },
        };
        Blocks { pieces, walk, position: 0, begin: 0 }
    }

    /// The next block to ask for.
    pub fn next_block(&mut self) -> BlockRef {
        let count = self.pieces.count();
        let piece = match self.walk {
            Walk::From(start) => {
                ((u64::from(start) + u64::from(self.position)) % u64::from(count)) as u32
            }
            Walk::Shuffled { key } => shuffled(self.position, count, key),
        };
        let piece_bytes = self.pieces.length(PieceIndex(piece));
        let length = BLOCK_BYTES.min(piece_bytes - self.begin);
        let block = BlockRef { piece: PieceIndex(piece), begin: self.begin, length };
        self.begin += length;
        if self.begin == piece_bytes {
            self.begin = 0;
            self.position = (self.position + 1) % count;
        }
        block
    }
}

#[derive(Clone, Copy, Debug)]
enum Walk {
    From(u32),
    Shuffled { key: u64 },
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
fn mix(value: u64) -> u64 {
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
            for order in [Order::Sequential, Order::Random] {
                let round = one_round(&pieces, order, connection);
                let distinct: BTreeSet<_> = round.iter().map(|b| (b.piece, b.begin)).collect();
                prop_assert_eq!(distinct.len(), round.len());
                let asked: u64 = round.iter().map(|b| u64::from(b.length)).sum();
                prop_assert_eq!(asked, total_bytes);
            }
        }
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
