//! Peers in columns, in one block of memory: all addresses first, each as it is handed out, so that
//! telling fifty peers reads some lines of memory and not one for each.

use ringseed_meta::PeerId;

use super::sizes::sizes;
use super::torrent::{Peer, Tick};
use crate::limits;

const SEEN_BYTES: usize = 2;
const KEY_BYTES: usize = 4;
const ID_BYTES: usize = 20;

/// At most [`limits::PAGE_PEERS`] peers whose packed addresses have `N` bytes. No more memory than
/// they need, but for a sixteenth.
#[derive(Debug, Default)]
pub(super) struct Page<const N: usize>(Box<[u8]>);

impl<const N: usize> Page<N> {
    pub(super) const ROW_BYTES: usize = N + SEEN_BYTES + KEY_BYTES + ID_BYTES;

    /// Rows that it has room for.
    pub(super) fn capacity(&self) -> usize {
        self.0.len() / Self::ROW_BYTES
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Room for another row, when it has `rows` and no page is to have more than
    /// [`limits::PAGE_PEERS`].
    pub(super) fn make_room(&mut self, rows: usize) {
        if rows == self.capacity() {
            self.resize(rows, (rows + (rows / 16).max(1)).min(sizes().page_peers));
        }
    }

    /// Gives back memory that `rows` do not need, once it is a quarter.
    pub(super) fn give_back(&mut self, rows: usize) {
        if rows + (rows / 4).max(1) < self.capacity() {
            self.resize(rows, rows + rows / 16);
        }
    }

    /// Keeps the first `rows`.
    fn resize(&mut self, rows: usize, capacity: usize) {
        let mut wider = Page(vec![0; capacity * Self::ROW_BYTES].into_boxed_slice());
        let (from, to) = (self.columns(), wider.columns_mut());
        to.addresses[..rows].copy_from_slice(&from.addresses[..rows]);
        to.seen[..rows].copy_from_slice(&from.seen[..rows]);
        to.keys[..rows].copy_from_slice(&from.keys[..rows]);
        to.ids[..rows].copy_from_slice(&from.ids[..rows]);
        *self = wider;
    }

    fn columns(&self) -> Columns<'_, N> {
        let capacity = self.capacity();
        let (addresses, rest) = self.0.split_at(capacity * N);
        let (seen, rest) = rest.split_at(capacity * SEEN_BYTES);
        let (keys, ids) = rest.split_at(capacity * KEY_BYTES);
        Columns {
            addresses: addresses.as_chunks().0,
            seen: seen.as_chunks().0,
            keys: keys.as_chunks().0,
            ids: ids.as_chunks().0,
        }
    }

    fn columns_mut(&mut self) -> ColumnsMut<'_, N> {
        let capacity = self.capacity();
        let (addresses, rest) = self.0.split_at_mut(capacity * N);
        let (seen, rest) = rest.split_at_mut(capacity * SEEN_BYTES);
        let (keys, ids) = rest.split_at_mut(capacity * KEY_BYTES);
        ColumnsMut {
            addresses: addresses.as_chunks_mut().0,
            seen: seen.as_chunks_mut().0,
            keys: keys.as_chunks_mut().0,
            ids: ids.as_chunks_mut().0,
        }
    }

    /// The packed address of a row below the capacity.
    pub(super) fn address(&self, row: usize) -> &[u8; N] {
        // Addresses stand first: no other column need be found.
        &self.0.as_chunks().0[row]
    }

    pub(super) fn peer_id(&self, row: usize) -> PeerId {
        PeerId(self.columns().ids[row])
    }

    pub(super) fn seen(&self, row: usize) -> Tick {
        Tick(u16::from_ne_bytes(self.columns().seen[row]) & Tick::MASK)
    }

    pub(super) fn finished(&self, row: usize) -> bool {
        u16::from_ne_bytes(self.columns().seen[row]) > Tick::MASK
    }

    pub(super) fn get(&self, row: usize) -> Peer<N> {
        let columns = self.columns();
        Peer {
            address: columns.addresses[row],
            seen: self.seen(row),
            key: columns.keys[row],
            peer_id: PeerId(columns.ids[row]),
            finished: self.finished(row),
        }
    }

    pub(super) fn set(&mut self, row: usize, peer: &Peer<N>) {
        let columns = self.columns_mut();
        columns.addresses[row] = peer.address;
        let finished = if peer.finished { !Tick::MASK } else { 0 };
        columns.seen[row] = (peer.seen.0 | finished).to_ne_bytes();
        columns.keys[row] = peer.key;
        columns.ids[row] = peer.peer_id.0;
    }

    /// The row with this address among the first `rows`.
    pub(super) fn find(&self, rows: usize, address: &[u8; N]) -> Option<usize> {
        self.0.as_chunks().0.iter().take(rows).position(|other| other == address)
    }

    /// The row with this key and id among the first `rows`. Keys are compared by the dozen, ids only
    /// where a key is the same.
    pub(super) fn find_identity(
        &self,
        rows: usize,
        key: [u8; KEY_BYTES],
        peer_id: &PeerId,
    ) -> Option<usize> {
        const TOGETHER: usize = 16;
        let columns = self.columns();
        let keys = columns.keys.get(..rows)?;
        let is_it = |row: &usize| keys[*row] == key && columns.ids[*row] == peer_id.0;
        for (group, first) in keys.chunks(TOGETHER).zip((0..).step_by(TOGETHER)) {
            if group.iter().fold(false, |found, other| found | (*other == key))
                && let Some(row) = (first..first + group.len()).find(is_it)
            {
                return Some(row);
            }
        }
        None
    }

    /// Has the lines of memory fetched that telling `rows` peers will read.
    pub(super) fn prefetch(&self, rows: usize) {
        const LINE_BYTES: usize = 64;
        let told = rows.min(limits::PREFETCHED_ROWS) * N;
        for line in self.0.get(..told).unwrap_or_default().chunks(LINE_BYTES) {
            ringseed_ring::prefetch(line);
        }
    }
}

struct Columns<'p, const N: usize> {
    addresses: &'p [[u8; N]],
    seen: &'p [[u8; SEEN_BYTES]],
    keys: &'p [[u8; KEY_BYTES]],
    ids: &'p [[u8; ID_BYTES]],
}

struct ColumnsMut<'p, const N: usize> {
    addresses: &'p mut [[u8; N]],
    seen: &'p mut [[u8; SEEN_BYTES]],
    keys: &'p mut [[u8; KEY_BYTES]],
    ids: &'p mut [[u8; ID_BYTES]],
}
