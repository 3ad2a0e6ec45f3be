//! Every status list of the log: what it contains, and its entries.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arc_swap::ArcSwap;
use citycode_domain::ids::{ListFacts, ListId};
use hashbrown::HashMap;

use super::block::List;
use super::entry::Entry;

/// Hashes the number of a list or bucket. Issuers choose the numbers of lists, so an adversary cannot.
#[derive(Default)]
pub(crate) struct ListHasher(u64);

impl Hasher for ListHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u32(u32::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    }
}

/// One list.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) facts: ListFacts,
    /// `None` once it is retired.
    pub(super) places: Option<Arc<List>>,
}

impl Known {
    pub(super) fn new(facts: ListFacts) -> Self {
        let places = Some(Arc::new(List::new()));
        Self { facts, places }
    }

    pub(super) fn entry(&self, index: u32) -> Entry {
        self.places.as_ref().map_or(Entry::NEVER, |list| list.load(index))
    }

    /// Its entries, if a code was issued in it and it is not retired.
    pub(super) fn used(&self) -> Option<&Arc<List>> {
        self.places.as_ref().filter(|list| list.blocks().next().is_some())
    }
}

pub(super) type Table = HashMap<ListId, Known, BuildHasherDefault<ListHasher>>;

/// The table of lists, which is replaced as a whole when a list is added or removed, a few times a month. A
/// version 2 list is in it permanently from its lease on. A version 1 list, whose name encodes what it
/// contains, is in it from its first code until it retires.
#[derive(Default)]
pub(super) struct Lists(ArcSwap<Table>);

impl Lists {
    pub(super) fn of(table: Table) -> Self {
        Self(ArcSwap::from_pointee(table))
    }

    /// The current table; does not allocate.
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<Table>> {
        self.0.load()
    }

    /// Like [`Self::load`], for longer use.
    pub(super) fn load_full(&self) -> Arc<Table> {
        self.0.load_full()
    }

    /// What a list contains, if the log or its name says so.
    pub(super) fn facts(&self, id: ListId) -> Option<ListFacts> {
        let known = self.0.load().get(&id).map(|known| known.facts);
        known.or_else(|| ListFacts::of_version_1(id))
    }

    /// Inserts a list. Only the writer may call this.
    pub(super) fn insert(&self, id: ListId, known: Known) {
        let mut table = Table::clone(&self.0.load());
        table.insert(id, known);
        self.0.store(Arc::new(table));
    }

    /// Replaces the whole table. Only the writer may call this.
    pub(super) fn replace(&self, table: Table) {
        self.0.store(Arc::new(table));
    }
}
