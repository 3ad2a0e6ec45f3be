//! The position of a partition and the tails of its buckets.

use citycode_log_position::BucketTail;
use hashbrown::HashMap;

use crate::foreign::ForeignMessages;
use crate::point::PartitionPoint;
use crate::status::ListHasher;
use std::hash::BuildHasherDefault;

/// Sparse: an empty bucket needs no memory.
pub(super) struct PartitionTails {
    pub(super) point: PartitionPoint,
    pub(super) foreign: ForeignMessages,
    tails: HashMap<u16, BucketTail, BuildHasherDefault<ListHasher>>,
}

impl Default for PartitionTails {
    fn default() -> Self {
        Self {
            point: PartitionPoint::START,
            foreign: ForeignMessages::default(),
            tails: HashMap::default(),
        }
    }
}

impl PartitionTails {
    pub(super) fn tail(&self, bucket: u16) -> Option<BucketTail> {
        self.tails.get(&bucket).copied()
    }

    pub(super) fn set(&mut self, bucket: u16, tail: BucketTail) {
        self.tails.insert(bucket, tail);
    }

    /// All tails in the order of buckets.
    pub(super) fn sorted(&self) -> Vec<(u16, BucketTail)> {
        let mut all: Vec<_> = self.tails.iter().map(|(key, tail)| (*key, *tail)).collect();
        all.sort_unstable_by_key(|(bucket, _)| *bucket);
        all
    }
}
