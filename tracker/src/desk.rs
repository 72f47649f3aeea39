//! What both protocols announce and scrape at: the swarms, the rules for clients, the keys, and
//! what is counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ringseed_meta::{InfoHash, Instant};
use ringseed_users::UserId;
use ringseed_wire::tracker::{AnnounceRequest, ScrapeStats, compact};
use ringseed_wire::tracker_http::{PeerEntry, Retry};
use ringseed_wire::tracker_udp;

use crate::access::{Private, Published, Reader, Stranger, Unserved};
use crate::connection_id::ConnectionIds;
use crate::figures::{ByProtocol, Figures};
use crate::http::Proxies;
use crate::limits;
use crate::load::Load;
use crate::random::Random;
use crate::snapshot::Tally;
use crate::swarm::{Bounds, Hint, Swarms};

/// What clients are told, and how much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Time after which a client is asked to announce again (BEP 3 "interval").
    pub interval: Duration,
    /// Time that a client is asked to wait in any case ("min interval").
    pub min_interval: Duration,
    /// Torrents and peers that are kept. [`Rules::default`] keeps a silent peer for two
    /// intervals and a bit: one announce may be lost.
    pub bounds: Bounds,
    /// HTTP connections at a time; from half of them on, none is kept for another request.
    pub connections_max: usize,
    /// Bytes of requests and answers that wait in all HTTP connections, beyond which those that hold
    /// more than [`limits::HTTP_BYTES_SHARE`] are closed on.
    pub http_bytes_max: usize,
    /// The lowest TCP port that a peer may announce.
    pub port_min: u16,
    /// Who is shown figures over HTTP.
    pub pages: Audience,
    /// Who is believed when it says whom a request comes from.
    pub proxies: Proxies,
    /// The parameter `ip` of an announce is believed where one of them named nobody. All of them must
    /// write it, over what their clients wrote.
    pub ip_from_proxies: bool,
}

/// Who is shown `/`, `/metrics` and `/stats`. They name no torrent and no peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Audience {
    /// Whoever asks.
    #[default]
    All,
    /// Who asks from this host, as a monitoring agent does.
    Local,
    /// Nobody.
    None,
}

impl Audience {
    pub(crate) fn includes(self, ip: IpAddr) -> bool {
        match self {
            Audience::All => true,
            Audience::Local => ip.to_canonical().is_loopback(),
            Audience::None => false,
        }
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::every(Duration::from_secs(30 * 60), Duration::from_secs(5 * 60))
    }
}

/// Why rules are not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RulesError {
    /// The interval is too short or too long.
    #[error("interval {interval:?}: from {min:?} to {max:?} are allowed",
        min = limits::INTERVAL_MIN, max = limits::INTERVAL_MAX)]
    Interval {
        /// As given.
        interval: Duration,
    },
    /// The min interval is longer than the interval.
    #[error("min interval {min_interval:?} is longer than the interval, {interval:?}")]
    MinInterval {
        /// As given.
        min_interval: Duration,
        /// As given.
        interval: Duration,
    },
    /// More connections than the ring has room for.
    #[error("connections-max {0}: {most} at most fit into the ring; set it lower, and announce over UDP",
        most = limits::CONNECTIONS_CEILING)]
    Connections(usize),
    /// Nothing could be kept, or nobody served.
    #[error("{0} is 0: at least 1 is needed")]
    Nothing(&'static str),
}

impl Rules {
    /// Rules with the default bounds, and silence allowed in proportion to the interval.
    pub fn every(interval: Duration, min_interval: Duration) -> Rules {
        let silent_max = interval
            .saturating_mul(2)
            .saturating_add(limits::SILENT_MARGIN)
            .min(limits::SILENT_MAX);
        let bounds = Bounds { silent_max, ..Bounds::default() };
        Rules {
            interval,
            min_interval,
            bounds,
            connections_max: limits::CONNECTIONS_MAX,
            http_bytes_max: limits::HTTP_BYTES_MAX,
            port_min: limits::PORT_MIN,
            pages: Audience::All,
            proxies: Proxies::default(),
            ip_from_proxies: false,
        }
    }

    /// As it is written on the wire.
    pub(crate) fn interval_s(&self) -> u32 {
        u32::try_from(self.interval.as_secs()).unwrap_or(u32::MAX)
    }

    /// As it is written on the wire.
    pub(crate) fn min_interval_s(&self) -> u32 {
        u32::try_from(self.min_interval.as_secs()).unwrap_or(u32::MAX)
    }

    /// Whether a server takes them.
    ///
    /// # Errors
    /// The first rule that contradicts another or a limit.
    pub fn check(&self) -> Result<(), RulesError> {
        let Rules { interval, min_interval, bounds, connections_max, .. } = *self;
        let numbers = [
            ("torrents-max", bounds.torrents_max),
            ("torrent-peers-max", bounds.torrent_peers_max),
            ("peers-max", bounds.peers_max),
            ("connections-max", connections_max),
        ];
        if let Some((name, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
            return Err(RulesError::Nothing(name));
        }
        if connections_max > limits::CONNECTIONS_CEILING {
            return Err(RulesError::Connections(connections_max));
        }
        if !(limits::INTERVAL_MIN..=limits::INTERVAL_MAX).contains(&interval) {
            return Err(RulesError::Interval { interval });
        }
        if min_interval > interval {
            return Err(RulesError::MinInterval { min_interval, interval });
        }
        Ok(())
    }
}

/// Why an announce is not taken in. Its text is for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("port {port} is reserved for system services: listen on one from {port_min} on")]
    ReservedPort { port: u16, port_min: u16 },
    #[error("this tracker does not serve this torrent")]
    Unserved(Unserved),
    #[error(transparent)]
    Stranger(#[from] Stranger),
}

impl Refused {
    /// When it makes sense to ask again (BEP 31).
    pub(crate) fn retry(self) -> Retry {
        match self {
            // The same client announces the same port until somebody changes it.
            Refused::ReservedPort { .. }
            | Refused::Unserved(Unserved::Denied)
            | Refused::Stranger(Stranger::NoPasskey | Stranger::Revoked | Stranger::UdpScrape) => {
                Retry::Never
            }
            Refused::Stranger(Stranger::Unknown) => {
                Retry::InMinutes(limits::UNKNOWN_PASSKEY_RETRY_MIN)
            }
            Refused::Unserved(Unserved::NotAllowed) => {
                Retry::InMinutes(limits::NOT_ALLOWED_RETRY_MIN)
            }
        }
    }
}

/// Random numbers that a tracker starts from. Fixed ones make a run repeatable; only a test may.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Keys the tables.
    pub tables: [u8; 16],
    /// Keys the connection ids.
    pub connection_ids: [u8; 16],
    /// Gives the next key of the connection ids, without waiting; `None`: there is none.
    pub fresh_key: fn() -> Option<[u8; 16]>,
    /// Chooses peers.
    pub random: u64,
}

impl Secrets {
    /// From getrandom(2).
    ///
    /// # Errors
    /// The system gave none.
    pub fn new() -> Result<Secrets, getrandom::Error> {
        let (mut tables, mut connection_ids) = ([0; 16], [0; 16]);
        getrandom::fill(&mut tables)?;
        getrandom::fill(&mut connection_ids)?;
        Ok(Secrets { tables, connection_ids, fresh_key, random: getrandom::u64()? })
    }
}

/// From getrandom(2), which does not wait once it has given some.
fn fresh_key() -> Option<[u8; 16]> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).ok().map(|()| key)
}

/// What happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counters {
    /// Over both protocols.
    pub(crate) announces: u64,
    /// Torrents asked after, over both protocols.
    pub(crate) scrapes: u64,
    pub(crate) http_announces: u64,
    pub(crate) http_scrapes: u64,
    pub(crate) accepted_connections: u64,
    /// Connections closed because a deadline has passed.
    pub(crate) overdue_connections: u64,
    /// Connections closed because all together held too much.
    pub(crate) overfull_connections: u64,
    /// Announces of torrents that a list does not let be served.
    pub(crate) unserved_announces: u64,
    /// Announces and scrapes without the passkey of a user, where one is needed.
    pub(crate) strangers: u64,
    /// Requests that were not understood or not allowed.
    pub(crate) refused_requests: u64,
    /// Connections over the bound, or over the share of their host in a crowded tracker.
    pub(crate) refused_connections: u64,
    /// Datagrams without a good connection id, or not of BEP 15: not answered.
    pub(crate) dropped_datagrams: u64,
    /// Answers that no socket had room for.
    pub(crate) lost_datagrams: u64,
}

/// The one place where announces are taken in.
pub(crate) struct Desk {
    pub(crate) swarms: Swarms,
    pub(crate) rules: Rules,
    access: Reader,
    /// `None`: everybody may announce.
    private: Option<Private>,
    pub(crate) ids: ConnectionIds,
    /// Where they have their next key from.
    pub(crate) fresh_key: fn() -> Option<[u8; 16]>,
    pub(crate) counters: Counters,
    pub(crate) load: Load,
    /// Peers of the answer that is being written.
    pub(crate) handed_out: Vec<PeerEntry>,
    /// The same, packed.
    packed: Vec<u8>,
    /// The body of the HTTP answer that is being written.
    pub(crate) body: Vec<u8>,
    /// HTTP connections that are open.
    pub(crate) connections: usize,
    /// Bytes of requests and answers that wait in them.
    pub(crate) http_bytes: usize,
    /// Those of its thread.
    pub(crate) snapshots: Arc<Tally>,
    /// The first turn.
    since: Option<Instant>,
}

impl Desk {
    pub(crate) fn new(rules: Rules, access: &Published, secrets: &Secrets) -> Desk {
        Desk {
            swarms: Desk::swarms(rules, secrets),
            rules,
            access: access.reader(),
            private: access.private(&secrets.tables, &rules.bounds),
            ids: ConnectionIds::new(&secrets.connection_ids),
            fresh_key: secrets.fresh_key,
            counters: Counters::default(),
            load: Load::default(),
            handed_out: Vec::new(),
            packed: Vec::new(),
            body: Vec::new(),
            connections: 0,
            http_bytes: 0,
            snapshots: Arc::default(),
            since: None,
        }
    }

    /// Swarms without a peer.
    pub(crate) fn swarms(rules: Rules, secrets: &Secrets) -> Swarms {
        Swarms::new(rules.bounds, &secrets.tables, Random::new(secrets.random))
    }

    /// Seconds after which a client is asked to announce again.
    pub(crate) fn interval_s(&self) -> u32 {
        self.load.stretch(self.rules.interval_s())
    }

    /// Only users may announce and scrape.
    pub(crate) fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Whose request it is, by the passkey of its path; `None` where everybody may ask.
    ///
    /// # Errors
    /// It is nobody's who may.
    pub(crate) fn user(&mut self, passkey: Option<&str>) -> Result<Option<UserId>, Refused> {
        let user = self.private.as_mut().map(|private| private.find(passkey)).transpose();
        self.known(user)
    }

    /// The same for an announce over UDP (BEP 41).
    ///
    /// # Errors
    /// As [`Desk::user`].
    pub(crate) fn user_of_url(
        &mut self,
        options: tracker_udp::Options<'_>,
    ) -> Result<Option<UserId>, Refused> {
        let user = self.private.as_mut().map(|private| private.find_in_url(options)).transpose();
        self.known(user)
    }

    /// A scrape over UDP has no room for a passkey.
    ///
    /// # Errors
    /// Only users may scrape.
    pub(crate) fn may_scrape_udp(&mut self) -> Result<(), Refused> {
        let may = if self.is_private() { Err(Stranger::UdpScrape) } else { Ok(None) };
        self.known(may).map(|_| ())
    }

    fn known(&mut self, user: Result<Option<UserId>, Stranger>) -> Result<Option<UserId>, Refused> {
        self.counters.strangers += u64::from(user.is_err());
        Ok(user?)
    }

    /// Takes note of what the announce of a user that was taken in says of bytes.
    fn count(&mut self, now: Instant, user: Option<UserId>, request: &AnnounceRequest) {
        if let (Some(private), Some(user)) = (&mut self.private, user) {
            private.count(now, user, request);
        }
    }

    /// When [`Desk::turn`] next has something to do.
    pub(crate) fn deadline(&self) -> Instant {
        let moved = self.private.as_ref().and_then(Private::deadline);
        moved.map_or(self.swarms.deadline(), |moved| moved.min(self.swarms.deadline()))
    }

    /// Whether an announce may be taken in at all; counts it either way. Nothing of one that is
    /// refused comes to the swarms.
    ///
    /// # Errors
    /// What the client is told instead of peers.
    pub(crate) fn admit(&mut self, request: &AnnounceRequest) -> Result<(), Refused> {
        let (port, port_min) = (request.port, self.rules.port_min);
        if port < port_min {
            self.counters.refused_requests += 1;
            return Err(Refused::ReservedPort { port, port_min });
        }
        if let Err(unserved) = self.access.seen().admits(&request.info_hash) {
            self.counters.unserved_announces += 1;
            return Err(Refused::Unserved(unserved));
        }
        self.counters.announces += 1;
        Ok(())
    }

    /// Takes an announce in; the peers to be told are in `handed_out` then.
    ///
    /// # Errors
    /// As [`Desk::admit`].
    pub(crate) fn announce(
        &mut self,
        now: Instant,
        from: IpAddr,
        user: Option<UserId>,
        request: &AnnounceRequest,
    ) -> Result<ScrapeStats, Refused> {
        self.admit(request)?;
        self.count(now, user, request);
        Ok(self.swarms.announce(now, from, request, &mut self.handed_out))
    }

    /// As [`Desk::announce`], with the peers packed.
    ///
    /// # Errors
    /// As [`Desk::admit`].
    pub(crate) fn announce_packed(
        &mut self,
        now: Instant,
        from: IpAddr,
        user: Option<UserId>,
        request: &AnnounceRequest,
        hint: Hint,
    ) -> Result<(ScrapeStats, &[u8]), Refused> {
        self.admit(request)?;
        self.count(now, user, request);
        self.packed.clear();
        let stats = self.swarms.announce_packed(now, from, request, hint, &mut self.packed);
        Ok((stats, &self.packed))
    }

    pub(crate) fn scrape(&mut self, from: IpAddr, info_hash: &InfoHash) -> ScrapeStats {
        self.counters.scrapes += 1;
        if self.access.seen().admits(info_hash).is_err() {
            return ScrapeStats::default();
        }
        self.swarms.scrape(from, info_hash)
    }

    /// Takes note of the time, at each turn.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.swarms.expire(now);
        if let Some(private) = &mut self.private {
            private.turn(now);
        }
    }

    /// What is shown.
    pub(crate) fn figures(&mut self, now: Instant) -> Figures {
        let access = self.access.seen();
        let (listed_torrents, is_stale) = (access.torrents() as u64, access.is_stale);
        let users = self.private.as_mut().map_or(0, Private::users) as u64;
        let counters = &self.counters;
        let by_protocol = |all: u64, http: u64| ByProtocol { http, udp: all.saturating_sub(http) };
        Figures {
            uptime_seconds: now.since(self.since.unwrap_or(now)).as_secs(),
            torrents: self.swarms.torrents() as u64,
            peers: self.swarms.peers() as u64,
            displaced_peers: self.swarms.displaced(),
            announces: by_protocol(counters.announces, counters.http_announces),
            scraped_torrents: by_protocol(counters.scrapes, counters.http_scrapes),
            unserved_announces: counters.unserved_announces,
            listed_torrents,
            stale_list: u64::from(is_stale),
            users,
            strangers: counters.strangers,
            refused_requests: counters.refused_requests,
            connections: self.connections as u64,
            accepted_connections: counters.accepted_connections,
            refused_connections: counters.refused_connections,
            overdue_connections: counters.overdue_connections,
            overfull_connections: counters.overfull_connections,
            waiting_bytes: self.http_bytes as u64,
            dropped_datagrams: counters.dropped_datagrams,
            lost_datagrams: counters.lost_datagrams,
            snapshots: self.snapshots.written(),
            failed_snapshots: self.snapshots.failed(),
        }
    }

    /// Whether half of the connections are taken: then clients are not offered to keep theirs,
    /// and nobody is turned away who only comes to announce.
    pub(crate) fn is_crowded(&self) -> bool {
        self.connections > self.rules.connections_max / 2
    }

    /// The peers to be told, packed.
    pub(crate) fn pack_peers(&mut self) -> &[u8] {
        self.packed.clear();
        self.handed_out.iter().for_each(|peer| compact::push(&mut self.packed, peer.address));
        &self.packed
    }
}

#[cfg(test)]
mod tests;
