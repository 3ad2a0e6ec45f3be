//! What writer and readers share.

use std::sync::atomic::AtomicU64;

use citycode_domain::ids::ListId;

use super::fingerprint::FingerprintKey;
use super::partition::PartitionStatus;
use super::standings::Standings;

/// The arrays, and beside them what is rare.
pub(super) struct Shared {
    pub(super) key: FingerprintKey,
    pub(super) partitions: Box<[PartitionStatus]>,
    pub(super) standings: Standings,
    pub(super) alarm_count: AtomicU64,
    pub(super) allocated_places: AtomicU64,
}

impl Shared {
    pub(super) fn partition_of(&self, list: ListId) -> Option<&PartitionStatus> {
        self.partitions.get(usize::from(list.partition()))
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
