//! What writer and readers share.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use citycode_domain::ids::ListId;
use citycode_domain::time::Timestamp;

use super::fingerprint::FingerprintKey;
use super::partition::PartitionStatus;
use super::standings::Standings;

/// The arrays, and beside them what is rare.
pub(super) struct Shared {
    pub(super) key: FingerprintKey,
    pub(super) partitions: Box<[PartitionStatus]>,
    pub(super) standings: Standings,
    /// Lists that retire at or before this instant (Unix seconds) are gone, and later events about them mean nothing.
    pub(super) retired_through: AtomicI64,
    pub(super) alarm_count: AtomicU64,
    pub(super) allocated_places: AtomicU64,
}

impl Shared {
    pub(super) fn partition_of(&self, list: ListId) -> Option<&PartitionStatus> {
        self.partitions.get(usize::from(list.partition()))
    }

    pub(super) fn retired_through(&self) -> Timestamp {
        Timestamp(self.retired_through.load(Ordering::Acquire))
    }

    pub(super) fn is_retired(&self, list: ListId) -> bool {
        list.retires_at() <= self.retired_through()
    }

    pub(super) fn lists(&self) -> Vec<ListId> {
        let mut all = Vec::new();
        for partition in &self.partitions {
            all.extend(partition.lists.load().keys().copied());
        }
        all.sort_unstable();
        all
    }

    pub(super) fn export_two_bit(&self, id: ListId) -> Vec<u8> {
        let Some(partition) = self.partition_of(id) else {
            return Vec::new();
        };
        let Some(list) = partition.lists.load().get(&id).cloned() else {
            return Vec::new();
        };
        list.two_bits(|block, out| {
            let before = out.len();
            partition.read(|| {
                out.truncate(before);
                block.push_two_bits(out);
            });
        })
    }
}
