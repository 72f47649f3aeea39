//! Places of peers by the hash of their address: two bytes a place while these suffice.

use hashbrown::HashTable;

use super::sizes::sizes;

/// The table holds no hashes: it asks for those of places that it moves.
#[derive(Debug)]
pub(super) enum Index {
    Narrow(HashTable<u16>),
    Wide(HashTable<u32>),
}

impl Index {
    /// Of the places below `places`.
    pub(super) fn of(places: usize, hash: impl Fn(usize) -> u64) -> Index {
        if places <= sizes().narrow_max {
            let mut table = HashTable::with_capacity(places);
            for place in 0..places {
                table.insert_unique(hash(place), place as u16, |place| hash(usize::from(*place)));
            }
            return Index::Narrow(table);
        }
        Index::wide(places, hash)
    }

    /// Of the places below `places`, with room for all others.
    fn wide(places: usize, hash: impl Fn(usize) -> u64) -> Index {
        let mut table = HashTable::with_capacity(places);
        for place in 0..places {
            table.insert_unique(hash(place), place as u32, |place| hash(*place as usize));
        }
        Index::Wide(table)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        match self {
            Index::Narrow(table) => table.len(),
            Index::Wide(table) => table.len(),
        }
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Index::Narrow(table) => table.allocation_size(),
            Index::Wide(table) => table.allocation_size(),
        }
    }

    /// The place with this hash for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Index::Narrow(table) => table
                .find(hash, |place| is_it(usize::from(*place)))
                .map(|place| usize::from(*place)),
            Index::Wide(table) => {
                table.find(hash, |place| is_it(*place as usize)).map(|place| *place as usize)
            }
        }
    }

    /// Room for the name of a place behind all others, which it has.
    pub(super) fn make_room(&mut self, place: usize, hash: impl Fn(usize) -> u64) {
        if matches!(self, Index::Narrow(_)) && place >= sizes().narrow_max {
            *self = Index::wide(place, hash);
        }
    }

    /// Takes in a place that it has not, and has made room for.
    pub(super) fn insert(&mut self, place: usize, hash: impl Fn(usize) -> u64) {
        match self {
            Index::Narrow(table) => {
                debug_assert!(place < sizes().narrow_max, "no room was made for {place}");
                let rehash = |place: &u16| hash(usize::from(*place));
                table.insert_unique(hash(place), place as u16, rehash);
            }
            Index::Wide(table) => {
                let rehash = |place: &u32| hash(*place as usize);
                table.insert_unique(hash(place), place as u32, rehash);
            }
        }
    }

    /// Forgets a place that it has.
    pub(super) fn remove(&mut self, hash: u64, place: usize) {
        match self {
            Index::Narrow(table) => {
                if let Ok(entry) = table.find_entry(hash, |found| usize::from(*found) == place) {
                    entry.remove();
                }
            }
            Index::Wide(table) => {
                if let Ok(entry) = table.find_entry(hash, |found| *found as usize == place) {
                    entry.remove();
                }
            }
        }
    }

    /// What stood at `from` stands at `to` now, which no entry names.
    pub(super) fn relocate(&mut self, hash: u64, from: usize, to: usize) {
        match self {
            Index::Narrow(table) => {
                debug_assert!(to < sizes().narrow_max, "no room was made for {to}");
                if let Some(place) = table.find_mut(hash, |found| usize::from(*found) == from) {
                    *place = to as u16;
                }
            }
            Index::Wide(table) => {
                if let Some(place) = table.find_mut(hash, |found| *found as usize == from) {
                    *place = to as u32;
                }
            }
        }
    }

    /// Gives back memory once it has grown much too large for places below `places`.
    pub(super) fn give_back(&mut self, places: usize, hash: impl Fn(usize) -> u64) {
        match self {
            Index::Wide(_) if places <= sizes().narrow_max / 2 => *self = Index::of(places, hash),
            Index::Narrow(table) if places < table.capacity() / 4 => {
                table.shrink_to(places, |place| hash(usize::from(*place)));
            }
            Index::Wide(table) if places < table.capacity() / 4 => {
                table.shrink_to(places, |place| hash(*place as usize));
            }
            _ => {}
        }
    }
}
