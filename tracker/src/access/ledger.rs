//! What users have moved, from what their clients announce. A client tells sums since it began, again
//! and again; what counts is by how much they have grown. Pure: time and the key are arguments.

use hashbrown::HashMap;
use ringseed_meta::Instant;
use ringseed_users::{Moved, UserId};
use ringseed_wire::tracker::{AnnounceEvent, AnnounceRequest};
use siphasher::sip::SipHasher13;

use crate::limits;

/// What one peer of one torrent told last.
#[derive(Clone, Copy, Debug)]
struct Told {
    sums: Moved,
    /// Seconds.
    seen: u32,
}

/// Sums that were told, and what users have moved since the last batch left.
///
/// Peers stand in [`limits::LEDGER_SHELVES`] tables, so that one which grows moves a few thousand of
/// them and makes nobody wait.
pub(crate) struct Ledger {
    key: SipHasher13,
    shelves: Vec<HashMap<u64, Told>>,
    peers_max: usize,
    silent_max: u32,
    moved: HashMap<UserId, Moved>,
    /// The shelf that is looked through next.
    sweep: usize,
    next_sweep: Instant,
}

impl Ledger {
    /// Of at most `peers_max` peers, each forgotten when it was silent for `silent_max`.
    pub(crate) fn new(key: &[u8; 16], peers_max: usize, silent_max: std::time::Duration) -> Ledger {
        Ledger {
            key: SipHasher13::new_with_key(key),
            shelves: (0..limits::LEDGER_SHELVES).map(|_| HashMap::new()).collect(),
            peers_max: peers_max.div_ceil(limits::LEDGER_SHELVES),
            silent_max: u32::try_from(silent_max.as_secs()).unwrap_or(u32::MAX),
            moved: HashMap::new(),
            sweep: 0,
            next_sweep: Instant::ZERO,
        }
    }

    /// Takes note of an announce that was taken in.
    ///
    /// What a peer told before is known by user, torrent and peer id. A sum that is smaller than before
    /// began anew. A peer that is not known and does not say that it has just started was here before
    /// this tracker was: what it tells is where counting begins.
    pub(crate) fn count(&mut self, now: Instant, user: UserId, announce: &AnnounceRequest) {
        let mut identity = [0; 48];
        let (number, names) = identity.split_at_mut(8);
        let (info_hash, peer_id) = names.split_at_mut(20);
        number.copy_from_slice(&user.0.to_ne_bytes());
        info_hash.copy_from_slice(&announce.info_hash.0);
        peer_id.copy_from_slice(&announce.peer_id.0);
        let peer = self.key.hash(&identity);
        let seen = seconds(now);
        let sums = Moved { uploaded: announce.uploaded, downloaded: announce.downloaded };
        let most = self.peers_max;
        let place = peer as usize % limits::LEDGER_SHELVES;
        let Some(shelf) = self.shelves.get_mut(place) else { return };
        let before = match announce.event {
            AnnounceEvent::Stopped => shelf.remove(&peer),
            _ => {
                if !shelf.contains_key(&peer) && shelf.len() >= most {
                    displace_one(shelf);
                }
                shelf.insert(peer, Told { sums, seen })
            }
        };
        let before = match (before, announce.event) {
            (Some(told), _) => told.sums,
            (None, AnnounceEvent::Started) => Moved::default(),
            (None, _) => return,
        };
        let moved = Moved {
            uploaded: growth(before.uploaded, sums.uploaded),
            downloaded: growth(before.downloaded, sums.downloaded),
        };
        if moved != Moved::default() {
            add(self.moved.entry(user).or_default(), moved);
        }
    }

    /// What users have moved that has not left yet; nothing is left of it then.
    pub(crate) fn take_moved(&mut self) -> Option<Vec<(UserId, Moved)>> {
        (!self.moved.is_empty()).then(|| self.moved.drain().collect())
    }

    /// Takes back what could not leave.
    pub(crate) fn put_back(&mut self, batch: Vec<(UserId, Moved)>) {
        for (user, moved) in batch {
            add(self.moved.entry(user).or_default(), moved);
        }
    }

    /// Something is to leave.
    pub(crate) fn has_moved(&self) -> bool {
        !self.moved.is_empty()
    }

    /// Forgets silent peers, a shelf at a time.
    pub(crate) fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now.after(limits::LEDGER_SWEEP);
        let (now, silent_max) = (seconds(now), self.silent_max);
        if let Some(shelf) = self.shelves.get_mut(self.sweep) {
            shelf.retain(|_, told| now.saturating_sub(told.seen) <= silent_max);
            if shelf.len() < shelf.capacity() / 4 {
                shelf.shrink_to_fit();
            }
        }
        self.sweep = (self.sweep + 1) % limits::LEDGER_SHELVES;
    }

    #[cfg(test)]
    fn peers(&self) -> usize {
        self.shelves.iter().map(HashMap::len).sum()
    }
}

/// Of a few, the one that was silent for the longest makes room.
fn displace_one(shelf: &mut HashMap<u64, Told>) {
    let some = shelf.iter().take(limits::OLDEST_SAMPLE);
    if let Some(oldest) = some.min_by_key(|(_, told)| told.seen).map(|(peer, _)| *peer) {
        shelf.remove(&oldest);
    }
}

/// By how much a sum has grown; more than can be is taken for nonsense.
fn growth(before: u64, now: u64) -> u64 {
    let grown = now.checked_sub(before).unwrap_or(now);
    if grown > limits::MOVED_BYTES_MAX { 0 } else { grown }
}

pub(super) fn add(sum: &mut Moved, moved: Moved) {
    sum.uploaded = sum.uploaded.saturating_add(moved.uploaded);
    sum.downloaded = sum.downloaded.saturating_add(moved.downloaded);
}

fn seconds(now: Instant) -> u32 {
    u32::try_from(now.since(Instant::ZERO).as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use ringseed_meta::{InfoHash, PeerId};

    use super::*;

    fn ledger(peers_max: usize) -> Ledger {
        Ledger::new(&[1; 16], peers_max, Duration::from_secs(100))
    }

    fn announce(peer: u8, uploaded: u64, event: AnnounceEvent) -> AnnounceRequest {
        let new = AnnounceRequest::new(InfoHash([1; 20]), PeerId([peer; 20]), 7000);
        AnnounceRequest { uploaded, downloaded: uploaded / 2, event, ..new }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO.after(Duration::from_secs(seconds))
    }

    use AnnounceEvent::{None as Again, Started, Stopped};

    #[test]
    fn what_counts_is_by_how_much_a_sum_has_grown() {
        for (told, uploaded) in [
            (&[(0, Started), (10, Again), (30, Again)][..], 30),
            (&[(0, Started), (10, Again), (10, Stopped)], 10),
            (&[(8, Started)], 8),
            (&[(1000, Again), (1010, Again)], 10),
            (&[(1000, Stopped)], 0),
            // A client that was started again without a word, and one that says so.
            (&[(0, Started), (10, Again), (4, Again)], 14),
            (&[(0, Started), (10, Again), (0, Started), (4, Again)], 14),
            // One that says `started` a second time and counts on.
            (&[(0, Started), (10, Again), (12, Started)], 12),
            // One that says goodbye twice.
            (&[(0, Started), (10, Stopped), (10, Stopped)], 10),
            (
                &[
                    (0, Started),
                    (limits::MOVED_BYTES_MAX + 2, Again),
                    (limits::MOVED_BYTES_MAX + 5, Again),
                ],
                3,
            ),
            (&[(u64::MAX, Started)], 0),
        ] {
            let mut ledger = ledger(1000);
            for (sum, event) in told {
                ledger.count(at(1), UserId(7), &announce(1, *sum, *event));
            }
            let moved = ledger.take_moved().unwrap_or_default();
            let sum = moved.iter().map(|(_, moved)| moved.uploaded).sum::<u64>();
            assert_eq!(sum, uploaded, "{told:?}");
            assert!(moved.iter().all(|(user, _)| *user == UserId(7)));
            assert!(ledger.take_moved().is_none());
        }
    }

    #[test]
    fn peers_torrents_and_users_are_told_apart() {
        let mut ledger = ledger(1000);
        let other = AnnounceRequest { info_hash: InfoHash([2; 20]), ..announce(1, 5, Started) };
        for (user, announce) in [
            (1, announce(1, 5, Started)),
            (1, announce(2, 5, Started)),
            (1, other),
            (2, announce(1, 5, Started)),
        ] {
            ledger.count(at(1), UserId(user), &announce);
        }
        let mut moved = ledger.take_moved().unwrap();
        moved.sort_by_key(|(user, _)| *user);
        let sums: Vec<_> = moved.iter().map(|(_, m)| (m.uploaded, m.downloaded)).collect();
        assert_eq!(sums, [(15, 6), (5, 2)]);
        assert_eq!(ledger.peers(), 4);
    }

    #[test]
    fn what_could_not_leave_leaves_with_what_follows() {
        let mut ledger = ledger(1000);
        ledger.count(at(1), UserId(1), &announce(1, 5, Started));
        let batch = ledger.take_moved().unwrap();
        ledger.count(at(1), UserId(1), &announce(1, 7, Again));
        ledger.put_back(batch);
        assert_eq!(
            ledger.take_moved(),
            Some(vec![(UserId(1), Moved { uploaded: 7, downloaded: 3 })])
        );
    }

    #[test]
    fn silent_peers_are_forgotten_and_a_flood_stays_within_its_bound() {
        let mut ledger = ledger(limits::LEDGER_SHELVES * 2);
        for peer in 0..20_000u64 {
            let mut one = announce(0, 5, Started);
            one.peer_id.0[..8].copy_from_slice(&peer.to_ne_bytes());
            ledger.count(at(1), UserId(1), &one);
        }
        assert_eq!(ledger.peers(), limits::LEDGER_SHELVES * 2);
        for round in 0..limits::LEDGER_SHELVES as u64 {
            ledger.sweep(at(102 + round * limits::LEDGER_SWEEP.as_secs()));
        }
        assert_eq!(ledger.peers(), 0);
    }

    proptest! {
        /// Whatever a client that starts anew at times tells, the sum of what it moved is counted, of
        /// what it told.
        #[test]
        fn nothing_that_was_told_is_lost_or_counted_twice(
            runs in proptest::collection::vec(proptest::collection::vec(0..1000u64, 1..8), 1..6),
        ) {
            let mut ledger = ledger(1000);
            let mut all = 0;
            for run in &runs {
                let mut sum = 0;
                ledger.count(at(1), UserId(1), &announce(1, 0, Started));
                for more in run {
                    sum += more;
                    ledger.count(at(1), UserId(1), &announce(1, sum, Again));
                }
                all += sum;
                ledger.count(at(1), UserId(1), &announce(1, sum, Stopped));
            }
            let moved: u64 = ledger.take_moved().iter().flatten().map(|(_, moved)| moved.uploaded).sum();
            prop_assert_eq!(moved, all);
        }
    }
}
