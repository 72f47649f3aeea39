//! Which torrent was silent for the longest: a list through all torrents of a family, each of which
//! has a place. Torrents are moved to its end once a while, not at each announce.

use super::shelf::Shelf;
use super::torrent::{Tick, Torrent};
use crate::limits;

/// No torrent.
const NONE: u32 = u32::MAX;

/// A torrent's neighbours in the list, and when it came to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    older: u32,
    newer: u32,
    pub(super) moved: Tick,
}

impl Links {
    /// Of a torrent that is not in the list.
    pub(super) fn loose() -> Links {
        Links { older: NONE, newer: NONE, moved: Tick(0) }
    }
}

/// Both ends of the list.
#[derive(Debug)]
pub(super) struct Recency {
    oldest: u32,
    newest: u32,
}

impl Default for Recency {
    fn default() -> Recency {
        Recency { oldest: NONE, newest: NONE }
    }
}

impl Recency {
    /// The torrent that was silent for the longest, or for less than
    /// [`limits::RECENCY_TICKS`] shorter than that.
    pub(super) fn oldest(&self) -> Option<usize> {
        (self.oldest != NONE).then_some(self.oldest as usize)
    }

    /// Takes in the torrent at `place`, as the newest.
    pub(super) fn push<const N: usize>(
        &mut self,
        torrents: &mut Shelf<Torrent<N>>,
        place: usize,
        now: Tick,
    ) {
        let older = std::mem::replace(&mut self.newest, place as u32);
        torrents[place].links = Links { older, newer: NONE, moved: now };
        match older {
            NONE => self.oldest = place as u32,
            older => torrents[older as usize].links.newer = place as u32,
        }
    }

    /// The torrent at `place` was heard of.
    pub(super) fn heard<const N: usize>(
        &mut self,
        torrents: &mut Shelf<Torrent<N>>,
        place: usize,
        now: Tick,
    ) {
        if torrents[place].links.moved.age(now) >= limits::RECENCY_TICKS {
            self.remove(torrents, place);
            self.push(torrents, place, now);
        }
    }

    /// Lets go of the torrent at `place`.
    pub(super) fn remove<const N: usize>(
        &mut self,
        torrents: &mut Shelf<Torrent<N>>,
        place: usize,
    ) {
        let links = torrents[place].links;
        self.point(torrents, links, links.newer, links.older);
    }

    /// The torrent at `from`, which is in the list, is about to stand at `to`.
    pub(super) fn relocate<const N: usize>(
        &mut self,
        torrents: &mut Shelf<Torrent<N>>,
        from: usize,
        to: usize,
    ) {
        let links = torrents[from].links;
        self.point(torrents, links, to as u32, to as u32);
    }

    /// Makes the list anew from the times in it.
    pub(super) fn put_in_order<const N: usize>(
        &mut self,
        torrents: &mut Shelf<Torrent<N>>,
        now: Tick,
    ) {
        let age = |torrent: &Torrent<N>| torrent.links.moved.age(now);
        let mut order: Vec<(u16, u32)> = torrents.iter().map(age).zip(0..).collect();
        order.sort_unstable_by_key(|(age, place)| (std::cmp::Reverse(*age), *place));
        *self = Recency::default();
        for (_, place) in order {
            let moved = torrents[place as usize].links.moved;
            self.push(torrents, place as usize, moved);
        }
    }

    /// Has the older neighbour name `newer`, and the newer one `older`.
    fn point<const N: usize>(
        &mut self,
        torrents: &mut Shelf<Torrent<N>>,
        links: Links,
        newer: u32,
        older: u32,
    ) {
        match links.older {
            NONE => self.oldest = newer,
            place => torrents[place as usize].links.newer = newer,
        }
        match links.newer {
            NONE => self.newest = older,
            place => torrents[place as usize].links.older = older,
        }
    }

    /// Panics when the list does not hold all torrents once, oldest first.
    #[cfg(test)]
    pub(super) fn check<const N: usize>(&self, torrents: &Shelf<Torrent<N>>) {
        let (mut place, mut before, mut count) = (self.oldest, NONE, 0);
        while place != NONE {
            let links = torrents[place as usize].links;
            assert_eq!(links.older, before);
            if before != NONE {
                let step = torrents[before as usize].links.moved.age(links.moved);
                assert!(step < Tick::MASK / 2, "the list is out of order");
            }
            (before, place, count) = (place, links.newer, count + 1);
        }
        assert_eq!((self.newest, count), (before, torrents.len()));
    }
}
