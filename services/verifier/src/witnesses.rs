//! The limit from which a code needs witnesses: its verdict stands only if witnesses have seen the past that this verifier
//! has folded, up to the code's birth ([`FoldedTrees`], decision 45).
//!
//! The verdict also rests on the signing keys. Their partition must be vouched for too, and a start from a snapshot must
//! find the keys that the snapshot's log had: they are read from their stream, whose commits this process does not fold.

use std::sync::Arc;

use citycode_domain::time::Timestamp;
use citycode_event_store::{CommitHash, EventStore, Layout, Partition, Revision};
use citycode_log_folds::{FoldedStatus, keys_stream};
use citycode_log_tree::FoldedTrees;

/// The limit, and the trees of what was folded.
pub(crate) struct WitnessLimit {
    after_seconds: i64,
    trees: Arc<FoldedTrees>,
    /// The partition of the signing keys.
    keys: Partition,
}

impl WitnessLimit {
    pub(crate) fn of(after_seconds: Option<u64>, trees: Option<&Arc<FoldedTrees>>, layout: &Layout) -> Option<Self> {
        Some(Self {
            after_seconds: i64::try_from(after_seconds?).unwrap_or(i64::MAX),
            trees: Arc::clone(trees?),
            keys: layout.bucket_of(&keys_stream()).partition,
        })
    }

    /// Whether the age of a code in seconds is below the limit, or witnesses vouch for its birth. `None` is a code of any
    /// partition.
    pub(crate) fn admit(&self, partition: Option<Partition>, issued_at: Timestamp, age: i64) -> bool {
        age < self.after_seconds || (self.trees.covers(partition, issued_at.0) && self.trees.is_vouched_for(self.keys))
    }
}

/// Whether the bucket of the signing keys ends in the log, up to the position of a snapshot, as it does in the snapshot.
///
/// # Errors
/// The log cannot be read.
pub(crate) async fn keys_are_those_of(status: &FoldedStatus, store: &dyn EventStore) -> Result<bool, String> {
    let bucket = store.layout().bucket_of(&keys_stream());
    let commits = store.read_bucket(bucket, Revision::EMPTY).await;
    let commits = commits.map_err(|error| error.to_string())?;
    let from = status.reaches();
    let last = commits.iter().rfind(|commit| from.includes(commit.position));
    let hash = last.map_or(CommitHash::NONE, |commit| commit.hash);
    Ok(status.ends_with(bucket, &hash))
}
