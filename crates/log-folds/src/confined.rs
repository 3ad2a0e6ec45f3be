//! Buckets of the log that contain a foreign message, and the codes that cannot be checked because of it.
//!
//! The message may be a damaged commit, for example a revocation or an issue. So the codes of its bucket are refused if
//! they are dead in the state, and are `cannot_check` otherwise; the same holds for the holders of the bucket. A code
//! that is not in the log does not count as forged while a bucket of its partition is confined, because the message may
//! be its issue. In the bucket of the signing keys the message may have marked a key as compromised, so every code is
//! `cannot_check`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use citycode_domain::event::Event;
use citycode_domain::ids::StatusRef;
use citycode_event_store::follow::Continuity;
use citycode_event_store::{BucketId, Layout, Partition, RESERVED_BUCKETS, RecordedCommit};
use citycode_projection::ApplyError;
use citycode_projection::status::StatusWriter;
use citycode_wire::event;

use crate::commit::foreign_message;
use crate::streams::keys_stream;

/// The codes that cannot be checked. It is replaced as a whole when it changes, so that scans take no lock.
#[derive(Clone, Default)]
pub struct Confined {
    buckets: BTreeMap<BucketId, HashSet<StatusRef>>,
    keys: bool,
    leases: bool,
    /// Partitions with a confined bucket that may contain holders.
    with_holders: BTreeSet<Partition>,
}

impl Confined {
    /// A copy to which one more confined bucket is added; `commits` are all commits of that bucket.
    ///
    /// # Errors
    /// Why an event of a commit cannot be decoded, in one sentence.
    pub fn with(&self, bucket: BucketId, commits: &[RecordedCommit], layout: &Layout) -> Result<Self, String> {
        let mut codes = HashSet::new();
        for data in commits.iter().flat_map(|commit| &commit.commit.events) {
            if data.event_type == "CodeIssued"
                && let Event::CodeIssued(issued) =
                    event::decode_for_projection(&data.event_type, data.version, &data.payload)
                        .map_err(|error| error.to_string())?
            {
                codes.insert(issued.code.status);
            }
        }
        let mut next = self.clone();
        next.buckets.insert(bucket, codes);
        next.update(layout);
        Ok(next)
    }

    /// A copy with only the buckets in `still`, which are the ones that are still confined.
    #[must_use]
    pub fn only(&self, still: &[BucketId], layout: &Layout) -> Self {
        let mut next = self.clone();
        next.buckets.retain(|bucket, _| still.contains(bucket));
        next.update(layout);
        next
    }

    fn update(&mut self, layout: &Layout) {
        self.keys = self.buckets.contains_key(&layout.bucket_of(&keys_stream()));
        let is_of_leases = |bucket: &BucketId| *bucket == layout.lease_bucket(bucket.partition);
        self.leases = self.buckets.keys().any(is_of_leases);
        let reserved_from = layout.buckets_per_partition() - RESERVED_BUCKETS;
        let with_holders = self.buckets.keys().filter(|id| u32::from(id.bucket) < reserved_from);
        self.with_holders = with_holders.map(|id| id.partition).collect();
    }

    /// Every code of the confined buckets.
    #[must_use]
    pub fn codes(&self) -> HashSet<StatusRef> {
        self.buckets.values().flatten().copied().collect()
    }

    /// Whether this bucket is confined.
    #[must_use]
    pub fn has(&self, bucket: BucketId) -> bool {
        self.buckets.contains_key(&bucket)
    }

    /// Whether this code cannot be checked unless it is dead in the state.
    #[must_use]
    pub fn has_code(&self, status: StatusRef) -> bool {
        self.keys || self.buckets.values().any(|codes| codes.contains(&status))
    }

    /// Whether a foreign message may be the issue of a code that is not in the log. A status list belongs to one
    /// partition; a list that is not known may belong to any, and the message may be its lease.
    #[must_use]
    pub fn may_hide_issue(&self, partition: Option<Partition>) -> bool {
        match partition {
            Some(partition) => self.with_holders.contains(&partition),
            None => self.leases || !self.with_holders.is_empty(),
        }
    }
}

/// Whether a commit builds on the last commit of its bucket that the status has folded.
pub(crate) fn status_continuity(writer: &StatusWriter, commit: &RecordedCommit) -> Continuity {
    let BucketId { partition, bucket } = commit.bucket;
    match writer.ends_with(partition.0, bucket, &commit.previous_hash.0) {
        Some(true) => Continuity::Follows,
        Some(false) => Continuity::Breaks,
        None => Continuity::Unknown,
    }
}

/// The confined buckets in the state.
pub(crate) fn confined_buckets(writer: &StatusWriter) -> Vec<BucketId> {
    let partitions = (0..).map_while(|number| writer.foreign(number).map(|foreign| (Partition(number), foreign)));
    let buckets = partitions
        .flat_map(|(partition, foreign)| foreign.confined().map(move |bucket| BucketId { partition, bucket }));
    buckets.collect()
}

/// Folds a foreign message into the status.
///
/// # Errors
/// Why it cannot be folded, in one sentence.
pub(crate) fn fold_foreign(writer: &mut StatusWriter, commit: &RecordedCommit) -> Result<(), String> {
    let Some(message) = &commit.foreign else {
        return Ok(());
    };
    let (position, message) = (commit.position, foreign_message(commit.bucket, message));
    match writer.apply_foreign(position, message) {
        Ok(()) | Err(ApplyError::AlreadyApplied { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
