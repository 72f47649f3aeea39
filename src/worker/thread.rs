//! The outer loop of a worker's thread: the one place that reads its clock and enters its kernel.
