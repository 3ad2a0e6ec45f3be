//! The tables of `log.redb`. All integers are big-endian except redb's own keys.
//!
//! ```text
//! commits  key = partition << 48 | sequence          value = previous_revision u64 ‖ commit bytes
//! recent   key = number of the batch                 value = entry*
//!          entry = message_id (first 16 bytes) ‖ partition u16 ‖ bucket u16 ‖ sequence u64
//! tails    key = partition                           value = commits in the log u64 ‖ revision u64 of every bucket
//! identity key = 0                                   value = log_id 16
//! ```
//! In a copy of a log from NATS servers the commit bytes may be a placeholder of a foreign message
//! (`citycode_event_store::foreign`). This engine has no other writers, so any other invalid commit means damage.
//! `previous_revision` is the revision of the same bucket's previous message: a bucket is read backwards from its tail.

use bytes::Bytes;
use citycode_event_store::{
    BucketId, Layout, MessageId, Partition, Position, ReadError, RecordedCommit, Sequence, codec,
};
use redb::TableDefinition;

pub(crate) const COMMITS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("commits");
pub(crate) const RECENT: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("recent");
pub(crate) const TAILS: TableDefinition<'static, u16, &'static [u8]> = TableDefinition::new("tails");
pub(crate) const IDENTITY: TableDefinition<'static, u8, &'static [u8]> = TableDefinition::new("identity");

/// Sequences have 48 bits in a key: 35,000 years at 256 commits a millisecond.
pub(crate) const SEQUENCE_BITS: u32 = 48;
pub(crate) const MAX_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;

pub(crate) fn key(position: Position) -> u64 {
    u64::from(position.partition.0) << SEQUENCE_BITS | position.sequence.0.min(MAX_SEQUENCE)
}

pub(crate) fn position_of(key: u64) -> Position {
    let partition = Partition(u16::try_from(key >> SEQUENCE_BITS).expect("16 bits are left"));
    Position {
        partition,
        sequence: Sequence(key & MAX_SEQUENCE),
    }
}

/// Length of the previous revision that precedes a commit's bytes.
pub(crate) const PREVIOUS_BYTES: usize = 8;

/// A decoded row of `commits`.
pub(crate) struct CommitRow {
    pub(crate) previous_revision: u64,
    pub(crate) recorded: RecordedCommit,
}

pub(crate) fn damaged(position: Position, reason: impl ToString) -> ReadError {
    ReadError::Damaged {
        position,
        reason: reason.to_string(),
    }
}

pub(crate) fn read_commit_row(row: &[u8], position: Position, layout: &Layout) -> Result<CommitRow, ReadError> {
    let truncated = || damaged(position, "the row is truncated");
    let (head, commit) = row.split_first_chunk::<PREVIOUS_BYTES>().ok_or_else(truncated)?;
    let bytes = Bytes::copy_from_slice(commit);
    let recorded = codec::decode_stored(bytes, position, layout).map_err(|error| damaged(position, error))?;
    Ok(CommitRow {
        previous_revision: u64::from_be_bytes(*head),
        recorded,
    })
}

pub(crate) type ShortId = [u8; 16];

/// The first half of a message id. Among four billion commits two share it with a probability of about 2^-64, and then
/// the whole id, read from the commit, still distinguishes them.
pub(crate) fn short_id(id: &MessageId) -> ShortId {
    *id.0.first_chunk().expect("32 bytes")
}

pub(crate) const ENTRY_BYTES: usize = 28;

/// One entry of a row of `recent`.
#[derive(Clone, Copy)]
pub(crate) struct RecentEntry {
    pub(crate) id: ShortId,
    pub(crate) bucket: BucketId,
    pub(crate) sequence: Sequence,
}

impl RecentEntry {
    pub(crate) fn position(&self) -> Position {
        Position {
            partition: self.bucket.partition,
            sequence: self.sequence,
        }
    }

    pub(crate) fn write(&self, row: &mut Vec<u8>) {
        row.extend_from_slice(&self.id);
        row.extend_from_slice(&self.bucket.partition.0.to_be_bytes());
        row.extend_from_slice(&self.bucket.bucket.to_be_bytes());
        row.extend_from_slice(&self.sequence.0.to_be_bytes());
    }

    pub(crate) fn read_row(row: &[u8]) -> impl Iterator<Item = Self> + '_ {
        row.as_chunks::<ENTRY_BYTES>().0.iter().map(|entry| {
            let (id, rest) = entry.split_first_chunk::<16>().expect("28 bytes");
            let (partition, rest) = rest.split_first_chunk::<2>().expect("12 bytes");
            let (bucket, sequence) = rest.split_first_chunk::<2>().expect("10 bytes");
            let partition = Partition(u16::from_be_bytes(*partition));
            let bucket = BucketId {
                partition,
                bucket: u16::from_be_bytes(*bucket),
            };
            let sequence = Sequence(u64::from_be_bytes(*sequence.first_chunk().expect("8 bytes")));
            Self {
                id: *id,
                bucket,
                sequence,
            }
        })
    }
}
