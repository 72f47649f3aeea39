//! Who waits for something on a disk, which may never come. Pure.
//!
//! A connection that was closed stays in the lists of what it waited for. Where something hangs, peers
//! that come and go would make such a list grow for ever; so those who have gone are dropped from it
//! whenever it has doubled.

use smallvec::SmallVec;

pub mod limits {
    //! Bounds of lists of waiters.

    /// Waiters of one thing, before it is looked which of them are still there.
    pub const WAITERS_UNSWEPT: usize = 64;
}

/// Who waits: the worker's own number for a connection, never given twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Waiter(pub u64);

/// Waiters, as they are told.
pub type WaiterList = SmallVec<[Waiter; 4]>;

/// All who wait for one thing: at most twice as many as were there when it was last swept, and one, or
/// [`limits::WAITERS_UNSWEPT`].
#[derive(Default, Debug)]
pub struct Waiters {
    list: WaiterList,
    /// As many as were still there when it was last swept.
    swept: usize,
}

impl Waiters {
    /// Adds one; false when it is there already. `is_there`: whether a waiter's connection is.
    pub fn add(&mut self, waiter: Waiter, is_there: impl Fn(Waiter) -> bool) -> bool {
        if self.list.contains(&waiter) {
            return false;
        }
        if self.list.len() >= (2 * self.swept).max(limits::WAITERS_UNSWEPT) {
            self.sweep(is_there);
        }
        self.list.push(waiter);
        true
    }

    /// Drops those whose connections have gone.
    pub fn sweep(&mut self, is_there: impl Fn(Waiter) -> bool) {
        self.list.retain(|waiter| is_there(*waiter));
        self.swept = self.list.len();
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order in which they came.
    pub fn into_list(self) -> WaiterList {
        self.list
    }
}

impl FromIterator<Waiter> for Waiters {
    fn from_iter<T: IntoIterator<Item = Waiter>>(waiters: T) -> Waiters {
        Waiters { list: waiters.into_iter().collect(), swept: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_have_gone_are_dropped_when_a_list_has_doubled_and_nobody_else_is() {
        let mut waiters = Waiters::default();
        // Every hundredth stays.
        let mut longest = 0;
        for number in 0..100_000 {
            let is_there = |waiter: Waiter| waiter.0.is_multiple_of(100) || waiter.0 == number;
            assert!(waiters.add(Waiter(number), is_there));
            longest = longest.max(waiters.list.len());
        }
        assert!(longest <= 2 * 1000 + 1, "{longest} of at most 1,000 that were still there");
        let told = waiters.into_list();
        let stay = told.iter().filter(|waiter| waiter.0.is_multiple_of(100)).count();
        assert_eq!(stay, 1000, "who is there is told");
    }

    #[test]
    fn nobody_waits_twice() {
        let mut waiters = Waiters::default();
        assert!(waiters.add(Waiter(1), |_| true));
        assert!(!waiters.add(Waiter(1), |_| true));
        assert_eq!(waiters.into_list().as_slice(), [Waiter(1)]);
    }
}
