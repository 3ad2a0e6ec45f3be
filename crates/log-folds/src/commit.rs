//! A recorded commit, decoded for projections.

use citycode_domain::event::Event;
use citycode_domain::time::Timestamp;
use citycode_event_store::{BucketId, ForeignMessage, MessageId, RecordedCommit};
use citycode_projection::Commit;
use citycode_wire::event::{self, DecodeEventError};

use crate::streams::holder_of;

/// Converts a foreign message for projections.
pub(crate) fn foreign_message(
    bucket: BucketId,
    message: &ForeignMessage,
) -> citycode_projection::foreign::ForeignMessage {
    citycode_projection::foreign::ForeignMessage {
        bucket: bucket.bucket,
        digest: message.digest.0,
        declared: false,
    }
}

/// Converts a commit for projections; `events` are its events.
#[must_use]
pub fn projected<'a>(commit: &RecordedCommit, events: &'a [Event]) -> Commit<'a> {
    Commit {
        position: commit.position,
        decided_at: Timestamp(commit.commit.decided_at),
        holder: holder_of(&commit.commit.stream),
        bucket: commit.bucket.bucket,
        tail: commit.tail(),
        message_id_prefix: message_prefix(&commit.commit.message_id),
        events,
    }
}

/// Decodes the events of a commit.
///
/// # Errors
/// The event type or version is unknown, or the event cannot be decoded; a writer must then stop.
pub fn events_of(commit: &RecordedCommit) -> Result<Vec<Event>, DecodeEventError> {
    commit
        .commit
        .facts()
        .iter()
        .map(|data| event::decode(&data.event_type, data.version, &data.payload))
        .collect()
}

/// Like [`events_of`], but with every sealed field left empty: no fold can unseal them, and a replay of a city's
/// log would copy hundreds of megabytes for nothing.
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

/// The part of a message id that the register stores; a match only means that the log must be searched.
#[must_use]
pub fn message_prefix(id: &MessageId) -> u32 {
    u32::from_le_bytes([id.0[0], id.0[1], id.0[2], id.0[3]])
}
