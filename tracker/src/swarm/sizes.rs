//! How many peers of a torrent each form of its memory holds.

use crate::limits;

/// Where one form gives way to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Peers from which on there is an index. Fewer fit into one page.
    pub(super) index_from: usize,
    /// Peers of a page.
    pub(super) page_peers: usize,
    /// Places that an index of two bytes a place can name.
    pub(super) narrow_max: usize,
}

impl Sizes {
    pub(super) const REAL: Sizes = Sizes {
        index_from: limits::INDEX_FROM,
        page_peers: limits::PAGE_PEERS,
        narrow_max: 1 << 16,
    };
}

const _: () = assert!(limits::INDEX_FROM <= limits::PAGE_PEERS);

/// Those in use.
#[cfg(not(test))]
#[inline]
pub(super) const fn sizes() -> Sizes {
    Sizes::REAL
}

#[cfg(test)]
thread_local! {
    static IN_USE: std::cell::Cell<Sizes> = const { std::cell::Cell::new(Sizes::REAL) };
}

/// Those in use on this thread.
#[cfg(test)]
pub(super) fn sizes() -> Sizes {
    IN_USE.get()
}

/// So small that a few dozens of peers cross all of them. For swarms that do not exist yet.
#[cfg(test)]
pub(super) fn use_small_ones(small: bool) {
    let few = Sizes { index_from: 5, page_peers: 8, narrow_max: 40 };
    IN_USE.set(if small { few } else { Sizes::REAL });
}
