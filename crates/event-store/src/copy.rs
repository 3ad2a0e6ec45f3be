//! Copies a log from one engine to another, with the same positions and hashes.
//!
//! The target is a log with the same identity and layout and without another writer. It is empty or an earlier,
//! incomplete copy: copying continues at its end, so an interrupted copy is completed by running it again. Every commit
//! is appended normally, and the target must assign it the source's position and hash. [`compare`] verifies the earlier
//! part by reading both logs entirely. A target with a lower minimum reader version than the source is raised first.
//! The copy contains a placeholder for each foreign message ([`crate::foreign`]), whose digest is compared instead of a
//! hash.
//!
//! Partitions are copied concurrently, but the commits of one partition in order and one at a time, because the order
//! of appends determines their positions.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::follow::{FollowError, as_foreign, resolve_chain_break};
use crate::foreign;
use crate::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, ForeignMessage, Layout, LogId, LogPosition,
    Partition, Position, RaiseError, ReadError, ReaderVersion, RecordedCommit, Sequence, SubscriptionBatch,
    SubscriptionError,
};

/// Commits of a partition that were read ahead of the appends, about a megabyte.
const READ_AHEAD: usize = 1_024;
/// The first reader version that supports placeholders of foreign messages.
const PLACEHOLDER_VERSION: ReaderVersion = ReaderVersion(2);
/// Attempts of an append whose outcome is unknown. Each waits as long as the engine does.
const MAX_ATTEMPTS: usize = 20;

/// Why a log was not copied, or is not a copy. Commits that were copied before the error remain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The target has another identity.
    #[error("the target is log {target}, not {source_log}; create the target with the source's identity")]
    OtherLog {
        /// The source's identity.
        source_log: LogId,
        /// The target's identity.
        target: LogId,
    },
    /// The target has another layout.
    #[error("the target and the source have different layouts")]
    OtherLayout {
        /// The source's layout.
        source_layout: Layout,
        /// The target's layout.
        target: Layout,
    },
    /// The target is not a prefix of the source.
    #[error("the target and the source differ at {0}")]
    Differs(Position),
    /// A partition of the target has more commits than the source's.
    #[error("partition {0} of the target extends past the end of the source")]
    Ahead(Partition),
    /// A partition of the target ends before the position up to which the logs are compared.
    #[error("partition {0} of the target ends before the position up to which the logs are compared")]
    Short(Partition),
    /// The target assigned a commit another position: it has another writer.
    #[error("the target assigned the commit at {wanted} the position {found}: the target has another writer")]
    Misplaced {
        /// The commit's position in the source.
        wanted: Position,
        /// Its position in the target.
        found: Position,
    },
    /// The outcome of an append to the target stayed unknown after all attempts.
    #[error("the outcome of appending the commit at {0} to the target is unknown")]
    Unknown(Position),
    /// One of the logs cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The source's subscription failed.
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    /// The target's minimum reader version cannot be raised to the source's.
    #[error("the target's minimum reader version cannot be raised to the source's")]
    Raise(#[from] RaiseError),
    /// The target refused an append.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The source contains a foreign message, and readers without support for placeholders may read the target.
    #[error(
        "the log contains a foreign message at {0}, and its minimum reader version does not support placeholders of \
         foreign messages: raise its minimum reader version first"
    )]
    NoPlaceholders(Position),
    /// A task of the copy ended early.
    #[error("the copy was stopped")]
    Stopped,
}

/// Copies everything that `source` contains at this moment and `target` does not; returns the position that both then
/// reach. Calls `on_copied` with the position of each copied commit, in order within a partition.
///
/// # Errors
/// [`CopyError`].
pub async fn copy<F>(
    source: &Arc<dyn EventStore>,
    target: &Arc<dyn EventStore>,
    on_copied: F,
) -> Result<LogPosition, CopyError>
where
    F: Fn(Position) + Clone + Send + 'static,
{
    let (from, up_to) = beginning(&**source, &**target).await?;
    // Before the first commit, because the source's events may require that version.
    if target.minimum_reader() < source.minimum_reader() {
        target.raise_minimum_reader(source.minimum_reader()).await?;
    }
    let mut partitions = JoinSet::new();
    let mut queues = Vec::new();
    for (partition, end) in up_to.iter() {
        let (queue, commits) = mpsc::channel(READ_AHEAD);
        queues.push(queue);
        let task = PartitionCopy {
            source: Arc::clone(source),
            target: Arc::clone(target),
            tails: HashMap::new(),
            end,
            at: from.sequence(partition),
        };
        partitions.spawn(task.run(commits, on_copied.clone()));
    }
    let reading = distribute(&**source, from, &up_to, queues);
    let appending = async {
        while let Some(ended) = partitions.join_next().await {
            ended.map_err(|_| CopyError::Stopped)??;
        }
        Ok(())
    };
    // A partition that fails drops its queue, which also ends reading; the partition's error is the cause.
    let (read, appended) = tokio::join!(reading, appending);
    appended.and(read)?;
    Ok(up_to)
}

/// The start and the end of the copy, after checking that the target is a prefix of the source.
async fn beginning(source: &dyn EventStore, target: &dyn EventStore) -> Result<(LogPosition, LogPosition), CopyError> {
    if source.log_id() != target.log_id() {
        return Err(CopyError::OtherLog {
            source_log: source.log_id(),
            target: target.log_id(),
        });
    }
    if source.layout() != target.layout() {
        return Err(CopyError::OtherLayout {
            source_layout: source.layout(),
            target: target.layout(),
        });
    }
    let (up_to, from) = (source.heads().await?, target.heads().await?);
    for (partition, sequence) in from.iter() {
        if sequence > up_to.sequence(partition) {
            return Err(CopyError::Ahead(partition));
        }
        if sequence > Sequence::START {
            let position = Position { partition, sequence };
            let (original, copied) = (source.read_at(position).await?, target.read_at(position).await?);
            let same = matches!((&original, &copied), (Some(original), Some(copied)) if original.hash == copied.hash);
            if !same {
                return Err(CopyError::Differs(position));
            }
        }
    }
    Ok((from, up_to))
}

/// Reads the source and sends every commit to its partition's queue.
async fn distribute(
    source: &dyn EventStore,
    from: LogPosition,
    up_to: &LogPosition,
    mut queues: Vec<mpsc::Sender<Arc<RecordedCommit>>>,
) -> Result<(), CopyError> {
    let mut position = from.clone();
    let mut subscription = source.subscribe_to_all(from).await?;
    while !position.reaches(up_to) {
        let SubscriptionBatch::Commits(commits) = subscription.next_batch().await? else {
            continue;
        };
        for commit in commits {
            let Position { partition, sequence } = commit.position;
            position.set(partition, sequence);
            if sequence <= up_to.sequence(partition) {
                let queue = &mut queues[usize::from(partition.0)];
                queue.send(commit).await.map_err(|_| CopyError::Stopped)?;
            }
        }
    }
    Ok(())
}

/// The task that appends one partition's commits to the target.
struct PartitionCopy {
    source: Arc<dyn EventStore>,
    target: Arc<dyn EventStore>,
    tails: HashMap<BucketId, BucketTail>,
    at: Sequence,
    end: Sequence,
}

impl PartitionCopy {
    async fn run(
        mut self,
        mut commits: mpsc::Receiver<Arc<RecordedCommit>>,
        on_copied: impl Fn(Position),
    ) -> Result<(), CopyError> {
        while self.at < self.end {
            let commit = commits.recv().await.ok_or(CopyError::Stopped)?;
            self.append(&commit).await?;
            self.at = commit.position.sequence;
            on_copied(commit.position);
        }
        Ok(())
    }

    async fn append(&mut self, commit: &RecordedCommit) -> Result<(), CopyError> {
        let expected = match self.tails.get(&commit.bucket) {
            Some(tail) => *tail,
            None => self.target.bucket_tail(commit.bucket).await?,
        };
        if commit.foreign.is_some() {
            return self.append_foreign(commit, expected).await;
        }
        if expected.hash != commit.previous_hash {
            if self.source.layout().is_heartbeat_bucket(commit.bucket) {
                return self.append_foreign(&as_foreign(commit), expected).await;
            }
            let Some(foreign) = resolve_chain_break(&*self.source, commit).await? else {
                return Err(CopyError::Differs(commit.position));
            };
            return self.append_foreign(&foreign, expected).await;
        }
        for _ in 0..MAX_ATTEMPTS {
            match self.target.append_at(commit.commit.clone(), expected).await? {
                AppendOutcome::Appended {
                    position,
                    revision,
                    hash,
                    ..
                } if position == commit.position && hash == commit.hash => {
                    self.tails.insert(commit.bucket, BucketTail { revision, hash });
                    return Ok(());
                }
                AppendOutcome::Appended { position: found, .. } => {
                    return Err(CopyError::Misplaced {
                        wanted: commit.position,
                        found,
                    });
                }
                AppendOutcome::WrongExpectedVersion { .. } => return Err(CopyError::Differs(commit.position)),
                // The next attempt sends the same bytes; if these were written, the answer is a duplicate.
                AppendOutcome::Unknown => {}
            }
        }
        Err(CopyError::Unknown(commit.position))
    }

    /// Appends the placeholder of a foreign message to the target.
    async fn append_foreign(&mut self, message: &RecordedCommit, expected: BucketTail) -> Result<(), CopyError> {
        let Some(foreign) = &message.foreign else {
            return Err(CopyError::Differs(message.position));
        };
        if self.target.minimum_reader() < PLACEHOLDER_VERSION {
            return Err(CopyError::NoPlaceholders(message.position));
        }
        for _ in 0..MAX_ATTEMPTS {
            let (bucket, foreign) = (message.bucket, ForeignMessage::clone(foreign));
            match self.target.append_foreign(bucket, foreign, expected).await? {
                AppendOutcome::Appended { position, revision, .. } if position == message.position => {
                    let hash = foreign::tail_after(&self.source.layout(), message, expected.hash);
                    self.tails.insert(bucket, BucketTail { revision, hash });
                    return Ok(());
                }
                AppendOutcome::Appended { position: found, .. } => {
                    return Err(CopyError::Misplaced {
                        wanted: message.position,
                        found,
                    });
                }
                AppendOutcome::WrongExpectedVersion { .. } => return Err(CopyError::Differs(message.position)),
                AppendOutcome::Unknown => {}
            }
        }
        Err(CopyError::Unknown(message.position))
    }
}

impl From<FollowError> for CopyError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Subscription(error) => error.into(),
            FollowError::Fold { .. } | FollowError::Stopped => Self::Stopped,
        }
    }
}

/// Reads two logs up to `up_to` and compares the hash, and thereby every byte, at every position. A log that ends
/// before `up_to` is an immediate error, because reading would wait for commits that may never be appended.
///
/// # Errors
/// [`CopyError::Ahead`] if the source ends before `up_to`, [`CopyError::Short`] if the target does;
/// [`CopyError::Differs`] with the partition's sequence in `up_to`; or the error of a read.
pub async fn compare(source: &dyn EventStore, target: &dyn EventStore, up_to: &LogPosition) -> Result<(), CopyError> {
    let (source_heads, target_heads) = tokio::try_join!(source.heads(), target.heads())?;
    for (partition, sequence) in up_to.iter() {
        if source_heads.sequence(partition) < sequence {
            return Err(CopyError::Ahead(partition));
        }
        if target_heads.sequence(partition) < sequence {
            return Err(CopyError::Short(partition));
        }
    }
    let (ours, theirs) = tokio::try_join!(digests(source, up_to), digests(target, up_to))?;
    for ((partition, sequence), (ours, theirs)) in up_to.iter().zip(ours.iter().zip(&theirs)) {
        if ours != theirs {
            return Err(CopyError::Differs(Position { partition, sequence }));
        }
    }
    Ok(())
}

/// For each partition, a digest of the hashes of its commits in order.
async fn digests(store: &dyn EventStore, up_to: &LogPosition) -> Result<Vec<blake3::Hash>, CopyError> {
    let mut hashers: Vec<_> = up_to.iter().map(|_| blake3::Hasher::new()).collect();
    let mut position = LogPosition::start(store.layout().partitions());
    let mut subscription = store.subscribe_to_all(position.clone()).await?;
    while !position.reaches(up_to) {
        let SubscriptionBatch::Commits(commits) = subscription.next_batch().await? else {
            continue;
        };
        for commit in commits {
            let Position { partition, sequence } = commit.position;
            if sequence <= up_to.sequence(partition) {
                hashers[usize::from(partition.0)].update(&commit.hash.0);
            }
            position.set(partition, sequence);
        }
    }
    Ok(hashers.iter().map(blake3::Hasher::finalize).collect())
}
