//! The swarms against lists in which everything is looked at every time.

use std::collections::BTreeMap;

use super::*;
use crate::swarm::sizes::use_small_ones;

/// Bounds that most runs meet.
const TIGHT: Bounds = Bounds { torrents_max: 4, torrent_peers_max: 60, peers_max: 90, ..BOUNDS };

#[derive(Default)]
struct Model {
    torrents: BTreeMap<InfoHash, Swarm>,
}

#[derive(Default)]
struct Swarm {
    peers: Vec<Listed>,
    completed: u32,
    /// When a peer that stays announced last.
    heard: Option<Instant>,
}

struct Listed {
    announce: Announce,
    seen: Instant,
    /// It has told that it finished.
    finished: bool,
}

impl Listed {
    fn role(&self) -> Role {
        role(&self.announce.request)
    }

    fn is_the_same_as(&self, told: &Announce) -> bool {
        let identity =
            |announce: &Announce| (announce.request.peer_id, announce.request.key.unwrap_or(0));
        identity(&self.announce) == identity(told)
    }
}

impl Swarm {
    /// The place of the peer that announces: its address, or else its id and key.
    fn find(&self, told: &Announce) -> Option<usize> {
        let at = |peer: &Listed| peer.announce.address() == told.address();
        let here = self.peers.iter().position(at);
        let has_key = told.request.key.is_some_and(|key| key != 0);
        here.or_else(|| self.peers.iter().position(|peer| has_key && peer.is_the_same_as(told)))
    }
}

impl Model {
    fn peers(&self) -> usize {
        self.torrents.values().map(|torrent| torrent.peers.len()).sum()
    }

    /// What the swarms may have dropped to make room, they have: of torrents those that nobody was
    /// heard of in for the longest, to a minute, of a swarm any.
    fn displace(&mut self, swarms: &Swarms, told: &Announce) {
        let info_hash = told.request.info_hash;
        let own = self.torrents.get(&info_hash);
        if own.is_some_and(|torrent| torrent.find(told).is_some())
            || told.request.event == AnnounceEvent::Stopped
        {
            return;
        }
        let own_peers = own.map_or(0, |torrent| torrent.peers.len());
        let gone: Vec<InfoHash> = self
            .torrents
            .keys()
            .filter(|other| {
                **other != info_hash && swarms.scrape(told.ip, other) == counts(0, 0, 0)
            })
            .copied()
            .collect();
        let is_full = own.is_none() && self.torrents.len() == TIGHT.torrents_max;
        let is_crowded = self.peers() >= TIGHT.peers_max && own_peers < TIGHT.torrent_peers_max;
        let most = if is_crowded { gone.len() } else { usize::from(is_full) };
        assert!(gone.len() <= most, "dropped without need");
        let dropped = gone.iter().filter_map(|gone| self.torrents.remove(gone));
        let newest_dropped = dropped.filter_map(|torrent| torrent.heard).max();
        let others = self.torrents.iter().filter(|(other, _)| **other != info_hash);
        let oldest_kept = others.filter_map(|(_, torrent)| torrent.heard).min();
        if let Some((dropped, kept)) = newest_dropped.zip(oldest_kept) {
            // Ticks of 4 s round the minute up.
            assert!(dropped < kept.after(Duration::from_secs(64)), "not the oldest was dropped");
        }
        // Whom of its own swarm they dropped is not told: those that are not there any more.
        let (full, all) = (own_peers >= TIGHT.torrent_peers_max, self.peers() >= TIGHT.peers_max);
        if (full || all)
            && let Some(own) = self.torrents.get_mut(&info_hash)
        {
            let listed = swarms.listed(&info_hash);
            let before = own.peers.len();
            own.peers.retain(|peer| listed.contains(&peer.announce.address()));
            assert_eq!(own.peers.len() + 1, before, "one makes room for one");
        }
    }

    fn announce(&mut self, now: Instant, told: &Announce) {
        let torrent = self.torrents.entry(told.request.info_hash).or_default();
        let has_key = told.request.key.is_some_and(|key| key != 0);
        if told.request.event == AnnounceEvent::Stopped {
            // Whoever else is at its address stays.
            torrent.peers.retain(|peer| {
                let is_here = peer.announce.address() == told.address();
                !peer.is_the_same_as(told) || !(is_here || has_key)
            });
        } else {
            let before = torrent.find(told).map(|place| torrent.peers.remove(place));
            // Nobody is listed twice who can be told by a key.
            torrent.peers.retain(|peer| !has_key || !peer.is_the_same_as(told));
            let was_seed = before.as_ref().is_some_and(|peer| peer.role() == Role::Seed);
            let had_finished = before.is_some_and(|peer| peer.finished);
            let finishes =
                told.request.event == AnnounceEvent::Completed && told.request.left == SEED;
            torrent.completed += u32::from(finishes && !was_seed && !had_finished);
            torrent.heard = Some(now);
            let finished = finishes || had_finished;
            torrent.peers.push(Listed { announce: told.clone(), seen: now, finished });
        }
        self.torrents.retain(|_, torrent| !torrent.peers.is_empty());
    }

    fn others(&self, told: &Announce) -> Vec<SocketAddr> {
        if told.request.event == AnnounceEvent::Stopped {
            return vec![];
        }
        let has_moved = told.request.uploaded + told.request.downloaded > 0;
        let wants_all = !has_moved || role(&told.request) == Role::Leecher;
        let torrent = self.torrents.get(&told.request.info_hash);
        let peers = torrent.into_iter().flat_map(|torrent| &torrent.peers);
        peers
            .filter(|peer| peer.announce.address() != told.address())
            .filter(|peer| wants_all || peer.role() == Role::Leecher)
            .map(|peer| peer.announce.address())
            .collect()
    }

    fn expire(&mut self, now: Instant) {
        let ticks = |now: Instant| now.as_us() / 4_000_000;
        for torrent in self.torrents.values_mut() {
            torrent.peers.retain(|peer| ticks(now) - ticks(peer.seen) <= 150);
        }
        self.torrents.retain(|_, torrent| !torrent.peers.is_empty());
    }

    fn counts(&self, info_hash: &InfoHash) -> ScrapeStats {
        let Some(torrent) = self.torrents.get(info_hash) else { return counts(0, 0, 0) };
        let of = |role| torrent.peers.iter().filter(|peer| peer.role() == role).count() as u32;
        let partial_seeds = of(Role::PartialSeed);
        let leechers = of(Role::Leecher) + partial_seeds;
        ScrapeStats { partial_seeds, ..counts(of(Role::Seed), leechers, torrent.completed) }
    }
}

fn any_announce() -> impl Strategy<Value = Announce> {
    let event = prop_oneof![
        3 => Just(AnnounceEvent::None),
        3 => Just(AnnounceEvent::Started),
        1 => Just(AnnounceEvent::Completed),
        1 => Just(AnnounceEvent::Paused),
        1 => Just(AnnounceEvent::Stopped)
    ];
    let left = prop_oneof![Just(SEED), Just(LEECHER)];
    let who = (0..40u8, 1..100u16, 0..2u8, proptest::option::of(0..3u32));
    (who, event, left, proptest::option::of(0..80u32)).prop_map(
        |((torrent, port, id, key), event, left, numwant)| {
            // Most in one torrent, so that it crosses the size from which there is an index.
            let torrent = torrent.saturating_sub(35);
            announce(torrent, &format!("192.0.2.1:{port}"), left).but(|request| {
                // Without a key most of them are others at other ports.
                request.peer_id = PeerId([id; 20]);
                request.key = key.map(|key| key * u32::from(port / 4));
                (request.event, request.numwant) = (event, numwant);
            })
        },
    )
}

proptest! {
    #[test]
    fn the_swarms_do_what_lists_do(
        steps in proptest::collection::vec((any_announce(), 0..20u64), 1..400),
        pace in prop_oneof![Just(10u64), Just(100)],
        small in any::<bool>(),
    ) {
        use_small_ones(small);
        let mut swarms = swarms(TIGHT);
        let mut model = Model::default();
        let (mut handed_out, mut packed) = (Vec::new(), Vec::new());
        let mut now = 0;
        for (told, pause) in steps {
            now += pause * pause / pace;
            if swarms.deadline() <= at(now) {
                swarms.expire(at(now));
                model.expire(at(now));
            }
            let stats = match now % 2 {
                0 => swarms.announce(at(now), told.ip, &told.request, &mut handed_out),
                _ => {
                    let hint = swarms.look_up(told.ip, &told.request.info_hash);
                    packed.clear();
                    swarms.announce_packed(at(now), told.ip, &told.request, hint, &mut packed)
                }
            };
            swarms.check();
            model.displace(&swarms, &told);
            model.announce(at(now), &told);
            prop_assert_eq!(stats, model.counts(&told.request.info_hash));
            prop_assert_eq!(swarms.peers(), model.peers());
            prop_assert_eq!(swarms.torrents(), model.torrents.len());
            let others = model.others(&told);
            let mut seen: Vec<SocketAddr> = match now % 2 {
                0 => handed_out.iter().map(|peer| peer.address).collect(),
                _ => packed.chunks(6).map(unpack).collect(),
            };
            prop_assert_eq!(seen.len(), others.len().min(wanted(&told.request)));
            prop_assert!(seen.iter().all(|peer| others.contains(peer)));
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), others.len().min(wanted(&told.request)));
        }
    }
}
