//! The thread that has the file of users open: it publishes who may announce, and writes what they
//! have moved. Nobody who answers announces touches the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use hashbrown::HashMap;
use ringseed_users::{Moved, UserId, Users, UsersError};

use super::Notice;
use super::ledger::add;
use super::members::Members;
use super::watch::{Running, Tell};
use crate::limits;
use crate::server::StartError;

/// What users have moved since the last one.
pub(crate) type MovedBatch = Vec<(UserId, Moved)>;

/// What the thread and those who answer announces share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) members: Arc<ArcSwap<Members>>,
    /// To be written.
    pub(crate) batches: Arc<ArrayQueue<MovedBatch>>,
}

impl Default for Shared {
    fn default() -> Shared {
        let batches = Arc::new(ArrayQueue::new(limits::MOVED_BATCHES_MAX));
        Shared { members: Arc::default(), batches }
    }
}

/// The thread. It writes what is left when this is dropped, and ends.
#[derive(Debug)]
pub(crate) struct Accounts {
    shared: Shared,
    _running: Running,
}

impl Accounts {
    /// Opens the file, makes it where there is none, and follows it from then on.
    ///
    /// # Errors
    /// It cannot be used, or the system gave no thread.
    pub(crate) fn start(path: PathBuf, tell: Option<Tell>) -> Result<Accounts, StartError> {
        let (clerk, shared) = Clerk::open(path)?;
        let running = Running::start("users", move |ended| clerk.follow(ended, tell));
        Ok(Accounts { shared, _running: running.map_err(StartError::Thread)? })
    }

    /// What is shared with the thread.
    pub(crate) fn shared(&self) -> Shared {
        self.shared.clone()
    }
}

struct Clerk {
    users: Users,
    path: PathBuf,
    /// Of the file, when it was read last.
    version: Option<i64>,
    shared: Shared,
    /// Not written yet.
    moved: HashMap<UserId, Moved>,
    /// What was wrong at the last look.
    failure: Option<String>,
    /// Not published any more, and perhaps looked at still: freed here, not by who answers announces.
    retired: Vec<Arc<Members>>,
}

impl Clerk {
    fn open(path: PathBuf) -> Result<(Clerk, Shared), UsersError> {
        let users = Users::open(&path)?;
        let shared = Shared::default();
        let mut clerk = Clerk {
            users,
            path,
            version: None,
            shared: shared.clone(),
            moved: HashMap::new(),
            failure: None,
            retired: Vec::new(),
        };
        clerk.read()?;
        Ok((clerk, shared))
    }

    fn follow(mut self, ended: &Receiver<()>, tell: Option<Tell>) {
        loop {
            let is_over = ended.recv_timeout(limits::USERS_LOOK) != Err(RecvTimeoutError::Timeout);
            let notice = self.look();
            if let (Some(notice), Some(tell)) = (notice, tell) {
                tell(&notice);
            }
            if is_over {
                return;
            }
        }
    }

    /// Writes what was moved and reads who may announce, when there is something of either.
    fn look(&mut self) -> Option<Notice> {
        self.retired.retain(|members| Arc::strong_count(members) > 1);
        let (written, read) = (self.write(), self.read());
        match written.and(read) {
            Ok(changed) => {
                let was_wrong = self.failure.take().is_some();
                let (path, users) = (self.path.clone(), self.shared.members.load().len());
                (changed || was_wrong).then_some(Notice::Users { path, users })
            }
            Err(error) => {
                let text = error.to_string();
                if self.failure.as_ref() == Some(&text) {
                    return None;
                }
                self.failure = Some(text);
                Some(Notice::UsersFailed(error))
            }
        }
    }

    fn write(&mut self) -> Result<(), UsersError> {
        while let Some(batch) = self.shared.batches.pop() {
            for (user, moved) in batch {
                add(self.moved.entry(user).or_default(), moved);
            }
        }
        if !self.moved.is_empty() {
            // What is not written stays here: one sum a user, however long the disk is full.
            self.users.add_moved(self.moved.iter().map(|(user, moved)| (*user, *moved)))?;
            self.moved.clear();
        }
        Ok(())
    }

    /// Publishes who may announce, if that may have changed. `true`: it has.
    fn read(&mut self) -> Result<bool, UsersError> {
        // Before the rows: what changes meanwhile is seen at the next look.
        let version = self.users.version()?;
        if self.version == Some(version) {
            return Ok(false);
        }
        let members = Members::new(self.users.passholders()?);
        self.version = Some(version);
        if **self.shared.members.load() == members {
            return Ok(false);
        }
        self.retired.push(self.shared.members.swap(Arc::new(members)));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::access::members::Stranger;

    #[test]
    fn what_another_program_changes_is_published_and_what_was_moved_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.db");
        let (mut clerk, shared) = Clerk::open(path.clone()).unwrap();
        assert!(clerk.look().is_none());
        let mut other = Users::open(&path).unwrap();
        let ann = "ann".parse().unwrap();
        let passkey = other.add(&ann, SystemTime::now()).unwrap().reveal();
        assert!(matches!(clerk.look(), Some(Notice::Users { users: 1, .. })));
        let user = shared.members.load().find(Some(&passkey)).unwrap();
        let moved = |uploaded| Moved { uploaded, downloaded: 1 };
        shared.batches.push(vec![(user, moved(3))]).unwrap();
        shared.batches.push(vec![(user, moved(4))]).unwrap();
        assert!(clerk.look().is_none(), "its own changes are no news");
        assert_eq!(other.list().unwrap()[0].moved, Moved { uploaded: 7, downloaded: 2 });
        assert!(clerk.look().is_none());
        other.revoke(&ann, SystemTime::now()).unwrap();
        assert!(matches!(clerk.look(), Some(Notice::Users { users: 0, .. })));
        assert_eq!(shared.members.load().find(Some(&passkey)), Err(Stranger::Revoked));
    }
}
