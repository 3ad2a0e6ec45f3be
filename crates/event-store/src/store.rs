//! The contract of an event store.

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    BucketId, BucketTail, CommitHash, CommitInvalid, ForeignMessage, Layout, LayoutInvalid, LogId, LogPosition,
    NewCommit, Partition, Position, RaiseError, ReaderVersion, RecordedCommit, Revision, Sequence, StreamName,
    Subscription, SubscriptionError,
};

/// Attempts of [`EventStore::append_to_stream`] with an expectation other than `StreamRevision`; each lost race costs
/// one.
const MAX_RESOLVE_ATTEMPTS: usize = 64;

/// What an append expects of its stream or bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// No expectation. For tests and small logs: a decision that depends on no state.
    Any,
    /// The stream has no commit yet. Reads the bucket; for tests and small logs.
    NoStream,
    /// The stream has a commit. Reads the bucket; for tests and small logs.
    StreamExists,
    /// The bucket has exactly this tail: the expectation that writers normally use.
    StreamRevision(BucketTail),
}

/// The outcome of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The commit is in the log, durable as the engine is configured.
    Appended {
        /// Its position.
        position: Position,
        /// The bucket's revision with this commit as its last.
        revision: Revision,
        /// The hash of the commit; together with `revision` the bucket's new tail.
        hash: CommitHash,
        /// The commit was in the log before: the answer is that of the first append, and nothing was written.
        duplicate: bool,
    },
    /// The bucket's tail is not the expected one; nothing was written.
    WrongExpectedVersion {
        /// The bucket's current revision. It equals the expected revision if only the hash differs: then the writer
        /// folded another log, and it must stop.
        current: Revision,
    },
    /// The commit may or may not be in the log, or may still reach it. The caller repeats the append with the same
    /// bytes. It may report "not done" only once the bucket's tail has passed the expectation without this commit.
    Unknown,
}

/// Why an append was not attempted or has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The message id is in the log with another request digest.
    #[error("the message id was used for another request, at {position}")]
    IdempotencyKeyReused {
        /// The position of the commit with that message id.
        position: Position,
    },
    /// The commit exceeds a limit.
    #[error(transparent)]
    Invalid(#[from] CommitInvalid),
    /// The stream's name is invalid in this log's layout.
    #[error(transparent)]
    StreamInvalid(#[from] LayoutInvalid),
    /// The engine takes no appends (disk full, failed sync, poisoned, no connection). This append was not written.
    #[error("the event store takes no appends: {0}")]
    Unavailable(String),
    /// The store was closed. This append was not written.
    #[error("the event store is closed")]
    Closed,
    /// Data that the append must read first could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// `Any`, `NoStream` or `StreamExists` lost every race for its bucket; nothing was written.
    #[error("the append lost {MAX_RESOLVE_ATTEMPTS} races for its bucket to other appends")]
    Contended,
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The engine cannot read now; a later attempt may succeed.
    #[error("the event store cannot be read: {0}")]
    Unavailable(String),
    /// The log's content is not what was written. No retry repairs this.
    #[error("the log is damaged at {position}: {reason}")]
    Damaged {
        /// The position of the damage.
        position: Position,
        /// What is wrong; contains none of the content.
        reason: String,
    },
    /// The log has no such partition or bucket.
    #[error("the log has no such partition or bucket")]
    NotInLayout,
    /// The store was closed.
    #[error("the event store is closed")]
    Closed,
}

/// An append-only log of commits. All engines pass [`crate::conformance`].
///
/// - **Atomic**: a commit is in the log with all its events or not at all.
/// - **Durable**: `Appended` is answered only when the commit survives every failure that the engine promises to
///   survive.
/// - **Order**: sequences start at 1 and have no gaps within a partition. There is no order between partitions.
/// - **Consistency**: an append succeeds only if its bucket had no commit after the expected tail. Of any number of
///   appends that expect the same tail, at most one succeeds.
/// - **Chain**: a commit carries the hash of its bucket's previous commit.
/// - **Foreign messages** ([`crate::foreign`]) keep their positions: subscriptions and `read_at` return them, marked,
///   in order. An engine refuses appends to their bucket that do not expect them.
/// - **Idempotence**: the engine remembers the message ids of at least the last two minutes (in one process: of the
///   last million commits). A remembered id with the same request digest is answered with `duplicate: true` and the
///   first position, whatever the expectation; with another digest it is an error. For older ids the writer's own
///   projection decides.
/// - **Blocking**: no method blocks its thread; appends wait for durability, and for a place in a bounded queue.
///   Dropping the future of an append does not undo it: treat the outcome as [`AppendOutcome::Unknown`].
/// - **Time**: the engine compares no times; the writer sets `decided_at`.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// The identity of the log.
    fn log_id(&self) -> LogId;

    /// The identity of the log by which vault, scan records and other parts beside it name the log to which they belong:
    /// its own, or that of the lost log in whose place this log was created.
    fn parts_log_id(&self) -> LogId {
        self.log_id()
    }

    /// The layout of the log.
    fn layout(&self) -> Layout;

    /// The log's minimum reader version as last seen by this store. Writers use the features of a version only if the
    /// minimum is at least that version. It never decreases. If another process raises it, this store notices within
    /// seconds.
    fn minimum_reader(&self) -> ReaderVersion;

    /// Raises the log's minimum reader version durably and returns the resulting minimum. The current version or a
    /// lower one changes nothing. Older programs refuse the log from then on, so every program that uses it must
    /// support that version.
    async fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError>;

    /// Appends `commit` if the tail of its bucket is exactly `expected`, revision and hash. This is the engine's
    /// primitive.
    async fn append_at(&self, commit: NewCommit, expected: BucketTail) -> Result<AppendOutcome, AppendError>;

    /// Makes many appends in one call and answers each in order: not a transaction, but cheaper than separate calls,
    /// for imports. The appends are processed in order, so an append may expect the tail that an earlier one produces
    /// if the caller computes that tail. Engines that can do so make a group durable together.
    async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Result<AppendOutcome, AppendError>> {
        let mut answers = Vec::with_capacity(appends.len());
        for (commit, expected) in appends {
            answers.push(self.append_at(commit, expected).await);
        }
        answers
    }

    /// Appends the placeholder of a foreign message (see [`crate::foreign`]) to a copy of the log that contains the
    /// message. The bucket's revision advances, its hash does not, and the answer contains the hash of `expected`. Only
    /// [`crate::copy`] may call this.
    async fn append_foreign(
        &self,
        _bucket: BucketId,
        _message: ForeignMessage,
        _expected: BucketTail,
    ) -> Result<AppendOutcome, AppendError> {
        Err(AppendError::Unavailable(
            "this engine cannot store placeholders of foreign messages".into(),
        ))
    }

    /// The commit or foreign message at `position`, or `None` past the head.
    async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError>;

    /// All commits of a bucket with a revision above `after`, in order, without foreign messages. When the bucket is
    /// read from [`Revision::EMPTY`], a commit whose previous hash belongs to no earlier commit is
    /// [`ReadError::Damaged`].
    async fn read_bucket(&self, bucket: BucketId, after: Revision) -> Result<Vec<RecordedCommit>, ReadError>;

    /// The tail of a bucket: the revision of its last message, even a foreign one, and the hash of its last commit.
    async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError>;

    /// The last sequence of every partition that a read started now can see.
    async fn heads(&self) -> Result<LogPosition, ReadError>;

    /// A position that is proved to include every commit that was acknowledged to any client before this call, whereas
    /// [`EventStore::heads`] returns the engine's unproved view. Within one process both are the same. Over a network
    /// the proof requires a writer that answers probes and a running subscription of this store; the call waits without
    /// limit until both exist. Drop the future to cancel.
    async fn proved_heads(&self) -> Result<LogPosition, ReadError> {
        self.heads().await
    }

    /// As [`EventStore::proved_heads`], but sends each partition's head to `proved` as soon as it is proved, so that a
    /// partition without a leader or without a writer that answers does not delay the others. Returns once every
    /// partition is proved; waits without limit.
    async fn prove_heads(&self, proved: UnboundedSender<Position>) -> Result<(), ReadError> {
        for (partition, sequence) in self.proved_heads().await?.iter() {
            // The receiver may be dropped.
            let _ = proved.send(Position { partition, sequence });
        }
        Ok(())
    }

    /// Delivers every partition in order, at least once, from an exclusive position, and reports when it has caught up.
    /// A position past a head is refused: the log was rolled back, or it is another log.
    async fn subscribe_to_all(&self, from: LogPosition) -> Result<Subscription, SubscriptionError>;

    /// The last sequence of one partition.
    async fn head(&self, partition: Partition) -> Result<Sequence, ReadError> {
        if partition.0 >= self.layout().partitions() {
            return Err(ReadError::NotInLayout);
        }
        Ok(self.heads().await?.sequence(partition))
    }

    /// All commits of a stream with a revision above `after`, in order. Reads and filters the whole bucket: for tests,
    /// small logs and repair.
    async fn read_stream(&self, stream: &StreamName, after: Revision) -> Result<Vec<RecordedCommit>, ReadError> {
        let mut commits = self.read_bucket(self.layout().bucket_of(stream), after).await?;
        commits.retain(|recorded| recorded.commit.stream == *stream);
        Ok(commits)
    }

    /// Appends `commit` if its stream is in the expected state.
    ///
    /// `StreamRevision` is [`EventStore::append_at`]. The other variants read the bucket first and append at the tail
    /// that they read; if they lose a race they repeat this, a bounded number of times. If the stream is not in the
    /// expected state, the answer is `WrongExpectedVersion`, except that a known message id is still answered as a
    /// duplicate.
    async fn append_to_stream(&self, commit: NewCommit, expected: StreamState) -> Result<AppendOutcome, AppendError> {
        if let StreamState::StreamRevision(tail) = expected {
            return self.append_at(commit, tail).await;
        }
        let bucket = self.layout().bucket_of(&commit.stream);
        for _ in 0..MAX_RESOLVE_ATTEMPTS {
            let (tail, holds) = resolve(self, &commit.stream, bucket, expected).await?;
            // Even if the expectation does not hold, the append is sent, with an impossible revision: the engine then
            // answers with the current revision, or with the duplicate if the command is a repeated one.
            let sent = if holds {
                tail
            } else {
                BucketTail {
                    revision: Revision::from_raw(u64::MAX),
                    ..tail
                }
            };
            match self.append_at(commit.clone(), sent).await? {
                AppendOutcome::WrongExpectedVersion { .. } if holds => {}
                answer => return Ok(answer),
            }
        }
        Err(AppendError::Contended)
    }
}

/// The bucket's tail, and whether the stream is in the expected state.
async fn resolve<S: EventStore + ?Sized>(
    store: &S,
    stream: &StreamName,
    bucket: BucketId,
    expected: StreamState,
) -> Result<(BucketTail, bool), ReadError> {
    if expected == StreamState::Any {
        return Ok((store.bucket_tail(bucket).await?, true));
    }
    // The tail is read first: the commits are then at least as new, so the append never expects a tail whose commits
    // this function has not seen.
    let tail = store.bucket_tail(bucket).await?;
    let commits = store.read_bucket(bucket, Revision::EMPTY).await?;
    let exists = commits.iter().any(|recorded| recorded.commit.stream == *stream);
    Ok((tail, exists == (expected == StreamState::StreamExists)))
}
