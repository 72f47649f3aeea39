//! The control thread: registry, announces, jobs. May wait and fail; never makes a worker wait.

pub mod announcer;
