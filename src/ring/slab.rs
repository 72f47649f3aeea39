//! Tables of things the kernel owns for its caller: index and generation, so that stale names are
//! recognised.

/// A bounded table. An index is reused with another generation, so a name given out once never
/// means another thing.
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    max: u32,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// Empty, for at most `max` things.
    pub(crate) fn new(max: u32) -> Slab<T> {
        Slab { slots: Vec::new(), free: Vec::new(), max }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// No more fit.
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.max as usize
    }

    /// Puts one in: its index and generation, or the thing back when the table is full.
    pub(crate) fn insert(&mut self, value: T) -> Result<(u32, u32), T> {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return Ok((index, slot.generation));
        }
        if self.is_full() {
            return Err(value);
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot { generation: 1, value: Some(value) });
        Ok((index, 1))
    }

    /// The thing of that name, unless the name is stale.
    pub(crate) fn get(&self, index: u32, generation: u32) -> Option<&T> {
        let slot = self.slots.get(index as usize)?;
        if slot.generation == generation { slot.value.as_ref() } else { None }
    }

    /// The thing of that name, unless the name is stale.
    pub(crate) fn get_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation == generation { slot.value.as_mut() } else { None }
    }

    /// The thing at an index that is known to be in use, with its generation.
    pub(crate) fn at(&self, index: u32) -> Option<(u32, &T)> {
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().map(|value| (slot.generation, value))
    }

    /// Takes the thing out; its name is stale from now on.
    pub(crate) fn remove(&mut self, index: u32, generation: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != generation {
            return None;
        }
        let value = slot.value.take()?;
        // 0 is never a generation: nothing that is zeroed by accident names a thing.
        slot.generation = slot.generation.wrapping_add(1).max(1);
        self.free.push(index);
        Some(value)
    }

    /// All that are in use: index, generation, thing.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.value.as_ref().map(|value| (index as u32, slot.generation, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_name_finds_nothing_when_its_index_is_used_again() {
        let mut slab = Slab::new(4);
        let (index, old) = slab.insert("first").unwrap();
        assert_eq!(slab.remove(index, old), Some("first"));
        let (again, new) = slab.insert("second").unwrap();
        assert_eq!(index, again);
        assert_eq!(slab.get(index, old), None);
        assert_eq!(slab.remove(index, old), None);
        assert_eq!(slab.get(index, new), Some(&"second"));
    }

    #[test]
    fn a_full_table_gives_the_thing_back() {
        let mut slab = Slab::new(1);
        slab.insert('a').unwrap();
        assert!(slab.is_full());
        assert_eq!(slab.insert('b'), Err('b'));
        assert_eq!(slab.len(), 1);
    }
}
