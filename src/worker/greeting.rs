//! From an accepted socket to a peer that is served: admission, the handshake, what we say first.

use std::net::SocketAddr;
use std::sync::Arc;

use ringseed_meta::Instant;
use ringseed_ring::{Kernel, Op, Socket};
use ringseed_wire::peer::{PeerOptions, Torrent};
use ringseed_wire::{ExtendedHandshake, Features, Handshake, Peer, limits as wire, message};

use super::connection::{Connection, Phase};
use super::mailbox::ConnectionId;
use super::token::Errand;
use super::{Stopping, Worker, closing::How, limits};
use crate::store::catalog::TorrentState;
use crate::store::content::Content;

/// Our name, told in extended handshakes (BEP 10 `v`).
const CLIENT: &str = concat!("ringseed ", env!("CARGO_PKG_VERSION"));

impl<K: Kernel> Worker<K> {
    /// A connection came in: admits it, or refuses it at a limit.
    pub(super) fn admit(&mut self, socket: Socket, address: SocketAddr, now: Instant) {
        self.shared.counters.accepted.add(1);
        let full = self.occupied() >= limits::CONNECTIONS_MAX as usize;
        if full || self.stopping != Stopping::No {
            return self.refuse(socket);
        }
        if self.shared.admission.admit(address.ip()).is_err() {
            return self.refuse(socket);
        }
        let id = self.free_place();
        let peer = Peer::incoming(&PeerOptions::default(), now);
        let deadline = peer.deadline();
        let mut connection = Box::new(Connection::new(id, socket, address, peer, now));
        let better = self.better_place();
        self.shared.crew.comes(self.options.place);
        match better {
            // Before anything is known of it: nothing is cheaper to move.
            Some(place) => self.begin_move(&mut connection, place),
            None => self.push(Op::Receive { socket }, Errand::Receive(id)),
        }
        self.places[id.slot as usize].connection = Some(connection);
        if let Some(at) = deadline {
            self.watch(id, at);
        }
        self.shared.counters.connections.set(self.occupied() as u64);
    }

    pub(super) fn free_place(&mut self) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(super::Place::default());
            (self.places.len() - 1) as u32
        });
        ConnectionId { slot, generation: self.places[slot as usize].generation }
    }

    /// The other's handshake is here: finds the torrent, loads its content or serves at once.
    /// False: the connection was closed.
    pub(super) fn on_handshake(
        &mut self,
        connection: &mut Connection,
        handshake: &Handshake,
        now: Instant,
    ) -> bool {
        if handshake.peer_id == self.options.peer_id {
            self.finish(connection, How::Graceful);
            return false;
        }
        let entry = self.catalog.find(&handshake.info_hash).cloned();
        let Some(entry) = entry.filter(|entry| entry.state() == TorrentState::Seeding) else {
            self.finish(connection, How::Graceful);
            return false;
        };
        connection.info_hash = handshake.info_hash;
        connection.entry = Some(entry.clone());
        connection.phase = Phase::Loading;
        if let Some(content) = self.content_for(entry.id, connection.id) {
            self.begin_serving(connection, content, now);
        }
        true
    }

    /// The content is here: our handshake, which pieces we have, what we can do.
    pub(super) fn begin_serving(
        &mut self,
        connection: &mut Connection,
        content: Arc<Content>,
        now: Instant,
    ) {
        let metadata_bytes = u32::try_from(content.info().len()).ok();
        let piece_count = content.geometry().piece_count();
        connection.peer.attach(Torrent { piece_count, metadata_bytes });
        let handshake = Handshake {
            info_hash: connection.info_hash,
            peer_id: self.options.peer_id,
            features: Features::ours(),
        };
        let control = &mut connection.control;
        control.extend_from_slice(&handshake.encode());
        let features = connection.peer.features();
        if features.fast {
            message::write_have_all(control);
        } else {
            message::write_bitfield(control, content.full_bitfield().as_bytes());
        }
        if features.extended {
            let ours = ExtendedHandshake {
                client: CLIENT.into(),
                port: Some(self.options.listen_port).filter(|port| *port != 0),
                requests_max: Some(u32::from(wire::REQUESTS_MAX)),
                your_ip: Some(connection.address.ip().to_canonical()),
                metadata_bytes,
                upload_only: true,
                metadata_id: Some(ringseed_wire::extended::METADATA_ID),
            };
            ours.write(control);
        }
        connection.content = Some(content);
        connection.phase = Phase::Serving;
        let peers = &self.shared.counters.peers;
        peers.set(peers.read() + 1);
        self.offer_slot(connection, now);
    }
}
