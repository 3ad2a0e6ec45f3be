//! One append: repeats after an unknown outcome, waiting for the fold, and the result for the caller.

use citycode_event_store::follow::FollowError;
use citycode_event_store::{
    AppendError, AppendOutcome, BucketId, BucketTail, MessageId, NewCommit, Partition, Position, ReadError,
    RecordedCommit, Revision,
};

use crate::execute::{CommandContext, Decided, ExecuteError, Executed, HolderLog, not_done};
use citycode_log_folds::events_of;

/// How often the same bytes are sent again after an unknown outcome before the caller is told that it is
/// unknown.
const MAX_REPEATS: usize = 8;

/// The result of an append.
pub(crate) enum Appended {
    /// This attempt appended the commit.
    ByThisAttempt(Position),
    /// An earlier attempt of the same command appended it.
    ByEarlierAttempt(Box<RecordedCommit>),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CatchUpError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Follow(#[from] FollowError),
}

impl HolderLog {
    /// Appends and waits for the fold: the register contains the commit when this returns. `None` if another
    /// commit was appended first; the register then contains that one.
    pub(crate) async fn append_folded<R>(
        &self,
        commit: NewCommit,
        expected: BucketTail,
        bucket: BucketId,
    ) -> Result<Option<Appended>, ExecuteError<R>> {
        let appended = self.append(commit, expected, bucket).await?;
        match &appended {
            Some(Appended::ByThisAttempt(position)) => {
                self.progress
                    .wait_for(*position)
                    .await
                    .map_err(|_| ExecuteError::Unknown)?;
            }
            Some(Appended::ByEarlierAttempt(_)) => {}
            None => {
                metrics::counter!("citycode_log_conflicts_total").increment(1);
                self.catch_up(bucket).await.map_err(not_done)?;
            }
        }
        Ok(appended)
    }

    /// Builds the result for the caller, after every follower in `acknowledged_by` has applied the commit.
    pub(crate) async fn answer<R, T>(
        &self,
        appended: Appended,
        decided: Decided<T>,
        context: &CommandContext,
    ) -> Result<Executed<T>, ExecuteError<R>> {
        match appended {
            Appended::ByThisAttempt(position) => {
                self.acknowledge(position).await.map_err(|_| ExecuteError::Unknown)?;
                Ok(Executed {
                    events: decided.events,
                    position: Some(position),
                    duplicate: false,
                    output: Some(decided.output),
                })
            }
            Appended::ByEarlierAttempt(stored) => self.answer_stored(&stored, context).await,
        }
    }

    /// One append with its repeats; `None` if the bucket's tail had changed. A crash right after the engine
    /// made it durable leaves a commit whose result was never returned: the caller's repeat finds it by its
    /// message id.
    async fn append<R>(
        &self,
        commit: NewCommit,
        expected: BucketTail,
        bucket: BucketId,
    ) -> Result<Option<Appended>, ExecuteError<R>> {
        let mut unknown_before = false;
        for _ in 0..=MAX_REPEATS {
            match self.store.append_at(commit.clone(), expected).await {
                Ok(AppendOutcome::Appended {
                    position,
                    duplicate: false,
                    ..
                }) => return Ok(Some(Appended::ByThisAttempt(position))),
                Ok(AppendOutcome::Appended { position, .. }) => {
                    // The commit exists; only reading it may fail.
                    let stored = self.store.read_at(position).await.map_err(|_| ExecuteError::Unknown)?;
                    let stored = stored.ok_or(ExecuteError::Unknown)?;
                    return Ok(Some(Appended::ByEarlierAttempt(Box::new(stored))));
                }
                Ok(AppendOutcome::WrongExpectedVersion { current }) if current == expected.revision => {
                    return Err(ExecuteError::NotDone(
                        "the register was folded from another log: restart".into(),
                    ));
                }
                Ok(AppendOutcome::WrongExpectedVersion { .. }) => {
                    // After an unknown outcome, the commit that changed the tail may be this one.
                    let stored = if unknown_before {
                        let found = self.find_commit(bucket, &commit.message_id).await;
                        found.map_err(|_| ExecuteError::Unknown)?
                    } else {
                        None
                    };
                    return Ok(stored.map(|stored| Appended::ByEarlierAttempt(Box::new(stored))));
                }
                Ok(AppendOutcome::Unknown) => {
                    metrics::counter!("citycode_log_unknown_outcomes_total").increment(1);
                    unknown_before = true;
                }
                Err(AppendError::IdempotencyKeyReused { .. }) => {
                    return Err(ExecuteError::IdempotencyKeyReused);
                }
                Err(error) if unknown_before => {
                    tracing::error!(%error, "repeating an append with an unknown outcome failed");
                    return Err(ExecuteError::Unknown);
                }
                Err(error) => return Err(not_done(error)),
            }
        }
        Err(ExecuteError::Unknown)
    }

    pub(crate) async fn find_commit(
        &self,
        bucket: BucketId,
        id: &MessageId,
    ) -> Result<Option<RecordedCommit>, ReadError> {
        let commits = self.store.read_bucket(bucket, Revision::EMPTY).await?;
        Ok(commits.into_iter().find(|stored| stored.commit.message_id == *id))
    }

    pub(crate) async fn answer_stored<R, T>(
        &self,
        stored: &RecordedCommit,
        context: &CommandContext,
    ) -> Result<Executed<T>, ExecuteError<R>> {
        if stored.commit.request_digest.0 != context.request_digest {
            return Err(ExecuteError::IdempotencyKeyReused);
        }
        // The commit is in the log: whatever fails from here on, the change was made.
        context.begun.set(true);
        self.progress
            .wait_for(stored.position)
            .await
            .map_err(|_| ExecuteError::Unknown)?;
        self.acknowledge(stored.position)
            .await
            .map_err(|_| ExecuteError::Unknown)?;
        // The stored commit was done, whether or not it can be decoded.
        let events = events_of(stored).map_err(|_| ExecuteError::Unknown)?;
        Ok(Executed {
            events,
            position: Some(stored.position),
            duplicate: true,
            output: None,
        })
    }

    /// Waits until the register contains everything that the bucket's partition contains now.
    pub(crate) async fn catch_up(&self, bucket: BucketId) -> Result<(), CatchUpError> {
        self.catch_up_in(bucket.partition).await
    }

    /// Waits until the register contains everything that the partition contains now.
    pub(crate) async fn catch_up_in(&self, partition: Partition) -> Result<(), CatchUpError> {
        let sequence = self.store.head(partition).await?;
        self.progress.wait_for(Position { partition, sequence }).await?;
        Ok(())
    }

    async fn acknowledge(&self, position: Position) -> Result<(), FollowError> {
        for follower in &self.acknowledged_by {
            follower.wait_for(position).await?;
        }
        Ok(())
    }
}
