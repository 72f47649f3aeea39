//! A whole connection. Fed at once or in small parts, a peer ends in the same state with the same
//! events; its memory stays within the limits; no request that cannot be served is served.
#![no_main]

use std::mem::take;

use libfuzzer_sys::fuzz_target;
use ringseed_meta::{InfoHash, Instant, PeerId};
use ringseed_wire::peer::{PieceFacts, PieceMemory, Verdict};
use ringseed_wire::{Event, Features, Handshake, Peer, PeerOptions, ProtocolError, Torrent};

const PIECE_COUNT: u32 = 21;
const PIECE: PieceFacts = PieceFacts { piece_bytes: 200_000, is_held: true };

struct Run {
    events: Vec<Event>,
    bodies: Vec<u8>,
    end: Result<(), ProtocolError>,
}

fn run(features: Features, stream: &[u8], part_bytes: usize) -> Run {
    let options = PeerOptions { piece_memory: PieceMemory::Set, ..PeerOptions::default() };
    let now = Instant::ZERO;
    let mut peer = Peer::incoming(&options, now);
    let hello = Handshake { info_hash: InfoHash([1; 20]), peer_id: PeerId([2; 20]), features };
    peer.receive(now, &mut hello.encode(), &mut Vec::new()).expect("a handshake is valid");
    peer.attach(Torrent { piece_count: PIECE_COUNT, metadata_bytes: Some(50_000) });
    let mut run = Run { events: Vec::new(), bodies: Vec::new(), end: Ok(()) };
    let mut events = Vec::new();
    for part in stream.chunks(part_bytes) {
        let mut bytes = part.to_vec();
        let result = peer.receive(now, &mut bytes, &mut events);
        assert!(events.len() <= bytes.len() / 4 + 2);
        for event in events.drain(..) {
            run.take(&mut peer, event, &bytes);
        }
        assert!(peer.heap_bytes() <= 3 * 4096 + PIECE_COUNT as usize);
        assert!(peer.piece_count() <= PIECE_COUNT);
        match result {
            Ok(consumed) => assert_eq!(consumed, bytes.len()),
            Err(error) => {
                run.end = Err(error);
                break;
            }
        }
    }
    run
}

impl Run {
    fn take(&mut self, peer: &mut Peer, mut event: Event, bytes: &[u8]) {
        match &mut event {
            Event::PieceData { at, range, .. }
            | Event::MetadataData { at, range, .. }
            | Event::HashData { at, range } => {
                self.bodies.extend_from_slice(&bytes[take(range)]);
                if take(at) > 0 {
                    return;
                }
            }
            Event::Request(block) => {
                let verdict = peer.judge(*block, 0, PIECE);
                assert!(verdict != Verdict::Serve || peer.keeps_while_choked(block.piece));
                let _ = peer.unchoke();
                if peer.judge(*block, 0, PIECE) == Verdict::Serve {
                    let end = u64::from(block.begin) + u64::from(block.length);
                    assert!(block.piece.0 < PIECE_COUNT && block.length > 0 && end <= 200_000);
                }
                let _ = peer.choke();
            }
            Event::MetadataRequest { piece } => drop(peer.judge_metadata(*piece)),
            _ => {}
        }
        self.events.push(event);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some(([bits, part_bytes], stream)) = input.split_first_chunk() else { return };
    let features = Features {
        fast: bits & 1 != 0,
        extended: bits & 2 != 0,
        dht: bits & 4 != 0,
        v2: bits & 8 != 0,
    };
    let whole = run(features, stream, stream.len().max(1));
    let parts = run(features, stream, usize::from(*part_bytes).max(1));
    assert_eq!(whole.events, parts.events);
    assert_eq!(whole.bodies, parts.bodies);
    assert_eq!(whole.end, parts.end);
});
