//! Which of several trackers a torrent belongs to, by rendezvous hashing (Thaler and Ravishankar 1998).
//! The trackers know nothing of each other: whoever makes the torrent lists them in an order that
//! follows from its infohash alone, so all its peers meet at the first that answers.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Reverse;

use sha1::{Digest, Sha1};

use crate::InfoHash;

/// The trackers in the order of this torrent, each once. A tracker's weight for a torrent is the SHA-1 of
/// the infohash and the bytes of its URL; the heaviest is first. A tracker that is added becomes the first
/// of one torrent in so many as there are trackers then, and no other torrent gets another first; one that
/// is taken away leaves the order of the rest as it was.
pub fn in_order(info_hash: &InfoHash, trackers: &[Box<str>]) -> Vec<Box<str>> {
    let weigh = |url: &str| -> [u8; 20] {
        Sha1::new().chain_update(info_hash.0).chain_update(url.as_bytes()).finalize().into()
    };
    let mut weighed: Vec<_> = trackers.iter().map(|url| (Reverse(weigh(url)), url)).collect();
    weighed.sort_unstable();
    weighed.dedup();
    weighed.into_iter().map(|(_, url)| url.clone()).collect()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "test values")]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;

    fn trackers(count: usize) -> Vec<Box<str>> {
        (0..count).map(|at| format!("udp://t{at}.example:6969/announce").into()).collect()
    }

    fn torrent(number: u32) -> InfoHash {
        InfoHash(Sha1::digest(number.to_be_bytes()).into())
    }

    #[test]
    fn the_order_is_one_that_others_can_compute() {
        // for u in http://a http://b http://c; do (printf '%020d' 7 | tr -d '\n'; printf %s $u) | sha1sum; done
        let order = in_order(
            &InfoHash(*b"00000000000000000007"),
            &["http://a".into(), "http://b".into(), "http://c".into()],
        );
        assert_eq!(order, ORDER.map(Box::from));
    }

    const ORDER: [&str; 3] = ["http://c", "http://a", "http://b"];

    #[test]
    fn each_has_its_share_and_a_new_one_takes_only_its_own() {
        const TORRENTS: u32 = 20_000;
        for count in [1, 2, 3, 7, 16] {
            let (before, after) = (trackers(count), trackers(count + 1));
            let mut firsts = std::collections::BTreeMap::new();
            let mut moved = 0;
            for number in 0..TORRENTS {
                let (old, new) =
                    (in_order(&torrent(number), &before), in_order(&torrent(number), &after));
                *firsts.entry(new[0].clone()).or_insert(0u32) += 1;
                if old[0] != new[0] {
                    assert_eq!(new[0], after[count], "it moved to another than the new one");
                    moved += 1;
                }
            }
            // Six standard deviations of a binomial count.
            let share = 1.0 / (count as f64 + 1.0);
            let expected = f64::from(TORRENTS) * share;
            let six = 6.0 * (expected * (1.0 - share)).sqrt();
            assert_eq!(firsts.len(), count + 1);
            for has in firsts.values().chain([&moved]) {
                assert!((f64::from(*has) - expected).abs() < six, "{count}: {has} of {expected}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_order_is_of_all_and_does_not_depend_on_that_of_the_list(
            info_hash: [u8; 20], count in 1..12usize, turn in 0..12usize,
        ) {
            let mut list = trackers(count);
            let order = in_order(&InfoHash(info_hash), &list);
            list.rotate_left(turn % count);
            list.push(list[0].clone());
            prop_assert_eq!(&in_order(&InfoHash(info_hash), &list), &order);
            let mut sorted = order;
            sorted.sort_unstable();
            list.sort_unstable();
            list.dedup();
            prop_assert_eq!(sorted, list);
        }

        #[test]
        fn one_that_is_taken_away_leaves_the_rest_as_it_was(
            info_hash: [u8; 20], count in 2..12usize, gone in 0..12usize,
        ) {
            let mut list = trackers(count);
            let mut order = in_order(&InfoHash(info_hash), &list);
            let gone = list.remove(gone % count);
            order.retain(|url| *url != gone);
            prop_assert_eq!(in_order(&InfoHash(info_hash), &list), order);
        }
    }
}
