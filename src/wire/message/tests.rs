//! Each message is written as its BEP gives it, and read as it was written.

use alloc::vec::Vec;

use super::*;
use crate::frame::{Frame, FrameReader};

const BLOCK: BlockRef = BlockRef { piece: PieceIndex(0x0102), begin: 0x0304_0506, length: 0x4000 };
const REQUEST: HashRequest =
    HashRequest { pieces_root: [7; 32], base_layer: 1, index: 512, length: 256, proof_layers: 9 };

fn read(bytes: &[u8]) -> (Message, usize) {
    let mut reader = FrameReader::new();
    let mut at = 0;
    let frame = reader.next(bytes, &mut at, FrameLimits { bitfield_bytes: None });
    match frame {
        Ok(Some(Frame::Message(message))) => (message, at),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read() {
    type Case = (fn(&mut Vec<u8>), Message, usize);
    let cases: [Case; 19] = [
        (write_keep_alive, Message::KeepAlive, 4),
        (write_choke, Message::Choke, 5),
        (write_unchoke, Message::Unchoke, 5),
        (write_interested, Message::Interested, 5),
        (write_not_interested, Message::NotInterested, 5),
        (|out| write_have(out, PieceIndex(9)), Message::Have(PieceIndex(9)), 9),
        (|out| write_request(out, BLOCK), Message::Request(BLOCK), 17),
        (|out| write_cancel(out, BLOCK), Message::Cancel(BLOCK), 17),
        (|out| write_port(out, 6881), Message::Port(6881), 7),
        (|out| write_suggest(out, PieceIndex(9)), Message::Suggest(PieceIndex(9)), 9),
        (write_have_all, Message::HaveAll, 5),
        (write_have_none, Message::HaveNone, 5),
        (|out| write_reject(out, BLOCK), Message::Reject(BLOCK), 17),
        (|out| write_allowed_fast(out, PieceIndex(9)), Message::AllowedFast(PieceIndex(9)), 9),
        (|out| write_hash_request(out, &REQUEST), Message::HashRequest(REQUEST), 53),
        (|out| write_hash_reject(out, &REQUEST), Message::HashReject(REQUEST), 53),
        (|out| write_bitfield(out, &[0xff, 0x80]), Message::Bitfield { bytes: 2 }, 7),
        (|out| out.extend(piece_header(BLOCK)), Message::Piece(BLOCK), 13),
        (
            |out| write_hashes(out, &REQUEST, &[[1; 32], [2; 32]]),
            Message::Hashes { request: REQUEST, bytes: 64 },
            117,
        ),
    ];
    for (write, message, bytes) in cases {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(out.len(), bytes, "{message}");
        let body_bytes = match message {
            Message::Bitfield { bytes } | Message::Hashes { bytes, .. } => bytes as usize,
            _ => 0,
        };
        assert_eq!(read(&out), (message, bytes - body_bytes));
    }
}

#[test]
fn a_piece_header_is_as_bep_3_gives_it() {
    let header = [0, 0, 0x40, 9, 7, 0, 0, 1, 2, 3, 4, 5, 6];
    assert_eq!(piece_header(BLOCK), header);
}

#[test]
fn a_request_and_its_hashes_are_as_the_beps_give_them() {
    let mut out = Vec::new();
    write_request(&mut out, BLOCK);
    assert_eq!(out, [0, 0, 0, 13, 6, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0x40, 0]);
    out.clear();
    write_hash_request(&mut out, &REQUEST);
    assert_eq!(out[..5], [0, 0, 0, 49, 21]);
    assert_eq!(out[5..37], [7; 32]);
    assert_eq!(out[37..], [0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 9]);
}

#[test]
fn state_messages_write_their_ids() {
    let mut out = Vec::new();
    let all = [
        StateMessage::Choke,
        StateMessage::Unchoke,
        StateMessage::Interested,
        StateMessage::NotInterested,
    ];
    all.into_iter().for_each(|message| message.write(&mut out));
    let ids: Vec<u8> = out.chunks(5).map(|frame| frame[4]).collect();
    assert_eq!(ids, [0, 1, 2, 3]);
}
