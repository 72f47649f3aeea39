//! Scenes of one worker and a few peers in which one thing is to happen: the cap on unacknowledged
//! bytes is met, a batch is on its way when its peer is choked, the rest of a batch waits for pages, peers
//! come and go.

mod comings;
mod rests;
mod shares;

use std::sync::Arc;
use std::time::Duration;

use ringseed::store::catalog::Catalog;
use ringseed::store::fetch::AskAgain;
use ringseed::worker::admission::Admission;
use ringseed::worker::crew::Crew;
use ringseed::worker::mailbox::{Command, Mailbox, Report};
use ringseed::worker::slots::Interest;
use ringseed::worker::{Options, Shared};
use ringseed_meta::{PeerId, TorrentId};
use ringseed_ring::sim::{self, Random, Remote, RemoteState, World};
use ringseed_ring::{Kernel, Verb, Wait};
use ringseed_sched::choke::Slots;

use super::hand::Hand;
use super::torrent::ModelTorrent;
use crate::peer::{CHOKE, INTERESTED, PIECE, REQUEST, UNCHOKE, frame, handshake, request_body};

const BLOCK: u32 = 16_384;

struct Scene {
    world: World,
    hand: Hand,
    admission: Arc<Admission>,
    model: ModelTorrent,
    /// What was reported to be wrong with the data.
    faults: Vec<String>,
}

impl Scene {
    fn new(world: sim::Options, verb: Verb, slots: Slots, unacknowledged_bytes_max: u64) -> Scene {
        Scene::with(BLOCK, world, verb, slots, unacknowledged_bytes_max)
    }

    /// A torrent with so many bytes in its first piece.
    fn with(
        least: u32,
        world: sim::Options,
        verb: Verb,
        slots: Slots,
        unacknowledged_bytes_max: u64,
    ) -> Scene {
        let (world, model) = (0..)
            .map(|seed| {
                let made = World::new(world.clone());
                let model = ModelTorrent::new(&made, &mut Random::new(seed), TorrentId(0));
                (made, model)
            })
            .find(|(_, model)| model.piece_bytes(0) >= u64::from(least))
            .unwrap();
        let mailbox = Mailbox::new();
        let admission = Arc::new(Admission::new(100, 0));
        let shared = Shared {
            flights: Arc::default(),
            admission: Arc::clone(&admission),
            interest: Interest::new(1, 1),
            crew: Crew::new([Arc::clone(&mailbox)]),
            mailbox,
            counters: Arc::default(),
            notify: Arc::new(|| ()),
        };
        let options = Options {
            place: 0,
            workers: 1,
            peer_id: PeerId(*b"-RS0001-simulatedsim"),
            listen_port: 6881,
            slots,
            verb,
            unacknowledged_bytes_max,
            ask_again: AskAgain::Always,
            seed: 7,
        };
        let hand = Hand::new(&world, ([10, 0, 0, 1], 6881).into(), options, shared);
        let catalog = Catalog::new(vec![Arc::new(model.entry())]);
        hand.mailbox.command(Command::Catalog(Arc::new(catalog)), &hand.waker).unwrap();
        Scene { world, hand, admission, model, faults: Vec::new() }
    }

    /// A peer that asks for the first block so many times.
    fn peer(&self, number: u16, requests: usize) -> Remote {
        self.peer_of(number, requests, BLOCK)
    }

    /// Asks for the first `length` bytes so many times.
    fn peer_of(&self, number: u16, requests: usize, length: u32) -> Remote {
        let from = ([10, 0, 1, 1], 1_000 + number).into();
        let remote = self.world.connect(from, ([10, 0, 0, 1], 6881).into()).unwrap();
        let mut bytes = handshake(self.model.info_hash, [0; 8]);
        bytes.extend(frame(INTERESTED, &[]));
        bytes.extend(frame(REQUEST, &request_body(0, 0, length)).repeat(requests));
        assert_eq!(remote.write(&bytes), bytes.len());
        remote
    }

    /// Plays on for so long; `look` is called each ten milliseconds.
    fn play(&mut self, for_us: u64, mut look: impl FnMut(&Scene)) {
        let until_us = self.world.now_us() + for_us;
        let mut random = Random::new(3);
        let mut look_us = 0;
        while self.world.now_us() < until_us {
            while let Some(report) = self.hand.mailbox.next_report() {
                let torrent = match report {
                    Report::NeedContent(torrent) => torrent,
                    Report::DataFault { fault, .. } => {
                        self.faults.push(fault);
                        continue;
                    }
                    Report::PeerFault { .. } => continue,
                    other => panic!("{other:?}"),
                };
                let command = Command::Content(torrent, Ok(Arc::clone(&self.model.content)));
                self.hand.mailbox.command(command, &self.hand.waker).unwrap();
            }
            let now_us = self.world.now_us();
            self.hand.turn(now_us, &mut random);
            self.world.alarm_at(now_us + 10_000);
            let wait_us = self.hand.until_us.saturating_sub(now_us);
            let wait =
                if wait_us == 0 { Wait::No } else { Wait::AtMost(Duration::from_micros(wait_us)) };
            self.hand.worker.kernel().enter(wait).unwrap();
            if self.world.now_us() >= look_us {
                look_us = self.world.now_us() + 10_000;
                look(self);
            }
        }
    }
}

#[test]
fn what_was_not_begun_when_its_peer_was_choked_does_not_follow_the_choke() {
    // Reads take long enough for one to be under way at each round of chokes, and sockets take parts.
    let world = sim::Options {
        disk: sim::DiskSpeed { seek_us: 600_000, page_us: 1 },
        faults: sim::Faults::none().with(sim::Fault::SentInPart, 250),
        ..sim::Options::calm(1)
    };
    let mut scene = Scene::new(world, Verb::Copy, Slots::Limited(1), 1 << 30);
    let peers = [0, 1, 2, 3].map(|number| scene.peer(number, 1));
    let mut readers =
        peers.map(|remote| Reader { remote, got: Vec::new(), is_choked: true, chokes: 0 });
    scene.play(150_000_000, |scene| {
        let to_the_round_us = 10_000_000 - scene.world.now_us() % 10_000_000;
        for file in &scene.model.files {
            match to_the_round_us < 500_000 {
                true => scene.world.cool(&file.path),
                false => scene.world.warm(&file.path),
            }
        }
        let asks = to_the_round_us < 1_000_000;
        readers.iter_mut().for_each(|reader| reader.look(asks));
    });
    assert!(scene.faults.is_empty(), "{:?}", scene.faults);
    let chokes: u32 = readers.iter().map(|reader| reader.chokes).sum();
    assert!(chokes > 2, "{chokes} chokes");
}

/// A peer that asks for blocks as long as it is not choked.
struct Reader {
    remote: Remote,
    got: Vec<u8>,
    is_choked: bool,
    chokes: u32,
}

impl Reader {
    fn look(&mut self, asks: bool) {
        self.got.extend(self.remote.read());
        // Its handshake comes first.
        let mut at = if self.got.starts_with(b"\x13Bit") { 68 } else { 0 };
        while let Some(head) = self.got.get(at..at + 4) {
            let length = u32::from_be_bytes(head.try_into().unwrap()) as usize;
            let Some(frame) = self.got.get(at + 4..at + 4 + length) else { break };
            match frame.first() {
                Some(&CHOKE) => {
                    self.is_choked = true;
                    self.chokes += 1;
                }
                Some(&UNCHOKE) => self.is_choked = false,
                Some(&PIECE) => assert!(!self.is_choked, "a block came after the choke"),
                _ => {}
            }
            at += 4 + length;
        }
        self.got.drain(..at.min(self.got.len()));
        if asks && !self.is_choked {
            self.remote.write(&frame(REQUEST, &request_body(0, 0, BLOCK)).repeat(8));
        }
    }
}
