//! Each message by itself: what it does, and when it is one too many.

use super::*;

fn fault(theirs: Features, bytes: &[u8]) -> Option<ProtocolError> {
    events_of(theirs, bytes).err()
}

fn field(ones: &[u32]) -> Vec<u8> {
    let mut field = vec![0; 126];
    for piece in ones {
        field[(piece / 8) as usize] |= 0x80 >> (piece % 8);
    }
    field
}

#[test]
fn a_bitfield_becomes_the_pieces_of_the_peer() {
    let mut peer = connected(NONE);
    let mut bytes = stream(|out| message::write_bitfield(out, &field(&[0, 7, 1000])));
    message::write_have(&mut bytes, PieceIndex(8));
    message::write_have(&mut bytes, PieceIndex(7));
    let mut events = Vec::new();
    peer.receive(Instant::ZERO, &mut bytes, &mut events).unwrap();
    let haves = [Event::Have(PieceIndex(8)), Event::Have(PieceIndex(7))];
    assert_eq!(events, [&[Event::Bitfield], &haves[..]].concat());
    assert_eq!(peer.piece_count(), 4);
    let has = [0, 1, 7, 8, 1000].map(|piece| peer.has_piece(PieceIndex(piece)));
    assert_eq!(has, [true, false, true, true, true]);
    assert!(!peer.is_seed());
}

#[test]
fn a_full_bitfield_is_a_seed_and_keeps_no_set() {
    let mut peer = connected(NONE);
    let all: Vec<u32> = (0..1001).collect();
    let mut bytes = stream(|out| message::write_bitfield(out, &field(&all)));
    peer.receive(Instant::ZERO, &mut bytes, &mut Vec::new()).unwrap();
    assert!(peer.is_seed() && peer.has_piece(PieceIndex(1000)));
    assert_eq!(peer.piece_count(), 1001);
}

#[test]
fn spare_bits_and_lengths_of_a_bitfield_are_checked() {
    let mut spare = field(&[3]);
    spare[125] |= 0x01;
    let bytes = stream(|out| message::write_bitfield(out, &spare));
    assert_eq!(fault(NONE, &bytes), Some(ProtocolError::SpareBits));
    for length in [0, 125, 127, 100_000] {
        // Its length alone is enough.
        let bytes = &stream(|out| message::write_bitfield(out, &vec![0; length]))[..5];
        let error = ProtocolError::BitfieldLength { bytes: length as u32, needed: 126 };
        assert_eq!(fault(NONE, bytes), Some(error));
    }
}

#[test]
fn a_later_bitfield_replaces_what_was_told() {
    let firsts: [Write; 5] = [
        |out| message::write_have(out, PieceIndex(0)),
        |out| message::write_bitfield(out, &field(&[1, 2, 3])),
        message::write_have_all,
        message::write_have_none,
        message::write_interested,
    ];
    for first in firsts {
        let count = |second: Write| {
            let mut peer = connected(ALL);
            let mut bytes = [stream(first), stream(second)].concat();
            peer.receive(Instant::ZERO, &mut bytes, &mut Vec::new()).unwrap();
            peer.piece_count()
        };
        assert_eq!(count(|out| message::write_bitfield(out, &field(&[5, 6]))), 2);
        assert_eq!(count(message::write_have_all), 1001);
        assert_eq!(count(message::write_have_none), 0);
    }
}

#[test]
fn what_clients_send_before_their_bitfield_does_no_harm() {
    let bytes = stream(|out| {
        message::write_keep_alive(out);
        ExtendedHandshake::default().write(out);
        message::write_port(out, 6881);
        out.extend_from_slice(&[0, 0, 0, 3, 99, 1, 2]);
        message::write_bitfield(out, &field(&[1]));
    });
    let events = events_of(ALL, &bytes).unwrap();
    let [Event::ExtendedHandshake(_), rest @ ..] = &events[..] else { panic!("{events:?}") };
    assert_eq!(rest, [Event::Port(6881), Event::Skipped { id: 99, bytes: 2 }, Event::Bitfield]);
}

#[test]
fn messages_of_the_fast_extension_need_it() {
    let fast: [(u8, Write); 5] = [
        (id::HAVE_ALL, message::write_have_all),
        (id::HAVE_NONE, message::write_have_none),
        (id::SUGGEST, |out| message::write_suggest(out, PieceIndex(1))),
        (id::REJECT, |out| message::write_reject(out, block(1, 2, 3))),
        (id::ALLOWED_FAST, |out| message::write_allowed_fast(out, PieceIndex(1))),
    ];
    for (id, write) in fast {
        let bytes = stream(write);
        assert_eq!(fault(NONE, &bytes), Some(ProtocolError::FastNotAgreed { id }));
        assert_eq!(events_of(ALL, &bytes).map(|events| events.len()), Ok(1));
    }
}

#[test]
fn a_piece_outside_the_torrent_closes() {
    let outside = PieceIndex(1001);
    let error = ProtocolError::PieceOutOfRange { piece: 1001, piece_count: 1001 };
    let writes: [fn(&mut Vec<u8>, PieceIndex); 5] = [
        |out, piece| message::write_have(out, piece),
        |out, piece| message::write_suggest(out, piece),
        |out, piece| message::write_allowed_fast(out, piece),
        |out, piece| message::write_reject(out, block(piece.0, 0, 1)),
        |out, piece| out.extend_from_slice(&message::piece_header(block(piece.0, 0, 1))),
    ];
    for write in writes {
        assert_eq!(fault(ALL, &stream(|out| write(out, outside))), Some(error));
        assert_eq!(fault(ALL, &stream(|out| write(out, PieceIndex(1000)))), None);
    }
}

#[test]
fn a_message_of_a_wrong_length_closes_before_its_payload() {
    let lengths = [
        (id::CHOKE, 0),
        (id::UNCHOKE, 0),
        (id::INTERESTED, 0),
        (id::NOT_INTERESTED, 0),
        (id::HAVE_ALL, 0),
        (id::HAVE_NONE, 0),
        (id::PORT, 2),
        (id::HAVE, 4),
        (id::SUGGEST, 4),
        (id::ALLOWED_FAST, 4),
        (id::REQUEST, 12),
        (id::CANCEL, 12),
        (id::REJECT, 12),
        (id::HASH_REQUEST, 48),
        (id::HASH_REJECT, 48),
    ];
    for (id, right) in lengths {
        for wrong in [right + 1, right + 1000] {
            let mut head = (wrong + 1u32).to_be_bytes().to_vec();
            head.push(id);
            let error = fault(ALL, &head);
            let closes = matches!(error, Some(ProtocolError::Length { id: at, bytes, .. })
                if at == id && bytes == wrong);
            assert!(closes, "{id} {wrong}: {error:?}");
        }
    }
    let shortest = |id, payload: u32| {
        let mut head = (payload + 1).to_be_bytes().to_vec();
        head.push(id);
        fault(ALL, &head).is_some()
    };
    assert!(shortest(id::PIECE, 8) && !shortest(id::PIECE, 9));
    assert!(shortest(id::PIECE, 8 + 131_073) && !shortest(id::PIECE, 8 + 131_072));
    assert!(shortest(id::HASHES, 48) && shortest(id::HASHES, 81) && !shortest(id::HASHES, 80));
    assert!(shortest(id::HASHES, 48 + 545 * 32) && !shortest(id::HASHES, 48 + 544 * 32));
    assert!(shortest(id::EXTENDED, 0));
}

#[test]
fn a_frame_over_the_limit_closes_and_an_unknown_one_within_it_is_skipped() {
    let bytes = limits::FRAME_BYTES_MAX + 1;
    let head = bytes.to_be_bytes();
    assert_eq!(fault(ALL, &head), Some(ProtocolError::FrameTooLong { bytes }));
    assert_eq!(
        fault(ALL, &u32::MAX.to_be_bytes()).map(|e| e.to_string().contains("1048576")),
        Some(true)
    );

    let mut peer = connected(ALL);
    let mut unknown = vec![7; 4 + limits::FRAME_BYTES_MAX as usize];
    unknown[..5].copy_from_slice(&[0, 16, 0, 0, 200]);
    message::write_unchoke(&mut unknown);
    let mut events = Vec::new();
    for part in unknown.chunks_mut(1000) {
        peer.receive(Instant::ZERO, part, &mut events).unwrap();
        assert!(peer.reader.carried_bytes() <= 17, "a skipped body is not gathered");
    }
    let skipped = Event::Skipped { id: 200, bytes: limits::FRAME_BYTES_MAX - 1 };
    assert_eq!(events, [skipped, Event::Unchoke]);
}

#[test]
fn a_port_is_told_only_to_those_who_run_a_node() {
    let bytes = stream(|out| message::write_port(out, 6881));
    assert_eq!(events_of(ALL, &bytes), Ok(vec![Event::Port(6881)]));
    assert_eq!(events_of(NONE, &bytes), Ok(vec![]));
    assert_eq!(events_of(ALL, &stream(|out| message::write_port(out, 0))), Ok(vec![]));
}

#[test]
fn an_extended_message_of_an_id_we_did_not_offer_is_skipped() {
    let bytes = [0, 0, 0, 6, 20, 77, 1, 2, 3, 4];
    assert_eq!(events_of(ALL, &bytes), Ok(vec![Event::Skipped { id: 20, bytes: 4 }]));
    let ours = stream(|out| ExtendedHandshake::default().write(out));
    assert_eq!(events_of(NONE, &ours), Ok(vec![Event::Skipped { id: 20, bytes: 0 }]));
}

#[test]
fn an_extended_handshake_adds_to_the_one_before() {
    let mut peer = connected(ALL);
    let mut feed = |handshake: ExtendedHandshake| {
        let mut bytes = stream(|out| handshake.write(out));
        peer.receive(Instant::ZERO, &mut bytes, &mut Vec::new()).unwrap();
        (peer.metadata_id(), peer.is_upload_only())
    };
    let empty = ExtendedHandshake::default;
    assert_eq!(feed(ExtendedHandshake { metadata_id: Some(3), ..empty() }), (Some(3), false));
    assert_eq!(feed(ExtendedHandshake { upload_only: true, ..empty() }), (Some(3), true));
    assert_eq!(feed(ExtendedHandshake { metadata_id: Some(0), ..empty() }), (None, false));
}

#[test]
fn extended_messages_that_cannot_be_read_close() {
    let extended = |id: u8, dict: &[u8]| {
        let mut bytes = (dict.len() as u32 + 2).to_be_bytes().to_vec();
        bytes.extend_from_slice(&[20, id]);
        bytes.extend_from_slice(dict);
        fault(ALL, &bytes)
    };
    assert!(matches!(extended(0, b"d1:v"), Some(ProtocolError::Extended { id: 0, .. })));
    assert_eq!(extended(0, b"le"), Some(ProtocolError::ExtendedIncomplete { id: 0 }));
    let deep = [vec![b'l'; 9], vec![b'e'; 9]].concat();
    assert!(matches!(extended(0, &deep), Some(ProtocolError::Extended { id: 0, .. })));
    let long = extended(0, &[b'x'; 4097]);
    assert_eq!(long, Some(ProtocolError::ExtendedTooLong { id: 0, bytes: 4097, limit: 4096 }));
    assert!(matches!(extended(1, b"d8:msg"), Some(ProtocolError::Extended { id: 1, .. })));
    assert!(matches!(extended(1, &[b'9'; 200]), Some(ProtocolError::Extended { id: 1, .. })));
    assert_eq!(extended(1, b"de"), Some(ProtocolError::ExtendedIncomplete { id: 1 }));
    let negative = extended(1, b"d8:msg_typei0e5:piecei-1ee");
    assert_eq!(negative, Some(ProtocolError::ExtendedIncomplete { id: 1 }));
    assert_eq!(extended(1, b"d8:msg_typei9ee"), None);
}

#[test]
fn a_piece_of_metadata_is_never_longer_than_it_may_be() {
    let message = MetadataMessage::Data { piece: 0, total_bytes: 40_000 };
    let bytes = stream(|out| message.write(out, METADATA_ID, &[7; 16_385]));
    let error = ProtocolError::ExtendedTooLong { id: 1, bytes: 16_385, limit: 16_384 };
    assert_eq!(fault(ALL, &bytes), Some(error));
    let bytes = stream(|out| message.write(out, METADATA_ID, &[7; 16_384]));
    assert_eq!(fault(ALL, &bytes), None);
}
