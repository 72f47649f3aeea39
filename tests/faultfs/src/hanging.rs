//! Requests that get no answer until somebody says so. They are kept apart from the threads that
//! answer, so that any number of them leaves the rest of the mirror as it was.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the kernel asks of a mirror that may go unanswered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verb {
    /// Of a name, in an open or a stat of what the kernel does not know, or no longer believes.
    Lookup,
    Getattr,
    Open,
    Read,
    /// At each close, of a mirror that is told of them.
    Flush,
}

impl Verb {
    /// All there are.
    pub const ALL: [Verb; 5] = [Verb::Lookup, Verb::Getattr, Verb::Open, Verb::Read, Verb::Flush];

    /// As a command has it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Lookup => "lookup",
            Verb::Getattr => "getattr",
            Verb::Open => "open",
            Verb::Read => "read",
            Verb::Flush => "flush",
        }
    }
}

impl FromStr for Verb {
    type Err = ();

    fn from_str(name: &str) -> Result<Verb, ()> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name).ok_or(())
    }
}

/// An answer that waits. Dropped, it is an error (EIO).
type Answer = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    verbs: BTreeSet<Verb>,
    held: Vec<Answer>,
}

/// What hangs, and whose answers wait.
#[derive(Default)]
pub(crate) struct Hanging {
    state: Mutex<State>,
}

impl Hanging {
    /// From now on these are not answered.
    pub(crate) fn hang(&self, verb: Verb) {
        self.state().verbs.insert(verb);
    }

    /// Answers, now or when nothing hangs any more.
    pub(crate) fn answer(&self, verb: Verb, answer: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        if state.verbs.contains(&verb) {
            return state.held.push(Box::new(answer));
        }
        drop(state);
        answer();
    }

    /// How many wait for their answers.
    pub(crate) fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Nothing hangs any more: who waited is answered.
    pub(crate) fn heal(&self) {
        self.take().into_iter().for_each(|answer| answer());
    }

    /// The same at the end of the mirror: who waited gets an error.
    pub(crate) fn give_up(&self) {
        drop(self.take());
    }

    fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.state()).held
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
