//! The last tail of each bucket that this client has seen. It is only a cache for comparing hashes, because there are
//! other writers.

use citycode_event_store::{BucketId, BucketTail, CommitHash, Layout, RecordedCommit, Revision};
use parking_lot::Mutex;

/// One partition's tails by bucket. The operating system allocates this memory only when it is written.
struct PartitionTails {
    revisions: Vec<u64>,
    hashes: Vec<[u8; 32]>,
}

/// The last seen tails of all buckets, at most 40 bytes for each.
pub(crate) struct SeenTails {
    partitions: Vec<Mutex<PartitionTails>>,
}

impl SeenTails {
    pub(crate) fn new(layout: Layout) -> Self {
        let buckets = layout.buckets_per_partition() as usize;
        let empty = |_| {
            Mutex::new(PartitionTails {
                revisions: vec![0; buckets],
                hashes: vec![[0; 32]; buckets],
            })
        };
        Self {
            partitions: (0..layout.partitions()).map(empty).collect(),
        }
    }

    /// The last seen tail, or [`BucketTail::EMPTY`].
    pub(crate) fn get(&self, bucket: BucketId) -> BucketTail {
        let tails = self.partitions[usize::from(bucket.partition.0)].lock();
        let index = usize::from(bucket.bucket);
        BucketTail {
            revision: Revision::from_raw(tails.revisions[index]),
            hash: CommitHash(tails.hashes[index]),
        }
    }

    /// Stores the tail unless a later one was seen.
    pub(crate) fn see(&self, bucket: BucketId, tail: BucketTail) {
        let mut tails = self.partitions[usize::from(bucket.partition.0)].lock();
        tails.see(bucket, tail);
    }

    /// As [`SeenTails::see`], for commits of one partition in order.
    pub(crate) fn see_all<'a>(&self, commits: impl IntoIterator<Item = &'a RecordedCommit>) {
        let mut commits = commits.into_iter().peekable();
        if let Some(first) = commits.peek() {
            let mut tails = self.partitions[usize::from(first.bucket.partition.0)].lock();
            for commit in commits {
                tails.see(commit.bucket, commit.tail());
            }
        }
    }
}

impl PartitionTails {
    fn see(&mut self, bucket: BucketId, tail: BucketTail) {
        let index = usize::from(bucket.bucket);
        if tail.revision.to_raw() > self.revisions[index] {
            self.revisions[index] = tail.revision.to_raw();
            self.hashes[index] = tail.hash.0;
        }
    }
}
