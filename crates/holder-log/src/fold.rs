//! Folding the log into the register, and handing the system's own events to whoever keeps them.

use std::sync::Arc;

use citycode_domain::event::Event;
use citycode_domain::ids::CommitPosition;
use citycode_domain::time::Timestamp;
use citycode_event_store::follow::{Continuity, Fold};
use citycode_event_store::{BucketId, ForeignMessage, Partition, Position, RecordedCommit};
use citycode_projection::register::HolderRegister;
use citycode_projection::{ApplyError, BucketTail, Commit};
use citycode_wire::event::{self, DecodeEventError};

use crate::streams::holder_of;

/// What keeps leases, keys, or anything else that is not a holder's; called in the order of each partition.
pub trait SystemFold: Send + Sync {
    /// One event of a stream that is no holder's; its sealed fields are left empty.
    ///
    /// # Errors
    /// A sentence, where it cannot be folded; following stops.
    fn fold_system(&self, event: &Event, position: Position) -> Result<(), String>;

    /// An event of a holder's stream, after the register has it; its sealed fields are left empty. Must not block.
    fn fold_holder(&self, _holder: citycode_domain::ids::HolderId, _event: &Event, _position: Position) {}
}

/// The fold of a writer: every commit goes into the register, system events to their keepers.
pub struct RegisterFold {
    register: Arc<HolderRegister>,
    keepers: Vec<Arc<dyn SystemFold>>,
}

impl RegisterFold {
    /// Folds into `register` and hands system events to every keeper.
    #[must_use]
    pub fn new(register: Arc<HolderRegister>, keepers: Vec<Arc<dyn SystemFold>>) -> Self {
        Self { register, keepers }
    }
}

impl Fold for RegisterFold {
    fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        let BucketId { partition, bucket } = commit.bucket;
        let tail = self.register.tail(partition.0, bucket);
        if tail.map_or([0; 32], |tail| tail.hash) == commit.previous_hash.0 {
            Continuity::Follows
        } else {
            Continuity::Breaks
        }
    }

    fn confined(&self) -> Vec<BucketId> {
        let confined = (0..).map_while(|number| Some((Partition(number), self.register.confined(number)?)));
        let buckets = confined.flat_map(|(partition, buckets)| {
            let buckets = buckets.into_iter();
            buckets.map(move |bucket| BucketId { partition, bucket })
        });
        buckets.collect()
    }

    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        if let Some(message) = &commit.foreign {
            let folded = self
                .register
                .apply_foreign(commit_position(commit.position), foreign_of(commit.bucket, message));
            return match folded {
                Ok(()) | Err(ApplyError::AlreadyApplied { .. }) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
        }
        let events = folded_events(commit).map_err(|error| error.to_string())?;
        let holder = holder_of(&commit.commit.stream);
        if holder.is_none() && !self.has(commit.position) {
            // First: whoever reads a bucket's tail in the register finds with the keepers all that stands up to there, and
            // no lease is decided on the one with the other's past.
            for event in &events {
                self.keepers
                    .iter()
                    .try_for_each(|keeper| keeper.fold_system(event, commit.position))?;
            }
        }
        match self.register.apply(&projected(commit, &events)) {
            Ok(()) => {}
            Err(ApplyError::AlreadyApplied { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        if let Some(holder) = holder {
            for event in &events {
                let keepers = self.keepers.iter();
                keepers.for_each(|keeper| keeper.fold_holder(holder, event, commit.position));
            }
        }
        Ok(())
    }
}

impl RegisterFold {
    fn has(&self, position: Position) -> bool {
        let point = self.register.point(position.partition.0);
        point.is_some_and(|point| point.sequence >= position.sequence.0)
    }
}

/// A foreign message as projections fold it.
fn foreign_of(bucket: BucketId, message: &ForeignMessage) -> citycode_projection::foreign::ForeignMessage {
    citycode_projection::foreign::ForeignMessage {
        bucket: bucket.bucket,
        digest: message.digest.0,
        declared: false,
    }
}

/// A commit as projections fold it; `events` are its own.
#[must_use]
pub fn projected<'a>(commit: &RecordedCommit, events: &'a [Event]) -> Commit<'a> {
    Commit {
        position: commit_position(commit.position),
        decided_at: Timestamp(commit.commit.decided_at),
        holder: holder_of(&commit.commit.stream),
        bucket: commit.bucket.bucket,
        tail: BucketTail {
            revision: commit.revision.to_raw(),
            hash: commit.hash.0,
        },
        message_id_prefix: message_prefix(&commit.commit.message_id),
        events,
    }
}

/// The domain's events of a commit.
///
/// # Errors
/// An event that this version does not know or cannot read: a writer that meets one stops.
pub fn events_of(commit: &RecordedCommit) -> Result<Vec<Event>, DecodeEventError> {
    commit
        .commit
        .facts()
        .iter()
        .map(|data| event::decode(&data.event_type, data.version, &data.payload))
        .collect()
}

/// As [`events_of`], with every sealed field left empty: no fold can unseal one, and a replay of a city's log would
/// copy hundreds of megabytes to throw them away.
///
/// # Errors
/// As [`events_of`].
pub fn folded_events(commit: &RecordedCommit) -> Result<Vec<Event>, DecodeEventError> {
    commit
        .commit
        .facts()
        .iter()
        .map(|data| event::decode_for_projection(&data.event_type, data.version, &data.payload))
        .collect()
}

pub(crate) fn commit_position(position: Position) -> CommitPosition {
    CommitPosition {
        partition: position.partition.0,
        sequence: position.sequence.0,
    }
}

/// The part of a message id that the register remembers; a match only means that the log is worth a look.
pub(crate) fn message_prefix(id: &citycode_event_store::MessageId) -> u32 {
    u32::from_le_bytes([id.0[0], id.0[1], id.0[2], id.0[3]])
}
