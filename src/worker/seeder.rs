//! PeerSeeder: what a peer asks of us and how it is answered. Which fault has which consequence is
//! one table, docs/protocol.md; the verdicts come from `ringseed_wire`.

use ringseed_meta::{BlockRef, Instant};
use ringseed_ring::Kernel;
use ringseed_wire::extended::MetadataMessage;
use ringseed_wire::peer::{Due, MetadataVerdict, PieceFacts, Refusal, Verdict};
use ringseed_wire::{HashRequest, message};

use super::closing::How;
use super::connection::{Connection, MetadataReply};
use super::mailbox::{ConnectionId, Report};
use super::{Worker, limits};

impl<K: Kernel> Worker<K> {
    pub(super) fn on_request(&mut self, connection: &mut Connection, block: BlockRef) {
        let Some(content) = &connection.content else { return };
        let piece_bytes = content.geometry().piece_bytes(block.piece).unwrap_or(0);
        // Only whole torrents are seeded: every piece is held.
        let facts = PieceFacts { piece_bytes, is_held: true };
        let counters = &self.shared.counters;
        counters.requests.add(1);
        match connection.peer.judge(block, connection.requests.len(), facts) {
            Verdict::Serve => connection.requests.push_back(block),
            Verdict::Reject(_) => self.reject(connection, block),
            Verdict::Ignore(_) => counters.requests_ignored.add(1),
            Verdict::Close(fault) => self.fault(connection, &fault.to_string()),
        }
    }

    pub(super) fn reject(&mut self, connection: &mut Connection, block: BlockRef) {
        match connection.peer.refusal() {
            Refusal::Silence => self.shared.counters.requests_ignored.add(1),
            Refusal::Reject => {
                self.shared.counters.requests_rejected.add(1);
                message::write_reject(&mut connection.control, block);
                self.bound_control(connection);
            }
        }
    }

    /// A peer that makes us answer and does not read is closed.
    fn bound_control(&mut self, connection: &mut Connection) {
        let limit = limits::CONTROL_BYTES_MAX;
        if connection.control.len() > limit {
            let fault = format!("does not read its answers ({limit} bytes of them wait)");
            self.fault(connection, &fault);
        }
    }

    /// A cancelled block that was not begun is not sent. BEP 6: "every request is guaranteed to
    /// result in EXACTLY ONE response".
    pub(super) fn on_cancel(&mut self, connection: &mut Connection, block: BlockRef) {
        if connection.cancel(block) {
            self.reject(connection, block);
        }
    }

    pub(super) fn on_metadata_request(&mut self, connection: &mut Connection, piece: u32) {
        match connection.peer.judge_metadata(piece) {
            MetadataVerdict::Serve { their_id, range, .. } => {
                let waiting = &mut connection.aside().metadata;
                if waiting.len() < limits::METADATA_REQUESTS_MAX {
                    waiting.push_back(MetadataReply { their_id, piece, range });
                } else {
                    self.reject_metadata(connection, their_id, piece);
                }
            }
            MetadataVerdict::Reject { their_id } => {
                self.reject_metadata(connection, their_id, piece);
            }
            MetadataVerdict::Ignore => {}
            MetadataVerdict::Close(fault) => self.fault(connection, &fault.to_string()),
        }
    }

    fn reject_metadata(&mut self, connection: &mut Connection, their_id: u8, piece: u32) {
        MetadataMessage::Reject { piece }.write(&mut connection.control, their_id, &[]);
        self.bound_control(connection);
    }

    /// Appends a piece of the info dictionary to what goes out next.
    pub(super) fn write_metadata(&mut self, connection: &mut Connection, reply: &MetadataReply) {
        let Some(content) = &connection.content else { return };
        let info = content.info();
        let range = reply.range.start as usize..reply.range.end as usize;
        let Some(data) = info.get(range) else { return };
        let total_bytes = info.len() as u32;
        let message = MetadataMessage::Data { piece: reply.piece, total_bytes };
        message.write(&mut connection.control, reply.their_id, data);
    }

    /// Hashes are read and computed by the control thread; few at a time for each peer.
    pub(super) fn on_hash_request(&mut self, connection: &mut Connection, request: HashRequest) {
        let Some(content) = &connection.content else { return };
        let torrent = content.torrent;
        if connection.hash_requests >= limits::HASH_REQUESTS_MAX {
            return self.reject_hashes(connection, &request);
        }
        connection.hash_requests += 1;
        self.report(Report::NeedHashes { connection: connection.id, torrent, request });
    }

    fn reject_hashes(&mut self, connection: &mut Connection, request: &HashRequest) {
        if let Err(fault) = connection.peer.on_hash_refused() {
            return self.fault(connection, &fault.to_string());
        }
        message::write_hash_reject(&mut connection.control, request);
        self.bound_control(connection);
    }

    pub(super) fn on_hashes(
        &mut self,
        id: ConnectionId,
        request: &HashRequest,
        hashes: Option<&[[u8; 32]]>,
    ) {
        let Some(mut connection) = self.take(id) else { return };
        connection.hash_requests = connection.hash_requests.saturating_sub(1);
        match hashes {
            Some(hashes) => {
                message::write_hashes(&mut connection.control, request, hashes);
                self.bound_control(&mut connection);
            }
            None => self.reject_hashes(&mut connection, request),
        }
        self.put(connection);
    }

    pub(super) fn on_deadline(&mut self, connection: &mut Connection, now: Instant) {
        match connection.peer.on_deadline(now) {
            Due::Nothing => {}
            Due::SendKeepAlive => {
                message::write_keep_alive(&mut connection.control);
                connection.peer.on_sent(now);
            }
            Due::CloseHandshakeTimeout => self.finish(connection, How::Reset),
            Due::CloseIdle => self.finish(connection, How::Graceful),
        }
    }
}
