//! The bytes of a segment.
//!
//! ```text
//! segment = 4,096 × entry         in the order of their sequences; the first is number × 4,096 + 1
//! entry   = length u32 (big-endian) ‖ message
//! message = the canonical bytes of a commit, or the placeholder of a foreign message (`citycode_event_store::foreign`)
//! ```

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use citycode_event_store::{CommitInvalid, Layout, Partition, Position, RecordedCommit, codec, foreign};

/// Messages of a segment.
pub const SEGMENT_COMMITS: u64 = 4_096;
/// Longest segment in bytes. An ordinary one has about two million; a longer range is read from the log.
pub const MAX_SEGMENT_BYTES: usize = 64 * 1024 * 1024;

/// A segment that is being filled.
#[derive(Debug, Default)]
pub struct SegmentBuilder {
    bytes: BytesMut,
    commits: u64,
}

impl SegmentBuilder {
    /// Adds the next message; returns whether the segment is complete.
    ///
    /// # Errors
    /// [`CommitInvalid`]: the message cannot be encoded, so no engine can have returned it.
    pub fn push(&mut self, message: &RecordedCommit) -> Result<bool, CommitInvalid> {
        let bytes = match &message.foreign {
            Some(foreign) => foreign::encode_placeholder(message.bucket.bucket, foreign),
            None => codec::encode(&message.commit, &message.previous_hash)?.0,
        };
        let length = u32::try_from(bytes.len()).map_err(|_| CommitInvalid::TooLarge(bytes.len()))?;
        self.bytes.put_u32(length);
        self.bytes.put_slice(&bytes);
        self.commits += 1;
        Ok(self.commits == SEGMENT_COMMITS)
    }

    /// The bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no message yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commits == 0
    }

    /// Drops the bytes so far, but not their count of messages.
    pub fn discard(&mut self) {
        self.bytes = BytesMut::new();
    }

    /// The bytes of the segment.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// Why bytes are not a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentUnreadable {
    /// The bytes end too early.
    #[error("the segment is truncated")]
    Truncated,
    /// Bytes follow the last entry.
    #[error("the segment has {0} trailing bytes")]
    Trailing(usize),
    /// An entry is no message of this log.
    #[error("the entry at sequence {sequence} is unreadable: {reason}")]
    Entry {
        /// Its sequence.
        sequence: u64,
        /// The reason.
        reason: codec::CommitUnreadable,
    },
}

/// The messages of segment `number` of a partition; payloads share `bytes`.
///
/// # Errors
/// [`SegmentUnreadable`].
pub fn decode(
    mut bytes: Bytes,
    partition: Partition,
    number: u64,
    layout: &Layout,
) -> Result<Vec<Arc<RecordedCommit>>, SegmentUnreadable> {
    let mut messages = Vec::with_capacity(usize::try_from(SEGMENT_COMMITS).expect("4,096"));
    let first = number.saturating_mul(SEGMENT_COMMITS).saturating_add(1);
    for sequence in first..first.saturating_add(SEGMENT_COMMITS) {
        let length = bytes.try_get_u32().map_err(|_| SegmentUnreadable::Truncated)?;
        let length = usize::try_from(length).map_err(|_| SegmentUnreadable::Truncated)?;
        if length > bytes.len() {
            return Err(SegmentUnreadable::Truncated);
        }
        let message = bytes.split_to(length);
        let position = Position::new(partition.0, sequence);
        let decoded = codec::decode_stored(message, position, layout);
        let decoded = decoded.map_err(|reason| SegmentUnreadable::Entry { sequence, reason })?;
        messages.push(Arc::new(decoded));
    }
    if bytes.is_empty() {
        Ok(messages)
    } else {
        Err(SegmentUnreadable::Trailing(bytes.len()))
    }
}

#[cfg(test)]
mod tests;
