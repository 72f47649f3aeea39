//! Performs what sched::announce decides, over HTTP and UDP.
