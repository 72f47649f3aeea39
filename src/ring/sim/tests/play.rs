//! Plays a seed: remote ends that ask the server at random and compare each byte they get.

use std::path::Path;
use std::time::Duration;

use super::server::{Bug, Server, header};
use crate::sim::{Content, Coverage, Options, Random, Remote, RemoteState, World};
use crate::{Kernel, Verb, Wait};

/// Virtual time after which a run must have ended.
const END_US: u64 = 100_000_000;

pub(super) struct Played {
    pub(super) violations: Vec<String>,
    pub(super) coverage: Coverage,
    pub(super) fingerprint: u64,
    pub(super) peers_served: u64,
}

/// A remote end and what it still expects.
struct Asker {
    remote: Remote,
    unsent: Vec<u8>,
    expected: Vec<u8>,
    got: usize,
    /// Bytes it reads at once; 0: never.
    appetite: usize,
    leaves_after: usize,
    done: bool,
}

struct Scene {
    world: World,
    random: Random,
    askers: Vec<Asker>,
    size: u64,
    /// Bytes may differ: the file was changed under way.
    changed: bool,
    violations: Vec<String>,
    served: u64,
}

pub(super) fn play(options: Options, bug: Option<Bug>) -> Played {
    let mut random = Random::new(options.seed ^ 0x5eed);
    let world = World::new(options);
    let listener = world.listen(address(1)).unwrap();
    let verb = if bug.is_none() && random.hits(250) { Verb::Copy } else { Verb::Splice };
    let mut scene = Scene::new(world.clone(), random);
    let mut server = Server::new(world.kernel(), listener, verb, bug);
    let waker = server.kernel.waker();
    let mut rung = 0;
    while !server.is_stopped() && world.now_us() < END_US {
        scene.step();
        if rung == server.woken && scene.random.hits(5) {
            waker.wake();
            rung += 1;
        }
        if scene.askers.iter().all(|asker| asker.done) || world.now_us() > END_US - 20_000_000 {
            server.stop();
        }
        server.turn();
        if server.kernel.enter(Wait::AtMost(Duration::from_secs(1))).is_err() {
            break;
        }
    }
    let mut violations = scene.violations;
    if rung > server.woken + 1 || server.woken > rung {
        violations.push(format!("woken {} times, rung {rung} times", server.woken));
    }
    drop(server);
    violations.extend(world.violations_at_rest());
    Played {
        violations,
        coverage: world.coverage(),
        fingerprint: world.fingerprint(),
        peers_served: scene.served,
    }
}

fn address(port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::from(([10, 0, 0, 1], port))
}

fn file() -> &'static Path {
    Path::new("/data/file")
}

impl Scene {
    fn new(world: World, mut random: Random) -> Scene {
        let size = random.of_any_size(2 << 20);
        world.add_file(file(), Content::Noise(1), size);
        match random.below(25) {
            0 => world.remove_file(file()),
            1 => world.forbid(file()),
            2 => world.break_page(file(), random.clone().below(size)),
            3 | 4 => world.hide_residency(file()),
            5..=10 => world.warm(file()),
            11 => world.make_distant(file()),
            _ => {}
        }
        let askers = (0..random.between(1, 4)).collect::<Vec<_>>();
        let askers = askers
            .into_iter()
            .map(|number| Asker::new(&world, &mut random, size, number as u16))
            .collect();
        Scene { world, random, askers, size, changed: false, violations: Vec::new(), served: 0 }
    }

    fn step(&mut self) {
        if self.random.hits(2) && !self.changed {
            self.changed = true;
            match self.random.below(3) {
                0 => self.world.truncate(file(), self.size / 2),
                1 => self.world.modify(file(), Content::Noise(2)),
                // Who has it open keeps the old one, so the bytes stay right.
                _ => self.world.add_file(file(), Content::Noise(3), self.size),
            }
        }
        for asker in &mut self.askers {
            asker.step(&mut self.random, self.changed, &mut self.violations);
            self.served += u64::from(asker.take_served());
        }
        let eager = self.askers.iter().any(|asker| !asker.unsent.is_empty());
        let wait_us = if eager { 5_000 } else { 100_000 };
        self.world.alarm_at(self.world.now_us() + wait_us);
    }
}

impl Asker {
    fn new(world: &World, random: &mut Random, size: u64, number: u16) -> Asker {
        let remote = world.connect(address(1000 + number), address(1)).unwrap();
        let (mut unsent, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..random.between(1, 30) {
            let offset = random.below(size);
            let length = random.of_any_size((size - offset).min(128 << 10));
            unsent.extend_from_slice(&offset.to_le_bytes());
            unsent.extend_from_slice(&(length as u32).to_le_bytes());
            expected.extend_from_slice(&header(offset, length as u32));
            expected.extend(Content::Noise(1).read(offset, length as usize));
            expected.extend(vec![0; length as usize % 7]);
        }
        let appetite = match random.below(8) {
            0 => 0,
            1 => random.between(1, 100) as usize,
            _ => 256 + random.of_any_size(4 << 20) as usize,
        };
        let leaves = random.hits(100);
        let leaves_after = if leaves { random.below(expected.len() as u64) } else { u64::MAX };
        let leaves_after = usize::try_from(leaves_after).unwrap();
        Asker { remote, unsent, expected, got: 0, appetite, leaves_after, done: false }
    }

    fn step(&mut self, random: &mut Random, changed: bool, violations: &mut Vec<String>) {
        if self.done {
            return;
        }
        let most = random.between(1, 64).min(self.unsent.len() as u64) as usize;
        let written = self.remote.write(&self.unsent[..most]);
        self.unsent.drain(..written);
        let bytes = self.remote.read_at_most(self.appetite);
        let expected = &self.expected[self.got.min(self.expected.len())..];
        let right = expected.starts_with(&bytes);
        if !right && !changed {
            let at = bytes.iter().zip(expected).take_while(|(got, wanted)| got == wanted).count();
            violations.push(format!("wrong byte at {} of the stream", self.got + at));
        }
        self.got += bytes.len();
        if self.got >= self.leaves_after {
            match random.below(3) {
                0 => self.remote.reset(),
                1 => self.remote.close(),
                _ => self.remote.finish(),
            }
            self.leaves_after = usize::MAX;
            self.unsent.clear();
        }
        if self.got >= self.expected.len() {
            self.remote.close();
        }
        let over = self.remote.state() != RemoteState::Open && self.remote.unread() == 0;
        self.done = over || self.got >= self.expected.len();
    }

    /// It got all it asked for; told once.
    fn take_served(&mut self) -> bool {
        let served = self.done && self.got == self.expected.len() && !self.expected.is_empty();
        if served {
            self.expected.clear();
            self.got = 1;
        }
        served
    }
}
