//! Bad disks, and memory that is short, under the real program: whatever happens to the data, no peer
//! gets a wrong byte, none is stuck, and nothing is fetched for ever.

mod crowd;
mod direct;
mod left_out;
mod read_errors;
mod stand;
mod truth;
