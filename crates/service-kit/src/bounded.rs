//! A map that never holds more than a named number of entries, whatever callers send.
//!
//! It has two generations. Touched entries are in the young one; when that is full, it becomes the old one and the
//! previous old one is evicted. An entry is therefore evicted only after at least half the capacity of other keys were
//! touched, every operation is O(1), and no sweep is needed.

use std::collections::HashMap;
use std::hash::Hash;

/// A bounded map of two generations.
#[derive(Debug)]
pub struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash + Clone, V> Generations<K, V> {
    /// At most `capacity` entries (at least 2).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (capacity / 2).max(1),
        }
    }

    /// Looks an entry up without touching it.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Whether the key was touched recently enough that touching it again changes nothing.
    pub fn is_young(&self, key: &K) -> bool {
        self.young.contains_key(key)
    }

    /// The entry of this key, created by `make` if absent; it is in the young generation afterwards.
    pub fn touch(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key).unwrap_or_else(make);
            if self.young.len() >= self.half {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key.clone(), value);
        }
        self.young.get_mut(key).expect("present before or inserted just now")
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// The number of entries, never above the capacity.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_never_exceeded_and_touched_entries_stay() {
        let mut map = Generations::with_capacity(10);
        for key in 0..1_000_u32 {
            *map.touch(&u32::MAX, || 0) += 1;
            map.touch(&key, || 0);
            assert!(map.len() <= 10, "{}", map.len());
        }
        assert_eq!(map.peek(&u32::MAX), Some(&1_000), "touched every time, never evicted");
        assert_eq!(map.peek(&0), None, "not touched for long, evicted");
    }
}
