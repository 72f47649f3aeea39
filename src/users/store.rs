//! The file, opened.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use crate::limits;
use crate::schema::{STEPS, Unfit, bring_up_to_date};
use crate::{Digest, Name, Passkey};

/// The file of users, open.
#[derive(Debug)]
pub struct Users {
    file: Connection,
    path: PathBuf,
}

/// A user's number: it is never given to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UserId(pub i64);

/// Bytes that somebody moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moved {
    /// Sent to others.
    pub uploaded: u64,
    /// Received from others.
    pub downloaded: u64,
}

/// A user, as a list shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Whose figures these are.
    pub name: String,
    /// When it was added, in seconds since 1970.
    pub created: i64,
    /// When it was revoked, if it is.
    pub revoked: Option<i64>,
    /// In all.
    pub moved: Moved,
}

/// A user, as who checks passkeys sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passholder {
    /// Who it is.
    pub id: UserId,
    /// Of its passkey.
    pub passkey: Digest,
    /// It may not announce any more.
    pub is_revoked: bool,
}

/// What could not be done with a file of users, and what helps.
#[derive(Debug, thiserror::Error)]
#[error("users {}: {failure}", path.display())]
pub struct UsersError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub failure: Failure,
}

/// As [`UsersError`], less the file.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It could not be made or opened.
    #[error("cannot be opened: {0}; name a file in a folder where this user may write")]
    Open(std::io::Error),
    /// It is no database of users.
    #[error("is another program's file: name one that does not exist yet, or one of users")]
    Foreign,
    /// A later release wrote it.
    #[error("has version {0}, of a later release: install that, or name another file")]
    Newer(usize),
    /// Another program holds it.
    #[error(
        "another program has been writing it for {:?}: try again, or end that program",
        limits::BUSY
    )]
    Busy,
    /// The name is taken.
    #[error("there is a user {0} already: choose another name, or revoke it to give a new passkey")]
    Exists(Name),
    /// Nobody is called so.
    #[error("there is no user {0}: `user list` shows who there is")]
    Unknown(Name),
    /// It has as many as it may.
    #[error("has {} users, the most there may be", limits::USERS_MAX)]
    Full,
    /// The system gave no random bytes.
    #[error("cannot make a passkey: {0}; getrandom(2) must be allowed")]
    Random(getrandom::Error),
    /// Anything else that SQLite says: a disk that is full or fails, a file that is damaged.
    #[error("{0}; look at the disk, and that this user may write the file and its folder")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
            Some(ErrorCode::NotADatabase) => Failure::Foreign,
            _ => Failure::Sqlite(error),
        }
    }
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Failure {
        match unfit {
            Unfit::Sqlite(error) => error.into(),
            Unfit::Foreign => Failure::Foreign,
            Unfit::Newer(version) => Failure::Newer(version),
        }
    }
}

impl Users {
    /// Opens a file, brings it up to date, and makes it first where there is none, for its owner only.
    ///
    /// # Errors
    /// [`UsersError`] says which and what helps.
    pub fn open(path: &Path) -> Result<Users, UsersError> {
        let named = |failure| UsersError { path: path.to_owned(), failure };
        let file = connect(path).map_err(named)?;
        Ok(Users { file, path: path.to_owned() })
    }

    /// Adds a user; gives its passkey, which is nowhere to be read later. A user that was revoked comes
    /// back under its name with another passkey and the figures it had.
    ///
    /// # Errors
    /// The name is taken, or the file could not be written.
    pub fn add(&mut self, name: &Name, now: SystemTime) -> Result<Passkey, UsersError> {
        let added = self.try_add(name, now);
        self.named(added)
    }

    fn try_add(&mut self, name: &Name, now: SystemTime) -> Result<Passkey, Failure> {
        let passkey = Passkey::new().map_err(Failure::Random)?;
        let change = self.file.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let count: i64 = change.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?;
        let back =
            "UPDATE users SET passkey = ?1, revoked = NULL WHERE name = ?2 AND revoked IS NOT NULL";
        if change.execute(back, params![passkey.digest().0, name.as_str()])? == 0 {
            if usize::try_from(count).unwrap_or(usize::MAX) >= limits::USERS_MAX {
                return Err(Failure::Full);
            }
            let new = "INSERT INTO users (name, passkey, created) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING";
            let row = params![name.as_str(), passkey.digest().0, seconds(now)];
            if change.execute(new, row)? == 0 {
                return Err(Failure::Exists(name.clone()));
            }
        }
        change.commit()?;
        Ok(passkey)
    }

    /// Makes a user's passkey worthless. Once more changes nothing.
    ///
    /// # Errors
    /// Nobody is called so, or the file could not be written.
    pub fn revoke(&mut self, name: &Name, now: SystemTime) -> Result<(), UsersError> {
        let revoke = "UPDATE users SET revoked = coalesce(revoked, ?1) WHERE name = ?2";
        let revoked = match self.file.execute(revoke, params![seconds(now), name.as_str()]) {
            Ok(0) => Err(Failure::Unknown(name.clone())),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        self.named(revoked)
    }

    /// All users, by name.
    ///
    /// # Errors
    /// The file could not be read.
    pub fn list(&self) -> Result<Vec<User>, UsersError> {
        let list = "SELECT name, created, revoked, uploaded, downloaded FROM users ORDER BY name";
        self.named(self.all(list, |row| {
            // No sum is negative: the schema sees to it.
            let bytes = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            let moved = Moved { uploaded: bytes(3)?, downloaded: bytes(4)? };
            Ok(User { name: row.get(0)?, created: row.get(1)?, revoked: row.get(2)?, moved })
        }))
    }

    /// All passkeys.
    ///
    /// # Errors
    /// The file could not be read.
    pub fn passholders(&self) -> Result<Vec<Passholder>, UsersError> {
        self.named(self.all("SELECT id, passkey, revoked IS NOT NULL FROM users", |row| {
            let (id, passkey) = (UserId(row.get(0)?), Digest(row.get(1)?));
            Ok(Passholder { id, passkey, is_revoked: row.get(2)? })
        }))
    }

    /// Adds to what users have moved, all at once or nothing. Who is not in the file is left out; a sum
    /// stops at the largest number that the file can hold.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn add_moved(
        &mut self,
        moved: impl IntoIterator<Item = (UserId, Moved)>,
    ) -> Result<(), UsersError> {
        let added = self.try_add_moved(moved);
        self.named(added)
    }

    fn try_add_moved(
        &mut self,
        moved: impl IntoIterator<Item = (UserId, Moved)>,
    ) -> Result<(), Failure> {
        let change = self.file.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            // max - sum cannot overflow where sum + more would, and would make a real number of it.
            let mut add = change.prepare(
                "UPDATE users SET uploaded = uploaded + min(?2, 9223372036854775807 - uploaded),
                 downloaded = downloaded + min(?3, 9223372036854775807 - downloaded) WHERE id = ?1",
            )?;
            let whole = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            for (UserId(id), Moved { uploaded, downloaded }) in moved {
                add.execute(params![id, whole(uploaded), whole(downloaded)])?;
            }
        }
        change.commit()?;
        Ok(())
    }

    /// A number that is another one after another program, or another `Users`, has changed the file:
    /// what this one changes itself does not count. Costs a few reads of shared memory.
    ///
    /// # Errors
    /// The file could not be read.
    pub fn version(&self) -> Result<i64, UsersError> {
        let version = self.file.pragma_query_value(None, "data_version", |row| row.get(0));
        self.named(version.map_err(Failure::from))
    }

    fn all<T>(
        &self,
        query: &str,
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Failure> {
        let mut query = self.file.prepare(query)?;
        Ok(query.query_map([], row)?.collect::<rusqlite::Result<_>>()?)
    }

    fn named<T>(&self, done: Result<T, Failure>) -> Result<T, UsersError> {
        done.map_err(|failure| UsersError { path: self.path.clone(), failure })
    }
}

fn connect(path: &Path) -> Result<Connection, Failure> {
    // SQLite would let everybody read it; its other files take over what this one allows. One that is
    // there is not opened here: closing it would take away the locks that another `Users` of this
    // process has on it (fcntl(2)).
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(Failure::Open(error)),
        _ => {}
    }
    // A FIFO would make who opens it wait.
    if !std::fs::metadata(path).map_err(Failure::Open)?.is_file() {
        return Err(Failure::Open(std::io::Error::other("it is not a regular file")));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut file = Connection::open_with_flags(path, flags)?;
    file.busy_timeout(limits::BUSY)?;
    bring_up_to_date(&mut file, STEPS)?;
    file.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode a loss of power may cost the last changes, and damages nothing.
    file.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(file)
}

fn seconds(now: SystemTime) -> i64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(since).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
