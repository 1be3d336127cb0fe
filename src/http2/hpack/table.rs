//! The dynamic table (RFC 7541 §2.3.2, §4).

use std::collections::VecDeque;

/// What an entry counts beside its octets (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

/// Fields that came before, the newest first. The octets lie in one block, so an entry costs twelve bytes more.
#[derive(Debug, Default)]
pub struct DynamicTable {
    octets: Vec<u8>,
    /// The oldest first.
    entries: VecDeque<TableEntry>,
    size: usize,
    max_size: usize,
    /// Entries ever inserted, modulo 2^32: gives each a number that an eviction does not change.
    inserted: u32,
}

#[derive(Clone, Copy, Debug)]
struct TableEntry {
    start: u32,
    name: u32,
    value: u32,
}

impl DynamicTable {
    /// An empty table that may grow to this size.
    #[must_use]
    pub fn new(max_size: usize) -> Self {
        Self { max_size, ..Self::default() }
    }

    /// Name and value of an entry; 0 is the newest one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(self.entries.len().checked_sub(index + 1)?)?;
        let (name, value) = (entry.start + entry.name, entry.start + entry.name + entry.value);
        Some((&self.octets[entry.start as usize..name as usize], &self.octets[name as usize..value as usize]))
    }

    /// The size as the RFC counts it, at most [`DynamicTable::max_size`].
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The size that the table may have.
    #[must_use]
    pub fn max_size(&self) -> usize {
        self.max_size
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries were ever inserted, modulo 2^32.
    pub(super) fn inserted(&self) -> u32 {
        self.inserted
    }

    /// Sets the size that the table may have, and evicts what does not fit.
    pub fn resize(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict(max_size);
    }

    /// Inserts a field. One that is larger than the table empties it (RFC 7541 §4.4).
    pub fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        self.inserted = self.inserted.wrapping_add(1);
        self.evict(self.max_size.saturating_sub(size));
        if size > self.max_size {
            return;
        }
        if self.octets.len() + name.len() + value.len() > 2 * self.max_size {
            self.compact();
        }
        let start = self.octets.len() as u32;
        self.entries.push_back(TableEntry { start, name: name.len() as u32, value: value.len() as u32 });
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        self.size += size;
    }

    fn evict(&mut self, room: usize) {
        while self.size > room
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= (entry.name + entry.value) as usize + OVERHEAD;
        }
        if self.entries.is_empty() {
            self.octets.clear();
        }
    }

    /// Drops the octets of entries that were evicted.
    fn compact(&mut self) {
        let start = self.entries.front().map_or(self.octets.len(), |entry| entry.start as usize);
        self.octets.drain(..start);
        self.entries.iter_mut().for_each(|entry| entry.start -= start as u32);
    }

    /// Gives back memory that is not used.
    pub fn shrink(&mut self) {
        self.compact();
        self.octets.shrink_to_fit();
        self.entries.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entry_comes_first_and_the_oldest_goes_first() {
        let mut table = DynamicTable::new(100);
        for name in ["a", "b", "c"] {
            table.insert(name.as_bytes(), b"1");
        }
        assert_eq!((table.len(), table.size()), (2, 68));
        assert_eq!(table.get(0), Some((&b"c"[..], &b"1"[..])));
        assert_eq!(table.get(1), Some((&b"b"[..], &b"1"[..])));
        assert_eq!(table.get(2), None);
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = DynamicTable::new(100);
        table.insert(b"a", b"1");
        table.insert(b"b", &[b'x'; 100]);
        assert_eq!((table.is_empty(), table.size()), (true, 0));
    }

    #[test]
    fn a_smaller_size_evicts() {
        let mut table = DynamicTable::new(200);
        (0..5_u8).for_each(|name| table.insert(&[name], b"1"));
        table.resize(40);
        assert_eq!((table.len(), table.get(0)), (1, Some((&[4][..], &b"1"[..]))));
        table.resize(0);
        assert!(table.is_empty());
    }

    #[test]
    fn the_octets_stay_below_twice_the_size_for_ever() {
        let mut table = DynamicTable::new(256);
        for round in 0..10_000_u32 {
            table.insert(format!("name-{round}").as_bytes(), &round.to_be_bytes());
            assert!(table.octets.len() <= 2 * 256 && table.size() <= 256);
            assert_eq!(table.get(0).map(|(_, value)| value), Some(&round.to_be_bytes()[..]));
        }
    }
}
