//! What each received frame does to the state of a peer.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use ringseed_meta::{BlockRef, Instant, PieceIndex};

use super::{Event, Phase, State};
use crate::extended::{HANDSHAKE_ID, METADATA_ID, MetadataMessage};
use crate::frame::Frame;
use crate::message::{Message, id};
use crate::{ExtendedHandshake, Handshake, ProtocolError, limits};

/// What the body of the message under way is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    Piece(BlockRef),
    Bitfield,
    Hashes,
    Metadata { piece: u32, total_bytes: u32 },
    Skipped,
}

impl State {
    pub(super) fn on_handshake(
        &mut self,
        now: Instant,
        handshake: Handshake,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        if self.expected.take().is_some_and(|expected| *expected != handshake.info_hash) {
            return Err(ProtocolError::WrongInfoHash);
        }
        self.features = self.features.both(handshake.features);
        self.phase = Phase::Attach;
        self.last_received = now;
        events.push(Event::Handshake(handshake));
        Ok(())
    }

    pub(super) fn take(
        &mut self,
        now: Instant,
        frame: Frame<'_>,
        bytes: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        match frame {
            Frame::Message(message) => {
                self.last_received = now;
                self.on_message(message, events)
            }
            Frame::Extended { id, dict, body_bytes } => {
                self.last_received = now;
                self.on_extended(id, dict, body_bytes, events)
            }
            Frame::Body { at, range, left } => self.on_body(now, at, range, left, bytes, events),
        }
    }

    fn on_message(
        &mut self,
        message: Message,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        let event = match message {
            Message::KeepAlive => return Ok(()),
            Message::Request(block) => Event::Request(block),
            Message::Cancel(block) => Event::Cancel(block),
            Message::Choke => {
                self.bits.peer_choking = true;
                Event::Choke
            }
            Message::Unchoke => {
                self.bits.peer_choking = false;
                Event::Unchoke
            }
            Message::Interested => {
                self.bits.peer_interested = true;
                Event::Interested
            }
            Message::NotInterested => {
                self.bits.peer_interested = false;
                Event::NotInterested
            }
            Message::Have(piece) => {
                self.check_piece(piece)?;
                self.pieces.insert(piece, self.torrent.piece_count);
                Event::Have(piece)
            }
            Message::Piece(block) => {
                self.check_piece(block.piece)?;
                self.bits.has_spoken = true;
                self.body = Body::Piece(block);
                return Ok(());
            }
            Message::Bitfield { .. } | Message::HaveAll | Message::HaveNone => {
                return self.on_all_pieces(message, events);
            }
            Message::Suggest(_) | Message::Reject(_) | Message::AllowedFast(_) => {
                self.fast(message)?
            }
            other => return self.on_side_message(other, events),
        };
        self.bits.has_spoken = true;
        events.push(event);
        Ok(())
    }

    /// Messages that tell nothing of the peer's pieces or interest.
    fn on_side_message(
        &mut self,
        message: Message,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        self.body = Body::Skipped;
        match message {
            // Without a node of ours there is nobody to tell.
            Message::Port(port) if self.features.dht && port != 0 => {
                events.push(Event::Port(port));
            }
            Message::HashRequest(request) => events.push(Event::HashRequest(request)),
            Message::HashReject(request) => events.push(Event::HashReject(request)),
            Message::Hashes { request, .. } => {
                self.body = Body::Hashes;
                events.push(Event::Hashes(request));
            }
            Message::Unknown { id, bytes } => events.push(Event::Skipped { id, bytes }),
            Message::Extended { bytes, .. } => {
                events.push(Event::Skipped { id: id::EXTENDED, bytes });
            }
            _ => {}
        }
        Ok(())
    }

    /// BEP 3: "'bitfield' is only ever sent as the first message." Clients that are everywhere do
    /// not keep to it (aria2 sends a new bitfield instead of many haves), so a later one replaces
    /// what was told before.
    fn on_all_pieces(
        &mut self,
        message: Message,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        let id = match message {
            Message::HaveAll => id::HAVE_ALL,
            Message::HaveNone => id::HAVE_NONE,
            _ => id::BITFIELD,
        };
        if id != id::BITFIELD && !self.features.fast {
            return Err(ProtocolError::FastNotAgreed { id });
        }
        self.bits.has_spoken = true;
        self.pieces.forget();
        match message {
            Message::HaveAll => {
                self.pieces.set_all();
                events.push(Event::HaveAll);
            }
            Message::HaveNone => events.push(Event::HaveNone),
            Message::Bitfield { bytes: 0 } => events.push(Event::Bitfield),
            _ => self.body = Body::Bitfield,
        }
        Ok(())
    }

    /// BEP 6: without the extension "the peer MUST close the connection".
    fn fast(&self, message: Message) -> Result<Event, ProtocolError> {
        let (id, piece, event) = match message {
            Message::Suggest(piece) => (id::SUGGEST, piece, Event::Suggest(piece)),
            Message::AllowedFast(piece) => (id::ALLOWED_FAST, piece, Event::AllowedFast(piece)),
            Message::Reject(block) => (id::REJECT, block.piece, Event::Reject(block)),
            _ => return Ok(Event::HaveNone),
        };
        if !self.features.fast {
            return Err(ProtocolError::FastNotAgreed { id });
        }
        self.check_piece(piece)?;
        Ok(event)
    }

    fn check_piece(&self, piece: PieceIndex) -> Result<(), ProtocolError> {
        let piece_count = self.torrent.piece_count;
        match piece.0 < piece_count {
            true => Ok(()),
            false => Err(ProtocolError::PieceOutOfRange { piece: piece.0, piece_count }),
        }
    }

    fn on_extended(
        &mut self,
        id: u8,
        dict: &[u8],
        body_bytes: u32,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        self.body = Body::Skipped;
        if !self.features.extended {
            events.push(Event::Skipped { id: id::EXTENDED, bytes: body_bytes });
            return Ok(());
        }
        match id {
            HANDSHAKE_ID => self.on_extended_handshake(ExtendedHandshake::parse(dict)?, events),
            _ => return self.on_metadata(MetadataMessage::parse(dict)?, body_bytes, events),
        }
        Ok(())
    }

    fn on_extended_handshake(&mut self, handshake: ExtendedHandshake, events: &mut Vec<Event>) {
        // BEP 10: "the m dictionary is additive".
        if let Some(id) = handshake.metadata_id {
            self.metadata_id = id;
        }
        self.bits.upload_only = handshake.upload_only;
        events.push(Event::ExtendedHandshake(Box::new(handshake)));
    }

    fn on_metadata(
        &mut self,
        message: MetadataMessage,
        body_bytes: u32,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        match message {
            MetadataMessage::Request { piece } => events.push(Event::MetadataRequest { piece }),
            MetadataMessage::Reject { piece } => events.push(Event::MetadataReject { piece }),
            MetadataMessage::Data { piece, total_bytes } => {
                let limit = limits::METADATA_PIECE_BYTES;
                if body_bytes > limit {
                    let id = METADATA_ID;
                    return Err(ProtocolError::ExtendedTooLong { id, bytes: body_bytes, limit });
                }
                self.body = Body::Metadata { piece, total_bytes };
            }
            MetadataMessage::Unknown => {
                events.push(Event::Skipped { id: id::EXTENDED, bytes: body_bytes });
            }
        }
        Ok(())
    }

    fn on_body(
        &mut self,
        now: Instant,
        at: u32,
        range: Range<usize>,
        left: u32,
        bytes: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        match self.body {
            Body::Piece(block) => {
                self.last_received = now;
                events.push(Event::PieceData { block, at, range });
            }
            Body::Bitfield => {
                let field = bytes.get(range).unwrap_or_default();
                self.pieces.take_field(at, field, self.torrent.piece_count)?;
                if left == 0 {
                    events.push(Event::Bitfield);
                }
            }
            Body::Hashes => events.push(Event::HashData { at, range }),
            Body::Metadata { piece, total_bytes } => {
                events.push(Event::MetadataData { piece, total_bytes, at, range });
            }
            Body::Skipped => {}
        }
        Ok(())
    }
}
