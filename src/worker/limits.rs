//! Bounds of one worker, of one turn and of one connection.

/// Completions handled in a turn before anything is sent: a flood of small messages cannot
/// keep those who are served waiting.
pub const COMPLETIONS_PER_TURN: usize = 256;
/// Bytes handed to sockets in a turn: about a quarter of a millisecond of work, the longest time
/// that a new request waits for the ring to be looked at.
pub const BYTES_PER_TURN: u32 = 2 << 20;
/// Bytes that a worker asks devices for in a turn before the rest waits for the next: a quarter of a millisecond
/// where each page has to be taken from others first. With twice as much the longest turns are of 2.4 ms instead
/// of 1.9, and nothing is sent faster.
pub const ASKED_BYTES_PER_TURN: u32 = 512 << 10;
/// Bytes that serving a peer costs at least, for that bound: one that turned out to have nothing
/// to send takes time too.
pub const BYTES_A_PEER_MIN: u32 = 8 * 1024;
/// Completions taken between two batches for one peer, to find the end of the first: a send mostly
/// ends within its push, and what stands before it in the queue is little.
pub const COMPLETIONS_AFTER_SEND: usize = 8;
/// Bytes. The quantum of deficit round robin: two of the largest batches. One peer's socket, its
/// pages and its reader stay in the caches for so long: with a quarter of it, at 100 x 64, a byte
/// cost the reader a fifth more.
pub const QUANTUM_BYTES: u32 = 64 * 16 * 1024;
/// Connections of one worker: what a token can name, far more than descriptors.
pub const CONNECTIONS_MAX: u32 = super::token::INDEX_MAX;
/// Bytes sent and not acknowledged before a peer may be reset for holding memory: less is
/// no burden. Half of what each may hold at least.
pub const UNACKNOWLEDGED_FLOOR_BYTES: u64 = 8 * 1024;
/// Connections that are asked for their unacknowledged bytes in one tick: a call of a third of a
/// microsecond for each, or 6 of one that was left alone for so long that nothing of it is in the
/// processor's caches.
pub const UNACKNOWLEDGED_ASKED_PER_TICK: usize = 256;
/// Of those that hold their share, in one turn, and in a look while their sum is too much.
pub const UNACKNOWLEDGED_ASKED_PER_TURN: usize = 32;

/// Bytes that may arrive behind a handshake while the torrent's content is loaded: a bitfield
/// of half a million pieces and the extended handshake; more closes the connection.
pub const HELD_BYTES_MAX: usize = 80 * 1024;
/// Bytes of control frames that wait for a batch: 1,024 rejects, and the answers to all hash
/// requests that a peer may have under way, 16,437 bytes each. A peer that makes us answer without ever
/// reading is closed here.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024 + HASH_REQUESTS_MAX as usize * 16_437;
/// Pieces of metadata (16 KiB each, BEP 9) that a peer may have asked for and not got.
pub const METADATA_REQUESTS_MAX: usize = 64;
/// Hash requests (BEP 52) of one peer that wait or are being computed; more are rejected. A v2
/// leecher asks for a file's piece layer 512 hashes at a time, several at once.
pub const HASH_REQUESTS_MAX: u8 = 32;
