//! Bytes from a peer: parsed in place, and each event answered.

use ringseed_meta::Instant;
use ringseed_ring::{Failure, Kernel, Outcome};
use ringseed_wire::Event;

use super::closing::How;
use super::connection::{Connection, Phase};
use super::mailbox::{ConnectionId, Report};
use super::{Stopping, Worker, limits};

impl<K: Kernel> Worker<K> {
    pub(super) fn on_receive(&mut self, id: ConnectionId, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Received { mut buffer } => self.receive_bytes(id, &mut buffer, now),
            // The other side has closed its half: it wants nothing more that we could send.
            Outcome::EndOfStream => self.close(id, How::Graceful),
            Outcome::Failed(Failure::Cancelled) => {}
            _ => self.close(id, How::Reset),
        }
    }

    /// As if `bytes` had just arrived.
    pub(super) fn receive(&mut self, id: ConnectionId, mut bytes: Vec<u8>, now: Instant) {
        if !bytes.is_empty() {
            self.receive_bytes(id, &mut bytes, now);
        }
    }

    fn receive_bytes(&mut self, id: ConnectionId, bytes: &mut [u8], now: Instant) {
        let Some(mut connection) = self.take(id) else { return };
        let mut events = std::mem::take(&mut self.scratch.events);
        let mut bytes = bytes;
        while !bytes.is_empty() {
            match connection.phase {
                Phase::Greeting | Phase::Serving => {}
                Phase::Loading => {
                    self.hold(&mut connection, bytes);
                    break;
                }
                // Bounded by what the kernel had received when it was asked for the socket.
                Phase::Moving(_) => {
                    connection.aside().held.extend_from_slice(bytes);
                    break;
                }
                Phase::Recalled(_) | Phase::Draining | Phase::Closing => break,
            }
            events.clear();
            let consumed = connection.peer.receive(now, bytes, &mut events);
            for event in events.drain(..) {
                if matches!(connection.phase, Phase::Draining | Phase::Closing) {
                    break;
                }
                self.on_event(&mut connection, event, now);
            }
            match consumed {
                Ok(consumed) => bytes = &mut bytes[consumed..],
                Err(fault) => {
                    self.fault(&mut connection, &fault.to_string());
                    break;
                }
            }
        }
        self.scratch.events = events;
        self.put(connection);
    }

    /// Keeps what comes behind a handshake until the content is here.
    fn hold(&mut self, connection: &mut Connection, bytes: &[u8]) {
        let held = &mut connection.aside().held;
        held.extend_from_slice(bytes);
        let limit = limits::HELD_BYTES_MAX;
        if held.len() > limit {
            let fault = format!("sent more than {limit} bytes before we answered its handshake");
            self.fault(connection, &fault);
        }
    }

    /// Closes a connection for a fault of the peer's.
    pub(super) fn fault(&mut self, connection: &mut Connection, fault: &str) {
        if connection.phase == Phase::Closing {
            return;
        }
        self.shared.counters.peer_faults.add(1);
        if self.stopping == Stopping::No && self.unreported.is_empty() {
            let fault = fault.to_owned();
            self.report(Report::PeerFault { peer: connection.address, fault });
        }
        self.finish(connection, How::Graceful);
    }

    fn on_event(&mut self, connection: &mut Connection, event: Event, now: Instant) {
        match event {
            Event::Request(block) => self.on_request(connection, block),
            Event::Cancel(block) => self.on_cancel(connection, block),
            Event::Handshake(handshake) => {
                self.on_handshake(connection, &handshake, now);
            }
            Event::Interested => self.on_interest(connection, true, now),
            Event::NotInterested => self.on_interest(connection, false, now),
            Event::MetadataRequest { piece } => self.on_metadata_request(connection, piece),
            Event::HashRequest(request) => self.on_hash_request(connection, request),
            Event::HaveAll | Event::Bitfield | Event::Have(_) => self.on_pieces(connection),
            Event::PieceData { .. } => {
                self.fault(connection, "sent a block that was never asked for");
            }
            // We ask for nothing: whether it would serve us does not matter, nor what it skips.
            Event::Choke
            | Event::Unchoke
            | Event::HaveNone
            | Event::Reject(_)
            | Event::Suggest(_)
            | Event::AllowedFast(_)
            | Event::Port(_)
            | Event::ExtendedHandshake(_)
            | Event::MetadataData { .. }
            | Event::MetadataReject { .. }
            | Event::Hashes(_)
            | Event::HashData { .. }
            | Event::HashReject(_)
            | Event::Skipped { .. } => {}
        }
    }

    fn on_interest(&mut self, connection: &mut Connection, interested: bool, now: Instant) {
        // Saying it again changes nothing: neither a slot's turn nor a place in the queue.
        if connection.counted_interest == interested {
            return;
        }
        let torrent = connection.content.as_ref().map(|content| content.torrent);
        if let Some(torrent) = torrent {
            self.note_interest(torrent, connection, interested);
        }
        if interested {
            if connection.peer.am_choking() {
                connection.choke_since = now;
            }
            self.offer_slot(connection, now);
        }
    }

    /// Two seeds have nothing to give each other.
    fn on_pieces(&mut self, connection: &mut Connection) {
        if connection.peer.is_seed() && connection.requests.is_empty() {
            self.finish(connection, How::Graceful);
        }
    }
}
