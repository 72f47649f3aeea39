//! The rest of a batch of which a socket took a part, while its pages go: it is asked for again, and sent
//! when it has come. By chance the file then breaks: the torrent is paused, and nothing is sent any more.

use super::*;

const SEEDS: u64 = 30;
const REQUESTS: usize = 100;
const PEERS: u16 = 3;

/// Bytes that a peer reads at a time.
const APPETITE: usize = 3_000;

/// What a seed showed.
#[derive(Default)]
struct Played {
    partial_sends: u64,
    fetches: u64,
    was_paused: bool,
}

fn play(seed: u64, verb: Verb) -> Played {
    let faults = sim::Faults::none()
        .with(sim::Fault::SentInPart, 300)
        .with(sim::Fault::SocketFull, 100)
        .with(sim::Fault::Delayed, 200);
    let world = sim::Options {
        faults,
        send_bytes: (20_000, 60_000),
        window_bytes: (8 << 10, 32 << 10),
        ..sim::Options::calm(seed)
    };
    let mut scene = Scene::new(world, verb, Slots::Unlimited, 1 << 30);
    let peers: Vec<Remote> = (0..PEERS).map(|number| scene.peer(number, REQUESTS)).collect();
    let mut got: Vec<Vec<u8>> = peers.iter().map(|_| Vec::new()).collect();
    let mut random = Random::new(seed ^ 0x7265_7374);
    let breaks_us = random.hits(500).then(|| 500_000 + random.below(2_000_000));
    let mut has_broken = false;
    scene.play(15_000_000, |scene| {
        let files = || scene.model.files_of((0, 0, BLOCK));
        if breaks_us.is_some_and(|at_us| scene.world.now_us() >= at_us) && !has_broken {
            has_broken = true;
            files().for_each(|file| scene.world.break_page(&file.path, 0));
        }
        if random.hits(200) || has_broken {
            files().for_each(|file| scene.world.cool(&file.path));
        }
        for (peer, got) in peers.iter().zip(&mut got) {
            if random.hits(700) {
                got.extend(peer.read_at_most(APPETITE));
            }
        }
    });
    let block = scene.model.block((0, 0, BLOCK));
    let was_paused = !scene.faults.is_empty();
    assert_eq!(was_paused, has_broken, "seed {seed}: {:?}", scene.faults);
    for (peer, got) in peers.iter().zip(&got) {
        let blocks = blocks_of(got, &block, seed);
        let is_open = peer.state() == RemoteState::Open;
        assert_eq!(is_open, !was_paused, "seed {seed}: {blocks} blocks came");
        let all = was_paused || blocks == REQUESTS;
        assert!(all, "seed {seed}: {blocks} of {REQUESTS} blocks came");
    }
    let violations = scene.world.violations();
    assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    let counters = &scene.hand.counters;
    let (partial_sends, fetches) = (counters.partial_sends.read(), counters.fetches.read());
    Played { partial_sends, fetches, was_paused }
}

/// Blocks that came whole; none may be another than asked for.
fn blocks_of(got: &[u8], block: &[u8], seed: u64) -> usize {
    let mut at = 68;
    let mut blocks = 0;
    while let Some(head) = got.get(at..at + 4) {
        let length = u32::from_be_bytes(head.try_into().unwrap()) as usize;
        let Some(frame) = got.get(at + 4..at + 4 + length) else { break };
        if frame.first() == Some(&PIECE) {
            assert!(frame[9..] == *block, "seed {seed}: block {blocks} is wrong");
            blocks += 1;
        }
        at += 4 + length;
    }
    blocks
}

#[test]
fn the_rest_of_a_batch_comes_when_its_pages_do_or_not_at_all() {
    for verb in [Verb::Splice, Verb::Copy] {
        let mut all = Played::default();
        let mut paused = 0;
        for seed in 0..SEEDS {
            let played = play(seed, verb);
            all.partial_sends += played.partial_sends;
            all.fetches += played.fetches;
            paused += u64::from(played.was_paused);
        }
        let Played { partial_sends, fetches, .. } = all;
        println!("{verb:?}: {partial_sends} partial sends, {fetches} fetches, {paused} paused");
        assert!(partial_sends > 20 * SEEDS, "{partial_sends} partial sends");
        assert!(verb == Verb::Copy || fetches > 5 * SEEDS, "{fetches} fetches");
        assert!(paused > SEEDS / 4 && paused < SEEDS, "{paused} of {SEEDS} were paused");
    }
}
