//! Buckets of the log in which a foreign message stands, and what cannot be checked for it.
//!
//! The message may be a change that was damaged, a revocation or a birth for example. So the codes of its bucket are
//! refused where they are known to be dead, and are `cannot_check` else; the holders of the bucket are as their codes are.
//! A code that the log does not know is no forgery while a bucket of its partition is confined: its birth may be the
//! message. If it stands in the bucket of signing keys, every code is `cannot_check`, because it may have been the word
//! that a key is compromised.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use citycode_domain::event::Event;
use citycode_domain::ids::StatusRef;
use citycode_event_store::follow::Continuity;
use citycode_event_store::{BucketId, Layout, Partition, RESERVED_BUCKETS, RecordedCommit};
use citycode_projection::ApplyError;
use citycode_projection::status::StatusWriter;
use citycode_wire::event;

use crate::commit::{commit_position, foreign_message};
use crate::streams::keys_stream;

/// What cannot be checked. Replaced as a whole when it changes, so that scans take no lock.
#[derive(Clone, Default)]
pub struct Confined {
    buckets: BTreeMap<BucketId, HashSet<StatusRef>>,
    keys: bool,
    leases: bool,
    /// Where a bucket is confined that holders may be in.
    births: BTreeSet<Partition>,
}

impl Confined {
    /// With one bucket more, whose commits these are.
    ///
    /// # Errors
    /// A sentence, where an event of a commit cannot be read.
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
        next.look(layout);
        Ok(next)
    }

    /// With those buckets alone that are confined still.
    #[must_use]
    pub fn only(&self, still: &[BucketId], layout: &Layout) -> Self {
        let mut next = self.clone();
        next.buckets.retain(|bucket, _| still.contains(bucket));
        next.look(layout);
        next
    }

    fn look(&mut self, layout: &Layout) {
        self.keys = self.buckets.contains_key(&layout.bucket_of(&keys_stream()));
        let is_of_leases = |bucket: &BucketId| *bucket == layout.lease_bucket(bucket.partition);
        self.leases = self.buckets.keys().any(is_of_leases);
        let reserved_from = layout.buckets_per_partition() - RESERVED_BUCKETS;
        let with_holders = self.buckets.keys().filter(|id| u32::from(id.bucket) < reserved_from);
        self.births = with_holders.map(|id| id.partition).collect();
    }

    /// Every code of these buckets.
    #[must_use]
    pub fn codes(&self) -> HashSet<StatusRef> {
        self.buckets.values().flatten().copied().collect()
    }

    /// Whether this bucket is confined.
    #[must_use]
    pub fn has(&self, bucket: BucketId) -> bool {
        self.buckets.contains_key(&bucket)
    }

    /// Whether nothing that is not known to be dead can be said of this code.
    #[must_use]
    pub fn has_code(&self, status: StatusRef) -> bool {
        self.keys || self.buckets.values().any(|codes| codes.contains(&status))
    }

    /// Whether the foreign message may have been the birth of a code that the log does not know. A list is of one
    /// partition; of a list that is not known it may be any, and the message may have been its lease.
    #[must_use]
    pub fn may_hide_birth(&self, partition: Option<Partition>) -> bool {
        match partition {
            Some(partition) => self.births.contains(&partition),
            None => self.leases || !self.births.is_empty(),
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

/// The confined buckets as the status has them.
pub(crate) fn confined_buckets(writer: &StatusWriter) -> Vec<BucketId> {
    let partitions = (0..).map_while(|number| writer.foreign(number).map(|foreign| (Partition(number), foreign)));
    let buckets = partitions
        .flat_map(|(partition, foreign)| foreign.confined().map(move |bucket| BucketId { partition, bucket }));
    buckets.collect()
}

/// Folds a foreign message into the status.
///
/// # Errors
/// A sentence, where it cannot be folded.
pub(crate) fn fold_foreign(writer: &mut StatusWriter, commit: &RecordedCommit) -> Result<(), String> {
    let Some(message) = &commit.foreign else {
        return Ok(());
    };
    let (position, message) = (
        commit_position(commit.position),
        foreign_message(commit.bucket, message),
    );
    match writer.apply_foreign(position, message) {
        Ok(()) | Err(ApplyError::AlreadyApplied { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
