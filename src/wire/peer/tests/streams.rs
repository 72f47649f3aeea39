//! Whole streams: however they are split, the events are the same; whatever they hold, no panic
//! and no memory beyond the limits.

use super::*;

/// An event with the bytes of its body, consecutive bodies joined.
fn seen(peer: &mut Peer, parts: &[&[u8]]) -> Vec<(Event, Vec<u8>)> {
    let mut seen: Vec<(Event, Vec<u8>)> = Vec::new();
    let mut events = Vec::new();
    for part in parts {
        let mut bytes = part.to_vec();
        let consumed = peer.receive(Instant::ZERO, &mut bytes, &mut events).unwrap();
        assert_eq!(consumed, bytes.len());
        assert!(events.len() <= bytes.len() / 4 + 2);
        for mut event in events.drain(..) {
            let body = match &mut event {
                Event::PieceData { at, range, .. }
                | Event::MetadataData { at, range, .. }
                | Event::HashData { at, range } => {
                    let body = bytes[std::mem::take(range)].to_vec();
                    assert!(!body.is_empty());
                    match seen.last_mut() {
                        Some((_, before)) if *at > 0 => {
                            assert_eq!(before.len(), *at as usize);
                            before.extend_from_slice(&body);
                            continue;
                        }
                        _ => body,
                    }
                }
                _ => Vec::new(),
            };
            seen.push((event, body));
        }
    }
    seen
}

/// One valid message that may stand anywhere behind the first.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let piece = (0u32..1001).prop_map(PieceIndex);
    let any_block = (0u32..1001, any::<u32>(), any::<u32>()).prop_map(|(p, b, l)| block(p, b, l));
    let hashes = (any::<[u8; 32]>(), any::<[u32; 4]>()).prop_map(|(pieces_root, numbers)| {
        let [base_layer, index, length, proof_layers] = numbers;
        HashRequest { pieces_root, base_layer, index, length, proof_layers }
    });
    let body = |most| prop::collection::vec(any::<u8>(), 1..most);
    prop_oneof![
        (0u8..5).prop_map(|which| stream(|out| match which {
            0 => message::write_choke(out),
            1 => message::write_unchoke(out),
            2 => message::write_interested(out),
            3 => message::write_not_interested(out),
            _ => message::write_keep_alive(out),
        })),
        (0u8..3, piece).prop_map(|(which, piece)| stream(|out| match which {
            0 => message::write_have(out, piece),
            1 => message::write_suggest(out, piece),
            _ => message::write_allowed_fast(out, piece),
        })),
        (0u8..3, any_block).prop_map(|(which, block)| stream(|out| match which {
            0 => message::write_request(out, block),
            1 => message::write_cancel(out, block),
            _ => message::write_reject(out, block),
        })),
        (0u32..1001, any::<u32>(), body(300)).prop_map(|(piece, begin, body)| stream(|out| {
            out.extend(message::piece_header(block(piece, begin, body.len() as u32)));
            out.extend(body);
        })),
        (1u16.., 24u8.., body(100)).prop_map(|(port, id, body)| stream(|out| {
            message::write_port(out, port);
            out.extend((body.len() as u32 + 1).to_be_bytes());
            out.push(id);
            out.extend(body);
        })),
        (hashes, prop::collection::vec(any::<[u8; 32]>(), 1..9)).prop_map(|(request, hashes)| {
            stream(|out| {
                message::write_hash_request(out, &request);
                message::write_hashes(out, &request, &hashes);
                message::write_hash_reject(out, &request);
            })
        }),
        (any::<u32>(), any::<u32>(), body(200), any::<bool>()).prop_map(extended_messages),
    ]
}

fn extended_messages(
    (piece, total_bytes, body, upload_only): (u32, u32, Vec<u8>, bool),
) -> Vec<u8> {
    let client = "libfoo 1.2".to_string();
    let requests_max = Some(piece);
    stream(|out| {
        MetadataMessage::Request { piece }.write(out, METADATA_ID, &[]);
        MetadataMessage::Data { piece, total_bytes }.write(out, METADATA_ID, &body);
        MetadataMessage::Reject { piece }.write(out, METADATA_ID, &[]);
        ExtendedHandshake { client, requests_max, upload_only, ..Default::default() }.write(out);
        out.extend((body.len() as u32 + 2).to_be_bytes());
        out.extend([20, 9]);
        out.extend(body);
    })
}

/// A valid stream behind the handshake.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        Just(stream(message::write_have_all)),
        Just(stream(message::write_have_none)),
        prop::collection::vec(any::<u8>(), 125).prop_map(|mut field| {
            field.push(0x80);
            stream(|out| message::write_bitfield(out, &field))
        }),
    ];
    (first, prop::collection::vec(any_message(), 0..12))
        .prop_map(|(first, rest)| [first, rest.concat()].concat())
}

fn split<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    for cut in cuts {
        let (part, rest) = bytes.split_at((*cut).min(bytes.len()));
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_events(
        stream in any_stream(),
        cuts in prop::collection::vec(0usize..80, 0..40),
    ) {
        let mut whole = connected(ALL);
        let events = seen(&mut whole, &[&stream]);
        let mut parts = connected(ALL);
        prop_assert_eq!(&events, &seen(&mut parts, &split(&stream, &cuts)));
        let mut bytes = connected(ALL);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&events, &seen(&mut bytes, &single));
        prop_assert_eq!(whole.piece_count(), bytes.piece_count());
        prop_assert_eq!(whole.reader.carried_bytes(), 0);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_pile_up(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        // Short frames of known ids are what arbitrary bytes seldom make.
        ids in prop::collection::vec((0u8..24, 0u8..60), 0..20),
    ) {
        let mut stream: Vec<u8> = Vec::new();
        for (part, (id, length)) in parts.iter().zip(&ids) {
            stream.extend(u32::from(*length).to_be_bytes());
            stream.push(*id);
            stream.extend(part);
        }
        for theirs in [ALL, NONE] {
            let mut peer = connected(theirs);
            let mut events = Vec::new();
            for part in stream.chunks(23) {
                let mut bytes = part.to_vec();
                let result = peer.receive(Instant::ZERO, &mut bytes, &mut events);
                prop_assert!(peer.reader.carried_bytes() <= 4096 + 6);
                prop_assert!(events.len() <= stream.len());
                if result.is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn an_endless_extended_message_does_not_pile_up(byte: u8, id in 0u8..3, length in 2u32..1_048_576) {
        let mut peer = connected(ALL);
        let mut head = length.to_be_bytes().to_vec();
        head.extend([20, id]);
        let mut events = Vec::new();
        let mut result = peer.receive(Instant::ZERO, &mut head, &mut events);
        for _ in 0..50 {
            if result.is_err() {
                break;
            }
            result = peer.receive(Instant::ZERO, &mut [byte; 100], &mut events);
            prop_assert!(peer.reader.carried_bytes() <= 4096 + 6);
        }
    }
}
