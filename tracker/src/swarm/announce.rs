//! Taking one announce in: who it is, where it is listed, who makes room for it, and whom it is told.

use ringseed_meta::InfoHash;
use ringseed_wire::tracker::{AnnounceEvent, AnnounceRequest, ScrapeStats};
use ringseed_wire::tracker_http::PeerEntry;

use super::family::Family;
use super::torrent::{Peer, Role, Tick, Torrent, pack, unpack};
use super::{Bounds, HashKey, Hint};
use crate::limits;
use crate::random::{Draw, Random};

/// How peers are told.
pub(super) trait Told {
    /// Tells the peer at a place of this torrent.
    fn peer<const N: usize>(&mut self, torrent: &Torrent<N>, place: usize);
}

impl Told for Vec<u8> {
    fn peer<const N: usize>(&mut self, torrent: &Torrent<N>, place: usize) {
        self.extend_from_slice(torrent.address(place));
    }
}

impl Told for Vec<PeerEntry> {
    fn peer<const N: usize>(&mut self, torrent: &Torrent<N>, place: usize) {
        let address = unpack(torrent.address(place));
        self.push(PeerEntry { address, peer_id: Some(torrent.peer_id(place)) });
    }
}

pub(super) fn role(request: &AnnounceRequest) -> Role {
    match (request.left, request.event) {
        (0, _) => Role::Seed,
        (_, AnnounceEvent::Paused) => Role::PartialSeed,
        _ => Role::Leecher,
    }
}

/// Whether a peer is told leechers only. Who has only a magnet link does not know how much is left,
/// and some clients (aria2) then say 0. So a peer that has moved no byte yet is told seeds as well, or
/// it would never find one; for a real seed the answer is a few bytes longer until it has sent some.
fn wants_leechers_only(request: &AnnounceRequest) -> bool {
    let has_moved = request.uploaded > 0 || request.downloaded > 0;
    has_moved && role(request) != Role::Leecher
}

pub(super) fn wanted(request: &AnnounceRequest) -> usize {
    let wanted = request.numwant.map_or(limits::HANDED_OUT_DEFAULT, |wanted| wanted as usize);
    wanted.min(limits::HANDED_OUT_MAX)
}

/// What taking an announce in needs besides the family.
pub(super) struct Desk<'a> {
    pub(super) bounds: &'a Bounds,
    pub(super) key: &'a HashKey,
    pub(super) random: &'a mut Random,
    pub(super) displaced: &'a mut u64,
    pub(super) draw: &'a mut Draw,
    pub(super) now: Tick,
}

impl Desk<'_> {
    pub(super) fn take<const N: usize>(
        &mut self,
        family: &mut Family<N>,
        request: &AnnounceRequest,
        ip: &[u8],
        hint: Hint,
        told: &mut impl Told,
    ) -> ScrapeStats {
        let peer = Peer {
            address: pack(ip, request.port),
            seen: self.now,
            // One that has no key is one whose key is 0.
            key: request.key.unwrap_or(0).to_be_bytes(),
            peer_id: request.peer_id,
            // Told once it is known who it was before.
            finished: false,
        };
        let torrent = self.find(family, request, hint);
        if request.event == AnnounceEvent::Stopped {
            let Some(at) = torrent else { return ScrapeStats::default() };
            self.stop(family, at, &peer);
            return family.counts(self.key, &request.info_hash);
        }
        let (at, place) = self.list(family, torrent, request, &peer);
        self.hand_out(family.torrent(at), place, request, told);
        family.counts_at(at)
    }

    fn find<const N: usize>(
        &self,
        family: &Family<N>,
        request: &AnnounceRequest,
        Hint(place): Hint,
    ) -> Option<usize> {
        let hinted = place.map(|place| place as usize);
        hinted
            .filter(|place| family.is_at(*place, &request.info_hash))
            .or_else(|| family.find(self.key, &request.info_hash))
    }

    /// A `stopped` counts only when it names the id and key that are listed: a client that came
    /// back at the same address is not removed by the late goodbye of the one before, and a
    /// neighbour behind the same address cannot make it leave.
    fn stop<const N: usize>(&self, family: &mut Family<N>, at: usize, peer: &Peer<N>) {
        let standing = Standing::of(peer, family.torrent(at), self.key);
        let itself = standing.here.filter(|_| standing.is_itself).or(standing.elsewhere);
        if let Some(place) = itself {
            family.change(self.key, at, |torrent| torrent.remove(self.key, place));
        }
    }

    /// Lists a peer, or what is new about it: where its torrent stands then, and it in there.
    fn list<const N: usize>(
        &mut self,
        family: &mut Family<N>,
        torrent: Option<usize>,
        request: &AnnounceRequest,
        peer: &Peer<N>,
    ) -> (usize, usize) {
        let standing = torrent
            .map_or(Standing::default(), |at| Standing::of(peer, family.torrent(at), self.key));
        let listed = standing.here.or(standing.elsewhere);
        let at = match torrent {
            Some(at) if listed.is_some() => at,
            _ => self.make_room(family, torrent, &request.info_hash),
        };
        family.heard(at, self.now);
        let role = role(request);
        let place = family.change(self.key, at, |torrent| {
            let was_seed = listed.is_some_and(|place| torrent.role(place) == Role::Seed);
            let finishes = request.event == AnnounceEvent::Completed && role == Role::Seed;
            // Who lacks something again, and says once more that it has finished, is not counted again.
            let had_finished = listed.is_some_and(|place| torrent.finished(place));
            if finishes && !was_seed && !had_finished {
                torrent.completed = torrent.completed.saturating_add(1);
            }
            let peer = &Peer { finished: finishes || had_finished, ..*peer };
            let mut here = standing.here;
            if let Some(place) = standing.elsewhere {
                torrent.remove(self.key, place);
                here = here.and_then(|_| torrent.find(self.key, &peer.address));
            }
            match here {
                Some(place) => torrent.update(self.key, place, peer, role),
                None => torrent.insert(self.key, peer, role),
            }
        });
        (at, place)
    }

    /// Room for another peer, of a torrent that is in already or of another: where it stands then.
    fn make_room<const N: usize>(
        &mut self,
        family: &mut Family<N>,
        torrent: Option<usize>,
        info_hash: &InfoHash,
    ) -> usize {
        let mut at = torrent;
        if let Some(own) = at
            && family.torrent(own).len() >= self.bounds.torrent_peers_max.max(1)
        {
            return self.displace_one(family, own, info_hash);
        }
        if at.is_none() && family.torrents() >= self.bounds.torrents_max.max(1) {
            self.displace_oldest(family);
        }
        while family.peers() >= self.bounds.peers_max.max(1) {
            if let Some(own) = at {
                if family.torrents() == 1 {
                    return self.displace_one(family, own, info_hash);
                }
                // It is heard of just now.
                family.renew(own, self.now);
            }
            self.displace_oldest(family);
            // The last one stands at its place now.
            at = at.and_then(|_| family.find(self.key, info_hash));
        }
        at.unwrap_or_else(|| family.insert(self.key, *info_hash, self.now))
    }

    /// Of a torrent's peers, one that was silent for long makes room.
    fn displace_one<const N: usize>(
        &mut self,
        family: &mut Family<N>,
        at: usize,
        info_hash: &InfoHash,
    ) -> usize {
        let torrent = family.torrent(at);
        let sample = (0..limits::OLDEST_SAMPLE).map(|_| self.random.below(torrent.len()));
        let oldest = sample.max_by_key(|place| torrent.seen(*place).age(self.now));
        *self.displaced += 1;
        let is_last = torrent.len() == 1;
        family.change(self.key, at, |torrent| torrent.remove(self.key, oldest.unwrap_or(0)));
        // Without peers it has gone.
        if is_last { family.insert(self.key, *info_hash, self.now) } else { at }
    }

    fn displace_oldest<const N: usize>(&mut self, family: &mut Family<N>) {
        let Some(oldest) = family.oldest() else { return };
        *self.displaced += family.torrent(oldest).len() as u64;
        family.drop_torrent(self.key, oldest);
    }

    fn hand_out<const N: usize>(
        &mut self,
        torrent: &Torrent<N>,
        own: usize,
        request: &AnnounceRequest,
        told: &mut impl Told,
    ) {
        // Leechers stand last.
        let first = if wants_leechers_only(request) { torrent.first_leecher() } else { 0 };
        let own = own.checked_sub(first);
        let others = torrent.len() - first - usize::from(own.is_some());
        for drawn in self.draw.draw(self.random, wanted(request), others) {
            let drawn = *drawn as usize;
            let skip_own = usize::from(own.is_some_and(|own| drawn >= own));
            told.peer(torrent, first + drawn + skip_own);
        }
    }
}

/// Where a peer that announces is listed already.
#[derive(Clone, Copy, Default)]
struct Standing {
    /// Where its address is.
    here: Option<usize>,
    /// With its own id and key.
    is_itself: bool,
    /// Where its id and key are, when they are at another address.
    elsewhere: Option<usize>,
}

impl Standing {
    fn of<const N: usize>(peer: &Peer<N>, torrent: &Torrent<N>, key: &HashKey) -> Standing {
        let here = torrent.find(key, &peer.address);
        let is_itself = here.is_some_and(|place| {
            let listed = torrent.peer(place);
            (listed.peer_id, listed.key) == (peer.peer_id, peer.key)
        });
        // Only a key proves it: ids are told to others.
        let has_moved = !is_itself && peer.key != [0; 4];
        let elsewhere = if has_moved { torrent.find_identity(peer) } else { None };
        Standing { here, is_itself, elsewhere }
    }
}
