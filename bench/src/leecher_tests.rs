use std::sync::Arc;

use proptest::prelude::*;
use ringseed_meta::PeerId;

use super::*;
use crate::order::{Blocks, Order};
use crate::tally::Distinct;
use crate::target::Pieces;

const NAME: InfoHash = InfoHash([7; 20]);
const T0: Instant = Instant::from_us(1_000);
const T1: Instant = Instant::from_us(1_250);

fn leecher(depth: usize) -> Leecher {
    let pieces = Pieces::even(1 << 15, (9 << 15) + 100).unwrap();
    let blocks = Blocks::new(pieces.clone(), Order::Sequential, 0, 1);
    let requests = Requests::closed(blocks, depth, u64::MAX);
    Leecher::new(NAME, pieces.count(), requests, Interest::Told, None)
}

fn tally() -> Tally {
    Tally::new(Arc::new(Distinct::new(10)))
}

fn frame(id: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32 + 1).to_be_bytes().to_vec();
    bytes.push(id);
    bytes.extend_from_slice(body);
    bytes
}

fn handshake() -> Vec<u8> {
    frames::handshake(NAME, PeerId([1; 20])).to_vec()
}

/// Requests are written as 4 bytes of length, the id, and what a reject has for a body.
fn asked(leecher: &mut Leecher) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    leecher.ask(T0, &mut out);
    out.chunks(17).map(|request| request[5..].to_vec()).collect()
}

fn piece_for(request: &[u8]) -> Vec<u8> {
    let length = u32::from_be_bytes(request[8..12].try_into().unwrap());
    let mut body = request[..8].to_vec();
    body.resize(8 + length as usize, 0xee);
    frame(id::PIECE, &body)
}

/// Gives the stream as a socket would: each read cut where `cut` says, drops where they are allowed.
fn feed(
    leecher: &mut Leecher,
    mut stream: &[u8],
    cuts: &mut dyn Iterator<Item = usize>,
    tally: &mut Tally,
) -> Result<(), Fault> {
    while !stream.is_empty() {
        let most = cuts.next().unwrap().max(1).min(stream.len());
        let taken = match leecher.need() {
            Need::Read(wanted) => {
                let taken = wanted.min(most);
                leecher.received(&stream[..taken], T1, tally)?;
                taken
            }
            Need::Discard(wanted) => {
                let taken = wanted.min(most);
                leecher.discarded(taken as u32, T1, tally);
                taken
            }
        };
        assert!(taken > 0, "a need for nothing would spin");
        stream = &stream[taken..];
    }
    Ok(())
}

fn feed_whole(leecher: &mut Leecher, stream: &[u8], tally: &mut Tally) -> Result<(), Fault> {
    feed(leecher, stream, &mut std::iter::repeat(usize::MAX), tally)
}

fn unchoked(depth: usize) -> (Leecher, Tally) {
    let (mut leecher, mut tally) = (leecher(depth), tally());
    let greeting = [handshake(), frame(id::HAVE_ALL, &[]), frame(id::UNCHOKE, &[])].concat();
    feed_whole(&mut leecher, &greeting, &mut tally).unwrap();
    (leecher, tally)
}

proptest! {
    #[test]
    fn a_stream_means_the_same_however_it_is_cut_and_read(
        cuts in prop::collection::vec(1_usize..40_000, 1..40), small in any::<bool>(), drop in any::<bool>(),
    ) {
        let (mut leecher, mut tally) = (leecher(4), tally());
        let mut cuts = cuts.into_iter().cycle().map(|cut| if small { cut % 20 + 1 } else { cut });
        let greeting = [
            handshake(), vec![0; 4], frame(id::BITFIELD, &[0xff, 0xc0]), frame(id::EXTENDED, &[0; 300]),
            frame(id::HAVE, &[0, 0, 0, 2]), vec![0; 8], frame(17, &[0; 4]), frame(id::UNCHOKE, &[]),
        ].concat();
        feed(&mut leecher, &greeting, &mut cuts, &mut tally).unwrap();
        let said = leecher.milestones();
        prop_assert_eq!([said.handshake, said.bitfield, said.unchoke], [Some(T1); 3]);
        prop_assert!(leecher.is_idle());

        let requests = asked(&mut leecher);
        prop_assert_eq!(requests.len(), 4);
        let answers = [
            vec![0; 4], piece_for(&requests[0]), frame(id::REJECT, &requests[2]),
            piece_for(&requests[3]), frame(id::HAVE, &[0; 4]), piece_for(&requests[1]),
        ].concat();
        if drop {
            feed(&mut leecher, &answers, &mut cuts, &mut tally).unwrap();
        } else {
            // Payloads may also be read, whatever `need` offers.
            let mut rest = answers.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                leecher.received(now, T1, &mut tally).unwrap();
                rest = later;
            }
        }
        prop_assert!(leecher.is_idle());
        let counts = tally.counts;
        prop_assert_eq!((counts.answers, counts.rejects, counts.chokes), (3, 1, 0));
        prop_assert_eq!(counts.payload_bytes, 3 << 14);
        let latency = &tally.latencies.request_to_piece;
        prop_assert_eq!((latency.min(), latency.max()), (250, 250));
        prop_assert_eq!(leecher.offset as usize, greeting.len() + answers.len());
        prop_assert_eq!(asked(&mut leecher).len(), 4);
    }

    #[test]
    fn no_stream_makes_it_panic(stream in prop::collection::vec(any::<u8>(), 0..400), greeted in any::<bool>()) {
        let (mut leecher, mut tally) = if greeted { unchoked(3) } else { (leecher(3), tally()) };
        asked(&mut leecher);
        let _ = feed_whole(&mut leecher, &stream, &mut tally);
    }
}

#[test]
fn nothing_is_asked_while_choked_and_depth_is_kept_afterwards() {
    let (mut leecher, mut tally) = (leecher(3), tally());
    assert!(asked(&mut leecher).is_empty());
    feed_whole(&mut leecher, &[handshake(), frame(id::UNCHOKE, &[])].concat(), &mut tally).unwrap();
    let requests = asked(&mut leecher);
    assert_eq!(requests.len(), 3);
    // A block half read is still outstanding.
    let answer = piece_for(&requests[0]);
    feed_whole(&mut leecher, &answer[..5_000], &mut tally).unwrap();
    assert!(asked(&mut leecher).is_empty());
    feed_whole(&mut leecher, &answer[5_000..], &mut tally).unwrap();
    assert_eq!(asked(&mut leecher).len(), 1);
}

#[test]
fn the_greeting_keeps_to_what_the_seeder_speaks_and_is_said_once() {
    for (reserved, ids) in [(4, &[15, 2][..]), (0, &[2])] {
        let (mut leecher, mut tally) = (leecher(1), tally());
        let mut out = Vec::new();
        leecher.greet(&mut out);
        assert!(out.is_empty());
        let mut hello = handshake();
        (hello[25], hello[27]) = (0, reserved);
        feed_whole(&mut leecher, &hello, &mut tally).unwrap();
        leecher.greet(&mut out);
        leecher.greet(&mut out);
        assert_eq!(out.chunks(5).map(|frame| frame[4]).collect::<Vec<_>>(), ids);
    }
}

#[test]
fn a_choke_drops_requests_unless_the_fast_extension_rejects_them_by_name() {
    for fast in [true, false] {
        let (mut leecher, mut tally) = (leecher(2), tally());
        let mut hello = handshake();
        hello[27] = if fast { 4 } else { 0 };
        feed_whole(&mut leecher, &[hello, frame(id::UNCHOKE, &[])].concat(), &mut tally).unwrap();
        let requests = asked(&mut leecher);
        let choke_and_back = [frame(id::CHOKE, &[]), frame(id::UNCHOKE, &[])].concat();
        feed_whole(&mut leecher, &choke_and_back, &mut tally).unwrap();
        assert_eq!(tally.counts.chokes, 1);
        let late = feed_whole(&mut leecher, &piece_for(&requests[0]), &mut tally);
        assert_eq!(late.is_ok(), fast);
    }
}

#[test]
fn an_open_loop_charges_from_the_time_a_request_was_due_and_asks_again_what_a_choke_dropped() {
    for fast in [true, false] {
        let pieces = Pieces::even(1 << 15, 10 << 15).unwrap();
        let blocks = Blocks::new(pieces.clone(), Order::Sequential, 0, 1);
        let requests = Requests::open(blocks, 8);
        let mut leecher = Leecher::new(NAME, pieces.count(), requests, Interest::Told, None);
        let mut tally = tally();
        let mut hello = handshake();
        hello[27] = if fast { 4 } else { 0 };
        leecher.arrive(Instant::from_us(100));
        feed_whole(&mut leecher, &hello, &mut tally).unwrap();
        assert!(asked(&mut leecher).is_empty(), "choked: it waits");
        feed_whole(&mut leecher, &frame(id::UNCHOKE, &[]), &mut tally).unwrap();
        let requests = asked(&mut leecher);
        assert_eq!(requests.len(), 1);
        let mut back = frame(id::CHOKE, &[]);
        if fast {
            back.extend(frame(id::REJECT, &requests[0]));
        }
        back.extend(frame(id::UNCHOKE, &[]));
        feed_whole(&mut leecher, &back, &mut tally).unwrap();
        assert_eq!((leecher.requests().waiting(), tally.counts.errors), (1, 0));
        let requests = asked(&mut leecher);
        feed_whole(&mut leecher, &piece_for(&requests[0]), &mut tally).unwrap();
        let latency = &tally.latencies.request_to_piece;
        assert_eq!((latency.len(), latency.max()), (1, T1.as_us() - 100));
    }
}

#[test]
fn an_answer_to_nothing_is_a_fault_that_shows_header_and_place() {
    let (mut leecher, mut tally) = unchoked(2);
    let requests = asked(&mut leecher);
    feed_whole(&mut leecher, &piece_for(&requests[0]), &mut tally).unwrap();
    let before = leecher.offset;
    let fault = feed_whole(&mut leecher, &piece_for(&requests[0]), &mut tally).unwrap_err();
    assert_eq!(leecher.frame_at(), before);
    assert_eq!(
        fault.to_string(),
        "the block header 00004009070000000000000000 answers none of 1 requests; \
         the oldest is piece 0 begin 16384 length 16384"
    );
}

#[test]
fn wrong_length_begin_or_index_of_a_block_is_a_fault() {
    for (at, wrong) in [(3, 0x08), (8, 1), (12, 1)] {
        let (mut leecher, mut tally) = unchoked(1);
        let mut answer = piece_for(&asked(&mut leecher)[0]);
        answer[at] = wrong;
        let fault = feed_whole(&mut leecher, &answer, &mut tally).unwrap_err();
        assert!(matches!(fault, Fault::NotAsked { outstanding: 1, .. }), "{fault}");
    }
    let (mut leecher, mut tally) = unchoked(1);
    let short = feed_whole(&mut leecher, &frame(id::PIECE, &[0; 7]), &mut tally).unwrap_err();
    assert!(matches!(short, Fault::NotAsked { .. }), "{short}");
}

#[test]
fn a_seeder_that_cannot_be_measured_is_named_as_such() {
    let cases = [
        (frame(id::BITFIELD, &[0xff, 0x80]), Fault::NotASeed { has: 9, of: 10 }),
        (frame(id::HAVE_NONE, &[]), Fault::NotASeed { has: 0, of: 10 }),
        (frame(id::BITFIELD, &[0xff]), Fault::FrameLength { id: 5, length: 2, right: 3 }),
        (frame(id::UNCHOKE, &[1]), Fault::FrameLength { id: 1, length: 2, right: 1 }),
        (vec![0x10, 0, 0, 1], Fault::FrameTooLong { length: 0x1000_0001, limit: FRAME_BYTES_MAX }),
    ];
    for (bytes, right) in cases {
        let (mut leecher, mut tally) = (leecher(1), tally());
        feed_whole(&mut leecher, &handshake(), &mut tally).unwrap();
        assert_eq!(feed_whole(&mut leecher, &bytes, &mut tally).unwrap_err(), right);
    }
    let mut other = handshake();
    other[28] = 8;
    let fault = feed_whole(&mut leecher(1), &other, &mut self::tally()).unwrap_err();
    assert!(matches!(fault, Fault::InfoHash { .. }));
    let fault = feed_whole(&mut leecher(1), &[b'H'; 68], &mut self::tally()).unwrap_err();
    assert!(matches!(fault, Fault::Handshake(_)), "{fault}");
}

#[test]
fn a_reject_of_nothing_asked_is_a_fault() {
    let (mut leecher, mut tally) = unchoked(1);
    let mut request = asked(&mut leecher)[0].clone();
    feed_whole(&mut leecher, &frame(id::REJECT, &request), &mut tally).unwrap();
    assert_eq!(tally.counts.rejects, 1);
    request[3] = 5;
    let fault = feed_whole(&mut leecher, &frame(id::REJECT, &request), &mut tally).unwrap_err();
    assert!(matches!(fault, Fault::RejectNotAsked(block) if block.piece.0 == 5));
}
