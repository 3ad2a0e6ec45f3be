//! Following the log: one loop that folds every commit into a projection and says how far it has come.
//!
//! A writer waits on [`Progress`] for its own commit to be folded before it answers, so that the next request
//! sees it; health and freshness read the same numbers. The loop ends only by an error that no retry heals (a
//! gap, a log that went back, a fold that refuses), and then every waiter is told.

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

/// Before a bucket is read again that could not be read.
const READ_AGAIN: Duration = Duration::from_millis(250);

/// What a fold knows of the place of a commit in its bucket's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// It follows the last commit that was folded there.
    Follows,
    /// The fold does not know the bucket's last commit.
    Unknown,
    /// The last commit that was folded there has another hash.
    Breaks,
}

/// What folds commits.
pub trait Fold: Send {
    /// Folds one commit, or one foreign message; called in order within each partition, once for each. In the bucket of
    /// heartbeats every message comes as a commit without facts, whatever it is, in no chain.
    ///
    /// # Errors
    /// A sentence, where the commit cannot be folded (unknown event, broken order). The follower stops for good.
    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String>;

    /// Whether `commit` follows the last one of its bucket. What breaks the chain is looked up in the log, and comes to
    /// [`Fold::fold`] marked as a foreign message if it is one.
    fn continuity(&self, _commit: &RecordedCommit) -> Continuity {
        Continuity::Unknown
    }

    /// The buckets in which a foreign message stands that no declaration names, as far as was folded.
    fn confined(&self) -> Vec<BucketId> {
        Vec::new()
    }

    /// A bucket that is confined, or will be by the very next message, and all its commits: called before following
    /// begins, and before a foreign message is folded.
    ///
    /// # Errors
    /// A sentence, where they cannot be folded. The follower stops for good.
    fn confine(&mut self, _bucket: BucketId, _commits: &[RecordedCommit]) -> Result<(), String> {
        Ok(())
    }

    /// The commits at hand have been folded; a fold that writes somewhere may do so now. Nobody is told of them before.
    ///
    /// # Errors
    /// A sentence, where they could not be written. The follower stops for good, at the end of the batch before.
    fn batch_ended(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Everything up to here has been folded, and it was the head a moment ago.
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
        /// Which commit.
        position: Position,
        /// Why; nothing personal.
        reason: String,
    },
    /// Nobody follows any more (shutdown).
    #[error("the follower was stopped")]
    Stopped,
}

/// Why it is not known that everything in the log is folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatchUpError {
    /// The log does not say where it ends.
    #[error(transparent)]
    Read(#[from] crate::ReadError),
    /// The follower stopped before.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// How far a follower has come. Cheap to clone.
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
    /// The head was reached; what comes is live.
    Live,
    /// It stopped, and what it has folded only gets older.
    Stopped(FollowError),
}

impl Progress {
    /// Nothing folded beyond `from`.
    #[must_use]
    pub fn new(from: &LogPosition) -> Self {
        let partitions = from.iter().map(|(_, sequence)| watch::Sender::new(sequence)).collect();
        Self {
            partitions,
            state: Arc::new(watch::Sender::new(FollowState::CatchingUp)),
        }
    }

    /// Everything up to here is folded.
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
    /// The follower stopped before.
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

    /// Waits until everything before `point` is folded.
    ///
    /// # Errors
    /// The follower stopped before.
    pub async fn wait_for_all(&self, point: &LogPosition) -> Result<(), FollowError> {
        for (partition, sequence) in point.iter() {
            self.wait_for(Position { partition, sequence }).await?;
        }
        Ok(())
    }

    /// Waits until everything is folded that was acknowledged to anybody before this is asked. Sets no limit in time.
    ///
    /// # Errors
    /// [`CatchUpError`].
    pub async fn catch_up(&self, store: &dyn EventStore) -> Result<(), CatchUpError> {
        let heads = store.proved_heads().await?;
        Ok(self.wait_for_all(&heads).await?)
    }

    /// Tells of each partition, as soon as everything is folded there that was acknowledged to anybody before this was
    /// asked: a partition of which that cannot be known holds up no other. Ends after the last, and sets no limit in
    /// time.
    ///
    /// # Errors
    /// [`CatchUpError`]; what was told before stands.
    pub async fn catch_up_each(
        &self,
        store: &dyn EventStore,
        mut reached: impl FnMut(Partition),
    ) -> Result<(), CatchUpError> {
        let (proved, mut heads) = mpsc::unbounded_channel();
        let asking = async { store.prove_heads(proved).await.map_err(CatchUpError::from) };
        let folding = async {
            let (mut waiting, mut asked) = (FuturesUnordered::new(), true);
            loop {
                tokio::select! {
                    head = heads.recv(), if asked => match head {
                        Some(head) => waiting.push(async move { self.wait_for(head).await.map(|()| head.partition) }),
                        None => asked = false,
                    },
                    Some(folded) = waiting.next() => reached(folded?),
                    else => return Ok(()),
                }
            }
        };
        tokio::try_join!(asking, folding).map(drop)
    }

    /// As [`Progress::catch_up`], of one partition alone.
    ///
    /// # Errors
    /// [`CatchUpError`].
    pub async fn catch_up_in(&self, store: &dyn EventStore, partition: Partition) -> Result<(), CatchUpError> {
        let (told, mut reached) = mpsc::unbounded_channel();
        let catching_up = self.catch_up_each(store, |partition| {
            // It is this function that listens.
            let _ = told.send(partition);
        });
        let waiting = async { while reached.recv().await.is_some_and(|reached| reached != partition) {} };
        tokio::select! {
            biased;
            () = waiting => Ok(()),
            ended = catching_up => ended,
        }
    }

    /// Waits until the head was reached for the first time.
    ///
    /// # Errors
    /// The follower stopped before.
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

/// Follows the log from where `progress` stands, for ever. Ends with the error that stopped it, which every
/// waiter on `progress` then gets too. Dropping the future stops following; say so with [`Progress`] dropped.
pub async fn follow(store: &dyn EventStore, fold: &mut dyn Fold, progress: &Progress) -> FollowError {
    let error = match run(store, fold, progress).await {
        Ok(never) => match never {},
        Err(error) => error,
    };
    progress.set_state(FollowState::Stopped(error.clone()));
    error
}

/// Folds what stands at a position. `confined` are the buckets that the fold was told of: asking it each time would make
/// a flood of foreign messages cost the square of their number.
async fn fold_one(
    store: &dyn EventStore,
    fold: &mut dyn Fold,
    confined: &mut HashSet<BucketId>,
    commit: &RecordedCommit,
) -> Result<(), FollowError> {
    let instead = judged(store, fold, commit).await?;
    let commit = instead.as_ref().unwrap_or(commit);
    if commit.foreign.is_some() && confined.insert(commit.bucket) {
        let mut at = LogPosition::start(store.layout().partitions());
        at.set(commit.position.partition, commit.position.sequence);
        confine(store, fold, commit.bucket, at).await?;
    }
    fold.fold(commit).map_err(|reason| FollowError::Fold {
        position: commit.position,
        reason,
    })?;
    let declares = || commit.foreign.is_none() && foreign::is_declarations(&commit.commit.stream);
    if confined.contains(&commit.bucket) && declares() && !fold.confined().contains(&commit.bucket) {
        confined.remove(&commit.bucket);
    }
    Ok(())
}

/// What folds get instead of what stands at a position, if anything: a copy of an earlier commit as the foreign message
/// that it is, and what is no heartbeat among the heartbeats as one. Those mean nothing, so nothing there can be foreign to
/// anybody.
async fn judged(
    store: &dyn EventStore,
    fold: &mut dyn Fold,
    commit: &RecordedCommit,
) -> Result<Option<RecordedCommit>, FollowError> {
    if store.layout().is_heartbeat_bucket(commit.bucket) {
        return Ok(commit.foreign.is_some().then(|| passed_over(commit)));
    }
    match fold.continuity(commit) {
        Continuity::Breaks if commit.foreign.is_none() => chain_breaker(store, commit).await,
        _ => Ok(None),
    }
}

/// A message among the heartbeats that is none, as one that says nothing of the time.
fn passed_over(message: &RecordedCommit) -> RecordedCommit {
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
    let commits = read_whole(store, bucket).await?;
    fold.confine(bucket, &commits).map_err(|reason| FollowError::Fold {
        position: Position {
            partition: bucket.partition,
            sequence: position.sequence(bucket.partition),
        },
        reason,
    })
}

/// Waits for a log that cannot be read now, as a subscription does.
async fn read_whole(store: &dyn EventStore, bucket: BucketId) -> Result<Vec<RecordedCommit>, FollowError> {
    loop {
        match store.read_bucket(bucket, Revision::EMPTY).await {
            Err(crate::ReadError::Unavailable(_)) => tokio::time::sleep(READ_AGAIN).await,
            read => return Ok(read.map_err(SubscriptionError::from)?),
        }
    }
}

/// What breaks its bucket's chain as the fold has it, judged by the whole bucket: the foreign message that it is, if it is
/// one. A commit that names a hash which none before it has means that one before it was changed: that stops. Heartbeats
/// go on after whatever stands there, so none of them breaks anything.
///
/// # Errors
/// [`FollowError`]: the log is damaged, or cannot be read.
pub async fn chain_breaker(
    store: &dyn EventStore,
    commit: &RecordedCommit,
) -> Result<Option<RecordedCommit>, FollowError> {
    if store.layout().is_heartbeat_bucket(commit.bucket) {
        return Ok(None);
    }
    let commits = read_whole(store, commit.bucket).await?;
    let is_in_chain = commits.iter().any(|known| known.position == commit.position);
    Ok((!is_in_chain).then(|| out_of_chain(commit)))
}

/// The foreign message that a commit is which does not follow the last one of its bucket.
pub(crate) fn out_of_chain(commit: &RecordedCommit) -> RecordedCommit {
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
                    let place = commit.position;
                    match reached.iter_mut().find(|seen| seen.partition == place.partition) {
                        Some(seen) => seen.sequence = place.sequence,
                        None => reached.push(place),
                    }
                }
                if let Some(last) = commits.last() {
                    fold.batch_ended().map_err(|reason| FollowError::Fold {
                        position: last.position,
                        reason,
                    })?;
                }
                // Waiters are woken once for each partition of a batch, not once for each commit.
                for place in reached {
                    progress.advance(place.partition, place.sequence);
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
