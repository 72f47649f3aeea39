//! A list that grows without moving what it has: no announce waits until a hundred megabytes are copied.

use std::ops::{Index, IndexMut};

use crate::limits::SHELF_TORRENTS;

/// Things with places from 0 on.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    /// Each but the last is full.
    boards: Vec<Vec<T>>,
    length: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Shelf<T> {
        Shelf { boards: Vec::new(), length: 0 }
    }
}

impl<T> Shelf<T> {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.boards.get(place / SHELF_TORRENTS)?.get(place % SHELF_TORRENTS)
    }

    pub(super) fn push(&mut self, thing: T) {
        match self.boards.get_mut(self.length / SHELF_TORRENTS) {
            Some(board) => board.push(thing),
            None => {
                // The first one grows as it must: many trackers have a few torrents.
                let room = if self.boards.is_empty() { 1 } else { SHELF_TORRENTS };
                let mut board = Vec::with_capacity(room);
                board.push(thing);
                self.boards.push(board);
            }
        }
        self.length += 1;
    }

    /// Removes the thing at `place`; the last one stands there then.
    pub(super) fn swap_remove(&mut self, place: usize) {
        let Some(last) = self.length.checked_sub(1) else { return };
        let Some(thing) = self.boards.get_mut(last / SHELF_TORRENTS).and_then(Vec::pop) else {
            return;
        };
        self.length = last;
        if place < last {
            self[place] = thing;
        }
        // One empty board is kept: the next thing may come at once.
        let needed = self.length.div_ceil(SHELF_TORRENTS) + 1;
        self.boards.truncate(needed);
    }

    /// Bytes asked of the allocator, not by the things themselves.
    pub(super) fn bytes(&self) -> usize {
        let things: usize = self.boards.iter().map(Vec::capacity).sum();
        things * size_of::<T>() + self.boards.capacity() * size_of::<Vec<T>>()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.boards.iter().flatten()
    }
}

impl<T> Index<usize> for Shelf<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.boards[place / SHELF_TORRENTS][place % SHELF_TORRENTS]
    }
}

impl<T> IndexMut<usize> for Shelf<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.boards[place / SHELF_TORRENTS][place % SHELF_TORRENTS]
    }
}
