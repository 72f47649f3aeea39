//! What is known of one watched descriptor: which work waits for it, and what its edges said.

use std::os::fd::RawFd;

use crate::limits::OPS_A_SOCKET;

/// There may be bytes, or connections.
pub(super) const READABLE: u8 = 1;
/// The socket may take bytes.
pub(super) const WRITABLE: u8 = 1 << 1;
/// The peer has sent its last byte.
const ENDED: u8 = 1 << 2;
/// An error or a hang-up.
const FAILED: u8 = 1 << 3;

/// What a piece of work waits for, and what is to be done then.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Kind {
    #[default]
    Accept,
    Receive,
    ReceiveDatagram,
    Readable,
    Writable,
    Connect,
}

impl Kind {
    /// Any of these lets it go on.
    fn waits_for(self) -> u8 {
        match self {
            // A peer that only ended its own stream takes bytes as before.
            Kind::Writable | Kind::Connect => WRITABLE | FAILED,
            _ => READABLE | ENDED | FAILED,
        }
    }

    fn is_once(self) -> bool {
        matches!(self, Kind::Readable | Kind::Writable | Kind::Connect)
    }
}

/// What a step on a readable descriptor found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// There may be more.
    More,
    /// Fewer bytes than asked for: the stream is empty, but its end may be told without an edge.
    Short,
    /// Nothing.
    Nothing,
}

/// One descriptor. Sixty-four bytes, a cache line.
#[derive(Default)]
pub(super) struct Watched {
    names: [u64; OPS_A_SOCKET],
    kinds: [Kind; OPS_A_SOCKET],
    count: u8,
    /// What edges said and no step has refuted.
    ready: u8,
    in_line: bool,
    known: bool,
    /// Grows whenever the number is let go: edges of the socket before are recognised.
    epoch: u32,
}

impl Watched {
    /// epoll's word for it.
    pub(super) fn word(&self, fd: RawFd) -> u64 {
        u64::from(self.epoch) << 32 | u64::from(fd as u32)
    }

    /// epoll was told of it.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    pub(super) fn become_known(&mut self) {
        self.known = true;
    }

    /// It is closed: nothing that is said of its number from now on means it.
    pub(super) fn release(&mut self) {
        // It may still stand in line; whoever looks then finds nothing to do.
        let (epoch, in_line) = (self.epoch.wrapping_add(1), self.in_line);
        *self = Watched { epoch, in_line, ..Watched::default() };
    }

    /// One more piece of work.
    pub(super) fn arm(&mut self, kind: Kind, name: u64) -> Result<(), i32> {
        let at = usize::from(self.count);
        let (Some(to), Some(of)) = (self.names.get_mut(at), self.kinds.get_mut(at)) else {
            return Err(libc::EBUSY);
        };
        (*to, *of) = (name, kind);
        self.count += 1;
        Ok(())
    }

    /// Ends a piece of work. `false`: there is none of this name.
    pub(super) fn disarm(&mut self, name: u64) -> bool {
        match self.names[..usize::from(self.count)].iter().position(|of| *of == name) {
            Some(at) => {
                self.remove(at);
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, at: usize) {
        self.count -= 1;
        let last = usize::from(self.count);
        self.names.swap(at, last);
        self.kinds.swap(at, last);
    }

    /// Takes note of an edge. `false`: it is of a socket that had the number before.
    #[inline]
    pub(super) fn on_edge(&mut self, word: u64, events: u32) -> bool {
        if (word >> 32) as u32 != self.epoch || !self.known {
            return false;
        }
        let mut said = 0;
        for (event, bit) in [
            (libc::EPOLLIN, READABLE),
            (libc::EPOLLOUT, WRITABLE),
            (libc::EPOLLRDHUP, ENDED),
            (libc::EPOLLERR | libc::EPOLLHUP, FAILED),
        ] {
            if events & event as u32 != 0 {
                said |= bit;
            }
        }
        self.ready |= said;
        true
    }

    /// What an edge said of this is not so any more.
    pub(super) fn forget(&mut self, bits: u8) {
        self.ready &= !bits;
    }

    /// It has something to do, and joins the line unless it stands there.
    #[inline]
    pub(super) fn stands_in_line(&mut self) -> bool {
        let has_work = self.armed().any(|(kind, _)| kind.waits_for() & self.ready != 0);
        has_work && !std::mem::replace(&mut self.in_line, true)
    }

    pub(super) fn leaves_line(&mut self) {
        self.in_line = false;
    }

    fn armed(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        let count = usize::from(self.count);
        self.kinds[..count].iter().copied().zip(self.names[..count].iter().copied())
    }

    /// Takes a poll or a connect that is over: what it is, its name, and the events as poll(2) has
    /// them.
    pub(super) fn take_once(&mut self) -> Option<(Kind, u64, i32)> {
        let is_over = |kind: Kind| kind.is_once() && kind.waits_for() & self.ready != 0;
        let at = self.armed().position(|(kind, _)| is_over(kind))?;
        let (kind, name) = (self.kinds[at], self.names[at]);
        self.remove(at);
        let mut events = 0;
        for (bit, event) in [
            (READABLE, libc::POLLIN),
            (WRITABLE, libc::POLLOUT),
            (ENDED, libc::POLLRDHUP),
            (FAILED, libc::POLLERR),
        ] {
            if self.ready & kind.waits_for() & bit != 0 {
                events |= i32::from(event);
            }
        }
        Some((kind, name, events))
    }

    /// The work that takes bytes or connections, if there may be some.
    #[inline]
    pub(super) fn takes(&self) -> Option<(Kind, u64)> {
        self.armed().find(|(kind, _)| !kind.is_once() && kind.waits_for() & self.ready != 0)
    }

    /// What its last step found.
    #[inline]
    pub(super) fn found(&mut self, found: Found) {
        match found {
            Found::More => {}
            // An end or an error that was told is still to be read.
            Found::Short => self.ready &= !READABLE,
            Found::Nothing => self.ready &= !(READABLE | ENDED | FAILED),
        }
    }
}

/// The descriptor of epoll's word.
pub(super) fn descriptor_of(word: u64) -> RawFd {
    word as u32 as RawFd
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(watched: &mut Watched, events: i32) {
        let word = watched.word(7);
        assert!(watched.on_edge(word, events as u32));
    }

    fn known() -> Watched {
        let mut watched = Watched::default();
        watched.become_known();
        watched
    }

    #[test]
    fn it_is_a_cache_line() {
        assert_eq!(size_of::<Watched>(), 64);
    }

    #[test]
    fn an_edge_before_the_work_is_not_lost() {
        let mut watched = known();
        edge(&mut watched, libc::EPOLLIN);
        assert!(!watched.stands_in_line(), "nobody waits for it");
        watched.arm(Kind::Receive, 1).unwrap();
        assert!(watched.stands_in_line());
        assert!(!watched.stands_in_line(), "it stands there already");
        watched.leaves_line();
        assert_eq!(watched.takes(), Some((Kind::Receive, 1)));
        watched.found(Found::Short);
        assert!(watched.takes().is_none() && !watched.stands_in_line());
    }

    #[test]
    fn a_short_read_is_not_the_last_when_the_end_was_told() {
        let mut watched = known();
        watched.arm(Kind::Receive, 1).unwrap();
        edge(&mut watched, libc::EPOLLIN | libc::EPOLLRDHUP);
        watched.found(Found::Short);
        assert!(watched.stands_in_line(), "the end is to be read");
        watched.found(Found::Nothing);
        assert!(watched.takes().is_none());
    }

    #[test]
    fn edges_of_the_socket_before_are_recognised() {
        let mut watched = known();
        watched.arm(Kind::Receive, 1).unwrap();
        let word = watched.word(7);
        watched.release();
        watched.become_known();
        watched.arm(Kind::Receive, 2).unwrap();
        assert!(!watched.on_edge(word, libc::EPOLLIN as u32));
        assert!(watched.takes().is_none());
        assert_eq!(descriptor_of(word), 7);
    }

    #[test]
    fn a_peer_that_sends_no_more_does_not_make_a_socket_writable() {
        let mut watched = known();
        watched.arm(Kind::Writable, 1).unwrap();
        watched.arm(Kind::Readable, 2).unwrap();
        edge(&mut watched, libc::EPOLLIN | libc::EPOLLRDHUP);
        let events = i32::from(libc::POLLIN | libc::POLLRDHUP);
        assert_eq!(watched.take_once(), Some((Kind::Readable, 2, events)));
        assert_eq!(watched.take_once(), None);
        edge(&mut watched, libc::EPOLLHUP);
        assert!(matches!(watched.take_once(), Some((Kind::Writable, 1, _))));
    }

    #[test]
    fn no_more_work_than_a_socket_may_have() {
        let mut watched = known();
        for name in 0..OPS_A_SOCKET as u64 {
            watched.arm(Kind::Readable, name).unwrap();
        }
        assert_eq!(watched.arm(Kind::Readable, 99), Err(libc::EBUSY));
        assert!(watched.disarm(0) && !watched.disarm(0));
        assert_eq!(watched.arm(Kind::Readable, 99), Ok(()));
    }
}
