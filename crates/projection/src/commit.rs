//! A commit in the form in which projections fold it.

use citycode_domain::event::Event;
use citycode_domain::ids::{HolderId, Position};
use citycode_domain::time::Timestamp;
use citycode_log_position::BucketTail;

/// One complete commit of the log, with its events decoded.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Its position in the log.
    pub position: Position,
    /// The time of the decision.
    pub decided_at: Timestamp,
    /// The holder of its stream; `None` for leases, keys and heartbeats.
    pub holder: Option<HolderId>,
    /// The bucket to which it belongs.
    pub bucket: u16,
    /// The bucket's tail after this commit.
    pub tail: BucketTail,
    /// The first four bytes of its message id, little-endian.
    pub message_id_prefix: u32,
    /// Its events, in order; a heartbeat has none.
    pub events: &'a [Event],
}

impl Commit<'_> {
    /// The instant up to which its partition is known after it. A heartbeat, or a message that is skipped in
    /// place of one, never moves it back.
    pub(crate) fn reaches(&self, before: Timestamp) -> Timestamp {
        if self.events.is_empty() {
            self.decided_at.max(before)
        } else {
            self.decided_at
        }
    }
}

/// Why a commit was not folded. The projection is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    /// The log does not have this partition.
    #[error("partition {partition} is not one of the log's {partitions}")]
    UnknownPartition {
        /// The partition of the commit.
        partition: u16,
        /// The number of partitions of the log.
        partitions: u16,
    },
    /// The commit was folded before: a subscription delivers at least once. The caller may skip it.
    #[error("commit {sequence} of partition {partition} was folded already, up to {last}")]
    AlreadyApplied {
        /// The partition.
        partition: u16,
        /// The sequence of the commit.
        sequence: u64,
        /// The sequence of the last folded commit.
        last: u64,
    },
    /// The limit of foreign messages is reached.
    #[error(
        "partition {partition} has more than {} foreign messages",
        crate::foreign::MAX_FOREIGN_MESSAGES
    )]
    TooManyForeign {
        /// The partition.
        partition: u16,
    },
    /// Commits in between are missing: the source lost something, and no conclusion may be drawn from the
    /// projection.
    #[error("commit {sequence} of partition {partition} came after {last}: a gap")]
    Gap {
        /// The partition.
        partition: u16,
        /// The sequence of the commit.
        sequence: u64,
        /// The sequence of the last folded commit.
        last: u64,
    },
}

/// Checks that a commit follows directly after `last` in its partition.
pub(crate) fn check_next(position: Position, last: u64) -> Result<(), ApplyError> {
    let (partition, sequence) = position.parts();
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
