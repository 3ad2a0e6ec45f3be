//! The state that writer and readers share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use citycode_domain::ids::{ListFacts, ListId, StatusRef};
use citycode_domain::time::Timestamp;

use super::fingerprint::FingerprintKey;
use super::lists::Lists;
use super::partition::PartitionStatus;
use super::standings::Standings;

/// The value of a valid index in published lists.
const VALID: u8 = 0;
const SUSPENDED: u8 = 2;

/// The arrays and additional rare state.
pub(super) struct Shared {
    pub(super) key: FingerprintKey,
    pub(super) partitions: Box<[PartitionStatus]>,
    pub(super) lists: Lists,
    pub(super) standings: Standings,
    /// Codes whose validity is uncertain: published lists show them as suspended instead of valid.
    pub(super) uncertain: ArcSwap<HashSet<StatusRef>>,
    /// Lists that retire at or before this instant (Unix seconds) are removed, and later events about them are
    /// ignored.
    pub(super) retired_through: AtomicI64,
    pub(super) alarm_count: AtomicU64,
    pub(super) allocated_places: AtomicU64,
}

impl Shared {
    /// What a list contains, if the log or its name says so and the log has its partition.
    pub(super) fn facts(&self, list: ListId) -> Option<ListFacts> {
        let facts = self.lists.facts(list);
        facts.filter(|facts| usize::from(facts.partition) < self.partitions.len())
    }

    pub(super) fn partition_of(&self, facts: &ListFacts) -> &PartitionStatus {
        &self.partitions[usize::from(facts.partition)]
    }

    pub(super) fn retired_through(&self) -> Timestamp {
        Timestamp(self.retired_through.load(Ordering::Acquire))
    }

    pub(super) fn is_retired(&self, facts: &ListFacts) -> bool {
        facts.retires_at <= self.retired_through()
    }

    pub(super) fn lists(&self) -> Vec<ListId> {
        let table = self.lists.load();
        let used = table.iter().filter(|(_, known)| known.used().is_some());
        let mut all: Vec<ListId> = used.map(|(id, _)| *id).collect();
        all.sort_unstable();
        all
    }

    pub(super) fn export_two_bit(&self, id: ListId) -> Vec<u8> {
        let table = self.lists.load();
        let Some((facts, list)) = table
            .get(&id)
            .and_then(|known| Some((known.facts, known.places.as_ref()?)))
        else {
            return Vec::new();
        };
        let partition = self.partition_of(&facts);
        let mut bits = list.two_bits(|block, out| {
            let before = out.len();
            partition.read(|| {
                out.truncate(before);
                block.push_two_bits(out);
            });
        });
        for code in self.uncertain.load().iter().filter(|code| code.list == id) {
            let place = 2 * (code.index % 4);
            if let Some(byte) = bits.get_mut(code.index as usize / 4)
                && (*byte >> place) & 0b11 == VALID
            {
                *byte |= SUSPENDED << place;
            }
        }
        bits
    }
}
