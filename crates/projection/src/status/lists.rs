//! Every status list that the log knows: what it holds, and its places.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arc_swap::ArcSwap;
use citycode_domain::ids::{ListFacts, ListId};
use hashbrown::HashMap;

use super::block::List;
use super::entry::Entry;

/// Spreads the number of a list or bucket; issuers choose lists, so no adversary does.
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
    /// None once it retired.
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

    /// Its places, if a code was issued in it and it did not retire.
    pub(super) fn used(&self) -> Option<&Arc<List>> {
        self.places.as_ref().filter(|list| list.blocks().next().is_some())
    }
}

pub(super) type Table = HashMap<ListId, Known, BuildHasherDefault<ListHasher>>;

/// The table of lists; replaced whole where a list comes or goes, which is a few times a month. A list stands in it from
/// its lease on, and one of version 2 for ever; one of version 1, whose name says what it holds, from the first code
/// that is seen of it until it retires.
#[derive(Default)]
pub(super) struct Lists(ArcSwap<Table>);

impl Lists {
    pub(super) fn of(table: Table) -> Self {
        Self(ArcSwap::from_pointee(table))
    }

    /// As it is now; does not allocate.
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<Table>> {
        self.0.load()
    }

    /// As [`Self::load`], for whoever keeps it.
    pub(super) fn load_full(&self) -> Arc<Table> {
        self.0.load_full()
    }

    /// What a list holds, if the log or its name says so.
    pub(super) fn facts(&self, id: ListId) -> Option<ListFacts> {
        let known = self.0.load().get(&id).map(|known| known.facts);
        known.or_else(|| ListFacts::of_version_1(id))
    }

    /// Puts a list in. For the writer only.
    pub(super) fn insert(&self, id: ListId, known: Known) {
        let mut table = Table::clone(&self.0.load());
        table.insert(id, known);
        self.0.store(Arc::new(table));
    }

    /// Changes the whole table. For the writer only.
    pub(super) fn replace(&self, table: Table) {
        self.0.store(Arc::new(table));
    }
}
