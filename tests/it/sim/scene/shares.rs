//! What connections hold unacknowledged: peers that stall beside such as read.

use super::*;

/// A block with its header.
const FRAME: u64 = BLOCK as u64 + 13;

/// Bytes that a socket would hold.
const SEND_BYTES: u64 = 256 << 10;

/// Bytes that a peer takes without reading: the most of the fourth block stays in our socket.
const WINDOW_BYTES: usize = 52_000;

/// Peers beside each other for ten seconds: some that read nothing, one that reads 10,000 bytes each ten
/// milliseconds, and one that reads all.
struct Stalled {
    cap: u64,
    tells_tcp_bytes: bool,
    count: u16,
    /// Bytes that they take without reading, and that each of their requests asks for.
    window_bytes: usize,
    request: u32,
}

const FEW: Stalled = Stalled {
    cap: 1 << 20,
    tells_tcp_bytes: false,
    count: 10,
    window_bytes: WINDOW_BYTES,
    request: BLOCK,
};

#[derive(Debug)]
struct Seen {
    /// How many of those that read nothing were reset.
    gone: u16,
    /// The most that was counted as not acknowledged, and what was at the end.
    held_most: u64,
    held: u64,
    /// The most that one of them was sent.
    sent_most: usize,
    slow_bytes: usize,
}

impl Stalled {
    fn play(&self) -> Seen {
        let window = self.window_bytes as u64;
        let world = sim::Options {
            tells_tcp_bytes: self.tells_tcp_bytes,
            send_bytes: (SEND_BYTES, SEND_BYTES),
            window_bytes: (window, window),
            ..sim::Options::calm(1)
        };
        let mut scene = Scene::with(self.request, world, Verb::Splice, Slots::Unlimited, self.cap);
        let stalled = |number| scene.peer_of(number, 100, self.request);
        let stalled: Vec<Remote> = (0..self.count).map(stalled).collect();
        let reader = scene.peer(self.count, 200);
        let slow = scene.peer(self.count + 1, 1_000);
        let (mut got, mut slow_bytes, mut held_most) = (0, 0, 0);
        scene.play(10_000_000, |scene| {
            got += reader.read().len();
            slow_bytes += slow.read_at_most(10_000).len();
            held_most = held_most.max(scene.hand.counters.unacknowledged_bytes.read());
        });
        assert!(got > 200 * BLOCK as usize, "the reader has {got} bytes");
        assert_eq!((reader.state(), slow.state()), (RemoteState::Open, RemoteState::Open));
        assert!(scene.faults.is_empty(), "{:?}", scene.faults);
        let gone = stalled.iter().filter(|remote| remote.state() != RemoteState::Open).count();
        let resets = scene.hand.counters.resets_for_memory.read();
        assert_eq!(gone as u64, resets);
        let held = scene.hand.counters.unacknowledged_bytes.read();
        assert_eq!(scene.hand.counters.held_back.read() > 0, gone < stalled.len());
        let sent_most = stalled.iter().map(Remote::unread).max().unwrap();
        Seen { gone: gone as u16, held_most, held, sent_most, slow_bytes }
    }
}

#[test]
fn peers_that_stall_hold_their_share_and_are_not_reset() {
    // With so little a share is a block, and with so much it is four.
    for (cap, share) in [(1 << 20, FRAME), (1 << 30, 4 * FRAME)] {
        let seen = Stalled { cap, ..FEW }.play();
        assert_eq!(seen.gone, 0, "{seen:?}");
        // The slow one and the reader have shown that they read.
        assert!(seen.held <= 10 * share + SEND_BYTES, "{seen:?}");
        assert!(seen.held_most <= cap, "{seen:?}");
        assert!(seen.sent_most <= WINDOW_BYTES, "{seen:?}");
        assert!(seen.slow_bytes > 8_500_000, "{seen:?}");
    }
}

#[test]
fn large_blocks_stay_within_the_share_too() {
    let seen = Stalled { cap: 1 << 30, request: 4 * BLOCK, ..FEW }.play();
    // The first goes whatever it is: of it the window's rest is held, and the next does not fit beside that.
    assert_eq!(seen.gone, 0, "{seen:?}");
    let first = 4 * u64::from(BLOCK) + 13 - WINDOW_BYTES as u64;
    assert!(seen.held <= 10 * first + SEND_BYTES, "{seen:?}");
}

#[test]
fn those_that_read_once_and_then_stall_leave_an_eighth_of_the_cap() {
    let cap = 4 << 20;
    for tells_tcp_bytes in [true, false] {
        let seen = Stalled { cap, tells_tcp_bytes, count: 80, window_bytes: 300_000, ..FEW }.play();
        if tells_tcp_bytes {
            // TCP holds less than the cap, so nobody is in need.
            assert_eq!(seen.gone, 0, "{seen:?}");
        } else {
            // Of n that take all they may each gets 1 of 8 + n: with 56 an eighth is left.
            assert!((24..=26).contains(&seen.gone), "{seen:?}");
            assert!(seen.held <= cap - cap / 8 + SEND_BYTES, "{seen:?}");
        }
        assert!(seen.slow_bytes > 8_500_000, "{seen:?}");
    }
}

#[test]
fn where_a_block_for_each_is_too_much_those_that_stall_are_reset() {
    for tells_tcp_bytes in [true, false] {
        let seen = Stalled { cap: 100_000, tells_tcp_bytes, ..FEW }.play();
        assert!(seen.gone > 0 && seen.held <= 100_000, "{seen:?}");
        assert!(seen.held > 100_000 - 3 * FRAME, "more than was needed: {seen:?}");
        assert!(seen.slow_bytes > 8_500_000, "{seen:?}");
    }
}
