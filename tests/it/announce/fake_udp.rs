//! A small UDP tracker that loses, lies and forgets as a test says.

use ringseed_wire::tracker::{AnnounceRequest, ScrapeStats};
use ringseed_wire::tracker_udp::{
    Request, url_data, write_announce_response, write_connect_response, write_error,
};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// A packet that came.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    Connect,
    Announce { connection_id: u64, announce: AnnounceRequest, url_data: Vec<u8> },
}

/// What happens to it.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Answered,
    Lost,
    /// The tracker says "no".
    Refused,
    /// The answer comes, but first one from another port, and one with a wrong transaction id,
    /// both of which promise an interval of a second.
    Forged,
}

type Behaviour = Box<dyn FnMut(usize, &Packet) -> Fate + Send>;

/// 192.0.2.9:6881, the one peer this tracker knows.
const PEER: [u8; 6] = [192, 0, 2, 9, 0x1a, 0xe1];

pub(super) struct UdpTracker {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<(Instant, Packet)>>>,
}

impl UdpTracker {
    /// `fate` is asked for each packet, with its number from 0.
    pub(super) async fn start(
        fate: impl FnMut(usize, &Packet) -> Fate + Send + 'static,
    ) -> UdpTracker {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let forger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let seen = Arc::default();
        tokio::spawn(serve(socket, forger, Arc::clone(&seen), Box::new(fate)));
        UdpTracker { address, seen }
    }

    pub(super) fn url(&self, target: &str) -> String {
        format!("udp://{}{target}", self.address)
    }

    pub(super) fn packets(&self) -> Vec<(Instant, Packet)> {
        self.seen.lock().unwrap().clone()
    }

    /// The packets as letters: c(onnect), a(nnounce).
    pub(super) fn letters(&self) -> String {
        let letter = |(_, packet): (Instant, Packet)| match packet {
            Packet::Connect => 'c',
            Packet::Announce { .. } => 'a',
        };
        self.packets().into_iter().map(letter).collect()
    }

    pub(super) fn announces(&self) -> Vec<(u64, AnnounceRequest, Vec<u8>)> {
        let announce = |(_, packet)| match packet {
            Packet::Announce { connection_id, announce, url_data } => {
                Some((connection_id, announce, url_data))
            }
            Packet::Connect => None,
        };
        self.packets().into_iter().filter_map(announce).collect()
    }
}

async fn serve(
    socket: UdpSocket,
    forger: UdpSocket,
    seen: Arc<Mutex<Vec<(Instant, Packet)>>>,
    mut fate: Behaviour,
) {
    let mut buffer = [0; 4096];
    let mut connection = 0;
    while let Ok((bytes, from)) = socket.recv_from(&mut buffer).await {
        let (transaction, packet) = match Request::parse(&buffer[..bytes]).unwrap() {
            Request::Connect { transaction_id } => (transaction_id, Packet::Connect),
            Request::Announce { connection_id, transaction_id, announce, options } => {
                let url_data = url_data(options);
                (transaction_id, Packet::Announce { connection_id, announce, url_data })
            }
            Request::Scrape { .. } => panic!("nobody scrapes"),
        };
        let number = seen.lock().unwrap().len();
        seen.lock().unwrap().push((Instant::now(), packet.clone()));
        let fate = fate(number, &packet);
        let mut answer = Vec::new();
        match (fate, &packet) {
            (Fate::Lost, _) => continue,
            (Fate::Refused, _) => write_error(&mut answer, transaction, "no"),
            (_, Packet::Connect) => {
                connection += 1;
                write_connect_response(&mut answer, transaction, connection);
            }
            (_, Packet::Announce { .. }) => {
                let stats = ScrapeStats::default();
                write_announce_response(&mut answer, transaction, 1800, stats, &PEER);
            }
        }
        if matches!(fate, Fate::Forged) {
            let mut forged = Vec::new();
            let stats = ScrapeStats::default();
            write_announce_response(&mut forged, transaction, 1, stats, &[]);
            forger.send_to(&forged, from).await.unwrap();
            forged.clear();
            write_announce_response(&mut forged, transaction ^ 1, 1, stats, &[]);
            socket.send_to(&forged, from).await.unwrap();
            socket.send_to(b"x", from).await.unwrap();
        }
        socket.send_to(&answer, from).await.unwrap();
    }
}
