//! Many clients under faults: each gets the answers to its requests, byte for byte and in order,
//! or a prefix of them and an end.

use ringseed_ring::sim::{Coverage, Fault, Random, RemoteState};

use super::*;

/// Seeds of each run of the tests.
const SEEDS: u64 = 200;

/// Virtual time after which every client must have got its answers or its end.
const END_US: u64 = 600_000_000;

/// A client with a torrent of its own, so that all its answers can be foretold.
struct Client {
    remote: Remote,
    unsent: Vec<u8>,
    expected: Vec<u8>,
    got: Vec<u8>,
    /// It goes away in the middle.
    leaves_after: usize,
}

impl Client {
    fn new(stage: &Stage, random: &mut Random, number: u8) -> Client {
        let requests = random.between(1, 60) as u16;
        let unsent: String = (1..=requests).map(|port| announce(number, port)).collect();
        let expected: String = (1..=requests).map(|count| announced(usize::from(count))).collect();
        let leaves = random.between(0, 3) == 0;
        let leaves_after = match leaves {
            true => random.between(0, expected.len() as u64) as usize,
            false => usize::MAX,
        };
        Client {
            remote: stage.connect(1000 + u16::from(number)),
            unsent: unsent.into_bytes(),
            expected: expected.into_bytes(),
            got: Vec::new(),
            leaves_after,
        }
    }

    /// Writes some, reads some. True when it has what it wants, or never will.
    fn step(&mut self, random: &mut Random, seed: u64) -> bool {
        let some = self.unsent.len().min(random.between(1, 3000) as usize);
        let written = self.remote.write(&self.unsent[..some]);
        self.unsent.drain(..written);
        self.got.extend(self.remote.read_at_most(random.between(1, 4000) as usize));
        assert!(self.expected.starts_with(&self.got), "seed {seed}: wrong bytes");
        if self.got.len() >= self.leaves_after {
            match random.between(0, 1) {
                0 => self.remote.close(),
                _ => self.remote.reset(),
            }
            return true;
        }
        let ended = self.remote.state() != RemoteState::Open && self.remote.unread() == 0;
        ended || self.got.len() == self.expected.len()
    }
}

fn play(options: Options) -> Coverage {
    let seed = options.seed;
    let may_reset = options.faults.per_mille(Fault::Reset) > 0;
    let mut random = Random::new(seed ^ 0x7261_636b);
    let mut stage = Stage::new(options);
    let mut clients: Vec<_> = (0..random.between(1, 12))
        .map(|number| Client::new(&stage, &mut random, number as u8))
        .collect();
    let mut turns = 0u64;
    while !clients.is_empty() {
        let now_us = stage.world.now_us();
        assert!(now_us < END_US, "seed {seed}: {} clients still wait", clients.len());
        turns += 1;
        clients.retain_mut(|client| {
            let done = client.step(&mut random, seed);
            let whole = client.got.len() == client.expected.len();
            let left = client.got.len() >= client.leaves_after;
            assert!(!done || whole || left || may_reset, "seed {seed}: closed on for no reason");
            !done
        });
        stage.world.alarm_at(now_us + random.between(1, 50_000));
        stage.turn();
    }
    assert!(turns > 0);
    let coverage = stage.world.coverage();
    stage.end();
    coverage
}

#[test]
fn clients_get_their_answers_whatever_the_kernel_does() {
    let mut coverage = Coverage::default();
    for seed in 0..SEEDS {
        coverage.add(&play(Options::swarm(seed)));
    }
    for fault in [
        Fault::Reordered,
        Fault::Delayed,
        Fault::EnterInterrupted,
        Fault::TableFull,
        Fault::SentInPart,
        Fault::SocketFull,
        Fault::ReceivedInPieces,
        Fault::BuffersDry,
        Fault::Reset,
        Fault::AcceptFailed,
    ] {
        assert!(coverage.met(fault) > 0, "{fault:?} was never met");
    }
}
