//! One shard: an index of 4-byte places into an arena of packed holders.

use citycode_domain::ids::HolderId;
use hashbrown::HashTable;

use super::arena::{Arena, Place, first_entry, put_head};
use super::packing::{Packed, is_erased};

/// The holders of one shard.
#[derive(Default)]
pub(super) struct Shard {
    index: HashTable<Place>,
    arena: Arena,
    /// Buffers, kept to reuse their memory.
    packed: Packed,
    body: Vec<u8>,
    entry: Vec<u8>,
}

/// Holder ids are 128 random bits drawn by the issuer, so a part of them serves as a hash.
pub(super) fn hash(holder: HolderId) -> u64 {
    let first = holder.0.first_chunk::<8>().expect("a holder id has 16 bytes");
    u64::from_le_bytes(*first)
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    fn find(&self, holder: HolderId) -> Option<Place> {
        let found = self
            .index
            .find(hash(holder), |place| self.arena.holder(*place) == holder);
        found.copied()
    }

    /// Reads a holder into `packed`; returns false if the shard does not contain it.
    pub(super) fn read(&self, holder: HolderId, packed: &mut Packed) -> bool {
        let Some(place) = self.find(holder) else {
            return false;
        };
        packed
            .unpack(self.arena.entry(place).body)
            .expect("only packed holders are stored");
        true
    }

    /// Changes a holder, starting from the empty state if the shard does not contain it.
    pub(super) fn update(&mut self, holder: HolderId, change: impl FnOnce(&mut Packed)) {
        let found = self.find(holder);
        let before = match found {
            Some(place) => {
                let entry = self.arena.entry(place);
                self.packed.unpack(entry.body).expect("only packed holders are stored");
                entry.len
            }
            None => {
                self.packed.clear();
                0
            }
        };
        change(&mut self.packed);
        self.body.clear();
        self.packed.pack(&mut self.body);
        self.entry.clear();
        put_head(&mut self.entry, holder, self.body.len());
        self.entry.extend_from_slice(&self.body);
        match found {
            Some(place) if before == self.entry.len() => self.arena.overwrite(place, &self.entry),
            Some(place) => {
                let new = self.arena.push(&self.entry);
                self.repoint(holder, place, new);
                self.arena.release(place, before);
                self.compact();
            }
            None => {
                let new = self.arena.push(&self.entry);
                self.insert(holder, new);
            }
        }
    }

    fn insert(&mut self, holder: HolderId, place: Place) {
        let arena = &self.arena;
        self.index
            .insert_unique(hash(holder), place, |place| hash(arena.holder(*place)));
    }

    /// Makes the index refer to another place for a holder.
    fn repoint(&mut self, holder: HolderId, from: Place, to: Place) {
        let entry = self.index.find_mut(hash(holder), |place| *place == from);
        *entry.expect("the index referred to the place just before") = to;
    }

    /// Compacts pages until few enough bytes are dead. Normally one write compacts one or two pages.
    fn compact(&mut self) {
        while let Some(victim) = self.arena.victim() {
            let page = self.arena.take(victim);
            for (place, entry, whole) in page.entries() {
                let live = self.index.find_mut(hash(entry.holder), |indexed| *indexed == place);
                if let Some(indexed) = live {
                    *indexed = self.arena.push(whole);
                }
            }
            self.arena.give_back(victim);
        }
    }

    /// The live entries in storage order.
    pub(super) fn live_entries(&self) -> impl Iterator<Item = &[u8]> {
        self.arena.entries().filter_map(|(place, entry, whole)| {
            let live = self.index.find(hash(entry.holder), |indexed| *indexed == place);
            live.map(|_| whole)
        })
    }

    /// All holders of the shard.
    pub(super) fn holders(&self) -> impl Iterator<Item = HolderId> {
        self.live_entries().filter_map(first_entry).map(|entry| entry.holder)
    }

    /// The erased holders of the shard.
    pub(super) fn erased(&self) -> impl Iterator<Item = HolderId> {
        let entries = self.live_entries().filter_map(first_entry);
        entries.filter(|entry| is_erased(entry.body)).map(|entry| entry.holder)
    }

    /// Inserts a whole entry from a snapshot; returns false if the holder is already present.
    pub(super) fn restore(&mut self, holder: HolderId, whole: &[u8]) -> bool {
        if self.find(holder).is_some() {
            return false;
        }
        let place = self.arena.push(whole);
        self.insert(holder, place);
        true
    }

    /// Bytes of entries that the index no longer refers to.
    #[cfg(test)]
    pub(super) fn dead_bytes(&self) -> usize {
        self.arena.dead_bytes()
    }

    /// Bytes of all pages, for the test that bounds their waste.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.arena.held_bytes()
    }
}
