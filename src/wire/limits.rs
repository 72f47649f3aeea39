//! Every bound of the protocols, with its unit and its reason.

/// Bytes of a frame behind its length prefix, whatever its kind. The longest that we know is the
/// bitfield of the largest torrent, a quarter of this; the rest is for extensions to be skipped.
pub const FRAME_BYTES_MAX: u32 = 1024 * 1024;

/// Bytes one request may ask for. BEP 3 names 16 KiB and closes above; clients that tune for
/// fast links ask for up to 128 KiB, and a block of that size still fits one batch.
pub const REQUEST_BYTES_MAX: u32 = ringseed_meta::limits::BLOCK_BYTES_MAX;

/// Requests of one peer that wait for us, told to it as `reqq` (BEP 10). Blocks of 16 KiB make
/// 16 MiB under way, which fills 1 Gbit/s over 130 ms; the queue then costs 12 KiB.
pub const REQUESTS_MAX: u16 = 1024;

/// Requests in a row that we refused without serving one, before the peer is closed (BEP 6:
/// "MAY close the connection rather than reject"). Four full queues: an honest peer has at
/// most one of them on its way when it is choked.
pub const REFUSALS_MAX: u16 = 4096;

/// Bytes of an extended handshake (BEP 10). Clients send 100 to 600; the carry of a peer holds
/// it while it is incomplete, so this bounds what a peer can pin.
pub const EXTENDED_HANDSHAKE_BYTES_MAX: u32 = 4096;

/// Nesting of the dictionary of an extended message. `m` needs 2; the rest is for extensions
/// that we skip.
pub const EXTENDED_DEPTH_MAX: usize = 8;

/// Bytes of a peer's client name (`v`, BEP 10) that are kept. Longer names are cut.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;

/// Bytes of the bencoded part of a `ut_metadata` message (BEP 9). The longest of the three
/// known ones has 60; unknown keys may double it.
pub const METADATA_HEAD_BYTES_MAX: usize = 128;

/// Bytes of a metadata piece (BEP 9 gives the number).
pub const METADATA_PIECE_BYTES: u32 = 16 * 1024;

/// Times a peer may fetch the whole metadata over one connection before it is refused (BEP 9
/// proposes "the number of pieces of metadata times a factor").
pub const METADATA_ROUNDS_MAX: u32 = 3;

/// Hashes of the base layer in one hashes message, as many as we would ask for or serve.
pub const HASHES_MAX: u32 = ringseed_meta::limits::HASHES_PER_REQUEST_MAX;

/// Layers of a file's hash tree above its leaves: 2^32 blocks of 16 KiB are 64 TiB, more than
/// the `index` of a hash request can name.
pub const HASH_LAYERS_MAX: u32 = 32;

/// Capacity in bytes that the carry of a peer keeps while it is empty: a split request (17)
/// or handshake (68) then costs no allocation.
pub const CARRY_KEPT_BYTES: usize = 96;

/// Pieces of an allowed fast set (BEP 6: "We currently set k to 10").
pub const ALLOWED_FAST_MAX: usize = 10;

/// Seconds until the other side's handshake must be whole. Long enough for three
/// retransmissions on a slow path, too short for a byte a second.
pub const HANDSHAKE_TIMEOUT_S: u16 = 15;

/// Seconds without a whole message before a peer is closed. BEP 3: keep-alives come "generally
/// once every two minutes"; one more minute is for the network.
pub const IDLE_TIMEOUT_S: u16 = 180;

/// Seconds without anything sent before we send a keep-alive: below the two minutes after
/// which the widespread clients close.
pub const KEEP_ALIVE_S: u16 = 100;

/// Bytes of the request target of an announce or scrape over HTTP. A scrape of 50 torrents,
/// all bytes escaped, has 3,600; common servers stop at 8,192.
pub const QUERY_BYTES_MAX: usize = 8192;

/// Parameters of one HTTP query. An announce has about 15, a scrape one for each torrent.
pub const QUERY_PARAMETERS_MAX: usize = 128;

/// Torrents in one scrape, over HTTP or UDP (BEP 15: "Up to about 74 torrents can be scraped
/// at once", which is what fits an unfragmented datagram).
pub const SCRAPE_MAX: usize = 74;

/// Bytes of a tracker's answer over HTTP. 1,000 peers as dictionaries take 100 KiB.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Nesting of a tracker's answer. A scrape needs 3.
pub const ANSWER_DEPTH_MAX: usize = 8;

/// Peers taken from one tracker's answer; trackers give 50 to 200, and a list that never ends
/// would fill our memory.
pub const ANSWER_PEERS_MAX: usize = 2000;

/// Bytes of a reason, warning or error message of a tracker that are kept for the log.
pub const TRACKER_TEXT_BYTES_MAX: usize = 512;

/// Bytes of a tracker id (BEP 3's `trackerid`): it must travel back in each announce.
pub const TRACKER_ID_BYTES_MAX: usize = 256;

/// Bytes of path and query that a UDP announce may carry as options (BEP 41); eight options of
/// 255 bytes, and the packet stays under 2,200 bytes.
pub const URL_DATA_BYTES_MAX: usize = 2040;

/// Bytes of a UDP tracker packet that we read: 200 IPv6 peers in an answer take 3,620.
pub const UDP_PACKET_BYTES_MAX: usize = 4096;

const _: () = assert!(ringseed_meta::limits::PIECES_MAX / 8 < FRAME_BYTES_MAX);
const _: () = assert!(REQUEST_BYTES_MAX + 9 <= FRAME_BYTES_MAX);
const _: () = assert!(EXTENDED_HANDSHAKE_BYTES_MAX + 2 <= FRAME_BYTES_MAX);
const _: () = assert!(48 + (HASHES_MAX + HASH_LAYERS_MAX) * 32 < FRAME_BYTES_MAX);
const _: () = assert!(KEEP_ALIVE_S < 120 && IDLE_TIMEOUT_S > 120);
