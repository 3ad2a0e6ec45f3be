//! The log as of the last acknowledged batch, which all readers see.

use std::sync::Arc;

use citycode_event_store::{
    BucketId, BucketTail, CommitHash, Layout, LogPosition, Partition, Position, ReadError, RecordedCommit, Revision,
    Sequence,
};
use redb::{ReadOnlyTable, ReadableDatabase as _};

use crate::rows::{self, COMMITS, CommitRow};

/// Its table keeps a read transaction open, so that redb reuses none of its pages.
pub(crate) struct Snapshot {
    commits: ReadOnlyTable<u64, &'static [u8]>,
    pub(crate) heads: LogPosition,
    layout: Layout,
}

impl Snapshot {
    pub(crate) fn take(database: &redb::Database, heads: LogPosition, layout: Layout) -> Result<Self, redb::Error> {
        let commits = database.begin_read()?.open_table(COMMITS)?;
        Ok(Self { commits, heads, layout })
    }

    /// Reads the heads from the commits table.
    pub(crate) fn find_heads(&mut self) -> Result<(), redb::Error> {
        for partition in self.layout.all_partitions() {
            let last = Position {
                partition,
                sequence: Sequence(rows::MAX_SEQUENCE),
            };
            let first = Position {
                partition,
                sequence: Sequence(1),
            };
            let head = self
                .commits
                .range(rows::key(first)..=rows::key(last))?
                .next_back()
                .transpose()?;
            if let Some((key, _)) = head {
                self.heads.set(partition, rows::position_of(key.value()).sequence);
            }
        }
        Ok(())
    }

    fn row(&self, position: Position) -> Result<CommitRow, ReadError> {
        let row = self.commits.get(rows::key(position)).map_err(unreadable)?;
        let row = row.ok_or_else(|| rows::damaged(position, "the commit is missing"))?;
        rows::read_commit_row(row.value(), position, &self.layout)
    }

    pub(crate) fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError> {
        if position.partition.0 >= self.layout.partitions() {
            return Err(ReadError::NotInLayout);
        }
        if position.sequence == Sequence::START || !self.heads.includes(position) {
            return Ok(None);
        }
        self.row(position).map(|row| Some(row.recorded))
    }

    /// Reads from `tail` backwards to `after` and checks the chain.
    pub(crate) fn read_bucket(
        &self,
        bucket: BucketId,
        tail: Revision,
        after: Revision,
    ) -> Result<Vec<RecordedCommit>, ReadError> {
        let mut commits: Vec<RecordedCommit> = Vec::new();
        let mut revision = tail.to_raw();
        while revision > after.to_raw() {
            let position = Position {
                partition: bucket.partition,
                sequence: Sequence(revision),
            };
            let CommitRow {
                previous_revision,
                recorded,
            } = self.row(position)?;
            if recorded.bucket != bucket || previous_revision >= revision {
                return Err(rows::damaged(
                    position,
                    "it is in another bucket than the commit that refers to it",
                ));
            }
            revision = previous_revision;
            if recorded.foreign.is_some() {
                continue;
            }
            let follows = |later: &RecordedCommit| later.previous_hash == recorded.hash;
            // A heartbeat may follow a placeholder.
            if !self.layout.is_heartbeat_bucket(bucket) && !commits.last().is_none_or(follows) {
                return Err(rows::damaged(
                    position,
                    "its hash is not the next commit's previous hash",
                ));
            }
            commits.push(recorded);
        }
        commits.reverse();
        Ok(commits)
    }

    /// The tail of a bucket whose last revision is `revision`.
    pub(crate) fn tail_at(&self, bucket: BucketId, revision: Revision) -> Result<BucketTail, ReadError> {
        if revision == Revision::EMPTY {
            return Ok(BucketTail::EMPTY);
        }
        let mut at = revision.to_raw();
        while at > 0 {
            let position = Position {
                partition: bucket.partition,
                sequence: Sequence(at),
            };
            let row = self.row(position)?;
            if row.recorded.foreign.is_none() || self.layout.is_heartbeat_bucket(bucket) {
                let hash = row.recorded.hash;
                return Ok(BucketTail { revision, hash });
            }
            if row.previous_revision >= at {
                return Err(rows::damaged(position, "its previous revision is not earlier"));
            }
            at = row.previous_revision;
        }
        let hash = CommitHash::NONE;
        Ok(BucketTail { revision, hash })
    }

    pub(crate) fn read_range(
        &self,
        partition: Partition,
        after: Sequence,
        up_to: Sequence,
    ) -> Result<Vec<Arc<RecordedCommit>>, ReadError> {
        let first = Position {
            partition,
            sequence: after.next(),
        };
        let last = Position {
            partition,
            sequence: up_to.min(self.heads.sequence(partition)),
        };
        if first.sequence > last.sequence {
            return Ok(Vec::new());
        }
        let rows = self
            .commits
            .range(rows::key(first)..=rows::key(last))
            .map_err(unreadable)?;
        rows.map(|row| {
            let (key, value) = row.map_err(unreadable)?;
            let position = rows::position_of(key.value());
            rows::read_commit_row(value.value(), position, &self.layout).map(|row| Arc::new(row.recorded))
        })
        .collect()
    }
}

fn unreadable(error: redb::StorageError) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
