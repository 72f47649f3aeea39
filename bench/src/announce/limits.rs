//! Bounds of the announce load, each with its unit and its reason.

use std::time::Duration;

/// Time for an answer. What has not come by then is an error. Clients wait 15 s before they ask
/// again (BEP 15); a tracker on the same machine or wire that takes 2 s has failed.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Age from which on a connection id is replaced: it may be used for a minute (BEP 15), and a lost
/// datagram or two must not let it run out.
pub const ID_RENEWED_AT: Duration = Duration::from_secs(45);

/// Age from which on a connection id is not used any more (BEP 15: "a client can use a connection
/// ID until one minute after it has received it").
pub const ID_USED_FOR: Duration = Duration::from_secs(60);

/// Time after which a connection id that did not come is asked for again, and a refused HTTP
/// connection is tried again.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);

/// UDP sockets of a thread; each is a peer of every torrent. With `--from` each has its own
/// address.
pub const UDP_SOURCES: u32 = 32;

/// Datagrams of one source that one send carries, when so many are due (UDP_SEGMENT allows 64).
pub const UDP_BATCH_MAX: usize = 32;

/// HTTP connections of a thread at a time. Trackers of old stop at a few hundred; more would only
/// hide in the tracker's queue what belongs into ours.
pub const HTTP_CONNECTIONS: u32 = 64;

/// Requests on one HTTP connection at a time, once the tracker is seen to keep connections open.
/// More than one only when all connections are busy.
pub const PIPELINE_MAX: usize = 16;

/// Requests whose time has come and that no HTTP connection has room for. At their bound, 16 MiB,
/// a rate of half a million was not answered for [`ANSWER_WITHIN`].
pub const BACKLOG_MAX: usize = 1 << 20;

/// UDP requests without an answer at a time: the same.
pub const WAITING_MAX: usize = 1 << 20;

/// Peers asked for in an announce: what clients commonly ask for.
pub const NUMWANT: u32 = 50;

/// One of so many peers that have announced leaves (event `stopped`) at its next turn.
pub const STOPS_ONE_IN: u64 = 16;

/// One of so many peers is a seed.
pub const SEEDS_ONE_IN: u64 = 4;

/// Bytes of the head of an HTTP answer. Common servers stop at this.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// Header fields of an HTTP answer.
pub const HEADER_FIELDS_MAX: usize = 64;

/// Requests that a turn begins before it looks at answers: some 100 us of sends.
pub const ASKS_A_TURN: usize = 64;

/// Requests without an answer while a tracker is filled: the receive buffer of a UDP socket, as systems
/// come, holds no more than some 270 datagrams.
pub const FILL_AT_ONCE: usize = 128;

/// Time after the end of the time that counts in which a load that is late may still begin what
/// was due; a preempted thread catches up within it, one that cannot keep up does not.
pub const CATCH_UP: Duration = Duration::from_millis(100);

/// Kinds of errors that a thread tells apart within an interval; the rest is told as one kind.
pub const ERROR_KINDS_MAX: usize = 32;

/// Receive buffers of a thread: answers that come within a turn.
pub const RECEIVE_BUFFERS: u16 = 4096;

/// Bytes of a receive buffer: an answer of UDP within the common MTU.
pub const RECEIVE_BUFFER_BYTES: u32 = 2048;

/// Bytes of answers that the system keeps for a UDP socket of ours; it grants what it likes.
pub const UDP_SOCKET_BYTES: usize = 1 << 20;
