use proptest::prelude::*;
use ringseed_meta::PieceIndex;
use ringseed_wire::peer::PeerOptions;

use super::*;

fn block(at: u32) -> BlockRef {
    BlockRef { piece: PieceIndex(at / 4), begin: at % 4 * 16_384, length: 16_384 }
}

fn connection() -> Connection {
    let now = Instant::from_us(1);
    let peer = Peer::incoming(&PeerOptions::default(), now);
    let id = ConnectionId { slot: 3, generation: 1 };
    let address = "192.0.2.1:6881".parse().unwrap();
    let mut connection = Connection::new(id, Socket::for_tests(0), address, peer, now);
    connection.phase = Phase::Serving;
    connection
}

/// A batch of blocks that waits for its socket, the first of which was begun.
fn blocked(blocks: std::ops::Range<u32>) -> Connection {
    let mut connection = connection();
    let mut batch = Box::new(Batch::default());
    for at in blocks {
        batch.push_bytes(&[0; 13]);
        batch.push_zeros(16_384);
        let frame = Frame { left: 16_397, bytes: 16_397, block: Some(block(at)) };
        connection.frames.push_back(frame);
    }
    batch.advance(100);
    assert_eq!(connection.sent(100), Completed::default());
    connection.outgoing = Outgoing::Blocked(batch);
    connection
}

fn left_of(connection: &Connection) -> u64 {
    match &connection.outgoing {
        Outgoing::Blocked(batch) => batch.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_that_is_idle_again_holds_no_queue() {
    let mut connection = connection();
    for at in 0..100 {
        connection.requests.push_back(block(at));
        let frame = Frame { left: 16_397, bytes: 16_397, block: Some(block(at)) };
        connection.frames.push_back(frame);
    }
    connection.requests.clear();
    connection.aside().held.push(0);
    connection.sent(100 * 16_397);
    assert!(connection.requests.capacity() >= 100, "between blocks its queues are kept");
    assert_eq!(connection.take_held(), [0]);
    // A keep-alive.
    connection.frames.push_back(Frame { left: 4, bytes: 4, block: None });
    connection.sent(4);
    assert_eq!((connection.frames.capacity(), connection.requests.capacity()), (0, 0));
    assert!(connection.aside.is_none());
}

#[test]
fn a_cancelled_block_is_not_sent() {
    let mut connection = connection();
    connection.requests.extend([block(0), block(1), block(2)]);
    assert!(connection.cancel(block(1)));
    assert!(!connection.cancel(block(1)), "it is gone");
    assert_eq!(connection.requests, [block(0), block(2)]);
}

#[test]
fn a_cancelled_block_leaves_a_batch_that_waits_and_those_behind_it_are_queued_again() {
    let mut connection = blocked(0..4);
    connection.requests.push_back(block(9));
    assert!(connection.cancel(block(2)));
    assert_eq!(left_of(&connection), 2 * 16_397 - 100);
    assert_eq!(connection.requests, [block(3), block(9)]);
    assert_eq!(connection.frames.len(), 2);
}

#[test]
fn of_equal_requests_one_cancel_takes_one_back() {
    let mut connection = blocked(0..2);
    let Outgoing::Blocked(batch) = &mut connection.outgoing else { panic!() };
    for _ in 0..2 {
        batch.push_zeros(16_397);
        let frame = Frame { left: 16_397, bytes: 16_397, block: Some(block(7)) };
        connection.frames.push_back(frame);
    }
    assert!(connection.cancel(block(7)));
    assert_eq!(connection.requests, [block(7)], "it was asked for twice");
}

#[test]
fn a_begun_block_is_finished_whatever_is_cancelled_or_choked() {
    let mut connection = blocked(0..3);
    assert!(!connection.cancel(block(0)), "its header is out");
    assert_eq!(connection.drop_requests(), [block(1), block(2)]);
    assert_eq!(left_of(&connection), 16_397 - 100);
}

#[test]
fn a_batch_that_the_kernel_has_is_not_recalled() {
    let mut connection = blocked(0..3);
    connection.outgoing = Outgoing::Sending;
    assert!(!connection.cancel(block(1)));
    assert_eq!(connection.drop_requests(), []);
    assert_eq!(connection.frames.len(), 3);
}

#[test]
fn a_connection_that_waits_for_pages_still_sends_control_frames() {
    let mut connection = connection();
    connection.requests.push_back(block(0));
    assert!(connection.is_ready());
    connection.waits = 1;
    assert!(!connection.is_ready());
    connection.control.push(0);
    assert!(connection.is_ready());
    connection.outgoing = Outgoing::Sending;
    assert!(!connection.is_ready(), "one batch at a time");
}

proptest! {
    /// However the socket cuts the bytes, each block is counted once, when its last byte went.
    #[test]
    fn blocks_are_counted_when_they_are_whole(
        lengths in prop::collection::vec(1u32..40_000, 1..12),
        cuts in prop::collection::vec(1u32..50_000, 1..40),
    ) {
        let mut connection = connection();
        for length in &lengths {
            let bytes = length + 13;
            let block = BlockRef { piece: PieceIndex(0), begin: 0, length: *length };
            connection.frames.push_back(Frame { left: bytes, bytes, block: Some(block) });
        }
        let total: u32 = lengths.iter().map(|length| length + 13).sum();
        let (mut sent, mut done) = (0, Completed::default());
        for cut in cuts.iter().chain(std::iter::repeat(&u32::MAX)) {
            let step = (*cut).min(total - sent);
            let completed = connection.sent(step);
            sent += step;
            done.blocks += completed.blocks;
            done.block_bytes += completed.block_bytes;
            let whole = lengths.iter().scan(0, |end, length| {
                *end += length + 13;
                Some((*end, *length))
            }).take_while(|(end, _)| *end <= sent);
            let bytes: u64 = whole.map(|(_, length)| u64::from(length)).sum();
            prop_assert_eq!(done.block_bytes, bytes);
            if sent == total {
                break;
            }
        }
        prop_assert_eq!(done.blocks, lengths.len() as u64);
        prop_assert!(connection.frames.is_empty());
    }
}

#[test]
fn what_a_full_socket_will_not_take_is_asked_for_again_and_the_next_batch_is_smaller() {
    let mut connection = blocked(0..8);
    connection.requests.push_back(block(9));
    connection.took_some(20_000);
    // The block that was begun, and one more to fill the room.
    assert_eq!(left_of(&connection), 2 * 16_397 - 100);
    assert_eq!(connection.frames.len(), 2);
    assert_eq!(connection.requests, (2..8).chain([9]).map(block).collect::<Vec<_>>());
    assert_eq!(connection.room_bytes, 20_000);
    connection.took_some(0);
    assert_eq!(connection.room_bytes, BLOCK_BYTES, "a block at least");
    // The rest of the begun block alone is a little less than that.
    assert_eq!(left_of(&connection), 2 * 16_397 - 100);
}

#[test]
fn a_socket_that_takes_all_is_given_more_up_to_the_largest_batch() {
    let mut connection = connection();
    assert_eq!(connection.room_bytes, ROOM_BYTES_MAX);
    connection.took_some(3 * BLOCK_BYTES);
    connection.took_all();
    assert_eq!(connection.room_bytes, 6 * BLOCK_BYTES);
    (0..40).for_each(|_| connection.took_all());
    assert_eq!(connection.room_bytes, ROOM_BYTES_MAX);
}

#[test]
fn frames_of_our_own_are_never_taken_back() {
    let mut connection = blocked(0..2);
    let Outgoing::Blocked(batch) = &mut connection.outgoing else { panic!("not blocked") };
    batch.push_bytes(&[7; 50_000]);
    connection.frames.push_back(Frame { left: 50_000, bytes: 50_000, block: None });
    connection.took_some(1);
    assert_eq!(left_of(&connection), 2 * 16_397 - 100 + 50_000);
    assert!(connection.requests.is_empty());
}

#[test]
fn few_requests_are_little_and_many_are_much() {
    let mut connection = connection();
    connection.requests.extend((0..4).map(block));
    assert_eq!(connection.asks(), Asks::Little);
    connection.requests.push_back(block(4));
    assert_eq!(connection.asks(), Asks::Much);
}
