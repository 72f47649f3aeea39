use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A folder with a file of users that is open.
fn users() -> (tempfile::TempDir, PathBuf, Users) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db");
    let users = Users::open(&path).unwrap();
    (folder, path, users)
}

#[test]
fn a_user_is_added_listed_and_revoked() {
    let (_folder, path, mut users) = users();
    let passkey = users.add(&name("ann"), at(7)).unwrap();
    let holders = users.passholders().unwrap();
    let [holder] = holders[..] else { panic!("{holders:?}") };
    assert!(holder.passkey == passkey.digest() && !holder.is_revoked);
    users.revoke(&name("ann"), at(9)).unwrap();
    users.revoke(&name("ann"), at(10)).unwrap();
    drop(users);
    let mut users = Users::open(&path).unwrap();
    let ann = User { name: "ann".into(), created: 7, revoked: Some(9), moved: Moved::default() };
    assert_eq!(users.list().unwrap(), std::slice::from_ref(&ann));
    assert!(users.passholders().unwrap()[0].is_revoked);
    let error = users.revoke(&name("bob"), at(1)).unwrap_err().to_string();
    assert!(error.contains("no user bob") && error.contains("users.db"), "{error}");
    let again = users.add(&name("ann"), at(11)).unwrap();
    assert!(again != passkey);
    assert_eq!(users.list().unwrap(), [User { revoked: None, ..ann }]);
    assert_eq!(users.passholders().unwrap()[0].id, holder.id, "its figures are its own still");
    let error = users.add(&name("ann"), at(12)).unwrap_err().to_string();
    assert!(error.contains("a user ann already"), "{error}");
    assert!(users.passholders().unwrap()[0].passkey == again.digest(), "nothing has changed");
}

#[test]
fn no_file_of_it_has_a_passkey_or_lets_others_read() {
    let (folder, _, mut users) = users();
    let passkey = users.add(&name("ann"), at(7)).unwrap();
    let bytes: Vec<u8> = (0..16)
        .map(|at| u8::from_str_radix(&passkey.reveal()[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{entry:?}");
        let all = std::fs::read(entry.path()).unwrap();
        assert!(!all.windows(16).any(|part| part == bytes), "{entry:?}");
        assert!(!all.windows(32).any(|part| part == passkey.reveal().as_bytes()), "{entry:?}");
        files += 1;
    }
    assert!(files >= 3, "no write-ahead log");
}

#[test]
fn another_sees_that_it_changed_and_who_changed_it_does_not() {
    let (_folder, path, mut users) = users();
    let mut other = Users::open(&path).unwrap();
    let versions = (users.version().unwrap(), other.version().unwrap());
    users.add(&name("ann"), at(7)).unwrap();
    assert_eq!(users.version().unwrap(), versions.0);
    assert_ne!(other.version().unwrap(), versions.1);
    let version = other.version().unwrap();
    other.revoke(&name("ann"), at(8)).unwrap();
    assert_eq!(other.version().unwrap(), version);
    assert_ne!(users.version().unwrap(), versions.0);
}

#[test]
fn what_users_moved_is_summed_and_stops_at_the_largest_number() {
    let (_folder, _, mut users) = users();
    for user in ["ann", "bob"] {
        users.add(&name(user), at(1)).unwrap();
    }
    let holders = users.passholders().unwrap();
    let (ann, bob) = (holders[0].id, holders[1].id);
    let moved = |uploaded, downloaded| Moved { uploaded, downloaded };
    for _ in 0..2 {
        users.add_moved([(ann, moved(3, 5)), (UserId(99), moved(1, 1))]).unwrap();
    }
    users.add_moved([(bob, moved(u64::MAX, 1))]).unwrap();
    users.add_moved([(bob, moved(1, i64::MAX as u64))]).unwrap();
    let most = i64::MAX as u64;
    let listed: Vec<_> = users.list().unwrap().into_iter().map(|user| user.moved).collect();
    assert_eq!(listed, [moved(6, 10), moved(most, most)]);
}

#[test]
fn who_reads_does_not_wait_for_who_writes() {
    let (_folder, path, mut users) = users();
    users.add(&name("ann"), at(1)).unwrap();
    let other = Users::open(&path).unwrap();
    let writing = users.file.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    writing.execute("DELETE FROM users", []).unwrap();
    assert_eq!(other.list().unwrap().len(), 1);
    Users::open(&path).unwrap();
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_alone() {
    let (folder, path, users) = users();
    users.file.pragma_update(None, "user_version", 1000).unwrap();
    drop(users);
    let refused = |path: &Path| Users::open(path).unwrap_err().to_string();
    assert!(refused(&path).contains("version 1000"), "{}", refused(&path));
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute("CREATE TABLE t (a)", []).unwrap();
    assert!(refused(&other).contains("another program's"), "{}", refused(&other));
    let text = folder.path().join("text");
    std::fs::write(&text, "# a list of infohashes, not of users\n".repeat(50)).unwrap();
    assert!(refused(&text).contains("another program's"), "{}", refused(&text));
    assert!(std::fs::read(&text).unwrap().starts_with(b"# a list"));
    assert!(refused(folder.path()).contains("cannot be opened"), "{}", refused(folder.path()));
    assert!(refused(Path::new("/nowhere/users.db")).contains("cannot be opened"));
}

#[test]
fn an_older_file_is_brought_up_to_date_and_keeps_what_it_has() {
    let (_folder, _, mut users) = users();
    users.add(&name("ann"), at(1)).unwrap();
    let more = [STEPS[0], "ALTER TABLE users ADD COLUMN note TEXT NOT NULL DEFAULT 'new'"];
    bring_up_to_date(&mut users.file, &more).unwrap();
    bring_up_to_date(&mut users.file, &more).unwrap();
    let note =
        users.file.query_row("SELECT name || note FROM users", [], |row| row.get::<_, String>(0));
    assert_eq!(note.unwrap(), "annnew");
    let broken = [more[0], more[1], "ALTER TABLE users ADD COLUMN x TEXT; SELECT nonsense"];
    assert!(bring_up_to_date(&mut users.file, &broken).is_err());
    bring_up_to_date(&mut users.file, &more).unwrap();
    let columns =
        users.file.query_row("SELECT count(*) FROM pragma_table_info('users')", [], |row| {
            row.get::<_, i64>(0)
        });
    assert_eq!(columns.unwrap(), 8, "a step that fails leaves nothing");
}
