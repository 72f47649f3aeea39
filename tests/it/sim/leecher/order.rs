//! The order in which blocks and the seeder's own messages arrive.

use super::{Asked, Block, Leecher};

impl Leecher {
    /// What is wrong with a block that arrives now, if it is not its turn: blocks come in the order in
    /// which they were asked for, each after the answers to those before it, and none behind a choke.
    pub(super) fn out_of_order(&self, block: Block) -> Option<String> {
        if self.manner.hostile {
            return None;
        }
        if !self.unchoked && !self.allowed.contains(&block.0) {
            return Some(format!("{}: {block:?} came after the choke", self.name));
        }
        let is_it = |asked: &Asked| asked.block == block;
        let at = self.asked.iter().position(is_it)?;
        let waits = |asked: &&Asked| !asked.optional && !asked.cancelled;
        // Nobody can tell which of equal requests is answered.
        let is_alone = self.asked.iter().filter(|asked| is_it(asked)).count() == 1;
        let before = self.asked[..at].iter().find(waits).filter(|_| is_alone)?;
        Some(format!("{}: {block:?} came before {:?}", self.name, before.block))
    }
}
