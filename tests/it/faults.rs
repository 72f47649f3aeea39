//! Bad disks, and memory that is short, under the real program: whatever happens to the data, no peer
//! gets a wrong byte, none is stuck, and nothing is fetched for ever.

mod cgroup;
mod changes;
mod crowd;
mod direct;
mod hangs;
pub(crate) mod left_out;
mod memory;
mod read_errors;
mod slow;
mod stand;
mod stopped;
mod truth;
