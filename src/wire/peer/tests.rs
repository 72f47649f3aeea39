//! A peer is fed whole, split and broken streams.

use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;
use ringseed_meta::{BlockRef, PeerId};

use super::*;
use crate::extended::{METADATA_ID, MetadataMessage};
use crate::hashes::HashRequest;
use crate::message::{self, id};
use crate::{ExtendedHandshake, Handshake};

mod messages;
mod requests;
mod streams;

/// Writes a message.
type Write = fn(&mut Vec<u8>);

const TORRENT: Torrent = Torrent { piece_count: 1001, metadata_bytes: Some(40_000) };
const ALL: Features = Features { fast: true, extended: true, dht: true, v2: true };
const NONE: Features = Features { fast: false, extended: false, dht: false, v2: false };

fn at_s(seconds: u64) -> Instant {
    Instant::from_us(seconds * 1_000_000)
}

fn hello(features: Features) -> Handshake {
    Handshake { info_hash: InfoHash([9; 20]), peer_id: PeerId(*b"-XX1234-............"), features }
}

fn options() -> PeerOptions {
    PeerOptions { features: ALL, piece_memory: PieceMemory::Set, ..PeerOptions::default() }
}

/// A peer behind its handshake, attached to `TORRENT`.
fn connected(theirs: Features) -> Peer {
    let mut peer = Peer::incoming(&options(), Instant::ZERO);
    let mut events = Vec::new();
    let consumed = peer.receive(Instant::ZERO, &mut hello(theirs).encode(), &mut events);
    assert_eq!((consumed, events.len()), (Ok(68), 1));
    peer.attach(TORRENT);
    peer
}

/// What a connected peer makes of one stream.
fn events_of(theirs: Features, stream: &[u8]) -> Result<Vec<Event>, ProtocolError> {
    let mut events = Vec::new();
    let mut bytes = stream.to_vec();
    let consumed = connected(theirs).receive(Instant::ZERO, &mut bytes, &mut events)?;
    assert_eq!(consumed, stream.len());
    Ok(events)
}

fn stream(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn block(piece: u32, begin: u32, length: u32) -> BlockRef {
    BlockRef { piece: PieceIndex(piece), begin, length }
}

#[test]
fn nothing_behind_a_handshake_is_read_until_the_torrent_is_known() {
    let mut peer = Peer::incoming(&options(), Instant::ZERO);
    let mut bytes = hello(ALL).encode().to_vec();
    message::write_have_all(&mut bytes);
    let mut events = Vec::new();
    assert_eq!(peer.receive(Instant::ZERO, &mut bytes, &mut events), Ok(68));
    assert_eq!(peer.receive(Instant::ZERO, &mut bytes[68..], &mut events), Ok(0));
    assert_eq!(events, [Event::Handshake(hello(ALL))]);
    peer.attach(TORRENT);
    assert_eq!(peer.receive(Instant::ZERO, &mut bytes[68..], &mut events), Ok(5));
    assert_eq!(events[1..], [Event::HaveAll]);
    assert!(peer.is_seed());
}

#[test]
fn a_handshake_may_come_byte_by_byte_and_is_refused_at_the_first_wrong_one() {
    let mut peer = Peer::incoming(&options(), Instant::ZERO);
    let mut events = Vec::new();
    for byte in hello(ALL).encode() {
        assert!(events.is_empty());
        assert_eq!(peer.receive(Instant::ZERO, &mut [byte], &mut events), Ok(1));
    }
    assert_eq!(events, [Event::Handshake(hello(ALL))]);

    let mut peer = Peer::incoming(&options(), Instant::ZERO);
    assert_eq!(peer.receive(Instant::ZERO, &mut b"\x13BitTor".to_vec(), &mut events), Ok(7));
    let wrong = peer.receive(Instant::ZERO, &mut b"X".to_vec(), &mut events);
    assert_eq!(wrong, Err(ProtocolError::WrongProtocol { at: 7 }));
}

#[test]
fn an_answer_for_another_swarm_is_refused() {
    let mut events = Vec::new();
    let mut peer = Peer::outgoing(InfoHash([8; 20]), &options(), Instant::ZERO);
    let wrong = peer.receive(Instant::ZERO, &mut hello(ALL).encode(), &mut events);
    assert_eq!(wrong, Err(ProtocolError::WrongInfoHash));
    let mut peer = Peer::outgoing(InfoHash([9; 20]), &options(), Instant::ZERO);
    assert_eq!(peer.receive(Instant::ZERO, &mut hello(ALL).encode(), &mut events), Ok(68));
}

#[test]
fn features_are_what_both_sides_can_do() {
    assert_eq!(connected(NONE).features(), NONE);
    assert_eq!(connected(ALL).features(), ALL);
    assert_eq!(connected(NONE).refusal(), Refusal::Silence);
    assert_eq!(connected(ALL).refusal(), Refusal::Reject);
}

#[test]
fn a_byte_a_second_does_not_hold_a_connection() {
    let mut peer = Peer::incoming(&options(), Instant::ZERO);
    let deadline = peer.deadline().unwrap();
    assert_eq!(deadline, at_s(u64::from(limits::HANDSHAKE_TIMEOUT_S)));
    for (second, byte) in hello(ALL).encode().into_iter().take(14).enumerate() {
        peer.receive(at_s(second as u64), &mut [byte], &mut Vec::new()).unwrap();
    }
    assert_eq!(peer.on_deadline(at_s(14)), Due::Nothing);
    assert_eq!(peer.deadline(), Some(deadline));
    assert_eq!(peer.on_deadline(deadline), Due::CloseHandshakeTimeout);
}

#[test]
fn only_whole_messages_keep_a_connection() {
    let mut peer = connected(ALL);
    let idle_s = u64::from(limits::IDLE_TIMEOUT_S);
    let bytes = stream(|out| message::write_request(out, block(0, 0, 16_384)));
    for (second, byte) in bytes[..16].iter().enumerate() {
        peer.receive(at_s(second as u64 * 10), &mut [*byte], &mut Vec::new()).unwrap();
    }
    peer.on_sent(at_s(150));
    assert_eq!(peer.deadline(), Some(at_s(idle_s)));
    assert_eq!(peer.on_deadline(at_s(idle_s)), Due::CloseIdle);
    peer.receive(at_s(170), &mut [bytes[16]], &mut Vec::new()).unwrap();
    assert_eq!(peer.on_deadline(at_s(idle_s)), Due::Nothing);
    assert_eq!(peer.deadline(), Some(at_s(150 + u64::from(limits::KEEP_ALIVE_S))));
}

#[test]
fn a_keep_alive_is_due_after_silence_of_ours() {
    let mut peer = connected(ALL);
    let keep_alive_s = u64::from(limits::KEEP_ALIVE_S);
    assert_eq!(peer.deadline(), Some(at_s(keep_alive_s)));
    assert_eq!(peer.on_deadline(at_s(keep_alive_s - 1)), Due::Nothing);
    assert_eq!(peer.on_deadline(at_s(keep_alive_s)), Due::SendKeepAlive);
    peer.on_sent(at_s(keep_alive_s));
    assert_eq!(peer.on_deadline(at_s(keep_alive_s)), Due::Nothing);
    // A keep-alive of theirs says nothing, but counts.
    let mut events = Vec::new();
    peer.receive(at_s(keep_alive_s), &mut [0; 4], &mut events).unwrap();
    assert!(events.is_empty());
    assert_eq!(peer.on_deadline(at_s(keep_alive_s + 80)), Due::Nothing);
}

#[test]
fn a_state_bit_that_changes_names_its_message() {
    let mut peer = connected(ALL);
    assert_eq!(peer.choke(), None);
    assert_eq!(peer.unchoke(), Some(StateMessage::Unchoke));
    assert_eq!(peer.unchoke(), None);
    assert!(!peer.am_choking());
    assert_eq!(peer.choke(), Some(StateMessage::Choke));
    assert_eq!(peer.set_interested(), Some(StateMessage::Interested));
    assert!(peer.am_interested());
    assert_eq!(peer.set_not_interested(), Some(StateMessage::NotInterested));
}

#[test]
fn the_state_bits_of_the_other_follow_its_messages() {
    let mut peer = connected(NONE);
    let mut feed = |write: Write| {
        let mut events = Vec::new();
        peer.receive(Instant::ZERO, &mut stream(write), &mut events).unwrap();
        (events, peer.peer_choking(), peer.peer_interested())
    };
    assert_eq!(feed(message::write_unchoke), (vec![Event::Unchoke], false, false));
    assert_eq!(feed(message::write_interested), (vec![Event::Interested], false, true));
    assert_eq!(feed(message::write_choke), (vec![Event::Choke], true, true));
    let last = feed(message::write_not_interested);
    assert_eq!(last, (vec![Event::NotInterested], true, false));
}
