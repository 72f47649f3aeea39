//! Whatever clients send a tracker over UDP: nobody who has not shown where it receives is sent more than
//! it sent, every answer is one and belongs to its request, and those to datagrams that come together are
//! those to the same ones that come one by one.
//!
//! The input is datagrams: a byte that says from whom and whether its connection id is put right, one for
//! its length, and its bytes.
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

/// Turns after which all must have been answered.
const TURNS: usize = 8;

struct Datagram {
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
    SocketAddr::from(([10, 0, 0, 2 + (number & 1)], 7000 + u16::from(number & 6)))
}

fn datagrams(mut input: &[u8]) -> Vec<Datagram> {
    let mut stage = Stage::new();
    let ids = [0, 1].map(|number| stage.connection_id(client(number)));
    let mut datagrams = Vec::new();
    while let [who, length, rest @ ..] = input
        && datagrams.len() < DATAGRAMS_MAX
    {
        let (bytes, behind) = rest.split_at(rest.len().min(usize::from(*length)));
        let (mut bytes, id) = (bytes.to_vec(), ids[usize::from(who & 1)].to_be_bytes());
        if who & 8 != 0
            && let Some(place) = bytes.first_chunk_mut()
        {
            *place = id;
        }
        let is_proven = bytes.starts_with(&id);
        datagrams.push(Datagram { from: client(*who), is_proven, bytes });
        input = behind;
    }
    datagrams
}

/// All answers, in order, when so many datagrams come at once.
fn exchange(datagrams: &[Datagram], at_once: usize) -> Addressed {
    let mut stage = Stage::new();
    let mut answers = Vec::new();
    for together in datagrams.chunks(at_once) {
        let together = together.iter().map(|datagram| (datagram.from, datagram.bytes.as_slice()));
        answers.extend(stage.deliver(together));
    }
    let Stage { world, mut kernel, mut tracker, .. } = stage;
    tracker.close(&mut kernel, Instant::from_us(world.now_us()));
    for _ in 0..1000 {
        if tracker.is_closed() {
            break;
        }
        world.alarm_at(world.now_us() + 100);
        tracker.turn(&mut kernel, Instant::from_us(world.now_us())).expect("the kernel goes on");
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
        Stage { world, kernel, tracker, udp }
    }

    fn deliver<'d>(
        &mut self,
        datagrams: impl Iterator<Item = (SocketAddr, &'d [u8])>,
    ) -> Addressed {
        datagrams.for_each(|(from, bytes)| self.world.deliver_datagram(self.udp, from, bytes));
        for _ in 0..TURNS {
            self.world.alarm_at(self.world.now_us() + 100);
            let now = Instant::from_us(self.world.now_us());
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
