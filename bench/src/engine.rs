//! Peers: threads with a ring each, their connections, one turn after another. What connections of
//! every kind do is in `pool`; what a kind does beyond it is a [`Mode`].

mod churn;
mod connection;
mod flood;
mod idle;
mod latency;
mod pool;
mod slow;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ringseed_meta::Instant;

use crate::announce;
use crate::clock::Stage;
use crate::context::Context;
use crate::fault::Fault;
use crate::limits::{CHURN_OPEN_MAX, RING_CONNECTIONS_MAX};
use crate::plan::{self, Kind, Seeder};
use crate::tally::Distinct;

use pool::Pool;
use worker::Worker;

/// Why a thread ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// The seeder said something that does not fit.
    #[error("connection {connection}, at byte {offset} of its stream: {fault}")]
    Fault { connection: u32, offset: u64, fault: Fault },
    /// The ring holds as many ops as it can. Threads are made so that this does not happen.
    #[error("the ring's op table is full at {0}: fewer connections, or more cores")]
    Full(String),
    /// The ring failed.
    #[error(transparent)]
    Kernel(#[from] ringseed_ring::KernelError),
    /// The ring could not be set up.
    #[error(transparent)]
    Start(#[from] ringseed_ring::StartError),
}

/// Whom the peers of a load talk to, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    pub(crate) seeder: Arc<Seeder>,
    /// The address of the first, and the step to the next one's.
    pub(crate) from: Option<(IpAddr, u32)>,
    /// Connections of the loads before it in the phase, which have the addresses before.
    pub(crate) addresses_before: u32,
    pub(crate) distinct: Arc<Distinct>,
}

/// The part of a load that one thread carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    /// This thread among so many.
    pub(crate) place: u32,
    pub(crate) places: u32,
    /// Connections of all of them.
    pub(crate) connections: u32,
}

impl Share {
    /// The numbers of this thread's connections: every so manieth.
    fn numbers(self) -> impl ExactSizeIterator<Item = u32> {
        (self.place..self.connections).step_by(self.places as usize)
    }
}

/// What a kind of load does with its connections.
trait Mode {
    /// Whether a connection is what the opening waits for.
    fn is_ready(&self, milestones: crate::leecher::Milestones) -> bool {
        milestones.unchoke.is_some()
    }

    /// Whether the time from a request to its piece says something of the seeder.
    fn records_answers(&self) -> bool {
        true
    }

    /// Whether answers that come after the counted time are waited for: their times are recorded, and
    /// they are no errors. As answers and bytes they do not count.
    fn waits_for_last_answers(&self) -> bool {
        false
    }

    /// How long bytes that have come may wait for others, so that all are read at once.
    fn patience(&self, _pool: &Pool) -> Duration {
        Duration::ZERO
    }

    /// The load is on: connections may ask.
    fn begin(&mut self, _pool: &mut Pool, _now: Instant) -> Result<(), EngineError> {
        Ok(())
    }

    /// What happens counts from now on.
    fn count(&mut self, _pool: &mut Pool) {}

    /// Does what is due; when something is due again.
    fn turn(
        &mut self,
        pool: &mut Pool,
        stage: Stage,
        now: Instant,
    ) -> Result<Option<Instant>, EngineError>;

    /// The load is on, and bytes came on this connection.
    fn after_bytes(&mut self, pool: &mut Pool, index: usize) -> Result<(), EngineError>;

    /// A connection failed, or the seeder ended it.
    fn lost(&mut self, _pool: &mut Pool, _index: usize, _now: Instant) {}

    /// A connection's place is free.
    fn gone(&mut self, _index: usize) {}

    /// The phase is over; connections are closed next.
    fn end(&mut self, _pool: &mut Pool, _now: Instant) {}
}

/// How many threads carry so many connections: one a place, more where a ring would hold too many,
/// none without a connection.
fn threads_for(connections: u32, places: u32) -> u32 {
    let each = connections.div_ceil(places).div_ceil(RING_CONNECTIONS_MAX).max(1);
    (each * places).min(connections.max(1))
}

/// Connections that a load holds at most, in all its threads: what descriptors are needed for.
pub(crate) fn connections_of(kind: &Kind, places: u32) -> u32 {
    match kind {
        Kind::Flood { connections, .. }
        | Kind::Latency { connections, .. }
        | Kind::Idle { connections }
        | Kind::Slow { connections, .. } => *connections,
        Kind::Churn { .. } => places * CHURN_OPEN_MAX,
        Kind::Announce(announces) => announce::connections_of(announces.transport, places),
        Kind::Abuse { .. } => 0,
    }
}

/// Starts the threads of a load of peers; `rate` is that of a latency load. Returns how many.
pub(crate) fn start(
    context: &Context,
    peers: &Peers,
    kind: &Kind,
    rate: f64,
) -> anyhow::Result<usize> {
    let place_count = context.places.len() as u32;
    let connections = connections_of(kind, place_count);
    let places = match kind {
        Kind::Churn { .. } => place_count,
        _ => threads_for(connections, place_count),
    };
    for place in 0..places {
        let share = Share { place, places, connections };
        let (peers, kind) = (peers.clone(), kind.clone());
        let at = context.places.get((place % place_count) as usize).cloned().unwrap_or_default();
        let name = format!("{}-{place}", mode_of(&kind));
        context.spawn(name, at, move |context| {
            run(context, &peers, &kind, share, rate).map_err(|error| error.to_string())
        })?;
    }
    Ok(places as usize)
}

/// The name of a kind in results.
pub(crate) fn mode_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Flood { verify: false, .. } => "flood",
        Kind::Flood { verify: true, .. } => "verify",
        Kind::Latency { .. } => "latency",
        Kind::Churn { .. } => "churn",
        Kind::Idle { .. } => "idle",
        Kind::Slow { .. } => "slow",
        Kind::Announce(_) => "announce",
        Kind::Abuse { .. } => "abuse",
    }
}

fn run(
    context: &Context,
    peers: &Peers,
    kind: &Kind,
    share: Share,
    rate: f64,
) -> Result<(), EngineError> {
    let pool = |carried| Pool::new(context.clone(), peers.clone(), share, carried);
    let carried = share.numbers().len() as u32;
    match kind {
        Kind::Flood { depth, order, verify, .. } => {
            let mut pool = pool(carried)?;
            let form = flood::Form { depth: *depth, order: *order, verify: *verify };
            flood::prepare(&mut pool, *depth, share);
            share.numbers().for_each(|number| pool.add(number, form.leecher(peers, share, number)));
            Worker::new(pool, flood::Flood::new(*depth)).run()
        }
        Kind::Latency { order, .. } => {
            let mut pool = pool(carried)?;
            for number in share.numbers() {
                pool.add(number, latency::leecher(peers, share, number, *order));
            }
            Worker::new(pool, latency::Latency::new(rate, share)).run()
        }
        Kind::Idle { .. } => {
            let mut pool = pool(carried)?;
            for number in share.numbers() {
                pool.add(number, idle::leecher(peers, share, number));
            }
            Worker::new(pool, idle::Idle::new()).run()
        }
        Kind::Slow { depth, bytes_per_s, .. } => {
            let mut pool = pool(carried)?;
            let form = flood::Form {
                depth: *depth,
                order: crate::order::Order::Sequential,
                verify: false,
            };
            share.numbers().for_each(|number| pool.add(number, form.leecher(peers, share, number)));
            Worker::new(pool, slow::Slow::new(*bytes_per_s)).run()
        }
        Kind::Churn { rate, blocks } => {
            let pool = pool(CHURN_OPEN_MAX)?;
            Worker::new(pool, churn::Churn::new(peers.clone(), *rate, *blocks, share)).run()
        }
        Kind::Announce(_) | Kind::Abuse { .. } => Ok(()),
    }
}

/// The address of connection `number`.
fn address_of(from: Option<(IpAddr, u32)>, number: u32) -> Option<SocketAddr> {
    from.map(|from| SocketAddr::new(plan::source(from, number), 0))
}

/// The last microsecond before a time.
fn last_before(time: Instant) -> Instant {
    Instant::from_us(time.as_us().saturating_sub(1))
}

/// From now until then; at most `most`.
fn wait_until(then: Option<Instant>, now: Instant, most: Duration) -> Duration {
    then.map_or(most, |then| then.since(now).min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_beyond_what_a_ring_holds_get_further_threads_on_the_same_places() {
        let cases = [
            ((1, 1), 1),
            ((100, 2), 2),
            ((1, 2), 1),
            ((10_000, 1), 1),
            ((12_000, 1), 2),
            ((20_000, 2), 2),
            ((20_001, 2), 4),
        ];
        for ((connections, places), threads) in cases {
            assert_eq!(threads_for(connections, places), threads, "{connections} on {places}");
            let shares = (0..threads).map(|place| Share { place, places: threads, connections });
            let carried: Vec<_> = shares.map(|share| share.numbers().len() as u32).collect();
            assert_eq!(carried.iter().sum::<u32>(), connections);
            assert!(carried.iter().all(|carried| *carried <= RING_CONNECTIONS_MAX));
        }
    }

    #[test]
    fn addresses_count_up_from_the_first() {
        let first: IpAddr = "127.0.1.255".parse().unwrap();
        let address = address_of(Some((first, 2)), 3).unwrap();
        assert_eq!(address.to_string(), "127.0.2.5:0");
        assert_eq!(address_of(Some((first, 0)), 3).unwrap().ip(), first);
        assert_eq!(address_of(None, 3), None);
    }
}
