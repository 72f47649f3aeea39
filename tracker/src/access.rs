//! Which torrents are served: all, those on a list, or all but those on a list. A list is a file,
//! read by a thread of its own; whoever answers announces looks at what that thread published last.
//! Who is served: everybody, or those with a passkey, by another such thread.

mod accounts;
mod ledger;
mod list;
mod members;
mod private;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use hashbrown::HashSet;
use ringseed_meta::InfoHash;
use ringseed_users::UsersError;

use crate::snapshot::SnapshotNotice;
use crate::swarm::Bounds;

pub(crate) use accounts::Accounts;
pub use list::ListError;
pub(crate) use members::{Stranger, split_path};
pub(crate) use private::Private;
pub(crate) use watch::Watch;

/// A list of torrents, and what it means. A file holds an infohash a line: 40 hexadecimal digits,
/// or 64 of a v2 torrent, for which clients announce the first 40 (BEP 52). What stands behind a
/// space is passed over, as are empty lines and those that begin with `#`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it means to stand on it.
    pub listed: Listed,
}

/// What it means to stand on a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listed {
    /// These torrents are served and no others.
    Allowed,
    /// These are not served.
    Denied,
}

/// What became of a look at a list or at users whose file has changed, or of a snapshot.
#[derive(Debug)]
pub enum Notice {
    /// Of a snapshot.
    Snapshot(SnapshotNotice),
    /// It is in force.
    InForce {
        /// Its file.
        path: PathBuf,
        /// Torrents on it.
        torrents: usize,
    },
    /// It could not be read; the one before stays in force.
    Failed(ListError),
    /// Those who may announce are others than before.
    Users {
        /// Their file.
        path: PathBuf,
        /// How many there are.
        users: usize,
    },
    /// The file of users could not be read or written.
    UsersFailed(UsersError),
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Notice::Snapshot(notice) => notice.fmt(f),
            Notice::InForce { path, torrents } => {
                write!(f, "list {}: in force, with {torrents} torrents", path.display())
            }
            Notice::Failed(error) => write!(f, "{error}; the list as it was before stays in force"),
            Notice::Users { path, users } => {
                write!(f, "users {}: in force, with {users} who may announce", path.display())
            }
            Notice::UsersFailed(error) => write!(
                f,
                "{error}; who could announce before still can, and what they move is kept in memory"
            ),
        }
    }
}

/// The torrents of a list.
pub(crate) type Torrents = HashSet<InfoHash>;

/// Why a torrent is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unserved {
    /// It may be put on the list of those that are.
    NotAllowed,
    Denied,
}

/// A list that is in force, or none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    list: Option<(Listed, Arc<Torrents>)>,
    /// The file has changed since and could not be read.
    pub(crate) is_stale: bool,
}

impl Access {
    pub(crate) fn of(listed: Listed, torrents: Arc<Torrents>, is_stale: bool) -> Access {
        Access { list: Some((listed, torrents)), is_stale }
    }

    /// Whether announces of a torrent are taken in.
    pub(crate) fn admits(&self, info_hash: &InfoHash) -> Result<(), Unserved> {
        match &self.list {
            Some((Listed::Allowed, torrents)) if !torrents.contains(info_hash) => {
                Err(Unserved::NotAllowed)
            }
            Some((Listed::Denied, torrents)) if torrents.contains(info_hash) => {
                Err(Unserved::Denied)
            }
            _ => Ok(()),
        }
    }

    /// Torrents on the list.
    pub(crate) fn torrents(&self) -> usize {
        self.list.as_ref().map_or(0, |(_, torrents)| torrents.len())
    }
}

/// Where the list in force, and who may announce, are published: written by a thread each, read
/// without waiting by any.
#[derive(Clone, Debug, Default)]
pub struct Published {
    list: Arc<ArcSwap<Access>>,
    /// `None`: everybody may announce.
    users: Option<accounts::Shared>,
}

impl Published {
    /// Puts `access` in force; gives back what was before.
    pub(crate) fn put(&self, access: Access) -> Arc<Access> {
        self.list.swap(Arc::new(access))
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader(Cache::new(self.list.clone()))
    }

    /// The same, for the users of `accounts` only.
    pub(crate) fn for_users_of(self, accounts: &Accounts) -> Published {
        Published { users: Some(accounts.shared()), ..self }
    }

    /// Private mode, if it is on.
    pub(crate) fn private(&self, key: &[u8; 16], bounds: &Bounds) -> Option<Private> {
        self.users.clone().map(|shared| Private::new(shared, key, bounds))
    }
}

/// What one thread last saw published.
#[derive(Debug)]
pub(crate) struct Reader(Cache<Arc<ArcSwap<Access>>, Arc<Access>>);

impl Reader {
    /// What is in force: an atomic load, as a rule.
    pub(crate) fn seen(&mut self) -> &Access {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_who_is_served() {
        let (on, off) = (InfoHash([1; 20]), InfoHash([2; 20]));
        let torrents = Arc::new(Torrents::from_iter([on]));
        let admits = |access: &Access| [access.admits(&on), access.admits(&off)];
        assert_eq!(admits(&Access::default()), [Ok(()), Ok(())]);
        let allowed = Access::of(Listed::Allowed, torrents.clone(), false);
        assert_eq!(admits(&allowed), [Ok(()), Err(Unserved::NotAllowed)]);
        let denied = Access::of(Listed::Denied, torrents, false);
        assert_eq!(admits(&denied), [Err(Unserved::Denied), Ok(())]);
        let nobody = Access::of(Listed::Allowed, Arc::default(), false);
        assert_eq!(admits(&nobody), [Err(Unserved::NotAllowed); 2], "an empty list allows nothing");
    }

    #[test]
    fn a_reader_sees_what_was_published_last() {
        let published = Published::default();
        let mut reader = published.reader();
        assert_eq!(reader.seen().torrents(), 0);
        let torrents = Arc::new(Torrents::from_iter([InfoHash([1; 20])]));
        published.put(Access::of(Listed::Allowed, torrents, false));
        assert_eq!(reader.seen().torrents(), 1);
    }
}
