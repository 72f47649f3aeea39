//! Users, their passkeys and what they moved, in one SQLite file. Any number of programs may have it
//! open: one that serves and one that adds a user, say. It is in WAL mode, so who reads never waits
//! for who writes.
//!
//! Every call here may wait for a disk: it belongs on a thread that may. A passkey is kept as its
//! digest, so whoever reads the file, a backup of it or a log learns none.
#![forbid(unsafe_code)]

pub mod limits;
mod name;
mod passkey;
mod schema;
mod store;

pub use name::{Name, NameError};
pub use passkey::{Digest, NotAPasskey, Passkey};
pub use store::{Failure, Moved, Passholder, User, UserId, Users, UsersError};
