//! A file as the page cache sees it: page by page.

use std::collections::BTreeSet;

use super::content::Content;
use super::faults::Fault;

/// Bytes of a page of the page cache.
pub(crate) const PAGE_BYTES: u64 = 4096;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Presence {
    Missing,
    /// Being read; `residency` counts it as there.
    Reading {
        ready_us: u64,
    },
    Resident,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) presence: Presence,
    /// When `residency` last said that it is there.
    pub(crate) vouched_us: Option<u64>,
    /// In which enter that was.
    pub(crate) vouched_in: u64,
    /// When it was last asked for or sent.
    pub(crate) asked_us: Option<u64>,
    /// When it was last evicted.
    pub(crate) evicted_us: Option<u64>,
}

pub(crate) const ABSENT: Page = Page {
    presence: Presence::Missing,
    vouched_us: None,
    vouched_in: 0,
    asked_us: None,
    evicted_us: None,
};

#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) content: Content,
    pub(crate) size: u64,
    pub(crate) modified_us: u64,
    pub(crate) changed_us: u64,
    pub(crate) links: u64,
    pub(crate) pages: Vec<Page>,
    pub(crate) residency_unknown: bool,
    /// On a mount that another machine answers for.
    pub(crate) distant: bool,
    pub(crate) unreadable: bool,
    pub(crate) bad_pages: BTreeSet<u64>,
    /// It was changed in a way that a sender should notice.
    pub(crate) faults: BTreeSet<Fault>,
    /// Sends of its bytes that were begun.
    pub(crate) sends: Sends,
}

/// When bytes of a file were sent. For a rule such as: within a second of a change nothing of the
/// file is sent any more.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sends {
    /// The last send.
    pub last_us: Option<u64>,
    /// The first send after the file was cut, written, replaced or removed.
    pub first_stale_us: Option<u64>,
}

impl Inode {
    /// Cuts or grows it. Bytes in flight beyond the new end read as zeros.
    pub(crate) fn truncate(&mut self, size: u64, now_us: u64) {
        self.size = size;
        self.pages.resize(size.div_ceil(PAGE_BYTES) as usize, ABSENT);
        (self.modified_us, self.changed_us) = (now_us, now_us);
        self.faults.insert(Fault::FileTruncated);
    }

    /// Writes other content in place.
    pub(crate) fn modify(&mut self, content: Content, now_us: u64) {
        self.content = content;
        let now_us = now_us.max(self.modified_us + 1);
        (self.modified_us, self.changed_us) = (now_us, now_us);
        self.faults.insert(Fault::FileModified);
    }

    /// Bytes of it are about to be sent.
    pub(crate) fn note_send(&mut self, now_us: u64) {
        self.sends.last_us = Some(now_us);
        if !self.faults.is_empty() {
            self.sends.first_stale_us.get_or_insert(now_us);
        }
    }

    pub(crate) fn break_page(&mut self, number: u64) {
        self.bad_pages.insert(number);
        if let Some(page) = self.pages.get_mut(number as usize) {
            page.presence = Presence::Missing;
        }
    }

    pub(crate) fn hide_residency(&mut self) {
        self.residency_unknown = true;
    }

    pub(crate) fn make_distant(&mut self) {
        self.distant = true;
    }

    pub(crate) fn forbid(&mut self) {
        self.unreadable = true;
    }

    /// All in the page cache, except pages that cannot be read.
    pub(crate) fn warm(&mut self) {
        for (number, page) in self.pages.iter_mut().enumerate() {
            if !self.bad_pages.contains(&(number as u64)) {
                page.presence = Presence::Resident;
            }
        }
    }

    /// None in the page cache.
    pub(crate) fn cool(&mut self) {
        for page in &mut self.pages {
            if page.presence == Presence::Resident {
                page.presence = Presence::Missing;
            }
        }
    }

    /// Appends the bytes from `offset` as a reference to the pages sees them now.
    pub(crate) fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + length, 0);
        let there = self.size.saturating_sub(offset).min(length as u64) as usize;
        self.content.fill(offset, &mut out[start..start + there]);
    }
}

/// The pages that hold a stretch: the first, and the one behind the last.
pub(crate) fn pages_of(offset: u64, length: u64) -> (u64, u64) {
    (offset / PAGE_BYTES, (offset + length).div_ceil(PAGE_BYTES))
}
