//! Copying a log from one engine into another: positions, hashes and meaning stay as they are.
//!
//! The target is a log of the same identity and layout that nobody else writes to, empty or the beginning of an
//! earlier copy: copying goes on where it ends, so a copy that was cut short is finished by doing it again. Every
//! commit is appended as any other is, and the place and hash that the target gives it must be the source's. What
//! was there before is compared by [`compare`], which reads both logs whole. A target that demands a lower reader
//! version than the source is raised first. A foreign message ([`crate::foreign`]) has a placeholder in the copy, whose
//! digest is compared instead of a hash.
//!
//! Partitions are copied beside each other, the commits of one in their order, one at a time: a position is given by
//! the order in which appends are taken.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::follow::{FollowError, chain_breaker, out_of_chain};
use crate::foreign;
use crate::{
    AppendError, AppendOutcome, BucketId, BucketTail, EventStore, ForeignMessage, Layout, LogId, LogPosition,
    Partition, Position, RaiseError, ReadError, ReaderVersion, RecordedCommit, Sequence, SubscriptionBatch,
    SubscriptionError,
};

/// Commits of a partition that were read and wait to be appended; a megabyte or so.
const READ_AHEAD: usize = 1_024;
/// The reader version that knows placeholders of foreign messages.
const KNOWS_PLACEHOLDERS: ReaderVersion = ReaderVersion(2);
/// Repeats of an append whose fate is unknown. Each waits as long as the engine does.
const MAX_REPEATS: usize = 20;

/// Why a log was not copied, or is no copy. What was copied before stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The target is of another identity.
    #[error("the target is log {target}, not {source_log}; make it with that identity")]
    OtherLog {
        /// The source's.
        source_log: LogId,
        /// The target's.
        target: LogId,
    },
    /// The target has other numbers of partitions or buckets.
    #[error("the target has another layout than the source")]
    OtherLayout {
        /// The source's.
        source_layout: Layout,
        /// The target's.
        target: Layout,
    },
    /// The target is no beginning of the source.
    #[error("the target holds something else at {0}")]
    Differs(Position),
    /// The target's partition has more commits than the source's.
    #[error("partition {0} of the target goes on where the source ends")]
    Ahead(Partition),
    /// The target's partition ends before what is to be compared.
    #[error("partition {0} of the target ends before what is to be compared")]
    Short(Partition),
    /// The target gave a commit another place: somebody else writes to it.
    #[error("the commit at {wanted} came to stand at {found}: somebody else writes to the target")]
    Misplaced {
        /// Where it stands in the source.
        wanted: Position,
        /// Where the target put it.
        found: Position,
    },
    /// The target took no decision about an append, however often it was repeated.
    #[error("the target does not say what became of the commit at {0}")]
    Unknown(Position),
    /// One of the logs cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The source cannot be followed.
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    /// The target does not demand the reader version that the source does.
    #[error("the target cannot be raised to the source's reader version")]
    Raise(#[from] RaiseError),
    /// The target takes no appends.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A foreign message stands in the source, and programs that know no placeholders may read the target.
    #[error(
        "a foreign message stands at {0}, and the log demands no reader that knows placeholders of such: raise its \
         minimum reader version first"
    )]
    NoPlaceholders(Position),
    /// A part of the copying ended early.
    #[error("the copying was stopped")]
    Stopped,
}

/// Copies all that `source` holds at this moment and `target` does not; gives where both stand then. `told` hears
/// each commit's position as it is copied, in order within a partition.
///
/// # Errors
/// [`CopyError`].
pub async fn copy<F>(
    source: &Arc<dyn EventStore>,
    target: &Arc<dyn EventStore>,
    told: F,
) -> Result<LogPosition, CopyError>
where
    F: Fn(Position) + Clone + Send + 'static,
{
    let (from, up_to) = beginning(&**source, &**target).await?;
    // Before the first commit: what the source demands, its events may need.
    if target.minimum_reader() < source.minimum_reader() {
        target.raise_minimum_reader(source.minimum_reader()).await?;
    }
    let mut partitions = JoinSet::new();
    let mut queues = Vec::new();
    for (partition, end) in up_to.iter() {
        let (queue, commits) = mpsc::channel(READ_AHEAD);
        queues.push(queue);
        let task = Appending {
            source: Arc::clone(source),
            target: Arc::clone(target),
            tails: HashMap::new(),
            end,
            at: from.sequence(partition),
        };
        partitions.spawn(task.run(commits, told.clone()));
    }
    let reading = hand_out(&**source, from, &up_to, queues);
    let appending = async {
        while let Some(ended) = partitions.join_next().await {
            ended.map_err(|_| CopyError::Stopped)??;
        }
        Ok(())
    };
    // A partition that fails drops its queue, by which the reading ends too; its own error is the one to tell.
    let (read, appended) = tokio::join!(reading, appending);
    appended.and(read)?;
    Ok(up_to)
}

/// Where the copy begins and where it ends, once the target is known to be a beginning of the source.
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
            let (there, here) = (source.read_at(position).await?, target.read_at(position).await?);
            let same = matches!((&there, &here), (Some(there), Some(here)) if there.hash == here.hash);
            if !same {
                return Err(CopyError::Differs(position));
            }
        }
    }
    Ok((from, up_to))
}

/// Reads the source and gives every commit to its partition's queue.
async fn hand_out(
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

/// One partition of the target.
struct Appending {
    source: Arc<dyn EventStore>,
    target: Arc<dyn EventStore>,
    tails: HashMap<BucketId, BucketTail>,
    at: Sequence,
    end: Sequence,
}

impl Appending {
    async fn run(
        mut self,
        mut commits: mpsc::Receiver<Arc<RecordedCommit>>,
        told: impl Fn(Position),
    ) -> Result<(), CopyError> {
        while self.at < self.end {
            let commit = commits.recv().await.ok_or(CopyError::Stopped)?;
            self.append(&commit).await?;
            self.at = commit.position.sequence;
            told(commit.position);
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
                return self.append_foreign(&out_of_chain(commit), expected).await;
            }
            let Some(copy) = chain_breaker(&*self.source, commit).await? else {
                return Err(CopyError::Differs(commit.position));
            };
            return self.append_foreign(&copy, expected).await;
        }
        for _ in 0..MAX_REPEATS {
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
                // The same bytes again: if they were taken, they are found to be a duplicate.
                AppendOutcome::Unknown => {}
            }
        }
        Err(CopyError::Unknown(commit.position))
    }
}

impl Appending {
    /// Keeps the place of a foreign message in the target.
    async fn append_foreign(&mut self, message: &RecordedCommit, expected: BucketTail) -> Result<(), CopyError> {
        let Some(foreign) = &message.foreign else {
            return Err(CopyError::Differs(message.position));
        };
        if self.target.minimum_reader() < KNOWS_PLACEHOLDERS {
            return Err(CopyError::NoPlaceholders(message.position));
        }
        for _ in 0..MAX_REPEATS {
            let (bucket, kept) = (message.bucket, ForeignMessage::clone(foreign));
            match self.target.append_foreign(bucket, kept, expected).await? {
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

/// Reads two logs up to `up_to` and compares the hash at every position, and with it every byte. A log that ends
/// before that is told at once: reading would wait for commits that may never come.
///
/// # Errors
/// [`CopyError::Ahead`] and [`CopyError::Short`] for a source and a target that end before; [`CopyError::Differs`] with
/// the partition's last position in question, or what a reading met.
pub async fn compare(source: &dyn EventStore, target: &dyn EventStore, up_to: &LogPosition) -> Result<(), CopyError> {
    let (stands, copied) = tokio::try_join!(source.heads(), target.heads())?;
    for (partition, sequence) in up_to.iter() {
        if stands.sequence(partition) < sequence {
            return Err(CopyError::Ahead(partition));
        }
        if copied.sequence(partition) < sequence {
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

/// Of each partition, a digest of the hashes of its commits in order.
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
