//! The allowed fast set (BEP 6): pieces that a peer may have although it is choked.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use ringseed_meta::{InfoHash, PieceIndex};
use sha1::{Digest, Sha1};

use crate::limits;

/// The first `k` pieces of the set of a peer at `ip`, fewer when the torrent has fewer, at most
/// [`limits::ALLOWED_FAST_MAX`]. BEP 6 has "no provisions for IPv6".
pub fn allowed_fast(
    ip: Ipv4Addr,
    info_hash: InfoHash,
    piece_count: u32,
    k: usize,
) -> Vec<PieceIndex> {
    let k = k.min(limits::ALLOWED_FAST_MAX);
    if (piece_count as usize) <= k {
        return (0..piece_count).map(PieceIndex).collect();
    }
    let mut set = Vec::with_capacity(k);
    let network = u32::from(ip) & 0xffff_ff00;
    let mut x =
        Sha1::new().chain_update(network.to_be_bytes()).chain_update(info_hash.0).finalize();
    // There are more pieces than places, so each digest brings a new one soon.
    while set.len() < k {
        for word in x.as_chunks::<4>().0 {
            let index = u32::from_be_bytes(*word).checked_rem(piece_count).map(PieceIndex);
            if let Some(index) = index
                && set.len() < k
                && !set.contains(&index)
            {
                set.push(index);
            }
        }
        x = Sha1::digest(x);
    }
    set
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn indexes(ip: Ipv4Addr, piece_count: u32, k: usize) -> Vec<u32> {
        let set = allowed_fast(ip, InfoHash([0xaa; 20]), piece_count, k);
        set.into_iter().map(|piece| piece.0).collect()
    }

    #[test]
    fn the_sets_of_bep_6_come_out() {
        let ip = Ipv4Addr::new(80, 4, 4, 200);
        let nine = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508];
        assert_eq!(indexes(ip, 1313, 7), nine[..7]);
        assert_eq!(indexes(ip, 1313, 9), nine);
    }

    #[test]
    fn neighbours_in_one_network_share_a_set() {
        let one = indexes(Ipv4Addr::new(80, 4, 4, 1), 1313, 10);
        assert_eq!(one, indexes(Ipv4Addr::new(80, 4, 4, 255), 1313, 10));
        assert_ne!(one, indexes(Ipv4Addr::new(80, 4, 5, 1), 1313, 10));
    }

    #[test]
    fn small_torrents_and_large_wishes_end() {
        let ip = Ipv4Addr::LOCALHOST;
        assert!(indexes(ip, 0, 10).is_empty());
        assert_eq!(indexes(ip, 3, 10), [0, 1, 2]);
        let mut eleven = indexes(ip, 11, usize::MAX);
        eleven.sort_unstable();
        eleven.dedup();
        assert_eq!(eleven.len(), limits::ALLOWED_FAST_MAX);
    }
}
