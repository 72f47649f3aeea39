//! Bounds of the abuse catalogue, each with its unit and its reason.

use std::time::Duration;

/// Time for a connection to be made and greeted.
pub const GREETED_WITHIN: Duration = Duration::from_secs(5);

/// Time for an unchoke: seeders that unchoke in rounds take up to ten seconds.
pub const UNCHOKED_WITHIN: Duration = Duration::from_secs(15);

/// How often a peer that waits for its unchoke asks whether all is called off.
pub const ASKED_EVERY: Duration = Duration::from_millis(500);

/// Time for a healthy peer beside hostile ones to get a piece; without them it takes milliseconds.
pub const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// How long a healthy peer may be idle and must not be closed on: half of the shortest that any
/// seeder is known to allow (rqbit: 10 s).
pub const IDLE_FOR: Duration = Duration::from_secs(5);

/// Time for a target to recover from all others, before a case that failed beside them is tried alone.
pub const RECOVERED_WITHIN: Duration = Duration::from_secs(15);

/// Time since the begin after which no case is tried alone any more: a target that unchokes in rounds
/// of ten seconds takes some 200 s for all of them beside each other.
pub const TRIED_ALONE_UNTIL: Duration = Duration::from_secs(240);

/// How long a hostile peer listens for what the target does.
pub const LISTENED: Duration = Duration::from_millis(1500);

/// The shortest wait for bytes: sockets know none of no time.
pub const LEAST_WAIT: Duration = Duration::from_millis(1);

/// How long after its deadline a peer may still read what has come.
pub const LATE_MAX: Duration = Duration::from_secs(2);

/// How long a hostile peer tries to write on when nothing is taken.
pub const PUSHED_FOR: Duration = Duration::from_secs(2);

/// Bytes that drip: one in this time.
pub const DRIP_EVERY: Duration = Duration::from_secs(1);

/// How long they drip: more than the 15 to 20 s that careful seeders allow for a handshake.
pub const DRIPPED_FOR: Duration = Duration::from_secs(24);

/// Requests, cancels and keep-alives of a flood.
pub const FLOOD_MESSAGES: u32 = 100_000;

/// Peers that ask and never read.
pub const DEAF_PEERS: u32 = 20;

/// Requests of each: some megabytes, more than sockets hold.
pub const DEAF_REQUESTS: u32 = 400;

/// Time for a target to fill their sockets, some 50 MB in all, before a healthy peer asks.
pub const FILLED_WITHIN: Duration = Duration::from_secs(2);

/// Connections from one address, and connections that say nothing.
pub const CROWD: u32 = 200;

/// Bytes of a frame that a peer takes in: longer ones are no answer of a seeder.
pub const FRAME_BYTES_MAX: u32 = 2 << 20;

/// Bytes behind the id that are kept of a frame that was heard: place and length of a block, the
/// begin of an extended message.
pub const FRAME_BYTES_KEPT: usize = 256;

/// Frames that a peer hears: a have for each piece of a large torrent, or an answer to each of ten
/// thousand requests. At their bound they hold some 20 MiB.
pub const FRAMES_HEARD_MAX: usize = 1 << 16;

/// Bytes of anonymous memory that the target may hold more when all is over: caches and arenas of
/// allocators stay, what a hundred thousand messages leave behind does not fit.
pub const MEMORY_KEPT: u64 = 32 << 20;

/// Descriptors that it may hold more.
pub const DESCRIPTORS_KEPT: u64 = 8;

/// Time for memory and descriptors to come back.
pub const BACK_WITHIN: Duration = Duration::from_secs(8);

/// Time between two looks at the target's memory.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Threads that go through the catalogue, beside one for each slow case.
pub const LANES: usize = 3;

/// The longest that the whole catalogue takes on a target that serves: whoever waits for it may give
/// up then. A lane has a third of 28 cases, each with two rounds of ten seconds (its hostile peers',
/// and the healthy one's, which comes anew); then some are tried alone, then the aftermath.
pub const CATALOGUE_WITHIN: Duration = Duration::from_secs(360);
