//! Named bounds of this room, each with its unit and its reason.

use std::time::Duration;

/// Operations in flight for one kernel. Ten thousand connections keep two each; the rest is slack.
pub const OPS_MAX: u32 = 32_768;

/// Operations in flight for one socket: accept or receive, one send, two polls, and slack.
pub const OPS_A_SOCKET: usize = 6;

/// Submission entries: sixteen to sixty-four ops an enter amortise its cost; the rest is for bursts.
pub const SQ_ENTRIES: u32 = 2_048;

/// Completion entries: twice the ops, since multishot ops complete many times between two enters.
/// It is also the most that Linux gives.
pub const CQ_ENTRIES: u32 = 65_536;

/// Completion entries that are enough where memory is scarce: 64 KiB. The kernel keeps what does
/// not fit until the next enter.
pub const CQ_ENTRIES_MIN: u32 = 4_096;

/// Other kernels that a ring sends messages to: one for each core of a large machine. More are rung
/// by eventfd.
pub const BELLS_MAX: usize = 128;

/// Provided receive buffers: a mebibyte. An enter of Linux 6.14 and later answers some twenty sockets
/// (older ones all that are readable; those beyond wait for the next turn), and frames are parsed
/// within the turn. The ring hands them out one after the other, so all of them pass through the
/// caches.
pub const RECEIVE_BUFFERS: u16 = 512;

/// Bytes of one receive buffer: a hundred requests, or one UDP datagram on the common MTU.
pub const RECEIVE_BUFFER_BYTES: u32 = 2_048;

/// Bytes of a worker's pipe: 256 slots of a page, the most an unprivileged process may ask for.
pub const PIPE_BYTES: usize = 1 << 20;

/// Pipes with fewer slots than this carry less than a batch: the copying verb is used.
pub const PIPE_SLOTS_MIN: usize = 64;

/// Runs shorter than this (bytes) are read, not referenced: a reference of one byte pins a page,
/// and a folio of up to 2 MiB with it.
pub const SMALL_RUN_BYTES: u32 = 4_096;

/// Bytes of a chunk of write-once memory: one madvise for each 16,384 headers (256 MiB of blocks).
pub const ARENA_CHUNK_BYTES: usize = 256 << 10;

/// Chunks of write-once memory kept for reuse. A pipe's slots full of pages fill four; more are
/// unmapped when full.
pub const ARENA_CHUNKS_KEPT: usize = 8;

/// Scratch buffers of the copying verb: as many batches as read from a disk at once.
pub const SCRATCH_COUNT: usize = 8;

/// Bytes of a scratch buffer: a batch of 32 blocks of 16 KiB with headers and some control frames.
pub const SCRATCH_BYTES: usize = 544 << 10;

/// One in so many scratch buffers may be held by batches of distant mounts: the others are for those
/// who need not wait for a server.
pub const SCRATCH_DISTANT_SHARE: usize = 2;

/// One in so many by those of one distant mount: one that hangs keeps them for good, and another goes
/// on with as many.
pub const SCRATCH_A_MOUNT_SHARE: usize = 4;

/// Reads in flight for one batch of the copying verb: one byte of the completion's number names it.
pub const READS_A_BATCH: usize = 255;

/// Bytes of one readahead(2): longer ones are cut silently at the device's own limit (128 KiB on
/// FUSE).
pub const READ_AHEAD_STEP_BYTES: u32 = 128 << 10;

/// Bytes of one read into the sink: bounds how much of it is touched.
pub const DISCARD_STEP_BYTES: u32 = 256 << 10;

/// Batches kept for reuse by [`Kernel::batch`](crate::Kernel::batch).
pub const BATCHES_KEPT: usize = 256;

/// Opens of files of a device until its tags are read again: they change when its scheduler is set.
pub const TAGS_OPENS: u32 = 256;

/// Devices whose tags are kept. Those of a machine with more are read more often.
pub const TAGS_KEPT: usize = 128;

/// Open files of the process that stay mapped: those of sixteen workers that have all they may, and a
/// quarter of the mappings that Linux gives a process (vm.max_map_count, 65,530).
pub const OUTLINES_MAX: u64 = 16_384;

/// Bytes of address space for these: an eighth of what a process has on x86-64. Other systems may be
/// built with 39 bits of it, half a tebibyte.
pub const OUTLINE_BYTES_MAX: u64 = if cfg!(target_arch = "x86_64") { 16 << 40 } else { 64 << 30 };

/// Threads the system may use behind the ring for work that cannot be done otherwise
/// (bounded, unbounded): reads of filesystems of this machine that cannot wait without a thread.
pub const IO_WORKERS: [u32; 2] = [8, 2];

/// Edges taken by one epoll_wait: a busy worker looks again each turn, and a turn answers 256.
pub const EPOLL_EVENTS: usize = 512;

/// Threads of one kernel for calls that may wait for long: those of one device of this machine, of all
/// distant mounts together, and of opens that may lead anywhere.
pub const IO_THREADS: usize = IO_THREADS_A_DEVICE + DISTANT_THREADS_IN_ALL + OPEN_THREADS_IN_ALL;

/// Of these, for one device of this machine. They keep it busy: readahead has asked for the pages
/// before anybody waits for them.
pub const IO_THREADS_A_DEVICE: usize = 16;

/// Of a device's threads, or a distant mount's, one in so many may be opening, looking or closing:
/// should those hang, the others still read.
pub const LOOKS_SHARE: usize = 2;

/// Threads for opens in one folder of a root of this machine, which may lead anywhere.
pub const OPEN_THREADS: usize = 2;

/// The same below a root that was never opened: it hangs as a whole or not at all, and one open that
/// comes back tells where the next ones stand in line.
pub const OPEN_THREADS_A_NEW_ROOT: usize = 1;

/// The same of all of them: as many as keep a disk busy. Eight folders that hang leave none to files
/// that are not open yet, and all to those that are.
pub const OPEN_THREADS_IN_ALL: usize = 16;

/// Of these, left to folders of roots that are open: many roots may be of one server that is gone.
pub const OPEN_THREADS_FOR_FOLDERS: usize = 4;

/// Of these, for one distant mount: as many reads as FUSE asks of its server at once, nearly. Two that
/// hang leave none to other distant mounts, and all to the devices of this machine.
pub const DISTANT_THREADS: usize = 8;

/// The same of all distant mounts.
pub const DISTANT_THREADS_IN_ALL: usize = 16;

/// Of these, at most so many wait for pages.
pub const DISTANT_THREADS_THAT_WAIT: usize = 5;

/// Of a device's threads, at most so many wait for pages: the others open files and ask for pages,
/// however long that takes.
pub const IO_THREADS_THAT_WAIT: usize = 14;

/// How long such a thread stays without work.
pub const IO_THREAD_IDLE: Duration = Duration::from_secs(10);

/// Bytes of such a thread's stack: it makes system calls.
pub const IO_THREAD_STACK_BYTES: usize = 128 << 10;

/// Reads of one byte that a thread takes together: they wait for the pages of one fetch, and those
/// of the first are seldom the last to come.
pub const TOUCHES_AT_ONCE: usize = 32;

/// Bytes from one look to the next where the system does not say what is cached: a block.
pub const CACHED_LOOK_BYTES: u64 = 16 << 10;

/// Bytes from one such read to the next of the same fetch.
pub const TOUCHES_REACH_BYTES: u64 = 128 << 10;

/// Bytes of a page, in which pipes count their slots and cachestat its answers. Where the system has
/// larger ones, batches are copied.
pub const PAGE_BYTES: usize = 4_096;

/// Datagrams that one system call sends: what it costs is shared by so many that it is not seen any
/// more, and the call's list takes 7 KiB of stack.
pub const DATAGRAMS_TOGETHER: usize = 64;

/// Bytes that a core may have taken for TCP and not told of yet: the kernel counts a mebibyte at a
/// time (SK_MEMORY_PCPU_RESERVE).
pub const TCP_BYTES_UNTOLD_A_CORE: u64 = 1 << 20;
