//! One shard: an index of 4-byte places over an arena of packed holders.

use citycode_domain::ids::HolderId;
use hashbrown::HashTable;

use super::arena::{Arena, Place, first_entry, put_head};
use super::packing::{Packed, is_erased};

/// Holders of one shard.
#[derive(Default)]
pub(super) struct Shard {
    index: HashTable<Place>,
    arena: Arena,
    /// Kept for their memory.
    packed: Packed,
    body: Vec<u8>,
    entry: Vec<u8>,
}

/// Holder ids are 128 random bits drawn by the issuer: some of them are a hash already.
fn hash(holder: HolderId) -> u64 {
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

    /// Reads a holder into `packed`; false where there is none.
    pub(super) fn read(&self, holder: HolderId, packed: &mut Packed) -> bool {
        let Some(place) = self.find(holder) else {
            return false;
        };
        packed
            .unpack(self.arena.entry(place).body)
            .expect("only packed holders are stored");
        true
    }

    /// Changes a holder, from nothing where there was none.
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

    /// Lets the index name another place for a holder.
    fn repoint(&mut self, holder: HolderId, from: Place, to: Place) {
        let named = self.index.find_mut(hash(holder), |place| *place == from);
        *named.expect("the index named the place just before") = to;
    }

    /// Empties pages until few enough bytes are dead. Pages take turns, so one write empties one or two.
    fn compact(&mut self) {
        while let Some(victim) = self.arena.victim() {
            let page = self.arena.take(victim);
            for (place, entry, whole) in page.entries() {
                let live = self.index.find_mut(hash(entry.holder), |named| *named == place);
                if let Some(named) = live {
                    *named = self.arena.push(whole);
                }
            }
            self.arena.give_back(victim);
        }
    }

    /// The live entries, whole, in the order in which they lie.
    pub(super) fn live_entries(&self) -> impl Iterator<Item = &[u8]> {
        self.arena.entries().filter_map(|(place, entry, whole)| {
            let live = self.index.find(hash(entry.holder), |named| *named == place);
            live.map(|_| whole)
        })
    }

    /// All of its holders.
    pub(super) fn holders(&self) -> impl Iterator<Item = HolderId> {
        self.live_entries().filter_map(first_entry).map(|entry| entry.holder)
    }

    /// Those of its holders who are erased.
    pub(super) fn erased(&self) -> impl Iterator<Item = HolderId> {
        let entries = self.live_entries().filter_map(first_entry);
        entries.filter(|entry| is_erased(entry.body)).map(|entry| entry.holder)
    }

    /// Takes a whole entry from a snapshot; false where the holder is there already.
    pub(super) fn restore(&mut self, holder: HolderId, whole: &[u8]) -> bool {
        if self.find(holder).is_some() {
            return false;
        }
        let place = self.arena.push(whole);
        self.insert(holder, place);
        true
    }

    /// Bytes of all pages, for the test that bounds their waste.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.arena.held_bytes()
    }
}
