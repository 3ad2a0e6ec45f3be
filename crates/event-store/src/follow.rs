//! The follower: a loop that folds every commit of the log into a projection and publishes its progress.
//!
//! A writer waits on [`Progress`] until its own commit is folded before it answers, so that the next request sees the
//! change; health and freshness use the same progress. The loop ends only with an error that no retry resolves (a gap,
//! a log that was rolled back, a fold that refuses a commit), which every waiter then receives.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use crate::{
    BucketId, EventStore, ForeignMessage, LogPosition, Partition, Position, RecordedCommit, Revision, Sequence,
    SubscriptionBatch, SubscriptionError, codec, foreign, heartbeat,
};

/// Pause before the next attempt to read a bucket.
const READ_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How a commit relates to its bucket's chain, as far as the fold can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// It follows the bucket's last folded commit.
    Follows,
    /// The fold does not track the bucket's last commit.
    Unknown,
    /// The bucket's last folded commit has another hash.
    Breaks,
}

/// A projection that a follower folds commits into.
pub trait Fold: Send {
    /// Folds one commit or one foreign message. The follower calls this once for each, in order within each partition.
    /// Every message in the heartbeat bucket is passed as a commit without facts and outside of any chain.
    ///
    /// # Errors
    /// A sentence, if the commit cannot be folded (unknown event, broken order). The follower stops permanently.
    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String>;

    /// Receives each message as the log has it, before the follower classifies it ([`Fold::continuity`]) and passes the
    /// result to [`Fold::fold`]. A fold that commits to every byte of the log needs it: a copy of an earlier commit
    /// reaches [`Fold::fold`] only as a foreign message.
    ///
    /// # Errors
    /// A sentence, if the message cannot be used. The follower stops permanently.
    fn received(&mut self, _message: &RecordedCommit) -> Result<(), String> {
        Ok(())
    }

    /// Whether `commit` follows the last one of its bucket. If it breaks the chain, the follower reads the bucket, and
    /// passes the commit to [`Fold::fold`] marked as a foreign message if it is one.
    fn continuity(&self, _commit: &RecordedCommit) -> Continuity {
        Continuity::Unknown
    }

    /// The buckets that contain an undeclared foreign message, as of the last folded commit.
    fn confined(&self) -> Vec<BucketId> {
        Vec::new()
    }

    /// Receives all commits of a bucket that is confined, or that the next message will confine. The follower calls
    /// this at startup and before it folds the first foreign message of a bucket.
    ///
    /// # Errors
    /// A sentence, if they cannot be folded. The follower stops permanently.
    fn confine(&mut self, _bucket: BucketId, _commits: &[RecordedCommit]) -> Result<(), String> {
        Ok(())
    }

    /// Called after each folded batch and before [`Progress`] includes it; a fold with its own storage writes it here.
    ///
    /// # Errors
    /// A sentence, if the batch could not be written. The follower stops permanently; its progress excludes the batch.
    fn batch_ended(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Everything up to this position is folded, and it was the head a moment ago.
    fn caught_up(&mut self, _position: &LogPosition) {}
}

/// Why a follower stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The subscription ended.
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    /// The fold refused a commit.
    #[error("the commit at {position} cannot be folded: {reason}")]
    Fold {
        /// The position of the refused commit.
        position: Position,
        /// The reason; contains no personal data.
        reason: String,
    },
    /// The follower was dropped (shutdown).
    #[error("the follower was stopped")]
    Stopped,
}

/// Why it could not be established that everything in the log is folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatchUpError {
    /// The head of the log could not be read.
    #[error(transparent)]
    Read(#[from] crate::ReadError),
    /// The follower stopped first.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// The progress of a follower. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Progress {
    partitions: Arc<[watch::Sender<Sequence>]>,
    state: Arc<watch::Sender<FollowState>>,
}

/// Whether a follower is at the head of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowState {
    /// History is still being folded.
    CatchingUp,
    /// The head was reached; the following commits are live.
    Live,
    /// The follower stopped; its projection is no longer updated.
    Stopped(FollowError),
}

impl Progress {
    /// The progress of a follower that starts at `from`.
    #[must_use]
    pub fn new(from: &LogPosition) -> Self {
        let partitions = from.iter().map(|(_, sequence)| watch::Sender::new(sequence)).collect();
        Self {
            partitions,
            state: Arc::new(watch::Sender::new(FollowState::CatchingUp)),
        }
    }

    /// The position up to which everything is folded.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        LogPosition::from_sequences(self.partitions.iter().map(|partition| *partition.borrow()).collect())
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> FollowState {
        self.state.borrow().clone()
    }

    /// Waits until the commit at `position` is folded.
    ///
    /// # Errors
    /// The follower stopped first.
    pub async fn wait_for(&self, position: Position) -> Result<(), FollowError> {
        let Some(partition) = self.partitions.get(usize::from(position.partition.0)) else {
            return Err(FollowError::Stopped);
        };
        let mut folded = partition.subscribe();
        let mut state = self.state.subscribe();
        tokio::select! {
            biased;
            reached = folded.wait_for(|folded| *folded >= position.sequence) => {
                reached.map(drop).map_err(|_| FollowError::Stopped)
            }
            stopped = state.wait_for(|state| matches!(state, FollowState::Stopped(_))) => match stopped.as_deref() {
                Ok(FollowState::Stopped(error)) => Err(error.clone()),
                _ => Err(FollowError::Stopped),
            },
        }
    }

    /// Waits until everything up to `position` is folded.
    ///
    /// # Errors
    /// The follower stopped first.
    pub async fn wait_for_all(&self, position: &LogPosition) -> Result<(), FollowError> {
        for (partition, sequence) in position.iter() {
            self.wait_for(Position { partition, sequence }).await?;
        }
        Ok(())
    }

    /// Waits until every commit is folded that was acknowledged to any client before this call. Waits without limit.
    ///
    /// # Errors
    /// [`CatchUpError`].
    pub async fn catch_up(&self, store: &dyn EventStore) -> Result<(), CatchUpError> {
        let heads = store.proved_heads().await?;
        Ok(self.wait_for_all(&heads).await?)
    }

    /// As [`Progress::catch_up`], but calls `reached` for each partition as soon as that holds there, so that a
    /// partition whose head cannot be proved does not delay the others. Ends after the last partition; waits without
    /// limit.
    ///
    /// # Errors
    /// [`CatchUpError`]; earlier calls of `reached` remain valid.
    pub async fn catch_up_each(
        &self,
        store: &dyn EventStore,
        mut reached: impl FnMut(Partition),
    ) -> Result<(), CatchUpError> {
        let (proved, mut heads) = mpsc::unbounded_channel();
        let proving = async { store.prove_heads(proved).await.map_err(CatchUpError::from) };
        let folding = async {
            let (mut waiting, mut more_heads) = (FuturesUnordered::new(), true);
            loop {
                tokio::select! {
                    head = heads.recv(), if more_heads => match head {
                        Some(head) => waiting.push(async move { self.wait_for(head).await.map(|()| head.partition) }),
                        None => more_heads = false,
                    },
                    Some(folded) = waiting.next() => reached(folded?),
                    else => return Ok(()),
                }
            }
        };
        tokio::try_join!(proving, folding).map(drop)
    }

    /// As [`Progress::catch_up`], for one partition only.
    ///
    /// # Errors
    /// [`CatchUpError`].
    pub async fn catch_up_in(&self, store: &dyn EventStore, partition: Partition) -> Result<(), CatchUpError> {
        let (sender, mut reached) = mpsc::unbounded_channel();
        let catching_up = self.catch_up_each(store, |partition| {
            // The receiver lives in this function.
            let _ = sender.send(partition);
        });
        let waiting = async { while reached.recv().await.is_some_and(|reached| reached != partition) {} };
        tokio::select! {
            biased;
            () = waiting => Ok(()),
            ended = catching_up => ended,
        }
    }

    /// Waits until the head is reached for the first time.
    ///
    /// # Errors
    /// The follower stopped first.
    pub async fn wait_until_live(&self) -> Result<(), FollowError> {
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|state| *state != FollowState::CatchingUp).await;
        match reached.as_deref() {
            Ok(FollowState::Stopped(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(FollowError::Stopped),
        }
    }

    fn advance(&self, partition: Partition, sequence: Sequence) {
        if let Some(slot) = self.partitions.get(usize::from(partition.0)) {
            slot.send_replace(sequence);
        }
    }

    fn set_state(&self, state: FollowState) {
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }
}

/// Follows the log from the position of `progress` until an error stops it, which every waiter on `progress` receives
/// too. Dropping the future stops following, but does not wake the waiters unless every clone of `progress` is dropped
/// as well.
pub async fn follow(store: &dyn EventStore, fold: &mut dyn Fold, progress: &Progress) -> FollowError {
    let error = match run(store, fold, progress).await {
        Ok(never) => match never {},
        Err(error) => error,
    };
    progress.set_state(FollowState::Stopped(error.clone()));
    error
}

/// Folds one message. `confined` caches the buckets that were passed to [`Fold::confine`]: calling [`Fold::confined`]
/// for each message would make the cost of a flood of foreign messages quadratic.
async fn fold_one(
    store: &dyn EventStore,
    fold: &mut dyn Fold,
    confined: &mut HashSet<BucketId>,
    commit: &RecordedCommit,
) -> Result<(), FollowError> {
    let refused = |reason| FollowError::Fold {
        position: commit.position,
        reason,
    };
    fold.received(commit).map_err(refused)?;
    let replacement = reclassified(store, fold, commit).await?;
    let commit = replacement.as_ref().unwrap_or(commit);
    if commit.foreign.is_some() && confined.insert(commit.bucket) {
        let mut at = LogPosition::start(store.layout().partitions());
        at.set(commit.position.partition, commit.position.sequence);
        confine(store, fold, commit.bucket, at).await?;
    }
    fold.fold(commit).map_err(refused)?;
    let declares = || commit.foreign.is_none() && foreign::is_declarations(&commit.commit.stream);
    if confined.contains(&commit.bucket) && declares() && !fold.confined().contains(&commit.bucket) {
        confined.remove(&commit.bucket);
    }
    Ok(())
}

/// The message that the fold receives instead of `commit`, if any: a copy of an earlier commit is passed as a foreign
/// message, and a foreign message in the heartbeat bucket as a heartbeat.
async fn reclassified(
    store: &dyn EventStore,
    fold: &mut dyn Fold,
    commit: &RecordedCommit,
) -> Result<Option<RecordedCommit>, FollowError> {
    if store.layout().is_heartbeat_bucket(commit.bucket) {
        return Ok(commit.foreign.is_some().then(|| as_heartbeat(commit)));
    }
    match fold.continuity(commit) {
        Continuity::Breaks if commit.foreign.is_none() => resolve_chain_break(store, commit).await,
        _ => Ok(None),
    }
}

/// A foreign message in the heartbeat bucket as a heartbeat with the time 0.
fn as_heartbeat(message: &RecordedCommit) -> RecordedCommit {
    let mut heartbeat = message.clone();
    heartbeat.foreign = None;
    heartbeat.commit.stream = heartbeat::stream(message.bucket.partition);
    heartbeat
}

async fn confine(
    store: &dyn EventStore,
    fold: &mut dyn Fold,
    bucket: BucketId,
    position: LogPosition,
) -> Result<(), FollowError> {
    let commits = read_whole_bucket(store, bucket).await?;
    fold.confine(bucket, &commits).map_err(|reason| FollowError::Fold {
        position: Position {
            partition: bucket.partition,
            sequence: position.sequence(bucket.partition),
        },
        reason,
    })
}

/// Retries while the log is unavailable, as a subscription does.
async fn read_whole_bucket(store: &dyn EventStore, bucket: BucketId) -> Result<Vec<RecordedCommit>, FollowError> {
    loop {
        match store.read_bucket(bucket, Revision::EMPTY).await {
            Err(crate::ReadError::Unavailable(_)) => tokio::time::sleep(READ_RETRY_PAUSE).await,
            read => return Ok(read.map_err(SubscriptionError::from)?),
        }
    }
}

/// Reads the whole bucket of a commit that seems to break its chain, and returns the commit as a foreign message if it
/// is a copy, or `None` if it belongs to the chain. A heartbeat follows whatever message precedes it and never breaks a
/// chain.
///
/// # Errors
/// [`FollowError`]: the log is damaged (no earlier commit has the previous hash of a commit), or it cannot be read.
pub async fn resolve_chain_break(
    store: &dyn EventStore,
    commit: &RecordedCommit,
) -> Result<Option<RecordedCommit>, FollowError> {
    if store.layout().is_heartbeat_bucket(commit.bucket) {
        return Ok(None);
    }
    let commits = read_whole_bucket(store, commit.bucket).await?;
    let is_in_chain = commits.iter().any(|known| known.position == commit.position);
    Ok((!is_in_chain).then(|| as_foreign(commit)))
}

/// A commit that does not follow its bucket's last one, as a foreign message.
pub(crate) fn as_foreign(commit: &RecordedCommit) -> RecordedCommit {
    let length = codec::encode(&commit.commit, &commit.previous_hash).map_or(0, |(bytes, _)| bytes.len() as u64);
    let message = ForeignMessage {
        digest: commit.hash,
        length,
        reason: "it does not follow its bucket's last commit".into(),
    };
    RecordedCommit::of_foreign(commit.position, commit.bucket, message)
}

async fn run(
    store: &dyn EventStore,
    fold: &mut dyn Fold,
    progress: &Progress,
) -> Result<std::convert::Infallible, FollowError> {
    let mut confined = HashSet::new();
    for bucket in fold.confined() {
        confine(store, fold, bucket, progress.position()).await?;
        confined.insert(bucket);
    }
    let mut subscription = store.subscribe_to_all(progress.position()).await?;
    loop {
        match subscription.next_batch().await? {
            SubscriptionBatch::Commits(commits) => {
                let mut reached: Vec<Position> = Vec::new();
                for commit in &commits {
                    fold_one(store, fold, &mut confined, commit).await?;
                    let position = commit.position;
                    match reached.iter_mut().find(|seen| seen.partition == position.partition) {
                        Some(seen) => seen.sequence = position.sequence,
                        None => reached.push(position),
                    }
                }
                if let Some(last) = commits.last() {
                    fold.batch_ended().map_err(|reason| FollowError::Fold {
                        position: last.position,
                        reason,
                    })?;
                }
                // Waiters wake once for each partition of a batch, not once for each commit.
                for position in reached {
                    progress.advance(position.partition, position.sequence);
                }
            }
            SubscriptionBatch::CaughtUp(position) => {
                fold.caught_up(&position);
                progress.set_state(FollowState::Live);
            }
            SubscriptionBatch::FellBehind(_) => progress.set_state(FollowState::CatchingUp),
        }
    }
}
