//! Who is in each swarm, and whom to hand out. Pure: time, randomness and addresses are arguments.
//!
//! IPv4 and IPv6 are two worlds: a peer is told peers and counts of the family that it announced
//! from, since those are the ones it reaches, and a host with both announces on both (BEP 7).
//! A peer is known by (address, port) there; its id and key only decide who may make it leave.

mod family;
mod torrent;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringseed_meta::{InfoHash, Instant};
use ringseed_wire::tracker::{AnnounceEvent, AnnounceRequest, ScrapeStats};
use ringseed_wire::tracker_http::PeerEntry;
use siphasher::sip::SipHasher13;

use crate::limits;
use crate::random::{Random, draw};
use family::Family;
use torrent::{Peer, Role, Tick};

/// The announce was not taken: another torrent would be one more than [`Bounds::torrents_max`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this tracker is full: it holds {torrents} torrents and takes no other")]
pub struct Full {
    /// Torrents it holds.
    pub torrents: usize,
}

/// How much the swarms may hold, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Torrents of each address family.
    pub torrents_max: usize,
    /// Peers of one torrent and family. Further ones are told peers and are not listed themselves.
    pub torrent_peers_max: usize,
    /// Peers of one family in all; as above.
    pub peers_max: usize,
    /// A peer that was not heard of for so long is gone. At most [`limits::SILENT_MAX`].
    pub silent_max: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            torrents_max: limits::TORRENTS_MAX,
            torrent_peers_max: limits::TORRENT_PEERS_MAX,
            peers_max: limits::PEERS_MAX,
            silent_max: limits::SILENT_MAX,
        }
    }
}

/// The key of the tables, secret and random in production, so that nobody can choose addresses
/// and infohashes that fall together.
struct HashKey(SipHasher13);

impl HashKey {
    fn of_info_hash(&self, info_hash: &InfoHash) -> u64 {
        self.0.hash(&info_hash.0)
    }

    fn of_endpoint(&self, ip: &[u8], port: u16) -> u64 {
        let mut endpoint = [0; 18];
        let (to_ip, to_port) = endpoint.split_at_mut(16);
        to_ip.iter_mut().zip(ip).for_each(|(to, from)| *to = *from);
        to_port.copy_from_slice(&port.to_be_bytes());
        self.0.hash(&endpoint)
    }
}

/// Every swarm this tracker knows.
pub struct Swarms {
    bounds: Bounds,
    key: HashKey,
    random: Random,
    ipv4: Family<4>,
    ipv6: Family<16>,
    next_round: Instant,
    round: Expiry,
    /// Peers that were told others but not listed, because a bound was reached.
    unlisted: u64,
    scratch: Scratch,
}

/// Whether a round of expiry is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expiry {
    Resting,
    UnderWay,
}

#[derive(Default)]
struct Scratch {
    sorted: Vec<u32>,
    drawn: Vec<u32>,
}

impl Swarms {
    /// No swarm yet. `key` keeps the tables safe from chosen addresses, `random` chooses peers.
    pub fn new(bounds: Bounds, key: &[u8; 16], random: Random) -> Swarms {
        Swarms {
            bounds,
            key: HashKey(SipHasher13::new_with_key(key)),
            random,
            ipv4: Family::default(),
            ipv6: Family::default(),
            next_round: Instant::ZERO,
            round: Expiry::Resting,
            unlisted: 0,
            scratch: Scratch::default(),
        }
    }

    /// Takes in an announce that came from `from` (what it says of its address itself is not
    /// believed: it could name a victim's), and fills `handed_out` with other peers of the swarm,
    /// chosen at random: leechers only for a seed that has moved bytes, none for one that stops.
    ///
    /// # Errors
    /// [`Full`] when the torrent is new and there is no room for it; nothing has changed then.
    pub fn announce(
        &mut self,
        now: Instant,
        from: IpAddr,
        request: &AnnounceRequest,
        handed_out: &mut Vec<PeerEntry>,
    ) -> Result<ScrapeStats, Full> {
        handed_out.clear();
        let tick = Tick::at(now);
        let room = Room { bounds: &self.bounds, key: &self.key, unlisted: &mut self.unlisted };
        match from.to_canonical() {
            IpAddr::V4(ip) => {
                let stood =
                    room.take(&mut self.ipv4, request, listed(request, ip.octets(), tick))?;
                stood.hand_out(&self.ipv4, &mut self.random, &mut self.scratch, handed_out);
            }
            IpAddr::V6(ip) => {
                let stood =
                    room.take(&mut self.ipv6, request, listed(request, ip.octets(), tick))?;
                stood.hand_out(&self.ipv6, &mut self.random, &mut self.scratch, handed_out);
            }
        }
        Ok(self.scrape(from, &request.info_hash))
    }

    /// How many peers of the asker's address family are in a swarm (BEP 48); zeros for one that
    /// nobody is in.
    pub fn scrape(&self, asker: IpAddr, info_hash: &InfoHash) -> ScrapeStats {
        match asker.to_canonical() {
            IpAddr::V4(_) => self.ipv4.counts(&self.key, info_hash),
            IpAddr::V6(_) => self.ipv6.counts(&self.key, info_hash),
        }
    }

    /// Removes peers that were silent for too long, a bounded number of them at a time.
    /// Call it again at [`Swarms::deadline`].
    pub fn expire(&mut self, now: Instant) {
        if now < self.deadline() {
            return;
        }
        if self.round == Expiry::Resting {
            self.ipv4.begin_round();
            self.ipv6.begin_round();
            self.round = Expiry::UnderWay;
            self.next_round = now.after(limits::EXPIRY_ROUND);
        }
        let silent = self.bounds.silent_max.min(limits::SILENT_MAX).as_secs();
        let silent_max = (silent / u64::from(limits::TICK_S)) as u16;
        let (tick, mut left) = (Tick::at(now), limits::EXPIRY_PEERS_PER_TURN);
        let over = self.ipv4.expire(&self.key, tick, silent_max, &mut left)
            && self.ipv6.expire(&self.key, tick, silent_max, &mut left);
        if over {
            self.round = Expiry::Resting;
        }
    }

    /// When [`Swarms::expire`] next has something to do.
    pub fn deadline(&self) -> Instant {
        match self.round {
            Expiry::Resting => self.next_round,
            Expiry::UnderWay => Instant::ZERO,
        }
    }

    /// Torrents that have peers; one with peers of both families counts twice.
    pub fn torrents(&self) -> usize {
        self.ipv4.torrents() + self.ipv6.torrents()
    }

    /// Peers of all torrents.
    pub fn peers(&self) -> usize {
        self.ipv4.peers() + self.ipv6.peers()
    }

    /// Announces whose peer was not listed because a bound was reached.
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Panics when the tables disagree.
    #[cfg(test)]
    fn check(&self) {
        self.ipv4.check(&self.key);
        self.ipv6.check(&self.key);
    }
}

fn role(request: &AnnounceRequest) -> Role {
    if request.left == 0 { Role::Seed } else { Role::Leecher }
}

/// As what a peer is told others. Who has only a magnet link does not know how much is left, and
/// some clients (aria2) then say 0. So a peer that has moved no byte yet is told seeds as well, or
/// it would never find one; for a real seed the answer is a few bytes longer until it has sent some.
fn told_as(request: &AnnounceRequest) -> Role {
    let has_moved = request.uploaded > 0 || request.downloaded > 0;
    if has_moved { role(request) } else { Role::Leecher }
}

/// How a peer is listed. One that has no key is one whose key is 0.
fn listed<const IP_BYTES: usize>(
    request: &AnnounceRequest,
    ip: [u8; IP_BYTES],
    seen: Tick,
) -> Peer<IP_BYTES> {
    let key = request.key.unwrap_or(0).to_be_bytes();
    Peer { ip, port: request.port, seen, key, peer_id: request.peer_id }
}

fn wanted(request: &AnnounceRequest) -> usize {
    let wanted = request.numwant.map_or(limits::HANDED_OUT_DEFAULT, |wanted| wanted as usize);
    wanted.min(limits::HANDED_OUT_MAX)
}

/// What taking an announce in needs besides the family.
struct Room<'a> {
    bounds: &'a Bounds,
    key: &'a HashKey,
    unlisted: &'a mut u64,
}

/// Where the announcing peer stands afterwards, and what it is to be told.
struct Stood {
    torrent: Option<usize>,
    place: Option<usize>,
    told_as: Role,
    wanted: usize,
}

impl Room<'_> {
    fn take<const IP_BYTES: usize>(
        self,
        family: &mut Family<IP_BYTES>,
        request: &AnnounceRequest,
        peer: Peer<IP_BYTES>,
    ) -> Result<Stood, Full> {
        let (role, told_as) = (role(request), told_as(request));
        let torrent = family.find(self.key, &request.info_hash);
        let known = torrent.and_then(|at| family.torrent(at).find(self.key, &peer.ip, peer.port));
        if request.event == AnnounceEvent::Stopped {
            if let (Some(at), Some(place)) = (torrent, known) {
                self.remove(family, at, place, &peer);
            }
            return Ok(Stood { torrent: None, place: None, told_as, wanted: 0 });
        }
        let wanted = wanted(request);
        if known.is_none() && !self.has_room_for_peer(family, torrent) {
            *self.unlisted += 1;
            return Ok(Stood { torrent, place: None, told_as, wanted });
        }
        let at = match torrent {
            Some(at) => at,
            None if family.torrents() < self.bounds.torrents_max => {
                family.insert(self.key, request.info_hash)
            }
            None => return Err(Full { torrents: family.torrents() }),
        };
        let place = family.change(self.key, at, |torrent| {
            let was_seed = known.is_some_and(|place| torrent.role(place) == Role::Seed);
            if request.event == AnnounceEvent::Completed && role == Role::Seed && !was_seed {
                torrent.completed = torrent.completed.saturating_add(1);
            }
            match known {
                Some(place) => torrent.update(self.key, place, peer, role),
                None => torrent.insert(self.key, peer, role),
            }
        });
        Ok(Stood { torrent: Some(at), place: Some(place), told_as, wanted })
    }

    /// A `stopped` counts only when it names the id and key that are listed: a client that came
    /// back at the same address is not removed by the late goodbye of the one before, and a
    /// neighbour behind the same address cannot make it leave.
    fn remove<const IP_BYTES: usize>(
        &self,
        family: &mut Family<IP_BYTES>,
        at: usize,
        place: usize,
        peer: &Peer<IP_BYTES>,
    ) {
        let listed = family.torrent(at).peer(place);
        if listed.is_some_and(|known| known.peer_id == peer.peer_id && known.key == peer.key) {
            family.change(self.key, at, |torrent| torrent.remove(self.key, place));
        }
    }

    fn has_room_for_peer<const IP_BYTES: usize>(
        &self,
        family: &Family<IP_BYTES>,
        torrent: Option<usize>,
    ) -> bool {
        let in_torrent = torrent.map_or(0, |at| family.torrent(at).len());
        in_torrent < self.bounds.torrent_peers_max && family.peers() < self.bounds.peers_max
    }
}

impl Stood {
    fn hand_out<const IP_BYTES: usize>(
        &self,
        family: &Family<IP_BYTES>,
        random: &mut Random,
        scratch: &mut Scratch,
        handed_out: &mut Vec<PeerEntry>,
    ) where
        [u8; IP_BYTES]: Into<IpAddr>,
    {
        let Some(torrent) = self.torrent.map(|at| family.torrent(at)) else { return };
        // Seeds stand first: a seed is shown what stands after them.
        let first = if self.told_as == Role::Seed { torrent.seeders() } else { 0 };
        let own = self.place.filter(|place| *place >= first).map(|place| place - first);
        let others = torrent.len() - first - usize::from(own.is_some());
        draw(random, self.wanted, others, &mut scratch.sorted, &mut scratch.drawn);
        handed_out.extend(scratch.drawn.iter().filter_map(|drawn| {
            let drawn = *drawn as usize;
            let skip_own = usize::from(own.is_some_and(|own| drawn >= own));
            let peer = torrent.peer(first + drawn + skip_own)?;
            let address = SocketAddr::new(peer.ip.into(), peer.port);
            Some(PeerEntry { address, peer_id: Some(peer.peer_id) })
        }));
    }
}
