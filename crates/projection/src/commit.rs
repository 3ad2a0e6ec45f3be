//! One commit as projections fold it.

use citycode_domain::event::Event;
use citycode_domain::ids::{CommitPosition, HolderId};
use citycode_domain::time::Timestamp;

/// The last commit of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BucketTail {
    /// The bucket's revision after that commit; opaque, as the log has it.
    pub revision: u64,
    /// The commit's hash, on which the bucket's next commit builds.
    pub hash: [u8; 32],
}

/// One commit of the log, whole, with its events decoded.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Where it stands.
    pub position: CommitPosition,
    /// The time at which it was decided.
    pub decided_at: Timestamp,
    /// Whose stream it is in; none for leases, keys and heartbeats.
    pub holder: Option<HolderId>,
    /// The bucket that it moved.
    pub bucket: u16,
    /// The bucket's tail after it.
    pub tail: BucketTail,
    /// The first four bytes of its message id, little-endian.
    pub message_id_prefix: u32,
    /// Its events, in order; a heartbeat has none.
    pub events: &'a [Event],
}

impl Commit<'_> {
    /// Up to when its partition is known after it. A heartbeat, or what is passed over in its place, never takes it back.
    pub(crate) fn reaches(&self, before: Timestamp) -> Timestamp {
        if self.events.is_empty() {
            self.decided_at.max(before)
        } else {
            self.decided_at
        }
    }
}

/// Why a commit was not folded. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    /// The log has fewer partitions than that.
    #[error("partition {partition} is not one of the log's {partitions}")]
    UnknownPartition {
        /// As the commit has it.
        partition: u16,
        /// As the layout has it.
        partitions: u16,
    },
    /// It was folded before: a subscription delivers at least once. Harmless; skip it.
    #[error("commit {sequence} of partition {partition} was folded already, up to {last}")]
    AlreadyApplied {
        /// The partition.
        partition: u16,
        /// As the commit has it.
        sequence: u64,
        /// The last one folded.
        last: u64,
    },
    /// More foreign messages than are kept.
    #[error(
        "partition {partition} has more than {} foreign messages",
        crate::foreign::MAX_FOREIGN_MESSAGES
    )]
    TooManyForeign {
        /// The partition.
        partition: u16,
    },
    /// Commits between are missing: the source lost something, and nothing may be concluded from what is known.
    #[error("commit {sequence} of partition {partition} came after {last}: a gap")]
    Gap {
        /// The partition.
        partition: u16,
        /// As the commit has it.
        sequence: u64,
        /// The last one folded.
        last: u64,
    },
}

/// Checks that a commit is the one after `last` in its partition.
pub(crate) fn check_next(position: CommitPosition, last: u64) -> Result<(), ApplyError> {
    let CommitPosition { partition, sequence } = position;
    if sequence <= last {
        Err(ApplyError::AlreadyApplied {
            partition,
            sequence,
            last,
        })
    } else if sequence - 1 != last {
        Err(ApplyError::Gap {
            partition,
            sequence,
            last,
        })
    } else {
        Ok(())
    }
}
