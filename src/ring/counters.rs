//! What a kernel counts.

/// Counted since the kernel was made; each names its unit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// io_uring_enter(2) or epoll_wait(2) calls.
    pub enters: u64,
    /// Times that the submission queue had no room for an entry: it was handed over early.
    pub submissions_full: u64,
    /// Enters that found more completions than their queue holds: the kernel kept the others.
    pub completions_full: u64,
    /// Events taken from the engine.
    pub completions: u64,
    /// Completions of ops that were gone: always 0, or the op table is wrong.
    pub stale_completions: u64,
    /// Pushes refused because the op table was full.
    pub ops_refused: u64,
    /// Receives that found no buffer (ENOBUFS).
    pub buffers_short: u64,
    /// Batches sent, whole or in part, by any verb.
    pub batches: u64,
    /// Sends after which some of the batch was left.
    pub partial_sends: u64,
    /// splice(2) calls from files into the pipe.
    pub file_splices: u64,
    /// splice(2) calls from the pipe to sockets.
    pub socket_splices: u64,
    /// Files that turned out not to splice (each counted once).
    pub splice_refusals: u64,
    /// Reads of the copying verb that went to the ring, or to a thread, since the page cache had not
    /// all.
    pub scratch_reads: u64,
    /// Batches that waited for scratch memory.
    pub scratch_waits: u64,
    /// Bytes handed to sockets in all. What neither verb below carried were frames of our own alone.
    pub bytes_sent: u64,
    /// Of these, by the splice verb (headers included).
    pub bytes_spliced: u64,
    /// Of these, by the copying verb.
    pub bytes_copied: u64,
    /// Bytes of files read into our memory (short runs, the copying verb).
    pub bytes_read: u64,
    /// Rings of other kernels' bells.
    pub rings: u64,
    /// Bytes received.
    pub bytes_received: u64,
}
