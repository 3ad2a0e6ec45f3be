//! Where every bucket ends: an array in memory, written out partition by partition as the log grows.
//!
//! Every [`checkpoint_interval`] commits the writer stores the array of one partition, in turn. So each partition's
//! array is at most half a dedup window old, and the rows of the window, which are kept anyway, bring it up to date.

use citycode_event_store::{BucketId, BucketTail, CommitHash, Layout, Partition, Revision};

use crate::recent::WINDOW;

/// Commits between two stored arrays: all partitions come round within half a dedup window.
fn checkpoint_interval(layout: &Layout) -> u64 {
    let window = u64::try_from(WINDOW / 2).expect("it fits");
    (window / u64::from(layout.partitions())).max(1)
}

/// The durable tails. Hashes are known once a bucket was touched; until then the tail's commit has to be read.
pub(crate) struct Tails {
    layout: Layout,
    revisions: Vec<u64>,
    /// All zero: not known yet. Memory that was never written to costs nothing.
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

    /// Keeps the hash that was read, unless the bucket moved meanwhile.
    pub(crate) fn learn(&mut self, bucket: BucketId, revision: Revision, hash: CommitHash) {
        if self.revision(bucket) == revision {
            self.set(bucket, revision, hash);
        }
    }

    /// At opening: a commit of this bucket stands at this revision.
    pub(crate) fn raise(&mut self, bucket: BucketId, revision: u64) {
        let index = self.layout.flat_index(bucket);
        self.revisions[index] = self.revisions[index].max(revision);
    }

    fn range(&self, partition: Partition) -> std::ops::Range<usize> {
        let start = self.layout.flat_index(BucketId { partition, bucket: 0 });
        start..start + self.layout.buckets_per_partition() as usize
    }

    /// The row of a partition, in a log of so many commits.
    pub(crate) fn to_row(&self, partition: Partition, commits: u64) -> Vec<u8> {
        let revisions = &self.revisions[self.range(partition)];
        std::iter::once(&commits)
            .chain(revisions)
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    /// Takes a row in; how many commits the log had when it was written, or `None` if its size is wrong.
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

/// Whose turn it is. Kept in the rows themselves, so that restarts do not stretch a round.
pub(crate) struct Checkpoints {
    /// How many commits the log had when each partition's row was written; 0 for one without a row.
    written_at: Vec<u64>,
}

impl Checkpoints {
    pub(crate) fn new(written_at: Vec<u64>) -> Self {
        Self { written_at }
    }

    /// How many commits the log had when the oldest row was written.
    pub(crate) fn oldest(&self) -> u64 {
        self.written_at.iter().copied().min().unwrap_or(0)
    }

    /// The partitions whose rows a batch has to write that grows the log from `before` to `after` commits:
    /// one for each interval begun, the oldest first.
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
