//! The tracker on a simulated kernel: scenes of one thing each, and swarms of clients under
//! faults that a seed decides.

mod datagrams;
mod play;
mod scenes;
mod together;

use std::net::SocketAddr;

use ringseed_meta::Instant;
use ringseed_ring::Socket;
use ringseed_ring::sim::{Options, Remote, SimKernel, World};

use crate::{Published, Rules, Secrets, Tracker};

/// A tracker in a world of its own.
struct Stage {
    world: World,
    kernel: SimKernel,
    tracker: Tracker,
    udp: Socket,
    access: Published,
}

impl Stage {
    fn new(options: Options) -> Stage {
        // Clients of these tests are numbered by their ports, from 1 on.
        Stage::with_rules(options, Rules { port_min: 1, ..Rules::default() })
    }

    fn with_rules(options: Options, rules: Rules) -> Stage {
        let seed = options.seed;
        let world = World::new(options);
        let mut kernel = world.kernel();
        let http = world.listen(here()).unwrap();
        let udp = world.bind_datagram().unwrap();
        let secrets = Secrets {
            tables: [1; 16],
            connection_ids: [2; 16],
            fresh_key: || Some([3; 16]),
            random: seed,
        };
        let access = Published::default();
        let tracker = Tracker::new(&mut kernel, &[http], &[udp], rules, &access, &secrets);
        Stage { world, kernel, tracker, udp, access }
    }

    fn connect(&self, port: u16) -> Remote {
        self.world.connect(client(port), here()).unwrap()
    }

    fn connect_from(&self, host: u8, port: u16) -> Remote {
        let from = SocketAddr::from(([10, 0, 0, host], port));
        self.world.connect(from, here()).unwrap()
    }

    fn now(&self) -> Instant {
        Instant::from_us(self.world.now_us())
    }

    fn turn(&mut self) {
        let now = self.now();
        self.tracker.turn(&mut self.kernel, now).unwrap();
    }

    /// Turns until so much virtual time has passed.
    fn run_ms(&mut self, ms: u64) {
        let until = self.world.now_us() + ms * 1000;
        while self.world.now_us() < until {
            self.world.alarm_at(until);
            self.turn();
        }
    }

    /// Stops the tracker; nothing may be left over then.
    fn end(mut self) {
        let now = self.now();
        self.tracker.close(&mut self.kernel, now);
        for _ in 0..100_000 {
            if self.tracker.is_closed() {
                break;
            }
            self.turn();
        }
        assert!(self.tracker.is_closed());
        // Newcomers that were turned away close without being waited for.
        for _ in 0..1000 {
            self.turn();
        }
        let Stage { world, kernel, tracker, .. } = self;
        drop((tracker, kernel));
        world.assert_at_rest();
    }
}

fn here() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 6969))
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], port))
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: tracker\r\n\r\n")
}

/// A leecher's announce that wants to be told nobody, so that its answer can be foretold.
fn announce(torrent: u8, port: u16) -> String {
    get(&format!(
        "/announce?info_hash=%{torrent:02x}{}&peer_id={}&port={port}&left=5&numwant=0",
        "t".repeat(19),
        "p".repeat(20),
    ))
}

/// The answer to it, when the swarm has `incomplete` leechers.
fn announced(incomplete: usize) -> String {
    let body = format!(
        "d8:completei0e10:downloadedi0e11:external ip4:\n\0\0\u{2}10:incompletei{incomplete}e\
         8:intervali1800e12:min intervali300e5:peers0:e"
    );
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Connection: keep-alive\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
