//! Sizes of a kernel.

use crate::limits;
use crate::plan::ZeroCopy;

/// Sizes of a kernel; each has a default in [`limits`].
#[derive(Clone, Debug)]
pub struct KernelOptions {
    /// Submission entries.
    pub sq_entries: u32,
    /// Completion entries; at least twice `ops_max`, or multishot ops are stopped by overflows.
    pub cq_entries: u32,
    /// Ops in flight.
    pub ops_max: u32,
    /// Provided receive buffers, a power of two of at most 32,768.
    pub receive_buffers: u16,
    /// Bytes of each.
    pub receive_buffer_bytes: u32,
    /// Whether batches go by reference.
    pub zero_copy: ZeroCopy,
    /// Bytes of the pipe.
    pub pipe_bytes: usize,
    /// Buffers of the copying verb: batches that read at once.
    pub scratch_count: usize,
    /// Bytes of each: the most that one send of the copying verb carries.
    pub scratch_bytes: usize,
}

impl Default for KernelOptions {
    fn default() -> KernelOptions {
        KernelOptions {
            sq_entries: limits::SQ_ENTRIES,
            cq_entries: limits::CQ_ENTRIES,
            ops_max: limits::OPS_MAX,
            receive_buffers: limits::RECEIVE_BUFFERS,
            receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
            zero_copy: ZeroCopy::Auto,
            pipe_bytes: limits::PIPE_BYTES,
            scratch_count: limits::SCRATCH_COUNT,
            scratch_bytes: limits::SCRATCH_BYTES,
        }
    }
}
