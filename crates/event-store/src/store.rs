//! The contract of an event store.

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    BucketId, BucketTail, CommitHash, CommitInvalid, ForeignMessage, Layout, LayoutInvalid, LogId, LogPosition,
    NewCommit, Partition, Position, RaiseError, ReaderVersion, RecordedCommit, Revision, Sequence, StreamName,
    Subscription, SubscriptionError,
};

/// How often [`EventStore::append_to_stream`] looks again when a word other than `StreamRevision` lost a race.
const MAX_RESOLVE_ATTEMPTS: usize = 64;

/// What an append expects of its stream or bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// Nothing. For tests and small logs: a decision that rests on no state.
    Any,
    /// The stream has no commit yet. Reads the bucket; for tests and small logs.
    NoStream,
    /// The stream has a commit. Reads the bucket; for tests and small logs.
    StreamExists,
    /// The bucket stands exactly here: the writer's normal way.
    StreamRevision(BucketTail),
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The commit is in the log, durable as the engine is configured.
    Appended {
        /// Where it stands.
        position: Position,
        /// The bucket's revision with this commit as its last.
        revision: Revision,
        /// The hash of the commit: with `revision` the bucket's next tail.
        hash: CommitHash,
        /// Whether it stood there already: the answer is that of the first time, and nothing was written.
        duplicate: bool,
    },
    /// The bucket does not stand where the append expected it; nothing was written.
    WrongExpectedVersion {
        /// Where the bucket stands. Equal to the expected revision if only the hash differed: then the writer's
        /// fold is not of this log, and it must stop.
        current: Revision,
    },
    /// It may be in the log or not, now or a little later. The caller repeats the same bytes; it may say "not done"
    /// only once the bucket's tail has passed the expectation without this commit.
    Unknown,
}

/// Why an append was not tried or cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The message id is in the log with another request digest.
    #[error("the message id was used for another request, at {position}")]
    IdempotencyKeyReused {
        /// Where the other one stands.
        position: Position,
    },
    /// The commit breaks a limit.
    #[error(transparent)]
    Invalid(#[from] CommitInvalid),
    /// The stream has no place in this log's layout.
    #[error(transparent)]
    StreamInvalid(#[from] LayoutInvalid),
    /// The engine takes no appends (disk full, failed sync, poisoned, no connection). This append was not written.
    #[error("the event store takes no appends: {0}")]
    Unavailable(String),
    /// The store was closed. This append was not written.
    #[error("the event store is closed")]
    Closed,
    /// What an append has to read first could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// `Any`, `NoStream` or `StreamExists` lost every race for its bucket; nothing was written.
    #[error("the bucket moved {MAX_RESOLVE_ATTEMPTS} times while the append looked at it")]
    Contended,
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The engine cannot read now; trying later may help.
    #[error("the event store cannot be read: {0}")]
    Unavailable(String),
    /// What stands in the log is not what was written. Never goes away by itself.
    #[error("the log is damaged at {position}: {reason}")]
    Damaged {
        /// Where.
        position: Position,
        /// What is wrong with it; no content.
        reason: String,
    },
    /// The log has no such partition or bucket.
    #[error("the log has no such place")]
    NoSuchPlace,
    /// The store was closed.
    #[error("the event store is closed")]
    Closed,
}

/// An append-only log of commits. All engines pass [`crate::conformance`].
///
/// - **Atomic**: a commit is in the log with all its events or not at all.
/// - **Durable**: `Appended` is answered only when the commit outlives what the engine promises to outlive.
/// - **Order**: sequences are 1-based and gap-free within a partition. Between partitions there is no order.
/// - **Consistency**: an append succeeds only if its bucket had no commit after the tail that it expected. Of any
///   number of appends that expect one tail, at most one succeeds.
/// - **Chain**: a commit carries the hash of its bucket's previous one.
/// - **Foreign messages** ([`crate::foreign`]) keep their positions: subscriptions and `read_at` give them, marked, in
///   their order. An engine refuses appends to their bucket that do not expect them.
/// - **Idempotence**: the engine knows the message ids of at least the last two minutes (on one process: of the last
///   million commits). A known id with the same request digest answers `duplicate: true` with the first position,
///   whatever the expectation; with another digest it is an error. Beyond the window the writer's own fold decides.
/// - **Blocking**: no method blocks its thread; appends wait for durability, and for room in a bounded queue.
///   Dropping the future of an append does not undo it: treat it as [`AppendOutcome::Unknown`].
/// - **Time**: the engine compares no times; `decided_at` is the writer's.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// The identity of the log.
    fn log_id(&self) -> LogId;

    /// The numbers of the log.
    fn layout(&self) -> Layout;

    /// The reader version that the log demands, as far as this store knows: what is new in a version is written only
    /// where this is at least that version. It never goes down. Where others may raise it, this store knows of it
    /// within some seconds.
    fn minimum_reader(&self) -> ReaderVersion;

    /// Raises the reader version that the log demands, durably, and gives the version that it demands then. A version
    /// that the log demands already changes nothing; a lower one neither. Programs that are too old refuse the log
    /// from then on, so all that use it must read that version.
    async fn raise_minimum_reader(&self, to: ReaderVersion) -> Result<ReaderVersion, RaiseError>;

    /// Appends `commit` if its bucket stands exactly at `expected`, revision and hash; the engine's own primitive.
    async fn append_at(&self, commit: NewCommit, expected: BucketTail) -> Result<AppendOutcome, AppendError>;

    /// Many appends in one call, answered one by one in their order: no transaction, but cheaper than a call each,
    /// for imports. They are judged in order, so the tail that one leaves may be the next one's expectation only if
    /// the caller computed it itself. Engines that can, make a group durable together.
    async fn append_many(&self, appends: Vec<(NewCommit, BucketTail)>) -> Vec<Result<AppendOutcome, AppendError>> {
        let mut answers = Vec::with_capacity(appends.len());
        for (commit, expected) in appends {
            answers.push(self.append_at(commit, expected).await);
        }
        answers
    }

    /// Keeps a place for a foreign message (see [`crate::foreign`]): for a copy of a log that has one there. The bucket's
    /// revision moves, its hash does not, and the answer names the hash of `expected`. Only a copy may call it.
    async fn append_foreign(
        &self,
        _bucket: BucketId,
        _message: ForeignMessage,
        _expected: BucketTail,
    ) -> Result<AppendOutcome, AppendError> {
        Err(AppendError::Unavailable(
            "it keeps no place for a foreign message".into(),
        ))
    }

    /// What stands at `position`, a foreign message too, or `None` past the head.
    async fn read_at(&self, position: Position) -> Result<Option<RecordedCommit>, ReadError>;

    /// All commits of a bucket with a revision above `after`, in order; no foreign messages. From
    /// [`Revision::EMPTY`] on, a commit that names a hash which no commit before it has is [`ReadError::Damaged`].
    async fn read_bucket(&self, bucket: BucketId, after: Revision) -> Result<Vec<RecordedCommit>, ReadError>;

    /// Where a bucket ends: the revision of its last message, a foreign one too, and the hash of its last commit.
    async fn bucket_tail(&self, bucket: BucketId) -> Result<BucketTail, ReadError>;

    /// The last sequence of every partition that a read started now can see.
    async fn heads(&self) -> Result<LogPosition, ReadError>;

    /// A point that includes everything that was acknowledged to anybody before this was asked: proved, where
    /// [`EventStore::heads`] is what the engine believes. In one process both are the same. Over a network it takes
    /// writers that answer and a subscription of this store that is read, waits for as long as there is none, and
    /// is cancelled by being dropped.
    async fn proved_heads(&self) -> Result<LogPosition, ReadError> {
        self.heads().await
    }

    /// As [`EventStore::proved_heads`], for each partition as soon as it is proved: a partition without a leader, or
    /// without a writer that answers, holds up no other. Returns once every partition was told to `proved`, and waits
    /// for as long as that takes.
    async fn prove_heads(&self, proved: UnboundedSender<Position>) -> Result<(), ReadError> {
        for (partition, sequence) in self.proved_heads().await?.iter() {
            // Who asked may have gone meanwhile.
            let _ = proved.send(Position { partition, sequence });
        }
        Ok(())
    }

    /// Delivers every partition in order, at least once, from an exclusive position, and says when it has caught up.
    /// A position past a head is refused: the log went back, or is another one.
    async fn subscribe_to_all(&self, from: LogPosition) -> Result<Subscription, SubscriptionError>;

    /// The last sequence of one partition.
    async fn head(&self, partition: Partition) -> Result<Sequence, ReadError> {
        if partition.0 >= self.layout().partitions() {
            return Err(ReadError::NoSuchPlace);
        }
        Ok(self.heads().await?.sequence(partition))
    }

    /// All commits of a stream with a revision above `after`, in order. Reads the whole bucket and filters: for
    /// tests, small logs and repair.
    async fn read_stream(&self, stream: &StreamName, after: Revision) -> Result<Vec<RecordedCommit>, ReadError> {
        let mut commits = self.read_bucket(self.layout().bucket_of(stream), after).await?;
        commits.retain(|recorded| recorded.commit.stream == *stream);
        Ok(commits)
    }

    /// Appends `commit` if its stream is in the expected state.
    ///
    /// `StreamRevision` is [`EventStore::append_at`]. The other words look at the bucket first and guard what they
    /// saw by its revision; when they lose a race they look again, a bounded number of times. `NoStream` and
    /// `StreamExists` on a stream in the other state answer `WrongExpectedVersion`, except that a known message id
    /// is still answered as a duplicate.
    async fn append_to_stream(&self, commit: NewCommit, expected: StreamState) -> Result<AppendOutcome, AppendError> {
        if let StreamState::StreamRevision(tail) = expected {
            return self.append_at(commit, tail).await;
        }
        let bucket = self.layout().bucket_of(&commit.stream);
        for _ in 0..MAX_RESOLVE_ATTEMPTS {
            let (tail, holds) = resolve(self, &commit.stream, bucket, expected).await?;
            // An expectation that cannot hold is sent all the same: the engine then answers with the current
            // revision, or with the duplicate that a repeated command is owed.
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

/// Where the bucket stands, and whether the stream is in the expected state there.
async fn resolve<S: EventStore + ?Sized>(
    store: &S,
    stream: &StreamName,
    bucket: BucketId,
    expected: StreamState,
) -> Result<(BucketTail, bool), ReadError> {
    if expected == StreamState::Any {
        return Ok((store.bucket_tail(bucket).await?, true));
    }
    // The tail first: what is read is at least as new, so what the append is bound to is never newer than what was seen.
    let tail = store.bucket_tail(bucket).await?;
    let commits = store.read_bucket(bucket, Revision::EMPTY).await?;
    let exists = commits.iter().any(|recorded| recorded.commit.stream == *stream);
    Ok((tail, exists == (expected == StreamState::StreamExists)))
}
