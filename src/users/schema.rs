//! What the file looks like, and how an older one is brought up to date.

use rusqlite::{Connection, Error, TransactionBehavior};

/// Tells our files from others (`PRAGMA application_id`): "Ring".
pub(crate) const APPLICATION: i32 = 0x5269_6e67;

/// Each step takes a file from the version that is its place here to the next. Steps that were ever
/// released are never changed: a further one is appended.
pub(crate) const STEPS: &[&str] = &["
    CREATE TABLE users (
        -- Never given to another, so that what was moved stays with whom it was counted for.
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        name       TEXT    NOT NULL UNIQUE,
        -- SHA-256 of it.
        passkey    BLOB    NOT NULL UNIQUE CHECK (length(passkey) = 32),
        -- Seconds since 1970.
        created    INTEGER NOT NULL,
        revoked    INTEGER,
        -- Bytes.
        uploaded   INTEGER NOT NULL DEFAULT 0 CHECK (uploaded >= 0),
        downloaded INTEGER NOT NULL DEFAULT 0 CHECK (downloaded >= 0)
    ) STRICT
"];

/// Why a file is not of this schema.
#[derive(Debug)]
pub(crate) enum Unfit {
    Sqlite(Error),
    /// Another program's.
    Foreign,
    /// Of a version that these steps do not reach.
    Newer(usize),
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Unfit {
        Unfit::Sqlite(error)
    }
}

/// Takes a file to the version behind `steps`, all at once or not at all.
pub(crate) fn bring_up_to_date(file: &mut Connection, steps: &[&str]) -> Result<(), Unfit> {
    // A look does not wait for who writes.
    if version(file, steps.len())? == steps.len() {
        return Ok(());
    }
    // Two programs may have found the same: one of them goes first.
    let step = file.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let first = version(&step, steps.len())?;
    for (version, statements) in (1i64..).zip(steps).skip(first) {
        step.execute_batch(statements)?;
        step.pragma_update(None, "user_version", version)?;
    }
    step.pragma_update(None, "application_id", APPLICATION)?;
    step.commit()?;
    Ok(())
}

/// Steps that a file has behind it.
fn version(file: &Connection, newest: usize) -> Result<usize, Unfit> {
    let number = |name| file.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables =
        file.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    match (application, tables) {
        (APPLICATION, _) => {}
        (0, 0) => return Ok(0),
        _ => return Err(Unfit::Foreign),
    }
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > newest { Err(Unfit::Newer(version)) } else { Ok(version) }
}
