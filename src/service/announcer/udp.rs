//! Announces over UDP (BEP 15, BEP 41): one socket a family, connection ids kept for a minute and
//! asked for once by all who need one, retransmissions after 15 * 2^n seconds.

use super::http::{no_address, no_way};
use super::limits::{
    CONNECTION_ID_AGE, CONNECTION_IDS_MAX, UDP_FAULT_PAUSE, UDP_FIRST_WAIT, UDP_TRANSMISSIONS,
};
use super::names::Names;
use super::reply::{Failed, Reply, Taken};
use super::url::TrackerUrl;
use ringseed_sched::announce::Family;
use ringseed_wire::limits::UDP_PACKET_BYTES_MAX;
use ringseed_wire::tracker::AnnounceRequest;
use ringseed_wire::tracker_udp::{Response, write_announce_request, write_connect_request};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::UdpSocket;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// Sockets for both families, opened when first used.
pub(super) struct UdpTrackers {
    names: Arc<Names>,
    sockets: [OnceCell<Port>; 2],
}

impl UdpTrackers {
    pub(super) fn new(names: Arc<Names>) -> UdpTrackers {
        UdpTrackers { names, sockets: Default::default() }
    }

    /// One announce, transmitted up to [`UDP_TRANSMISSIONS`] times.
    pub(super) async fn announce(
        &self,
        url: &TrackerUrl,
        family: Family,
        request: &AnnounceRequest,
    ) -> Reply {
        let addresses = self.names.of_family(&url.host, family).await;
        let addresses = addresses.map_err(|why| Failed::silent(why.as_ref()))?;
        let port = self.sockets[family as usize].get_or_try_init(|| Port::open(family)).await;
        let port = port.map_err(|error| unsent(&error, family))?;
        for transmission in 0..UDP_TRANSMISSIONS {
            // A second address, where there is one, gets the second transmission.
            let Some(ip) = addresses.iter().cycle().nth(transmission as usize) else {
                return Err(Failed::absent(no_address(family)));
            };
            let tracker = SocketAddr::from((*ip, url.port));
            let until = Instant::now() + UDP_FIRST_WAIT * 2_u32.pow(transmission);
            match port.announce(tracker, url, request, until).await {
                Err(Lost::Unanswered) => {}
                Err(Lost::Unsent(error)) => return Err(unsent(&error, family)),
                Err(Lost::Refused(why)) => return Err(Failed::refused(why)),
                Ok(taken) => return Ok(taken),
            }
        }
        let seconds = UDP_FIRST_WAIT.as_secs() * ((1 << UDP_TRANSMISSIONS) - 1);
        Err(Failed::silent(format!("no answer within {seconds} s")))
    }
}

fn unsent(error: &io::Error, family: Family) -> Failed {
    let why = format!("cannot send: {error}");
    match no_way(error.kind(), family) {
        true => Failed::absent(why),
        false => Failed::silent(why),
    }
}

/// Why a transmission brought no answer.
enum Lost {
    Unanswered,
    Unsent(io::Error),
    Refused(String),
}

/// An answer that is waited for.
struct Waiting {
    from: SocketAddr,
    packet: oneshot::Sender<Vec<u8>>,
}

/// A tracker's connection id. The lock is held while it is asked for, so that one asks for all.
type Connection = Arc<tokio::sync::Mutex<Option<(u64, Instant)>>>;

/// A socket, and what is under way on it.
struct Port {
    socket: Arc<UdpSocket>,
    waiting: Arc<Mutex<BTreeMap<u32, Waiting>>>,
    connections: Mutex<BTreeMap<SocketAddr, Connection>>,
    /// Transaction ids that no other tracker can foresee.
    random: RandomState,
    transactions: AtomicU64,
    receiver: AbortHandle,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

impl Port {
    async fn open(family: Family) -> io::Result<Port> {
        let any: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = Arc::new(UdpSocket::bind((any, 0)).await?);
        let waiting = Arc::default();
        let receiver = tokio::spawn(receive(Arc::clone(&socket), Arc::clone(&waiting)));
        Ok(Port {
            socket,
            waiting,
            connections: Mutex::default(),
            random: RandomState::new(),
            transactions: AtomicU64::new(0),
            receiver: receiver.abort_handle(),
        })
    }

    /// One transmission and its answer.
    async fn announce(
        &self,
        tracker: SocketAddr,
        url: &TrackerUrl,
        request: &AnnounceRequest,
        until: Instant,
    ) -> Result<Taken, Lost> {
        let connection = self.connection(tracker);
        loop {
            let (id, age) = self.connection_id(&connection, tracker, until).await?;
            let transaction = self.transaction();
            let mut packet = Vec::with_capacity(128);
            write_announce_request(&mut packet, id, transaction, request, &url.target);
            let answer = self.exchange(tracker, transaction, &packet, until).await?;
            match Response::parse(&answer) {
                Ok(response @ Response::Announce { interval_s, .. }) => {
                    let peers = match tracker.is_ipv6() {
                        true => response.peers_v6().collect(),
                        false => response.peers_v4().collect(),
                    };
                    return Ok(Taken { interval_s, peers, ..Taken::default() });
                }
                // A tracker that was restarted does not know the id any more: a new one helps.
                Ok(Response::Error { .. }) if age == Age::Kept => {
                    *connection.lock().await = None;
                }
                Ok(Response::Error { message, .. }) => {
                    return Err(Lost::Refused(String::from_utf8_lossy(message).into_owned()));
                }
                Ok(_) | Err(_) => return Err(Lost::Refused("its answer is not one".to_owned())),
            }
        }
    }

    /// The id to announce with, asked for if there is none that is young enough.
    async fn connection_id(
        &self,
        connection: &Connection,
        tracker: SocketAddr,
        until: Instant,
    ) -> Result<(u64, Age), Lost> {
        let mut known = timeout_at(until, connection.lock()).await.map_err(|_| Lost::Unanswered)?;
        if let Some((id, since)) = *known
            && since.elapsed() < CONNECTION_ID_AGE
        {
            return Ok((id, Age::Kept));
        }
        let transaction = self.transaction();
        let mut packet = Vec::with_capacity(16);
        write_connect_request(&mut packet, transaction);
        let answer = self.exchange(tracker, transaction, &packet, until).await?;
        match Response::parse(&answer) {
            Ok(Response::Connect { connection_id, .. }) => {
                *known = Some((connection_id, Instant::now()));
                Ok((connection_id, Age::New))
            }
            Ok(Response::Error { message, .. }) => {
                Err(Lost::Refused(String::from_utf8_lossy(message).into_owned()))
            }
            Ok(_) | Err(_) => Err(Lost::Refused("its answer is not one".to_owned())),
        }
    }

    /// Sends a packet and waits for the one with the same transaction id from the same address.
    async fn exchange(
        &self,
        tracker: SocketAddr,
        transaction: u32,
        packet: &[u8],
        until: Instant,
    ) -> Result<Vec<u8>, Lost> {
        let (sender, answer) = oneshot::channel();
        let _unwait = Unwait { waiting: &self.waiting, transaction };
        lock(&self.waiting).insert(transaction, Waiting { from: tracker, packet: sender });
        self.socket.send_to(packet, tracker).await.map_err(Lost::Unsent)?;
        match timeout_at(until, answer).await {
            Ok(Ok(packet)) => Ok(packet),
            _ => Err(Lost::Unanswered),
        }
    }

    fn connection(&self, tracker: SocketAddr) -> Connection {
        let mut connections = lock(&self.connections);
        if connections.len() >= CONNECTION_IDS_MAX {
            connections.retain(|_, connection| match connection.try_lock() {
                Ok(known) => known.is_some_and(|(_, since)| since.elapsed() < CONNECTION_ID_AGE),
                Err(_) => true,
            });
            if connections.len() >= CONNECTION_IDS_MAX {
                connections.pop_first();
            }
        }
        Arc::clone(connections.entry(tracker).or_default())
    }

    fn transaction(&self) -> u32 {
        let number = self.transactions.fetch_add(1, Ordering::Relaxed);
        self.random.hash_one(number) as u32
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Kept,
}

/// Nobody waits any more, however the waiting ended.
struct Unwait<'w> {
    waiting: &'w Mutex<BTreeMap<u32, Waiting>>,
    transaction: u32,
}

impl Drop for Unwait<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(&self.transaction);
    }
}

/// Gives each packet to who waits for it; what nobody waits for, or comes from elsewhere, is
/// passed over.
async fn receive(socket: Arc<UdpSocket>, waiting: Arc<Mutex<BTreeMap<u32, Waiting>>>) {
    let mut buffer = [0; UDP_PACKET_BYTES_MAX];
    loop {
        let Ok((bytes, from)) = socket.recv_from(&mut buffer).await else {
            // It may stay: not a reason to spin. Who waits for a packet has a time of its own.
            tokio::time::sleep(UDP_FAULT_PAUSE).await;
            continue;
        };
        let packet = &buffer[..bytes];
        let Ok(response) = Response::parse(packet) else { continue };
        let mut waiting = lock(&waiting);
        if waiting.get(&response.transaction_id()).is_some_and(|waiting| waiting.from == from)
            && let Some(waiting) = waiting.remove(&response.transaction_id())
        {
            // Who waited may be gone.
            let _ = waiting.packet.send(packet.to_vec());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
