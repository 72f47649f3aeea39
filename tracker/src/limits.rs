//! Every bound of the tracker, with its unit and the reason for the number.

use std::time::Duration;

/// Torrents of each address family. At some 110 bytes each, with one peer, 110 MiB. The one that was
/// silent for the longest makes room for another.
pub const TORRENTS_MAX: usize = 1 << 20;

/// Peers of one torrent and family: some times the largest public swarms.
pub const TORRENT_PEERS_MAX: usize = 1 << 18;

/// Peers of one family in all torrents. At some 38 bytes each, 152 MiB for IPv4. The torrent that was
/// silent for the longest makes room for others.
pub const PEERS_MAX: usize = 1 << 22;

/// Peers of a swarm at its bound of which the one that was silent for the longest makes room for a
/// newcomer: drawn at random, since an order of all would cost a quarter more memory. It is
/// among the oldest tenth in four of five cases.
pub const OLDEST_SAMPLE: usize = 16;

/// Ticks after which a torrent that is heard of becomes the newest again: a minute. A busy one is not
/// moved in the list, which touches three others, at each announce.
pub const RECENCY_TICKS: u16 = 15;

/// Peers of a torrent among which one that comes from another address than before is looked for: for
/// a newcomer 32 KiB of keys are read. In larger swarms its former address stays until it expires.
pub const IDENTITY_SEARCH_MAX: usize = 8192;

/// The lowest TCP port that a peer may announce (IPPORT_RESERVED of netinet/in.h). Those below belong
/// to services of the host, or of the host that many share an address with: whoever announces one
/// would have a whole swarm knock there.
pub const PORT_MIN: u16 = 1024;

/// Torrents of a list of those that are served, or are not. Some 180 MiB, and twice that while it is
/// read anew.
pub const LISTED_TORRENTS_MAX: usize = 1 << 22;

/// Bytes of a line of a list: an infohash, and what people write behind it.
pub const LIST_LINE_BYTES_MAX: usize = 1024;

/// Time between two looks at a list.
pub const LIST_LOOK: Duration = Duration::from_secs(1);

/// Time after which a change of a list is told from another by the file's times: some file systems
/// count in seconds.
pub const LIST_SETTLED: Duration = Duration::from_secs(2);

/// Time for the thread that looks at a list to end at a stop: it reads a list of millions meanwhile. A
/// mount that does not answer is not waited for.
pub const LIST_STOP: Duration = Duration::from_secs(2);

/// Time between two looks at the file of users: a passkey counts within half a second after it was
/// given, and one that was revoked does not.
pub const USERS_LOOK: Duration = Duration::from_millis(250);

/// Minutes after which a client may ask again with a passkey that is not known (BEP 31): it may have been
/// given just now, and not be in force yet.
pub const UNKNOWN_PASSKEY_RETRY_MIN: u32 = 5;

/// Time between two batches of what users have moved: an idle tracker makes none.
pub const MOVED_EVERY: Duration = Duration::from_millis(250);

/// Batches that wait for the thread which writes them: a disk may hang for seconds. What comes then is
/// summed where it is, a sum a user.
pub const MOVED_BATCHES_MAX: usize = 64;

/// Bytes that one announce can add to what a user has moved: what 100 Gb/s bring in 45 minutes. More is
/// a client's nonsense and counts nothing.
pub const MOVED_BYTES_MAX: u64 = 1 << 45;

/// Tables in which the sums that peers told last are kept: of millions of peers each has some ten
/// thousand, which move in half a millisecond when it grows.
pub const LEDGER_SHELVES: usize = 256;

/// Time after which the next of them is looked through for silent peers: all within five minutes.
pub const LEDGER_SWEEP: Duration = Duration::from_secs(1);

/// Minutes after which a client may ask again for a torrent that is not on the list of those that are
/// served (BEP 31): whoever keeps the list may be about to add it.
pub const NOT_ALLOWED_RETRY_MIN: u32 = 30;

/// Peers told in one answer. 200 are 1,200 bytes in IPv4: one packet; no client uses more.
pub const HANDED_OUT_MAX: usize = 200;

/// Peers told to one that does not say how many it wants, as most trackers do.
pub const HANDED_OUT_DEFAULT: usize = 50;

/// Peers from which on a torrent has an index: up to 32 addresses are found sooner by
/// looking at each, three lines of memory, and need no memory for it.
pub const INDEX_FROM: usize = 33;

/// Peers of a page of memory: 4 KiB for IPv4, which allocators give without loss.
pub const PAGE_PEERS: usize = 128;

/// Peers of a small swarm that are fetched before an announce is answered: three lines of memory,
/// as many as it has addresses without an index.
pub const PREFETCHED_ROWS: usize = 32;

/// Torrents that stand together in memory: 8 KiB, which allocators give without loss.
pub const SHELF_TORRENTS: usize = 128;

/// Seconds: how finely "last heard of" is kept, in 15 bits a peer.
pub const TICK_S: u16 = 4;

/// The longest time a silent peer may be kept: 15 bits of ticks wrap after 36 hours, and half
/// of that leaves room for rounds that come late.
pub const SILENT_MAX: Duration = Duration::from_secs(18 * 60 * 60);

/// Time between two rounds through all peers for silent ones: a peer goes this much late at most.
pub const EXPIRY_ROUND: Duration = Duration::from_secs(30);

/// Peers that a turn of the loop looks at to find silent ones: some 10 us of memory traffic.
pub const EXPIRY_PEERS_PER_TURN: usize = 4096;

/// Seconds in which all connection ids of an address are the same (BEP 15: a client may use
/// one for a minute).
pub const CONNECTION_ID_WINDOW_S: u32 = 60;

/// Such windows after which connection ids have another key: an hour.
pub const CONNECTION_KEY_WINDOWS: u64 = 60;

/// Bytes of an HTTP request, from its first line to the empty one. An announce has some 400.
pub const REQUEST_BYTES_MAX: usize = 8 << 10;

/// Bytes of a request's path and query: a scrape of 64 torrents whose infohashes are
/// percent-encoded throughout has 4,500.
pub const TARGET_BYTES_MAX: usize = 6 << 10;

/// Header fields of a request. Browsers send 15, clients 5.
pub const HEADER_FIELDS_MAX: usize = 48;

/// HTTP connections at a time. Each takes some 300 bytes and one file descriptor while it idles.
pub const CONNECTIONS_MAX: usize = 8192;

/// The most that may be set: each has three operations of the ring at a time at most (a receive, a send,
/// a close), and listeners and datagrams have the rest of its [`OPS_MAX`](ringseed_ring::limits::OPS_MAX).
pub const CONNECTIONS_CEILING: usize = 10_000;

const _: () = assert!(3 * CONNECTIONS_CEILING < ringseed_ring::limits::OPS_MAX as usize);

/// Hosts that share the connections of a crowded tracker, at least: one that has this part of them (32
/// of 8,192) gets no other until it is less crowded. A host alone can take half.
pub const CROWDED_HOSTS: usize = 256;

/// Bytes of answers that wait for one client; with more it is not read from, and its requests are
/// not answered, until it has taken them: some two hundred pipelined announces.
pub const UNSENT_BYTES_PAUSE: u64 = 64 << 10;

/// Bytes of requests that are held back until there is room for their answers. Between the pause
/// and its effect some receive buffers may still come; with more than these the client is closed on.
pub const HELD_BYTES_MAX: usize = 256 << 10;

/// Time for a request to come whole after its first byte, and for the first after the connection.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a client to take the answers that were sent together.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two requests of a connection. A busy client (a seeder with thousands of
/// torrents) has another one within a minute.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The same when the tracker is crowded.
pub const IDLE_TIMEOUT_CROWDED: Duration = Duration::from_secs(5);

/// Time for a client to read the last answer before its connection is closed.
pub const LINGER: Duration = Duration::from_secs(2);

/// Time between two looks at all connections' deadlines, and before an accept or receive that
/// failed is tried again: a second of lateness harms nobody, and 8,192 looks cost 20 us.
pub const SWEEP: Duration = Duration::from_secs(1);

/// Completions that a turn takes before it hands over what they led to: a burst shares a send
/// of answers, and the first of it waits a millisecond or two at most.
pub const COMPLETIONS_PER_TURN: usize = 1024;

/// Connections that the system keeps for us before they are accepted; it cuts this to
/// net.core.somaxconn.
pub const BACKLOG: i32 = 4096;

/// Bytes of datagrams that the system keeps for us: some 5,000 announces, a burst of 10 ms.
pub const UDP_RECEIVE_BYTES: usize = 4 << 20;

/// Bytes of our datagrams that the system keeps until the device takes them.
pub const UDP_SEND_BYTES: usize = 4 << 20;

/// The shortest interval that clients may be told: a busy swarm would do nothing but announce.
/// (Laboratories may want seconds.)
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The longest: a peer may miss one announce and must still be kept (see [`SILENT_MAX`]).
pub const INTERVAL_MAX: Duration = Duration::from_secs(8 * 60 * 60);

/// Time between two looks at the CPU time that was used: a burst of seconds changes nothing.
pub const LOAD_WINDOW: Duration = Duration::from_secs(10);

/// Share of a core that is used, from which on clients are asked to come back later, a quarter of the
/// interval each time. What is left answers no burst.
pub const LOAD_HIGH: f64 = 0.9;

/// Share below which they are asked to come back sooner again. Twice the announces of it are hardly too many.
pub const LOAD_LOW: f64 = 0.5;

/// Quarters by which the interval is stretched at most: to twice itself, after which a silent peer is still
/// kept (see [`SILENT_MARGIN`]).
pub const STRETCH_QUARTERS_MAX: u32 = 4;

/// Added to two intervals before a silent peer goes: time for retries.
pub const SILENT_MARGIN: Duration = Duration::from_secs(120);

/// Bytes of a datagram that we send: what every IPv6 path carries in one packet (1,280, less 48
/// of headers). 202 IPv4 peers, or 67 of IPv6.
pub const DATAGRAM_BYTES_MAX: usize = 1232;

/// Datagrams that are answered together, and sent by one call: what they miss in the caches is fetched
/// side by side.
pub const DATAGRAMS_TOGETHER: usize = 64;

/// Receive buffers of the ring: as many requests and datagrams as come between two turns.
pub const RECEIVE_BUFFERS: u16 = 1024;

/// Bytes of a receive buffer: an announce of either protocol, with room for a pipelined few.
pub const RECEIVE_BUFFER_BYTES: u32 = 2048;

/// Time for answers under way to go and all sockets to close when the tracker is stopped; the end of
/// the thread closes the rest. A client that takes its answer and lingers has time enough.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);

const _: () = assert!(CLOSE_TIMEOUT.as_secs() > LINGER.as_secs() + SWEEP.as_secs());

/// What a slice of a snapshot may cost, in peers: some 0.2 ms of memory traffic, in which no announce is
/// answered, and 370 KiB to be written.
pub const SLICE_COST: usize = 8192;

/// What a torrent costs besides its peers: it and its first peer miss the caches.
pub const SLICE_TORRENT_COST: usize = 8;

/// Time between two slices: they take a tenth of a core at most, and 4,000,000 peers of small swarms are told
/// in ten seconds.
pub const SLICE_PACE: Duration = Duration::from_millis(2);

/// Bytes of a block of a snapshot's file: a slice with the heads of its torrents, of IPv6 throughout.
pub const SNAPSHOT_BLOCK_BYTES_MAX: usize = 512 << 10;

/// Slices that wait for the disk: 4 MiB at most. With more, no further one is made.
pub const SNAPSHOT_BLOCKS_WAITING: usize = 8;

/// Time between two snapshots when none was asked for: what a power cut may cost.
pub const SNAPSHOT_EVERY: Duration = Duration::from_secs(300);

/// The shortest that may be asked for. (Laboratories may want seconds.)
pub const SNAPSHOT_EVERY_MIN: Duration = Duration::from_secs(1);

/// The longest: clients that were silent for so long are forgotten.
pub const SNAPSHOT_EVERY_MAX: Duration = SILENT_MAX;

/// Age from which on a snapshot is not loaded: addresses have other owners by then.
pub const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Time for the next block of a snapshot to be read at the start, and for its folder to answer: a disk that
/// spins up takes ten seconds. A mount that does not answer is an error then.
pub const SNAPSHOT_READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for the last snapshot to be taken by the disk at a stop, for each of its blocks and at its end.
pub const SNAPSHOT_STOP: Duration = Duration::from_secs(30);

/// Proxies, or networks of them, that are believed: a site has one or two.
pub const PROXIES_MAX: usize = 16;

/// `X-Forwarded-For` fields of a request: each proxy of a chain may add one instead of appending to it.
pub const FORWARDED_FIELDS_MAX: usize = 4;

/// Bytes behind the first 16 of a PROXY header. Addresses take 36; what else proxies tell, as names of
/// certificates, some hundred.
pub const PROXY_HEADER_BYTES_MAX: usize = 2048;

/// Bytes of requests and answers that wait in all HTTP connections together. Half a thousand clients that
/// do not read what they ask for hold as much; the memory of the tracker is for peers.
pub const HTTP_BYTES_MAX: usize = 64 << 20;

/// Bytes of one connection that are kept even then: a whole request, and the answer to it. So those that
/// ask and read are served, and all together hold this much for each connection more at most.
pub const HTTP_BYTES_SHARE: usize = 24 << 10;

/// Bytes of a batch's memory that are kept for the next answer. With more of them whoever gets it would
/// hold much for one small answer: growing doubles, and a share must hold what it has then.
pub const BATCH_BYTES_KEPT: usize = HTTP_BYTES_SHARE / 3;
