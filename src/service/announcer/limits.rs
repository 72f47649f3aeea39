//! Named bounds of the announcer: each with its unit and its reason.

use std::time::Duration;

/// Time for one announce over HTTP, redirects included. Busy trackers answer within ten seconds.
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a TCP connection to a tracker; three SYNs fit.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept open for the next announce to the same tracker: through a burst,
/// not until the next interval.
pub const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// At shutdown, announces under way that are no "stopped" are broken off after this long: a tracker
/// that works has answered by then, and one that does not must not hold the process.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// Redirects followed in one announce. Trackers need one, to another name or to TLS.
pub const REDIRECTS_MAX: usize = 3;

/// Bytes of the head of an answer over HTTP.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Bytes of an announce URL, as are read; browsers and servers stop in this region.
pub const URL_BYTES_MAX: usize = 4096;

/// Wait for the first UDP answer (BEP 15: 15 * 2^n seconds).
pub const UDP_FIRST_WAIT: Duration = Duration::from_secs(15);

/// Transmissions of one announce over UDP before it counts as unanswered: 45 s in all, so that
/// another tracker gets its turn. The schedule goes on with the waits that follow in BEP 15.
pub const UDP_TRANSMISSIONS: u32 = 2;

/// Pause after a receive that failed.
pub const UDP_FAULT_PAUSE: Duration = Duration::from_millis(100);

/// A connection id is used for so long (BEP 15: one minute).
pub const CONNECTION_ID_AGE: Duration = Duration::from_secs(60);

/// Addresses of UDP trackers whose connection ids are kept. Old ones make room.
pub const CONNECTION_IDS_MAX: usize = 4096;

/// How long an address is believed. The system's resolver does not tell its own times.
pub const NAME_AGE: Duration = Duration::from_secs(300);

/// How long it is believed that a name has no address: an announce is not worth a storm of
/// questions.
pub const NAME_FAILURE_AGE: Duration = Duration::from_secs(60);

/// Names whose addresses are kept. Old ones make room.
pub const NAMES_MAX: usize = 4096;

/// Questions to the system's resolver at a time, each of which holds a thread.
pub const LOOKUPS_MAX: usize = 4;

/// Addresses kept of one name.
pub const ADDRESSES_MAX: usize = 16;

/// Tracker ids (BEP 3 "trackerid") kept, one for each swarm, family and host that uses them.
/// Beyond, they are not sent back.
pub const TRACKER_IDS_MAX: usize = 100_000;

/// Different reasons for which one host refuses torrents that are reported, once each.
pub const REASONS_MAX: usize = 8;

/// Bytes of a report's text from a tracker.
pub const REASON_BYTES_MAX: usize = 200;

/// Unreadable tracker URLs that are reported, once each.
pub const BAD_URLS_MAX: usize = 256;
