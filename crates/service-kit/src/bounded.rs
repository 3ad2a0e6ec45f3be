//! A map that never holds more than a named number of entries, whatever callers send.
//!
//! Two generations: entries that are touched live in the young one; when it is full it becomes the old one
//! and what was old is forgotten. So an entry is forgotten only after at least half the capacity of other
//! keys were touched since, every operation is O(1), and nothing has to be swept.

use std::collections::HashMap;
use std::hash::Hash;

/// See the module header.
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

    /// Looks without touching.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Whether the key was touched recently enough that touching it again changes nothing.
    pub fn is_young(&self, key: &K) -> bool {
        self.young.contains_key(key)
    }

    /// The entry of this key, made by `make` if absent, and now among the young.
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

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// Entries held, never above the capacity.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_capacity_and_keeps_what_is_touched() {
        let mut map = Generations::with_capacity(10);
        for key in 0..1_000_u32 {
            *map.touch(&u32::MAX, || 0) += 1;
            map.touch(&key, || 0);
            assert!(map.len() <= 10, "{}", map.len());
        }
        assert_eq!(map.peek(&u32::MAX), Some(&1_000), "touched every time, never forgotten");
        assert_eq!(map.peek(&0), None, "untouched for long, forgotten");
    }
}
