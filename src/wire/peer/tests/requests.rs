//! Which requests are served.

use super::*;

const PIECE: PieceFacts = PieceFacts { piece_bytes: 262_144, is_held: true };

fn unchoked(theirs: Features) -> Peer {
    let mut peer = connected(theirs);
    peer.unchoke().unwrap();
    peer
}

#[test]
fn an_unaligned_request_within_its_piece_is_served() {
    let mut peer = unchoked(NONE);
    for block in [block(0, 0, 16_384), block(1000, 7, 13), block(5, 131_072, 131_072)] {
        assert_eq!(peer.judge(block, 0, PIECE), Verdict::Serve);
    }
}

#[test]
fn requests_that_no_torrent_could_serve_close() {
    let faults = [
        (block(0, 0, 0), ProtocolError::RequestEmpty { piece: 0 }),
        (block(0, 0, 131_073), ProtocolError::RequestTooLong { bytes: 131_073 }),
        (block(1001, 0, 1), ProtocolError::PieceOutOfRange { piece: 1001, piece_count: 1001 }),
        (
            block(3, 262_143, 2),
            ProtocolError::RequestPastEnd { piece: 3, end: 262_145, piece_bytes: 262_144 },
        ),
        (
            block(3, u32::MAX, 131_072),
            ProtocolError::RequestPastEnd { piece: 3, end: 4_295_098_367, piece_bytes: 262_144 },
        ),
    ];
    for (block, error) in faults {
        // Choked or not, with or without reject requests.
        assert_eq!(unchoked(NONE).judge(block, 0, PIECE), Verdict::Close(error));
        assert_eq!(connected(ALL).judge(block, 0, PIECE), Verdict::Close(error));
    }
}

#[test]
fn an_honest_request_that_is_not_served_is_rejected_or_ignored() {
    let one = block(0, 0, 16_384);
    let lacking = PieceFacts { is_held: false, ..PIECE };
    let full = usize::from(limits::REQUESTS_MAX);
    let refused = |theirs: Features| {
        [
            connected(theirs).judge(one, 0, PIECE),
            unchoked(theirs).judge(one, 0, lacking),
            unchoked(theirs).judge(one, full, PIECE),
        ]
    };
    let why = [Refused::Choked, Refused::PieceLacking, Refused::QueueFull];
    assert_eq!(refused(ALL), why.map(Verdict::Reject));
    assert_eq!(refused(NONE), why.map(Verdict::Ignore));
    assert_eq!(unchoked(NONE).judge(one, full - 1, PIECE), Verdict::Serve);
}

#[test]
fn allowed_fast_pieces_are_served_while_choked() {
    let mut peer = connected(ALL);
    peer.allow_fast(vec![PieceIndex(4), PieceIndex(9)]);
    assert_eq!(peer.judge(block(9, 0, 1), 0, PIECE), Verdict::Serve);
    assert_eq!(peer.judge(block(8, 0, 1), 0, PIECE), Verdict::Reject(Refused::Choked));
    assert!(peer.keeps_while_choked(PieceIndex(4)) && !peer.keeps_while_choked(PieceIndex(5)));
    let mut slow = connected(NONE);
    slow.allow_fast(vec![PieceIndex(4)]);
    assert_eq!(slow.judge(block(4, 0, 1), 0, PIECE), Verdict::Ignore(Refused::Choked));
}

#[test]
fn a_flood_of_requests_ends_in_a_close() {
    let mut peer = unchoked(ALL);
    let mut queued = 0;
    let mut rejected = 0;
    let verdict = loop {
        match peer.judge(block(0, 0, 16_384), queued, PIECE) {
            Verdict::Serve => queued += 1,
            Verdict::Reject(Refused::QueueFull) => rejected += 1,
            other => break other,
        }
    };
    assert_eq!(verdict, Verdict::Close(ProtocolError::TooManyRefused));
    assert_eq!((queued, rejected), (1024, usize::from(limits::REFUSALS_MAX)));
}

#[test]
fn a_served_request_makes_good_for_refused_ones() {
    let mut peer = unchoked(ALL);
    for _ in 0..3 {
        for _ in 0..limits::REFUSALS_MAX {
            let refused = peer.judge(block(0, 0, 1), 1024, PIECE);
            assert_eq!(refused, Verdict::Reject(Refused::QueueFull));
        }
        assert_eq!(peer.judge(block(0, 0, 1), 0, PIECE), Verdict::Serve);
    }
}

fn with_metadata_id(torrent: Torrent) -> Peer {
    let mut peer = connected(ALL);
    peer.state.torrent = torrent;
    peer.state.metadata_id = 3;
    peer
}

#[test]
fn metadata_is_served_in_pieces_of_16_kib() {
    let mut peer = with_metadata_id(TORRENT);
    let serve = |range| MetadataVerdict::Serve { their_id: 3, range, total_bytes: 40_000 };
    assert_eq!(peer.judge_metadata(0), serve(0..16_384));
    assert_eq!(peer.judge_metadata(2), serve(32_768..40_000));
    let reject = MetadataVerdict::Reject { their_id: 3 };
    assert_eq!(peer.judge_metadata(3), reject);
    assert_eq!(peer.judge_metadata(u32::MAX), reject);
    let unserved = Torrent { metadata_bytes: None, ..TORRENT };
    assert_eq!(with_metadata_id(unserved).judge_metadata(0), reject);
    assert_eq!(connected(ALL).judge_metadata(0), MetadataVerdict::Ignore);
}

#[test]
fn metadata_is_served_three_times_and_then_rejected_until_the_close() {
    let mut peer = with_metadata_id(TORRENT);
    let served = |verdict| matches!(verdict, MetadataVerdict::Serve { .. });
    assert_eq!((0..100).filter(|piece| served(peer.judge_metadata(piece % 3))).count(), 9);
    let close = MetadataVerdict::Close(ProtocolError::TooManyRefused);
    assert!((0..=limits::REFUSALS_MAX).any(|_| peer.judge_metadata(0) == close));
}

#[test]
fn refused_hash_requests_count_like_refused_requests() {
    let mut peer = connected(ALL);
    for _ in 0..limits::REFUSALS_MAX {
        assert_eq!(peer.on_hash_refused(), Ok(()));
    }
    assert_eq!(peer.on_hash_refused(), Err(ProtocolError::TooManyRefused));
}
