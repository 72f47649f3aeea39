//! Whatever clients send a tracker over UDP: nobody who has not shown where it receives is sent more than
//! it sent, every answer is one and belongs to its request, and those to datagrams that come together are
//! those to the same ones that come one by one.
//!
//! The input is datagrams: a byte that says from whom (IPv4 or IPv6), whether its connection id is put right,
//! how the clock jumps before it and whether it is long, one for its length, and its bytes.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use ringseed_meta::Instant;
use ringseed_ring::Socket;
use ringseed_ring::sim::{Options, SimKernel, World};
use ringseed_tracker::limits::DATAGRAM_BYTES_MAX;
use ringseed_tracker::{Published, Rules, Secrets, Tracker};
use ringseed_wire::tracker_udp::{Response, write_connect_request};

/// Datagrams of an input: some more than are answered together.
const DATAGRAMS_MAX: usize = 150;

/// Times its byte for the length that a long datagram has: up to twice what a receive buffer holds.
const LONG: usize = 16;

/// How far the clock jumps. What comes before and after differs by no whole second, so that nothing runs out
/// between datagrams that come together or one by one.
const JUMPS_US: [u64; 3] = [7_317_000, 10 * 7_317_000, 12_343 * 7_317_000];

/// Turns after which all must have been answered.
const TURNS: usize = 8;

struct Datagram {
    /// Microseconds on the clock beside what goes by in turns.
    skew_us: u64,
    from: SocketAddr,
    /// Its connection id is the one that the tracker gave this address.
    is_proven: bool,
    bytes: Vec<u8>,
}

/// Datagrams, each with the client it came from or goes to.
type Addressed = Vec<(SocketAddr, Vec<u8>)>;

struct Stage {
    world: World,
    kernel: SimKernel,
    tracker: Tracker,
    udp: Socket,
    skew_us: u64,
}

fuzz_target!(|input: &[u8]| {
    let datagrams = datagrams(input);
    let one_by_one = exchange(&datagrams, 1);
    assert_eq!(exchange(&datagrams, DATAGRAMS_MAX), one_by_one);
    let mut answers = one_by_one.iter();
    let mut answer = answers.next();
    // At most one each, in their order.
    for datagram in &datagrams {
        let Some((to, bytes)) = answer else { break };
        let is_its = *to == datagram.from && datagram.bytes.get(12..16) == bytes.get(4..8);
        let response = Response::parse(bytes).expect("a response");
        let may_be = match response {
            Response::Connect { .. } => bytes.len() <= datagram.bytes.len(),
            _ => datagram.is_proven && bytes.len() <= DATAGRAM_BYTES_MAX,
        };
        // Another with the same transaction id may have got none.
        if !is_its || !may_be {
            continue;
        }
        answer = answers.next();
    }
    assert_eq!(answer, None, "more than was sent, an answer to whoever, or one to no request");
});

fn client(number: u8) -> SocketAddr {
    let port = 7000 + u16::from(number & 4);
    match number & 3 {
        host @ (0 | 1) => SocketAddr::from(([10, 0, 0, 2 + host], port)),
        // Two of one /64, as a host may have as many as it likes.
        host => SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)], port)),
    }
}

fn datagrams(mut input: &[u8]) -> Vec<Datagram> {
    let mut stage = Stage::new();
    let mut ids = [0, 1, 2, 3].map(|number| stage.connection_id(client(number)));
    let mut proven: Vec<(u8, [u8; 8])> = (0..4).zip(ids.map(u64::to_be_bytes)).collect();
    let mut datagrams = Vec::new();
    while let [who, length, rest @ ..] = input
        && datagrams.len() < DATAGRAMS_MAX
    {
        let jump = match who >> 4 & 3 {
            0 => None,
            number => JUMPS_US.get(usize::from(number) - 1),
        };
        if let Some(us) = jump {
            stage.skew_us += us;
            ids = [0, 1, 2, 3].map(|number| stage.connection_id(client(number)));
            proven.extend((0..4).zip(ids.map(u64::to_be_bytes)));
        }
        let times = if who & 64 == 0 { 1 } else { LONG };
        let (bytes, behind) = rest.split_at(rest.len().min(usize::from(*length) * times));
        let mut bytes = bytes.to_vec();
        let id = ids[usize::from(who & 3)].to_be_bytes();
        if who & 8 != 0
            && let Some(place) = bytes.first_chunk_mut()
        {
            *place = id;
        }
        let is_proven =
            proven.contains(&(who & 3, bytes.first_chunk().copied().unwrap_or_default()));
        datagrams.push(Datagram { skew_us: stage.skew_us, from: client(*who), is_proven, bytes });
        input = behind;
    }
    datagrams
}

/// All answers, in order, when so many datagrams come at once.
fn exchange(datagrams: &[Datagram], at_once: usize) -> Addressed {
    let mut stage = Stage::new();
    let mut answers = Vec::new();
    let same_time = datagrams.chunk_by(|one, next| one.skew_us == next.skew_us);
    for together in same_time.flat_map(|some| some.chunks(at_once)) {
        let skew_us = together.first().map_or(0, |datagram| datagram.skew_us);
        if skew_us != stage.skew_us {
            stage.skew_us = skew_us;
            // Peers that have run out meanwhile go between turns: those that come together must not be
            // answered before.
            answers.extend(stage.deliver(std::iter::empty()));
        }
        let together = together.iter().map(|datagram| (datagram.from, datagram.bytes.as_slice()));
        answers.extend(stage.deliver(together));
    }
    let Stage { world, mut kernel, mut tracker, skew_us, .. } = stage;
    let now = || Instant::from_us(world.now_us() + skew_us);
    tracker.close(&mut kernel, now());
    for _ in 0..1000 {
        if tracker.is_closed() {
            break;
        }
        world.alarm_at(world.now_us() + 100);
        tracker.turn(&mut kernel, now()).expect("the kernel goes on");
    }
    assert!(tracker.is_closed());
    drop((tracker, kernel));
    world.assert_at_rest();
    answers
}

impl Stage {
    fn new() -> Stage {
        let world = World::new(Options::calm(1));
        let mut kernel = world.kernel();
        let udp = world.bind_datagram().expect("a socket");
        let fresh_key = || Some([4; 16]);
        let secrets = Secrets { tables: [1; 16], connection_ids: [2; 16], fresh_key, random: 3 };
        let (access, rules) = (Published::default(), Rules::default());
        let tracker = Tracker::new(&mut kernel, &[], &[udp], rules, &access, &secrets);
        Stage { world, kernel, tracker, udp, skew_us: 0 }
    }

    fn deliver<'d>(
        &mut self,
        datagrams: impl Iterator<Item = (SocketAddr, &'d [u8])>,
    ) -> Addressed {
        datagrams.for_each(|(from, bytes)| self.world.deliver_datagram(self.udp, from, bytes));
        for _ in 0..TURNS {
            self.world.alarm_at(self.world.now_us() + 100);
            let now = Instant::from_us(self.world.now_us() + self.skew_us);
            self.tracker.turn(&mut self.kernel, now).expect("the kernel goes on");
        }
        self.world.datagrams_sent(self.udp)
    }

    fn connection_id(&mut self, from: SocketAddr) -> u64 {
        let mut request = Vec::new();
        write_connect_request(&mut request, 1);
        let answers = self.deliver([(from, request.as_slice())].into_iter());
        match answers.first().map(|(_, bytes)| Response::parse(bytes)) {
            Some(Ok(Response::Connect { connection_id, .. })) => connection_id,
            other => panic!("no connection id: {other:?}"),
        }
    }
}
