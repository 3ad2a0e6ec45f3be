//! The tails of all buckets: an array in memory that is stored partition by partition as the log grows.
//!
//! Every [`checkpoint_interval`] commits the writer stores the array of one partition, in rotation. So each partition's
//! stored array is at most half a dedup window old, and at opening the rows of the window bring it up to date.

use citycode_event_store::{BucketId, BucketTail, CommitHash, Layout, Partition, Revision};

use crate::recent::WINDOW;

/// Commits between two checkpoints, so that all partitions have one within half a dedup window.
fn checkpoint_interval(layout: &Layout) -> u64 {
    let window = u64::try_from(WINDOW / 2).expect("64 bits suffice");
    (window / u64::from(layout.partitions())).max(1)
}

/// The durable tails. The hash of a tail is known once the bucket was used; until then its last commit must be read.
pub(crate) struct Tails {
    layout: Layout,
    revisions: Vec<u64>,
    /// All zero means unknown. The operating system allocates this memory only when it is written.
    hashes: Vec<[u8; 32]>,
}

impl Tails {
    pub(crate) fn new(layout: Layout) -> Self {
        let buckets = usize::from(layout.partitions()) * layout.buckets_per_partition() as usize;
        Self {
            layout,
            revisions: vec![0; buckets],
            hashes: vec![[0; 32]; buckets],
        }
    }

    pub(crate) fn revision(&self, bucket: BucketId) -> Revision {
        Revision::from_raw(self.revisions[self.layout.flat_index(bucket)])
    }

    /// The tail, if its hash is known.
    pub(crate) fn known(&self, bucket: BucketId) -> Option<BucketTail> {
        let (index, revision) = (self.layout.flat_index(bucket), self.revision(bucket));
        let known = revision == Revision::EMPTY || self.hashes[index] != [0; 32];
        known.then(|| BucketTail {
            revision,
            hash: CommitHash(self.hashes[index]),
        })
    }

    pub(crate) fn set(&mut self, bucket: BucketId, revision: Revision, hash: CommitHash) {
        let index = self.layout.flat_index(bucket);
        self.revisions[index] = revision.to_raw();
        self.hashes[index] = hash.0;
    }

    /// Stores the hash that was read, unless the bucket has a newer tail.
    pub(crate) fn set_hash(&mut self, bucket: BucketId, revision: Revision, hash: CommitHash) {
        if self.revision(bucket) == revision {
            self.set(bucket, revision, hash);
        }
    }

    /// Records, at opening, that the bucket has a commit with this revision.
    pub(crate) fn raise(&mut self, bucket: BucketId, revision: u64) {
        let index = self.layout.flat_index(bucket);
        self.revisions[index] = self.revisions[index].max(revision);
    }

    fn range(&self, partition: Partition) -> std::ops::Range<usize> {
        let start = self.layout.flat_index(BucketId { partition, bucket: 0 });
        start..start + self.layout.buckets_per_partition() as usize
    }

    /// The row of a partition, in a log with this number of commits.
    pub(crate) fn to_row(&self, partition: Partition, commits: u64) -> Vec<u8> {
        let revisions = &self.revisions[self.range(partition)];
        std::iter::once(&commits)
            .chain(revisions)
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    /// Loads a row; returns the number of commits that the log had when it was written, or `None` if its size is wrong.
    pub(crate) fn load_row(&mut self, partition: Partition, row: &[u8]) -> Option<u64> {
        let range = self.range(partition);
        let (numbers, trailing) = row.as_chunks::<8>();
        let (commits, revisions) = numbers.split_first()?;
        if revisions.len() != range.len() || !trailing.is_empty() {
            return None;
        }
        for (slot, revision) in self.revisions[range].iter_mut().zip(revisions) {
            *slot = u64::from_be_bytes(*revision);
        }
        Some(u64::from_be_bytes(*commits))
    }
}

/// When each partition's tails were last stored. This is part of the rows, so that restarts do not delay checkpoints.
pub(crate) struct Checkpoints {
    /// The number of commits in the log when each partition's row was written; 0 for a partition without a row.
    written_at: Vec<u64>,
}

impl Checkpoints {
    pub(crate) fn new(written_at: Vec<u64>) -> Self {
        Self { written_at }
    }

    /// The number of commits in the log when the oldest row was written.
    pub(crate) fn oldest(&self) -> u64 {
        self.written_at.iter().copied().min().unwrap_or(0)
    }

    /// The partitions whose rows must be written with a batch that grows the log from `before` to `after` commits: one
    /// for each new interval, the oldest first.
    pub(crate) fn due(&self, layout: &Layout, before: u64, after: u64) -> Vec<Partition> {
        let interval = checkpoint_interval(layout);
        let count = usize::try_from(after / interval - before / interval).unwrap_or(usize::MAX);
        let mut order: Vec<Partition> = layout.all_partitions().collect();
        order.sort_by_key(|partition| self.written_at[usize::from(partition.0)]);
        order.truncate(count);
        order
    }

    pub(crate) fn written(&mut self, partition: Partition, commits: u64) {
        self.written_at[usize::from(partition.0)] = commits;
    }
}
