//! Ops on their way to a kernel whose op table may be full: they wait here, in order.

use std::collections::VecDeque;

use ringseed_ring::{Kernel, Op};

use crate::token::Tag;

/// Pushes ops, and keeps those that the kernel could not take yet. Holds at most the few ops
/// that each connection and socket may have at a time.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<(Op, Tag)>,
}

impl Outbox {
    /// Starts `op` now, or after those that wait.
    pub(crate) fn push(&mut self, kernel: &mut impl Kernel, op: Op, tag: Tag) {
        if !self.waiting.is_empty() {
            self.waiting.push_back((op, tag));
        } else if let Err(op) = kernel.push(op, tag.token()) {
            self.waiting.push_back((op, tag));
        }
    }

    /// Tries again after the kernel was entered.
    pub(crate) fn retry(&mut self, kernel: &mut impl Kernel) {
        while let Some((op, tag)) = self.waiting.pop_front() {
            if let Err(op) = kernel.push(op, tag.token()) {
                self.waiting.push_front((op, tag));
                return;
            }
        }
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
