//! Every bound of the tracker, with its unit and the reason for the number.

use std::time::Duration;

/// Torrents of each address family. At some 110 bytes each, with one peer, 115 MiB.
pub const TORRENTS_MAX: usize = 1 << 20;

/// Peers of one torrent and family: some times the largest public swarms.
pub const TORRENT_PEERS_MAX: usize = 1 << 18;

/// Peers of one family in all torrents. At some 45 bytes each, 180 MiB for IPv4.
pub const PEERS_MAX: usize = 1 << 22;

/// Peers told in one answer. 200 are 1,200 bytes in IPv4: one packet; no client uses more.
pub const HANDED_OUT_MAX: usize = 200;

/// Peers told to one that does not say how many it wants, as most trackers do.
pub const HANDED_OUT_DEFAULT: usize = 50;

/// Peers from which on a torrent has an index: up to 16 entries of 32 bytes are found sooner by
/// looking at each, and need no memory for it.
pub const INDEX_FROM: usize = 17;

/// Seconds: how finely "last heard of" is kept, in 16 bits a peer.
pub const TICK_S: u16 = 4;

/// The longest time a silent peer may be kept: 16 bits of ticks wrap after 72 hours, and a
/// quarter of that leaves room for rounds that come late.
pub const SILENT_MAX: Duration = Duration::from_secs(18 * 60 * 60);

/// Time between two rounds through all peers for silent ones: a peer goes this much late at most.
pub const EXPIRY_ROUND: Duration = Duration::from_secs(30);

/// Peers that a turn of the loop looks at to find silent ones: some 10 us of memory traffic.
pub const EXPIRY_PEERS_PER_TURN: usize = 4096;

/// Seconds in which all connection ids of an address are the same (BEP 15: a client may use
/// one for a minute).
pub const CONNECTION_ID_WINDOW_S: u32 = 60;
