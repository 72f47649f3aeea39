//! Bounds of the file, each with its unit and its reason.

use std::time::Duration;

/// Users in all, revoked ones included. A program that serves them holds some 60 bytes for each.
pub const USERS_MAX: usize = 1 << 20;

/// Bytes of a name: fits a line of a list beside its figures.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of a passkey: 128 bits cannot be guessed, and make 32 digits of a URL.
pub const PASSKEY_BYTES: usize = 16;

/// Time to wait for another program that writes, before the file is called busy. A write takes
/// milliseconds, on a slow disk a second.
pub const BUSY: Duration = Duration::from_secs(5);
